//! Certificates of the pages, which may be replaced while the server runs (spec: operations §4.6).
//!
//! Browsers need more than SMP does: any kind of key, more cipher suites and groups, and a chain
//! that authorities of theirs have signed.

use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use thiserror::Error;
use zeroize::Zeroizing;

/// The one protocol spoken behind this TLS.
const ALPN: &[u8] = b"http/1.1";

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Why pages cannot be served with TLS; the first text is one that operators know
/// (spec: operations §1.8).
#[derive(Debug, Error)]
pub enum WebCredentialError {
    /// Files that do not exist.
    #[error("no HTTPS credentials: {}", list(.0))]
    Missing(Vec<PathBuf>),
    /// A file cannot be read, or does not hold what it should.
    #[error("unusable HTTPS credentials: {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate is that of another key.
    #[error(
        "unusable HTTPS credentials: {} is not the key of {}",
        key.display(),
        cert.display()
    )]
    Mismatch {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// TLS does not take them.
    #[error("unusable HTTPS credentials: {0}")]
    Tls(#[from] rustls::Error),
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}

/// Certificate and key of the pages, as they were loaded last.
#[derive(Debug)]
pub struct WebCredential {
    cert: PathBuf,
    key: PathBuf,
    /// Whether there is a configuration: asked for every connection of a shared port.
    loaded: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    config: Option<Arc<ServerConfig>>,
    /// The files when they were last looked at.
    seen: Option<[Stamp; 2]>,
}

/// What changes with a file.
type Stamp = Option<(SystemTime, u64)>;

impl WebCredential {
    /// The credential in a certificate file, leaf first, and a key file; not loaded yet.
    pub fn new(cert: &Path, key: &Path) -> Self {
        Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            loaded: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Loads the files. When that fails, what was loaded before stays in use.
    pub fn reload(&self) -> Result<(), WebCredentialError> {
        let mut state = self.state();
        state.seen = Some(self.stamps());
        state.config = Some(config(&self.cert, &self.key)?);
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Loads the files if they have changed since they were last looked at, and says whether they
    /// had.
    pub fn reload_if_changed(&self) -> Result<bool, WebCredentialError> {
        if self.state().seen == Some(self.stamps()) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Whether TLS can be served.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// The configuration for new connections, once there is one.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.state().config.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.cert, &self.key].map(|file| {
            let metadata = file.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, WebCredentialError> {
    let certified = load(cert, key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Loads a chain, leaf first, and the key of its leaf, from PEM files.
pub fn load(cert: &Path, key: &Path) -> Result<CertifiedKey, WebCredentialError> {
    let missing: Vec<_> = [cert, key]
        .into_iter()
        .filter(|file| !file.exists())
        .map(Path::to_owned)
        .collect();
    if !missing.is_empty() {
        return Err(WebCredentialError::Missing(missing));
    }
    let unusable = |path: &Path, reason: String| WebCredentialError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let read = |path| {
        let read: io::Result<Vec<u8>> = fs::read(path);
        read.map_err(|e| unusable(path, e.to_string()))
    };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unusable(cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(cert, "no certificate in PEM form".to_owned()));
    }
    let text = Zeroizing::new(read(key)?);
    let der = PrivateKeyDer::from_pem_slice(&text).map_err(|e| unusable(key, e.to_string()))?;
    let der = Zeroizing::new(der);
    let signing = aws_lc_rs::sign::any_supported_type(&der);
    let signing = signing.map_err(|e| unusable(key, e.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => WebCredentialError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        other => unusable(cert, other.to_string()),
    })?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::aws_lc_rs::cipher_suite;
    use std::time::Duration;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Writes a fresh certificate and key, made at another time than any before.
        fn write(&self, algorithm: &'static rcgen::SignatureAlgorithm, seconds: u64) {
            let key = KeyPair::generate_for(algorithm).unwrap();
            self.write_key(&key, seconds);
        }

        fn write_key(&self, key: &KeyPair, seconds: u64) {
            let names = vec!["example.org".to_owned()];
            let cert = CertificateParams::new(names).unwrap();
            let cert = cert.self_signed(key).unwrap();
            for (name, text) in [("web.crt", cert.pem()), ("web.key", key.serialize_pem())] {
                self.put(name, &text, seconds);
            }
        }

        fn put(&self, name: &str, text: &str, seconds: u64) {
            fs::write(self.path(name), text).unwrap();
            let file = fs::File::options().write(true).open(self.path(name));
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.unwrap().set_modified(time).unwrap();
        }

        fn credential(&self) -> WebCredential {
            WebCredential::new(&self.path("web.crt"), &self.path("web.key"))
        }
    }

    #[test]
    fn keys_of_every_kind_are_taken() {
        let files = Files::new();
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            files.write(algorithm, 1);
            files.credential().reload().unwrap();
        }
        files.write_key(&rsa(), 1);
        let credential = files.credential();
        credential.reload().unwrap();
        let config = credential.config().unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
        let suites = &config.crypto_provider().cipher_suites;
        assert!(suites.contains(&cipher_suite::TLS13_AES_128_GCM_SHA256));
        let old = cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
        assert!(suites.contains(&old));
    }

    fn rsa() -> KeyPair {
        use ::aws_lc_rs::encoding::AsDer;
        use ::aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
        let key = RsaKey::generate(KeySize::Rsa2048).unwrap();
        let der = key.as_der().unwrap();
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).unwrap()
    }

    #[test]
    fn what_is_wrong_is_said() {
        let files = Files::new();
        let (cert, key) = (files.path("web.crt"), files.path("web.key"));
        let (cert, key) = (cert.display(), key.display());
        let error = || files.credential().reload().unwrap_err().to_string();
        assert_eq!(error(), format!("no HTTPS credentials: {cert}, {key}"));
        files.write(&rcgen::PKCS_ED25519, 1);
        fs::remove_file(files.path("web.key")).unwrap();
        assert_eq!(error(), format!("no HTTPS credentials: {key}"));
        let other = KeyPair::generate().unwrap().serialize_pem();
        files.put("web.key", &other, 1);
        let mismatch = format!("unusable HTTPS credentials: {key} is not the key of {cert}");
        assert_eq!(error(), mismatch);
        files.put("web.key", "nothing", 1);
        assert!(error().starts_with(&format!("unusable HTTPS credentials: {key}: ")));
        files.put("web.crt", "", 1);
        assert!(error().starts_with(&format!("unusable HTTPS credentials: {cert}: ")));
    }

    #[test]
    fn files_are_loaded_again_once_changed() {
        let files = Files::new();
        let credential = files.credential();
        assert!(credential.reload_if_changed().is_err());
        assert!(!credential.is_loaded() && credential.config().is_none());
        // It was said once.
        assert!(!credential.reload_if_changed().unwrap());

        files.write(&rcgen::PKCS_ED25519, 1);
        assert!(credential.reload_if_changed().unwrap());
        assert!(credential.is_loaded());
        assert!(!credential.reload_if_changed().unwrap());
        let first = credential.config().unwrap();

        // A certificate whose key is still on its way.
        files.put("web.key", "", 2);
        assert!(credential.reload_if_changed().is_err());
        assert!(Arc::ptr_eq(&first, &credential.config().unwrap()));
        files.write(&rcgen::PKCS_ECDSA_P256_SHA256, 3);
        assert!(credential.reload_if_changed().unwrap());
        assert!(!Arc::ptr_eq(&first, &credential.config().unwrap()));
    }
}
