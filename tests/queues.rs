//! Queues are created, secured, described and deleted (spec: server §3).

mod support;

use loadtest::{Auth, Client, ClientError, Options, TlsOptions};
use smp_server::crypto::keys::{SigningKey, X25519SecretKey};
use smp_server::protocol::command::{
    ContactLink, LinkData, MessagingLink, NewQueue, NotifierCredentials, QueueRequest,
};
use smp_server::protocol::error::CommandError;
use smp_server::protocol::response::QueueMode;
use smp_server::protocol::{Command, ErrorType, Response, Version};
use support::wire::{self, Item, bytes8, take8};
use support::{
    Hello, Key, RawSession, Recipient, Server, Setup, ask, every_placement, expect_ok, send,
    sender_id_for, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);
const PROHIBITED: Response<'static> = Response::Err(ErrorType::Cmd(CommandError::Prohibited));

/// One transmission signed with an Ed25519 key, by hand, and the one answer to it.
async fn signed(
    session: &mut RawSession,
    key: &SigningKey,
    corr: &[u8],
    entity: &[u8],
    command: &[u8],
) {
    let (version, id) = (session.version, session.session_id.clone());
    let sent = wire::sent(version, &id, corr, entity, command);
    let signature = key.sign(&wire::authorized(version, &id, &sent));
    let transmission = wire::transmission(version, &signature, &sent);
    session.send(&wire::batch(&[transmission])).await;
}

async fn unsigned(session: &mut RawSession, corr: &[u8], entity: &[u8], command: &[u8]) {
    let (version, id) = (session.version, session.session_id.clone());
    let sent = wire::sent(version, &id, corr, entity, command);
    let transmission = wire::transmission(version, &[], &sent);
    session.send(&wire::batch(&[transmission])).await;
}

/// The life of a queue, bytes on the wire as the version wants them.
async fn life_of_a_queue(session: &mut RawSession) {
    let version = session.version;
    let key = SigningKey::generate_ed25519(&mut rand::rng()).unwrap();
    let dh = X25519SecretKey::generate(&mut rand::rng());
    let raw_key = key.verifying_key().to_spki()[12..].try_into().unwrap();

    let parameters: &[u8] = match version {
        ..=8 => b"C",
        9..=14 => b"0CT",
        15 | 16 => b"0C1M0",
        _ => b"0C1M00",
    };
    let mut new = b"NEW ".to_vec();
    new.extend(wire::ed25519_key(&raw_key));
    new.extend(wire::x25519_key(&dh.public_key().0));
    new.extend(parameters);
    let corr = [7; 24];
    signed(session, &key, &corr, b"", &new).await;
    let answers = session.recv_items().await;
    let [ids] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(
        (&ids.corr_id[..], &ids.entity_id[..]),
        (&corr[..], &b""[..])
    );
    let (recipient_id, rest) = take8(ids.body.strip_prefix(b"IDS ").unwrap());
    let (sender_id, rest) = take8(rest);
    assert_eq!((recipient_id.len(), sender_id.len()), (24, 24));
    let (dh_key, tail) = take8(rest);
    assert!(dh_key.starts_with(b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00"));
    assert_eq!(dh_key.len(), 44);
    let expected: &[u8] = match version {
        ..=8 => b"",
        9..=14 => b"T",
        15 => b"1M0",
        16 => b"1M00",
        _ => b"1M000",
    };
    assert_eq!(tail, expected, "IDS of version {version}");

    let subscribed: &[u8] = if version < 16 { b"OK" } else { b"SOK 0" };
    signed(session, &key, b"sub1", recipient_id, b"SUB").await;
    let answer = Item::new(b"sub1", recipient_id, subscribed);
    assert_eq!(session.recv_items().await, [answer]);

    unsigned(session, b"", sender_id, b"SEND T hello").await;
    let mut answers = session.recv_at_least(2).await;
    // An empty correlation id is legal and repeated: the answers are told apart by their bodies.
    answers.sort_by_key(|item| item.body.len());
    let [ok, message] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(*ok, Item::new(b"", sender_id, b"OK"));
    assert_eq!(message.entity_id, recipient_id);
    let (msg_id, boxed) = take8(message.body.strip_prefix(b"MSG ").unwrap());
    assert_eq!((msg_id.len(), boxed.len()), (24, 16122));

    let ack = [b"ACK ", &bytes8(msg_id)[..]].concat();
    signed(session, &key, &[9; 255], recipient_id, &ack).await;
    let answer = Item::new(&[9; 255], recipient_id, b"OK");
    assert_eq!(session.recv_items().await, [answer]);

    signed(session, &key, b"1", recipient_id, b"DEL").await;
    let answer = Item::new(b"1", recipient_id, b"OK");
    assert_eq!(session.recv_items().await, [answer]);
    signed(session, &key, b"2", recipient_id, b"DEL").await;
    let answer = Item::new(b"2", recipient_id, b"ERR AUTH");
    assert_eq!(session.recv_items().await, [answer]);

    unsigned(session, b"3", b"", b"PING").await;
    assert_eq!(session.recv_items().await, [Item::new(b"3", b"", b"PONG")]);
}

#[test]
fn queues_live_and_die_at_every_version() {
    every_placement(&Setup::default(), async |server| {
        let target = server.target(TlsOptions::default());
        for version in 6..=18 {
            let mut session = RawSession::connect(&target, Hello::of(version)).await;
            assert_eq!(session.encrypts_blocks(), version >= 11);
            life_of_a_queue(&mut session).await;
        }
        let without_alpn = server.target(TlsOptions {
            alpn: false,
            ..TlsOptions::default()
        });
        let mut session = RawSession::connect(&without_alpn, Hello::of(6)).await;
        life_of_a_queue(&mut session).await;
    });
}

#[test]
fn keys_of_every_kind_authorise() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for key in Key::of_every_kind() {
            let queue = Recipient::create_with(&mut client, key, |_| {}).await;
            expect_ok(queue.ask(&mut client, &Command::Sub).await);
            for sender in Key::of_every_kind() {
                let queue = Recipient::create(&mut client, false).await;
                let secure = Command::SKey(sender.public());
                expect_ok(ask(&mut client, &secure, queue.sender_id(), sender.auth()).await);
                expect_ok(send(&mut client, queue.sender_id(), sender.auth(), b"hi").await);
                let message = queue.ask(&mut client, &Command::Get).await;
                assert_eq!(queue.open(message).1, b"hi");
            }
            // Whatever kind the wrong key is of.
            for other in Key::of_every_kind() {
                for command in [Command::Sub, Command::Que, Command::Off, Command::Del] {
                    let response = ask(&mut client, &command, queue.id(), other.auth()).await;
                    assert_eq!(response, AUTH, "{command:?}");
                }
            }
            expect_ok(queue.ask(&mut client, &Command::Del).await);
        }
    });
}

#[test]
fn commands_on_unknown_queues_are_refused() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for key in Key::of_every_kind() {
            let public = key.public();
            for command in [
                Command::Sub,
                Command::Get,
                Command::Ack { msg_id: &[1; 24] },
                Command::Key(public),
                Command::RKey(vec![public]),
                Command::Off,
                Command::Del,
                Command::Que,
                Command::SKey(public),
                Command::Send {
                    notify: false,
                    body: b"",
                },
            ] {
                let response = ask(&mut client, &command, &unknown_id(), key.auth()).await;
                assert_eq!(response, AUTH, "{command:?}");
                // No queue has an id of another length.
                for id in [&[1][..], &[1; 23], &[1; 25], &[1; 255]] {
                    let response = ask(&mut client, &command, id, key.auth()).await;
                    assert_eq!(response, AUTH, "{command:?}");
                }
            }
        }
        assert_eq!(
            send(&mut client, &unknown_id(), Auth::None, b"").await,
            AUTH
        );
        // The ids of one side are nothing to the other.
        let queue = Recipient::create(&mut client, false).await;
        let swapped = ask(
            &mut client,
            &Command::Sub,
            queue.sender_id(),
            queue.key.auth(),
        )
        .await;
        assert_eq!(swapped, AUTH);
        assert_eq!(send(&mut client, queue.id(), Auth::None, b"").await, AUTH);
    });
}

#[test]
fn recipients_secure_queues_once() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let (sender, other) = (Key::ed25519(), Key::ed25519());
        for queue in [
            Recipient::create(&mut client, false).await,
            Recipient::contact(&mut client).await,
            Recipient::create_with(&mut client, Key::ed25519(), |new| new.queue = None).await,
        ] {
            expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"").await);
            for _ in 0..2 {
                expect_ok(queue.ask(&mut client, &Command::Key(sender.public())).await);
            }
            let changed = queue.ask(&mut client, &Command::Key(other.public())).await;
            assert_eq!(changed, AUTH);
            expect_ok(send(&mut client, queue.sender_id(), sender.auth(), b"").await);
        }
    });
}

#[test]
fn senders_secure_messaging_queues_once() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let (sender, other) = (Key::x25519(), Key::x25519());
        let secure = Command::SKey(sender.public());
        let queue = Recipient::create(&mut client, false).await;
        // The key of the command signs the command.
        let foreign = ask(&mut client, &secure, queue.sender_id(), other.auth()).await;
        assert_eq!(foreign, AUTH);
        for _ in 0..2 {
            expect_ok(ask(&mut client, &secure, queue.sender_id(), sender.auth()).await);
        }
        let change = Command::SKey(other.public());
        let changed = ask(&mut client, &change, queue.sender_id(), other.auth()).await;
        assert_eq!(changed, AUTH);
        assert_eq!(queue.info(&mut client).await["qiSnd"], true);
        // The recipient may confirm the same key.
        expect_ok(queue.ask(&mut client, &Command::Key(sender.public())).await);

        let modeless =
            Recipient::create_with(&mut client, Key::ed25519(), |new| new.queue = None).await;
        let contact = Recipient::contact(&mut client).await;
        for queue in [modeless, contact] {
            let refused = ask(&mut client, &secure, queue.sender_id(), sender.auth()).await;
            assert_eq!(refused, AUTH);
            assert_eq!(queue.info(&mut client).await["qiSnd"], false);
        }
        // A queue that takes no messages any more may still be secured.
        let off = Recipient::create(&mut client, false).await;
        expect_ok(off.ask(&mut client, &Command::Off).await);
        expect_ok(ask(&mut client, &secure, off.sender_id(), sender.auth()).await);
    });
}

#[test]
fn messages_need_the_right_authorization() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for sender in Key::of_every_kind() {
            let queue = Recipient::create(&mut client, false).await;
            // Nobody secured it yet: whoever signs claims too much.
            for key in Key::of_every_kind() {
                let refused = send(&mut client, queue.sender_id(), key.auth(), b"").await;
                assert_eq!(refused, AUTH);
            }
            expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"1").await);
            expect_ok(queue.ask(&mut client, &Command::Key(sender.public())).await);
            assert_eq!(
                send(&mut client, queue.sender_id(), Auth::None, b"").await,
                AUTH
            );
            for key in Key::of_every_kind() {
                let refused = send(&mut client, queue.sender_id(), key.auth(), b"").await;
                assert_eq!(refused, AUTH);
            }
            expect_ok(send(&mut client, queue.sender_id(), sender.auth(), b"2").await);
            assert_eq!(queue.info(&mut client).await["qiSize"], 2);
        }
    });
}

#[test]
fn suspended_queues_deliver_but_do_not_accept() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"before").await);
        for _ in 0..2 {
            expect_ok(queue.ask(&mut client, &Command::Off).await);
            let refused = send(&mut client, queue.sender_id(), Auth::None, b"after").await;
            assert_eq!(refused, AUTH);
        }
        expect_ok(queue.ask(&mut client, &Command::Sub).await);
        let (id, body) = queue.pushed(&mut client).await;
        assert_eq!(body, b"before");
        expect_ok(queue.ack(&mut client, &id).await);
    });
}

#[test]
fn deleted_queues_are_gone() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, true).await;
        expect_ok(queue.ask(&mut client, &Command::Off).await);
        expect_ok(queue.ask(&mut client, &Command::Del).await);
        for command in [Command::Del, Command::Sub, Command::Get, Command::Que] {
            assert_eq!(queue.ask(&mut client, &command).await, AUTH, "{command:?}");
        }
        assert_eq!(queue.ack(&mut client, &[0; 24]).await, AUTH);
        assert_eq!(
            send(&mut client, queue.sender_id(), Auth::None, b"").await,
            AUTH
        );
        // Whoever deletes need not be told.
        client.ping().await.unwrap();
        assert_eq!(client.buffered_push(), None);
    });
}

#[test]
fn queues_are_described() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        let empty = serde_json::json!({"qiSnd": false, "qiNtf": false, "qiSize": 0});
        assert_eq!(queue.info(&mut client).await, empty);
        expect_ok(queue.ask(&mut client, &Command::Sub).await);
        let subscribed = serde_json::json!({
            "qiSnd": false, "qiNtf": false, "qiSize": 0, "qiSub": {"qSubThread": "noSub"}
        });
        assert_eq!(queue.info(&mut client).await, subscribed);

        expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"1").await);
        expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"2").await);
        let (id, _) = queue.pushed(&mut client).await;
        let info = queue.info(&mut client).await;
        let encoded = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(&id)
        };
        assert_eq!(info["qiSize"], 2);
        assert_eq!(info["qiSub"]["qDelivered"], encoded);
        assert_eq!(info["qiMsg"]["msgId"], encoded);
        assert_eq!(info["qiMsg"]["msgType"], "message");
        let time = info["qiMsg"]["msgTs"].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");

        // Others see their own subscription only.
        let mut other = server.client().await;
        assert_eq!(queue.info(&mut other).await.get("qiSub"), None);
        let got = queue.ask(&mut other, &Command::Get).await;
        assert_eq!(queue.open(got).0, id);
        let info = queue.info(&mut other).await;
        assert_eq!(info["qiSub"]["qSubThread"], "prohibitSub");
        assert_eq!(info["qiSub"]["qDelivered"], encoded);
    });
}

#[test]
fn recipient_keys_of_contact_queues_are_replaced() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::contact(&mut client).await;
        let keys = Key::of_every_kind();
        let replace = Command::RKey(keys.iter().map(Key::public).collect());
        expect_ok(queue.ask(&mut client, &replace).await);
        // The key that signed is not in the new list.
        assert_eq!(queue.ask(&mut client, &replace).await, AUTH);
        for key in &keys {
            expect_ok(ask(&mut client, &Command::Sub, queue.id(), key.auth()).await);
            expect_ok(ask(&mut client, &replace, queue.id(), key.auth()).await);
        }
        let messaging = Recipient::create(&mut client, false).await;
        assert_eq!(messaging.ask(&mut client, &replace).await, AUTH);
    });
}

/// The answer to `NEW` with a correlation id of the caller's.
async fn create_as(
    client: &mut Client,
    corr_id: &[u8],
    key: &Key,
    queue: QueueRequest<'_>,
) -> Response<'static> {
    let dh_key = X25519SecretKey::generate(&mut rand::rng()).public_key();
    let new = Command::New(NewQueue {
        auth_key: key.public(),
        dh_key,
        password: None,
        subscribe: false,
        queue: Some(queue),
        notifier: None,
    });
    client
        .outbox()
        .send_as(corr_id, &new, &[], key.auth())
        .unwrap();
    client.reply(corr_id).await.unwrap().response
}

const LINK: LinkData<'static> = LinkData {
    fixed: b"fixed",
    user: b"user",
};

#[test]
fn senders_ids_may_be_chosen_with_link_data() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let key = Key::ed25519();
        // Several, because whether ids are on the same shard is up to chance.
        for _ in 0..8 {
            let corr_id: [u8; 24] = rand::random();
            let sender_id = sender_id_for(&corr_id);
            let messaging = || {
                QueueRequest::Messaging(Some(MessagingLink {
                    sender_id: &sender_id,
                    data: LINK,
                }))
            };
            let response = create_as(&mut client, &corr_id, &key, messaging()).await;
            let Response::Ids(ids) = response else {
                panic!("{response:?}");
            };
            assert_eq!(ids.sender_id[..], sender_id);
            assert_eq!(ids.mode, Some(QueueMode::Messaging));
            assert_eq!(ids.link_id.map(|id| id.len()), Some(24));
            expect_ok(send(&mut client, &sender_id, Auth::None, b"").await);
            let taken = create_as(&mut client, &corr_id, &key, messaging()).await;
            assert_eq!(taken, AUTH);
            // Not what the correlation id says.
            let other = rand::random::<[u8; 24]>();
            let wrong = create_as(&mut client, &other, &key, messaging()).await;
            assert_eq!(wrong, PROHIBITED);

            let (corr_id, link_id): ([u8; 24], [u8; 24]) = rand::random();
            let sender_id = sender_id_for(&corr_id);
            let contact = |sender_id| {
                QueueRequest::Contact(Some(ContactLink {
                    link_id: &link_id,
                    sender_id,
                    data: LINK,
                }))
            };
            let wrong = create_as(&mut client, &corr_id, &key, contact(&other)).await;
            assert_eq!(wrong, PROHIBITED);
            let response = create_as(&mut client, &corr_id, &key, contact(&sender_id)).await;
            let Response::Ids(ids) = response else {
                panic!("{response:?}");
            };
            assert_eq!(ids.sender_id[..], sender_id);
            assert_eq!(ids.link_id.as_deref(), Some(&link_id[..]));
            expect_ok(send(&mut client, &sender_id, Auth::None, b"").await);
            // The same link with a free sender id.
            let fresh: [u8; 24] = rand::random();
            let fresh_sender = sender_id_for(&fresh);
            let taken = create_as(&mut client, &fresh, &key, contact(&fresh_sender)).await;
            assert_eq!(taken, AUTH);
            // The refused creation left the sender id free, and deletion frees the link id.
            expect_ok(ask(&mut client, &Command::Del, &ids.recipient_id, key.auth()).await);
            let again = create_as(&mut client, &fresh, &key, contact(&fresh_sender)).await;
            assert!(matches!(again, Response::Ids(_)), "{again:?}");
        }
    });
}

#[test]
fn a_link_id_asked_for_by_many_at_once_is_given_to_one() {
    every_placement(&Setup::default(), async |server| {
        let key = Key::ed25519();
        for _ in 0..4 {
            let link_id = unknown_id();
            let mut clients = Vec::new();
            for _ in 0..6 {
                let mut client = server.client().await;
                let corr_id: [u8; 24] = rand::random();
                let sender_id = sender_id_for(&corr_id);
                let new = Command::New(NewQueue {
                    auth_key: key.public(),
                    dh_key: X25519SecretKey::generate(&mut rand::rng()).public_key(),
                    password: None,
                    subscribe: false,
                    queue: Some(QueueRequest::Contact(Some(ContactLink {
                        link_id: &link_id,
                        sender_id: &sender_id,
                        data: LINK,
                    }))),
                    notifier: None,
                });
                let outbox = client.outbox();
                outbox.send_as(&corr_id, &new, &[], key.auth()).unwrap();
                clients.push((client, corr_id));
            }
            for (client, _) in &mut clients {
                client.flush().await.unwrap();
            }
            let mut created = 0;
            for (client, corr_id) in &mut clients {
                match client.reply(&corr_id[..]).await.unwrap().response {
                    Response::Ids(_) => created += 1,
                    other => assert_eq!(other, AUTH),
                }
            }
            assert_eq!(created, 1);
        }
    });
}

#[test]
fn notifier_credentials_come_with_the_queue() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let notifier = Key::ed25519();
        let dh = X25519SecretKey::generate(&mut rand::rng());
        let queue = Recipient::create_with(&mut client, Key::ed25519(), |new| {
            new.notifier = Some(NotifierCredentials {
                auth_key: notifier.public(),
                dh_key: dh.public_key(),
            });
        })
        .await;
        let (notifier_id, _) = queue.ids.notifier.clone().unwrap();
        assert_eq!(notifier_id.len(), 24);
        assert_ne!(notifier_id, queue.ids.recipient_id);
        assert_ne!(notifier_id, queue.ids.sender_id);
        assert_eq!(queue.info(&mut client).await["qiNtf"], true);
    });
}

/// The answer to `NEW` of a client of some version.
async fn create_with_password(
    server: &Server,
    version: Version,
    password: Option<&[u8]>,
) -> Response<'static> {
    let mut client = server.client_of(version).await;
    let key = Key::ed25519();
    let new = Command::New(NewQueue {
        auth_key: key.public(),
        dh_key: X25519SecretKey::generate(&mut rand::rng()).public_key(),
        password,
        subscribe: false,
        queue: Some(QueueRequest::Messaging(None)),
        notifier: None,
    });
    ask(&mut client, &new, &[], key.auth()).await
}

const VERSIONS: [Version; 5] = [Version(6), Version(8), Version(9), Version(15), Version(18)];

#[test]
fn a_password_admits() {
    let setup = Setup::default().set("AUTH", "create_password", "correct-horse");
    every_placement(&setup, async |server| {
        for version in VERSIONS {
            let right = create_with_password(server, version, Some(b"correct-horse")).await;
            assert!(matches!(right, Response::Ids(_)), "{right:?}");
            for wrong in [
                None,
                Some(&b"correct-horsf"[..]),
                Some(b"correct"),
                Some(b""),
                Some(b"\xe9"),
            ] {
                let refused = create_with_password(server, version, wrong).await;
                assert_eq!(refused, AUTH);
            }
        }
    });
}

#[test]
fn without_a_password_any_is_accepted() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            for any in [&b"whatever"[..], b"", b"\xe9"] {
                let response = create_with_password(server, version, Some(any)).await;
                assert!(matches!(response, Response::Ids(_)), "{response:?}");
            }
        }
    });
}

#[test]
fn new_queues_can_be_forbidden() {
    let setup =
        Setup::default()
            .set("AUTH", "new_queues", "off")
            .set("AUTH", "create_password", "secret");
    every_placement(&setup, async |server| {
        for version in VERSIONS {
            for password in [None, Some(&b"secret"[..])] {
                let refused = create_with_password(server, version, password).await;
                assert_eq!(refused, AUTH);
            }
        }
    });
}

#[test]
fn new_must_be_signed_by_the_key_it_brings() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for key in Key::of_every_kind() {
            for other in Key::of_every_kind() {
                let new = Command::New(NewQueue {
                    auth_key: key.public(),
                    dh_key: X25519SecretKey::generate(&mut rand::rng()).public_key(),
                    password: None,
                    subscribe: false,
                    queue: Some(QueueRequest::Messaging(None)),
                    notifier: None,
                });
                assert_eq!(ask(&mut client, &new, &[], other.auth()).await, AUTH);
            }
        }
    });
}

#[test]
fn authenticators_need_a_session_key() {
    every_placement(&Setup::default(), async |server| {
        // Version 6 has no session key, so there is nothing to make an authenticator with.
        let target = server.target(TlsOptions {
            alpn: false,
            ..TlsOptions::default()
        });
        let options = Options {
            version: Version(6),
            ..Options::default()
        };
        let mut client = Client::connect(&target, options).await.unwrap();
        let key = Key::x25519();
        let impossible = client.send(&Command::Sub, &unknown_id(), key.auth());
        assert!(matches!(impossible, Err(ClientError::NoServerKey)));
        let queue = Recipient::create(&mut client, false).await;
        let key = Key::x25519();
        expect_ok(queue.ask(&mut client, &Command::Key(key.public())).await);
        let invented = Auth::Raw(&[3; 80]);
        for id in [queue.sender_id(), &unknown_id()] {
            assert_eq!(send(&mut client, id, invented, b"").await, AUTH);
        }
        // From version 7 authenticators work without block encryption too.
        let options = Options {
            version: Version(18),
            block_encryption: false,
            ..Options::default()
        };
        let target = server.target(TlsOptions::default());
        let mut client = Client::connect(&target, options).await.unwrap();
        let queue = Recipient::create_with(&mut client, key, |_| {}).await;
        expect_ok(queue.ask(&mut client, &Command::Sub).await);
    });
}
