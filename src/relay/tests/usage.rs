//! Queues in use, and how long acknowledgements take (spec: server §12.1, §12.3).

use super::clients::{Client, Queue};
use super::steps::FLAGGED;
use super::world::{World, two_clients};
use crate::protocol::{Command, Response};
use crate::relay::{PeriodCounts, Timestamp};

const DAY: i64 = 86_400;

/// Sets the clock to noon of a date.
fn noon(world: &mut World, year: i32, month: u8, day: u8) {
    let month = time::Month::try_from(month).unwrap();
    let date = time::Date::from_calendar_date(year, month, day).unwrap();
    let noon = date.with_hms(12, 0, 0).unwrap().assume_utc();
    world.now = Timestamp {
        nanos: noon.unix_timestamp() * 1_000_000_000,
    };
}

fn send(world: &mut World, sender: &Client, queue: &Queue, flagged: bool) {
    if flagged {
        world.ask(sender, None, &queue.sender, &FLAGGED);
    } else {
        world.send(sender, queue, "1");
    }
}

/// Fetches a message and acknowledges it after some seconds.
fn receive(world: &mut World, me: &Client, queue: &Queue, after: i64) {
    let message = world.ask(me, Some(&queue.key), &queue.recipient, &Command::Get);
    if let Response::Msg { msg_id, .. } = &message {
        world.advance(after);
        let ack = Command::Ack { msg_id };
        assert_eq!(world.own(me, queue, &ack), "OK");
    }
}

/// Days, weeks and months as counted now: for messages and for notifications.
fn active(world: &mut World) -> [(u64, u64, u64); 2] {
    let seconds = world.now.seconds();
    let counts = world.shards[0].activity().current(seconds);
    let tuple = |c: PeriodCounts| (c.day, c.week, c.month);
    [tuple(counts.messages), tuple(counts.notifications)]
}

#[test]
fn a_queue_is_in_use_when_a_message_is_stored_or_received() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    noon(&mut world, 2026, 9, 16);
    let queues: Vec<_> = (0..4).map(|_| world.messaging(&me)).collect();
    // Creating, subscribing, fetching nothing and being refused are no use.
    world.own(&me, &queues[0], &Command::Get);
    world.own(&me, &queues[1], &Command::Sub);
    world.own(&me, &queues[2], &Command::Off);
    send(&mut world, &sender, &queues[2], true);
    assert_eq!(active(&mut world), [(0, 0, 0), (0, 0, 0)]);
    send(&mut world, &sender, &queues[0], false);
    assert_eq!(active(&mut world), [(1, 1, 1), (0, 0, 0)]);
    for _ in 0..2 {
        send(&mut world, &sender, &queues[1], true);
        assert_eq!(active(&mut world), [(2, 2, 2), (1, 1, 1)]);
    }
    receive(&mut world, &me, &queues[0], 0);
    assert_eq!(active(&mut world), [(2, 2, 2), (1, 1, 1)]);
    // A queue that is deleted was in use all the same.
    world.own(&me, &queues[1], &Command::Del);
    assert_eq!(active(&mut world), [(2, 2, 2), (1, 1, 1)]);
}

#[test]
fn receiving_on_another_day_is_use_of_that_day() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    // A Wednesday.
    noon(&mut world, 2026, 9, 16);
    let [plain, flagged] = [world.messaging(&me), world.messaging(&me)];
    send(&mut world, &sender, &plain, false);
    send(&mut world, &sender, &flagged, true);
    world.advance(DAY);
    assert_eq!(active(&mut world), [(0, 2, 2), (0, 1, 1)]);
    receive(&mut world, &me, &plain, 0);
    assert_eq!(active(&mut world), [(1, 2, 2), (0, 1, 1)]);
    receive(&mut world, &me, &flagged, 0);
    assert_eq!(active(&mut world), [(2, 2, 2), (1, 1, 1)]);
}

#[test]
fn days_weeks_and_months_begin_at_their_midnights() {
    let (me, sender) = two_clients();
    let mut world = World::configured(1, |config| config.queue_quota = 100);
    let all = world.messaging(&me);
    let use_all = |world: &mut World, (year, month, day)| {
        noon(world, year, month, day);
        // A queue of the day alone, and one of every day.
        let own = world.messaging(&me);
        for queue in [&all, &own] {
            send(world, &sender, queue, false);
        }
        active(world)[0]
    };
    // Saturday, Sunday, Monday; the last of a month and the first; the year too.
    assert_eq!(use_all(&mut world, (2026, 12, 26)), (2, 2, 2));
    assert_eq!(use_all(&mut world, (2026, 12, 27)), (2, 3, 3));
    assert_eq!(use_all(&mut world, (2026, 12, 28)), (2, 2, 4));
    assert_eq!(use_all(&mut world, (2026, 12, 31)), (2, 3, 5));
    assert_eq!(use_all(&mut world, (2027, 1, 1)), (2, 4, 2));
    assert_eq!(use_all(&mut world, (2027, 1, 4)), (2, 2, 3));
    // A Monday that is the first of its month.
    assert_eq!(use_all(&mut world, (2027, 2, 1)), (2, 2, 2));
    // Midnight itself belongs to the day it begins.
    noon(&mut world, 2027, 2, 1);
    world.advance(DAY / 2 - 1);
    assert_eq!(active(&mut world)[0], (2, 2, 2));
    world.advance(1);
    assert_eq!(active(&mut world)[0], (0, 2, 2));
}

#[test]
fn a_finished_day_is_told_with_its_counts_until_the_next_one_ends() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    // A Sunday, the last of its month.
    noon(&mut world, 2026, 5, 31);
    let queue = world.messaging(&me);
    send(&mut world, &sender, &queue, true);
    let today = u16::try_from(world.now.day()).unwrap();
    let finished = |world: &mut World| {
        let seconds = world.now.seconds();
        world.shards[0].activity().finished(seconds)
    };
    assert_eq!(finished(&mut world), None);
    world.advance(DAY);
    let (day, counts) = finished(&mut world).unwrap();
    assert_eq!(day, today);
    let one = PeriodCounts {
        day: 1,
        week: 1,
        month: 1,
    };
    assert_eq!((counts.messages, counts.notifications), (one, one));
    assert_eq!(finished(&mut world), Some((day, counts)));
    assert_eq!(active(&mut world), [(0, 0, 0); 2]);
}

#[test]
fn acknowledgements_are_timed_from_the_delivery() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    for after in [0, 3, 7, 200] {
        send(&mut world, &sender, &queue, false);
        // Time in the queue does not count.
        world.advance(1_000);
        receive(&mut world, &me, &queue, after);
    }
    let times = world.shards[0].ack_times();
    assert_eq!((times.sum, times.max), (210, 200));
    let buckets: Vec<_> = times.buckets.iter().map(|(b, n)| (*b, *n)).collect();
    assert_eq!(buckets, [(0, 1), (3, 1), (10, 1), (240, 1)]);
}

#[test]
fn what_is_not_received_is_not_timed() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    for _ in 0..=super::world::QUOTA {
        send(&mut world, &sender, &queue, false);
    }
    // Without an id nothing is deleted; a quota marker is no message.
    world.own(&me, &queue, &Command::Get);
    world.own(&me, &queue, &Command::Ack { msg_id: &[] });
    for _ in 0..=super::world::QUOTA {
        receive(&mut world, &me, &queue, 1);
    }
    let times = world.shards[0].ack_times();
    let acknowledged: u64 = times.buckets.values().sum();
    assert_eq!(acknowledged, super::world::QUOTA as u64);
}

#[test]
fn listeners_and_what_they_hold_are_counted_while_they_come_and_go() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queues: Vec<_> = (0..3).map(|_| world.messaging(&me)).collect();
    for queue in &queues {
        send(&mut world, &sender, queue, false);
    }
    world.own(&me, &queues[0], &Command::Get);
    for queue in &queues[1..] {
        world.own(&me, queue, &Command::Sub);
    }
    let figures = |world: &World| {
        let shard = &world.shards[0];
        let subscribed = shard.message_subscriptions();
        let pending = shard.pending_deliveries(world.now.seconds());
        let listeners = (subscribed.queues, subscribed.sessions.len());
        (listeners, pending.count, pending.sessions.len())
    };
    assert_eq!(figures(&world), ((2, 1), 3, 1));
    assert_eq!(world.shards[0].getting_queues(), 1);
    world.advance(100);
    receive(&mut world, &me, &queues[0], 0);
    assert_eq!(figures(&world), ((2, 1), 2, 1));
    let pending = world.shards[0].pending_deliveries(world.now.seconds());
    assert_eq!((pending.by_age, pending.longest), ([0, 2, 0, 0, 0], 100));
    world.shards[0].session_closed(me.session);
    assert_eq!(world.shards[0].getting_queues(), 0);
    assert_eq!(figures(&world), ((0, 0), 0, 0));
}
