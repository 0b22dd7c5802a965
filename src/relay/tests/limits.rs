//! How much one connection may listen to (spec: server §1.4).

use super::clients::{Client, ed25519, new_queue, words};
use super::world::{World, two_clients};
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, Version};
use crate::relay::subscription::MAX_PER_SESSION;
use crate::store::QueueSlot;

const FULL: &str = "ERR STORE";

/// Places of queues that no test uses.
fn elsewhere(count: usize) -> impl Iterator<Item = QueueSlot> {
    let last = u32::MAX - u32::try_from(count).unwrap();
    (last..u32::MAX).map(QueueSlot)
}

fn create(world: &mut World, client: &Client, subscribe: bool) -> String {
    let key = ed25519(1);
    let mut new = new_queue(&key, Some(QueueRequest::Messaging(None)));
    new.subscribe = subscribe;
    words(&world.ask(client, Some(&key), &[], &Command::New(new)))
}

#[test]
fn a_connection_that_listens_to_too_much_may_neither_subscribe_nor_get_nor_create_to_listen() {
    let (me, other) = two_clients();
    let mut world = World::new(1);
    let queues = [(); 2].map(|()| world.messaging(&me));
    for slot in elsewhere(MAX_PER_SESSION - 1) {
        world.shards[0].subscriptions.get(slot, me.session);
    }
    assert_eq!(world.own(&me, &queues[0], &Command::Sub), "SOK");
    for command in [Command::Sub, Command::Get] {
        assert_eq!(world.own(&me, &queues[1], &command), FULL);
    }
    assert_eq!(create(&mut world, &me, true), FULL);
    assert_eq!(world.shards[0].totals().queues, 2);
    // What it has it may use, and what needs no room goes on.
    assert_eq!(world.own(&me, &queues[0], &Command::Sub), "SOK");
    assert_eq!(create(&mut world, &me, false), "IDS");
    assert_eq!(create(&mut world, &other, true), "IDS");
    // Another takes one from it: there is room again.
    assert_eq!(world.own(&other, &queues[0], &Command::Sub), "SOK");
    assert_eq!(create(&mut world, &me, true), "IDS");
    assert_eq!(create(&mut world, &me, true), FULL);
}

#[test]
fn a_connection_with_too_many_notifiers_gets_no_other() {
    let me = Client::new(1, Version::CURRENT);
    let ntf = Client::new(2, Version::CURRENT);
    let mut world = World::new(1);
    let service = world.ntf_service(3, 1);
    let queue = world.messaging(&me);
    let kept = world.notifier(&me, &queue, 1);
    for slot in elsewhere(MAX_PER_SESSION - 1) {
        world.shards[0].notifications.subscribe(slot, ntf.session);
    }
    assert_eq!(world.nsub(&ntf, &kept), "SOK");
    let queue = world.messaging(&me);
    let refused = world.notifier(&me, &queue, 2);
    assert_eq!(world.nsub(&service, &refused), "SOK service");
    let before = world.counters();
    assert_eq!(world.nsub(&ntf, &refused), FULL);
    // The service keeps it, and nobody is told anything.
    assert_eq!(world.counted_since(&before), []);
    let association = world.record(&queue).notifier.unwrap().service_id;
    assert_eq!(association, Some(service.service_id()));
    assert!(world.take_events().is_empty());
    // Repetition is none; notifiers of a service take no room.
    assert_eq!(world.nsub(&ntf, &kept), "SOK");
    assert_eq!(world.nsub(&service, &kept), "SOK service");
    assert_eq!(world.nsub(&ntf, &refused), "SOK");
}
