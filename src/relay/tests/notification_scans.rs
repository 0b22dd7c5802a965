//! Services that get a subscriber, and what waits for them (spec: server §6, §7).

use super::notifications::with_notifier;
use super::world::{World, two_clients};
use crate::protocol::Response;
use crate::relay::SessionRef;

#[test]
fn a_service_that_subscribes_gets_what_waits_for_all_its_queues_in_steps() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let first = world.ntf_service(3, 1);
    let other = world.ntf_service(4, 2);
    let queues: Vec<_> = (0..20)
        .map(|i| with_notifier(&mut world, &me, i + 1))
        .collect();
    // Every second is the service's, the others belong to another or to nobody.
    for (i, (_, notifier)) in queues.iter().enumerate() {
        match i % 4 {
            0 | 2 => drop(world.nsub(&first, notifier)),
            1 => drop(world.nsub(&other, notifier)),
            _ => {}
        }
    }
    world.close(&first);
    world.close(&other);
    for (queue, _) in &queues {
        world.flag(&me, queue, 1);
    }
    world.tick();
    assert!(world.pushes.is_empty());
    let next = world.ntf_service(5, 1);
    assert_eq!(world.nsubs(&next), "SOKS 10");
    // The rest of the queues is looked at, and left.
    assert!(world.tick_in_steps(0, 3) > 20 / 3);
    assert_eq!(world.take_notified(), [(next.session, 10)]);
    assert_eq!(world.waiting_notifications(), 10);
    // Nothing is looked at again.
    assert_eq!(world.tick_in_steps(0, 3), 1);
}

/// Two connections of a service take its subscription from each other before every step.
#[test]
fn looking_for_what_waits_for_a_service_keeps_nobody_waiting() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let rivals = [3, 4].map(|slot| world.ntf_service(slot, 1));
    let late = with_notifier(&mut world, &me, 1);
    world.nsub(&ntf, &late.1);
    let queues: Vec<_> = (0..20)
        .map(|i| with_notifier(&mut world, &me, i + 2))
        .collect();
    for (queue, notifier) in &queues {
        world.nsub(&rivals[0], notifier);
        world.flag(&me, queue, 1);
    }
    world.close(&rivals[0]);
    world.tick();
    world.nsubs(&rivals[1]);
    world.take_events();
    world.flag(&me, &late.0, 1);
    world.shards[0].begin_notification_tick();
    // Who was notified how often, and in which step for the first time.
    let mut notified: Vec<(SessionRef, usize, usize)> = Vec::new();
    for step in 0.. {
        if step < 50 {
            world.nsubs(&rivals[step % 2]);
        }
        let mut effects = Vec::new();
        let more = world.shards[0].deliver_notifications(2, &mut effects);
        world.collect(0, effects);
        for (session, _, event) in std::mem::take(&mut world.pushes) {
            if !matches!(event, Response::NMsg { .. }) {
                continue;
            }
            match notified.iter_mut().find(|(of, ..)| *of == session) {
                Some((_, count, _)) => *count += 1,
                None => notified.push((session, 1, step)),
            }
        }
        if !more {
            break;
        }
        assert!(step < 100, "an endless tick");
    }
    // The other subscriber at once, the last of the rivals once it was looked around.
    assert_eq!(notified[0], (ntf.session, 1, 0));
    assert_eq!(notified[1].0, rivals[1].session);
    assert_eq!(notified.iter().map(|(_, n, _)| n).sum::<usize>(), 21);
    assert_eq!(world.waiting_notifications(), 0);
}

#[test]
fn a_service_without_notifiers_is_not_looked_for() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let queues: Vec<_> = (0..3)
        .map(|i| with_notifier(&mut world, &me, i + 1))
        .collect();
    for (queue, _) in &queues {
        world.flag(&me, queue, 1);
    }
    world.tick();
    let service = world.ntf_service(3, 1);
    world.nsubs(&service);
    assert_eq!(world.tick_in_steps(0, 1), 1);
}

#[test]
fn a_service_that_changes_hands_while_it_is_looked_for_misses_nothing() {
    let (me, _) = two_clients();
    for swap_after in 1..12 {
        let mut world = World::new(1);
        let [first, second] = [3, 4].map(|slot| world.ntf_service(slot, 1));
        let queues: Vec<_> = (0..20)
            .map(|i| with_notifier(&mut world, &me, i + 1))
            .collect();
        for (queue, notifier) in &queues {
            world.nsub(&first, notifier);
            world.flag(&me, queue, 1);
        }
        world.close(&first);
        world.tick();
        assert_eq!(world.waiting_notifications(), 20);
        // What is found is given to nobody while there is nobody.
        world.nsubs(&second);
        world.shards[0].begin_notification_tick();
        let mut effects = Vec::new();
        for _ in 0..swap_after {
            world.shards[0].deliver_notifications(2, &mut effects);
        }
        world.collect(0, effects);
        world.close(&second);
        world.tick_in_steps(0, 2);
        world.nsubs(&first);
        world.tick_in_steps(0, 2);
        assert_eq!(world.waiting_notifications(), 0, "{swap_after}");
    }
}
