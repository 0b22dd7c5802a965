//! `NEW` (spec: server §3.1, protocol §9.2, §16).

use super::clients::{Client, Queue, ed25519, keys, new_queue, recipient_dh, words};
use super::world::{Listening, World, two_clients};
use crate::crypto::hash;
use crate::protocol::command::{
    ContactLink, LinkData, MessagingLink, NotifierCredentials, QueueRequest,
};
use crate::protocol::response::{QueueIds, QueueMode};
use crate::protocol::{Command, Response, Version};
use crate::relay::Shard;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const DATA: LinkData<'static> = LinkData {
    fixed: b"fixed",
    user: b"user",
};

#[track_caller]
fn ids(response: Response<'static>) -> QueueIds<'static> {
    match response {
        Response::Ids(ids) => *ids,
        other => panic!("{other:?} instead of IDS"),
    }
}

#[test]
fn every_algorithm_and_version_creates_queues() {
    let mut world = World::new(1);
    for version in 6..=18 {
        let client = Client::new(1, Version(version));
        for key in keys(1) {
            let signs = matches!(key, super::clients::Key::Signing(_));
            let request = (version >= 9).then_some(QueueRequest::Messaging(None));
            let new = Command::New(new_queue(&key, request));
            let answer = world.ask(&client, Some(&key), &[], &new);
            // Version 6 has no session key to agree with.
            if version == 6 && !signs {
                assert_eq!(words(&answer), "ERR AUTH");
            } else {
                let mode = (version >= 9).then_some(QueueMode::Messaging);
                assert_eq!(ids(answer).mode, mode, "v{version}");
            }
        }
    }
}

#[test]
fn all_ids_share_a_partition_of_their_shard() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(3);
    let key = ed25519(1);
    for shard in 0..3 {
        for _ in 0..20 {
            let mut new = new_queue(&key, None);
            new.notifier = Some(NotifierCredentials {
                auth_key: ed25519(2).public(),
                dh_key: recipient_dh().public_key(),
            });
            let bytes = client.transmission(Some(&key), &[], &Command::New(new));
            world.execute(shard, &client, &[bytes]);
            let ids = ids(world.take_reply());
            let partition = |id: &[u8]| world.partitioner.partition(&id.try_into().unwrap());
            let own = partition(&ids.recipient_id);
            assert_eq!(world.partitioner.shard(own), shard);
            assert_eq!(partition(&ids.sender_id), own);
            assert_eq!(partition(&ids.notifier.unwrap().0), own);
        }
    }
}

#[test]
fn admission_is_by_setting_and_password() {
    let client = Client::new(1, Version::CURRENT);
    let key = ed25519(1);
    let create = |world: &mut World, password: Option<&'static [u8]>| {
        let mut new = new_queue(&key, None);
        new.password = password;
        words(&world.ask(&client, Some(&key), &[], &Command::New(new)))
    };
    let mut open = World::new(1);
    assert_eq!(create(&mut open, None), "IDS");
    assert_eq!(create(&mut open, Some(b"anything")), "IDS");

    let mut closed = World::configured(1, |config| config.new_queues = false);
    assert_eq!(create(&mut closed, None), "ERR AUTH");

    let mut guarded = World::configured(1, |config| {
        config.create_password = Some("secret".parse().unwrap());
    });
    assert_eq!(create(&mut guarded, None), "ERR AUTH");
    assert_eq!(create(&mut guarded, Some(b"secre")), "ERR AUTH");
    assert_eq!(create(&mut guarded, Some(b"secret")), "IDS");
}

#[test]
fn only_the_key_inside_creates() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    for inside in keys(1) {
        let new = Command::New(new_queue(&inside, None));
        for outside in keys(2) {
            let answer = world.ask(&client, Some(&outside), &[], &new);
            assert_eq!(words(&answer), "ERR AUTH");
        }
    }
}

#[test]
fn the_creator_subscribes_if_it_says_so() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let key = ed25519(1);
    let mut new = new_queue(&key, None);
    new.subscribe = true;
    let answer = world.ask(&me, Some(&key), &[], &Command::New(new));
    let queue = Queue::from_ids(key, &answer);
    assert_eq!(world.listening(&queue, me.session), Listening::I);
    world.send(&sender, &queue, "1");
    assert_eq!(
        world.take_pushes(&queue),
        [(me.session, "MSG 1".to_owned())]
    );

    let other = world.messaging(&me);
    assert_eq!(world.listening(&other, me.session), Listening::N);
}

#[test]
fn a_chosen_sender_id_follows_from_the_correlation_id() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let key = ed25519(1);
    let mut create = |corr_id: &[u8], sender_id: &[u8], contact: Option<&[u8]>| {
        let request = match contact {
            None => QueueRequest::Messaging(Some(MessagingLink {
                sender_id,
                data: DATA,
            })),
            Some(link_id) => QueueRequest::Contact(Some(ContactLink {
                link_id,
                sender_id,
                data: DATA,
            })),
        };
        let mut new = new_queue(&key, None);
        new.queue = Some(request);
        let new = Command::New(new);
        let bytes = client.transmission_with(corr_id, Some(&key), &[], &new);
        world.execute(0, &client, &[bytes]);
        world.take_reply()
    };
    let right = hash::sender_id(&[1; 24]);
    for wrong in [&right[1..], &[2; 24][..], &[]] {
        let answer = create(&[1; 24], wrong, None);
        assert_eq!(words(&answer), "ERR CMD PROHIBITED");
    }
    // A link id that no client derives could never be found again.
    for wrong in [&[7; 23][..], &[7; 25], &[]] {
        let answer = create(&[1; 24], &right, Some(wrong));
        assert_eq!(words(&answer), "ERR CMD PROHIBITED");
    }
    let messaging = ids(create(&[1; 24], &right, None));
    assert_eq!(messaging.sender_id[..], right);
    assert_eq!(messaging.link_id.unwrap().len(), 24);
    // The same ids again.
    assert_eq!(words(&create(&[1; 24], &right, None)), "ERR AUTH");

    let second = hash::sender_id(&[2; 24]);
    let contact = ids(create(&[2; 24], &second, Some(&[7; 24])));
    assert_eq!(contact.link_id.as_deref(), Some(&[7; 24][..]));
    // A free sender id with a link id in use.
    let third = hash::sender_id(&[3; 24]);
    assert_eq!(words(&create(&[3; 24], &third, Some(&[7; 24]))), "ERR AUTH");
    let unused = ids(create(&[3; 24], &third, Some(&[8; 24])));
    assert_eq!(unused.sender_id[..], third);
}

#[test]
fn random_ids_that_collide_are_made_again() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let key = ed25519(1);
    let new = Command::New(new_queue(&key, None));
    let mut seen = Vec::new();
    for _ in 0..3 {
        // The same random numbers: every id made before comes again first.
        world.shards[0].rng = ChaCha20Rng::seed_from_u64(7);
        let answer = ids(world.ask(&client, Some(&key), &[], &new));
        assert!(!seen.contains(&answer.recipient_id));
        seen.push(answer.recipient_id);
    }
    world.shards[0].rng = ChaCha20Rng::seed_from_u64(7);
    let answer = world.ask(&client, Some(&key), &[], &new);
    assert_eq!(words(&answer), "ERR INTERNAL");
}

#[test]
fn a_full_store_creates_nothing() {
    let client = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    world.shards[0].store.full = true;
    let key = ed25519(1);
    let mut new = new_queue(&key, None);
    new.subscribe = true;
    let answer = world.ask(&client, Some(&key), &[], &Command::New(new));
    assert_eq!(words(&answer), "ERR STORE");
    assert_eq!(Shard::subscription_counts(&world.shards[0]), (0, 0));
}
