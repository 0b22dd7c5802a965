//! Link ids that live with another shard than their queue (spec: server §3.1).

use super::clients::{Client, Key, Queue, ed25519, new_queue, words};
use super::world::{Listening, World};
use crate::crypto::hash;
use crate::crypto::keys::SharedSecret;
use crate::protocol::command::{ContactLink, LinkData, QueueRequest};
use crate::protocol::{Command, Response, Version};
use crate::relay::{Answer, PeerMessage};
use crate::store::{Id, IdKind, Location, Lsn, NotifierRecord, Store};

const DATA: LinkData<'static> = LinkData {
    fixed: b"fixed",
    user: b"user",
};

/// A correlation id whose sender id lives on a shard.
fn corr_id_on(world: &World, shard: u16, nth: usize) -> Id {
    (0u64..)
        .map(|i| {
            let mut id = [3; 24];
            id[..8].copy_from_slice(&i.to_be_bytes());
            id
        })
        .filter(|id| world.partitioner.shard_of(&hash::sender_id(id)) == shard)
        .nth(nth)
        .unwrap()
}

/// A link id that lives on a shard.
fn link_id_on(world: &World, shard: u16) -> Id {
    (0..=u8::MAX)
        .map(|i| [i; 24])
        .find(|id| world.partitioner.shard_of(id) == shard)
        .unwrap()
}

/// Sends `NEW` of a contact queue to the shard of its sender id.
fn create(world: &mut World, client: &Client, key: &Key, corr_id: &Id, link_id: &Id) {
    let sender_id = hash::sender_id(corr_id);
    let mut new = new_queue(key, None);
    new.subscribe = true;
    new.queue = Some(QueueRequest::Contact(Some(ContactLink {
        link_id,
        sender_id: &sender_id,
        data: DATA,
    })));
    let bytes = client.transmission_with(corr_id, Some(key), &[], &Command::New(new));
    let home = world.partitioner.shard_of(&sender_id);
    world.execute(home, client, &[bytes]);
}

fn location(world: &World, shard: u16, id: &Id) -> Option<Location> {
    world.shards[usize::from(shard)]
        .store
        .find(IdKind::Link, id)
}

fn answers(world: &mut World) -> Vec<String> {
    std::mem::take(&mut world.replies)
        .into_iter()
        .map(|(_, _, answer)| match answer {
            Answer::Response(response) => words(&response),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_foreign_link_id_is_reserved_before_the_queue_exists() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(3);
    let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 2));
    let key = ed25519(1);
    create(&mut world, &client, &key, &corr_id, &link_id);
    assert!(world.replies.is_empty());
    assert_eq!(world.shards[0].subscription_counts(), (0, 0));
    world.deliver_mail(0);
    assert_eq!(location(&world, 2, &link_id), Some(Location::Shard(0)));
    assert!(world.replies.is_empty());
    world.deliver_mail(0);
    let ids = world.take_reply();
    let queue = Queue::from_ids(key, &ids);
    assert_eq!(queue.sender, hash::sender_id(&corr_id));
    assert_eq!(world.partitioner.shard_of(&queue.recipient), 0);
    assert_eq!(world.listening(&queue, client.session), Listening::I);

    // The link leads from its home to the queue.
    let get = client.transmission(None, &link_id, &Command::LGet);
    world.execute(2, &client, std::slice::from_ref(&get));
    let (_, _, answer) = world.replies.remove(0);
    assert_eq!(
        answer,
        Answer::Redirect {
            shard: 0,
            transmission: get.clone()
        }
    );
    world.execute(0, &client, &[get]);
    let Response::Lnk(link) = world.take_reply() else {
        panic!("no link data");
    };
    assert_eq!(link.sender_id[..], queue.sender[..]);
    assert_eq!(
        (&link.fixed[..], &link.user[..]),
        (&b"fixed"[..], &b"user"[..])
    );

    // Deletion gives the id back before it is confirmed.
    let delete = client.transmission(Some(&queue.key), &queue.recipient, &Command::Del);
    world.execute(0, &client, &[delete]);
    assert!(world.replies.is_empty());
    assert!(location(&world, 2, &link_id).is_some());
    world.deliver_mail(0);
    assert_eq!(location(&world, 2, &link_id), None);
    assert_eq!(answers(&mut world), ["OK"]);
    assert!(world.mail.is_empty());
}

#[test]
fn whoever_asks_first_gets_the_link_id_whatever_comes_in_between() {
    // Two shards ask a third; the mail is delivered in every order that keeps each pair's order.
    for picks in 0..4usize.pow(4) {
        let client = Client::new(1, Version::CURRENT);
        let mut world = World::new(3);
        let link_id = link_id_on(&world, 2);
        let key = ed25519(1);
        for shard in [0, 1] {
            let corr_id = corr_id_on(&world, shard, 0);
            create(&mut world, &client, &key, &corr_id, &link_id);
        }
        let mut picks = picks;
        while !world.mail.is_empty() {
            let at = picks % 4 % world.mail.len();
            picks /= 4;
            let (from, to, _) = world.mail[at];
            // Between two shards mail is not reordered.
            let oldest = world.mail.iter().position(|m| (m.0, m.1) == (from, to));
            world.deliver_mail(oldest.unwrap());
        }
        let mut answers = answers(&mut world);
        answers.sort();
        assert_eq!(answers, ["ERR AUTH", "IDS"]);
        let Some(Location::Shard(winner)) = location(&world, 2, &link_id) else {
            panic!("the link id is not reserved");
        };
        assert!(matches!(
            location(&world, winner, &link_id),
            Some(Location::Queue(_))
        ));
        assert_eq!(location(&world, 1 - winner, &link_id), None);
    }
}

#[test]
fn a_link_id_in_use_at_its_home_is_refused() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(2);
    let link_id = link_id_on(&world, 1);
    let key = ed25519(1);
    let own = corr_id_on(&world, 1, 0);
    create(&mut world, &client, &key, &own, &link_id);
    assert_eq!(answers(&mut world), ["IDS"]);
    let foreign = corr_id_on(&world, 0, 0);
    create(&mut world, &client, &key, &foreign, &link_id);
    world.deliver_mail(0);
    world.deliver_mail(0);
    assert_eq!(answers(&mut world), ["ERR AUTH"]);
    // The refused request must not free what belongs to the other queue.
    assert!(world.mail.is_empty());
    assert!(matches!(
        location(&world, 1, &link_id),
        Some(Location::Queue(_))
    ));
}

#[test]
fn a_reservation_is_released_when_the_queue_cannot_be_made() {
    let client = Client::new(1, Version::CURRENT);
    for full in [true, false] {
        let mut world = World::new(2);
        let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 1));
        let key = ed25519(1);
        if !full {
            // The sender id is taken by a queue with a link of its own shard.
            let other = link_id_on(&world, 0);
            create(&mut world, &client, &key, &corr_id, &other);
            assert_eq!(answers(&mut world), ["IDS"]);
        }
        create(&mut world, &client, &key, &corr_id, &link_id);
        world.deliver_mail(0);
        world.shards[0].store.full = full;
        world.deliver_mail(0);
        // Whoever is refused may use the id elsewhere at once, so it is given back first.
        assert!(world.replies.is_empty());
        assert!(location(&world, 1, &link_id).is_some());
        world.deliver_mail(0);
        assert_eq!(location(&world, 1, &link_id), None);
        let expected = if full { "ERR STORE" } else { "ERR AUTH" };
        assert_eq!(answers(&mut world), [expected]);
        assert!(world.mail.is_empty());
    }
}

#[test]
fn a_home_of_the_link_id_without_room_is_no_refusal() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(2);
    let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 1));
    world.shards[1].store.full = true;
    for expected in ["ERR STORE", "IDS"] {
        create(&mut world, &client, &ed25519(1), &corr_id, &link_id);
        world.deliver_all();
        assert_eq!(answers(&mut world), [expected]);
        world.shards[1].store.full = false;
    }
}

#[test]
fn a_creator_that_closes_meanwhile_leaves_no_subscription() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(2);
    let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 1));
    create(&mut world, &client, &ed25519(1), &corr_id, &link_id);
    world.deliver_mail(0);
    world.close(&client);
    world.deliver_mail(0);
    // The answer goes to a session that is no more, and nobody listens for it.
    assert_eq!(answers(&mut world), ["IDS"]);
    assert_eq!(world.shards[0].subscription_counts(), (0, 0));
}

#[test]
fn a_link_id_is_given_back_before_it_is_asked_for_again() {
    let client = Client::new(1, Version::CURRENT);
    for way in [Command::Del, Command::LDel] {
        let mut world = World::new(2);
        let link_id = link_id_on(&world, 1);
        let (first, second) = (corr_id_on(&world, 0, 0), corr_id_on(&world, 0, 1));
        create(&mut world, &client, &ed25519(1), &first, &link_id);
        world.deliver_all();
        let queue = Queue::from_ids(ed25519(1), &world.take_reply());
        world.shards[0].store.synced = Some(Lsn(0));
        let end = client.transmission(Some(&queue.key), &queue.recipient, &way);
        world.execute(0, &client, &[end]);
        create(&mut world, &client, &ed25519(1), &second, &link_id);
        assert!(world.mail.is_empty());
        world.sync(0);
        world.shards[0].store.synced = None;
        world.deliver_all();
        assert_eq!(answers(&mut world), ["OK", "IDS"]);
        assert_eq!(location(&world, 1, &link_id), Some(Location::Shard(0)));
    }
}

#[test]
fn mail_that_nobody_asked_for_changes_nothing() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(2);
    let key = ed25519(1);
    let (corr_id, link_id) = (corr_id_on(&world, 1, 0), link_id_on(&world, 1));
    create(&mut world, &client, &key, &corr_id, &link_id);
    assert_eq!(answers(&mut world), ["IDS"]);
    let stray = [
        PeerMessage::AliasReserved {
            token: 77,
            outcome: Ok(()),
        },
        // Not an alias: it belongs to the receiver's own queue.
        PeerMessage::ReleaseAlias {
            kind: IdKind::Link,
            id: link_id,
            confirmation: None,
        },
        PeerMessage::ReleaseAlias {
            kind: IdKind::Link,
            id: [0xdd; 24],
            confirmation: None,
        },
    ];
    for message in stray {
        world.mail.push((0, 1, message));
        world.deliver_mail(0);
    }
    assert!(world.mail.is_empty() && world.replies.is_empty());
    assert!(matches!(
        location(&world, 1, &link_id),
        Some(Location::Queue(_))
    ));
}

/// What a start asks the shard that an id leads to.
fn check(world: &mut World, from: u16, to: u16, id: &Id) {
    let (kind, id) = (IdKind::Link, *id);
    let message = PeerMessage::CheckAlias { kind, id };
    world.mail.push((from, to, message));
    world.deliver_mail(world.mail.len() - 1);
}

#[test]
fn a_link_id_is_not_given_back_while_its_queue_is_being_created() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(2);
    let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 1));
    world.shards[1].store.synced = Some(Lsn(0));
    create(&mut world, &client, &ed25519(1), &corr_id, &link_id);
    world.deliver_mail(0);
    assert_eq!(location(&world, 1, &link_id), Some(Location::Shard(0)));
    check(&mut world, 1, 0, &link_id);
    assert!(world.mail.is_empty());
    world.sync(1);
    world.deliver_all();
    assert_eq!(answers(&mut world), ["IDS"]);
    check(&mut world, 1, 0, &link_id);
    assert!(world.mail.is_empty());
    assert_eq!(location(&world, 1, &link_id), Some(Location::Shard(0)));
}

#[test]
fn a_link_id_is_not_given_back_before_its_queue_is_gone_from_the_disk() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(2);
    let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 1));
    create(&mut world, &client, &ed25519(1), &corr_id, &link_id);
    world.deliver_all();
    let queue = Queue::from_ids(ed25519(1), &world.take_reply());
    world.shards[0].store.synced = Some(world.shards[0].store.last());
    let del = client.transmission(Some(&queue.key), &queue.recipient, &Command::Del);
    world.execute(0, &client, &[del]);
    check(&mut world, 1, 0, &link_id);
    assert!(world.mail.is_empty());
    world.sync(0);
    assert_eq!(world.mail.len(), 2);
    world.deliver_all();
    assert_eq!(location(&world, 1, &link_id), None);
    assert_eq!(answers(&mut world), ["OK"]);
}

#[test]
fn a_link_id_is_given_back_only_by_the_shard_it_leads_to() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(3);
    let (corr_id, link_id) = (corr_id_on(&world, 0, 0), link_id_on(&world, 1));
    create(&mut world, &client, &ed25519(1), &corr_id, &link_id);
    world.deliver_all();
    // It had the id before and has been asked twice.
    let message = PeerMessage::ReleaseAlias {
        kind: IdKind::Link,
        id: link_id,
        confirmation: None,
    };
    world.mail.push((2, 1, message));
    world.deliver_all();
    assert_eq!(location(&world, 1, &link_id), Some(Location::Shard(0)));
}

#[test]
fn ids_of_an_imported_queue_are_given_back_with_it() {
    let client = Client::new(1, Version::CURRENT);
    for way in [Command::Del, Command::NDel] {
        let mut world = World::new(2);
        let queue = world.queue_on(0, &client);
        let mut record = world.record(&queue);
        let ids: Vec<Id> = (0..=u8::MAX)
            .map(|i| [i; 24])
            .filter(|id| world.partitioner.shard_of(id) == 1)
            .take(2)
            .collect();
        // Such a queue has ids of shard 1, which was not asked by any command.
        let slot = world.slot(&queue).1;
        world.shards[0].store.delete(slot).unwrap();
        record.sender_id = ids[0];
        record.notifier = Some(NotifierRecord {
            notifier_id: ids[1],
            auth_key: ed25519(3).public(),
            dh_secret: SharedSecret([1; 32]),
            service_id: None,
        });
        world.shards[0].store.create(&record, None).unwrap();
        let kinds = [(IdKind::Sender, ids[0]), (IdKind::Notifier, ids[1])];
        for (kind, id) in &kinds {
            let there = &mut world.shards[1].store;
            there.reserve_alias(*kind, id, 0).unwrap();
        }
        assert_eq!(world.own(&client, &queue, &way), "OK");
        world.deliver_all();
        let left = kinds.map(|(kind, id)| world.shards[1].store.find(kind, &id).is_some());
        assert_eq!(left, [way == Command::NDel, false]);
    }
}
