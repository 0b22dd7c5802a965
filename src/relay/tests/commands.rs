//! What each command does to a queue (spec: server §3).

use super::clients::{Client, Queue, ed25519, words};
use super::world::{Listening, World, two_clients};
use crate::protocol::command::ServiceQueues;
use crate::protocol::{Command, Response, Version};
use crate::relay::Timestamp;
use crate::store::{LinkContent, QueueChange, Store};

#[test]
fn key_is_set_once_and_repeatable() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let (first, second) = (ed25519(1).public(), ed25519(2).public());
    for queue in [
        world.messaging(&me),
        world.contact(&me),
        world.queue(&me, None),
    ] {
        assert_eq!(world.own(&me, &queue, &Command::Key(first)), "OK");
        assert_eq!(world.own(&me, &queue, &Command::Key(first)), "OK");
        assert_eq!(world.own(&me, &queue, &Command::Key(second)), "ERR AUTH");
        assert_eq!(world.record(&queue).sender_key, Some(first));
    }
}

#[test]
fn skey_secures_messaging_queues_only() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let (key, other) = (ed25519(1), ed25519(2));
    let queues = [
        (world.messaging(&me), "OK"),
        (world.contact(&me), "ERR AUTH"),
        (world.queue(&me, None), "ERR AUTH"),
    ];
    for (queue, expected) in queues {
        let mut skey = |key: &_, command| {
            words(&world.ask(&sender, Some(key), &queue.sender, &Command::SKey(command)))
        };
        assert_eq!(skey(&key, key.public()), expected);
        assert_eq!(skey(&key, key.public()), expected);
        assert_eq!(skey(&other, other.public()), "ERR AUTH");
        // Signed with another key than it brings.
        assert_eq!(skey(&other, key.public()), "ERR AUTH");
    }
}

#[test]
fn a_suspended_queue_refuses_messages_and_gives_those_it_has() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.send(&sender, &queue, "1");
    world.own(&me, &queue, &Command::Sub);
    let id = Queue::message_id(&world.pushes.remove(0).2);
    assert_eq!(world.own(&me, &queue, &Command::Off), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Off), "OK");
    assert_eq!(world.send(&sender, &queue, "2"), "ERR AUTH");
    assert_eq!(world.listening(&queue, me.session), Listening::D);
    let ack = Command::Ack { msg_id: &id };
    assert_eq!(world.own(&me, &queue, &ack), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Sub), "SOK");
    let key = ed25519(1);
    let skey = Command::SKey(key.public());
    let secured = world.ask(&sender, Some(&key), &queue.sender, &skey);
    assert_eq!(words(&secured), "OK");
}

#[test]
fn a_deleted_queue_is_unknown() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.send(&sender, &queue, "1");
    assert_eq!(world.own(&me, &queue, &Command::Del), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Del), "ERR AUTH");
    assert_eq!(world.own(&me, &queue, &Command::Sub), "ERR AUTH");
    assert_eq!(world.send(&sender, &queue, "2"), "ERR AUTH");
    assert_eq!(world.shards[0].subscription_counts(), (0, 0));
}

#[test]
fn recipient_keys_are_replaced_as_a_whole() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let messaging = world.messaging(&me);
    let (a, b) = (ed25519(1), super::clients::keys(2)[2].public());
    let replace = Command::RKey(vec![b, a.public()]);
    assert_eq!(world.own(&me, &messaging, &replace), "ERR AUTH");

    let contact = world.contact(&me);
    assert_eq!(world.own(&me, &contact, &replace), "OK");
    assert_eq!(world.own(&me, &contact, &Command::Sub), "ERR AUTH");
    let [_, _, agreeing] = super::clients::keys(2);
    for key in [&a, &agreeing] {
        let sub = world.ask(&me, Some(key), &contact.recipient, &Command::Sub);
        assert_eq!(words(&sub), "SOK");
    }
}

#[test]
fn recipient_keys_are_few() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let contact = world.contact(&me);
    let key = contact.key.public();
    for (count, answer) in [(17, "ERR AUTH"), (255, "ERR AUTH"), (16, "OK"), (1, "OK")] {
        let replace = Command::RKey(vec![key; count]);
        assert_eq!(world.own(&me, &contact, &replace), answer, "{count}");
    }
}

#[test]
fn bodies_have_the_limit_of_their_version() {
    let mut world = World::new(1);
    for (version, limit) in [
        (6, 16088),
        (7, 16088),
        (8, 16064),
        (10, 16064),
        (11, 16048),
        (18, 16048),
    ] {
        let client = Client::new(1, Version(version));
        let queue = world.queue(&client, None);
        for (len, expected) in [(0, "OK"), (limit, "OK"), (limit + 1, "ERR LARGE_MSG")] {
            let body = "x".repeat(len);
            assert_eq!(
                world.send(&client, &queue, &body),
                expected,
                "v{version} {len}"
            );
        }
        // What was accepted can be delivered.
        assert_eq!(world.own(&client, &queue, &Command::Get), "MSG ");
        assert_eq!(world.own(&client, &queue, &Command::Del), "OK");
    }
}

#[test]
fn the_sender_uses_up_the_link_of_a_secured_queue() {
    let (me, sender) = two_clients();
    let key = ed25519(1);
    let linked = |world: &mut World, queue: &Queue| {
        let (shard, slot) = world.slot(queue);
        let content = LinkContent {
            fixed: [1].into(),
            user: [2].into(),
        };
        let change = QueueChange::Link(Some(([9; 24], content)));
        world.shards[shard].store.update(slot, change).unwrap();
    };
    for (contact, secured, kept) in [
        (false, true, false),
        (false, false, true),
        (true, true, true),
    ] {
        let mut world = World::new(1);
        let queue = if contact {
            world.contact(&me)
        } else {
            world.messaging(&me)
        };
        linked(&mut world, &queue);
        if secured {
            world.own(&me, &queue, &Command::Key(key.public()));
        }
        let send = Command::Send {
            notify: true,
            body: b"1",
        };
        let sent = world.ask(&sender, secured.then_some(&key), &queue.sender, &send);
        assert_eq!(words(&sent), "OK");
        assert_eq!(world.record(&queue).link_id.is_some(), kept);
    }
}

fn next_day(world: &mut World) {
    world.now = Timestamp {
        nanos: world.now.nanos + 86_400_000_000_000,
    };
}

#[test]
fn the_day_of_use_is_stamped_by_either_side() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let created = world.record(&queue).updated_day;
    next_day(&mut world);
    // Suspending is no use.
    world.own(&me, &queue, &Command::Off);
    assert_eq!(world.record(&queue).updated_day, created);
    world.send(&sender, &queue, "1");
    assert_eq!(world.record(&queue).updated_day, created + 1);
    next_day(&mut world);
    world.own(&me, &queue, &Command::Sub);
    assert_eq!(world.record(&queue).updated_day, created + 2);
}

#[test]
fn a_queue_is_described_to_its_recipient() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let describe = |world: &mut World| -> serde_json::Value {
        let answer = world.ask(&me, Some(&queue.key), &queue.recipient, &Command::Que);
        let Response::Info(json) = answer else {
            panic!("{answer:?} instead of INFO");
        };
        serde_json::from_slice(&json).unwrap()
    };
    let empty = serde_json::json!({"qiSnd": false, "qiNtf": false, "qiSize": 0});
    assert_eq!(describe(&mut world), empty);

    world.own(&me, &queue, &Command::Sub);
    assert_eq!(
        describe(&mut world)["qiSub"],
        serde_json::json!({"qSubThread": "noSub"})
    );
    world.send(&sender, &queue, "1");
    world.send(&sender, &queue, "2");
    let full = describe(&mut world);
    assert_eq!(full["qiSize"], 2);
    assert_eq!(full["qiMsg"]["msgType"], "message");
    assert_eq!(full["qiMsg"]["msgTs"], "2026-09-21T14:13:20.123456789Z");
    assert_eq!(full["qiMsg"]["msgId"], full["qiSub"]["qDelivered"]);
    let id = full["qiMsg"]["msgId"].as_str().unwrap();
    assert_eq!(id.len(), 32);

    world.close(&me);
    assert_eq!(world.own(&me, &queue, &Command::Get), "MSG 1");
    world.own(&me, &queue, &Command::Key(ed25519(1).public()));
    let secured = describe(&mut world);
    assert_eq!(secured["qiSub"]["qSubThread"], "prohibitSub");
    assert_eq!(secured["qiSnd"], true);
}

#[test]
fn commands_for_services_need_one() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let services = [
        Command::Subs(ServiceQueues::UNKNOWN),
        Command::NSubs(ServiceQueues::UNKNOWN),
    ];
    for command in services {
        let answer = world.ask(&me, Some(&ed25519(9)), &[1; 24], &command);
        assert_eq!(words(&answer), "ERR SERVICE");
    }
}

#[test]
fn ids_of_any_other_length_are_unknown() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let key = ed25519(1);
    let send = Command::Send {
        notify: false,
        body: b"",
    };
    for len in [1, 23, 25, 255] {
        let id = vec![1; len];
        assert_eq!(
            words(&world.ask(&me, Some(&key), &id, &Command::Sub)),
            "ERR AUTH"
        );
        assert_eq!(words(&world.ask(&me, None, &id, &send)), "ERR AUTH");
    }
}

#[test]
fn ids_of_one_space_are_unknown_in_the_others() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let swapped = world.ask(&me, Some(&queue.key), &queue.sender, &Command::Sub);
    assert_eq!(words(&swapped), "ERR AUTH");
    let send = Command::Send {
        notify: false,
        body: b"",
    };
    let swapped = world.ask(&me, None, &queue.recipient, &send);
    assert_eq!(words(&swapped), "ERR AUTH");
}

#[test]
fn a_full_store_can_still_be_drained() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.send(&sender, &queue, "1");
    world.shards[0].store.full = true;
    assert_eq!(world.send(&sender, &queue, "2"), "ERR STORE");
    // Not even the day of use can be noted.
    next_day(&mut world);
    assert_eq!(world.own(&me, &queue, &Command::Sub), "SOK");
    let id = Queue::message_id(&world.pushes.remove(0).2);
    assert_eq!(world.own(&me, &queue, &Command::Ack { msg_id: &id }), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Del), "OK");
    assert_eq!(world.shards[0].subscription_counts(), (0, 0));
}
