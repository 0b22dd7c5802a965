//! Validation of certificate chains as SMP peers do it (spec: protocol §2.4, §2.5).
//!
//! The last certificate of the chain is the only trust anchor, names are matched byte for byte,
//! host names and extended key usage do not matter. WebPKI rules would refuse these certificates.

use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use crate::crypto::certificate::{CertificateError, certified_key};
use crate::crypto::keys::VerifyingKey;

pub use crate::crypto::certificate::MAX_CHAIN;

/// Why a chain is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// More certificates than [`MAX_CHAIN`].
    #[error("certificate chain too long")]
    TooLong,
    /// Fewer certificates than this role needs.
    #[error("certificate chain too short")]
    TooShort,
    /// The identity certificate is not the expected one.
    #[error("unexpected identity certificate")]
    WrongIdentity,
    /// Not a DER X.509 certificate, or with duplicate or malformed extensions.
    #[error("malformed certificate")]
    Malformed,
    /// The leaf is not X.509 version 3.
    #[error("leaf certificate is not version 3")]
    Version,
    /// The leaf may not make signatures.
    #[error("leaf certificate may not sign")]
    KeyUsage,
    /// Outside its validity period.
    #[error("certificate expired or not yet valid")]
    Expired,
    /// No path to the last certificate of the chain.
    #[error("unknown certificate issuer")]
    UnknownIssuer,
    /// An issuer that is not allowed to issue.
    #[error("issuer is not a certificate authority")]
    NotAuthority,
    /// A signature that does not verify, or by a key that is neither Ed25519 nor Ed448.
    #[error("bad certificate signature")]
    Signature,
}

/// The public key of a DER certificate.
pub fn leaf_key(certificate: &[u8]) -> Result<VerifyingKey, PathError> {
    certified_key(certificate).map_err(|e| match e {
        CertificateError::Key(_) => PathError::Signature,
        _ => PathError::Malformed,
    })
}

/// Checks a chain, `leaf` first and trust anchor last, at the time `now`.
///
/// The anchor's own validity and extensions do not matter. With three or four certificates the
/// leaf must have been issued by the second one: it is the identity of the peer, so a path that
/// goes round it would prove nothing. (The reference lets such a path pass.)
pub fn validate(
    leaf: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), PathError> {
    if issuers.len() >= MAX_CHAIN {
        return Err(PathError::TooLong);
    }
    let now = i64::try_from(now.as_secs()).map_err(|_| PathError::Expired)?;
    let now = ASN1Time::from_timestamp(now).map_err(|_| PathError::Expired)?;
    let leaf = parse(leaf)?;
    let mut others = Vec::with_capacity(issuers.len());
    for issuer in issuers {
        others.push(parse(issuer)?);
    }

    check_leaf(&leaf)?;
    if let [identity, _, ..] = others.as_slice() {
        issued_by(&leaf, identity)?;
    }
    let anchor = others.last().unwrap_or(&leaf);
    let mut used = [false; MAX_CHAIN];
    let (mut current, mut level) = (&leaf, 0);
    loop {
        if !current.validity().is_valid_at(now) {
            return Err(PathError::Expired);
        }
        if current.issuer().as_raw() == anchor.subject().as_raw() {
            return issued_by(current, anchor);
        }
        let next = others
            .iter()
            .zip(&mut used)
            .find(|(other, used)| !**used && other.subject().as_raw() == current.issuer().as_raw());
        let (issuer, used) = next.ok_or(PathError::UnknownIssuer)?;
        *used = true;
        check_authority(issuer, level)?;
        issued_by(current, issuer)?;
        (current, level) = (issuer, level + 1);
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PathError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PathError::Malformed),
    }
}

fn key(certificate: &X509Certificate<'_>) -> Result<VerifyingKey, PathError> {
    VerifyingKey::from_spki(certificate.public_key().raw).map_err(|_| PathError::Signature)
}

fn check_leaf(leaf: &X509Certificate<'_>) -> Result<(), PathError> {
    if leaf.version() != X509Version::V3 {
        return Err(PathError::Version);
    }
    match leaf.key_usage().map_err(|_| PathError::Malformed)? {
        Some(usage) if !usage.value.digital_signature() => Err(PathError::KeyUsage),
        _ => Ok(()),
    }
}

/// `level` is the number of issuers between this one and the leaf.
fn check_authority(issuer: &X509Certificate<'_>, level: u32) -> Result<(), PathError> {
    let constraints = issuer.basic_constraints();
    let constraints = constraints.map_err(|_| PathError::Malformed)?;
    let constraints = constraints.ok_or(PathError::NotAuthority)?.value;
    let deep = constraints
        .path_len_constraint
        .is_some_and(|max| max < level);
    let usage = issuer.key_usage().map_err(|_| PathError::Malformed)?;
    let signs = usage.is_none_or(|usage| usage.value.key_cert_sign());
    if constraints.ca && !deep && signs {
        Ok(())
    } else {
        Err(PathError::NotAuthority)
    }
}

fn issued_by(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), PathError> {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(PathError::UnknownIssuer);
    }
    let key = key(issuer)?;
    // A signature algorithm has the same identifier as its key in both curves (RFC 8410 §3).
    let algorithm = &issuer.public_key().algorithm.algorithm;
    let signature = &certificate.signature_value;
    let verified = certificate.signature_algorithm.algorithm == *algorithm
        && signature.unused_bits == 0
        && key.verify(certificate.tbs_certificate.as_ref(), &signature.data);
    if verified {
        Ok(())
    } else {
        Err(PathError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::test_certificates::{
        Algorithm::{self, Ed448, Ed25519},
        Authority, Template, now,
    };

    /// A chain of `algorithms.len()` authorities above a leaf, nearest issuer first.
    fn chain(algorithms: &[Algorithm]) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>) {
        let mut authorities: Vec<Authority> = Vec::new();
        for (i, algorithm) in algorithms.iter().rev().enumerate() {
            let name = format!("CA {i}");
            let next = match authorities.last() {
                None => Authority::new(*algorithm, &name),
                Some(parent) => parent.subordinate(*algorithm, &name),
            };
            authorities.push(next);
        }
        let leaf = authorities.last().unwrap().server(Ed25519).0;
        let issuers = authorities.into_iter().rev().map(|a| a.certificate);
        (leaf, issuers.collect())
    }

    #[test]
    fn accepts_two_three_and_four_certificates() {
        for algorithms in [
            &[Ed25519][..],
            &[Ed448],
            &[Ed25519, Ed448],
            &[Ed448, Ed25519, Ed25519],
        ] {
            let (leaf, issuers) = chain(algorithms);
            assert_eq!(validate(&leaf, &issuers, now()), Ok(()));
        }
    }

    #[test]
    fn accepts_a_single_self_signed_certificate_without_extensions() {
        for algorithm in [Ed25519, Ed448] {
            let (certificate, _) = Authority::self_signed(algorithm, "simplex");
            assert_eq!(validate(&certificate, &[], now()), Ok(()));
        }
    }

    #[test]
    fn refuses_five_certificates() {
        let (leaf, issuers) = chain(&[Ed25519; 4]);
        assert_eq!(validate(&leaf, &issuers, now()), Err(PathError::TooLong));
    }

    #[test]
    fn refuses_a_leaf_of_another_authority_with_the_same_name() {
        let ca = Authority::new(Ed25519, "SMP server CA");
        let impostor = Authority::new(Ed25519, "SMP server CA");
        let leaf = impostor.server(Ed25519).0;
        let result = validate(&leaf, &[ca.certificate], now());
        assert_eq!(result, Err(PathError::Signature));
    }

    #[test]
    fn refuses_an_unrelated_anchor() {
        let ca = Authority::new(Ed25519, "one");
        let other = Authority::new(Ed25519, "other");
        let leaf = ca.server(Ed25519).0;
        let result = validate(&leaf, &[other.certificate], now());
        assert_eq!(result, Err(PathError::UnknownIssuer));
    }

    #[test]
    fn refuses_a_path_round_the_identity_certificate() {
        let victim = Authority::new(Ed25519, "victim");
        let attacker = Authority::new(Ed25519, "attacker");
        let leaf = attacker.server(Ed25519).0;
        let issuers = [victim.certificate, attacker.certificate];
        assert_eq!(
            validate(&leaf, &issuers, now()),
            Err(PathError::UnknownIssuer)
        );
    }

    #[test]
    fn checks_the_leaf() {
        let ca = Authority::new(Ed25519, "SMP server CA");
        let check = |change: &dyn Fn(&mut Template)| {
            let mut template = Template::server();
            change(&mut template);
            let leaf = ca.issue(Ed25519, "localhost", &template).0;
            validate(&leaf, std::slice::from_ref(&ca.certificate), now())
        };
        assert_eq!(check(&|_| ()), Ok(()));
        assert_eq!(check(&|t| t.version = None), Err(PathError::Version));
        assert_eq!(
            check(&|t| *t = Template::version_1()),
            Err(PathError::Version)
        );
        assert_eq!(
            check(&|t| t.key_usage = Some(Template::CERT_SIGN)),
            Err(PathError::KeyUsage)
        );
        assert_eq!(check(&|t| t.key_usage = None), Ok(()));
        assert_eq!(
            check(&|t| t.not_after = "20200101000000Z"),
            Err(PathError::Expired)
        );
        assert_eq!(
            check(&|t| t.not_before = "21990101000000Z"),
            Err(PathError::Expired)
        );
    }

    #[test]
    fn ignores_validity_and_extensions_of_the_anchor() {
        let mut template = Template::server();
        template.not_after = "20200101000000Z";
        let ca = Authority::with_template(Ed25519, "old", &template);
        let leaf = ca.server(Ed25519).0;
        assert_eq!(validate(&leaf, &[ca.certificate], now()), Ok(()));
    }

    #[test]
    fn checks_intermediate_authorities() {
        let root = Authority::new(Ed25519, "root");
        let check = |change: &dyn Fn(&mut Template)| {
            let mut template = Template::authority();
            change(&mut template);
            let middle = root.subordinate_with(Ed25519, "middle", &template);
            let leaf = middle.server(Ed25519).0;
            validate(
                &leaf,
                &[middle.certificate, root.certificate.clone()],
                now(),
            )
        };
        assert_eq!(check(&|_| ()), Ok(()));
        assert_eq!(check(&|t| t.ca = Some(false)), Err(PathError::NotAuthority));
        assert_eq!(check(&|t| t.ca = None), Err(PathError::NotAuthority));
        assert_eq!(
            check(&|t| t.key_usage = Some(Template::DIGITAL_SIGNATURE)),
            Err(PathError::NotAuthority)
        );
        assert_eq!(check(&|t| t.key_usage = Some(Template::CERT_SIGN)), Ok(()));
        assert_eq!(
            check(&|t| t.not_after = "20200101000000Z"),
            Err(PathError::Expired)
        );
    }

    #[test]
    fn malformed_input_is_an_error() {
        let (leaf, issuers) = chain(&[Ed448]);
        for cut in 0..leaf.len() {
            let broken = CertificateDer::from(&leaf[..cut]);
            assert!(validate(&broken, &issuers, now()).is_err());
        }
        // No signature covers the outer algorithm identifier, in front of the signature itself.
        let unsigned = leaf.len() - 117 - 7..leaf.len() - 117;
        for cut in (0..leaf.len()).filter(|cut| !unsigned.contains(cut)) {
            let mut flipped = leaf.to_vec();
            flipped[cut] ^= 0x10;
            assert!(validate(&flipped.into(), &issuers, now()).is_err(), "{cut}");
        }
        let mut trailing = leaf.to_vec();
        trailing.push(0);
        let result = validate(&trailing.into(), &issuers, now());
        assert_eq!(result, Err(PathError::Malformed));
    }
}
