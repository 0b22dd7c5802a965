//! What a connection sends takes effect in the order sent, whatever shards it is for, and answers
//! and messages leave in an order that clients can rely on (spec: server §2.5).

mod support;

use loadtest::{Auth, Client, TlsOptions};
use smp_server::protocol::{Command, ErrorType, Response};
use support::wire::{self, Item};
use support::{
    Hello, Key, Link, NotifierKeys, RawSession, Recipient, Server, Setup, ask, every_placement,
    expect_link, expect_ok, full_body, get_link, new_queue, run, send, sender_id_for, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);

/// A server of four shards whose queues are on all of them.
fn spread() -> Server {
    Setup::default().placed("4", "spread").start()
}

/// Who acts on a queue, who sees it, and who keeps its shard busy.
struct Stage {
    actor: Client,
    observer: Client,
    crowd: Client,
    /// A queue the observer is subscribed to, most likely on another shard than others.
    signal: Recipient,
}

/// Wrong signatures that a shard has to check before it gets to anything else.
const CROWD: usize = 80;

impl Stage {
    async fn new(server: &Server) -> Self {
        let mut observer = server.client().await;
        Self {
            actor: server.client().await,
            crowd: server.client().await,
            signal: Recipient::create(&mut observer, true).await,
            observer,
        }
    }

    /// Gives the shard of a sender id much to do.
    async fn crowd(&mut self, sender_id: &[u8]) {
        let wrong = Key::ed448();
        let (notify, body) = (false, &b""[..]);
        for _ in 0..CROWD {
            let refused = Command::Send { notify, body };
            self.crowd.send(&refused, sender_id, wrong.auth()).unwrap();
        }
        self.crowd.flush().await.unwrap();
    }

    /// Has the actor send a message to the signal queue. Returns when the observer has received
    /// it: what commands before it change has to be seen by then.
    async fn signal(&mut self) {
        let (notify, body) = (false, &b"now"[..]);
        let signal = Command::Send { notify, body };
        let to = self.signal.sender_id();
        self.actor.send(&signal, to, Auth::None).unwrap();
        self.actor.flush().await.unwrap();
        let (id, _) = self.signal.pushed(&mut self.observer).await;
        expect_ok(self.signal.ack(&mut self.observer, &id).await);
    }

    /// Sends a command of the actor and then the signal, while the shard of the queue has much to
    /// do.
    async fn act(&mut self, queue: &Recipient, command: (Command<'_>, &[u8], Auth<'_>)) {
        self.crowd(queue.sender_id()).await;
        let (command, entity, auth) = command;
        self.actor.send(&command, entity, auth).unwrap();
        self.actor.flush().await.unwrap();
        self.signal().await;
    }

    /// [`act`](Self::act) with one command of the queue's recipient.
    async fn act_on(&mut self, queue: &Recipient, command: Command<'_>) {
        self.act(queue, (command, queue.id(), queue.key.auth()))
            .await;
    }
}

/// As often as it takes that queues and connections are on different shards, in every combination.
const ROUNDS: usize = 12;

#[test]
fn messages_to_different_queues_appear_in_the_order_sent() {
    let server = spread();
    run(async {
        for _ in 0..ROUNDS {
            let mut stage = Stage::new(&server).await;
            let queue = Recipient::create(&mut stage.actor, false).await;
            let (notify, body) = (false, &b"x"[..]);
            let message = Command::Send { notify, body };
            for count in 1..=3 {
                let sent = (message.clone(), queue.sender_id(), Auth::None);
                stage.act(&queue, sent).await;
                let size = queue.info(&mut stage.observer).await["qiSize"].clone();
                assert!(size.as_u64() >= Some(count), "{size} of {count}");
            }
        }
    });
}

#[test]
fn whoever_sees_a_later_message_sees_a_queue_secured_suspended_or_deleted() {
    let server = spread();
    run(async {
        for _ in 0..ROUNDS {
            let mut stage = Stage::new(&server).await;
            let key = Key::ed25519();
            for command in [Command::Key(key.public()), Command::Off, Command::Del] {
                let queue = Recipient::create(&mut stage.actor, false).await;
                stage.act_on(&queue, command.clone()).await;
                let to = queue.sender_id();
                let sent = send(&mut stage.observer, to, Auth::None, b"").await;
                assert_eq!(sent, AUTH, "{command:?}");
            }
            let queue = Recipient::create(&mut stage.actor, false).await;
            let secure = (Command::SKey(key.public()), queue.sender_id(), key.auth());
            stage.act(&queue, secure).await;
            assert_eq!(queue.info(&mut stage.observer).await["qiSnd"], true);

            let queue = Recipient::contact(&mut stage.actor).await;
            let replace = Command::RKey(vec![key.public()]);
            stage.act_on(&queue, replace).await;
            assert_eq!(queue.ask(&mut stage.observer, &Command::Que).await, AUTH);
        }
    });
}

#[test]
fn whoever_sees_a_later_message_sees_an_acknowledgement() {
    let server = spread();
    run(async {
        for _ in 0..ROUNDS {
            let mut stage = Stage::new(&server).await;
            let queue = Recipient::create(&mut stage.actor, true).await;
            let to = queue.sender_id();
            expect_ok(send(&mut stage.observer, to, Auth::None, b"").await);
            let (id, _) = queue.pushed(&mut stage.actor).await;
            stage.act_on(&queue, Command::Ack { msg_id: &id }).await;
            assert_eq!(queue.info(&mut stage.observer).await["qiSize"], 0);
        }
    });
}

#[test]
fn whoever_sees_a_later_message_sees_a_notifier_come_and_go() {
    let server = spread();
    run(async {
        for _ in 0..ROUNDS {
            let mut stage = Stage::new(&server).await;
            let queue = Recipient::create(&mut stage.actor, false).await;
            let credentials = NotifierKeys::new(Key::ed25519()).credentials();
            stage.act_on(&queue, Command::NKey(credentials)).await;
            assert_eq!(queue.info(&mut stage.observer).await["qiNtf"], true);
            stage.act_on(&queue, Command::NDel).await;
            assert_eq!(queue.info(&mut stage.observer).await["qiNtf"], false);
        }
    });
}

#[test]
fn whoever_sees_a_later_message_sees_a_link_come_and_go() {
    let server = spread();
    run(async {
        for _ in 0..ROUNDS {
            let mut stage = Stage::new(&server).await;
            let queue = Recipient::contact(&mut stage.actor).await;
            let (link_id, link) = (unknown_id(), Link::small("link"));
            let (data, link_id) = (link.data(), &link_id);
            stage.act_on(&queue, Command::LSet { link_id, data }).await;
            expect_link(get_link(&mut stage.observer, link_id).await, &queue, &link);
            let changed = link.with_user("user");
            let data = changed.data();
            stage.act_on(&queue, Command::LSet { link_id, data }).await;
            let found = get_link(&mut stage.observer, link_id).await;
            expect_link(found, &queue, &changed);
            stage.act_on(&queue, Command::LDel).await;
            assert_eq!(get_link(&mut stage.observer, link_id).await, AUTH);

            let queue = Recipient::with_invitation(&mut stage.actor, &link).await;
            let key = Key::ed25519();
            let secure = (Command::LKey(key.public()), queue.link_id(), key.auth());
            stage.act(&queue, secure).await;
            assert_eq!(queue.info(&mut stage.observer).await["qiSnd"], true);
        }
    });
}

#[test]
fn whoever_sees_a_later_message_sees_a_queue_created() {
    let server = spread();
    run(async {
        for _ in 0..ROUNDS {
            let mut stage = Stage::new(&server).await;
            let link = Link::small("link");
            // Ids that others know before the queue is there.
            for contact in [false, true] {
                let (corr_id, link_id): ([u8; 24], [u8; 24]) = rand::random();
                let sender_id = sender_id_for(&corr_id);
                let key = Key::ed25519();
                let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
                let mut new = new_queue(&key, &dh);
                new.queue = Some(if contact {
                    link.contact(&link_id, &sender_id)
                } else {
                    link.messaging(&sender_id)
                });
                stage.crowd(&sender_id).await;
                let outbox = stage.actor.outbox();
                let new = Command::New(new);
                outbox.send_as(&corr_id, &new, &[], key.auth()).unwrap();
                stage.actor.flush().await.unwrap();
                stage.signal().await;
                expect_ok(send(&mut stage.observer, &sender_id, Auth::None, b"").await);
                if contact {
                    let found = get_link(&mut stage.observer, &link_id).await;
                    assert!(matches!(found, Response::Lnk(_)), "{found:?}");
                }
            }
        }
    });
}

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
                let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
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
