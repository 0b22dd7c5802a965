//! Certificates of the pages, which may be replaced while the server runs (spec: operations §4.6).
//!
//! Browsers need more than SMP does: any kind of key, more cipher suites and groups, and a chain
//! that authorities of theirs have signed.

use crate::crypto::certificate::Summary;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// The one protocol spoken behind this TLS.
const ALPN: &[u8] = b"http/1.1";

/// How long before the end of a certificate an operator is told: those of Let's Encrypt should have
/// been renewed 30 days before. For certificates that live shorter it is a quarter of their life.
const EXPIRY_NOTICE: Duration = Duration::days(20);

/// What browsers accept as signatures in a handshake, one for each kind of key: none for Ed25519
/// and P-521.
const BROWSERS: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
];

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
    /// The certificate in use.
    leaf: Option<Summary>,
    /// Whether browsers take keys of its kind.
    browsers: bool,
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
        // Nobody waits for files meanwhile.
        let seen = self.stamps();
        self.state().seen = Some(seen);
        let certified = load(&self.cert, &self.key)?;
        let leaf = certified.cert.first();
        let leaf = leaf.and_then(|leaf| Summary::of(leaf).ok());
        let browsers = certified.key.choose_scheme(BROWSERS).is_some();
        let config = config(certified)?;
        let mut state = self.state();
        state.config = Some(config);
        (state.leaf, state.browsers) = (leaf, browsers);
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Loads the files if they have changed since they were last looked at, and says whether they
    /// had.
    pub fn reload_if_changed(&self) -> Result<bool, WebCredentialError> {
        let now = self.stamps();
        if self.state().seen == Some(now) {
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

    /// What an operator should know about the certificate in use, if it is not good for long: it
    /// changes daily.
    pub fn notices(&self, now: OffsetDateTime) -> Vec<String> {
        let state = self.state();
        let Some(leaf) = &state.leaf else {
            return Vec::new();
        };
        let kind =
            "has a key of a kind that browsers refuse: use RSA, or ECDSA with P-256 or P-384";
        let kind = (!state.browsers).then(|| kind.to_owned());
        [kind, expiry_notice(leaf, now)]
            .into_iter()
            .flatten()
            .map(|notice| format!("the web certificate {} {notice}", self.cert.display()))
            .collect()
    }

    /// Whole days that the certificate in use is valid from `now` on.
    pub fn days_left(&self, now: OffsetDateTime) -> Option<i64> {
        let state = self.state();
        state.leaf.as_ref().map(|leaf| leaf.days_left(now))
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

fn expiry_notice(leaf: &Summary, now: OffsetDateTime) -> Option<String> {
    let days = leaf.days_left(now);
    if now > leaf.not_after {
        return Some(format!(
            "expired {} days ago: browsers refuse it; a new one is used within a minute",
            -days
        ));
    }
    if now < leaf.not_before {
        let text = "is not valid yet: check the clock of this machine";
        return Some(text.to_owned());
    }
    let soon = EXPIRY_NOTICE.min((leaf.not_after - leaf.not_before) / 4);
    let text = format!("expires in {days} days; a new one is used within a minute");
    (leaf.not_after - now < soon).then_some(text)
}

fn config(certified: CertifiedKey) -> Result<Arc<ServerConfig>, WebCredentialError> {
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
mod tests;
