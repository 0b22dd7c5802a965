//! Queues that the operator blocks (spec: server §2.7, §10, operations §3).

use super::clients::{Client, Queue, ed25519, words};
use super::steps::credentials;
use super::world::{Listening, World, two_clients};
use crate::protocol::command::{LinkData, QueueRequest};
use crate::protocol::error::{BlockingInfo, BlockingReason, ClientNotice};
use crate::protocol::{Command, ErrorType, MAX_STORED_BODY, Response, Version};
use crate::relay::{OperatorAnswer, OperatorCall};
use crate::store::{Id, Lsn, QueueStatus, StoreError};

const BLOCKED: &str = "ERR BLOCKED reason=spam";
const LINK: Id = [7; 24];
const CALL: OperatorCall = OperatorCall { core: 0, token: 7 };

const SPAM: BlockingInfo = BlockingInfo {
    reason: BlockingReason::Spam,
    notice: None,
};

const CONTENT: BlockingInfo = BlockingInfo {
    reason: BlockingReason::Content,
    notice: Some(ClientNotice { ttl: Some(86_400) }),
};

/// Gives a shard an order about the queue with an id.
fn order(world: &mut World, id: &Id, block: Option<BlockingInfo>) {
    let home = world.partitioner.shard_of(id);
    let mut effects = Vec::new();
    let shard = &mut world.shards[usize::from(home)];
    match block {
        Some(info) => shard.block(CALL, id, info, &mut effects),
        None => shard.unblock(CALL, id, &mut effects),
    }
    world.collect(home, effects);
}

#[track_caller]
fn answer(world: &mut World) -> OperatorAnswer {
    assert_eq!(world.operator.len(), 1);
    world.operator.remove(0)
}

#[track_caller]
fn block(world: &mut World, queue: &Queue, info: BlockingInfo) -> OperatorAnswer {
    order(world, &queue.sender, Some(info));
    answer(world)
}

#[track_caller]
fn unblock(world: &mut World, queue: &Queue) -> OperatorAnswer {
    order(world, &queue.sender, None);
    answer(world)
}

/// A messaging or contact queue with the link id [`LINK`].
fn linked(world: &mut World, me: &Client, request: QueueRequest<'static>) -> Queue {
    let queue = world.queue(me, Some(request));
    let data = LinkData {
        fixed: b"f",
        user: b"u",
    };
    let link_id = &LINK;
    assert_eq!(
        world.own(me, &queue, &Command::LSet { link_id, data }),
        "OK"
    );
    queue
}

#[test]
fn a_blocked_queue_refuses_everything_that_uses_it() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = linked(&mut world, &me, QueueRequest::Contact(None));
    block(&mut world, &queue, SPAM);
    let key = ed25519(1).public();
    let data = LinkData {
        fixed: b"f",
        user: b"v",
    };
    let link_id = &LINK;
    let refused = [
        Command::Sub,
        Command::Get,
        Command::Ack { msg_id: &[] },
        Command::Key(key),
        Command::RKey(vec![key]),
        Command::Que,
        Command::LSet { link_id, data },
        Command::LDel,
        Command::NKey(credentials(&ed25519(1))),
        Command::NDel,
    ];
    for command in refused {
        assert_eq!(world.own(&me, &queue, &command), BLOCKED, "{command:?}");
    }
    assert_eq!(world.send(&sender, &queue, "1"), BLOCKED);
    // The size limit of the version is looked at before the status.
    let long = "x".repeat(MAX_STORED_BODY);
    assert_eq!(world.send(&sender, &queue, &long), "ERR LARGE_MSG");
    let get = world.ask(&sender, None, &LINK, &Command::LGet);
    assert_eq!(words(&get), BLOCKED);
    // Who is not authorised does not learn of it.
    let wrong = world.ask(&me, Some(&ed25519(9)), &queue.recipient, &Command::Sub);
    assert_eq!(words(&wrong), "ERR AUTH");
}

#[test]
fn a_blocked_queue_cannot_be_secured_by_its_sender() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = linked(&mut world, &me, QueueRequest::Messaging(None));
    block(&mut world, &queue, SPAM);
    let key = ed25519(1);
    let skey = Command::SKey(key.public());
    let lkey = Command::LKey(key.public());
    for (id, command) in [(queue.sender, skey), (LINK, lkey)] {
        let refused = world.ask(&sender, Some(&key), &id, &command);
        assert_eq!(words(&refused), BLOCKED);
    }
    assert_eq!(world.record(&queue).sender_key, None);
}

#[test]
fn a_blocked_queue_can_be_suspended_deleted_and_its_notifications_received() {
    let (me, ntf) = two_clients();
    let mut world = World::new(1);
    let queue = world.contact(&me);
    let notifier = world.notifier(&me, &queue, 1);
    world.flag(&me, &queue, 1);
    block(&mut world, &queue, SPAM);
    assert_eq!(world.nsub(&ntf, &notifier), "SOK");
    world.tick();
    assert_eq!(world.take_notified(), [(ntf.session, 1)]);
    // Suspending must not undo the operator's decision.
    assert_eq!(world.own(&me, &queue, &Command::Off), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Sub), BLOCKED);
    assert_eq!(world.own(&me, &queue, &Command::Del), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Sub), "ERR AUTH");
}

#[test]
fn versions_learn_as_much_of_a_block_as_they_know() {
    let mut world = World::new(1);
    let me = Client::new(1, Version::CURRENT);
    let queue = world.contact(&me);
    block(&mut world, &queue, CONTENT);
    let answer = world.ask(&me, Some(&queue.key), &queue.recipient, &Command::Sub);
    for (version, expected) in [
        (11, "ERR AUTH"),
        (12, "ERR BLOCKED reason=content"),
        (17, "ERR BLOCKED reason=content"),
        (18, "ERR BLOCKED reason=content,notice={\"ttl\":86400}"),
    ] {
        let mut out = Vec::new();
        answer.encode(Version(version), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn the_subscriber_hears_of_a_block_at_once_and_stays_subscribed() {
    let (me, other) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.own(&me, &queue, &Command::Sub);
    world.own(&other, &queue, &Command::Get);
    world.shards[0].store.synced = Some(Lsn(0));
    order(&mut world, &queue.sender, Some(CONTENT));
    // Who only fetches is told when it does so again.
    let event = Response::Err(ErrorType::Blocked(CONTENT));
    let pushes = std::mem::take(&mut world.pushes);
    assert_eq!(pushes, [(me.session, queue.recipient, event)]);
    world.sync(0);
    assert_eq!(answer(&mut world), OperatorAnswer::Was(QueueStatus::Active));
    assert_eq!(world.listening(&queue, me.session), Listening::I);
    // Unblocking pushes nothing, and messages come again.
    world.shards[0].store.synced = None;
    assert_eq!(
        unblock(&mut world, &queue),
        OperatorAnswer::Was(QueueStatus::Blocked(CONTENT))
    );
    assert!(world.pushes.is_empty());
    assert_eq!(world.send(&other, &queue, "1"), "OK");
    let expected = [(me.session, "MSG 1".to_owned())];
    assert_eq!(world.take_pushes(&queue), expected);
}

#[test]
fn orders_tell_what_the_queue_was_and_only_active_ones_count() {
    let me = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.own(&me, &queue, &Command::Sub);
    let was = OperatorAnswer::Was;
    let counted = |world: &World| world.counters().queues_blocked;
    assert_eq!(unblock(&mut world, &queue), was(QueueStatus::Active));
    assert_eq!(block(&mut world, &queue, SPAM), was(QueueStatus::Active));
    assert_eq!((counted(&world), world.pushes.len()), (1, 1));
    // The same again changes nothing; another reason is told, and not counted.
    let spam = || was(QueueStatus::Blocked(SPAM));
    assert_eq!(block(&mut world, &queue, SPAM), spam());
    assert_eq!((counted(&world), world.pushes.len()), (1, 1));
    assert_eq!(block(&mut world, &queue, CONTENT), spam());
    assert_eq!((counted(&world), world.pushes.len()), (1, 2));
    let content = was(QueueStatus::Blocked(CONTENT));
    assert_eq!(unblock(&mut world, &queue), content);
    assert_eq!(unblock(&mut world, &queue), was(QueueStatus::Active));
    // A suspended queue can be blocked, not unblocked.
    world.own(&me, &queue, &Command::Off);
    assert_eq!(unblock(&mut world, &queue), was(QueueStatus::Off));
    assert_eq!(world.record(&queue).status, QueueStatus::Off);
    assert_eq!(block(&mut world, &queue, SPAM), was(QueueStatus::Off));
    assert_eq!((counted(&world), world.pushes.len()), (1, 3));
    assert_eq!(world.record(&queue).status, QueueStatus::Blocked(SPAM));
}

#[test]
fn orders_find_queues_by_sender_id_or_link_id_on_any_shard() {
    let me = Client::new(1, Version::CURRENT);
    let mut world = World::new(3);
    for shard in 0..3 {
        let queue = world.queue_on(shard, &me);
        let link: Id = [shard as u8 + 1; 24];
        let data = LinkData {
            fixed: b"",
            user: b"",
        };
        let lset = Command::LSet {
            link_id: &link,
            data,
        };
        assert_eq!(world.own(&me, &queue, &lset), "OK");
        order(&mut world, &link, Some(SPAM));
        if world.partitioner.shard_of(&link) == shard {
            assert_eq!(answer(&mut world), OperatorAnswer::Was(QueueStatus::Active));
        } else {
            assert_eq!(answer(&mut world), OperatorAnswer::Elsewhere(shard));
            let mut effects = Vec::new();
            world.shards[usize::from(shard)].block(CALL, &link, SPAM, &mut effects);
            world.collect(shard, effects);
            assert_eq!(answer(&mut world), OperatorAnswer::Was(QueueStatus::Active));
        }
        assert_eq!(
            unblock(&mut world, &queue),
            OperatorAnswer::Was(QueueStatus::Blocked(SPAM))
        );
        for unknown in [queue.recipient, [99; 24]] {
            for info in [Some(SPAM), None] {
                order(&mut world, &unknown, info);
                assert_eq!(answer(&mut world), OperatorAnswer::Unknown);
            }
        }
    }
}

#[test]
fn orders_are_answered_when_they_are_durable_repetitions_too() {
    let me = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    for block in [Some(SPAM), None] {
        world.shards[0].store.synced = Some(Lsn(0));
        for _ in 0..2 {
            order(&mut world, &queue.sender, block.clone());
        }
        assert!(world.operator.is_empty());
        world.sync(0);
        assert_eq!(std::mem::take(&mut world.operator).len(), 2);
    }
}

#[test]
fn an_order_that_cannot_be_stored_changes_nothing() {
    let me = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.own(&me, &queue, &Command::Sub);
    world.shards[0].store.full = true;
    let failed = OperatorAnswer::Failed(StoreError::Full);
    assert_eq!(block(&mut world, &queue, SPAM), failed);
    assert!(world.pushes.is_empty());
    assert_eq!(world.counters().queues_blocked, 0);
    world.shards[0].store.full = false;
    block(&mut world, &queue, SPAM);
    world.shards[0].store.full = true;
    assert_eq!(unblock(&mut world, &queue), failed);
    assert_eq!(world.record(&queue).status, QueueStatus::Blocked(SPAM));
}
