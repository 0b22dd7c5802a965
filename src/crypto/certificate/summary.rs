//! What an operator's program reads of a certificate.

use super::{CertificateError, DistinguishedName, KeyAlgorithm};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::oid_registry::{OID_SIG_ED448, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

/// Facts of a certificate; nothing in it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// First common name of the subject; the inner error when it is no text.
    pub common_name: Option<Result<String, NotText>>,
    /// First organization of the subject, if that is text.
    pub organization: Option<String>,
    /// Algorithm of the signature, that is of the issuer's key; else its object identifier.
    pub signed_with: Result<KeyAlgorithm, String>,
    /// First second of validity.
    pub not_before: OffsetDateTime,
    /// Last second of validity.
    pub not_after: OffsetDateTime,
}

/// A name of a kind that is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

impl Summary {
    /// Reads a DER certificate.
    pub fn of(der: &[u8]) -> Result<Self, CertificateError> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return Err(CertificateError::Malformed);
        };
        let subject = certificate.subject();
        let validity = certificate.validity();
        Ok(Self {
            common_name: subject.iter_common_name().next().map(text),
            organization: subject
                .iter_organization()
                .next()
                .and_then(|name| text(name).ok()),
            signed_with: algorithm(&certificate.signature_algorithm.algorithm),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }

    /// The subject as an issuer of certificates made here; none when it has no such name.
    pub fn issuer_name(&self) -> Option<DistinguishedName> {
        let common_name = self.common_name.as_ref()?.as_ref().ok()?.clone();
        Some(DistinguishedName {
            common_name,
            organization: self.organization.clone(),
        })
    }

    /// Whole days of validity that are left at `now`; negative once it is over.
    pub fn days_left(&self, now: OffsetDateTime) -> i64 {
        let left = (self.not_after - now).whole_seconds();
        left.div_euclid(time::Duration::DAY.whole_seconds())
    }
}

fn text(name: &AttributeTypeAndValue<'_>) -> Result<String, NotText> {
    name.as_str().map(str::to_owned).map_err(|_| NotText)
}

fn algorithm(oid: &Oid<'_>) -> Result<KeyAlgorithm, String> {
    if *oid == OID_SIG_ED25519 {
        Ok(KeyAlgorithm::Ed25519)
    } else if *oid == OID_SIG_ED448 {
        Ok(KeyAlgorithm::Ed448)
    } else {
        Err(oid.to_id_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CertificateProfile, VALIDITY_DAYS};
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_364_318).unwrap()
    }

    /// Any algorithm of the authority with any of the server, each as it was asked for.
    #[test]
    fn facts_of_every_pair_of_algorithms() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for above in [KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448] {
            for below in [KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448] {
                let issuer = above.generate(&mut rng).unwrap();
                let key = below.generate(&mut rng).unwrap();
                let name = DistinguishedName::authority();
                let profile = CertificateProfile::server("a.org", name, now(), &mut rng);
                let der = profile.issue(&key.verifying_key(), &issuer).unwrap();
                let summary = Summary::of(&der).unwrap();
                assert_eq!(summary.common_name, Some(Ok("a.org".to_owned())));
                assert_eq!(summary.signed_with, Ok(above));
                assert_eq!(summary.not_before, now());
                assert_eq!(summary.days_left(now()), VALIDITY_DAYS);
                let (_, certificate) = X509Certificate::from_der(&der).unwrap();
                assert_eq!(certificate.public_key().raw, key.verifying_key().to_spki());
                let signed = certificate.tbs_certificate.as_ref();
                let signature = certificate.signature_value.as_ref();
                assert!(issuer.verifying_key().verify(signed, signature));
            }
        }
    }

    #[test]
    fn days_are_counted_down() {
        let name = DistinguishedName::authority();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let key = KeyAlgorithm::Ed25519.generate(&mut rng).unwrap();
        let mut profile = CertificateProfile::server("a.org", name, now(), &mut rng);
        profile.not_after = now() + time::Duration::days(2);
        let der = profile.issue(&key.verifying_key(), &key).unwrap();
        let summary = Summary::of(&der).unwrap();
        assert_eq!(summary.days_left(now()), 2);
        assert_eq!(summary.days_left(now() + time::Duration::SECOND), 1);
        let late = profile.not_after + time::Duration::SECOND;
        assert_eq!(summary.days_left(late), -1);
        assert!(Summary::of(b"rubbish").is_err());
    }
}
