//! A full queue (spec: server §5.3).

use super::clients::Queue;
use super::world::{QUOTA, World, two_clients};
use crate::protocol::Command;
use crate::store::Store;

#[test]
fn a_full_queue_accepts_again_only_when_all_is_acknowledged() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let count = |world: &World| {
        let (shard, slot) = world.slot(&queue);
        world.shards[shard].store.message_count(slot)
    };
    for i in 0..QUOTA {
        assert_eq!(world.send(&sender, &queue, &i.to_string()), "OK");
    }
    // The first refusal leaves the marker, later ones nothing.
    for _ in 0..3 {
        assert_eq!(world.send(&sender, &queue, "refused"), "ERR QUOTA");
        assert_eq!(count(&world), QUOTA + 1);
    }
    assert_eq!(world.own(&me, &queue, &Command::Sub), "SOK");
    let mut message = world.pushes.remove(0).2;
    for i in 0..QUOTA {
        assert_eq!(queue.words(&message), format!("MSG {i}"));
        // Room for messages is not enough while the marker is there.
        assert_eq!(world.send(&sender, &queue, "refused"), "ERR QUOTA");
        let msg_id = Queue::message_id(&message);
        let ack = Command::Ack { msg_id: &msg_id };
        message = world.ask(&me, Some(&queue.key), &queue.recipient, &ack);
    }
    assert_eq!(queue.words(&message), "MSG QUOTA");
    assert_eq!(count(&world), 1);
    assert_eq!(world.send(&sender, &queue, "refused"), "ERR QUOTA");
    let msg_id = Queue::message_id(&message);
    assert_eq!(
        world.own(&me, &queue, &Command::Ack { msg_id: &msg_id }),
        "OK"
    );
    assert_eq!(world.send(&sender, &queue, "again"), "OK");
    assert_eq!(
        world.take_pushes(&queue),
        [(me.session, "MSG again".to_owned())]
    );
}

#[test]
fn a_queue_that_never_overflowed_stays_open() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    for round in 0..3 {
        for i in 0..QUOTA {
            assert_eq!(world.send(&sender, &queue, &i.to_string()), "OK", "{round}");
        }
        for _ in 0..QUOTA {
            let message = world.ask(&me, Some(&queue.key), &queue.recipient, &Command::Get);
            let msg_id = Queue::message_id(&message);
            assert_eq!(
                world.own(&me, &queue, &Command::Ack { msg_id: &msg_id }),
                "OK"
            );
        }
    }
}
