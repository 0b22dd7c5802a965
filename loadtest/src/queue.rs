//! Queues as their two ends know them: keys, ids, the commands of their life.

use std::rc::Rc;

use clap::ValueEnum;
use smp_server::crypto::keys::{
    KeyError, PublicAuthKey, SigningKey, X25519PublicKey, X25519SecretKey,
};
use smp_server::crypto::message::{
    NotificationMeta, ReceivedBody, decrypt_message, decrypt_notification,
};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::command::{NewQueue, QueueRequest};
use smp_server::protocol::response::QueueIds;
use smp_server::protocol::{Command, Response, Version};

use crate::client::{Client, unexpected};
use crate::error::ClientError;
use crate::outbox::{Auth, Outbox};

/// The keys of a recipient.
pub struct RecipientKeys {
    /// Signs the recipient's commands.
    pub auth: SigningKey,
    /// Agrees with the server on the key of message bodies.
    pub dh: X25519SecretKey,
    auth_public: PublicAuthKey,
    dh_public: X25519PublicKey,
}

impl RecipientKeys {
    /// Fresh Ed25519 and X25519 keys.
    pub fn generate() -> Result<Self, KeyError> {
        let mut rng = rand::rng();
        let auth = SigningKey::generate_ed25519(&mut rng)?;
        let dh = X25519SecretKey::generate(&mut rng);
        Ok(Self {
            auth_public: auth.verifying_key().into(),
            dh_public: dh.public_key(),
            auth,
            dh,
        })
    }

    /// `NEW` for a messaging queue; send it with [`RecipientKeys::sign`].
    pub fn new_queue<'a>(&self, password: Option<&'a str>, subscribe: bool) -> Command<'a> {
        Command::New(NewQueue {
            auth_key: self.auth_public,
            dh_key: self.dh_public,
            password: password.map(str::as_bytes),
            subscribe,
            queue: Some(QueueRequest::Messaging(None)),
            notifier: None,
        })
    }

    /// The authorization of the recipient's commands.
    pub fn sign(&self) -> Auth<'_> {
        Auth::Sign(&self.auth)
    }
}

/// A set of keys used for many queues in turn, because making keys costs more than making queues.
pub struct KeyPool(Vec<Rc<RecipientKeys>>);

impl KeyPool {
    /// `size` fresh keys, at least one.
    pub fn generate(size: usize) -> Result<Self, KeyError> {
        (0..size.max(1))
            .map(|_| RecipientKeys::generate().map(Rc::new))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The keys for the queue number `n`.
    pub fn get(&self, n: usize) -> &Rc<RecipientKeys> {
        &self.0[n % self.0.len()]
    }
}

/// Whether and how senders authorise their messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SenderAuth {
    /// The queue is not secured.
    None,
    /// With signatures.
    Ed25519,
    /// With authenticators, as the official clients.
    X25519,
}

/// The key of a sender.
pub enum SenderKey {
    /// The queue is not secured.
    None,
    /// Signs.
    Ed25519(SigningKey),
    /// Agrees with the server's session key.
    X25519(X25519SecretKey),
}

/// A sender's key made ready for one session.
pub enum SessionKey {
    /// The queue is not secured.
    None,
    /// Signs.
    Ed25519(SigningKey),
    /// The secret agreed with the server's session key.
    X25519(BoxKey),
}

impl SenderKey {
    /// A fresh key of this kind.
    pub fn generate(kind: SenderAuth) -> Result<Self, KeyError> {
        let mut rng = rand::rng();
        Ok(match kind {
            SenderAuth::None => Self::None,
            SenderAuth::Ed25519 => Self::Ed25519(SigningKey::generate_ed25519(&mut rng)?),
            SenderAuth::X25519 => Self::X25519(X25519SecretKey::generate(&mut rng)),
        })
    }

    /// The public half, `None` for a queue that is not secured.
    pub fn public(&self) -> Option<PublicAuthKey> {
        match self {
            Self::None => None,
            Self::Ed25519(key) => Some(key.verifying_key().into()),
            Self::X25519(key) => Some(PublicAuthKey::X25519(key.public_key().0)),
        }
    }

    /// The authorization of the sender's commands.
    pub fn auth(&self) -> Auth<'_> {
        match self {
            Self::None => Auth::None,
            Self::Ed25519(key) => Auth::Sign(key),
            Self::X25519(key) => Auth::X25519(key),
        }
    }

    /// Prepares the key for the session of `outbox`, so that no command pays for an agreement.
    pub fn for_session(self, outbox: &Outbox) -> Result<SessionKey, ClientError> {
        Ok(match self {
            Self::None => SessionKey::None,
            Self::Ed25519(key) => SessionKey::Ed25519(key),
            Self::X25519(key) => SessionKey::X25519(outbox.agree(&key)?),
        })
    }
}

impl SessionKey {
    /// The authorization of the sender's commands.
    pub fn auth(&self) -> Auth<'_> {
        match self {
            Self::None => Auth::None,
            Self::Ed25519(key) => Auth::Sign(key),
            Self::X25519(secret) => Auth::Agreed(secret),
        }
    }
}

/// A queue that was created.
pub struct Queue {
    /// Recipient id.
    pub recipient_id: Vec<u8>,
    /// Sender id.
    pub sender_id: Vec<u8>,
    /// The server's key for message bodies.
    pub server_dh: X25519PublicKey,
}

impl Queue {
    /// Keeps what `IDS` tells.
    pub fn new(ids: &QueueIds<'_>) -> Self {
        Self {
            recipient_id: ids.recipient_id.to_vec(),
            sender_id: ids.sender_id.to_vec(),
            server_dh: ids.dh_key,
        }
    }

    /// Creates a messaging queue, signed with `keys`.
    pub async fn create(
        client: &mut Client,
        keys: &RecipientKeys,
        password: Option<&str>,
        subscribe: bool,
    ) -> Result<Self, ClientError> {
        let command = keys.new_queue(password, subscribe);
        match client.command(&command, &[], keys.sign()).await? {
            Response::Ids(ids) => Ok(Self::new(&ids)),
            other => Err(unexpected("NEW", &other)),
        }
    }

    /// The key that opens message bodies.
    pub fn body_key(&self, keys: &RecipientKeys) -> BoxKey {
        BoxKey::from(&keys.dh.agree(&self.server_dh))
    }

    /// Secures the queue with the sender's key: by the sender from version 9, before by the
    /// recipient. Does nothing without a key.
    pub async fn secure(
        &self,
        recipient: &mut Client,
        keys: &RecipientKeys,
        sender: &mut Client,
        key: &SenderKey,
    ) -> Result<(), ClientError> {
        let Some(public) = key.public() else {
            return Ok(());
        };
        if sender.outbox().version() >= Version::SENDER_KEY {
            let command = Command::SKey(public);
            expect_ok(sender, "SKEY", &command, &self.sender_id, key.auth()).await
        } else {
            let command = Command::Key(public);
            expect_ok(recipient, "KEY", &command, &self.recipient_id, keys.sign()).await
        }
    }
}

/// Runs a command that must be answered with `OK`.
pub async fn expect_ok(
    client: &mut Client,
    name: &'static str,
    command: &Command<'_>,
    entity: &[u8],
    auth: Auth<'_>,
) -> Result<(), ClientError> {
    match client.command(command, entity, auth).await? {
        Response::Ok => Ok(()),
        other => Err(unexpected(name, &other)),
    }
}

/// Subscribes to a queue; the server answers `SOK`, `OK` or at once with a message, which is
/// returned as (id, box).
pub async fn subscribe(
    client: &mut Client,
    queue: &Queue,
    keys: &RecipientKeys,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, ClientError> {
    let id = &queue.recipient_id;
    match client.command(&Command::Sub, id, keys.sign()).await? {
        Response::Ok | Response::Sok(_) => Ok(None),
        Response::Msg { msg_id, boxed } => Ok(Some((msg_id.into_owned(), boxed.into_owned()))),
        other => Err(unexpected("SUB", &other)),
    }
}

/// Opens the metadata of a notification in place. `key` is the agreement of the recipient's key
/// for notifications and the server's.
pub fn open_notification<'a>(
    key: &BoxKey,
    nonce: &[u8; 24],
    boxed: &'a mut [u8],
) -> Result<NotificationMeta<'a>, ClientError> {
    decrypt_notification(key, nonce, boxed).map_err(|_| ClientError::Notification)
}

/// Opens a message in place; a quota marker has no body.
pub fn open_body<'a>(
    key: &BoxKey,
    msg_id: &[u8],
    boxed: &'a mut [u8],
) -> Result<Option<&'a [u8]>, ClientError> {
    let msg_id = msg_id.try_into().map_err(|_| ClientError::Body)?;
    match decrypt_message(key, msg_id, boxed).map_err(|_| ClientError::Body)? {
        ReceivedBody::Message { body, .. } => Ok(Some(body)),
        ReceivedBody::Quota { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smp_server::crypto::message::encrypt_notification;

    #[test]
    fn notifications_open_with_the_key_agreed_for_them() {
        let own = X25519SecretKey::from_bytes([1; 32]);
        let server = X25519SecretKey::from_bytes([2; 32]);
        let (nonce, msg_id, timestamp) = ([3; 24], [4; 24], 1_700_000_000);
        let sealing = BoxKey::from(&server.agree(&own.public_key()));
        let boxed = encrypt_notification(&sealing, &nonce, &msg_id, timestamp).unwrap();
        let key = BoxKey::from(&own.agree(&server.public_key()));

        let mut copy = boxed;
        let meta = open_notification(&key, &nonce, &mut copy).unwrap();
        assert_eq!((meta.msg_id, meta.timestamp), (&msg_id[..], timestamp));
        let (mut copy, other) = (boxed, [5; 24]);
        let refused = open_notification(&key, &other, &mut copy);
        assert!(matches!(refused, Err(ClientError::Notification)));
    }
}
