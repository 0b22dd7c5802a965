//! The power goes while everything moves to other shards: one of the two generations is complete.

use super::fake::FakeDisk;
use super::model::{FakeStore, SEGMENT_LEN, World, open_shard, options};
use super::rehome::{contents, expect_at_home};
use crate::store::Id;
use crate::store::log::damage::OnDamage;
use crate::store::log::rehome::{RehomeReport, move_all};
use crate::store::log::targets::Targets;
use crate::store::log::{LogStore, Partitions, Promise};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::path::Path;
use std::sync::Arc;

/// Homes that have nothing to do with where an id lived before.
#[derive(Debug)]
struct Scattered(u16);

impl Partitions for Scattered {
    fn partition(&self, id: &Id) -> u16 {
        u16::from(crc32c::crc32c(id) as u8)
    }

    fn shard(&self, partition: u16) -> u16 {
        partition % self.0
    }
}

/// What a move came to.
struct Moved {
    disks: Vec<FakeDisk>,
    is_complete: bool,
}

/// Reads shards as a move does.
fn read(worlds: &[World]) -> Vec<FakeStore> {
    let read = |world: &World| {
        let (partitions, options) = (Arc::new(Scattered(1)), options(Promise::Disk));
        let disk = world.disk.copy();
        LogStore::read(disk, world.shard, partitions, &options, OnDamage::Refuse).unwrap()
    };
    worlds.iter().map(|world| read(world).0).collect()
}

/// Moves to new shards; the process may be killed after it has written some bytes of each.
fn move_to(shards: u16, sources: &[FakeStore], life: Option<usize>) -> Moved {
    let disks: Vec<_> = (0..shards).map(|_| FakeDisk::default()).collect();
    disks.iter().for_each(|disk| disk.kill_after(life));
    let partitions: Arc<dyn Partitions> = Arc::new(Scattered(shards));
    let opened = disks.iter().cloned().map(Ok);
    let options = options(Promise::Process);
    let mut targets = Targets::over(Path::new("new"), opened, &partitions, &options).unwrap();
    let mut report = RehomeReport::default();
    for source in sources {
        move_all(source, &mut targets, &mut report).unwrap();
    }
    assert_eq!(report.conflicts, 0);
    let moved = targets.complete().unwrap();
    let queues: u64 = sources
        .iter()
        .map(|s| crate::store::Store::totals(s).queues)
        .sum();
    assert_eq!(moved.queues, queues);
    // The manifest is replaced only by a process that got here.
    let is_complete = disks.iter().all(|disk| !disk.is_dead());
    Moved { disks, is_complete }
}

fn open_all(disks: &[FakeDisk]) -> Vec<FakeStore> {
    let open = |(disk, shard)| open_shard(disk, shard, Promise::Disk).unwrap().0;
    disks.iter().zip(0..).map(open).collect()
}

/// Lives of several shards, at the end of which the power goes; then everything moves, and the
/// power goes again.
fn lose_power_around_a_move(seed: u64) -> bool {
    // Shown when a test fails.
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut worlds: Vec<World> = (0..rng.random_range(1..4))
        .map(|shard| World::of_shard(shard, rng.random(), Promise::Disk))
        .collect();
    let mut promised = Vec::new();
    for world in &mut worlds {
        for _ in 0..rng.random_range(0..150) {
            world.step();
            world.housekeeping();
        }
        promised.push(world.promised());
        if rng.random_bool(0.5) {
            world.store = None;
            world.disk.lose_power(&mut rng);
        }
    }
    let sources = read(&worlds);
    let before = contents(&sources);
    let files = |worlds: &[World]| -> Vec<Vec<Vec<u8>>> {
        let of_world = |world: &World| {
            let names = world.disk.names();
            names.iter().map(|name| world.disk.content(name)).collect()
        };
        worlds.iter().map(of_world).collect()
    };
    let untouched = files(&worlds);
    let shards = rng.random_range(1..5);
    let life = rng
        .random_bool(0.5)
        .then(|| rng.random_range(0..SEGMENT_LEN));
    let moved = move_to(shards, &sources, life);
    moved
        .disks
        .iter()
        .for_each(|disk| disk.lose_power(&mut rng));
    if moved.is_complete {
        let targets = open_all(&moved.disks);
        expect_at_home(&targets, &Scattered(shards));
        assert_eq!(contents(&targets), before);
    }
    // The old shards are as they were, and hold what was promised.
    assert!(files(&worlds) == untouched);
    for (world, promised) in worlds.iter_mut().zip(promised) {
        world.reopen(promised);
    }
    let stores: Vec<_> = worlds
        .iter_mut()
        .map(|world| world.store.take().unwrap())
        .collect();
    assert_eq!(contents(&stores), before);
    moved.is_complete
}

#[test]
fn a_move_that_is_complete_is_durable_and_one_that_is_not_has_changed_nothing() {
    let complete = (0..150).filter(|seed| lose_power_around_a_move(*seed));
    let complete = complete.count();
    assert!((50..140).contains(&complete), "{complete}");
}

#[test]
#[ignore = "takes minutes"]
fn a_move_survives_loss_of_power_in_many_worlds() {
    for seed in 10_000..15_000 {
        lose_power_around_a_move(seed);
    }
}
