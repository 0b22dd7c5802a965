//! What a client is promised is durable, and nothing else waits (spec: server §3, §11).

use super::clients::{Client, Queue, ed25519, new_queue, words};
use super::world::{Listening, World, two_clients};
use crate::protocol::{Command, Version};
use crate::relay::{Answer, PeerMessage, SessionRef, Ticket};
use crate::store::{IdKind, Lsn, StoreError};

/// The disk takes nothing more until the shard is synchronised.
fn lag(world: &mut World) {
    for shard in &mut world.shards {
        shard.store.synced = Some(Lsn(0));
    }
}

/// Answers so far, in words.
fn answers(world: &mut World, queue: &Queue) -> Vec<String> {
    std::mem::take(&mut world.replies)
        .into_iter()
        .map(|(_, _, answer)| match answer {
            Answer::Response(response) => queue.words(&response),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn changes_are_confirmed_when_they_are_durable() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.contact(&me);
    let sender_key = ed25519(3);
    lag(&mut world);
    let own = |command: &Command<'_>| me.transmission(Some(&queue.key), &queue.recipient, command);
    let send = Command::Send {
        notify: false,
        body: b"1",
    };
    let changes = [
        (sender.transmission(None, &queue.sender, &send), "OK"),
        (own(&Command::Key(sender_key.public())), "OK"),
        (own(&Command::Key(sender_key.public())), "OK"),
        (own(&Command::RKey(vec![queue.key.public()])), "OK"),
        (own(&Command::Off), "OK"),
        (own(&Command::Del), "OK"),
    ];
    for (bytes, expected) in changes {
        let by = if bytes[0] == 0 { &sender } else { &me };
        world.execute(0, by, std::slice::from_ref(&bytes));
        assert!(world.replies.is_empty(), "{expected} came too early");
        world.sync(0);
        assert_eq!(answers(&mut world, &queue), [expected]);
    }
    let key = ed25519(1);
    let new = me.transmission(Some(&key), &[], &Command::New(new_queue(&key, None)));
    world.execute(0, &me, &[new]);
    assert!(world.replies.is_empty());
    world.sync(0);
    assert_eq!(words(&world.take_reply()), "IDS");
}

#[test]
fn sessions_learn_at_once_which_commands_took_effect() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.contact(&me);
    lag(&mut world);
    let own = |command: &Command<'_>| me.transmission(Some(&queue.key), &queue.recipient, command);
    let send = Command::Send {
        notify: false,
        body: b"1",
    };
    let send = || sender.transmission(None, &queue.sender, &send);
    world.execute(0, &me, &[own(&Command::Sub), own(&Command::Off)]);
    // Answered or refused at once: nothing more to tell.
    assert_eq!(world.replies.len(), 1);
    world.execute(0, &sender, &[send()]);
    assert_eq!(world.replies.len(), 2);
    world.execute(0, &sender, &[send(), send()]);
    world.execute(
        0,
        &sender,
        &[sender.transmission(Some(&queue.key), &queue.recipient, &Command::Del)],
    );
    assert_eq!(world.replies.len(), 4);
    let ticket = |index| Ticket { batch: 0, index };
    let executed = [(me.session, ticket(1)), (sender.session, ticket(0))];
    assert_eq!(std::mem::take(&mut world.executed), executed);
    world.sync(0);
    assert_eq!(world.replies.len(), 6);
    assert!(world.executed.is_empty());
}

#[test]
fn reading_and_acknowledging_do_not_wait() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.send(&sender, &queue, "1");
    world.send(&sender, &queue, "2");
    lag(&mut world);
    assert_eq!(world.own(&me, &queue, &Command::Sub), "SOK");
    let first = Queue::message_id(&world.pushes.remove(0).2);
    assert_eq!(
        world.own(&me, &queue, &Command::Ack { msg_id: &first }),
        "MSG 2"
    );
    assert_eq!(world.own(&me, &queue, &Command::Que), "INFO");
    // Refusals promise nothing either.
    assert_eq!(world.own(&me, &queue, &Command::Get), "ERR CMD PROHIBITED");
    assert_eq!(world.own(&sender, &queue, &Command::Get), "MSG 2");
    let wrong = world.ask(&me, Some(&ed25519(9)), &queue.recipient, &Command::Del);
    assert_eq!(words(&wrong), "ERR AUTH");
}

#[test]
fn a_message_reaches_its_recipient_before_the_disk() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.own(&me, &queue, &Command::Sub);
    lag(&mut world);
    let send = Command::Send {
        notify: false,
        body: b"1",
    };
    let bytes = sender.transmission(None, &queue.sender, &send);
    world.execute(0, &sender, &[bytes]);
    assert_eq!(
        world.take_pushes(&queue),
        [(me.session, "MSG 1".to_owned())]
    );
    assert!(world.replies.is_empty());
    assert_eq!(world.listening(&queue, me.session), Listening::D);
}

#[test]
fn a_subscriber_hears_of_a_deletion_that_is_durable() {
    let (me, other) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.own(&me, &queue, &Command::Sub);
    lag(&mut world);
    let del = other.transmission(Some(&queue.key), &queue.recipient, &Command::Del);
    world.execute(0, &other, &[del]);
    assert!(world.replies.is_empty() && world.pushes.is_empty());
    world.sync(0);
    assert_eq!(world.take_pushes(&queue), [(me.session, "DELD".to_owned())]);
    assert_eq!(answers(&mut world, &queue), ["OK"]);
}

#[test]
fn answers_leave_in_the_order_of_the_log() {
    let clients: Vec<_> = (1..=4).map(|i| Client::new(i, Version::CURRENT)).collect();
    let mut world = World::new(1);
    let queue = world.messaging(&clients[0]);
    lag(&mut world);
    let send = Command::Send {
        notify: false,
        body: b"1",
    };
    for client in &clients {
        let bytes = client.transmission(None, &queue.sender, &send);
        world.execute(0, client, &[bytes]);
    }
    let sessions = |world: &mut World| -> Vec<SessionRef> {
        let replies = std::mem::take(&mut world.replies);
        replies.into_iter().map(|(session, ..)| session).collect()
    };
    // The queue's own record is the first change, then come the messages.
    for (synced, expected) in [(1, 0..0), (3, 0..2), (3, 2..2), (5, 2..4)] {
        world.shards[0].store.synced = Some(Lsn(synced));
        let mut effects = Vec::new();
        world.shards[0].release_durable(&mut effects);
        world.collect(0, effects);
        let expected: Vec<_> = clients[expected].iter().map(|c| c.session).collect();
        assert_eq!(sessions(&mut world), expected);
    }
}

#[test]
fn a_reservation_is_granted_when_it_is_durable_and_refused_no_sooner() {
    let mut world = World::new(2);
    lag(&mut world);
    for token in [7, 8] {
        let (kind, id) = (IdKind::Link, [1; 24]);
        let reserve = PeerMessage::ReserveAlias { token, kind, id };
        world.mail.push((0, 1, reserve));
        world.deliver_mail(0);
        assert!(world.mail.is_empty());
    }
    world.sync(1);
    let answer = |token, outcome| (1, 0, PeerMessage::AliasReserved { token, outcome });
    let refused = Err(StoreError::Duplicate);
    assert_eq!(world.mail, [answer(7, Ok(())), answer(8, refused)]);
}
