//! Commands sent without waiting for answers: what they find, and in which order answers and
//! messages leave (spec: server §2.5).

mod support;

use loadtest::{Auth, Client, TlsOptions};
use smp_server::crypto::keys::X25519SecretKey;
use smp_server::protocol::{Command, ErrorType, Response};
use support::wire::{self, Item};
use support::{
    Hello, Key, Link, RawSession, Recipient, Server, Setup, ask, every_placement, expect_link,
    expect_ok, full_body, new_queue, sender_id_for, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);

/// The answers to commands sent without waiting, in one block or in one each.
async fn pipelined(
    client: &mut Client,
    together: bool,
    commands: &[(Command<'_>, &[u8], Auth<'_>)],
) -> Vec<Response<'static>> {
    if together {
        return client.batch(commands).await.unwrap();
    }
    let mut corr_ids = Vec::new();
    for (command, entity, auth) in commands {
        corr_ids.push(client.send(command, entity, *auth).unwrap());
        client.flush().await.unwrap();
    }
    let mut answers = Vec::new();
    for corr_id in corr_ids {
        answers.push(client.reply(&corr_id).await.unwrap().response);
    }
    answers
}

#[test]
fn commands_on_one_queue_do_not_wait_for_answers_to_take_effect_in_order() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for together in [true, false] {
            let (key, other) = (Key::ed25519(), Key::x25519());
            let queue = Recipient::create(&mut client, false).await;
            let (notify, body) = (false, &b"x"[..]);
            let (to, own) = (queue.sender_id(), queue.key.auth());
            let message = || Command::Send { notify, body };
            let commands = [
                (message(), to, Auth::None),
                (Command::Key(key.public()), queue.id(), own),
                (message(), to, Auth::None),
                (message(), to, key.auth()),
                (Command::SKey(other.public()), to, other.auth()),
                (Command::SKey(key.public()), to, key.auth()),
                (Command::Off, queue.id(), own),
                (message(), to, key.auth()),
                (Command::Get, queue.id(), own),
                (Command::Del, queue.id(), own),
                (Command::Get, queue.id(), own),
            ];
            let answers = pipelined(&mut client, together, &commands).await;
            assert!(matches!(answers[8], Response::Msg { .. }), "{answers:?}");
            let mut others = answers;
            others.remove(8);
            let ok = Response::Ok;
            let expected = [
                ok.clone(),
                ok.clone(),
                AUTH,
                ok.clone(),
                AUTH,
                ok.clone(),
                ok.clone(),
                AUTH,
                ok,
                AUTH,
            ];
            assert_eq!(others, expected);
        }
    });
}

#[test]
fn a_link_is_read_behind_the_command_that_sets_it() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for together in [true, false] {
            // Link ids on every shard.
            for _ in 0..8 {
                let queue = Recipient::contact(&mut client).await;
                let (first, second) = (unknown_id(), unknown_id());
                let link = Link::small("link");
                let changed = link.with_user("user");
                let own = queue.key.auth();
                let set = |link_id, link| {
                    let data = Link::data(link);
                    (Command::LSet { link_id, data }, queue.id(), own)
                };
                let get = |link_id| (Command::LGet, link_id, Auth::None);
                let commands = [
                    get(&first[..]),
                    set(&first, &link),
                    get(&first),
                    set(&second, &link),
                    set(&first, &changed),
                    get(&first),
                    (Command::LDel, queue.id(), own),
                    get(&first),
                    set(&second, &changed),
                    get(&second),
                    (Command::Del, queue.id(), own),
                    get(&second),
                ];
                let mut answers = pipelined(&mut client, together, &commands)
                    .await
                    .into_iter();
                let mut next = || answers.next().unwrap();
                assert_eq!(next(), AUTH);
                expect_ok(next());
                expect_link(next(), &queue, &link);
                assert_eq!(next(), AUTH);
                expect_ok(next());
                expect_link(next(), &queue, &changed);
                expect_ok(next());
                assert_eq!(next(), AUTH);
                expect_ok(next());
                expect_link(next(), &queue, &changed);
                expect_ok(next());
                assert_eq!(next(), AUTH);
            }
        }
    });
}

#[test]
fn a_queue_is_used_behind_the_command_that_creates_it() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let link = Link::small("link");
        for together in [true, false] {
            for _ in 0..8 {
                let (corr_id, link_id): ([u8; 24], [u8; 24]) = rand::random();
                let sender_id = sender_id_for(&corr_id);
                let key = Key::ed25519();
                let dh = X25519SecretKey::generate(&mut rand::rng());
                let mut new = new_queue(&key, &dh);
                new.queue = Some(link.contact(&link_id, &sender_id));
                let new = Command::New(new);
                let (notify, body) = (false, &b"first"[..]);
                let message = Command::Send { notify, body };
                let send_before = client.send(&message, &sender_id, Auth::None).unwrap();
                let outbox = client.outbox();
                outbox.send_as(&corr_id, &new, &[], key.auth()).unwrap();
                if !together {
                    client.flush().await.unwrap();
                }
                let get = (Command::LGet, &link_id[..], Auth::None);
                let commands = [get, (message, &sender_id, Auth::None)];
                let answers = pipelined(&mut client, together, &commands).await;
                assert!(matches!(answers[0], Response::Lnk(_)), "{answers:?}");
                assert_eq!(answers[1], Response::Ok);
                let before = client.reply(&send_before).await.unwrap().response;
                assert_eq!(before, AUTH);
                let created = client.reply(&corr_id).await.unwrap().response;
                let Response::Ids(ids) = created else {
                    panic!("{created:?}");
                };
                let id = &ids.recipient_id;
                expect_ok(ask(&mut client, &Command::Del, id, key.auth()).await);
            }
        }
    });
}

/// A command of the newest version, signed if there is a key.
fn transmission(
    session: &RawSession,
    key: Option<&Key>,
    corr_id: &[u8],
    entity: &[u8],
    command: &[u8],
) -> Vec<u8> {
    let sent = wire::sent(18, &[], corr_id, entity, command);
    let signature = match key {
        None => vec![],
        Some(Key::Sign(key)) => key.sign(&wire::authorized(18, &session.session_id, &sent)),
        Some(Key::X25519(_)) => unreachable!("made with an Ed25519 key"),
    };
    wire::transmission(18, &signature, &sent)
}

async fn session(server: &Server) -> RawSession {
    RawSession::connect(&server.target(TlsOptions::default()), Hello::of(18)).await
}

fn is_message(item: &Item) -> bool {
    item.body.starts_with(b"MSG ")
}

#[test]
fn a_message_to_oneself_precedes_its_confirmation() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let mut session = session(server).await;
        for n in 0..20 {
            let queue = Recipient::create(&mut client, false).await;
            let key = Some(&queue.key);
            let subscribe = transmission(&session, key, b"sub", queue.id(), b"SUB");
            let to = queue.sender_id();
            let message = transmission(&session, None, b"send", to, b"SEND F me");
            let commands = [subscribe, message];
            if n % 2 == 0 {
                session.send(&wire::batch(&commands)).await;
            } else {
                for command in commands {
                    session.send(&wire::batch(&[command])).await;
                }
            }
            let items = session.recv_at_least(3).await;
            let subscribed = Item::new(b"sub", queue.id(), b"SOK 0");
            let sent = Item::new(b"send", to, b"OK");
            let [first, rest @ ..] = &items[..] else {
                panic!("{items:?}");
            };
            assert_eq!(*first, subscribed);
            let place = rest.iter().position(is_message).unwrap();
            assert_eq!(rest[place].entity_id, queue.id());
            if n % 2 == 0 {
                // Messages follow all answers of the block with the confirmation they belong to.
                assert_eq!((place, &rest[0]), (1, &sent));
            } else {
                assert_eq!((place, &rest[1]), (0, &sent));
            }
        }
    });
}

#[test]
fn answers_do_not_wait_for_all_messages_nor_messages_for_all_answers() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        // More than sockets take that nobody reads from.
        let queues = Recipient::create_many(&mut client, 405, false).await;
        let body = full_body(b"large");
        let (notify, body) = (false, &body[..]);
        let messages: Vec<_> = queues
            .iter()
            .map(|queue| {
                (
                    Command::Send { notify, body },
                    queue.sender_id(),
                    Auth::None,
                )
            })
            .collect();
        for answer in client.batch(&messages).await.unwrap() {
            expect_ok(answer);
        }
        let mut session = session(server).await;
        for queues in queues.chunks(135) {
            let subscribe: Vec<_> = queues
                .iter()
                .map(|queue| transmission(&session, Some(&queue.key), b"sub", queue.id(), b"SUB"))
                .collect();
            session.send(&wire::batch(&subscribe)).await;
        }
        let (blocks, each) = (8, 255);
        let ping = transmission(&session, None, b"ping", b"", b"PING");
        let pings = wire::batch(&vec![ping; each]);
        for _ in 0..blocks {
            session.send(&pings).await;
        }
        let items = session
            .recv_at_least(2 * queues.len() + blocks * each)
            .await;
        // A queue is confirmed, in order, before its message is delivered, once.
        let queue_of = |item: &Item| {
            let found = queues.iter().position(|q| q.id() == item.entity_id);
            found.unwrap()
        };
        let mut delivered = vec![None; queues.len()];
        let (mut confirmed, mut answered) = (0, 0);
        let (mut first_answer, mut last_message) = (None, 0);
        for (place, item) in items.iter().enumerate() {
            if item.corr_id == b"ping" {
                assert_eq!(*item, Item::new(b"ping", b"", b"PONG"));
                first_answer.get_or_insert(place);
                answered += 1;
            } else if item.corr_id == b"sub" {
                assert_eq!(*item, Item::new(b"sub", queues[confirmed].id(), b"SOK 0"));
                confirmed += 1;
            } else {
                assert!(is_message(item), "{item:?}");
                let queue = queue_of(item);
                assert!(queue < confirmed, "a message before its confirmation");
                assert_eq!(delivered[queue].replace(place), None, "a message twice");
                last_message = place;
            }
        }
        assert_eq!(answered, blocks * each);
        let first_answer = first_answer.unwrap();
        assert!(first_answer < last_message, "answers wait for all messages");
        let first_message = delivered.iter().flatten().min().unwrap();
        let last_answer = items.iter().rposition(|item| item.corr_id == b"ping");
        assert!(
            Some(*first_message) < last_answer,
            "messages wait for all answers"
        );
    });
}
