//! A client of many queues gets every message once and in order, also while another takes over
//! half of its subscriptions (spec: server §4, §5).

mod support;

use futures_lite::future::{poll_fn, zip};
use loadtest::{Auth, Client, Outbox};
use smp_server::protocol::{Command, ErrorType, Response};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::Poll;
use support::{Key, Recipient, Server, Setup, expect_ok, run};

const QUEUES: usize = 1000;
/// Every so many queues get more than one message.
const LONG_EVERY: usize = 4;
const LONG: usize = 3;

/// Where queues are in relation to those who use them.
const PLACEMENTS: [(&str, &str); 3] = [("1", "local"), ("2", "remote"), ("4", "spread")];

fn with_placements(scenario: impl AsyncFn(&Server)) {
    for (shards, placement) in PLACEMENTS {
        let server = Setup::default().placed(shards, placement).start();
        eprintln!("{shards} shards, placement {placement}");
        run(scenario(&server));
    }
}

/// The queues and what is sent to them.
struct World {
    queues: Vec<Recipient>,
    by_id: HashMap<Vec<u8>, usize>,
    /// Messages that each queue gets.
    counts: Vec<usize>,
}

impl World {
    async fn new(server: &Server) -> Self {
        let mut creator = server.client().await;
        let queues = Recipient::create_many(&mut creator, QUEUES, false).await;
        let ids = queues.iter().map(|queue| queue.id().to_vec());
        let by_id = ids.enumerate().map(|(n, id)| (id, n)).collect();
        let count = |n: usize| {
            if n.is_multiple_of(LONG_EVERY) {
                LONG
            } else {
                1
            }
        };
        Self {
            counts: (0..QUEUES).map(count).collect(),
            queues,
            by_id,
        }
    }

    fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Subscribes in blocks as full as they get.
    async fn subscribe(&self, client: &mut Client, queues: std::ops::Range<usize>) {
        let commands: Vec<_> = self.queues[queues]
            .iter()
            .map(|queue| (Command::Sub, queue.id(), queue.key.auth()))
            .collect();
        for answer in client.batch(&commands).await.unwrap() {
            expect_ok(answer);
        }
    }

    /// Sends every `of`-th queue its messages, beginning with queue `first`: the first message of
    /// all, then the second of those that get one, and so on.
    async fn send(&self, client: &mut Client, first: usize, of: usize) {
        for round in 0..LONG {
            let mine = (first..QUEUES).step_by(of);
            let queues = mine.filter(|n| round < self.counts[*n]);
            let bodies: Vec<_> = queues.map(|n| (n, body(n, round))).collect();
            let notify = false;
            let commands: Vec<_> = bodies
                .iter()
                .map(|(n, body)| {
                    let send = Command::Send { notify, body };
                    (send, self.queues[*n].sender_id(), Auth::None)
                })
                .collect();
            for answer in client.batch(&commands).await.unwrap() {
                expect_ok(answer);
            }
        }
    }
}

/// Queue and number of a message.
fn body(queue: usize, round: usize) -> [u8; 8] {
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    [number(queue), number(round)].concat().try_into().unwrap()
}

/// What one connection received, per queue in order.
struct Inbox<'a> {
    world: &'a World,
    received: RefCell<Vec<Vec<usize>>>,
    ended: RefCell<Vec<bool>>,
    /// Messages of all connections that nobody had before.
    progress: &'a Progress,
}

/// What all connections have received together.
struct Progress {
    seen: RefCell<Vec<Vec<bool>>>,
    missing: Cell<usize>,
}

impl Progress {
    fn new(world: &World) -> Self {
        let counts = world.counts.iter();
        Self {
            seen: RefCell::new(counts.map(|count| vec![false; *count]).collect()),
            missing: Cell::new(world.total()),
        }
    }

    fn note(&self, queue: usize, round: usize) {
        let mut seen = self.seen.borrow_mut();
        if !std::mem::replace(&mut seen[queue][round], true) {
            self.missing.set(self.missing.get() - 1);
        }
    }

    /// Whether all but so many messages have been received.
    fn is_missing_at_most(&self, missing: usize) -> bool {
        self.missing.get() <= missing
    }
}

impl<'a> Inbox<'a> {
    fn new(world: &'a World, progress: &'a Progress) -> Self {
        Self {
            received: RefCell::new(vec![Vec::new(); QUEUES]),
            ended: RefCell::new(vec![false; QUEUES]),
            world,
            progress,
        }
    }

    fn ends(&self) -> usize {
        self.ended.borrow().iter().filter(|ended| **ended).count()
    }

    /// Notes a message and acknowledges it.
    fn take(&self, entity_id: &[u8], response: Response<'_>, outbox: &mut Outbox) {
        let queue = self.world.by_id.get(entity_id).copied();
        match response {
            Response::Msg { .. } => {
                let n = queue.unwrap();
                let queue = &self.world.queues[n];
                assert!(!self.ended.borrow()[n], "a message after END");
                let (msg_id, content) = queue.open(response);
                let (of, round) = content.split_first_chunk::<4>().unwrap();
                let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes) as usize;
                assert_eq!(number(of), n, "a message of another queue");
                let round = number(round.try_into().unwrap());
                self.received.borrow_mut()[n].push(round);
                self.progress.note(n, round);
                let ack = Command::Ack { msg_id: &msg_id };
                let Key::Sign(key) = &queue.key else {
                    unreachable!("made with an Ed25519 key");
                };
                outbox.send(&ack, queue.id(), Auth::Sign(key)).unwrap();
            }
            Response::End => {
                let ended = &mut self.ended.borrow_mut()[queue.unwrap()];
                assert!(!std::mem::replace(ended, true), "END twice");
            }
            // A message that another connection was given meanwhile cannot be acknowledged here.
            Response::Ok | Response::Sok(_) | Response::Err(ErrorType::NoMsg) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Receives and acknowledges until `done`, which is looked at whenever something has arrived
    /// for anybody.
    async fn receive(&self, client: &mut Client, done: impl Fn() -> bool) {
        poll_fn(|cx| {
            loop {
                if done() {
                    // Others may wait for the same.
                    cx.waker().wake_by_ref();
                    return Poll::Ready(());
                }
                let mut take = |incoming: loadtest::Incoming<'_>, outbox: &mut Outbox| {
                    self.take(incoming.entity_id, incoming.response, outbox);
                };
                match client.poll_drive(cx, &mut take) {
                    Poll::Ready(result) => result.unwrap(),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    /// What was received of a queue, in order.
    fn of(&self, queue: usize) -> Vec<usize> {
        self.received.borrow()[queue].clone()
    }
}

/// Ready once `condition` holds; something else has to wake the task.
async fn until(condition: impl Fn() -> bool) {
    poll_fn(|_| {
        if condition() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Three connections send everything at the same time.
async fn send_everything(server: &Server, world: &World) {
    let mut senders = [
        server.client().await,
        server.client().await,
        server.client().await,
    ];
    let [a, b, c] = &mut senders;
    zip(
        zip(world.send(a, 0, 3), world.send(b, 1, 3)),
        world.send(c, 2, 3),
    )
    .await;
}

#[test]
fn a_thousand_queues_deliver_every_message_once_and_in_order() {
    with_placements(async |server| {
        let world = World::new(server).await;
        let progress = Progress::new(&world);
        let inbox = Inbox::new(&world, &progress);
        let mut client = server.client().await;
        world.subscribe(&mut client, 0..QUEUES).await;
        let done = || progress.is_missing_at_most(0);
        zip(
            inbox.receive(&mut client, done),
            send_everything(server, &world),
        )
        .await;
        for (n, count) in world.counts.iter().enumerate() {
            assert_eq!(inbox.of(n), (0..*count).collect::<Vec<_>>());
        }
        // Nothing was left behind, and nothing comes after.
        let last = &world.queues[0];
        let mut other = server.client().await;
        last.expect_delivery(&mut other, &mut client).await;
        for queue in &world.queues {
            assert_eq!(queue.info(&mut other).await["qiSize"], 0);
        }
    });
}

#[test]
fn a_takeover_of_half_of_them_in_the_middle_loses_nothing() {
    const TAKEN: usize = QUEUES / 2;
    with_placements(async |server| {
        let world = World::new(server).await;
        let progress = Progress::new(&world);
        let (old, new) = (Inbox::new(&world, &progress), Inbox::new(&world, &progress));
        let (mut loser, mut winner) = (server.client().await, server.client().await);
        world.subscribe(&mut loser, 0..QUEUES).await;
        let done = || progress.is_missing_at_most(0) && old.ends() == TAKEN;
        let taking_over = async {
            until(|| progress.is_missing_at_most(world.total() * 3 / 4)).await;
            for queue in &world.queues[..TAKEN] {
                winner
                    .send(&Command::Sub, queue.id(), queue.key.auth())
                    .unwrap();
            }
            new.receive(&mut winner, done).await;
        };
        zip(
            zip(old.receive(&mut loser, done), taking_over),
            send_everything(server, &world),
        )
        .await;
        let mut redelivered = 0;
        for (n, count) in world.counts.iter().enumerate() {
            let (before, after) = (old.of(n), new.of(n));
            if n >= TAKEN {
                assert_eq!(before, (0..*count).collect::<Vec<_>>(), "queue {n}");
                assert!(after.is_empty(), "queue {n}: {after:?}");
                continue;
            }
            // The loser had the first ones, the winner the others. The message that the loser was
            // given last may be given to the winner again.
            assert_eq!(before, (0..before.len()).collect::<Vec<_>>(), "queue {n}");
            let from = after.first().copied().unwrap_or(*count);
            assert_eq!(after, (from..*count).collect::<Vec<_>>(), "queue {n}");
            let again = before.len().checked_sub(from);
            assert!(
                matches!(again, Some(0 | 1)),
                "queue {n}: {before:?} {after:?}"
            );
            redelivered += again.unwrap_or_default();
        }
        eprintln!(
            "{} messages after the takeover, {redelivered} of them again",
            (0..TAKEN).map(|n| new.of(n).len()).sum::<usize>()
        );
        // Each end was told once, and of the right ones.
        let ended = old.ended.borrow();
        assert!(ended[..TAKEN].iter().all(|ended| *ended));
        assert!(!ended[TAKEN..].iter().any(|ended| *ended));
        assert_eq!(new.ends(), 0);
    });
}
