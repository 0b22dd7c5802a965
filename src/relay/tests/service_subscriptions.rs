//! Connections that stand for a notification service (spec: server §3.20, §3.21, §4).

use super::clients::{Client, Queue, words};
use super::steps::{NSUBS, Notifier};
use super::world::World;
use crate::protocol::{Command, Response, Version};
use crate::relay::{PeerMessage, ServiceMessage, SessionRef};
use crate::store::Id;

/// `count` queues on every shard with notifiers that belong to the service of `client`, and one
/// that does not.
fn associated(world: &mut World, client: &Client, count: usize) -> Vec<(Queue, Notifier)> {
    let me = Client::new(40, Version::CURRENT);
    let mut queues = Vec::new();
    for shard in 0..world.partitioner.shards() {
        for i in 0..=count {
            let queue = world.queue_on(shard, &me);
            let notifier = world.notifier(&me, &queue, i as u8 + 1);
            if i < count {
                assert_eq!(world.nsub(client, &notifier), "SOK service");
                queues.push((queue, notifier));
            }
        }
    }
    world.take_events();
    queues
}

/// Begins `NSUBS`; its answer may need other shards.
fn start_nsubs(world: &mut World, client: &Client) {
    let id = client.service_id();
    let bytes = client.transmission(client.service_key.as_ref(), &id, &NSUBS);
    let home = world.home(client);
    world.execute(home, client, &[bytes]);
}

/// Who each shard says is the subscriber of a service.
fn subscribers(world: &World, service_id: &Id) -> Vec<Option<SessionRef>> {
    let shards = world.shards.iter();
    shards.map(|s| s.services.subscriber(service_id)).collect()
}

fn ends(client: &Client, event: &str) -> (SessionRef, Id, String) {
    (client.session, client.service_id(), event.to_owned())
}

/// The sessions notified of a message to each queue, sorted.
fn notified(world: &mut World, queues: &[(Queue, Notifier)]) -> Vec<(SessionRef, usize)> {
    let sender = Client::new(41, Version::CURRENT);
    for (queue, _) in queues {
        world.flag(&sender, queue, 1);
    }
    world.tick();
    let mut notified = world.take_notified();
    notified.sort();
    // Shards are ticked one by one.
    notified.dedup_by(|a, b| {
        let same = a.0 == b.0;
        b.1 += if same { a.1 } else { 0 };
        same
    });
    notified
}

#[test]
fn nsubs_counts_the_notifiers_of_all_shards() {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards);
        let first = world.ntf_service(1, 1);
        assert_eq!(world.nsubs(&first), "SOKS 0");
        let queues = associated(&mut world, &first, 3);
        let all = queues.len();
        assert_eq!(all, 3 * usize::from(shards));
        let before = world.counters();
        for _ in 0..2 {
            assert_eq!(world.nsubs(&first), format!("SOKS {all}"));
        }
        assert_eq!(world.counted_since(&before), []);
        assert!(world.take_events().is_empty());
        assert_eq!(notified(&mut world, &queues), [(first.session, all)]);
        // Queues that leave are not counted.
        let me = Client::new(40, Version::CURRENT);
        assert_eq!(world.own(&me, &queues[0].0, &Command::NDel), "OK");
        assert_eq!(world.own(&me, &queues[1].0, &Command::Del), "OK");
        assert_eq!(world.nsub(&me, &queues[2].1), "SOK");
        assert_eq!(world.nsubs(&first), format!("SOKS {}", all - 3));
    }
}

#[test]
fn another_connection_of_the_service_takes_over_with_nsubs_and_back() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let [first, second] = [1, 2].map(|slot| world.ntf_service(slot, 1));
        let queues = associated(&mut world, &first, 2);
        let all = queues.len();
        for (by, other) in [(&second, &first), (&first, &second), (&second, &first)] {
            assert_eq!(world.nsubs(by), format!("SOKS {all}"));
            let expected = format!("ENDS {all}");
            assert_eq!(world.take_events(), [ends(other, &expected)]);
            assert_eq!(notified(&mut world, &queues), [(by.session, all)]);
        }
    }
}

#[test]
fn services_do_not_share_a_subscriber() {
    let mut world = World::new(2);
    let [a, b] = [1, 2].map(|i| world.ntf_service(i, i as u8));
    assert_ne!(a.service_id(), b.service_id());
    let of_a = associated(&mut world, &a, 1);
    let of_b = associated(&mut world, &b, 2);
    assert_eq!(world.nsubs(&a), "SOKS 2");
    assert_eq!(world.nsubs(&b), "SOKS 4");
    assert!(world.take_events().is_empty());
    assert_eq!(notified(&mut world, &of_a), [(a.session, 2)]);
    assert_eq!(notified(&mut world, &of_b), [(b.session, 4)]);
}

#[test]
fn the_subscriber_of_a_service_hears_of_the_end_of_its_notifiers() {
    let me = Client::new(40, Version::CURRENT);
    let mut world = World::new(2);
    let service = world.ntf_service(1, 1);
    let queues = associated(&mut world, &service, 3);
    assert_eq!(world.own(&me, &queues[0].0, &Command::NDel), "OK");
    world.notifier(&me, &queues[1].0, 9);
    assert_eq!(world.own(&me, &queues[2].0, &Command::Del), "OK");
    // Whoever subscribes individually takes one away.
    assert_eq!(world.nsub(&me, &queues[3].1), "SOK");
    let event = |i: usize, event: &str| {
        let id = queues[i].1.id;
        (service.session, id, event.to_owned())
    };
    let expected = [
        event(0, "DELD"),
        event(1, "DELD"),
        event(2, "DELD"),
        event(3, "END"),
    ];
    assert_eq!(world.take_events(), expected);
    // Nobody is told when the service has no connection.
    world.close(&service);
    world.deliver_all();
    assert_eq!(world.own(&me, &queues[4].0, &Command::Del), "OK");
    assert!(world.take_events().is_empty());
}

#[test]
fn a_subscriber_that_closes_is_forgotten_everywhere() {
    for by_nsub in [false, true] {
        let mut world = World::new(3);
        let service = world.ntf_service(1, 1);
        let queues = associated(&mut world, &service, 1);
        if !by_nsub {
            world.nsubs(&service);
        }
        world.close(&service);
        world.deliver_all();
        assert_eq!(subscribers(&world, &service.service_id()), [None; 3]);
        assert!(notified(&mut world, &queues).is_empty());
        assert_eq!(world.waiting_notifications(), 3);
        // The next connection gets them, and no one is told of an end.
        let next = world.ntf_service(2, 1);
        assert_eq!(world.nsubs(&next), "SOKS 3");
        assert!(world.take_events().is_empty());
        world.tick();
        let total: usize = world.take_notified().iter().map(|(_, n)| n).sum();
        assert_eq!(total, 3);
    }
}

#[test]
fn a_connection_that_closes_while_it_joins_leaves_nothing_behind() {
    for picks in 0..200 {
        for delivered in 0..=6 {
            let mut world = World::new(4);
            let service = world.ntf_service(1, 1);
            start_nsubs(&mut world, &service);
            for _ in 0..delivered {
                world.deliver_mail(0);
            }
            world.close(&service);
            world.deliver_shuffled(picks);
            assert_eq!(subscribers(&world, &service.service_id()), [None; 4]);
            let joins = |world: &World| world.shards.iter().all(|s| !s.services.is_joining());
            assert!(joins(&world));
        }
    }
}

#[test]
fn the_last_of_connections_that_join_at_once_wins_on_every_shard() {
    for picks in 0..100 {
        let mut world = World::new(3);
        let service = world.ntf_service(9, 1);
        let queues = associated(&mut world, &service, 1);
        world.close(&service);
        world.deliver_all();
        let [a, b, c] = [1, 2, 3].map(|slot| world.ntf_service(slot, 1));
        start_nsubs(&mut world, &a);
        start_nsubs(&mut world, &b);
        world.deliver_mail(0);
        start_nsubs(&mut world, &c);
        // One that closes must not take the place of those that stay.
        world.close(&b);
        world.deliver_shuffled(picks);
        let everywhere = [Some(c.session); 3];
        assert_eq!(subscribers(&world, &c.service_id()), everywhere);
        let events = world.take_events();
        assert_eq!(events, [ends(&a, "ENDS 3"), ends(&b, "ENDS 3")]);
        let answers: Vec<_> = std::mem::take(&mut world.replies)
            .into_iter()
            .map(|(session, ..)| session)
            .collect();
        assert_eq!(answers, [a.session, b.session, c.session]);
        assert_eq!(notified(&mut world, &queues), [(c.session, 3)]);
    }
}

#[test]
fn a_session_is_told_when_every_shard_knows_it() {
    let mut world = World::new(3);
    let service = world.ntf_service(1, 1);
    world.start_join(&service);
    assert!(world.joined.is_empty());
    world.deliver_mail(0);
    world.deliver_mail(0);
    assert!(world.joined.is_empty());
    world.deliver_all();
    assert_eq!(world.joined, [service.session]);
    let everywhere = [Some(service.session); 3];
    assert_eq!(subscribers(&world, &service.service_id()), everywhere);
    // Again, it is told at once more, and nobody else.
    world.start_join(&service);
    world.deliver_all();
    assert_eq!(world.joined, [service.session; 2]);
    assert!(world.take_events().is_empty());
}

#[test]
fn who_was_replaced_and_closes_takes_nothing_from_its_successor() {
    let mut world = World::new(3);
    let [first, second] = [1, 2].map(|slot| world.ntf_service(slot, 1));
    let queues = associated(&mut world, &first, 1);
    world.nsubs(&second);
    world.close(&first);
    assert!(world.mail.is_empty());
    let everywhere = [Some(second.session); 3];
    assert_eq!(subscribers(&world, &second.service_id()), everywhere);
    world.take_events();
    assert_eq!(notified(&mut world, &queues), [(second.session, 3)]);
}

#[test]
fn who_was_replaced_keeps_no_window_on_any_shard() {
    for by_closing in [false, true] {
        let mut world = World::new(3);
        let [first, second] = [1, 2].map(|slot| world.ntf_service(slot, 1));
        let queues = associated(&mut world, &first, 1);
        assert_eq!(notified(&mut world, &queues), [(first.session, 3)]);
        let windows = |world: &World, client: &Client| {
            let shards = world.shards.iter();
            shards
                .filter(|s| s.notifications.has_window(client.session))
                .count()
        };
        assert_eq!(windows(&world, &first), 3);
        if by_closing {
            // Shards it never sent a command to hear of it from the home of its service.
            world.leave(&first);
            world.deliver_all();
        } else {
            world.nsubs(&second);
        }
        assert_eq!(windows(&world, &first), 0);
    }
}

#[test]
fn mail_about_services_that_nobody_asked_for_changes_nothing() {
    let mut world = World::new(2);
    let service = world.ntf_service(1, 1);
    let (home, other) = (world.home(&service), 1 - world.home(&service));
    let service_id = service.service_id();
    let stray = SessionRef {
        core: 0,
        slot: 77,
        generation: 1,
    };
    world.nsubs(&service);
    let notifiers = ServiceMessage::Notifiers {
        token: 99,
        count: 7,
    };
    let leave = ServiceMessage::Leave {
        service_id,
        session: stray,
    };
    world
        .mail
        .push((other, home, PeerMessage::Service(notifiers)));
    world.mail.push((home, other, PeerMessage::Service(leave)));
    world.deliver_all();
    let everywhere = [Some(service.session); 2];
    assert_eq!(subscribers(&world, &service_id), everywhere);
    assert!(world.replies.is_empty() && world.joined.is_empty());
}

#[test]
fn nsubs_is_for_services_that_are_known_and_signed_by_them() {
    let mut world = World::new(2);
    let service = world.ntf_service(1, 1);
    let other = world.ntf_service(2, 2);
    let key = service.service_key.as_ref();
    let ask = |world: &mut World, id: &Id, key| words(&world.ask(&service, key, id, &NSUBS));
    let id = service.service_id();
    assert_eq!(ask(&mut world, &id, key), "SOKS 0");
    assert_eq!(ask(&mut world, &other.service_id(), key), "ERR SERVICE");
    let foreign = other.service_key.as_ref();
    assert_eq!(ask(&mut world, &id, foreign), "ERR SERVICE");
    // A connection of a service that has never been registered here.
    let role = crate::protocol::handshake::ServiceRole::Notifier;
    let unknown = Client::of_service(3, [3; 24], role, [3; 32]);
    let answer = world.ask(&unknown, unknown.service_key.as_ref(), &[3; 24], &NSUBS);
    assert!(matches!(
        answer,
        Response::Err(crate::protocol::ErrorType::Auth)
    ));
    assert_eq!(subscribers(&world, &[3; 24]), [None; 2]);
}
