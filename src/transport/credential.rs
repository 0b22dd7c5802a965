//! The server's certificates and key: loading, checking, signing (spec: protocol §2.4,
//! operations §1.8).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{self, CertifiedKey, Signer, SingleCertAndKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::capture;
use super::path;
use crate::crypto::certificate::{
    CertificateError, Fingerprint, certificates_from_pem, private_key_from_pem,
};
use crate::crypto::keys::{SigningKey, VerifyingKey};

/// The identity certificate and any above it.
pub const CA_CERTIFICATE_FILE: &str = "ca.crt";
/// The online certificate.
pub const SERVER_CERTIFICATE_FILE: &str = "server.crt";
/// The key of the online certificate, PKCS#8.
pub const SERVER_KEY_FILE: &str = "server.key";
/// The identity this server was initialised with.
pub const FINGERPRINT_FILE: &str = "fingerprint";

/// Why credentials cannot be used; the texts are those operators know (spec: operations §1.8).
#[derive(Debug, Error)]
pub enum CredentialError {
    /// Files that do not exist.
    #[error("no SMP credentials: {}", list(.0))]
    Missing(Vec<PathBuf>),
    /// A file exists but cannot be read, or the fingerprint or CA file does not exist.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A file holds no certificates in PEM form.
    #[error("{}: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: CertificateError,
    },
    /// The CA certificate is not the one this server was initialised with.
    #[error("Stored fingerprint is invalid.")]
    FingerprintMismatch,
    /// Certificates or key are malformed, of another kind, or do not belong together.
    #[error("invalid credential")]
    Invalid,
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|reason| CredentialError::Read {
            path: path.to_owned(),
            reason,
        })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    certificates_from_pem(&read(path)?).map_err(|reason| CredentialError::Certificates {
        path: path.to_owned(),
        reason,
    })
}

/// Compares the stored `fingerprint` file with the first certificate of `ca.crt` in `folder` and
/// returns the fingerprint. The file holds its base64url form on the first line.
pub fn check_stored_fingerprint(folder: &Path) -> Result<Fingerprint, CredentialError> {
    let stored = read(&folder.join(FINGERPRINT_FILE))?;
    let chain = read_certificates(&folder.join(CA_CERTIFICATE_FILE))?;
    let first_line = stored.split(|b| *b == b'\n').next().unwrap_or_default();
    let stored: Option<Fingerprint> = str::from_utf8(first_line)
        .ok()
        .and_then(|text| text.parse().ok());
    let actual = chain.first().map(|identity| Fingerprint::of(identity));
    match (stored, actual) {
        (Some(stored), Some(actual)) if stored == actual => Ok(actual),
        _ => Err(CredentialError::FingerprintMismatch),
    }
}

/// A certificate chain, leaf first, with the key of its leaf: a server's or a service client's.
#[derive(Debug, Clone)]
pub struct Credential {
    certified: Arc<CertifiedKey>,
    signing_key: Arc<SigningKey>,
    identity: Fingerprint,
}

impl Credential {
    /// Puts together a chain of one to four certificates and the key of its leaf.
    ///
    /// The identity is the second certificate, or the only one (spec: protocol §2.4).
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: SigningKey,
    ) -> Result<Self, CredentialError> {
        let identity = chain.get(1).or(chain.first());
        let identity = identity.map(|identity| Fingerprint::of(identity));
        let leaf = chain.first().and_then(|leaf| path::leaf_key(leaf).ok());
        let (Some(identity), Some(leaf)) = (identity, leaf) else {
            return Err(CredentialError::Invalid);
        };
        if leaf != key.verifying_key() || chain.len() > path::MAX_CHAIN {
            return Err(CredentialError::Invalid);
        }
        let signing_key = Arc::new(key);
        let tls_key = TlsSigningKey(Arc::clone(&signing_key));
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(chain, Arc::new(tls_key))),
            signing_key,
            identity,
        })
    }

    /// Loads `server.crt`, `ca.crt` and `server.key` from the configuration folder.
    ///
    /// The chain is what `server.crt` holds followed by what `ca.crt` holds; the identity is the
    /// first certificate of `ca.crt`.
    pub fn load(folder: &Path) -> Result<Self, CredentialError> {
        let [ca, leaf, key] = [
            CA_CERTIFICATE_FILE,
            SERVER_CERTIFICATE_FILE,
            SERVER_KEY_FILE,
        ]
        .map(|name| folder.join(name));
        let missing: Vec<_> = [&ca, &leaf, &key]
            .into_iter()
            .filter(|file| !file.is_file())
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(CredentialError::Missing(missing));
        }
        let mut chain = read_certificates(&leaf)?;
        let authorities = read_certificates(&ca)?;
        let identity = authorities
            .first()
            .map(|identity| Fingerprint::of(identity));
        chain.extend(authorities);
        let key = private_key_from_pem(&read(&key)?).map_err(|_| CredentialError::Invalid)?;
        let mut credential = Self::new(chain, key)?;
        if let Some(identity) = identity {
            credential.identity = identity;
        }
        Ok(credential)
    }

    /// Fingerprint of the identity certificate, raw: the key hash of the server's address.
    pub fn identity(&self) -> [u8; 32] {
        self.identity.0
    }

    /// The chain as sent in TLS, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The key of the leaf, which also signs session keys (spec: protocol §5.1).
    pub fn signing_key(&self) -> &Arc<SigningKey> {
        &self.signing_key
    }

    /// Shows this chain to every server that asks for one (spec: protocol §2.8).
    pub fn client_resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(self.certified()))
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// Shows the chain of the server to every client, and notes whether it names a server.
#[derive(Debug)]
pub(super) struct NotingSni(Arc<CertifiedKey>);

impl NotingSni {
    pub(super) fn new(credential: &Credential) -> Self {
        Self(credential.certified())
    }
}

impl ResolvesServerCert for NotingSni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.server_name().is_some() {
            capture::note_sni();
        }
        Some(Arc::clone(&self.0))
    }
}

/// An Ed25519 or Ed448 key as `rustls` wants it.
struct TlsSigningKey(Arc<SigningKey>);

impl TlsSigningKey {
    fn scheme(&self) -> SignatureScheme {
        match *self.0 {
            SigningKey::Ed25519(..) => SignatureScheme::ED25519,
            SigningKey::Ed448(..) => SignatureScheme::ED448,
        }
    }
}

impl fmt::Debug for TlsSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsSigningKey({:?}, ..)", self.scheme())
    }
}

impl sign::SigningKey for TlsSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&self.scheme())
            .then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.verifying_key().to_spki().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.verifying_key() {
            VerifyingKey::Ed25519(_) => SignatureAlgorithm::ED25519,
            VerifyingKey::Ed448(_) => SignatureAlgorithm::ED448,
        }
    }
}

impl Signer for TlsSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message))
    }

    fn scheme(&self) -> SignatureScheme {
        Self::scheme(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::test_certificates::{Algorithm, Authority, pem};

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(algorithm: Algorithm) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let ca = Authority::new(algorithm, "SMP server CA");
            let (leaf, key) = ca.server(algorithm);
            let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
            write(CA_CERTIFICATE_FILE, pem("CERTIFICATE", &ca.certificate));
            write(SERVER_CERTIFICATE_FILE, pem("CERTIFICATE", &leaf));
            write(SERVER_KEY_FILE, pem("PRIVATE KEY", &key.to_pkcs8()));
            let text = Fingerprint::of(&ca.certificate);
            write(FINGERPRINT_FILE, format!("{text}\n"));
            Self(dir)
        }

        fn path(&self) -> &Path {
            self.0.path()
        }
    }

    #[test]
    fn loads_both_algorithms() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Ed448] {
            let folder = Folder::new(algorithm);
            let credential = Credential::load(folder.path()).unwrap();
            assert_eq!(credential.chain().len(), 2);
            let identity = check_stored_fingerprint(folder.path()).unwrap();
            assert_eq!(credential.identity(), identity.0);
            assert_eq!(Fingerprint::of(&credential.chain()[1]), identity);
        }
    }

    #[test]
    fn missing_files_are_named_together() {
        let folder = Folder::new(Algorithm::Ed25519);
        let server_crt = folder.path().join(SERVER_CERTIFICATE_FILE);
        let server_key = folder.path().join(SERVER_KEY_FILE);
        fs::remove_file(&server_key).unwrap();
        fs::remove_file(&server_crt).unwrap();
        let text = Credential::load(folder.path()).unwrap_err().to_string();
        let (crt, key) = (server_crt.display(), server_key.display());
        assert_eq!(text, format!("no SMP credentials: {crt}, {key}"));
    }

    #[test]
    fn a_foreign_fingerprint_is_refused() {
        let folder = Folder::new(Algorithm::Ed25519);
        for text in ["", "?\n", &Fingerprint([1; 32]).to_string()] {
            fs::write(folder.path().join(FINGERPRINT_FILE), text).unwrap();
            let error = check_stored_fingerprint(folder.path()).unwrap_err();
            assert_eq!(error.to_string(), "Stored fingerprint is invalid.");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = Folder::new(Algorithm::Ed25519);
        let other = Folder::new(Algorithm::Ed448);
        let key = fs::read(other.path().join(SERVER_KEY_FILE)).unwrap();
        for bytes in [key.as_slice(), b"", b"-----BEGIN PRIVATE KEY-----\n?"] {
            fs::write(folder.path().join(SERVER_KEY_FILE), bytes).unwrap();
            let error = Credential::load(folder.path()).unwrap_err();
            assert_eq!(error.to_string(), "invalid credential");
        }
    }

    #[test]
    fn malformed_certificates_are_refused() {
        let folder = Folder::new(Algorithm::Ed25519);
        let garbage = pem("CERTIFICATE", &[0x30, 3, 1, 2, 3]);
        fs::write(folder.path().join(SERVER_CERTIFICATE_FILE), garbage).unwrap();
        assert!(matches!(
            Credential::load(folder.path()),
            Err(CredentialError::Invalid)
        ));
    }
}
