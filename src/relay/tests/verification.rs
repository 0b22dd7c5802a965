//! Which key authorises which command (spec: protocol §7.3, §17).

use super::clients::{Client, Key, Queue, ed25519, keys, new_queue, recipient_dh, words};
use super::world::{World, two_clients};
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::command::{LinkData, NotifierCredentials, QueueRequest};
use crate::protocol::encoding::put_bytes8;
use crate::protocol::{Command, Version};
use crate::store::{NotifierRecord, QueueChange, Store};

const AUTH: &str = "ERR AUTH";

fn recipient_commands() -> Vec<Command<'static>> {
    let key = ed25519(0x21).public();
    let data = LinkData {
        fixed: b"fixed",
        user: b"user",
    };
    vec![
        Command::Sub,
        Command::Get,
        Command::Ack { msg_id: &[] },
        Command::Key(key),
        Command::RKey(vec![key]),
        Command::LSet {
            link_id: &[1; 24],
            data,
        },
        Command::LDel,
        Command::NKey(NotifierCredentials {
            auth_key: key,
            dh_key: recipient_dh().public_key(),
        }),
        Command::NDel,
        Command::Off,
        Command::Que,
        Command::Del,
    ]
}

const SEND: Command<'static> = Command::Send {
    notify: false,
    body: b"body",
};

/// A contact queue whose recipient has the given key.
fn contact_with(world: &mut World, client: &Client, key: Key) -> Queue {
    let request = Some(QueueRequest::Contact(None));
    let new = Command::New(new_queue(&key, request));
    let ids = world.ask(client, Some(&key), &[], &new);
    Queue::from_ids(key, &ids)
}

#[test]
fn recipient_commands_need_a_recipient_key_of_the_right_algorithm() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    for (own, key) in keys(1).into_iter().enumerate() {
        let queue = contact_with(&mut world, &client, key);
        for command in recipient_commands() {
            // Keys of every algorithm that are not the queue's.
            for wrong in keys(2) {
                let answer = world.ask(&client, Some(&wrong), &queue.recipient, &command);
                assert_eq!(words(&answer), AUTH, "{command:?}");
            }
            // The same secret in another algorithm.
            for (_, wrong) in keys(1).iter().enumerate().filter(|(i, _)| *i != own) {
                let answer = world.ask(&client, Some(wrong), &queue.recipient, &command);
                assert_eq!(words(&answer), AUTH, "{command:?}");
            }
            let unknown = world.ask(&client, Some(&queue.key), &[9; 24], &command);
            assert_eq!(words(&unknown), AUTH, "{command:?}");
        }
        for command in recipient_commands() {
            if matches!(command, Command::RKey(_)) {
                continue;
            }
            let answer = world.own(&client, &queue, &command);
            assert_ne!(answer, AUTH, "{command:?}");
        }
    }
}

#[test]
fn any_of_several_recipient_keys_will_do() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queue = world.contact(&client);
    let all: Vec<Key> = (1..=3).flat_map(keys).collect();
    let public: Vec<PublicAuthKey> = all.iter().map(Key::public).collect();
    assert_eq!(world.own(&client, &queue, &Command::RKey(public)), "OK");
    for key in &all {
        let answer = world.ask(&client, Some(key), &queue.recipient, &Command::Sub);
        assert_eq!(words(&answer), "SOK");
    }
    for key in keys(4).iter().chain([&queue.key]) {
        let answer = world.ask(&client, Some(key), &queue.recipient, &Command::Sub);
        assert_eq!(words(&answer), AUTH);
    }
}

#[test]
fn messages_are_unsigned_until_there_is_a_sender_key() {
    let (me, sender) = two_clients();
    for (own, key) in keys(1).into_iter().enumerate() {
        let mut world = World::new(1);
        let queue = world.messaging(&me);
        let send = |world: &mut World, key: Option<&Key>| {
            words(&world.ask(&sender, key, &queue.sender, &SEND))
        };
        assert_eq!(send(&mut world, None), "OK");
        for wrong in keys(1) {
            assert_eq!(send(&mut world, Some(&wrong)), AUTH);
        }
        let secure = Command::Key(key.public());
        assert_eq!(world.own(&me, &queue, &secure), "OK");
        assert_eq!(send(&mut world, None), AUTH);
        for (i, offered) in keys(1).iter().enumerate() {
            let expected = if i == own { "OK" } else { AUTH };
            assert_eq!(send(&mut world, Some(offered)), expected);
        }
        for wrong in keys(2) {
            assert_eq!(send(&mut world, Some(&wrong)), AUTH);
        }
    }
    // To nowhere, with and without authorization.
    let mut world = World::new(1);
    for key in keys(1).iter().map(Some).chain([None]) {
        assert_eq!(words(&world.ask(&sender, key, &[9; 24], &SEND)), AUTH);
    }
}

#[test]
fn keys_inside_commands_secure_messaging_queues_that_are_free_or_theirs() {
    let (me, sender) = two_clients();
    for key in keys(1) {
        let mut world = World::new(1);
        let messaging = world.messaging(&me);
        let contact = world.contact(&me);
        let mut secure = |queue: &Queue, by: &Key| {
            let command = Command::SKey(key.public());
            words(&world.ask(&sender, Some(by), &queue.sender, &command))
        };
        for wrong in keys(2) {
            assert_eq!(secure(&messaging, &wrong), AUTH);
        }
        assert_eq!(secure(&contact, &key), AUTH);
        assert_eq!(secure(&messaging, &key), "OK");
        assert_eq!(secure(&messaging, &key), "OK");
        let other = ed25519(3);
        let answer = world.ask(
            &sender,
            Some(&other),
            &messaging.sender,
            &Command::SKey(other.public()),
        );
        assert_eq!(words(&answer), AUTH);
    }
}

/// A contact or messaging queue with the link id `[7; 24]`.
fn linked(world: &mut World, client: &Client, request: QueueRequest<'static>) -> Queue {
    let queue = world.queue(client, Some(request));
    let (shard, slot) = world.slot(&queue);
    let content = crate::store::LinkContent {
        fixed: [].into(),
        user: [].into(),
    };
    let change = QueueChange::Link(Some(([7; 24], content)));
    world.shards[shard].store.update(slot, change).unwrap();
    queue
}

#[test]
fn links_of_contact_queues_are_read_by_anyone_and_others_by_their_sender() {
    let (me, sender) = two_clients();
    let key = ed25519(1);
    let cases = [
        (QueueRequest::Contact(None), "LNK", AUTH),
        (QueueRequest::Messaging(None), AUTH, "LNK"),
    ];
    for (request, get, secure) in cases {
        let mut world = World::new(1);
        linked(&mut world, &me, request);
        assert_eq!(
            words(&world.ask(&sender, None, &[7; 24], &Command::LGet)),
            get
        );
        let lkey = Command::LKey(key.public());
        assert_eq!(
            words(&world.ask(&sender, Some(&key), &[7; 24], &lkey)),
            secure
        );
        let wrong = world.ask(&sender, Some(&ed25519(2)), &[7; 24], &lkey);
        assert_eq!(words(&wrong), AUTH);
        assert_eq!(
            words(&world.ask(&sender, None, &[8; 24], &Command::LGet)),
            AUTH
        );
    }
}

#[test]
fn notifiers_need_their_own_key() {
    let (me, notifier) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let (shard, slot) = world.slot(&queue);
    let key = ed25519(1);
    let record = NotifierRecord {
        notifier_id: [5; 24],
        auth_key: key.public(),
        dh_secret: recipient_dh().agree(&recipient_dh().public_key()),
        service_id: None,
    };
    let change = QueueChange::Notifier(Some(record));
    world.shards[shard].store.update(slot, change).unwrap();
    let mut subscribe =
        |key: &Key, id: &[u8]| words(&world.ask(&notifier, Some(key), id, &Command::NSub));
    assert_eq!(subscribe(&key, &[5; 24]), "SOK");
    assert_eq!(subscribe(&queue.key, &[5; 24]), AUTH);
    assert_eq!(subscribe(&key, &[6; 24]), AUTH);
    assert_eq!(subscribe(&key, &queue.recipient), AUTH);
}

#[test]
fn service_signatures_are_refused() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queue = world.messaging(&client);
    let new = Command::New(new_queue(&queue.key, None));
    for (entity, command) in [
        (&queue.recipient[..], Command::Sub),
        (&queue.recipient[..], Command::Del),
        (&[][..], new),
    ] {
        let plain = client.transmission(Some(&queue.key), entity, &command);
        // Behind the authorization of 1 + 64 bytes comes the absent signature, one byte.
        let (authorization, rest) = plain.split_at(65);
        let mut bytes = authorization.to_vec();
        bytes.push(b'1');
        put_bytes8(&mut bytes, &[1; 64]);
        bytes.extend_from_slice(&rest[1..]);
        world.execute(0, &client, &[bytes]);
        assert_eq!(words(&world.take_reply()), "ERR SERVICE", "{command:?}");
    }
    // An unknown queue comes first.
    let unknown = client.transmission(Some(&queue.key), &[9; 24], &Command::Sub);
    world.execute(0, &client, &[unknown]);
    assert_eq!(words(&world.take_reply()), AUTH);
}

#[test]
fn an_authorization_is_for_one_session_and_one_transmission() {
    let (me, other) = two_clients();
    let mut world = World::new(1);
    for key in keys(1) {
        let queue = contact_with(&mut world, &me, key);
        let good = me.transmission(Some(&queue.key), &queue.recipient, &Command::Sub);
        // Replayed in another session.
        world.execute(0, &other, std::slice::from_ref(&good));
        assert_eq!(words(&world.take_reply()), AUTH);
        // Any changed byte of the authorization or the command.
        for at in [1, 30, 64] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            world.execute(0, &me, &[changed]);
            assert_eq!(words(&world.take_reply()), AUTH);
        }
        let swapped = {
            let mut bytes = good.clone();
            let at = bytes.len() - 3;
            bytes[at..].copy_from_slice(b"QUE");
            bytes
        };
        world.execute(0, &me, &[swapped]);
        assert_eq!(words(&world.take_reply()), AUTH);
        world.execute(0, &me, &[good]);
        assert_eq!(words(&world.take_reply()), "SOK");
    }
}

#[test]
fn agreements_are_kept_per_session() {
    let (me, other) = two_clients();
    let mut world = World::new(1);
    let [_, _, key] = keys(1);
    let queue = contact_with(&mut world, &me, key);
    for client in [&me, &other, &me, &other] {
        assert_eq!(world.own(client, &queue, &Command::Que), "INFO");
        let [_, _, wrong] = keys(2);
        let refused = world.ask(client, Some(&wrong), &queue.recipient, &Command::Que);
        assert_eq!(words(&refused), AUTH);
    }
}
