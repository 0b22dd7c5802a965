//! Queues that the operator looks at and deletes (spec: server §10, operations §3.3).

use super::clients::{Client, Queue, words};
use super::world::{World, two_clients};
use crate::protocol::Command;
use crate::protocol::command::{LinkData, QueueRequest};
use crate::protocol::error::{BlockingInfo, BlockingReason};
use crate::protocol::response::QueueMode;
use crate::relay::{OperatorAnswer, OperatorCall, QueueState};
use crate::store::{Id, IdKind, Location, QueueStatus, Store};

const CALL: OperatorCall = OperatorCall { core: 0, token: 7 };
const DATA: LinkData<'_> = LinkData {
    fixed: b"f",
    user: b"u",
};

#[derive(Clone, Copy)]
enum Order {
    Delete,
    Look,
    Block,
}

/// Gives an order about the queue with an id and follows an alias, as the control executor does.
#[track_caller]
fn give(world: &mut World, id: &Id, order: Order) -> OperatorAnswer {
    let mut home = world.partitioner.shard_of(id);
    loop {
        let mut effects = Vec::new();
        let shard = &mut world.shards[usize::from(home)];
        match order {
            Order::Delete => shard.delete(CALL, id, &mut effects),
            Order::Look => shard.queue_state(CALL, id, &mut effects),
            Order::Block => {
                let info = BlockingInfo {
                    reason: BlockingReason::Spam,
                    notice: None,
                };
                shard.block(CALL, id, info, &mut effects);
            }
        }
        world.collect(home, effects);
        while !world.mail.is_empty() {
            world.deliver_mail(0);
        }
        assert_eq!(world.operator.len(), 1);
        match world.operator.remove(0) {
            OperatorAnswer::Elsewhere(other) => home = other,
            answer => return answer,
        }
    }
}

/// A link id that lives on another shard than the queue.
fn foreign_link(world: &World, queue: &Queue) -> Id {
    let home = world.partitioner.shard_of(&queue.recipient);
    let ids = (0..=u8::MAX).map(|byte| [byte; 24]);
    let mut foreign = ids.filter(|id| world.partitioner.shard_of(id) != home);
    foreign.next().unwrap()
}

fn linked(world: &mut World, me: &Client) -> (Queue, Id) {
    let queue = world.queue(me, Some(QueueRequest::Contact(None)));
    let link_id = foreign_link(world, &queue);
    let set = Command::LSet {
        link_id: &link_id,
        data: DATA,
    };
    assert_eq!(world.own(me, &queue, &set), "OK");
    (queue, link_id)
}

#[test]
fn a_queue_is_deleted_with_its_messages_and_nobody_is_told() {
    let (me, sender) = two_clients();
    let mut world = World::new(2);
    let queue = world.contact(&me);
    world.own(&me, &queue, &Command::Sub);
    world.notifier(&me, &queue, 1);
    for body in ["1", "2", "3"] {
        assert_eq!(world.send(&sender, &queue, body), "OK");
    }
    world.pushes.clear();
    let deleted = give(&mut world, &queue.sender, Order::Delete);
    assert_eq!(deleted, OperatorAnswer::Deleted(3));
    assert_eq!(world.pushes, []);
    assert_eq!(world.own(&me, &queue, &Command::Sub), "ERR AUTH");
    assert_eq!(world.send(&sender, &queue, "4"), "ERR AUTH");
    let home = world.partitioner.shard_of(&queue.sender);
    let shard = &world.shards[usize::from(home)];
    let counters = shard.counters();
    assert_eq!(
        (counters.queues_deleted, counters.queues_deleted_new),
        (1, 1)
    );
    assert_eq!((shard.totals().queues, shard.totals().messages), (0, 0));
    let again = give(&mut world, &queue.sender, Order::Delete);
    assert_eq!(again, OperatorAnswer::Unknown);
}

#[test]
fn a_link_leads_to_its_queue_and_is_given_back() {
    let (me, sender) = two_clients();
    let mut world = World::new(3);
    let (_, link_id) = linked(&mut world, &me);
    let home = usize::from(world.partitioner.shard_of(&link_id));
    let alias = |world: &World| world.shards[home].store().find(IdKind::Link, &link_id);
    assert!(matches!(alias(&world), Some(Location::Shard(_))));
    let deleted = give(&mut world, &link_id, Order::Delete);
    assert_eq!(deleted, OperatorAnswer::Deleted(0));
    assert_eq!(alias(&world), None);
    let get = world.ask(&sender, None, &link_id, &Command::LGet);
    assert_eq!(words(&get), "ERR AUTH");
}

#[test]
fn a_queue_shows_its_state() {
    let (me, _) = two_clients();
    let mut world = World::new(3);
    let (queue, link_id) = linked(&mut world, &me);
    let active = QueueState {
        status: QueueStatus::Active,
        updated_day: world.now.day(),
        mode: Some(QueueMode::Contact),
    };
    for id in [queue.sender, link_id] {
        let state = give(&mut world, &id, Order::Look);
        assert_eq!(state, OperatorAnswer::Is(active.clone()));
    }
    give(&mut world, &queue.sender, Order::Block);
    let OperatorAnswer::Is(state) = give(&mut world, &queue.sender, Order::Look) else {
        panic!("no state");
    };
    assert!(matches!(state.status, QueueStatus::Blocked(_)));
    // Neither the recipient's id nor an unknown one is looked for.
    for id in [queue.recipient, [9; 24]] {
        let state = give(&mut world, &id, Order::Look);
        assert_eq!(state, OperatorAnswer::Unknown);
    }
}
