//! The clients of the recorded server, and what they find.

use crate::state::{MESSAGE_COUNT, fixture, messages, notifications};
use crate::support::{Key, Notifier, Recipient, Server, expect_ok, get_link, send, send_notifying};
use loadtest::Auth;
use serde::Deserialize;
use smp_server::crypto::keys::{SharedSecret, SigningKey, X25519SecretKey};
use smp_server::protocol::{Command, ErrorType, Response};
use smp_server::store::MessageKind;
use smp_server::store::reference::file_names::{MESSAGES, NOTIFICATIONS};
use smp_server::store::reference::parse_notification_line;
use std::collections::BTreeMap;
use std::fs;

#[derive(Deserialize)]
pub struct KnownKey {
    alg: String,
    raw: String,
}

impl KnownKey {
    pub fn key(&self) -> Key {
        let raw = hex::decode(&self.raw).unwrap();
        let first32 = *raw.first_chunk().unwrap();
        match &*self.alg {
            "ed25519" => Key::Sign(SigningKey::ed25519_from_seed(first32).unwrap()),
            "ed448" => Key::Sign(SigningKey::ed448_from_seed(raw.try_into().unwrap())),
            "x25519" => Key::X25519(X25519SecretKey::from_bytes(first32)),
            other => panic!("{other}"),
        }
    }
}

#[derive(Deserialize)]
pub struct KnownNotifier {
    id: String,
    key: KnownKey,
    dh: String,
}

/// A client of the recorded server.
#[derive(Deserialize)]
pub struct KnownClient {
    name: String,
    rcv_key: KnownKey,
    snd_key: Option<KnownKey>,
    rcv_id: String,
    snd_id: String,
    link_id: Option<String>,
    dh: String,
    ntf: Option<KnownNotifier>,
}

pub fn secret(hex: &str) -> SharedSecret {
    SharedSecret(hex::decode(hex).unwrap().try_into().unwrap())
}

impl KnownClient {
    pub fn queue(&self) -> Recipient {
        let (recipient, sender) = (hex::decode(&self.rcv_id), hex::decode(&self.snd_id));
        let key = self.rcv_key.key();
        Recipient::known(
            key,
            &recipient.unwrap(),
            &sender.unwrap(),
            &secret(&self.dh),
        )
    }
}

pub fn known_clients() -> BTreeMap<String, KnownClient> {
    let text = fs::read(fixture("clients.json")).unwrap();
    let clients: Vec<KnownClient> = serde_json::from_slice(&text).unwrap();
    clients.into_iter().map(|c| (c.name.clone(), c)).collect()
}

/// Asserts that a subscriber of every queue gets what the reference had not delivered.
pub async fn expect_everything_delivered(server: &Server) {
    let undelivered = messages(&fixture("var").join(MESSAGES));
    let mut delivered = 0;
    for (name, known) in known_clients() {
        let mut client = server.client().await;
        let queue = known.queue();
        let subscribed = queue.ask(&mut client, &Command::Sub).await;
        if name == "deleted" {
            assert_eq!(subscribed, Response::Err(ErrorType::Auth));
            continue;
        }
        expect_ok(subscribed);
        let id: [u8; 24] = queue.id().try_into().unwrap();
        let mut next = None;
        for expected in undelivered.get(&id).into_iter().flatten() {
            let message = match next.take() {
                Some(message) => message,
                None => client.next_push().await.unwrap().response,
            };
            let (id, body) = queue.open_any(message);
            assert_eq!(id, expected.id, "{name}");
            let is_marker = expected.kind == MessageKind::Quota;
            assert_eq!(body, (!is_marker).then(|| expected.body.clone()), "{name}");
            delivered += 1;
            next = Some(queue.ack(&mut client, &id).await);
        }
        if let Some(last) = next {
            expect_ok(last);
        }
        queue.assert_no_push(&mut client).await;
    }
    assert_eq!(delivered, MESSAGE_COUNT);
}

/// Asserts that a subscriber gets the recorded notification as the reference has boxed it, and that
/// it tells of the message it was made for.
pub async fn expect_notified(server: &Server) {
    let known = &known_clients()["notifier"];
    let ntf = known.ntf.as_ref().unwrap();
    let id = hex::decode(&ntf.id).unwrap();
    let notifier = Notifier::known(ntf.key.key(), &id, &secret(&ntf.dh));
    let mut client = server.client().await;
    expect_ok(notifier.subscribe(&mut client).await);
    let push = client.next_push().await.unwrap();
    assert_eq!(push.entity_id, id);
    let file = fixture("var").join(NOTIFICATIONS);
    let expected = notifications(&file);
    assert_eq!(expected.len(), 1);
    assert_eq!(
        (&expected[0].0[..], &expected[0].1),
        (&id[..], &push.response)
    );
    let (message_id, seconds) = notifier.open(push.response);
    let line = fs::read(file).unwrap();
    let (_, note) = parse_notification_line(line.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!((&message_id[..], seconds), (&note.message_id[..], note.at));
}

/// Asserts that senders, a notifier and somebody with a link find their queues, whichever shards
/// their ids lead to.
pub async fn expect_everybody_served(server: &Server) {
    let clients = known_clients();
    let (mut recipient, mut sender) = (server.client().await, server.client().await);
    for name in ["plain", "x25519", "ed448", "drained"] {
        let known = &clients[name];
        let queue = known.queue();
        let key = known.snd_key.as_ref().map(KnownKey::key);
        let auth = key.as_ref().map_or(Auth::None, Key::auth);
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        expect_ok(send(&mut sender, queue.sender_id(), auth, b"hello").await);
        let (id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, b"hello", "{name}");
        expect_ok(queue.ack(&mut recipient, &id).await);
    }
    let known = &clients["notifier"];
    let (queue, ntf) = (known.queue(), known.ntf.as_ref().unwrap());
    let id = hex::decode(&ntf.id).unwrap();
    let notifier = Notifier::known(ntf.key.key(), &id, &secret(&ntf.dh));
    expect_ok(notifier.subscribe(&mut recipient).await);
    let sent = send_notifying(&mut sender, queue.sender_id(), Auth::None, b"ring").await;
    expect_ok(sent);
    let rung = notifier.pushed(&mut recipient).await;
    let (received, _) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
    assert_eq!(rung, received);
    expect_ok(queue.ack(&mut recipient, &received).await);

    let known = &clients["link_contact"];
    let link_id = hex::decode(known.link_id.as_ref().unwrap()).unwrap();
    let Response::Lnk(link) = get_link(&mut sender, &link_id).await else {
        panic!("no link");
    };
    assert_eq!(*link.sender_id, *known.queue().sender_id());
    assert!(!link.fixed.is_empty() && !link.user.is_empty());
}
