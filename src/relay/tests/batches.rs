//! Blocks of many commands, whose signatures are checked together (spec: server §2.5).

use super::clients::{Client, Key, Queue, ed25519, words};
use super::world::{World, two_clients};
use crate::protocol::{Command, Response, Version};
use crate::relay::Answer;

/// Answers of a block in the order of its commands.
fn answers(world: &mut World) -> Vec<String> {
    let mut replies = std::mem::take(&mut world.replies);
    replies.sort_by_key(|(_, ticket, _)| *ticket);
    replies
        .into_iter()
        .map(|(_, _, answer)| match answer {
            Answer::Response(response) | Answer::Subscribed { response, .. } => words(&response),
            Answer::Redirect { .. } => "redirect".to_owned(),
            Answer::Refused(error) => words(&Response::Err(error)),
            Answer::ServiceSubscription { .. } => "service".to_owned(),
        })
        .collect()
}

fn queues(world: &mut World, client: &Client, count: usize) -> Vec<Queue> {
    (0..count).map(|_| world.contact(client)).collect()
}

fn sub(client: &Client, key: &Key, queue: &Queue) -> Vec<u8> {
    client.transmission(Some(key), &queue.recipient, &Command::Sub)
}

#[test]
fn a_full_block_of_subscriptions_is_answered_one_by_one() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queues = queues(&mut world, &client, 135);
    let block: Vec<_> = queues.iter().map(|q| sub(&client, &q.key, q)).collect();
    world.execute(0, &client, &block);
    assert_eq!(answers(&mut world), ["SOK"; 135]);
    assert_eq!(world.shards[0].subscription_counts(), (135, 1));
}

#[test]
fn one_bad_signature_among_many_fails_alone() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queues = queues(&mut world, &client, 12);
    for bad in [0, 5, 11] {
        let block: Vec<_> = (0..)
            .zip(&queues)
            .map(|(i, queue)| {
                let wrong = ed25519(9);
                let key = if i == bad { &wrong } else { &queue.key };
                sub(&client, key, queue)
            })
            .collect();
        world.execute(0, &client, &block);
        let mut expected = ["SOK"; 12];
        expected[bad] = "ERR AUTH";
        assert_eq!(answers(&mut world), expected);
    }
}

#[test]
fn unknown_queues_and_other_algorithms_among_many_do_not_disturb() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queues = queues(&mut world, &client, 8);
    let [_, ed448, x25519] = super::clients::keys(3);
    let mut block: Vec<_> = queues.iter().map(|q| sub(&client, &q.key, q)).collect();
    block.insert(
        2,
        client.transmission(Some(&ed25519(1)), &[9; 24], &Command::Sub),
    );
    block.insert(4, sub(&client, &ed448, &queues[0]));
    block.insert(6, sub(&client, &x25519, &queues[0]));
    world.execute(0, &client, &block);
    let mut expected = vec!["SOK"; 11];
    for refused in [2, 4, 6] {
        expected[refused] = "ERR AUTH";
    }
    assert_eq!(answers(&mut world), expected);
}

#[test]
fn a_key_replaced_earlier_in_the_block_authorises_nothing_later() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queues = queues(&mut world, &client, 6);
    let (changed, fresh) = (&queues[0], ed25519(8));
    let replace = Command::RKey(vec![fresh.public()]);
    let mut block = vec![
        sub(&client, &changed.key, changed),
        client.transmission(Some(&changed.key), &changed.recipient, &replace),
        // Valid under the key that the queue had when the block came.
        sub(&client, &changed.key, changed),
        sub(&client, &fresh, changed),
    ];
    block.extend(queues[1..].iter().map(|q| sub(&client, &q.key, q)));
    world.execute(0, &client, &block);
    let mut expected = vec!["SOK", "OK", "ERR AUTH", "SOK"];
    expected.extend(["SOK"; 5]);
    assert_eq!(answers(&mut world), expected);
}

#[test]
fn a_queue_deleted_earlier_in_the_block_is_unknown_later() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queues = queues(&mut world, &client, 6);
    let gone = &queues[0];
    let mut block = vec![
        sub(&client, &gone.key, gone),
        client.transmission(Some(&gone.key), &gone.recipient, &Command::Del),
        sub(&client, &gone.key, gone),
    ];
    block.extend(queues[1..].iter().map(|q| sub(&client, &q.key, q)));
    world.execute(0, &client, &block);
    let mut expected = vec!["SOK", "OK", "ERR AUTH"];
    expected.extend(["SOK"; 5]);
    assert_eq!(answers(&mut world), expected);
}

#[test]
fn a_place_taken_by_another_queue_within_the_block_is_not_confused() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let queues = queues(&mut world, &client, 5);
    let (gone, other) = (&queues[0], ed25519(7));
    let new = Command::New(super::clients::new_queue(&other, None));
    let mut block = vec![
        client.transmission(Some(&gone.key), &gone.recipient, &Command::Del),
        // Takes the deleted queue's place in the store.
        client.transmission(Some(&other), &[], &new),
        sub(&client, &gone.key, gone),
    ];
    block.extend(queues[1..].iter().map(|q| sub(&client, &q.key, q)));
    world.execute(0, &client, &block);
    let mut expected = vec!["OK", "IDS", "ERR AUTH"];
    expected.extend(["SOK"; 4]);
    assert_eq!(answers(&mut world), expected);
}

#[test]
fn commands_of_a_block_run_in_their_order() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    let send = |body: &'static str| {
        let command = Command::Send {
            notify: false,
            body: body.as_bytes(),
        };
        me.transmission(None, &queue.sender, &command)
    };
    let own = |command: &Command<'_>| me.transmission(Some(&queue.key), &queue.recipient, command);
    let block = [
        send("1"),
        own(&Command::Sub),
        own(&Command::Off),
        send("2"),
        own(&Command::Del),
        own(&Command::Sub),
    ];
    world.execute(0, &me, &block);
    let expected = ["OK", "SOK", "OK", "ERR AUTH", "OK", "ERR AUTH"];
    assert_eq!(answers(&mut world), expected);
}
