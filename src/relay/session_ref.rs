//! How shards know sessions.

use crate::crypto::keys::X25519SecretKey;
use crate::protocol::Version;
use crate::protocol::handshake::ServiceRole;
use crate::store::Id;

/// A session of some core. The generation tells a session from an earlier one of the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRef {
    /// Core that accepted the connection.
    pub core: u16,
    /// Place in that core's table.
    pub slot: u32,
    /// Use count of the place.
    pub generation: u32,
}

/// The service a session belongs to (spec: protocol §5.3, §7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSession {
    /// Id of the service, stable for its certificate.
    pub id: Id,
    /// What the service may do.
    pub role: ServiceRole,
    /// SHA-256 of the identity certificate.
    pub fingerprint: [u8; 32],
    /// Ed25519 key that signs for the service in this session.
    pub session_key: [u8; 32],
}

/// What shards need to know of a session to verify its commands; immutable and shared.
#[derive(Debug)]
pub struct SessionContext {
    version: Version,
    session_id: Vec<u8>,
    secret: Option<X25519SecretKey>,
    service: Option<Box<ServiceSession>>,
}

impl SessionContext {
    /// `secret` is the server's session key when the hello carried one.
    pub fn new(version: Version, session_id: &[u8], secret: Option<X25519SecretKey>) -> Self {
        Self {
            version,
            session_id: session_id.to_vec(),
            secret,
            service: None,
        }
    }

    /// The same session as a service's.
    #[must_use]
    pub fn with_service(self, service: ServiceSession) -> Self {
        Self {
            service: Some(Box::new(service)),
            ..self
        }
    }

    /// Negotiated version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Session id, 12 to 48 bytes.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// Server's session key, for authenticators.
    pub fn secret(&self) -> Option<&X25519SecretKey> {
        self.secret.as_ref()
    }

    /// The service, when the client proved to be one.
    pub fn service(&self) -> Option<&ServiceSession> {
        self.service.as_deref()
    }
}

/// Place of a command in its session: which block, which item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Number of the block within the session, wrapping.
    pub batch: u32,
    /// Index in the block.
    pub index: u8,
}
