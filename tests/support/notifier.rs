//! Notifiers: their keys, subscriptions and notifications (spec: protocol §13).

use super::party::{Key, Recipient, ask, expect_ok, send_notifying};
use loadtest::queue::open_notification;
use loadtest::{Auth, Client};
use smp_server::crypto::keys::{SharedSecret, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::command::NotifierCredentials;
use smp_server::protocol::{Command, Response};

/// The keys of a notifier that the server does not know yet.
pub struct NotifierKeys {
    /// Authorises `NSUB`.
    pub key: Key,
    dh: X25519SecretKey,
}

impl NotifierKeys {
    /// A fresh key for metadata beside the given one.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            dh: X25519SecretKey::generate(&mut rand::rng()),
        }
    }

    /// The public halves.
    pub fn credentials(&self) -> NotifierCredentials {
        NotifierCredentials {
            auth_key: self.key.public(),
            dh_key: self.dh.public_key(),
        }
    }

    /// The notifier that the server made of the credentials.
    pub fn enabled(self, id: &[u8], server: &X25519PublicKey) -> Notifier {
        Notifier {
            meta_key: BoxKey::from(&self.dh.agree(server)),
            id: id.to_vec(),
            key: self.key,
        }
    }
}

/// The notifier of a queue.
pub struct Notifier {
    /// Authorises `NSUB`.
    pub key: Key,
    /// Notifier id.
    pub id: Vec<u8>,
    meta_key: BoxKey,
}

impl Notifier {
    /// A notifier that was made on another server; `secret` boxes its notifications.
    pub fn known(key: Key, id: &[u8], secret: &SharedSecret) -> Self {
        Self {
            key,
            id: id.to_vec(),
            meta_key: BoxKey::from(secret),
        }
    }

    /// The answer to `NSUB`.
    pub async fn subscribe(&self, client: &mut Client) -> Response<'static> {
        ask(client, &Command::NSub, &self.id, self.key.auth()).await
    }

    /// The next push, which must be a notification of this queue: id of the message.
    pub async fn pushed(&self, client: &mut Client) -> Vec<u8> {
        let push = client.next_push().await.unwrap();
        assert_eq!(push.entity_id, self.id);
        self.open(push.response).0
    }

    /// Id and time of the message of a notification.
    pub fn open(&self, response: Response<'_>) -> (Vec<u8>, i64) {
        let Response::NMsg { nonce, boxed } = response else {
            panic!("{response:?}");
        };
        let mut boxed = boxed.into_owned();
        let meta = open_notification(&self.meta_key, &nonce, &mut boxed).unwrap();
        (meta.msg_id.to_vec(), meta.timestamp)
    }
}

impl Recipient {
    /// Creates a messaging queue whose `NEW` has notifier credentials (version 17).
    pub async fn create_with_notifier(client: &mut Client, subscribe: bool) -> (Self, Notifier) {
        let keys = NotifierKeys::new(Key::ed25519());
        let created = Self::create_with(client, Key::ed25519(), |new| {
            new.subscribe = subscribe;
            new.notifier = Some(keys.credentials());
        });
        let created = created.await;
        let (id, server) = created.ids.notifier.as_ref().expect("a notifier");
        let notifier = keys.enabled(id, server);
        (created, notifier)
    }

    /// Makes a notifier of fresh keys with `NKEY`.
    pub async fn enable_notifications(&self, client: &mut Client) -> Notifier {
        self.enable_notifications_with(client, Key::ed25519()).await
    }

    /// Makes a notifier with this key with `NKEY`.
    pub async fn enable_notifications_with(&self, client: &mut Client, key: Key) -> Notifier {
        let keys = NotifierKeys::new(key);
        let command = Command::NKey(keys.credentials());
        match self.ask(client, &command).await {
            Response::Nid {
                notifier_id,
                dh_key,
            } => keys.enabled(&notifier_id, &dh_key),
            other => panic!("{other:?}"),
        }
    }

    /// The answer to `NDEL`.
    pub async fn disable_notifications(&self, client: &mut Client) -> Response<'static> {
        self.ask(client, &Command::NDel).await
    }
}

/// Sends a message of which somebody is to be notified, fetches and acknowledges it. Returns its
/// id.
pub async fn flagged(client: &mut Client, queue: &Recipient) -> Vec<u8> {
    let sent = send_notifying(client, queue.sender_id(), Auth::None, b"flagged").await;
    expect_ok(sent);
    let (id, _) = queue.open(queue.ask(client, &Command::Get).await);
    expect_ok(queue.ack(client, &id).await);
    id
}
