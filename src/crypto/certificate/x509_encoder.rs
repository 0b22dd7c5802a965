//! Encodes a certificate whose issuer signs with Ed448.

use super::{CertificateError, CertificateProfile, DistinguishedName, Extension};
use crate::crypto::keys::{KEY_ED448_LEN, SigningKey, VerifyingKey};
use ed25519_dalek::ed25519::signature::Keypair;
use rustls_pki_types::CertificateDer;
use std::time::SystemTime;
use time::OffsetDateTime;
use x509_cert::TbsCertificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder, CertificateBuilder};
use x509_cert::der::asn1::{Any, BitString, BitStringRef, OctetString, SetOfVec};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{self, Decode, Document, Encode, Tag};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, AlgorithmIdentifierRef, DynSignatureAlgorithmIdentifier,
    EncodePublicKey, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};

const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");

/// The issuer's public key, as the builder wants to see it.
#[derive(Clone)]
struct PublicKey([u8; KEY_ED448_LEN]);

impl EncodePublicKey for PublicKey {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        let algorithm = AlgorithmIdentifierRef {
            oid: ED448,
            parameters: None,
        };
        SubjectPublicKeyInfoRef {
            algorithm,
            subject_public_key: BitStringRef::from_bytes(&self.0)?,
        }
        .try_into()
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
        Ok(AlgorithmIdentifierOwned {
            oid: ED448,
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
    let VerifyingKey::Ed448(issuer) = issuer_key.verifying_key() else {
        return Err(CertificateError::Encode("not an Ed448 issuer".to_owned()));
    };
    // Without extensions the builder would make a version 1 certificate.
    if extensions.is_empty() {
        let why = "service certificates are Ed25519";
        return Err(CertificateError::Encode(why.to_owned()));
    }
    build(profile, extensions, subject_key, issuer, issuer_key)
        .map_err(|e| CertificateError::Encode(e.to_string()))
}

fn build(
    profile: &CertificateProfile,
    extensions: &[Extension],
    subject_key: &VerifyingKey,
    issuer: [u8; KEY_ED448_LEN],
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
    let issuer = IssuerKey(PublicKey(issuer));
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
