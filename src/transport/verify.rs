//! The two certificate verifiers of `rustls`: relays by fingerprint, service clients by path.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::path::{self, PathError};
use super::provider::SIGNATURE_SCHEMES;
use crate::crypto::certificate::Fingerprint;
use crate::crypto::keys::VerifyingKey;

/// Accepts the relay whose identity certificate has the expected fingerprint
/// (spec: protocol §2.5). Host names are not checked.
#[derive(Debug)]
pub struct PinnedServer {
    identity: Fingerprint,
}

impl PinnedServer {
    /// `identity` is the key hash of the relay's address.
    pub fn new(identity: Fingerprint) -> Self {
        Self { identity }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), PathError> {
        let identity = issuers.first().ok_or(PathError::TooShort)?;
        if Fingerprint::of(identity) != self.identity {
            return Err(PathError::WrongIdentity);
        }
        path::validate(leaf, issuers, now)
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now)
            .map_err(certificate_error)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURE_SCHEMES.to_vec()
    }
}

/// Asks every client for a certificate, requires none, and accepts any valid chain of one to four
/// (spec: protocol §2.8). What the certificate is worth is decided in the SMP handshake.
#[derive(Debug)]
pub struct OptionalClient;

impl ClientCertVerifier for OptionalClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        path::validate(end_entity, intermediates, now).map_err(certificate_error)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURE_SCHEMES.to_vec()
    }
}

/// Chooses the alert: certificate_expired, unknown_ca or certificate_unknown.
fn certificate_error(error: PathError) -> Error {
    Error::InvalidCertificate(match error {
        PathError::Expired => CertificateError::Expired,
        PathError::UnknownIssuer | PathError::WrongIdentity => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = path::leaf_key(certificate).map_err(certificate_error)?;
    let scheme = match key {
        VerifyingKey::Ed25519(_) => SignatureScheme::ED25519,
        VerifyingKey::Ed448(_) => SignatureScheme::ED448,
    };
    if signed.scheme != scheme {
        return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    if key.verify(message, signed.signature()) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::test_certificates::{Algorithm::Ed25519, Authority, now};

    #[test]
    fn the_pin_is_the_second_certificate() {
        let root = Authority::new(Ed25519, "operator");
        let identity = root.subordinate(Ed25519, "SMP server CA");
        let leaf = identity.server(Ed25519).0;
        let chain = [identity.certificate, root.certificate];
        let check = |pin: &CertificateDer<'_>| {
            PinnedServer::new(Fingerprint::of(pin)).check(&leaf, &chain, now())
        };
        assert_eq!(check(&chain[0]), Ok(()));
        assert_eq!(check(&chain[1]), Err(PathError::WrongIdentity));
        assert_eq!(check(&leaf), Err(PathError::WrongIdentity));
    }

    #[test]
    fn a_server_needs_two_certificates() {
        let (certificate, _) = Authority::self_signed(Ed25519, "alone");
        let verifier = PinnedServer::new(Fingerprint::of(&certificate));
        let result = verifier.check(&certificate, &[], now());
        assert_eq!(result, Err(PathError::TooShort));
    }
}
