//! Encodes a certificate with an Ed448 key on one side at least.

use super::{CertificateError, CertificateProfile, DistinguishedName, Extension};
use crate::crypto::keys::{SigningKey, VerifyingKey};
use ed25519_dalek::ed25519::signature::Keypair;
use rustls_pki_types::CertificateDer;
use std::time::SystemTime;
use time::OffsetDateTime;
use x509_cert::TbsCertificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder, CertificateBuilder};
use x509_cert::der::asn1::{Any, BitString, OctetString, SetOfVec};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{self, Decode, Document, Encode, Tag};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");

/// The issuer's public key, as the builder wants to see it.
#[derive(Clone)]
struct PublicKey(VerifyingKey);

impl EncodePublicKey for PublicKey {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.to_spki())?)
    }
}

/// The issuer, without its private key: signing is ours.
struct IssuerKey(PublicKey);

impl Keypair for IssuerKey {
    type VerifyingKey = PublicKey;

    fn verifying_key(&self) -> PublicKey {
        self.0.clone()
    }
}

impl DynSignatureAlgorithmIdentifier for IssuerKey {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        let oid = match self.0.0 {
            VerifyingKey::Ed25519(_) => ED25519,
            VerifyingKey::Ed448(_) => ED448,
        };
        Ok(AlgorithmIdentifierOwned {
            oid,
            parameters: None,
        })
    }
}

/// A profile whose parts are ready.
struct Ready {
    subject: Name,
    issuer: Name,
    extensions: Vec<x509_cert::ext::Extension>,
}

impl BuilderProfile for Ready {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> builder::Result<Vec<x509_cert::ext::Extension>> {
        Ok(self.extensions.clone())
    }
}

pub(super) fn encode(
    profile: &CertificateProfile,
    extensions: &[Extension],
    subject_key: &VerifyingKey,
    issuer_key: &SigningKey,
) -> Result<CertificateDer<'static>, CertificateError> {
    // Without extensions the builder would make a version 1 certificate.
    if extensions.is_empty() {
        let why = "service certificates are Ed25519";
        return Err(CertificateError::Encode(why.to_owned()));
    }
    build(profile, extensions, subject_key, issuer_key)
        .map_err(|e| CertificateError::Encode(e.to_string()))
}

fn build(
    profile: &CertificateProfile,
    extensions: &[Extension],
    subject_key: &VerifyingKey,
    issuer_key: &SigningKey,
) -> builder::Result<CertificateDer<'static>> {
    let ready = Ready {
        subject: name(&profile.subject)?,
        issuer: name(&profile.issuer)?,
        extensions: extensions
            .iter()
            .map(extension)
            .collect::<der::Result<_>>()?,
    };
    let validity = Validity::new(time(profile.not_before)?, time(profile.not_after)?);
    let serial = SerialNumber::new(&profile.serial)?;
    let spki = SubjectPublicKeyInfoOwned::from_der(&subject_key.to_spki())?;
    let mut certificate = CertificateBuilder::new(ready, serial, validity, spki)?;
    let issuer = IssuerKey(PublicKey(issuer_key.verifying_key()));
    let signed = certificate.finalize(&issuer)?;
    let signature = BitString::from_bytes(&issuer_key.sign(&signed))?;
    let der = certificate.assemble(signature, &issuer)?.to_der()?;
    Ok(CertificateDer::from(der))
}

fn time(at: OffsetDateTime) -> der::Result<Time> {
    Time::try_from(SystemTime::from(at))
}

fn extension(of: &Extension) -> der::Result<x509_cert::ext::Extension> {
    Ok(x509_cert::ext::Extension {
        extn_id: oid(of.oid)?,
        critical: of.critical,
        extn_value: OctetString::new(of.value.clone())?,
    })
}

fn name(of: &DistinguishedName) -> der::Result<Name> {
    let mut sequence = RdnSequence::default();
    for (kind, text) in of.attributes() {
        let attribute = AttributeTypeAndValue {
            oid: oid(kind)?,
            value: Any::new(Tag::Utf8String, text.as_bytes())?,
        };
        let set = SetOfVec::try_from(vec![attribute])?;
        sequence.push(RelativeDistinguishedName::from(set));
    }
    Name::from_der(&sequence.to_der()?)
}

fn oid(arcs: &[u64]) -> der::Result<ObjectIdentifier> {
    // The arcs of this module's names are all small.
    let arcs = arcs
        .iter()
        .map(|&arc| u32::try_from(arc).unwrap_or(u32::MAX));
    Ok(ObjectIdentifier::from_arcs(arcs)?)
}
