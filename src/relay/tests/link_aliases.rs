//! `LSET` with a link id that lives with another shard (spec: server §3.11).

use super::clients::{Client, Queue, ed25519, words};
use super::world::{World, two_clients};
use crate::protocol::command::LinkData;
use crate::protocol::{Command, Version};
use crate::relay::{Answer, PeerMessage};
use crate::store::{Id, IdKind, Location, Lsn, Store};

const AUTH: &str = "ERR AUTH";

/// A link id of shard 1.
fn foreign_link(world: &World) -> Id {
    (0..=u8::MAX)
        .map(|i| [i; 24])
        .find(|id| world.partitioner.shard_of(id) == 1)
        .unwrap()
}

fn lset<'a>(link_id: &'a Id, fixed: &'a [u8], user: &'a [u8]) -> Command<'a> {
    let data = LinkData { fixed, user };
    Command::LSet { link_id, data }
}

/// Starts a command of the recipient of a queue of shard 0.
fn start(world: &mut World, client: &Client, queue: &Queue, command: &Command<'_>) {
    let bytes = client.transmission(Some(&queue.key), &queue.recipient, command);
    world.execute(0, client, &[bytes]);
}

/// Answers so far with the slots of their sessions.
fn answers(world: &mut World) -> Vec<(u32, String)> {
    std::mem::take(&mut world.replies)
        .into_iter()
        .map(|(session, _, answer)| match answer {
            Answer::Response(response) => (session.slot, words(&response)),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn one(slot: u32, answer: &str) -> [(u32, String); 1] {
    [(slot, answer.to_owned())]
}

/// Where shard 1, its home, says that a link id leads.
fn at_home(world: &World, link: &Id) -> Option<Location> {
    world.shards[1].store.find(IdKind::Link, link)
}

#[test]
fn a_foreign_link_id_is_reserved_then_set() {
    let (me, reader) = two_clients();
    let mut world = World::new(2);
    let link = foreign_link(&world);
    let queue = world.queue_on(0, &me);
    start(&mut world, &me, &queue, &lset(&link, b"f", b"1"));
    assert!(world.replies.is_empty());
    assert_eq!(world.record(&queue).link_id, None);
    world.deliver_mail(0);
    assert_eq!(at_home(&world, &link), Some(Location::Shard(0)));
    world.deliver_mail(0);
    assert_eq!(answers(&mut world), one(1, "OK"));
    assert_eq!(world.record(&queue).link_id, Some(link));
    // Repetition and new user data are the queue's own business.
    for user in [b"1", b"2"] {
        start(&mut world, &me, &queue, &lset(&link, b"f", user));
        assert_eq!(answers(&mut world), one(1, "OK"));
    }
    start(&mut world, &me, &queue, &lset(&link, b"g", b"2"));
    assert_eq!(answers(&mut world), one(1, AUTH));
    assert!(world.mail.is_empty());
    // Both ways of reading go through the alias.
    let key = ed25519(1);
    let lkey = Command::LKey(key.public());
    assert_eq!(words(&world.ask(&reader, Some(&key), &link, &lkey)), "LNK");
    let unsigned = world.ask(&reader, None, &link, &Command::LGet);
    assert_eq!(words(&unsigned), AUTH);
}

#[test]
fn a_foreign_link_id_in_use_is_refused() {
    let (me, _) = two_clients();
    let mut world = World::new(3);
    let link = foreign_link(&world);
    let (native, foreign, late) = (
        world.queue_on(1, &me),
        world.queue_on(0, &me),
        world.queue_on(2, &me),
    );
    // First by a queue of the id's own shard, then by another alias.
    assert_eq!(world.own(&me, &native, &lset(&link, b"f", b"u")), "OK");
    assert_eq!(world.own(&me, &foreign, &lset(&link, b"f", b"u")), AUTH);
    assert!(matches!(at_home(&world, &link), Some(Location::Queue(_))));
    assert_eq!(world.own(&me, &native, &Command::LDel), "OK");
    assert_eq!(world.own(&me, &foreign, &lset(&link, b"f", b"u")), "OK");
    assert_eq!(world.own(&me, &late, &lset(&link, b"f", b"u")), AUTH);
    assert_eq!(world.own(&me, &native, &lset(&link, b"f", b"u")), AUTH);
    assert_eq!(at_home(&world, &link), Some(Location::Shard(0)));
    assert!(world.mail.is_empty());
}

#[test]
fn a_foreign_link_id_is_given_back_with_the_link() {
    let (me, sender) = two_clients();
    let key = ed25519(1);
    let secured = |world: &mut World, queue: &Queue| {
        world.own(&me, queue, &Command::Key(key.public()));
        let send = Command::Send {
            notify: false,
            body: b"1",
        };
        words(&world.ask(&sender, Some(&key), &queue.sender, &send))
    };
    for way in 0..3 {
        let mut world = World::new(2);
        let link = foreign_link(&world);
        let queue = world.queue_on(0, &me);
        assert_eq!(world.own(&me, &queue, &lset(&link, b"f", b"u")), "OK");
        let answer = match way {
            0 => world.own(&me, &queue, &Command::LDel),
            1 => world.own(&me, &queue, &Command::Del),
            _ => secured(&mut world, &queue),
        };
        assert_eq!(answer, "OK");
        world.deliver_all();
        assert_eq!(at_home(&world, &link), None, "{way}");
        let next = world.queue_on(0, &me);
        assert_eq!(world.own(&me, &next, &lset(&link, b"f", b"u")), "OK");
    }
}

#[test]
fn the_id_is_given_back_only_when_the_link_is_gone_for_good() {
    let (me, _) = two_clients();
    let mut world = World::new(2);
    let link = foreign_link(&world);
    let queue = world.queue_on(0, &me);
    world.own(&me, &queue, &lset(&link, b"f", b"u"));
    world.shards[0].store.synced = Some(Lsn(0));
    start(&mut world, &me, &queue, &Command::LDel);
    assert!(world.mail.is_empty() && world.replies.is_empty());
    world.sync(0);
    world.deliver_all();
    assert_eq!(answers(&mut world), one(1, "OK"));
    assert_eq!(at_home(&world, &link), None);
}

#[test]
fn a_link_may_be_deleted_and_set_again_without_waiting_for_the_answer() {
    let (me, _) = two_clients();
    let mut world = World::new(2);
    let link = foreign_link(&world);
    let queue = world.queue_on(0, &me);
    world.own(&me, &queue, &lset(&link, b"f", b"u"));
    world.shards[0].store.synced = Some(Lsn(0));
    start(&mut world, &me, &queue, &Command::LDel);
    start(&mut world, &me, &queue, &lset(&link, b"g", b"v"));
    world.sync(0);
    world.shards[0].store.synced = None;
    world.deliver_all();
    assert_eq!(answers(&mut world), [one(1, "OK"), one(1, "OK")].concat());
    assert_eq!(at_home(&world, &link), Some(Location::Shard(0)));
    assert_eq!(world.record(&queue).link_id, Some(link));
}

/// What happens to a queue between the request for a reservation and its answer, how the waiting
/// `LSET` is answered then, and whether the queue has the link in the end.
#[test]
fn a_queue_that_changed_meanwhile_is_looked_at_again() {
    let key = ed25519(1).public();
    let link = foreign_link(&World::new(2));
    let native = {
        let world = World::new(2);
        (0..=u8::MAX)
            .map(|i| [i; 24])
            .find(|id| world.partitioner.shard_of(id) == 0)
            .unwrap()
    };
    let cases = [
        (Command::Off, "OK", true),
        (Command::Key(key), AUTH, false),
        (Command::Del, AUTH, false),
        // Another connection gives it another link, of its own shard.
        (lset(&native, b"f", b"u"), AUTH, false),
    ];
    for (meanwhile, expected, has_link) in cases {
        for delivered_first in [false, true] {
            let (me, other) = two_clients();
            let mut world = World::new(2);
            let queue = world.queue_on(0, &me);
            start(&mut world, &me, &queue, &lset(&link, b"f", b"u"));
            if delivered_first {
                world.deliver_mail(0);
            }
            start(&mut world, &other, &queue, &meanwhile);
            assert_eq!(answers(&mut world), one(2, "OK"));
            world.deliver_all();
            assert_eq!(answers(&mut world), one(1, expected), "{meanwhile:?}");
            let home = at_home(&world, &link);
            assert_eq!(home, has_link.then_some(Location::Shard(0)));
            let here = world.shards[0].store.find(IdKind::Link, &link);
            assert_eq!(here.is_some(), has_link);
        }
    }
}

#[test]
fn two_connections_may_set_the_same_link_at_once() {
    // The same data; other user data; other fixed data.
    for (fixed, user, second) in [(b"f", b"u", "OK"), (b"f", b"v", "OK"), (b"g", b"u", AUTH)] {
        for picks in 0..64 {
            let (a, b) = two_clients();
            let mut world = World::new(2);
            let link = foreign_link(&world);
            let queue = world.queue_on(0, &a);
            start(&mut world, &a, &queue, &lset(&link, b"f", b"u"));
            start(&mut world, &b, &queue, &lset(&link, fixed, user));
            world.deliver_shuffled(picks);
            let expected = [(1, "OK".to_owned()), (2, second.to_owned())];
            assert_eq!(answers(&mut world), expected);
            // The refused reservation of the second must not undo that of the first.
            assert_eq!(at_home(&world, &link), Some(Location::Shard(0)));
            assert_eq!(world.record(&queue).link_id, Some(link));
            let content = world.shards[0].store.link(world.slot(&queue).1).unwrap();
            let last = if second == "OK" { user } else { b"u" };
            assert_eq!(
                (&content.fixed[..], &content.user[..]),
                (&b"f"[..], &last[..])
            );
        }
    }
}

#[test]
fn one_of_two_queues_gets_a_link_id_both_want_at_once() {
    for picks in 0..256 {
        let me = Client::new(1, Version::CURRENT);
        let mut world = World::new(3);
        let link = foreign_link(&world);
        let queues = [world.queue_on(0, &me), world.queue_on(2, &me)];
        for (shard, queue) in [0, 2].into_iter().zip(&queues) {
            let lset = lset(&link, b"f", b"u");
            let bytes = me.transmission(Some(&queue.key), &queue.recipient, &lset);
            world.execute(shard, &me, &[bytes]);
        }
        world.deliver_shuffled(picks);
        let mut answers: Vec<_> = answers(&mut world).into_iter().map(|(_, a)| a).collect();
        answers.sort();
        assert_eq!(answers, [AUTH, "OK"]);
        let Some(Location::Shard(winner)) = at_home(&world, &link) else {
            panic!("the link id is not reserved");
        };
        let has_link = queues.map(|queue| world.record(&queue).link_id.is_some());
        assert_eq!(has_link, [winner == 0, winner == 2]);
    }
}

#[test]
fn a_full_disk_sets_no_link_and_keeps_no_reservation() {
    let (me, _) = two_clients();
    for full in [0, 1] {
        let mut world = World::new(2);
        let link = foreign_link(&world);
        let queue = world.queue_on(0, &me);
        world.shards[full].store.full = true;
        let lset = lset(&link, b"f", b"u");
        assert_eq!(world.own(&me, &queue, &lset), "ERR STORE", "{full}");
        world.deliver_all();
        assert_eq!(world.record(&queue).link_id, None);
        assert_eq!(at_home(&world, &link), None);
        world.shards[full].store.full = false;
        assert_eq!(world.own(&me, &queue, &lset), "OK");
    }
}

#[test]
fn a_connection_that_closes_meanwhile_changes_nothing_about_its_link() {
    let (me, other) = two_clients();
    let mut world = World::new(2);
    let link = foreign_link(&world);
    let queue = world.queue_on(0, &me);
    start(&mut world, &me, &queue, &lset(&link, b"f", b"u"));
    world.close(&me);
    world.deliver_all();
    // What it asked for is done; nobody reads the answer.
    assert_eq!(answers(&mut world), one(1, "OK"));
    assert_eq!(world.own(&other, &queue, &lset(&link, b"f", b"u")), "OK");
    let mail: &[(u16, u16, PeerMessage)] = &[];
    assert_eq!(world.mail, mail);
}

/// The disk of the link id's shard lags: that the id is in use, for the same queue, must not be told
/// before the first has it.
#[test]
fn a_link_that_two_connections_set_while_the_disk_lags_is_set_for_both() {
    let (a, b) = two_clients();
    let mut world = World::new(2);
    let link = foreign_link(&world);
    let queue = world.queue_on(0, &a);
    world.shards[1].store.synced = Some(Lsn(0));
    start(&mut world, &a, &queue, &lset(&link, b"f", b"u"));
    start(&mut world, &b, &queue, &lset(&link, b"f", b"u"));
    world.deliver_all();
    assert!(world.replies.is_empty());
    world.sync(1);
    world.deliver_all();
    assert_eq!(answers(&mut world), [one(1, "OK"), one(2, "OK")].concat());
    assert_eq!(at_home(&world, &link), Some(Location::Shard(0)));
}
