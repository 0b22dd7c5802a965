//! More services than there is room for: which gives way (spec: server §1.3, §7).

use super::clients::{Client, ed25519, new_queue, words};
use super::world::World;
use crate::protocol::handshake::ServiceRole::{self, Messaging, Notifier};
use crate::protocol::{Command, Version};
use crate::relay::Shard;
use crate::relay::service::MAX_SERVICES;
use crate::store::{Id, Store};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const MAX: usize = MAX_SERVICES as usize;

/// Certificates whose services live on shard 0.
fn certificates(world: &World) -> Vec<u8> {
    let on_first = |c: &u8| world.partitioner.shard_of(&[*c; 24]) == 0;
    (0..=u8::MAX).filter(on_first).collect()
}

/// Registers a service, whatever other shards have to say.
fn register(world: &mut World, role: ServiceRole, certificate: u8) -> Option<Id> {
    let id = world.register(role, certificate);
    world.deliver_all();
    id.or_else(|| world.registered.pop().flatten())
}

/// Registers as many services as there is room for; returns their certificates and some of others.
fn full(world: &mut World) -> (Vec<u8>, Vec<u8>) {
    let mut all = certificates(world);
    let others = all.split_off(MAX);
    for certificate in &all {
        register(world, Notifier, *certificate).unwrap();
    }
    (all, others)
}

fn is_registered(world: &World, certificate: u8) -> bool {
    world.shards[0].store.service(&[certificate; 32]).is_some()
}

fn registered(world: &World, certificates: &[u8]) -> Vec<bool> {
    let all = certificates.iter();
    all.map(|c| is_registered(world, *c)).collect()
}

/// Makes a connection of a service the subscriber of it.
fn subscribe(world: &mut World, slot: u32, certificate: u8) -> Client {
    let client = world.ntf_service(slot, certificate);
    world.start_join(&client);
    world.deliver_all();
    client
}

#[test]
fn the_oldest_service_that_nobody_uses_gives_way() {
    let me = Client::new(1, Version::CURRENT);
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let all = certificates(&world);
        // A queue belongs to the first, notifiers to the two behind it, on the first and the last
        // shard; somebody subscribes for the next.
        let key = ed25519(1);
        let receiver = world.service(2, Messaging, all[0]);
        let mut new = new_queue(&key, None);
        new.subscribe = true;
        let ids = world.ask(&receiver, Some(&key), &[], &Command::New(new));
        assert_eq!(words(&ids), "IDS");
        for (certificate, shard) in [(all[1], 0), (all[2], shards - 1)] {
            let service = world.ntf_service(3, certificate);
            let queue = world.queue_on(shard, &me);
            let notifier = world.notifier(&me, &queue, certificate);
            assert_eq!(world.nsub(&service, &notifier), "SOK service");
            world.close(&service);
            world.deliver_all();
        }
        subscribe(&mut world, 4, all[3]);
        for certificate in &all[4..MAX] {
            register(&mut world, Notifier, *certificate).unwrap();
        }
        // One more after the other: those in use stay.
        for n in 0..3 {
            assert!(register(&mut world, Notifier, all[MAX + n]).is_some());
            assert_eq!(registered(&world, &all[..4]), [true; 4]);
            let expected: Vec<_> = (0..3).map(|gone| gone > n).collect();
            assert_eq!(registered(&world, &all[4..7]), expected);
            assert_eq!(world.shards[0].totals().services(), MAX_SERVICES);
        }
    }
}

#[test]
fn a_new_service_is_refused_while_all_are_in_use() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let (all, others) = full(&mut world);
        let mut clients: Vec<_> = (1..)
            .zip(&all)
            .map(|(slot, certificate)| subscribe(&mut world, slot, *certificate))
            .collect();
        for _ in 0..2 * MAX {
            assert_eq!(register(&mut world, Notifier, others[0]), None);
        }
        assert!(registered(&world, &all).iter().all(|known| *known));
        world.close(&clients.remove(7));
        world.deliver_all();
        // Some attempts, until those that are spared once have been.
        let until = (0..2 * MAX).find(|_| register(&mut world, Notifier, others[0]).is_some());
        assert!(until.is_some());
        assert!(!is_registered(&world, all[7]));
    }
}

#[test]
fn a_service_that_connects_is_spared_once_more() {
    let mut world = World::new(1);
    let (all, others) = full(&mut world);
    let id = register(&mut world, Notifier, all[0]);
    assert!(register(&mut world, Notifier, others[0]).is_some());
    assert_eq!(registered(&world, &all[..2]), [true, false]);
    assert_eq!(register(&mut world, Notifier, all[0]), id);
}

#[test]
fn a_service_that_connects_while_other_shards_are_asked_stays() {
    let mut world = World::new(2);
    let (all, others) = full(&mut world);
    assert_eq!(world.register(Notifier, others[0]), None);
    assert!(!world.mail.is_empty());
    let id = world.register(Notifier, all[0]);
    assert!(id.is_some());
    world.deliver_all();
    assert!(world.registered.pop().flatten().is_some());
    assert_eq!(registered(&world, &all[..2]), [true, false]);
}

#[test]
fn connections_of_one_new_service_at_once_take_one_place() {
    let mut world = World::new(2);
    let (all, others) = full(&mut world);
    for _ in 0..3 {
        assert_eq!(world.register(Notifier, others[0]), None);
    }
    // Another role is another matter.
    assert_eq!(world.register(Messaging, others[0]), None);
    world.deliver_all();
    let answers = std::mem::take(&mut world.registered);
    let id = world.register(Notifier, others[0]);
    assert!(id.is_some());
    assert_eq!(answers, [id, id, id, None]);
    let gone = registered(&world, &all).iter().filter(|k| !**k).count();
    assert_eq!(gone, 1);
    // Nobody was forgotten: all others give way in their turn.
    for certificate in &others[1..MAX] {
        assert!(register(&mut world, Notifier, *certificate).is_some());
    }
    assert_eq!(registered(&world, &all), [false; MAX]);
}

#[test]
fn a_full_disk_replaces_nobody() {
    let mut world = World::new(1);
    let (all, others) = full(&mut world);
    world.shards[0].store.full = true;
    assert_eq!(register(&mut world, Notifier, others[0]), None);
    assert_eq!(registered(&world, &all), [true; MAX]);
    world.shards[0].store.full = false;
    assert!(register(&mut world, Notifier, others[0]).is_some());
}

#[test]
fn services_of_an_earlier_run_give_way_too() {
    let mut world = World::new(1);
    let (all, others) = full(&mut world);
    let before = world.shards.remove(0);
    let rng = ChaCha20Rng::seed_from_u64(1);
    world
        .shards
        .push(Shard::new(before.config, before.store, rng));
    assert!(register(&mut world, Notifier, others[0]).is_some());
    let gone = registered(&world, &all).iter().filter(|k| !**k).count();
    assert_eq!(gone, 1);
}
