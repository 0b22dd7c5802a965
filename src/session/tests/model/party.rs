//! Keys, and connections that authorise commands with them.

use crate::crypto::authorization::{Authorized, Signer, sign_authorized};
use crate::crypto::keys::{PublicAuthKey, X25519PublicKey, X25519SecretKey};
use crate::crypto::smp_box::BoxKey;
use crate::protocol::handshake::ServiceRole;
use crate::protocol::transmission::{put_sent, put_transmission};
use crate::protocol::{Command, Version};
use crate::relay::tests::clients::{Key, ed25519};
use crate::relay::{ServiceSession, SessionContext, SessionRef};
use crate::store::Id;
use std::sync::Arc;

/// Which key of the ring.
pub type KeyNo = usize;

/// Keys of recipients: [`RECIPIENTS`], of senders: [`SENDERS`], of notifiers: [`NOTIFIERS`].
#[derive(Debug)]
pub struct Ring {
    keys: Vec<Key>,
    public: Vec<PublicAuthKey>,
    service: Key,
}

pub const RECIPIENTS: std::ops::Range<KeyNo> = 0..3;
pub const SENDERS: std::ops::Range<KeyNo> = 3..5;
pub const NOTIFIERS: std::ops::Range<KeyNo> = 5..7;

impl Ring {
    pub fn new() -> Self {
        let mut keys: Vec<_> = (1..7).map(ed25519).collect();
        // Authenticators take another way through verification.
        keys.insert(2, Key::Agreeing(X25519SecretKey::from_bytes([9; 32])));
        let public = keys.iter().map(Key::public).collect();
        let service = ed25519(99);
        Self {
            keys,
            public,
            service,
        }
    }

    pub fn public(&self, key: KeyNo) -> PublicAuthKey {
        self.public[key]
    }

    /// The key of sessions of services.
    pub fn service_key(&self) -> [u8; 32] {
        match self.service.public() {
            PublicAuthKey::Ed25519(key) => key,
            other => panic!("{other:?}"),
        }
    }

    /// The number of a public key.
    pub fn number_of(&self, public: &PublicAuthKey) -> Option<KeyNo> {
        self.public.iter().position(|key| key == public)
    }
}

/// What authorises a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Nobody,
    Key(KeyNo),
    /// The service's session key, alone.
    Service,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Party {
    pub session: SessionRef,
    pub context: Arc<SessionContext>,
    server_key: X25519PublicKey,
}

impl Party {
    pub fn new(
        session: SessionRef,
        number: u64,
        version: Version,
        service: Option<ServiceSession>,
    ) -> Self {
        let mut session_id = [0x5e; 32];
        session_id[..8].copy_from_slice(&number.to_be_bytes());
        let secret = X25519SecretKey::from_bytes(session_id);
        let server_key = secret.public_key();
        let has_key = version >= Version::AUTH_COMMANDS;
        let context = SessionContext::new(version, &session_id, has_key.then_some(secret));
        let context = match service {
            Some(service) => context.with_service(service),
            None => context,
        };
        Self {
            session,
            context: Arc::new(context),
            server_key,
        }
    }

    pub fn service(&self) -> Option<&ServiceSession> {
        self.context.service()
    }

    /// Whether a signature or authenticator with a key is worth anything here.
    pub fn can_prove(&self, key: &PublicAuthKey) -> bool {
        self.context.secret().is_some() || !matches!(key, PublicAuthKey::X25519(_))
    }

    pub fn is_notifier(&self) -> bool {
        self.service()
            .is_some_and(|s| s.role == ServiceRole::Notifier)
    }

    /// The bytes of a command.
    pub fn transmission(
        &self,
        ring: &Ring,
        corr_id: &Id,
        entity: &[u8],
        command: &Command<'_>,
        by: By,
        service_signed: bool,
    ) -> Vec<u8> {
        let (version, session_id) = (self.context.version(), self.context.session_id());
        let mut sent = Vec::new();
        put_sent(&mut sent, version, session_id, corr_id, entity, |out| {
            command.encode(version, out);
        });
        let authorized = || {
            if version < Version::AUTH_COMMANDS {
                Authorized::sent_only(&sent)
            } else {
                Authorized::new(session_id, &sent)
            }
        };
        let sign = |key: &Key, authorized: &Authorized<'_>| match key {
            Key::Signing(key) => {
                sign_authorized(Signer::Key(key), corr_id, authorized, &mut Vec::new())
            }
            Key::Agreeing(key) => {
                let secret = BoxKey::from(&key.agree(&self.server_key));
                sign_authorized(
                    Signer::Secret(&secret),
                    corr_id,
                    authorized,
                    &mut Vec::new(),
                )
            }
        };
        let service_signature = service_signed.then(|| {
            let signature = sign(&ring.service, &authorized());
            <[u8; 64]>::try_from(signature).expect("Ed25519")
        });
        let with_service = match self.service().filter(|_| service_signed) {
            Some(service) => authorized().for_service(&service.fingerprint),
            None => authorized(),
        };
        let authorization = match by {
            By::Nobody => Vec::new(),
            By::Key(key) => sign(&ring.keys[key], &with_service),
            By::Service => sign(&ring.service, &authorized()),
        };
        let mut out = Vec::new();
        let signature = service_signature.as_ref();
        put_transmission(&mut out, version, &authorization, signature, &sent);
        out
    }
}
