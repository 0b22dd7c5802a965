//! Messages that are too old (spec: server §5.4).

use super::clients::{Client, Queue};
use super::world::{Listening, QUOTA, World, two_clients};
use crate::protocol::Command;
use crate::relay::expiry::MessageSweep;
use crate::store::Store;

const TTL: i64 = 100;

fn world(on_send: bool) -> World {
    World::configured(1, |config| {
        config.message_ttl = Some(TTL);
        config.expire_on_send = on_send;
    })
}

fn count(world: &World, queue: &Queue) -> usize {
    let (shard, slot) = world.slot(queue);
    world.shards[shard].store.message_count(slot)
}

/// Acknowledges a message and returns the answer.
fn ack(
    world: &mut World,
    me: &Client,
    queue: &Queue,
    message: &crate::protocol::Response<'_>,
) -> String {
    let msg_id = Queue::message_id(message);
    world.own(me, queue, &Command::Ack { msg_id: &msg_id })
}

#[test]
fn messages_older_than_allowed_are_dropped_up_to_the_first_younger() {
    let (me, sender) = two_clients();
    let mut world = world(false);
    let queue = world.messaging(&me);
    for body in ["1", "2", "3"] {
        world.send(&sender, &queue, body);
        world.advance(10);
    }
    // 30, 20 and 10 seconds old.
    world.advance(TTL - 30);
    assert_eq!(world.expire_messages(64), 0);
    world.advance(1);
    assert_eq!(world.expire_messages(64), 1);
    world.advance(10);
    assert_eq!(world.expire_messages(64), 1);
    assert_eq!(world.counters().messages_expired, 2);
    assert_eq!(world.own(&me, &queue, &Command::Get), "MSG 3");
    assert_eq!(world.shards[0].totals().messages, 1);
}

#[test]
fn an_old_message_behind_a_younger_one_stays() {
    let (me, sender) = two_clients();
    let mut world = world(false);
    let queue = world.messaging(&me);
    world.advance(2 * TTL);
    world.send(&sender, &queue, "young");
    // The clock was wrong, and is set back.
    world.advance(-2 * TTL);
    world.send(&sender, &queue, "old");
    world.advance(2 * TTL);
    assert_eq!(world.expire_messages(64), 0);
    assert_eq!(count(&world, &queue), 2);
}

#[test]
fn expiry_stops_at_a_quota_marker_and_a_lone_one_keeps_the_queue_full() {
    let (me, sender) = two_clients();
    let mut world = world(true);
    let queue = world.messaging(&me);
    for _ in 0..QUOTA {
        assert_eq!(world.send(&sender, &queue, "1"), "OK");
    }
    assert_eq!(world.send(&sender, &queue, "1"), "ERR QUOTA");
    world.advance(TTL + 1);
    assert_eq!(world.expire_messages(64), QUOTA as u64);
    assert_eq!(world.expire_messages(64), 0);
    assert_eq!(count(&world, &queue), 1);
    for _ in 0..2 {
        assert_eq!(world.send(&sender, &queue, "2"), "ERR QUOTA");
    }
    assert_eq!(world.own(&me, &queue, &Command::Sub), "SOK");
    let marker = world.pushes.remove(0).2;
    assert_eq!(queue.words(&marker), "MSG QUOTA");
    assert_eq!(ack(&mut world, &me, &queue, &marker), "OK");
    assert_eq!(world.send(&sender, &queue, "3"), "OK");
}

#[test]
fn sending_makes_room_by_expiry_when_so_configured() {
    let (me, sender) = two_clients();
    for on_send in [true, false] {
        let mut world = world(on_send);
        let queue = world.messaging(&me);
        for _ in 0..QUOTA {
            world.send(&sender, &queue, "1");
        }
        world.advance(TTL + 1);
        let expected = if on_send { "OK" } else { "ERR QUOTA" };
        assert_eq!(world.send(&sender, &queue, "2"), expected);
        let expired = if on_send { QUOTA as u64 } else { 0 };
        assert_eq!(world.counters().messages_expired, expired);
    }
}

#[test]
fn nothing_expires_without_a_time_to_live() {
    let (me, sender) = two_clients();
    let mut world = World::configured(1, |config| config.expire_on_send = true);
    let queue = world.messaging(&me);
    world.send(&sender, &queue, "1");
    world.advance(1_000_000_000);
    world.send(&sender, &queue, "2");
    assert_eq!(world.expire_messages(64), 0);
    assert_eq!(count(&world, &queue), 2);
}

#[test]
fn queues_are_looked_through_in_steps() {
    let (me, sender) = two_clients();
    let mut world = world(false);
    let queues: Vec<_> = (0..7).map(|_| world.messaging(&me)).collect();
    for queue in &queues {
        world.send(&sender, queue, "1");
        world.send(&sender, queue, "2");
    }
    world.advance(TTL + 1);
    let kept = &queues[3];
    let mut sweep = MessageSweep::default();
    let now = world.now;
    let mut step = |world: &mut World| {
        let more = world.shards[0].expire_messages(now, &mut sweep, 2);
        (more, sweep.expired)
    };
    assert_eq!(step(&mut world), (true, 4));
    // Between two steps a queue goes, another gets a message.
    assert_eq!(world.own(&me, kept, &Command::Del), "OK");
    world.send(&sender, &queues[0], "3");
    assert_eq!(step(&mut world), (true, 8));
    assert_eq!(step(&mut world), (true, 12));
    assert_eq!(step(&mut world), (false, 12));
    assert_eq!(count(&world, &queues[0]), 1);
}

#[test]
fn a_very_long_queue_expires_completely() {
    let (me, sender) = two_clients();
    let mut world = World::configured(1, |config| {
        config.message_ttl = Some(TTL);
        config.queue_quota = 1_000;
    });
    let queues = [world.messaging(&me), world.messaging(&me)];
    for queue in &queues {
        for _ in 0..600 {
            world.send(&sender, queue, "");
        }
    }
    world.advance(TTL + 1);
    assert_eq!(world.expire_messages(1), 1_200);
    assert_eq!(world.shards[0].totals().messages, 0);
}

#[test]
fn a_delivered_message_that_expired_is_acknowledged_for_the_next() {
    let (me, sender) = two_clients();
    // The messages that come after it has expired, and the answer to its acknowledgement.
    for (later, expected) in [(&["2"][..], "MSG 2"), (&[], "OK")] {
        let mut world = world(false);
        let queue = world.messaging(&me);
        world.own(&me, &queue, &Command::Sub);
        world.send(&sender, &queue, "1");
        let message = world.pushes.remove(0).2;
        world.advance(TTL + 1);
        assert_eq!(world.expire_messages(64), 1);
        // Nobody is told, and nothing more is pushed while it is outstanding.
        assert_eq!(world.listening(&queue, me.session), Listening::D);
        for body in later {
            assert_eq!(world.send(&sender, &queue, body), "OK");
        }
        assert!(world.pushes.is_empty());
        let before = world.counters();
        assert_eq!(ack(&mut world, &me, &queue, &message), expected);
        // It was not received, and counts as expired alone.
        assert_eq!(world.counted_since(&before), []);
        let left = if later.is_empty() {
            Listening::I
        } else {
            Listening::D
        };
        assert_eq!(world.listening(&queue, me.session), left);
        assert_eq!(count(&world, &queue), later.len());
    }
}

#[test]
fn a_fetched_message_that_expired_is_acknowledged_all_the_same() {
    let (me, sender) = two_clients();
    let mut world = world(false);
    let queue = world.messaging(&me);
    world.send(&sender, &queue, "1");
    let message = world.ask(&me, Some(&queue.key), &queue.recipient, &Command::Get);
    world.advance(TTL + 1);
    world.expire_messages(64);
    world.send(&sender, &queue, "2");
    assert_eq!(ack(&mut world, &me, &queue, &message), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Get), "MSG 2");
}
