//! Whoever loses a subscription loses it at once and is told a little later
//! (spec: server §4, §5.2).

mod support;

use loadtest::{Auth, Client, TlsOptions};
use smp_server::protocol::{Command, ErrorType, Response, Version};
use support::wire::{self, Item};
use support::{
    Hello, Key, RawSession, Recipient, Server, Setup, every_placement, expect_event, expect_ok,
    send,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);
const NO_MSG: Response<'static> = Response::Err(ErrorType::NoMsg);

/// Long enough that a few commands are done in the meantime.
const INTERVAL_MS: &str = "700";
/// Longer than any test.
const NEVER_MS: &str = "3600000";

fn setup(interval_ms: &str) -> Setup {
    Setup::default().set("RELAY", "pending_end_interval_ms", interval_ms)
}

/// Two connections, most likely on different shards, and a queue the first subscribed to.
async fn subscribed(server: &Server) -> (Client, Client, Recipient) {
    let mut first = server.client().await;
    let second = server.client().await;
    let queue = Recipient::create(&mut first, true).await;
    (first, second, queue)
}

#[test]
fn a_subscription_is_lost_at_once_though_the_loser_is_told_later() {
    every_placement(&setup(NEVER_MS), async |server| {
        let (mut loser, mut winner, queue) = subscribed(server).await;
        expect_ok(send(&mut winner, queue.sender_id(), Auth::None, b"1").await);
        let (id, _) = queue.pushed(&mut loser).await;
        expect_ok(queue.ask(&mut winner, &Command::Sub).await);
        assert_eq!(queue.pushed(&mut winner).await.0, id);
        assert_eq!(queue.ack(&mut loser, &id).await, NO_MSG);
        assert_eq!(queue.info(&mut loser).await.get("qiSub"), None);
        expect_ok(queue.ack(&mut winner, &id).await);
        queue.expect_delivery(&mut loser, &mut winner).await;
        queue.assert_no_push(&mut loser).await;
        // What was lost can be had back, and the other has lost it at once too.
        expect_ok(queue.ask(&mut loser, &Command::Sub).await);
        queue.expect_delivery(&mut winner, &mut loser).await;
        queue.assert_no_push(&mut winner).await;

        // The same of deletion.
        expect_ok(queue.ask(&mut winner, &Command::Del).await);
        assert_eq!(queue.ask(&mut loser, &Command::Que).await, AUTH);
        assert_eq!(loser.buffered_push(), None);
    });
}

/// A recipient's command of the newest version.
fn signed(session: &RawSession, queue: &Recipient, command: &[u8]) -> Vec<u8> {
    let Key::Sign(key) = &queue.key else {
        unreachable!("made with an Ed25519 key");
    };
    let sent = wire::sent(18, &[], b"corr", queue.id(), command);
    let signature = key.sign(&wire::authorized(18, &session.session_id, &sent));
    wire::transmission(18, &signature, &sent)
}

#[test]
fn what_was_lost_in_the_meantime_is_told_in_one_block() {
    every_placement(&setup(INTERVAL_MS), async |server| {
        let mut winner = server.client().await;
        let queues = Recipient::create_many(&mut winner, 60, false).await;
        let target = server.target(TlsOptions::default());
        let mut loser = RawSession::connect(&target, Hello::of(18)).await;
        let subscribe: Vec<_> = queues.iter().map(|q| signed(&loser, q, b"SUB")).collect();
        loser.send(&wire::batch(&subscribe)).await;
        assert_eq!(loser.recv_items().await.len(), queues.len());
        let (taken, deleted) = queues.split_at(40);
        let mut commands: Vec<_> = taken
            .iter()
            .map(|queue| (Command::Sub, queue.id(), queue.key.auth()))
            .collect();
        commands.extend(
            deleted
                .iter()
                .map(|queue| (Command::Del, queue.id(), queue.key.auth())),
        );
        for answer in winner.batch(&commands).await.unwrap() {
            expect_ok(answer);
        }
        let (mut items, mut blocks) = (Vec::new(), 0);
        while items.len() < queues.len() {
            items.extend(loser.recv_items().await);
            blocks += 1;
        }
        // Two if a tick came in the middle.
        assert!(blocks <= 2, "{blocks} blocks");
        items.sort_by(|a, b| a.entity_id.cmp(&b.entity_id));
        let event = |event: &'static [u8]| move |q: &Recipient| Item::new(b"", q.id(), event);
        let mut expected: Vec<_> = taken.iter().map(event(b"END")).collect();
        expected.extend(deleted.iter().map(event(b"DELD")));
        expected.sort_by(|a, b| a.entity_id.cmp(&b.entity_id));
        assert_eq!(items, expected);
    });
}

/// The reference sends a stale `END` here, after which a client subscribes once more.
#[test]
fn whoever_subscribes_again_in_time_is_not_told() {
    every_placement(&setup(INTERVAL_MS), async |server| {
        let (mut first, mut second, queue) = subscribed(server).await;
        let other = Recipient::create(&mut first, true).await;
        expect_ok(queue.ask(&mut second, &Command::Sub).await);
        expect_ok(queue.ask(&mut first, &Command::Sub).await);
        expect_ok(other.ask(&mut second, &Command::Sub).await);
        // Of the two only the one that is lost still.
        expect_event(&mut first, other.id(), Response::End).await;
        expect_event(&mut second, queue.id(), Response::End).await;
        queue.expect_delivery(&mut second, &mut first).await;
        other.expect_delivery(&mut first, &mut second).await;
    });
}

#[test]
fn a_subscription_may_change_hands_many_times() {
    every_placement(&Setup::default(), async |server| {
        let (first, second, queue) = subscribed(server).await;
        let mut clients = [first, second, server.client().await, server.client().await];
        for round in 0..20 {
            let (loser, winner) = (round % 4, (round + 1) % 4);
            let subscribed = queue.ask(&mut clients[winner], &Command::Sub).await;
            expect_ok(subscribed);
            expect_event(&mut clients[loser], queue.id(), Response::End).await;
            let [winner, sender] = clients.get_disjoint_mut([winner, (round + 2) % 4]).unwrap();
            queue.expect_delivery(sender, winner).await;
        }
    });
}

#[test]
fn fetching_takes_no_subscription_and_is_told_nothing() {
    every_placement(&Setup::default(), async |server| {
        let (mut subscriber, mut getter, queue) = subscribed(server).await;
        expect_ok(queue.ask(&mut getter, &Command::Get).await);
        queue.expect_delivery(&mut getter, &mut subscriber).await;
        let mut deleter = server.client().await;
        let witness = Recipient::create(&mut getter, true).await;
        expect_ok(queue.ask(&mut deleter, &Command::Del).await);
        expect_event(&mut subscriber, queue.id(), Response::Deld).await;
        // The first it is told is of a queue it is subscribed to.
        expect_ok(witness.ask(&mut deleter, &Command::Del).await);
        expect_event(&mut getter, witness.id(), Response::Deld).await;
        for command in [Command::Get, Command::Sub, Command::Que] {
            assert_eq!(queue.ask(&mut getter, &command).await, AUTH);
        }
        assert_eq!(queue.ack(&mut getter, &[1; 24]).await, AUTH);
    });
}

#[test]
fn every_version_is_told_in_its_words() {
    every_placement(&Setup::default(), async |server| {
        for version in [6, 9, 10, 15, 16, 18] {
            let mut loser = server.client_of(Version(version)).await;
            let mut winner = server.client().await;
            let (queue, notifier) = Recipient::create_with_notifier(&mut winner, false).await;
            expect_ok(queue.ask(&mut loser, &Command::Sub).await);
            expect_ok(notifier.subscribe(&mut loser).await);
            expect_ok(queue.ask(&mut winner, &Command::Sub).await);
            expect_event(&mut loser, queue.id(), Response::End).await;
            expect_ok(notifier.subscribe(&mut winner).await);
            expect_event(&mut loser, &notifier.id, Response::End).await;

            let deleted = if version < 10 {
                Response::End
            } else {
                Response::Deld
            };
            expect_ok(notifier.subscribe(&mut loser).await);
            expect_event(&mut winner, &notifier.id, Response::End).await;
            expect_ok(queue.disable_notifications(&mut winner).await);
            expect_event(&mut loser, &notifier.id, deleted.clone()).await;
            expect_ok(queue.ask(&mut loser, &Command::Sub).await);
            expect_event(&mut winner, queue.id(), Response::End).await;
            expect_ok(queue.ask(&mut winner, &Command::Del).await);
            expect_event(&mut loser, queue.id(), deleted).await;
        }
    });
}

/// Commands of the one who creates a queue and of others, in any order.
#[test]
fn a_creator_that_subscribed_loses_its_queue_like_anybody() {
    every_placement(&Setup::default(), async |server| {
        let (mut creator, mut other, queue) = subscribed(server).await;
        for _ in 0..2 {
            // The same connection again is no takeover.
            expect_ok(queue.ask(&mut creator, &Command::Sub).await);
        }
        queue.assert_no_push(&mut creator).await;
        expect_ok(queue.ask(&mut other, &Command::Sub).await);
        expect_event(&mut creator, queue.id(), Response::End).await;
        // Its end does not end the subscription of another.
        creator.close().await.unwrap();
        let mut sender = server.client().await;
        queue.expect_delivery(&mut sender, &mut other).await;
    });
}
