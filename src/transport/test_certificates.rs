//! Certificates for tests, good and bad, written as plain DER: builders refuse to make bad ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::credential::Credential;
use crate::crypto::keys::SigningKey;

#[derive(Debug, Clone, Copy)]
pub(super) enum Algorithm {
    Ed25519,
    Ed448,
}

impl Algorithm {
    fn key(self) -> SigningKey {
        match self {
            Self::Ed25519 => SigningKey::generate_ed25519(&mut rand::rng()).unwrap(),
            Self::Ed448 => SigningKey::generate_ed448(&mut rand::rng()),
        }
    }
}

/// The fields of a certificate that tests vary.
pub(super) struct Template {
    /// The version number as encoded (2 is version 3); absent when `None`.
    pub(super) version: Option<u8>,
    pub(super) not_before: &'static str,
    pub(super) not_after: &'static str,
    /// basicConstraints.
    pub(super) ca: Option<bool>,
    /// Contents of the keyUsage bit string.
    pub(super) key_usage: Option<&'static [u8]>,
    pub(super) extensions: bool,
}

impl Template {
    pub(super) const DIGITAL_SIGNATURE: &[u8] = &[7, 0x80];
    pub(super) const CERT_SIGN: &[u8] = &[2, 0x04];

    pub(super) fn authority() -> Self {
        Self {
            version: Some(2),
            not_before: "20200101000000Z",
            not_after: "47600101000000Z",
            ca: Some(true),
            key_usage: None,
            extensions: true,
        }
    }

    pub(super) fn server() -> Self {
        Self {
            ca: Some(false),
            key_usage: Some(&[3, 0xc8]),
            ..Self::authority()
        }
    }

    pub(super) fn version_1() -> Self {
        Self {
            version: None,
            extensions: false,
            ..Self::server()
        }
    }
}

pub(super) struct Authority {
    pub(super) certificate: CertificateDer<'static>,
    key: SigningKey,
    name: String,
}

impl Authority {
    pub(super) fn new(algorithm: Algorithm, name: &str) -> Self {
        Self::with_template(algorithm, name, &Template::authority())
    }

    pub(super) fn with_template(algorithm: Algorithm, name: &str, template: &Template) -> Self {
        let key = algorithm.key();
        Self {
            certificate: certificate(name, &key, name, &key, template),
            key,
            name: name.to_owned(),
        }
    }

    pub(super) fn subordinate(&self, algorithm: Algorithm, name: &str) -> Self {
        self.subordinate_with(algorithm, name, &Template::authority())
    }

    pub(super) fn subordinate_with(
        &self,
        algorithm: Algorithm,
        name: &str,
        template: &Template,
    ) -> Self {
        let (certificate, key) = self.issue(algorithm, name, template);
        Self {
            certificate,
            key,
            name: name.to_owned(),
        }
    }

    pub(super) fn issue(
        &self,
        algorithm: Algorithm,
        name: &str,
        template: &Template,
    ) -> (CertificateDer<'static>, SigningKey) {
        let key = algorithm.key();
        let leaf = certificate(name, &key, &self.name, &self.key, template);
        (leaf, key)
    }

    pub(super) fn server(&self, algorithm: Algorithm) -> (CertificateDer<'static>, SigningKey) {
        self.issue(algorithm, "localhost", &Template::server())
    }

    /// A version 3 certificate without extensions, as newer service clients use.
    pub(super) fn self_signed(
        algorithm: Algorithm,
        name: &str,
    ) -> (CertificateDer<'static>, SigningKey) {
        let template = Template {
            extensions: false,
            ..Template::authority()
        };
        let it = Self::with_template(algorithm, name, &template);
        (it.certificate, it.key)
    }

    /// A server's credential under this authority.
    pub(super) fn credential(self, algorithm: Algorithm) -> Credential {
        let (leaf, key) = self.server(algorithm);
        Credential::new(vec![leaf, self.certificate], key).unwrap()
    }
}

pub(super) fn now() -> UnixTime {
    UnixTime::now()
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn certificate(
    subject: &str,
    key: &SigningKey,
    issuer: &str,
    issuer_key: &SigningKey,
    template: &Template,
) -> CertificateDer<'static> {
    // The algorithm identifier is also the head of the SubjectPublicKeyInfo.
    let algorithm = issuer_key.verifying_key().to_spki()[2..9].to_vec();
    let version = template.version.map(|v| tlv(0xa0, &[&tlv(0x02, &[&[v]])]));
    let time = |text: &str| tlv(0x18, &[text.as_bytes()]);
    let extensions = template.extensions.then(|| {
        let constraints = template.ca.map(|ca| {
            let flag = if ca { tlv(0x01, &[&[0xff]]) } else { vec![] };
            extension(19, &tlv(0x30, &[&flag]))
        });
        let usage = template
            .key_usage
            .map(|bits| extension(15, &tlv(0x03, &[bits])));
        let all = [constraints, usage]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        tlv(0xa3, &[&tlv(0x30, &[&all.concat()])])
    });
    let tbs = tlv(
        0x30,
        &[
            &version.unwrap_or_default(),
            &tlv(0x02, &[&[1]]),
            &algorithm,
            &name(issuer),
            &tlv(
                0x30,
                &[&time(template.not_before), &time(template.not_after)],
            ),
            &name(subject),
            &key.verifying_key().to_spki(),
            &extensions.unwrap_or_default(),
        ],
    );
    let signature = issuer_key.sign(&tbs);
    let signature = tlv(0x03, &[&[0], &signature]);
    tlv(0x30, &[&tbs, &algorithm, &signature]).into()
}

fn name(common_name: &str) -> Vec<u8> {
    let oid = tlv(0x06, &[&[0x55, 4, 3]]);
    let attribute = tlv(0x30, &[&oid, &tlv(0x0c, &[common_name.as_bytes()])]);
    tlv(0x30, &[&tlv(0x31, &[&attribute])])
}

fn extension(id: u8, value: &[u8]) -> Vec<u8> {
    let oid = tlv(0x06, &[&[0x55, 0x1d, id]]);
    tlv(0x30, &[&oid, &tlv(0x04, &[value])])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        Ok(byte) => der.extend([0x81, byte]),
        Err(_) => {
            der.push(0x82);
            der.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    der.extend(content);
    der
}
