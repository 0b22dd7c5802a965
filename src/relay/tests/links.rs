//! Link data: `LSET`, `LDEL`, `LKEY`, `LGET` (spec: server §3.8–§3.12).

use super::clients::{Client, Key, Queue, ed25519, keys, words};
use super::world::{World, two_clients};
use crate::protocol::command::{LinkData, QueueRequest};
use crate::protocol::{Command, Response};
use crate::store::Id;

const LINK: Id = [7; 24];
const AUTH: &str = "ERR AUTH";

fn lset(link_id: &'static [u8], fixed: &'static [u8], user: &'static [u8]) -> Command<'static> {
    let data = LinkData { fixed, user };
    Command::LSet { link_id, data }
}

/// The data behind a link as its reader gets it, with the sender id in front.
#[track_caller]
fn read(response: &Response<'_>) -> (Id, Vec<u8>, Vec<u8>) {
    let Response::Lnk(link) = response else {
        panic!("{response:?} instead of LNK");
    };
    let sender_id = link.sender_id[..].try_into().unwrap();
    (sender_id, link.fixed.to_vec(), link.user.to_vec())
}

/// What one recipient does, with the answers.
fn answers(world: &mut World, me: &Client, queue: &Queue, commands: &[Command<'_>]) -> Vec<String> {
    let own = |command| world.own(me, queue, command);
    commands.iter().map(own).collect()
}

#[test]
fn link_data_is_set_once_and_its_user_part_replaced() {
    let (me, _) = two_clients();
    for request in [
        Some(QueueRequest::Messaging(None)),
        Some(QueueRequest::Contact(None)),
        None,
    ] {
        let mut world = World::new(1);
        let queue = world.queue(&me, request);
        let rows = [
            (lset(&LINK, b"f", b"1"), "OK", (b"f", b"1")),
            // The same again, and new user data.
            (lset(&LINK, b"f", b"1"), "OK", (b"f", b"1")),
            (lset(&LINK, b"f", b"2"), "OK", (b"f", b"2")),
            // Other fixed data; another link id.
            (lset(&LINK, b"g", b"3"), AUTH, (b"f", b"2")),
            (lset(&[8; 24], b"f", b"3"), AUTH, (b"f", b"2")),
        ];
        for (command, expected, (fixed, user)) in rows {
            assert_eq!(world.own(&me, &queue, &command), expected);
            assert_eq!(world.record(&queue).link_id, Some(LINK));
            let (shard, slot) = world.slot(&queue);
            let content = crate::store::Store::link(&world.shards[shard].store, slot).unwrap();
            assert_eq!(
                (&content.fixed[..], &content.user[..]),
                (&fixed[..], &user[..])
            );
        }
    }
}

#[test]
fn link_ids_have_the_length_that_clients_derive() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let queue = world.contact(&me);
    let prohibited = "ERR CMD PROHIBITED";
    for link_id in [&[7; 23][..], &[7; 25], &[]] {
        let data = LinkData {
            fixed: b"f",
            user: b"u",
        };
        let command = Command::LSet { link_id, data };
        assert_eq!(world.own(&me, &queue, &command), prohibited);
    }
    assert_eq!(world.record(&queue).link_id, None);
}

#[test]
fn a_secured_messaging_queue_gets_no_link() {
    let (me, _) = two_clients();
    let cases = [
        (Some(QueueRequest::Messaging(None)), AUTH),
        (Some(QueueRequest::Contact(None)), "OK"),
        // Without a mode it is one as soon as it has a sender key.
        (None, AUTH),
    ];
    for (request, expected) in cases {
        let mut world = World::new(1);
        let queue = world.queue(&me, request);
        world.own(&me, &queue, &Command::Key(ed25519(1).public()));
        assert_eq!(world.own(&me, &queue, &lset(&LINK, b"f", b"u")), expected);
        let replaced = world.own(&me, &queue, &lset(&LINK, b"f", b"v"));
        assert_eq!(replaced, expected);
    }
}

#[test]
fn securing_a_queue_freezes_the_link_it_has() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let key = ed25519(1);
    let commands = [
        lset(&LINK, b"f", b"1"),
        Command::Key(key.public()),
        lset(&LINK, b"f", b"2"),
    ];
    assert_eq!(
        answers(&mut world, &me, &queue, &commands),
        ["OK", "OK", AUTH]
    );
    let lkey = Command::LKey(key.public());
    let link = world.ask(&sender, Some(&key), &LINK, &lkey);
    assert_eq!(read(&link), (queue.sender, b"f".to_vec(), b"1".to_vec()));
}

#[test]
fn a_link_id_in_use_is_refused_and_stays_where_it_was() {
    let (me, reader) = two_clients();
    let mut world = World::new(1);
    let (mine, other) = (world.contact(&me), world.contact(&me));
    assert_eq!(world.own(&me, &mine, &lset(&LINK, b"mine", b"")), "OK");
    for _ in 0..2 {
        assert_eq!(world.own(&me, &other, &lset(&LINK, b"mine", b"")), AUTH);
    }
    let link = world.ask(&reader, None, &LINK, &Command::LGet);
    assert_eq!(read(&link).0, mine.sender);
    assert_eq!(world.record(&other).link_id, None);
    // Freed by its queue, it may be used by another.
    assert_eq!(world.own(&me, &mine, &Command::LDel), "OK");
    assert_eq!(world.own(&me, &other, &lset(&LINK, b"other", b"")), "OK");
    let link = world.ask(&reader, None, &LINK, &Command::LGet);
    assert_eq!(read(&link).0, other.sender);
}

#[test]
fn deleting_a_link_frees_its_id_and_may_be_repeated() {
    let (me, reader) = two_clients();
    let mut world = World::new(1);
    let queue = world.contact(&me);
    assert_eq!(world.own(&me, &queue, &Command::LDel), "OK");
    for link in [&LINK, &[8; 24]] {
        assert_eq!(world.own(&me, &queue, &lset(link, b"f", b"u")), "OK");
        let found = world.ask(&reader, None, link, &Command::LGet);
        assert_eq!(words(&found), "LNK");
        for _ in 0..2 {
            assert_eq!(world.own(&me, &queue, &Command::LDel), "OK");
            let gone = world.ask(&reader, None, link, &Command::LGet);
            assert_eq!(words(&gone), AUTH);
        }
    }
    // Deletion of the queue frees it too.
    assert_eq!(world.own(&me, &queue, &lset(&LINK, b"f", b"u")), "OK");
    assert_eq!(world.own(&me, &queue, &Command::Del), "OK");
    let gone = world.ask(&reader, None, &LINK, &Command::LGet);
    assert_eq!(words(&gone), AUTH);
    let next = world.contact(&me);
    assert_eq!(world.own(&me, &next, &lset(&LINK, b"f", b"u")), "OK");
}

#[test]
fn link_data_may_be_empty() {
    let (me, reader) = two_clients();
    let mut world = World::new(1);
    let queue = world.contact(&me);
    assert_eq!(world.own(&me, &queue, &lset(&LINK, b"", b"")), "OK");
    let link = world.ask(&reader, None, &LINK, &Command::LGet);
    assert_eq!(read(&link), (queue.sender, Vec::new(), Vec::new()));
}

#[test]
fn contact_links_are_read_by_anyone_whatever_the_queue_accepts() {
    let (me, reader) = two_clients();
    // The mode, whether it is secured, and whether its link can be read.
    let cases = [
        (Some(QueueRequest::Contact(None)), false, true),
        (Some(QueueRequest::Contact(None)), true, true),
        (None, false, true),
        (None, true, false),
        (Some(QueueRequest::Messaging(None)), false, false),
        (Some(QueueRequest::Messaging(None)), true, false),
    ];
    for (request, secured, readable) in cases {
        let mut world = World::new(1);
        let queue = world.queue(&me, request);
        world.own(&me, &queue, &lset(&LINK, b"f", b"u"));
        if secured {
            world.own(&me, &queue, &Command::Key(ed25519(1).public()));
        }
        for _ in 0..2 {
            let answer = world.ask(&reader, None, &LINK, &Command::LGet);
            assert_eq!(words(&answer), if readable { "LNK" } else { AUTH });
            // Suspended queues can still be read.
            world.own(&me, &queue, &Command::Off);
        }
    }
}

#[test]
fn a_sender_secures_a_queue_by_its_link_and_may_ask_again() {
    let (me, sender) = two_clients();
    for key in keys(1) {
        let mut world = World::new(1);
        let queue = world.messaging(&me);
        world.own(&me, &queue, &lset(&LINK, b"f", b"u"));
        let lkey = |world: &mut World, by: &Key, inside: &Key| {
            let command = Command::LKey(inside.public());
            world.ask(&sender, Some(by), &LINK, &command)
        };
        let other = ed25519(2);
        // Not signed by the key it brings.
        assert_eq!(words(&lkey(&mut world, &other, &key)), AUTH);
        assert_eq!(world.record(&queue).sender_key, None);
        for _ in 0..2 {
            let link = lkey(&mut world, &key, &key);
            assert_eq!(read(&link), (queue.sender, b"f".to_vec(), b"u".to_vec()));
        }
        assert_eq!(world.record(&queue).sender_key, Some(key.public()));
        assert_eq!(words(&lkey(&mut world, &other, &other)), AUTH);
        // Not any more once the link is deleted.
        world.own(&me, &queue, &Command::LDel);
        assert_eq!(words(&lkey(&mut world, &key, &key)), AUTH);
    }
}

#[test]
fn contact_and_old_queues_are_not_secured_by_their_link() {
    let (me, sender) = two_clients();
    let key = ed25519(1);
    for request in [Some(QueueRequest::Contact(None)), None] {
        let mut world = World::new(1);
        let queue = world.queue(&me, request);
        world.own(&me, &queue, &lset(&LINK, b"f", b"u"));
        let lkey = Command::LKey(key.public());
        assert_eq!(words(&world.ask(&sender, Some(&key), &LINK, &lkey)), AUTH);
        assert_eq!(world.record(&queue).sender_key, None);
    }
}

#[test]
fn the_first_message_of_the_one_sender_uses_the_link_up() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let key = ed25519(1);
    world.own(&me, &queue, &lset(&LINK, b"f", b"u"));
    let send = Command::Send {
        notify: false,
        body: b"1",
    };
    // A message to a queue nobody secured leaves it.
    assert_eq!(words(&world.ask(&sender, None, &queue.sender, &send)), "OK");
    let lkey = Command::LKey(key.public());
    assert_eq!(words(&world.ask(&sender, Some(&key), &LINK, &lkey)), "LNK");
    // A refused one too.
    let wrong = world.ask(&sender, Some(&ed25519(2)), &queue.sender, &send);
    assert_eq!(words(&wrong), AUTH);
    assert_eq!(words(&world.ask(&sender, Some(&key), &LINK, &lkey)), "LNK");
    let sent = world.ask(&sender, Some(&key), &queue.sender, &send);
    assert_eq!(words(&sent), "OK");
    assert_eq!(words(&world.ask(&sender, Some(&key), &LINK, &lkey)), AUTH);
    // Its id is free.
    let other = world.contact(&me);
    assert_eq!(world.own(&me, &other, &lset(&LINK, b"g", b"")), "OK");
}
