//! Recipients, senders and their keys.

use loadtest::{Auth, Client, Reply};
use smp_server::crypto::keys::{
    PublicAuthKey, SharedSecret, SigningKey, X25519PublicKey, X25519SecretKey,
};
use smp_server::crypto::message::{ReceivedBody, decrypt_message};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::command::{NewQueue, QueueRequest};
use smp_server::protocol::response::QueueIds;
use smp_server::protocol::{Command, Response};

/// A private key that authorises commands.
pub enum Key {
    /// Ed25519 or Ed448.
    Sign(SigningKey),
    /// Authenticators.
    X25519(X25519SecretKey),
}

impl Key {
    /// A fresh Ed25519 key.
    pub fn ed25519() -> Self {
        Self::Sign(SigningKey::generate_ed25519(&mut rand::rng()).unwrap())
    }

    /// A fresh Ed448 key.
    pub fn ed448() -> Self {
        Self::Sign(SigningKey::generate_ed448(&mut rand::rng()))
    }

    /// A fresh X25519 key.
    pub fn x25519() -> Self {
        Self::X25519(X25519SecretKey::generate(&mut rand::rng()))
    }

    /// One of every kind.
    pub fn of_every_kind() -> [Self; 3] {
        [Self::ed25519(), Self::ed448(), Self::x25519()]
    }

    /// The public half.
    pub fn public(&self) -> PublicAuthKey {
        match self {
            Self::Sign(key) => key.verifying_key().into(),
            Self::X25519(key) => PublicAuthKey::X25519(key.public_key().0),
        }
    }

    /// The authorization by this key.
    pub fn auth(&self) -> Auth<'_> {
        match self {
            Self::Sign(key) => Auth::Sign(key),
            Self::X25519(key) => Auth::X25519(key),
        }
    }
}

/// A queue with the recipient's keys.
pub struct Recipient {
    /// Authorises the recipient's commands.
    pub key: Key,
    /// What the server told about the queue.
    pub ids: QueueIds<'static>,
    body_key: BoxKey,
}

impl Recipient {
    /// Creates a messaging queue.
    pub async fn create(client: &mut Client, subscribe: bool) -> Self {
        Self::create_with(client, Key::ed25519(), |new| new.subscribe = subscribe).await
    }

    /// Creates a contact queue without subscribing.
    pub async fn contact(client: &mut Client) -> Self {
        Self::create_with(client, Key::ed25519(), |new| {
            new.queue = Some(QueueRequest::Contact(None));
        })
        .await
    }

    /// Creates a queue with the given key and whatever `change` asks for.
    pub async fn create_with<'a>(
        client: &mut Client,
        key: Key,
        change: impl FnOnce(&mut NewQueue<'a>),
    ) -> Self {
        let corr_id = client.outbox().fresh_corr_id();
        Self::create_as(client, &corr_id, key, change).await
    }

    /// Creates a queue with a correlation id of the caller's, which decides the sender id of a
    /// queue with a link.
    pub async fn create_as<'a>(
        client: &mut Client,
        corr_id: &[u8],
        key: Key,
        change: impl FnOnce(&mut NewQueue<'a>),
    ) -> Self {
        let dh = X25519SecretKey::generate(&mut rand::rng());
        let mut new = new_queue(&key, &dh);
        change(&mut new);
        let response = ask_as(client, corr_id, &Command::New(new), &[], key.auth()).await;
        Self::created(key, &dh, response)
    }

    /// Creates messaging queues, all at once.
    pub async fn create_many(client: &mut Client, count: usize, subscribe: bool) -> Vec<Self> {
        let mut asked = Vec::with_capacity(count);
        for _ in 0..count {
            let key = Key::ed25519();
            let dh = X25519SecretKey::generate(&mut rand::rng());
            let mut new = new_queue(&key, &dh);
            new.subscribe = subscribe;
            let corr_id = client.send(&Command::New(new), &[], key.auth()).unwrap();
            asked.push((corr_id, key, dh));
        }
        let mut created = Vec::with_capacity(count);
        for (corr_id, key, dh) in asked {
            let response = client.reply(&corr_id).await.unwrap().response;
            created.push(Self::created(key, &dh, response));
        }
        created
    }

    /// The queue of an answer to `NEW`.
    pub fn created(key: Key, dh: &X25519SecretKey, response: Response<'static>) -> Self {
        let Response::Ids(ids) = response else {
            panic!("{response:?}");
        };
        Self {
            body_key: BoxKey::from(&dh.agree(&ids.dh_key)),
            ids: *ids,
            key,
        }
    }

    /// A queue that was created on another server; `secret` boxes its bodies.
    pub fn known(key: Key, recipient_id: &[u8], sender_id: &[u8], secret: &SharedSecret) -> Self {
        Self {
            key,
            ids: QueueIds {
                recipient_id: recipient_id.to_vec().into(),
                sender_id: sender_id.to_vec().into(),
                dh_key: X25519PublicKey([0; 32]),
                mode: None,
                link_id: None,
                service_id: None,
                notifier: None,
            },
            body_key: BoxKey::from(secret),
        }
    }

    /// Recipient id.
    pub fn id(&self) -> &[u8] {
        &self.ids.recipient_id
    }

    /// Sender id.
    pub fn sender_id(&self) -> &[u8] {
        &self.ids.sender_id
    }

    /// The answer to a recipient's command.
    pub async fn ask(&self, client: &mut Client, command: &Command<'_>) -> Response<'static> {
        ask(client, command, self.id(), self.key.auth()).await
    }

    /// The answer to an acknowledgement.
    pub async fn ack(&self, client: &mut Client, msg_id: &[u8]) -> Response<'static> {
        self.ask(client, &Command::Ack { msg_id }).await
    }

    /// The next push, which must be a message of this queue: its id and body.
    pub async fn pushed(&self, client: &mut Client) -> (Vec<u8>, Vec<u8>) {
        let push = client.next_push().await.unwrap();
        assert_eq!(push.entity_id, self.id());
        self.open(push.response)
    }

    /// Id and body of a message.
    pub fn open(&self, response: Response<'_>) -> (Vec<u8>, Vec<u8>) {
        match self.open_any(response) {
            (id, Some(body)) => (id, body),
            (_, None) => panic!("a quota marker"),
        }
    }

    /// Id and body of a message; no body for the marker of a full queue.
    pub fn open_any(&self, response: Response<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
        let Response::Msg { msg_id, boxed } = response else {
            panic!("{response:?}");
        };
        let nonce = msg_id[..].try_into().unwrap();
        let mut boxed = boxed.into_owned();
        let body = match decrypt_message(&self.body_key, nonce, &mut boxed).unwrap() {
            ReceivedBody::Message { body, .. } => Some(body.to_vec()),
            ReceivedBody::Quota { .. } => None,
        };
        (msg_id.into_owned(), body)
    }

    /// Asserts that nothing was pushed: what the queue's shard sent before the answer to this
    /// command would have come before it.
    pub async fn assert_no_push(&self, client: &mut Client) {
        let response = self.ask(client, &Command::Que).await;
        assert!(matches!(response, Response::Info(_)), "{response:?}");
        assert_eq!(client.buffered_push(), None);
    }

    /// What `QUE` answers.
    pub async fn info(&self, client: &mut Client) -> serde_json::Value {
        match self.ask(client, &Command::Que).await {
            Response::Info(json) => serde_json::from_slice(&json).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// `NEW` for a messaging queue, without subscription.
pub fn new_queue<'a>(key: &Key, dh: &X25519SecretKey) -> NewQueue<'a> {
    NewQueue {
        auth_key: key.public(),
        dh_key: dh.public_key(),
        password: None,
        subscribe: false,
        queue: Some(QueueRequest::Messaging(None)),
        notifier: None,
    }
}

/// The answer to a command, which must repeat the entity id of the command.
pub async fn ask(
    client: &mut Client,
    command: &Command<'_>,
    entity: &[u8],
    auth: Auth<'_>,
) -> Response<'static> {
    let corr_id = client.outbox().fresh_corr_id();
    ask_as(client, &corr_id, command, entity, auth).await
}

/// [`ask`] with a correlation id of the caller's.
pub async fn ask_as(
    client: &mut Client,
    corr_id: &[u8],
    command: &Command<'_>,
    entity: &[u8],
    auth: Auth<'_>,
) -> Response<'static> {
    let staged = client.outbox().send_as(corr_id, command, entity, auth);
    staged.unwrap();
    let Reply {
        entity_id,
        response,
        ..
    } = client.reply(corr_id).await.unwrap();
    assert_eq!(entity_id, entity, "{response:?}");
    response
}

/// Sends a message.
pub async fn send(
    client: &mut Client,
    sender_id: &[u8],
    auth: Auth<'_>,
    body: &[u8],
) -> Response<'static> {
    let notify = false;
    ask(client, &Command::Send { notify, body }, sender_id, auth).await
}

/// Sends a message of which the recipient wants to be notified.
pub async fn send_notifying(
    client: &mut Client,
    sender_id: &[u8],
    auth: Auth<'_>,
    body: &[u8],
) -> Response<'static> {
    let notify = true;
    ask(client, &Command::Send { notify, body }, sender_id, auth).await
}

/// Asserts that the response is `OK`, or what says the same of a subscription.
#[track_caller]
pub fn expect_ok(response: Response<'_>) {
    assert!(
        matches!(response, Response::Ok | Response::Sok(None)),
        "{response:?}"
    );
}

/// An id that no queue has.
pub fn unknown_id() -> [u8; 24] {
    rand::random()
}

/// The sender id that a client must choose with a correlation id: `SHA3-384(corrId)[0..24]`.
pub fn sender_id_for(corr_id: &[u8]) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA3_384, corr_id);
    digest.as_ref()[..24].to_vec()
}

/// The longest body of the newest version, beginning with `mark`.
pub fn full_body(mark: &[u8]) -> Vec<u8> {
    let mut body = vec![b'x'; 16048];
    body[..mark.len()].copy_from_slice(mark);
    body
}
