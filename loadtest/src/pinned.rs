//! Verification of server certificates that pays for each chain once.
//!
//! A load generator sees the same certificates in every connection. The proof that the server
//! holds the key is checked every time.

use std::sync::OnceLock;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use smp_server::crypto::certificate::Fingerprint;
use smp_server::transport::verify::PinnedServer;

/// A [`PinnedServer`] that remembers the first chain it accepted.
#[derive(Debug)]
pub(crate) struct RememberingVerifier {
    inner: PinnedServer,
    accepted: OnceLock<Vec<CertificateDer<'static>>>,
}

impl RememberingVerifier {
    pub(crate) fn new(identity: Fingerprint) -> Self {
        Self {
            inner: PinnedServer::new(identity),
            accepted: OnceLock::new(),
        }
    }
}

impl ServerCertVerifier for RememberingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some((leaf, rest)) = self.accepted.get().and_then(|c| c.split_first())
            && leaf == end_entity
            && rest == intermediates
        {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        self.accepted.get_or_init(|| {
            let chain = std::iter::once(end_entity).chain(intermediates);
            chain.map(|c| c.clone().into_owned()).collect()
        });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
