//! Certificates of a relay: the profile of a fresh server, its encodings and its fingerprint
//! (spec: protocol §2.4, §2.6, §2.8).
//!
//! One [`CertificateProfile`] describes a certificate. `rcgen` encodes it when both keys are
//! Ed25519; it knows no Ed448, so there `x509-cert` encodes the same description. Every
//! extension is handed over ready-made: both crates would choose other criticality or order.

mod rcgen_encoder;
mod summary;
mod x509_encoder;

pub use summary::Summary;

use crate::crypto::hash::sha256;
use crate::crypto::keys::{KeyError, SigningKey, VerifyingKey};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE as BASE64_URL};
use rand::{CryptoRng, RngCore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use x509_cert::der::pem::{self, LineEnding};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// Most certificates in a chain: online, identity, operator, network (spec: protocol §2.4).
pub const MAX_CHAIN: usize = 4;
/// Days a certificate of this profile is valid.
pub const VALIDITY_DAYS: i64 = 999_999;
/// Length of a random serial number, the most X.509 allows.
pub const SERIAL_LEN: usize = 20;
/// Common name of the CA certificate.
pub const AUTHORITY_COMMON_NAME: &str = "SMP server CA";
/// Organization of the CA certificate.
pub const AUTHORITY_ORGANIZATION: &str = "SimpleX";
/// Common name of a self-signed service certificate.
pub const SERVICE_COMMON_NAME: &str = "simplex";

const FINGERPRINT_LEN: usize = 32;
const PEM_CERTIFICATE: &str = "CERTIFICATE";
const PEM_PRIVATE_KEY: &str = "PRIVATE KEY";

const OID_COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const OID_ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const OID_SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const OID_KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const OID_BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const OID_AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const OID_EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// A certificate that cannot be made or read.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The encoder refused the description.
    #[error("cannot make the certificate: {0}")]
    Encode(String),
    /// The text holds nothing of the expected kind in PEM form, or something damaged.
    #[error("not a certificate or key in PEM form: {0}")]
    Pem(String),
    /// The bytes are not one DER certificate.
    #[error("not a certificate")]
    Malformed,
    /// The key is of an unknown kind.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The text is not a base64url fingerprint of 32 bytes.
    #[error("not a certificate fingerprint")]
    Fingerprint,
}

/// SHA-256 of the DER of an identity certificate: the relay's name in addresses
/// (spec: protocol §2.4). Its text form is padded base64url, 44 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; FINGERPRINT_LEN]);

impl Fingerprint {
    /// The fingerprint of the certificate with this DER.
    pub fn of(certificate_der: &[u8]) -> Self {
        Self(sha256(certificate_der))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = CertificateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let raw = BASE64_URL.decode(text.trim()).ok();
        raw.and_then(|raw| raw.try_into().ok())
            .map(Self)
            .ok_or(CertificateError::Fingerprint)
    }
}

/// Signature algorithm of a relay's certificates and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// Ed25519, the default.
    #[default]
    Ed25519,
    /// Ed448.
    Ed448,
}

impl KeyAlgorithm {
    /// A fresh private key of this algorithm.
    pub fn generate<R: RngCore + CryptoRng>(self, rng: &mut R) -> Result<SigningKey, KeyError> {
        match self {
            Self::Ed25519 => SigningKey::generate_ed25519(rng),
            Self::Ed448 => Ok(SigningKey::generate_ed448(rng)),
        }
    }
}

/// A distinguished name: a common name, then perhaps an organization, both UTF8String.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName {
    /// CN.
    pub common_name: String,
    /// O.
    pub organization: Option<String>,
}

impl DistinguishedName {
    /// The subject of every CA certificate made here.
    pub fn authority() -> Self {
        Self {
            common_name: AUTHORITY_COMMON_NAME.to_owned(),
            organization: Some(AUTHORITY_ORGANIZATION.to_owned()),
        }
    }

    /// A name of a common name alone.
    pub fn common(name: &str) -> Self {
        Self {
            common_name: name.to_owned(),
            organization: None,
        }
    }

    fn attributes(&self) -> impl Iterator<Item = (&'static [u64], &str)> {
        let organization = self.organization.as_deref();
        std::iter::once((OID_COMMON_NAME, self.common_name.as_str()))
            .chain(organization.map(|name| (OID_ORGANIZATION, name)))
    }
}

/// What a certificate is for; decides its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRole {
    /// The identity: signs server certificates.
    Authority,
    /// The online certificate of a relay.
    Server,
    /// A service's self-signed certificate, without extensions.
    Service,
}

/// One certificate, described before it is encoded (spec: protocol §2.6).
#[derive(Debug, Clone)]
pub struct CertificateProfile {
    /// Purpose.
    pub role: CertificateRole,
    /// Whose key it certifies.
    pub subject: DistinguishedName,
    /// Who signs it.
    pub issuer: DistinguishedName,
    /// Serial number, big-endian, positive, at most [`SERIAL_LEN`] bytes.
    pub serial: Vec<u8>,
    /// First second of validity.
    pub not_before: OffsetDateTime,
    /// Last second of validity.
    pub not_after: OffsetDateTime,
}

impl CertificateProfile {
    /// The self-signed CA certificate, the relay's identity.
    pub fn authority<R: RngCore + CryptoRng>(now: OffsetDateTime, rng: &mut R) -> Self {
        let name = DistinguishedName::authority();
        let serial = random_serial(rng);
        Self::new(CertificateRole::Authority, name.clone(), name, serial, now)
    }

    /// The online certificate of the relay at `host` (a domain name or an address, never
    /// checked by peers), signed by the CA named `issuer`.
    pub fn server<R: RngCore + CryptoRng>(
        host: &str,
        issuer: DistinguishedName,
        now: OffsetDateTime,
        rng: &mut R,
    ) -> Self {
        let (role, subject) = (CertificateRole::Server, DistinguishedName::common(host));
        Self::new(role, subject, issuer, random_serial(rng), now)
    }

    /// The self-signed certificate of a service client (spec: protocol §2.8).
    pub fn service(now: OffsetDateTime) -> Self {
        let name = DistinguishedName::common(SERVICE_COMMON_NAME);
        Self::new(CertificateRole::Service, name.clone(), name, vec![1], now)
    }

    fn new(
        role: CertificateRole,
        subject: DistinguishedName,
        issuer: DistinguishedName,
        serial: Vec<u8>,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            role,
            subject,
            issuer,
            serial,
            not_before: now,
            not_after: now.saturating_add(Duration::days(VALIDITY_DAYS)),
        }
    }

    /// Certifies `subject_key` with the issuer's key; a self-signed certificate takes the
    /// public half of the same key.
    pub fn issue(
        &self,
        subject_key: &VerifyingKey,
        issuer_key: &SigningKey,
    ) -> Result<CertificateDer<'static>, CertificateError> {
        let extensions = self.extensions(subject_key, &issuer_key.verifying_key());
        match (issuer_key, subject_key) {
            (SigningKey::Ed25519(..), VerifyingKey::Ed25519(_)) => {
                rcgen_encoder::encode(self, &extensions, subject_key, issuer_key)
            }
            _ => x509_encoder::encode(self, &extensions, subject_key, issuer_key),
        }
    }

    /// The extensions in the order in which OpenSSL writes them.
    fn extensions(&self, subject_key: &VerifyingKey, issuer_key: &VerifyingKey) -> Vec<Extension> {
        let subject_key_id = Extension::plain(
            OID_SUBJECT_KEY_ID,
            [&[0x04, 20][..], &key_id(subject_key)].concat(),
        );
        let authority_key_id = Extension::plain(
            OID_AUTHORITY_KEY_ID,
            [&[0x30, 22, 0x80, 20][..], &key_id(issuer_key)].concat(),
        );
        match self.role {
            CertificateRole::Authority => vec![
                subject_key_id,
                authority_key_id,
                Extension {
                    oid: OID_BASIC_CONSTRAINTS,
                    critical: true,
                    // SEQUENCE { BOOLEAN TRUE }
                    value: vec![0x30, 3, 0x01, 1, 0xff],
                },
            ],
            CertificateRole::Server => vec![
                // An empty SEQUENCE: CA:FALSE is the default.
                Extension::plain(OID_BASIC_CONSTRAINTS, vec![0x30, 0]),
                // BIT STRING: digitalSignature, nonRepudiation, keyAgreement.
                Extension::plain(OID_KEY_USAGE, vec![0x03, 2, 3, 0xc8]),
                // SEQUENCE { OID serverAuth }
                Extension::plain(
                    OID_EXTENDED_KEY_USAGE,
                    vec![0x30, 10, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1],
                ),
                subject_key_id,
                authority_key_id,
            ],
            CertificateRole::Service => Vec::new(),
        }
    }
}

/// An extension with its DER value.
struct Extension {
    oid: &'static [u64],
    critical: bool,
    value: Vec<u8>,
}

impl Extension {
    fn plain(oid: &'static [u64], value: Vec<u8>) -> Self {
        Self {
            oid,
            critical: false,
            value,
        }
    }
}

/// SHA-1 of the raw public key, which RFC 5280 §4.2.1.2 uses as a name, not as a proof.
fn key_id(key: &VerifyingKey) -> [u8; 20] {
    let mut id = [0; 20];
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, raw_key(key));
    id.copy_from_slice(hash.as_ref());
    id
}

fn raw_key(key: &VerifyingKey) -> &[u8] {
    match key {
        VerifyingKey::Ed25519(raw) => raw,
        VerifyingKey::Ed448(raw) => raw,
    }
}

/// 20 random bytes that DER neither shortens nor takes for a negative number.
fn random_serial<R: RngCore + CryptoRng>(rng: &mut R) -> Vec<u8> {
    let mut serial = [0; SERIAL_LEN];
    rng.fill_bytes(&mut serial);
    serial[0] = serial[0] & 0x7f | 0x40;
    serial.to_vec()
}

/// The public key of a DER certificate, Ed25519 or Ed448; nothing else in it is judged.
pub fn certified_key(der: &[u8]) -> Result<VerifyingKey, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(VerifyingKey::from_spki(certificate.public_key().raw)?),
        _ => Err(CertificateError::Malformed),
    }
}

/// A certificate in PEM form, newline-terminated.
pub fn certificate_to_pem(der: &[u8]) -> Result<String, CertificateError> {
    pem::encode_string(PEM_CERTIFICATE, LineEnding::LF, der)
        .map_err(|e| CertificateError::Encode(e.to_string()))
}

/// Every certificate of a PEM text, in order; an error when there is none.
pub fn certificates_from_pem(
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(found) if found.is_empty() => Err(CertificateError::Pem("none found".to_owned())),
        Ok(found) => Ok(found),
        Err(e) => Err(CertificateError::Pem(e.to_string())),
    }
}

/// A private key in PKCS#8 PEM form, newline-terminated.
pub fn private_key_to_pem(key: &SigningKey) -> Result<Zeroizing<String>, CertificateError> {
    pem::encode_string(PEM_PRIVATE_KEY, LineEnding::LF, &key.to_pkcs8())
        .map(Zeroizing::new)
        .map_err(|e| CertificateError::Encode(e.to_string()))
}

/// The private key of a PKCS#8 PEM text.
pub fn private_key_from_pem(text: &[u8]) -> Result<SigningKey, CertificateError> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(text).map(Zeroizing::new);
    let der = der.map_err(|e| CertificateError::Pem(e.to_string()))?;
    Ok(SigningKey::from_pkcs8(der.secret_pkcs8_der())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::process::Command;
    use x509_parser::prelude::*;

    const REFERENCE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/reference-6.5.5/etc/"
    );

    fn reference(file: &str) -> Vec<u8> {
        std::fs::read(format!("{REFERENCE}{file}")).unwrap()
    }

    fn reference_certificate(file: &str) -> CertificateDer<'static> {
        certificates_from_pem(&reference(file)).unwrap().remove(0)
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(7)
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_364_318).unwrap()
    }

    struct Chain {
        authority: CertificateDer<'static>,
        server: CertificateDer<'static>,
    }

    fn chain(algorithm: KeyAlgorithm, now: OffsetDateTime) -> Chain {
        let rng = &mut rng();
        let authority_key = algorithm.generate(rng).unwrap();
        let server_key = algorithm.generate(rng).unwrap();
        let authority = CertificateProfile::authority(now, rng);
        let server =
            CertificateProfile::server("smp.example.org", authority.subject.clone(), now, rng);
        Chain {
            authority: authority
                .issue(&authority_key.verifying_key(), &authority_key)
                .unwrap(),
            server: server
                .issue(&server_key.verifying_key(), &authority_key)
                .unwrap(),
        }
    }

    /// Ed25519 is deterministic, so the reference's own certificates come out byte for byte.
    #[test]
    fn remakes_the_certificates_of_the_reference() {
        let key = private_key_from_pem(&reference("ca.key")).unwrap();
        let server_key = private_key_from_pem(&reference("server.key")).unwrap();
        let serial_of = |der: &[u8]| {
            let (_, parsed) = X509Certificate::from_der(der).unwrap();
            parsed.raw_serial().to_vec()
        };

        let expected = reference_certificate("ca.crt");
        let mut profile = CertificateProfile::authority(now(), &mut rng());
        profile.serial = serial_of(&expected);
        assert_eq!(profile.issue(&key.verifying_key(), &key).unwrap(), expected);

        let expected = reference_certificate("server.crt");
        let issuer = DistinguishedName::authority();
        let mut profile = CertificateProfile::server("127.0.0.1", issuer, now(), &mut rng());
        profile.serial = serial_of(&expected);
        let made = profile.issue(&server_key.verifying_key(), &key).unwrap();
        assert_eq!(made, expected);
    }

    #[test]
    fn fingerprint_of_the_reference() {
        let text = String::from_utf8(reference("fingerprint")).unwrap();
        let fingerprint = Fingerprint::of(&reference_certificate("ca.crt"));
        assert_eq!(fingerprint.to_string(), text.trim_end());
        assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
        assert!("AAAA".parse::<Fingerprint>().is_err());
        assert!("not base64!".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn every_field_of_both_algorithms() {
        for (algorithm, oid) in [
            (KeyAlgorithm::Ed25519, "1.3.101.112"),
            (KeyAlgorithm::Ed448, "1.3.101.113"),
        ] {
            let chain = chain(algorithm, now());
            let (rest, authority) = X509Certificate::from_der(&chain.authority).unwrap();
            assert!(rest.is_empty());
            let (rest, server) = X509Certificate::from_der(&chain.server).unwrap();
            assert!(rest.is_empty());
            for certificate in [&authority, &server] {
                assert_eq!(certificate.version(), X509Version::V3);
                assert_eq!(certificate.raw_serial().len(), SERIAL_LEN);
                assert!(certificate.raw_serial()[0] < 0x80);
                assert_eq!(
                    certificate.signature_algorithm.algorithm.to_id_string(),
                    oid
                );
                assert_eq!(
                    certificate.public_key().algorithm.algorithm.to_id_string(),
                    oid
                );
                let validity = certificate.validity();
                assert!(validity.not_before.is_utctime());
                assert!(validity.not_after.is_generalizedtime());
                assert_eq!(
                    (validity.not_after - validity.not_before).map(Duration::whole_days),
                    Some(VALIDITY_DAYS)
                );
            }
            assert_ne!(authority.raw_serial(), server.raw_serial());
            let ca_name = "CN=SMP server CA, O=SimpleX";
            assert_eq!(authority.subject().to_string(), ca_name);
            assert_eq!(authority.issuer().as_raw(), authority.subject().as_raw());
            assert_eq!(server.issuer().as_raw(), authority.subject().as_raw());
            assert_eq!(server.subject().to_string(), "CN=smp.example.org");

            let shape = |certificate: &X509Certificate<'_>| {
                certificate
                    .extensions()
                    .iter()
                    .map(|e| (e.oid.to_id_string(), e.critical))
                    .collect::<Vec<_>>()
            };
            let row = |arc: &str, critical| (format!("2.5.29.{arc}"), critical);
            assert_eq!(
                shape(&authority),
                [row("14", false), row("35", false), row("19", true)]
            );
            assert_eq!(
                shape(&server),
                ["19", "15", "37", "14", "35"].map(|arc| row(arc, false))
            );
            assert!(authority.is_ca() && !server.is_ca());
            let usage = server.key_usage().unwrap().unwrap();
            assert_eq!(usage.value.flags, 0b1_0011);
            assert!(
                server
                    .extended_key_usage()
                    .unwrap()
                    .unwrap()
                    .value
                    .server_auth
            );
            assert!(server.subject_alternative_name().unwrap().is_none());
        }
    }

    #[test]
    fn signatures_verify_with_the_issuer() {
        for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448] {
            let chain = chain(algorithm, now());
            let (_, authority) = X509Certificate::from_der(&chain.authority).unwrap();
            let issuer = VerifyingKey::from_spki(authority.public_key().raw).unwrap();
            for der in [&chain.authority, &chain.server] {
                let (_, certificate) = X509Certificate::from_der(der).unwrap();
                let signed = certificate.tbs_certificate.as_ref();
                assert!(issuer.verify(signed, certificate.signature_value.as_ref()));
            }
        }
    }

    #[test]
    fn a_service_certificate_has_no_extensions() {
        let key = SigningKey::generate_ed25519(&mut rng()).unwrap();
        let profile = CertificateProfile::service(now());
        let der = profile.issue(&key.verifying_key(), &key).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.version(), X509Version::V3);
        assert_eq!(certificate.raw_serial(), [1]);
        assert_eq!(certificate.subject().to_string(), "CN=simplex");
        assert_eq!(
            certificate.issuer().as_raw(),
            certificate.subject().as_raw()
        );
        assert!(certificate.extensions().is_empty());
    }

    #[test]
    fn pem_round_trips_and_refuses_rubbish() {
        for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448] {
            let key = algorithm.generate(&mut rng()).unwrap();
            let text = private_key_to_pem(&key).unwrap();
            let read = private_key_from_pem(text.as_bytes()).unwrap();
            assert_eq!(read.verifying_key(), key.verifying_key());
        }
        let pem = reference("ca.crt");
        let der = reference_certificate("ca.crt");
        assert_eq!(certificate_to_pem(&der).unwrap().as_bytes(), pem);
        let two = [pem.clone(), reference("server.crt")].concat();
        assert_eq!(certificates_from_pem(&two).unwrap().len(), 2);
        assert!(certificates_from_pem(b"").is_err());
        assert!(certificates_from_pem(b"-----BEGIN CERTIFICATE-----\n!").is_err());
        assert!(private_key_from_pem(&pem).is_err());
    }

    #[test]
    fn openssl_accepts_the_chains() {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("SKIPPED: there is no openssl command");
            return;
        }
        for (algorithm, name) in [
            (KeyAlgorithm::Ed25519, "ED25519"),
            (KeyAlgorithm::Ed448, "ED448"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            // The certificates must be valid at the time of the test, whenever that is.
            let chain = chain(algorithm, OffsetDateTime::now_utc());
            for (file, der) in [("ca.crt", &chain.authority), ("server.crt", &chain.server)] {
                let pem = certificate_to_pem(der).unwrap();
                std::fs::write(folder.path().join(file), pem).unwrap();
            }
            let openssl = |arguments: &[&str]| {
                let mut command = Command::new("openssl");
                let output = command.args(arguments).current_dir(&folder).output();
                let output = output.unwrap();
                assert!(output.status.success(), "{arguments:?}: {output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            openssl(&["verify", "-CAfile", "ca.crt", "server.crt"]);
            let text = openssl(&["x509", "-in", "server.crt", "-noout", "-text"]);
            for line in [
                "Version: 3 (0x2)",
                &format!("Signature Algorithm: {name}"),
                "X509v3 Basic Constraints: \n                CA:FALSE",
                "X509v3 Key Usage: \n                Digital Signature, Non Repudiation, Key Agreement",
                "X509v3 Extended Key Usage: \n                TLS Web Server Authentication",
            ] {
                assert!(text.contains(line), "{line}\nis not in\n{text}");
            }
        }
    }
}
