//! Notifiers and who subscribes to them: `NKEY`, `NDEL`, `NSUB` (spec: server §3.13, §3.14, §3.20).

use super::clients::{Client, Queue, ed25519, new_queue, words};
use super::steps::{FLAGGED, Notifier, credentials};
use super::world::{World, two_clients};
use crate::protocol::{Command, Response, Version};
use crate::relay::SessionRef;
use crate::store::Id;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const AUTH: &str = "ERR AUTH";

fn three_clients() -> [Client; 3] {
    [1, 2, 3].map(|slot| Client::new(slot, Version::CURRENT))
}

fn event(client: &Client, id: Id, event: &str) -> (SessionRef, Id, String) {
    (client.session, id, event.to_owned())
}

#[test]
fn every_nkey_makes_a_notifier_and_ends_the_one_before() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    // The same key again makes another notifier all the same.
    let first = world.notifier(&me, &queue, 1);
    assert_eq!(world.nsub(&ntf, &first), "SOK");
    let second = world.notifier(&me, &queue, 1);
    assert_ne!(first.id, second.id);
    assert_eq!(world.take_events(), [event(&ntf, first.id, "DELD")]);
    assert_eq!(world.nsub(&ntf, &first), AUTH);
    assert_eq!(world.nsub(&ntf, &second), "SOK");
    assert_eq!(world.shards[0].totals().notifiers, 1);
    let partition = |id: &Id| world.partitioner.partition(id);
    assert_eq!(partition(&second.id), partition(&queue.recipient));
}

#[test]
fn a_notifier_given_with_the_queue_is_like_any_other() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let (key, notifier_key) = (ed25519(1), ed25519(2));
    let mut new = new_queue(&key, None);
    new.notifier = Some(credentials(&notifier_key));
    let answer = world.ask(&me, Some(&key), &[], &Command::New(new));
    let Response::Ids(ids) = &answer else {
        panic!("{answer:?} instead of IDS");
    };
    let (notifier_id, dh_key) = ids.notifier.clone().unwrap();
    let nid = Response::Nid {
        notifier_id,
        dh_key,
    };
    let notifier = Notifier::from_nid(notifier_key, &nid);
    let queue = Queue::from_ids(key, &answer);
    assert_eq!(world.nsub(&ntf, &notifier), "SOK");
    world.flag(&me, &queue, 1);
    world.tick();
    let (_, id, event) = world.pushes.remove(0);
    assert_eq!(id, notifier.id);
    assert_eq!(notifier.open(&event).1, world.now.seconds());
    assert_eq!(world.own(&me, &queue, &Command::NDel), "OK");
    assert_eq!(world.nsub(&ntf, &notifier), AUTH);
}

#[test]
fn random_notifier_ids_that_collide_are_made_again() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    // The same random numbers: all queues lie in one partition, and the same ids come first.
    let again = |world: &mut World| world.shards[0].rng = ChaCha20Rng::seed_from_u64(7);
    let queues = [(); 3].map(|()| {
        again(&mut world);
        world.messaging(&me)
    });
    let mut seen = Vec::new();
    for queue in &queues {
        again(&mut world);
        let notifier = world.notifier(&me, queue, 1);
        assert!(!seen.contains(&notifier.id));
        seen.push(notifier.id);
    }
    // No more than three attempts, and nothing is half done.
    let partitioner = world.partitioner.clone();
    let partition = partitioner.partition(&queues[0].recipient);
    let late = loop {
        let queue = world.messaging(&me);
        if partitioner.partition(&queue.recipient) == partition {
            break queue;
        }
    };
    again(&mut world);
    let nkey = Command::NKey(credentials(&ed25519(1)));
    assert_eq!(world.own(&me, &late, &nkey), "ERR INTERNAL");
    assert_eq!(world.shards[0].totals().notifiers, 3);
    assert!(world.record(&late).notifier.is_none());
}

#[test]
fn ndel_ends_the_notifier_and_may_be_repeated() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    assert_eq!(world.own(&me, &queue, &Command::NDel), "OK");
    let notifier = world.notifier(&me, &queue, 1);
    world.nsub(&ntf, &notifier);
    for _ in 0..2 {
        assert_eq!(world.own(&me, &queue, &Command::NDel), "OK");
    }
    assert_eq!(world.take_events(), [event(&ntf, notifier.id, "DELD")]);
    assert_eq!(world.nsub(&ntf, &notifier), AUTH);
    assert_eq!(world.shards[0].totals().notifiers, 0);
    assert!(!world.shards[0].has_subscriptions(ntf.session));
}

/// The three ways in which a notifier ends.
const ENDS: [fn(&mut World, &Client, &Queue); 3] = [
    |world, by, queue| {
        assert_eq!(world.own(by, queue, &Command::NDel), "OK");
    },
    |world, by, queue| {
        world.notifier(by, queue, 9);
    },
    |world, by, queue| {
        assert_eq!(world.own(by, queue, &Command::Del), "OK");
    },
];

#[test]
fn who_ends_a_notifier_is_not_told_and_everybody_else_who_listens_is() {
    for end in ENDS {
        let [me, ntf, bystander] = three_clients();
        // The one who ends it, who subscribed, and whether that one is told.
        for (by, subscriber, told) in [(&me, Some(&ntf), true), (&me, Some(&me), false)]
            .into_iter()
            .chain([(&me, None, false)])
        {
            let mut world = World::new(1);
            let (queue, other) = (world.messaging(&me), world.messaging(&me));
            let notifier = world.notifier(&me, &queue, 1);
            let kept = world.notifier(&me, &other, 2);
            world.nsub(&bystander, &kept);
            if let Some(subscriber) = subscriber {
                assert_eq!(world.nsub(subscriber, &notifier), "SOK");
            }
            end(&mut world, by, &queue);
            let expected = told.then(|| event(&ntf, notifier.id, "DELD"));
            assert_eq!(world.take_events(), Vec::from_iter(expected));
            assert!(!world.shards[0].has_subscriptions(me.session));
            assert!(!world.shards[0].has_subscriptions(ntf.session));
            assert!(world.shards[0].has_subscriptions(bystander.session));
        }
    }
}

#[test]
fn whoever_lost_the_subscription_is_not_told_of_the_end() {
    for end in ENDS {
        let [me, first, second] = three_clients();
        let mut world = World::new(1);
        let queue = world.messaging(&me);
        let notifier = world.notifier(&me, &queue, 1);
        world.nsub(&first, &notifier);
        world.nsub(&second, &notifier);
        assert_eq!(world.take_events(), [event(&first, notifier.id, "END")]);
        end(&mut world, &me, &queue);
        assert_eq!(world.take_events(), [event(&second, notifier.id, "DELD")]);
    }
}

#[test]
fn whoever_is_gone_is_not_told() {
    for end in ENDS {
        let (me, ntf) = two_clients();
        let mut world = World::new(1);
        let queue = world.messaging(&me);
        let notifier = world.notifier(&me, &queue, 1);
        world.nsub(&ntf, &notifier);
        world.close(&ntf);
        assert!(!world.shards[0].has_subscriptions(ntf.session));
        end(&mut world, &me, &queue);
        assert!(world.take_events().is_empty());
    }
}

#[test]
fn a_queue_and_its_notifier_have_subscribers_of_their_own() {
    let [me, ntf, other] = three_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let notifier = world.notifier(&me, &queue, 1);
    world.own(&me, &queue, &Command::Sub);
    world.nsub(&ntf, &notifier);
    // Taking over the messages leaves the notifications, and the other way round.
    world.own(&other, &queue, &Command::Sub);
    assert_eq!(world.take_events(), [event(&me, queue.recipient, "END")]);
    world.nsub(&me, &notifier);
    assert_eq!(world.take_events(), [event(&ntf, notifier.id, "END")]);
    // The deletion by a third is told to both.
    assert_eq!(world.own(&ntf, &queue, &Command::Del), "OK");
    let expected = [
        event(&other, queue.recipient, "DELD"),
        event(&me, notifier.id, "DELD"),
    ];
    assert_eq!(world.take_events(), expected);
}

#[test]
fn nsub_is_repeatable_and_moves_to_whoever_asks_last() {
    let [me, first, second] = three_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let notifier = world.notifier(&me, &queue, 1);
    for _ in 0..2 {
        assert_eq!(world.nsub(&first, &notifier), "SOK");
        assert!(world.take_events().is_empty());
    }
    assert_eq!(world.nsub(&second, &notifier), "SOK");
    assert_eq!(world.take_events(), [event(&first, notifier.id, "END")]);
    assert!(!world.shards[0].has_subscriptions(first.session));
    assert_eq!(world.nsub(&first, &notifier), "SOK");
    assert_eq!(world.take_events(), [event(&second, notifier.id, "END")]);
    world.flag(&me, &queue, 1);
    world.tick();
    assert_eq!(world.take_notified(), [(first.session, 1)]);
}

#[test]
fn notifiers_of_suspended_queues_can_be_subscribed_to() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let notifier = world.notifier(&me, &queue, 1);
    world.flag(&me, &queue, 1);
    assert_eq!(world.own(&me, &queue, &Command::Off), "OK");
    // No more is accepted; what waits is delivered.
    let refused = world.ask(&me, None, &queue.sender, &FLAGGED);
    assert_eq!(words(&refused), AUTH);
    assert_eq!(world.nsub(&ntf, &notifier), "SOK");
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, 1)]);
    // It may get another notifier, and lose it.
    let next = world.notifier(&me, &queue, 2);
    assert_eq!(world.nsub(&ntf, &next), "SOK");
    assert_eq!(world.own(&me, &queue, &Command::NDel), "OK");
}

#[test]
fn a_session_with_the_place_of_one_that_ended_inherits_nothing() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let notifier = world.notifier(&me, &queue, 1);
    world.nsub(&ntf, &notifier);
    world.close(&ntf);
    world.flag(&me, &queue, 1);
    world.tick();
    assert!(world.take_events().is_empty());
    assert_eq!(world.waiting_notifications(), 1);
}
