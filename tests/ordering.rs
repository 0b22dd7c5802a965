//! What a connection sends takes effect in the order sent, whatever shards it is for
//! (spec: server §2.5).

mod support;

use loadtest::{Auth, Client};
use smp_server::protocol::{Command, ErrorType, Response};
use support::{
    Key, Link, NotifierKeys, Recipient, Server, Setup, expect_link, expect_ok, get_link, new_queue,
    run, send, sender_id_for, unknown_id,
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
