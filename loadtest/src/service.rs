//! Service clients: their certificates, and what is signed for them in a session
//! (spec: protocol §5.3, §7.4).

use smp_server::crypto::authorization::{Authorized, Signer, sign_authorized};
use smp_server::crypto::certificate::{
    CertificateError, CertificateProfile, CertificateRole, DistinguishedName, KeyAlgorithm,
    SERVICE_COMMON_NAME, certificates_from_pem, private_key_from_pem,
};
use smp_server::crypto::keys::{ED25519_SIGNATURE_LEN, SigningKey};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, Response};
use smp_server::transport::credential::{Credential, CredentialError};
use thiserror::Error;
use time::OffsetDateTime;

use crate::client::Client;
use crate::error::ClientError;
use crate::outbox::{Auth, CorrId};

/// Why credentials cannot be made or read.
#[derive(Debug, Error)]
pub enum ServiceCredentialsError {
    /// A certificate or key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Certificates and key do not belong together.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// A service's certificate chain with the key of its leaf, and the role it claims.
#[derive(Debug, Clone)]
pub struct ServiceCredentials {
    /// Role for the hello; a server binds a certificate to the first.
    pub role: ServiceRole,
    /// Chain and key.
    pub credential: Credential,
}

impl ServiceCredentials {
    /// A fresh self-signed Ed25519 certificate without extensions.
    pub fn generate(role: ServiceRole) -> Result<Self, ServiceCredentialsError> {
        Self::generate_chain(role, KeyAlgorithm::Ed25519, 1)
    }

    /// A fresh leaf under `length - 1` fresh authorities, 1 to 4 certificates. A single one has to
    /// be Ed25519.
    pub fn generate_chain(
        role: ServiceRole,
        algorithm: KeyAlgorithm,
        length: usize,
    ) -> Result<Self, ServiceCredentialsError> {
        let name = |level| match level {
            0 => DistinguishedName::common(SERVICE_COMMON_NAME),
            _ => DistinguishedName::common(&format!("authority {level}")),
        };
        let keys = (0..length)
            .map(|_| algorithm.generate(&mut rand::rng()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(CertificateError::from)?;
        let mut chain = Vec::with_capacity(length);
        for (level, key) in keys.iter().enumerate() {
            let issuer = (level + 1).min(length - 1);
            let profile = CertificateProfile {
                role: match level {
                    0 if length == 1 => CertificateRole::Service,
                    0 => CertificateRole::Server,
                    _ => CertificateRole::Authority,
                },
                subject: name(level),
                issuer: name(issuer),
                // Valid whatever the clock says.
                ..CertificateProfile::service(OffsetDateTime::UNIX_EPOCH)
            };
            chain.push(profile.issue(&key.verifying_key(), &keys[issuer])?);
        }
        let leaf_key = keys.into_iter().next().ok_or(CredentialError::Invalid)?;
        let credential = Credential::new(chain, leaf_key)?;
        Ok(Self { role, credential })
    }

    /// Reads a chain, leaf first, and the leaf's PKCS#8 key in PEM form.
    pub fn from_pem(
        role: ServiceRole,
        certificates: &[u8],
        key: &[u8],
    ) -> Result<Self, ServiceCredentialsError> {
        let chain = certificates_from_pem(certificates)?;
        let credential = Credential::new(chain, private_key_from_pem(key)?)?;
        Ok(Self { role, credential })
    }

    /// The same certificate claiming another role.
    #[must_use]
    pub fn with_role(&self, role: ServiceRole) -> Self {
        Self {
            role,
            credential: self.credential.clone(),
        }
    }
}

/// The service of a session.
#[derive(Debug)]
pub struct ServiceSession {
    /// Its id, as the server told it.
    pub id: Vec<u8>,
    /// Its role.
    pub role: ServiceRole,
    /// SHA-256 of the identity certificate.
    pub fingerprint: [u8; 32],
    /// Signs for the service in this session, Ed25519.
    pub key: SigningKey,
}

impl ServiceSession {
    /// What `NEW`, `SUB` and `NSUB` carry.
    pub fn proof(&self) -> ServiceProof<'_> {
        ServiceProof {
            fingerprint: Some(&self.fingerprint),
            signer: Some(&self.key),
        }
    }

    /// The authorization of `SUBS` and `NSUBS`, whose entity is the service.
    pub fn auth(&self) -> Auth<'_> {
        Auth::Sign(&self.key)
    }
}

/// The part of an authorization that speaks of a service; anything can be said.
#[derive(Debug, Clone, Copy)]
pub struct ServiceProof<'a> {
    /// What the entity key authorises in front of the transmission.
    pub fingerprint: Option<&'a [u8; 32]>,
    /// Makes the service signature, Ed25519; without it there is none.
    pub signer: Option<&'a SigningKey>,
}

impl ServiceProof<'_> {
    /// That of ordinary sessions.
    pub const NONE: Self = Self {
        fingerprint: None,
        signer: None,
    };

    /// Whether `command` needs a proof in a session of a service.
    pub fn is_required(command: &Command<'_>) -> bool {
        matches!(command, Command::New(_) | Command::Sub | Command::NSub)
    }

    /// The service signature of `authorized`, which is without fingerprint.
    pub(crate) fn sign(
        &self,
        authorized: &Authorized<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<[u8; ED25519_SIGNATURE_LEN]>, ClientError> {
        let Some(key) = self.signer else {
            return Ok(None);
        };
        let signature = sign_authorized(Signer::Key(key), &[], authorized, scratch);
        let signature = signature.try_into().map_err(|_| ClientError::ServiceKey)?;
        Ok(Some(signature))
    }
}

impl Client {
    /// Id of the service this session belongs to.
    pub fn service_id(&self) -> Option<&[u8]> {
        self.service().map(|service| &service.id[..])
    }

    /// Sends `SUBS` or `NSUBS` for the session's service and waits for the answer.
    pub async fn service_command(
        &mut self,
        command: &Command<'_>,
    ) -> Result<Response<'static>, ClientError> {
        let service = self.service().cloned().ok_or(ClientError::NoService)?;
        self.command(command, &service.id, service.auth()).await
    }

    /// Stages a command with a proof of a service that need not be right, see
    /// [`Outbox::send_with`](crate::Outbox::send_with).
    pub fn send_with(
        &mut self,
        command: &Command<'_>,
        entity: &[u8],
        auth: Auth<'_>,
        proof: ServiceProof<'_>,
    ) -> Result<CorrId, ClientError> {
        let corr_id = self.outbox().fresh_corr_id();
        self.outbox()
            .send_with(&corr_id, command, entity, auth, proof)?;
        Ok(corr_id)
    }
}
