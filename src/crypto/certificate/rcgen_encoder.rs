//! Encodes a certificate for an Ed25519 key that is signed with Ed25519.

use super::{
    CertificateError, CertificateProfile, DistinguishedName, Extension, OID_COMMON_NAME, raw_key,
};
use crate::crypto::keys::{SigningKey, VerifyingKey};
use rcgen::{
    CertificateParams, CustomExtension, DnType, DnValue, Issuer, PKCS_ED25519, PublicKeyData,
    SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;

/// The subject's key, and the issuer's when there is something to sign with.
struct Key<'a> {
    public: VerifyingKey,
    private: Option<&'a SigningKey>,
}

impl PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        raw_key(&self.public)
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.private
            .map(|key| key.sign(message))
            .ok_or(rcgen::Error::RemoteKeyError)
    }
}

pub(super) fn encode(
    profile: &CertificateProfile,
    extensions: &[Extension],
    subject_key: &VerifyingKey,
    issuer_key: &SigningKey,
) -> Result<CertificateDer<'static>, CertificateError> {
    let subject_key = match subject_key {
        VerifyingKey::Ed25519(_) => Key {
            public: *subject_key,
            private: None,
        },
        VerifyingKey::Ed448(_) => {
            let why = "not an Ed25519 key";
            return Err(CertificateError::Encode(why.to_owned()));
        }
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&profile.subject);
    params.serial_number = Some(SerialNumber::from_slice(&profile.serial));
    params.not_before = profile.not_before;
    params.not_after = profile.not_after;
    params.custom_extensions = extensions
        .iter()
        .map(|extension| {
            let value = extension.value.clone();
            let mut custom = CustomExtension::from_oid_content(extension.oid, value);
            custom.set_criticality(extension.critical);
            custom
        })
        .collect();
    let mut issuer_params = CertificateParams::default();
    issuer_params.distinguished_name = name(&profile.issuer);
    let issuer = Issuer::new(
        issuer_params,
        Key {
            public: issuer_key.verifying_key(),
            private: Some(issuer_key),
        },
    );
    params
        .signed_by(&subject_key, &issuer)
        .map(Into::into)
        .map_err(|e| CertificateError::Encode(e.to_string()))
}

fn name(of: &DistinguishedName) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    for (oid, text) in of.attributes() {
        let kind = if oid == OID_COMMON_NAME {
            DnType::CommonName
        } else {
            DnType::OrganizationName
        };
        name.push(kind, DnValue::Utf8String(text.to_owned()));
    }
    name
}
