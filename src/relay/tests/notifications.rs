//! Notifications that wait, are given out on ticks, and expire (spec: server §6).

use super::clients::{Client, Queue, ed25519, words};
use super::steps::{FLAGGED, Notifier};
use super::world::{QUOTA, World, two_clients};
use crate::protocol::{Command, Version};
use crate::relay::notification::{MIN_PER_QUEUE, WINDOW};
use crate::store::Id;

/// Messages that fill the window of a session four times over.
const MANY: usize = WINDOW / 4;

/// A world whose queues hold many messages.
fn roomy(shards: u16) -> World {
    World::configured(shards, |config| config.queue_quota = 10_000)
}

pub fn with_notifier(world: &mut World, me: &Client, seed: u8) -> (Queue, Notifier) {
    let queue = world.messaging(me);
    let notifier = world.notifier(me, &queue, seed);
    (queue, notifier)
}

/// The ids of the messages in a queue, fetched one by one.
fn message_ids(world: &mut World, me: &Client, queue: &Queue, count: usize) -> Vec<Id> {
    (0..count)
        .map(|_| {
            let message = world.ask(me, Some(&queue.key), &queue.recipient, &Command::Get);
            let msg_id = Queue::message_id(&message);
            world.own(me, queue, &Command::Ack { msg_id: &msg_id });
            msg_id
        })
        .collect()
}

#[test]
fn flagged_messages_are_told_on_the_tick_oldest_first() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    world.nsub(&ntf, &notifier);
    let mut times = Vec::new();
    for _ in 0..3 {
        world.flag(&me, &queue, 1);
        times.push(world.now.seconds());
        world.advance(5);
    }
    assert!(world.pushes.is_empty());
    assert_eq!(world.waiting_notifications(), 3);
    world.tick();
    let told: Vec<_> = std::mem::take(&mut world.pushes)
        .into_iter()
        .map(|(session, id, event)| {
            assert_eq!((session, id), (ntf.session, notifier.id));
            notifier.open(&event)
        })
        .collect();
    // Acknowledging has no influence: they were told before.
    let ids = message_ids(&mut world, &me, &queue, 3);
    assert_eq!(told, ids.into_iter().zip(times).collect::<Vec<_>>());
    assert_eq!(world.waiting_notifications(), 0);
    world.tick();
    assert!(world.pushes.is_empty());
}

#[test]
fn only_accepted_flagged_messages_to_queues_with_a_notifier_are_told() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    let silent = world.messaging(&me);
    world.nsub(&ntf, &notifier);
    world.flag(&me, &silent, 1);
    world.send(&me, &queue, "not flagged");
    assert_eq!(world.waiting_notifications(), 0);
    // A full queue takes neither the message nor its notification, nor one for the marker.
    world.flag(&me, &queue, QUOTA - 1);
    for _ in 0..2 {
        let refused = world.ask(&me, None, &queue.sender, &FLAGGED);
        assert_eq!(words(&refused), "ERR QUOTA");
    }
    let wrong = world.ask(&me, Some(&ed25519(9)), &queue.sender, &FLAGGED);
    assert_eq!(words(&wrong), "ERR AUTH");
    let waiting = QUOTA as u64 - 1;
    assert_eq!(world.waiting_notifications(), waiting);
}

#[test]
fn what_waits_is_given_to_whoever_subscribes_later() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    world.flag(&me, &queue, 2);
    // Acknowledged messages are told all the same.
    message_ids(&mut world, &me, &queue, 2);
    for _ in 0..3 {
        world.tick();
    }
    assert!(world.pushes.is_empty());
    assert_eq!(world.waiting_notifications(), 2);
    world.nsub(&ntf, &notifier);
    assert!(world.pushes.is_empty());
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, 2)]);
}

#[test]
fn what_waits_ends_with_its_notifier() {
    let (me, ntf) = two_clients();
    for way in 0..3 {
        let mut world = World::new(1);
        let (queue, _) = with_notifier(&mut world, &me, 1);
        world.flag(&me, &queue, 2);
        match way {
            0 => drop(world.own(&me, &queue, &Command::NDel)),
            1 => drop(world.notifier(&me, &queue, 2)),
            _ => drop(world.own(&me, &queue, &Command::Del)),
        }
        assert_eq!(world.waiting_notifications(), 0);
        // The place of a deleted queue goes to the next, which inherits nothing.
        let (_, next) = with_notifier(&mut world, &me, 3);
        world.nsub(&ntf, &next);
        world.tick();
        assert!(world.pushes.is_empty(), "{way}");
    }
}

/// Sends flagged messages which are acknowledged at once; returns their ids.
fn flag_and_receive(world: &mut World, me: &Client, queue: &Queue, count: usize) -> Vec<Id> {
    let one = |_| {
        world.flag(me, queue, 1);
        message_ids(world, me, queue, 1)[0]
    };
    (0..count).map(one).collect()
}

#[test]
fn one_more_than_a_queue_keeps_displaces_the_oldest() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    flag_and_receive(&mut world, &me, &queue, 2);
    let ids = flag_and_receive(&mut world, &me, &queue, MIN_PER_QUEUE - 2);
    assert_eq!(world.counters().notifications_lost, 0);
    let last = flag_and_receive(&mut world, &me, &queue, 2);
    assert_eq!(world.counters().notifications_lost, 2);
    assert_eq!(world.waiting_notifications(), MIN_PER_QUEUE as u64);
    world.nsub(&ntf, &notifier);
    world.tick();
    let told: Vec<_> = std::mem::take(&mut world.pushes)
        .iter()
        .map(|(_, _, event)| notifier.open(event).0)
        .collect();
    assert_eq!(told, [ids, last].concat());
}

#[test]
fn a_recipient_that_acknowledges_nothing_loses_no_notification() {
    let (me, _) = two_clients();
    let quota = 2 * MIN_PER_QUEUE;
    let mut world = World::configured(1, |config| config.queue_quota = quota);
    let (queue, _) = with_notifier(&mut world, &me, 1);
    world.flag(&me, &queue, quota);
    assert_eq!(world.waiting_notifications(), quota as u64);
}

#[test]
fn a_session_is_given_no_more_than_it_can_take() {
    let (me, ntf) = two_clients();
    let mut world = roomy(1);
    let queues: Vec<_> = (0..6)
        .map(|i| with_notifier(&mut world, &me, i + 1))
        .collect();
    for (queue, notifier) in &queues {
        world.nsub(&ntf, notifier);
        world.flag(&me, queue, MANY);
    }
    let given = |world: &mut World| -> usize { world.take_notified().iter().map(|(_, n)| n).sum() };
    world.tick();
    assert_eq!(given(&mut world), WINDOW);
    // Neither ticks nor new messages or subscriptions change that.
    world.flag(&me, &queues[5].0, 1);
    world.nsub(&ntf, &queues[5].1);
    world.tick();
    assert_eq!(given(&mut world), 0);
    // Room for some gives some, at once.
    world.taken(0, &ntf, 1);
    assert_eq!(given(&mut world), 1);
    world.taken(0, &ntf, 200);
    assert_eq!(given(&mut world), 200);
    world.taken(0, &ntf, WINDOW as u32);
    assert_eq!(given(&mut world), 6 * MANY + 1 - WINDOW - 201);
    assert_eq!(world.waiting_notifications(), 0);
    // More taken than given does no harm, nor by a session that was given nothing.
    for session in [&ntf, &ntf, &me] {
        world.taken(0, session, 1_000_000);
    }
    world.flag(&me, &queues[0].0, 1);
    world.tick();
    assert_eq!(given(&mut world), 1);
    assert!(!world.shards[0].notifications.has_window(me.session));
}

/// Fills the window of a session with the notifications of other queues.
fn fill(world: &mut World, me: &Client, session: &Client) {
    for i in 0..WINDOW / MANY {
        let (queue, notifier) = with_notifier(world, me, i as u8 + 100);
        world.nsub(session, &notifier);
        world.flag(me, &queue, MANY);
    }
    world.tick();
    assert_eq!(world.take_notified(), [(session.session, WINDOW)]);
}

#[test]
fn a_queue_that_waits_for_one_session_can_be_taken_over_by_another() {
    let [me, first, second] = [1, 2, 3].map(|slot| Client::new(slot, Version::CURRENT));
    let mut world = roomy(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    fill(&mut world, &me, &first);
    world.nsub(&first, &notifier);
    world.flag(&me, &queue, 1);
    world.tick();
    assert!(world.pushes.is_empty());
    let places = |world: &World| world.shards[0].notifications.blocked(first.session);
    // Asking again takes no second place.
    for _ in 0..3 {
        world.nsub(&first, &notifier);
        world.tick();
        assert_eq!(places(&world), 1);
    }
    world.nsub(&second, &notifier);
    assert_eq!(places(&world), 0);
    world.take_events();
    world.tick();
    assert_eq!(world.take_notified(), [(second.session, 1)]);
    world.taken(0, &first, WINDOW as u32);
    assert!(world.pushes.is_empty());
}

#[test]
fn what_waits_for_a_session_survives_the_end_of_the_one_it_waited_for_before() {
    let [me, first, second] = [1, 2, 3].map(|slot| Client::new(slot, Version::CURRENT));
    let mut world = roomy(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    fill(&mut world, &me, &first);
    fill(&mut world, &me, &second);
    for session in [&first, &second] {
        world.nsub(session, &notifier);
        world.flag(&me, &queue, 1);
        world.tick();
    }
    world.take_events();
    world.close(&first);
    world.taken(0, &second, 2);
    assert_eq!(world.take_notified(), [(second.session, 2)]);
}

#[test]
fn what_a_closed_session_was_not_given_waits_for_the_next() {
    let [me, first, second] = [1, 2, 3].map(|slot| Client::new(slot, Version::CURRENT));
    let mut world = roomy(1);
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    fill(&mut world, &me, &first);
    world.nsub(&first, &notifier);
    world.flag(&me, &queue, 3);
    world.tick();
    world.close(&first);
    world.taken(0, &first, WINDOW as u32);
    assert!(world.pushes.is_empty());
    assert!(!world.shards[0].notifications.has_window(first.session));
    world.nsub(&second, &notifier);
    world.tick();
    assert_eq!(world.take_notified(), [(second.session, 3)]);
}

#[test]
fn a_notifier_that_ends_leaves_no_place_in_a_window() {
    let (me, ntf) = two_clients();
    let mut world = roomy(1);
    fill(&mut world, &me, &ntf);
    let queue = world.messaging(&me);
    for round in 0..5 {
        let notifier = world.notifier(&me, &queue, 1);
        world.nsub(&ntf, &notifier);
        world.flag(&me, &queue, 1);
        world.tick();
        assert_eq!(world.shards[0].notifications.blocked(ntf.session), 1);
        match round {
            0 => drop(world.own(&me, &queue, &Command::NDel)),
            1 => {
                world.advance(86_401);
                assert_eq!(world.expire_notifications(64), 1);
            }
            _ => {}
        }
    }
}

#[test]
fn many_queues_are_served_in_steps() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queues: Vec<_> = (0..10)
        .map(|i| with_notifier(&mut world, &me, i + 1))
        .collect();
    for (queue, notifier) in &queues {
        world.nsub(&ntf, notifier);
        world.flag(&me, queue, 1);
    }
    assert_eq!(world.tick_in_steps(0, 3), 4);
    let order: Vec<_> = world.pushes.drain(..).map(|(_, id, _)| id).collect();
    let expected: Vec<_> = queues.iter().map(|(_, notifier)| notifier.id).collect();
    assert_eq!(order, expected);
    assert_eq!(world.tick_in_steps(0, 3), 1);
}

#[test]
fn what_comes_during_a_tick_waits_for_the_next() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queues: Vec<_> = (0..2)
        .map(|i| with_notifier(&mut world, &me, i + 1))
        .collect();
    for (_, notifier) in &queues {
        world.nsub(&ntf, notifier);
    }
    world.flag(&me, &queues[0].0, 1);
    world.shards[0].begin_notification_tick();
    world.flag(&me, &queues[1].0, 1);
    let mut effects = Vec::new();
    assert!(!world.shards[0].deliver_notifications(64, &mut effects));
    world.collect(0, effects);
    assert_eq!(world.take_notified(), [(ntf.session, 1)]);
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, 1)]);
}

#[test]
fn old_notifications_expire_in_steps_and_their_messages_stay() {
    let (me, ntf) = two_clients();
    let mut world = World::configured(1, |config| config.notification_ttl = 100);
    let queues: Vec<_> = (0..5)
        .map(|i| with_notifier(&mut world, &me, i + 1))
        .collect();
    for (queue, _) in &queues {
        world.flag(&me, queue, 2);
    }
    world.advance(1);
    world.flag(&me, &queues[0].0, 1);
    world.advance(99);
    // Exactly as old as allowed.
    assert_eq!(world.expire_notifications(2), 0);
    world.advance(1);
    assert_eq!(world.expire_notifications(2), 10);
    assert_eq!(world.counters().notifications_expired, 10);
    assert_eq!(world.waiting_notifications(), 1);
    for (_, notifier) in &queues {
        world.nsub(&ntf, notifier);
    }
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, 1)]);
    assert_eq!(world.expire_notifications(2), 0);
    assert_eq!(message_ids(&mut world, &me, &queues[0].0, 3).len(), 3);
    // A queue goes on after everything of it has expired.
    world.flag(&me, &queues[4].0, 1);
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, 1)]);
}

#[test]
fn queues_that_end_leave_nothing_that_is_due() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let due = |world: &World| {
        let sizes = world.shards[0].notifications.sizes();
        let due = sizes.iter().find(|(name, _)| *name == "due queues");
        due.unwrap().1
    };
    for round in 0..4 {
        let notifier = world.notifier(&me, &queue, 1);
        world.nsub(&ntf, &notifier);
        message_ids(&mut world, &me, &queue, usize::from(round > 0));
        world.flag(&me, &queue, 1);
        assert_eq!(due(&world), 1);
        if round % 2 == 0 {
            world.own(&me, &queue, &Command::NDel);
        } else {
            world.advance(86_401);
            assert_eq!(world.expire_notifications(64), 1);
        }
        assert_eq!(due(&world), 0);
    }
}

#[test]
fn a_window_is_divided_among_the_shards() {
    let (me, ntf) = two_clients();
    let shards = 4;
    let mut world = roomy(shards);
    for shard in 0..shards {
        let queue = world.queue_on(shard, &me);
        let notifier = world.notifier(&me, &queue, 1);
        world.nsub(&ntf, &notifier);
        world.flag(&me, &queue, WINDOW);
    }
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, WINDOW)]);
}

/// More than a session's end forgets at once.
#[test]
fn a_closed_session_with_many_notifiers_is_forgotten_in_steps_and_told_nothing_meanwhile() {
    let [me, ntf, next] = [1, 2, 3].map(|slot| Client::new(slot, Version::CURRENT));
    let mut world = World::new(1);
    let queues: Vec<_> = (0..200)
        .map(|_| with_notifier(&mut world, &me, 1))
        .collect();
    for (queue, notifier) in &queues {
        world.nsub(&ntf, notifier);
        world.flag(&me, queue, 1);
    }
    world.close(&ntf);
    let left = |world: &World| world.shards[0].notifications.sizes()[3];
    assert!(left(&world).1 > 100, "{:?}", left(&world));
    world.tick();
    for (_, notifier) in &queues[..50] {
        assert_eq!(world.nsub(&next, notifier), "SOK");
    }
    assert_eq!(world.take_events(), []);
    world.tick();
    assert_eq!(world.take_notified(), [(next.session, 50)]);
    while world.shards[0].forget_closed(10) {}
    assert_eq!(left(&world).1, 50);
    world.flag(&me, &queues[0].0, 1);
    world.tick();
    assert_eq!(world.take_notified(), [(next.session, 1)]);
}
