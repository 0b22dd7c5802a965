//! What an observer with the recorded private keys knows about queues: their keys and secrets.

use anyhow::{Context, Result};
use smp_server::crypto::authorization::SessionSecrets;
use smp_server::crypto::keys::{PublicAuthKey, SharedSecret, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::smp_box::BoxKey;
use std::collections::HashMap;

/// Private X25519 keys of a recording by their public halves.
#[derive(Default)]
pub struct PrivateKeys(HashMap<X25519PublicKey, X25519SecretKey>);

impl PrivateKeys {
    /// Adds a PKCS#8 key when it is an X25519 key.
    pub fn add(&mut self, der: &[u8]) {
        if let Ok(key) = X25519SecretKey::from_pkcs8(der) {
            self.0.insert(key.public_key(), key);
        }
    }

    /// The agreement of the recorded private half of `own` with `peer`.
    pub fn agree(&self, own: &X25519PublicKey, peer: &X25519PublicKey) -> Option<SharedSecret> {
        self.0.get(own).map(|key| key.agree(peer))
    }
}

/// Makes the server's secret of a session from the client's side of it.
pub struct ClientSide<'a> {
    pub private_keys: &'a PrivateKeys,
    /// The server's session key.
    pub server: Option<X25519PublicKey>,
}

impl SessionSecrets for ClientSide<'_> {
    fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey> {
        let secret = self.private_keys.agree(peer, self.server.as_ref()?)?;
        Some(BoxKey::from(&secret))
    }
}

/// A queue as far as the recording tells.
#[derive(Default)]
pub struct Queue {
    pub recipient_keys: Vec<PublicAuthKey>,
    pub sender_key: Option<PublicAuthKey>,
    pub notifier_key: Option<PublicAuthKey>,
    /// Secret of message bodies, when the recipient's key was recorded.
    pub secret: Option<SharedSecret>,
    /// Secret of notification metadata, when the recipient's key was recorded.
    pub notifier_secret: Option<SharedSecret>,
    /// Notification flag and body of everything sent to the queue.
    pub sent: Vec<(bool, Vec<u8>)>,
    /// Ids of everything received from the queue.
    pub received: Vec<Vec<u8>>,
}

/// The queues of a recording under their ids.
#[derive(Default)]
pub struct Queues {
    all: Vec<Queue>,
    ids: HashMap<(IdKind, Vec<u8>), usize>,
}

/// The four id spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdKind {
    Recipient,
    Sender,
    Notifier,
    Link,
}

impl Queues {
    pub fn create(&mut self, queue: Queue, recipient_id: &[u8], sender_id: &[u8]) {
        let index = self.all.len();
        self.all.push(queue);
        self.ids
            .insert((IdKind::Recipient, recipient_id.to_vec()), index);
        self.ids.insert((IdKind::Sender, sender_id.to_vec()), index);
    }

    /// Makes the queue with a known id known under another.
    pub fn alias(&mut self, known: (IdKind, &[u8]), other: (IdKind, &[u8])) -> Result<()> {
        let index = self.index(known)?;
        self.ids.insert((other.0, other.1.to_vec()), index);
        Ok(())
    }

    fn index(&self, (kind, id): (IdKind, &[u8])) -> Result<usize> {
        self.ids
            .get(&(kind, id.to_vec()))
            .copied()
            .with_context(|| format!("no queue with {kind:?} id {}", hex::encode(id)))
    }

    pub fn get(&self, kind: IdKind, id: &[u8]) -> Result<&Queue> {
        Ok(&self.all[self.index((kind, id))?])
    }

    pub fn get_mut(&mut self, kind: IdKind, id: &[u8]) -> Result<&mut Queue> {
        let index = self.index((kind, id))?;
        Ok(&mut self.all[index])
    }

    /// Whether two ids are of the same queue.
    pub fn same(&self, a: (IdKind, &[u8]), b: (IdKind, &[u8])) -> Result<bool> {
        Ok(self.index(a)? == self.index(b)?)
    }

    /// The queue created last.
    pub fn last(&self) -> Result<&Queue> {
        self.all.last().context("no queue yet")
    }
}
