//! Clients of a shard: keys, authorised transmissions, queues and the messages in them.

use crate::crypto::authorization::{Authorized, Signer, sign_authorized};
use crate::crypto::keys::{
    PublicAuthKey, SharedSecret, SigningKey, X25519PublicKey, X25519SecretKey,
};
use crate::crypto::message::{ReceivedBody, decrypt_message};
use crate::crypto::smp_box::BoxKey;
use crate::protocol::command::{NewQueue, QueueRequest};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::transmission::{put_sent, put_transmission};
use crate::protocol::{Command, ErrorType, Response, Version};
use crate::relay::{ServiceSession, SessionContext, SessionRef};
use crate::store::Id;
use std::cell::Cell;
use std::sync::Arc;

/// A command key of any algorithm.
#[derive(Debug)]
pub enum Key {
    /// Signs.
    Signing(SigningKey),
    /// Makes authenticators.
    Agreeing(X25519SecretKey),
}

/// The three algorithms, each with a key made from `seed`.
pub fn keys(seed: u8) -> [Key; 3] {
    [
        ed25519(seed),
        Key::Signing(SigningKey::ed448_from_seed([seed; 57])),
        Key::Agreeing(X25519SecretKey::from_bytes([seed; 32])),
    ]
}

/// The algorithm that today's clients prefer for recipients.
pub fn ed25519(seed: u8) -> Key {
    Key::Signing(SigningKey::ed25519_from_seed([seed; 32]).unwrap())
}

impl Key {
    /// The public half, as in commands.
    pub fn public(&self) -> PublicAuthKey {
        match self {
            Self::Signing(key) => key.verifying_key().into(),
            Self::Agreeing(key) => PublicAuthKey::X25519(key.public_key().0),
        }
    }
}

/// How a transmission is signed for a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceProof<'a> {
    /// What the entity key signs in front of the rest.
    pub fingerprint: Option<&'a [u8; 32]>,
    /// The key of the service signature.
    pub key: Option<&'a Key>,
}

/// A connection after its handshake, as shards see it.
#[derive(Debug)]
pub struct Client {
    pub session: SessionRef,
    pub context: Arc<SessionContext>,
    /// Session key of a service.
    pub service_key: Option<Key>,
    server_key: X25519PublicKey,
    sent: Cell<u64>,
}

impl Client {
    /// The connection number `slot` of executor 0.
    pub fn new(slot: u32, version: Version) -> Self {
        Self::on_core(0, slot, version)
    }

    /// The connection number `slot` of an executor.
    pub fn on_core(core: u16, slot: u32, version: Version) -> Self {
        let secret = X25519SecretKey::from_bytes([0x40 + slot as u8; 32]);
        let server_key = secret.public_key();
        let has_key = version >= Version::AUTH_COMMANDS;
        Self {
            service_key: None,
            session: SessionRef {
                core,
                slot,
                generation: 1,
            },
            context: Arc::new(SessionContext::new(
                version,
                &[slot as u8; 32],
                has_key.then_some(secret),
            )),
            server_key,
            sent: Cell::new(0),
        }
    }

    /// The connection number `slot` of executor 0, of a service.
    pub fn of_service(slot: u32, id: Id, role: ServiceRole, fingerprint: [u8; 32]) -> Self {
        let plain = Self::new(slot, Version::CURRENT);
        let key = ed25519(0x60 + slot as u8);
        let PublicAuthKey::Ed25519(session_key) = key.public() else {
            panic!("not an Ed25519 key");
        };
        let service = ServiceSession {
            id,
            role,
            fingerprint,
            session_key,
        };
        let context = Arc::into_inner(plain.context).unwrap();
        Self {
            context: Arc::new(context.with_service(service)),
            service_key: Some(key),
            ..plain
        }
    }

    /// Id of the service it belongs to.
    #[track_caller]
    pub fn service_id(&self) -> Id {
        self.context.service().unwrap().id
    }

    /// How today's clients of services sign a command.
    fn proof(&self, command: &Command<'_>) -> ServiceProof<'_> {
        let both = matches!(command, Command::New(_) | Command::Sub | Command::NSub);
        match self.context.service() {
            Some(service) if both => ServiceProof {
                fingerprint: Some(&service.fingerprint),
                key: self.service_key.as_ref(),
            },
            _ => ServiceProof::default(),
        }
    }

    /// Another correlation id each time.
    pub fn corr_id(&self) -> Id {
        self.sent.set(self.sent.get() + 1);
        let mut id = [self.session.slot as u8; 24];
        id[..8].copy_from_slice(&self.sent.get().to_be_bytes());
        id
    }

    /// A transmission authorised by `key`; unsigned without one.
    pub fn transmission(&self, key: Option<&Key>, entity: &[u8], command: &Command<'_>) -> Vec<u8> {
        self.transmission_with(&self.corr_id(), key, entity, command)
    }

    /// A transmission with a given correlation id.
    pub fn transmission_with(
        &self,
        corr_id: &[u8],
        key: Option<&Key>,
        entity: &[u8],
        command: &Command<'_>,
    ) -> Vec<u8> {
        let proof = self.proof(command);
        self.transmission_proving(corr_id, key, entity, command, proof)
    }

    /// A transmission that is signed for a service in a given way.
    pub fn transmission_proving(
        &self,
        corr_id: &[u8],
        key: Option<&Key>,
        entity: &[u8],
        command: &Command<'_>,
        proof: ServiceProof<'_>,
    ) -> Vec<u8> {
        let (version, session_id) = (self.context.version(), self.context.session_id());
        let mut sent = Vec::new();
        put_sent(&mut sent, version, session_id, corr_id, entity, |out| {
            command.encode(version, out);
        });
        let plain = if version < Version::AUTH_COMMANDS {
            Authorized::sent_only(&sent)
        } else {
            Authorized::new(session_id, &sent)
        };
        let authorized = match proof.fingerprint {
            Some(fingerprint) => plain.for_service(fingerprint),
            None => plain,
        };
        let authorization = match key {
            None => Vec::new(),
            Some(key) => self.sign(key, corr_id, &authorized),
        };
        let signature = proof.key.map(|key| self.sign(key, corr_id, &plain));
        let signature = signature.map(|bytes| bytes.try_into().unwrap());
        let mut out = Vec::new();
        put_transmission(&mut out, version, &authorization, signature.as_ref(), &sent);
        out
    }

    fn sign(&self, key: &Key, corr_id: &[u8], authorized: &Authorized<'_>) -> Vec<u8> {
        let sign = |signer| sign_authorized(signer, corr_id, authorized, &mut Vec::new());
        match key {
            Key::Signing(key) => sign(Signer::Key(key)),
            Key::Agreeing(key) => sign(Signer::Secret(&BoxKey::from(&key.agree(&self.server_key)))),
        }
    }
}

/// A queue as its recipient and sender know it.
#[derive(Debug)]
pub struct Queue {
    pub recipient: Id,
    pub sender: Id,
    pub key: Key,
    secret: SharedSecret,
}

/// The recipient's half of the body key of every test queue.
pub fn recipient_dh() -> X25519SecretKey {
    X25519SecretKey::from_bytes([0x77; 32])
}

/// Parameters of a plain `NEW`.
pub fn new_queue(key: &Key, queue: Option<QueueRequest<'static>>) -> NewQueue<'static> {
    NewQueue {
        auth_key: key.public(),
        dh_key: recipient_dh().public_key(),
        password: None,
        subscribe: false,
        queue,
        notifier: None,
    }
}

impl Queue {
    /// The queue that an `IDS` answers for.
    #[track_caller]
    pub fn from_ids(key: Key, response: &Response<'_>) -> Self {
        let Response::Ids(ids) = response else {
            panic!("{response:?} instead of IDS");
        };
        Self {
            recipient: ids.recipient_id[..].try_into().unwrap(),
            sender: ids.sender_id[..].try_into().unwrap(),
            key,
            secret: recipient_dh().agree(&ids.dh_key),
        }
    }

    /// The id of the message in `MSG`.
    #[track_caller]
    pub fn message_id(response: &Response<'_>) -> Id {
        let Response::Msg { msg_id, .. } = response else {
            panic!("{response:?} instead of MSG");
        };
        msg_id[..].try_into().unwrap()
    }

    /// A response in words: `MSG body`, `MSG QUOTA`, `ERR AUTH`, otherwise its tag.
    pub fn words(&self, response: &Response<'_>) -> String {
        match response {
            Response::Msg { msg_id, boxed } => {
                let id: Id = msg_id[..].try_into().unwrap();
                let mut boxed = boxed.to_vec();
                match decrypt_message(&BoxKey::from(&self.secret), &id, &mut boxed).unwrap() {
                    ReceivedBody::Message { body, .. } => {
                        format!("MSG {}", String::from_utf8_lossy(body))
                    }
                    ReceivedBody::Quota { .. } => "MSG QUOTA".to_owned(),
                }
            }
            other => words(other),
        }
    }
}

/// A response without message in words: its tag, the number of queues, the error.
pub fn words(response: &Response<'_>) -> String {
    let mut out = Vec::new();
    response.encode(Version::CURRENT, &mut out);
    match response {
        Response::Err(ErrorType::Store(_)) => "ERR STORE".to_owned(),
        Response::Err(_) => String::from_utf8_lossy(&out).into_owned(),
        Response::Sok(Some(_)) => "SOK service".to_owned(),
        Response::Soks(queues) => format!("SOKS {}", queues.count),
        Response::Ends(queues) => format!("ENDS {}", queues.count),
        _ => {
            let tag = out.split(|b| *b == b' ').next().unwrap_or_default();
            String::from_utf8_lossy(tag).into_owned()
        }
    }
}
