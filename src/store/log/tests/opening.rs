//! An opening that is interrupted, at any point and again and again, changes nothing.

use super::fake::FakeDisk;
use super::model::{FakeStore, OneShard, Op, World, dump, id, open, options, sync};
use super::space::{KIND, queue};
use crate::store::Store;
use crate::store::log::damage::OnDamage;
use crate::store::log::{LogId, LogStore, OpenError, Promise, RecoveryReport};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

/// More than an opening writes and calls.
const MUCH_EFFORT: usize = 2000;

/// What the power is lost with: a message was copied out of the oldest segment, which was freed,
/// and neither is durable.
fn copied_and_freed() -> World {
    let mut world = World::new(1, Promise::Disk);
    let (old, busy) = (queue(&mut world, 0), queue(&mut world, 1));
    world.make(Op::Push(old.recipient_id, [1; 24], KIND, vec![1; 3000]));
    for n in 0..16 {
        world.make(Op::Push(busy.recipient_id, [n; 24], KIND, vec![2; 3000]));
        world.make(Op::Pop(busy.recipient_id));
    }
    sync(world.store());
    assert_eq!(world.promised(), world.history.len());
    let first = world.store().journal.log(LogId::Messages).tail;
    while world.store().maintain(100) {
        if world.store().journal.log(LogId::Messages).tail > first {
            break;
        }
    }
    assert_eq!(
        world.store().journal.log(LogId::Leftovers).segments.len(),
        1
    );
    world
}

fn head(world: &mut World, log: LogId) -> String {
    let file = world.store().journal.log(log).segments.back().copied();
    super::super::supply::file_name(file.unwrap())
}

/// Opens until everything stops.
fn open_until(disk: &FakeDisk, effort: usize) {
    disk.stop_after(Some(effort));
    match open(disk, Promise::Disk) {
        Ok(_) | Err(OpenError::Sync(_)) => {}
        Err(error) => panic!("{error}"),
    }
    disk.stop_after(None);
}

#[test]
fn what_was_dropped_does_not_come_back_wherever_the_power_goes_next() {
    let mut world = copied_and_freed();
    let leftovers = head(&mut world, LogId::Leftovers);
    world.store = None;
    // The copy is torn; that the original is not needed is written.
    world
        .disk
        .lose_power_but(|name, sector| name != leftovers || sector == 0);
    let expected = dump(&world.model);
    let (store, _) = open(&world.disk.copy(), Promise::Disk).unwrap();
    assert!(dump(&store) == expected);
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for effort in (0..MUCH_EFFORT).step_by(11) {
        for is_power_lost in [false, true, true, true] {
            let disk = world.disk.copy();
            open_until(&disk, effort);
            if is_power_lost {
                disk.lose_power(&mut rng);
            }
            let (store, _) = open(&disk, Promise::Disk).unwrap();
            assert!(dump(&store) == expected, "stopped after {effort}");
        }
    }
}

#[test]
fn openings_that_fail_again_and_again_change_nothing() {
    for seed in 0..300 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut world = copied_and_freed();
        world.store = None;
        let expected = dump(&world.model);
        let disk = &world.disk;
        disk.lose_power(&mut rng);
        for _ in 0..rng.random_range(0..6) {
            match rng.random_range(0..3) {
                0 => disk.break_sync_after(Some(rng.random_range(0..10))),
                _ => disk.stop_after(Some(rng.random_range(0..MUCH_EFFORT / 2))),
            }
            let _ = open(disk, Promise::Disk);
            disk.break_sync_after(None);
            disk.stop_after(None);
            if rng.random_bool(0.6) {
                disk.lose_power(&mut rng);
            }
        }
        let (store, _) = open(disk, Promise::Disk).unwrap();
        assert!(dump(&store) == expected, "seed {seed}");
    }
}

/// The acknowledgement of a message is not freed before the message, whatever a restart forgets.
#[test]
fn an_acknowledged_message_does_not_come_back_from_a_segment_that_was_being_emptied() {
    for promise in [Promise::Disk, Promise::Process] {
        let mut world = World::new(1, promise);
        let names: Vec<_> = (0..4).map(|n| queue(&mut world, n).recipient_id).collect();
        let [once, short, kept, busy] = names[..] else {
            panic!("four queues");
        };
        let push = |world: &mut World, queue, len| {
            let body = vec![7; len];
            world.make(Op::Push(queue, [1; 24], KIND, body));
        };
        let drained = |world: &mut World| {
            for _ in 0..16 {
                push(world, busy, 3000);
                world.make(Op::Pop(busy));
            }
        };
        // Many short messages become leftovers.
        for _ in 0..400 {
            push(&mut world, short, 1);
        }
        drained(&mut world);
        drained(&mut world);
        while world.store().maintain(1000) {}
        let segments = |world: &mut World, log| world.store().journal.log(log).segments.len();
        assert!(segments(&mut world, LogId::Leftovers) > 2);
        assert_eq!(segments(&mut world, LogId::Messages), 1);
        // A segment is half emptied when the process ends.
        while segments(&mut world, LogId::Messages) < 2 {
            push(&mut world, busy, 3000);
            world.make(Op::Pop(busy));
        }
        while world.store().maintain(1000) {}
        push(&mut world, once, 100);
        for _ in 0..3 {
            push(&mut world, kept, 3000);
        }
        drained(&mut world);
        let before = world.store().journal.log(LogId::Leftovers).last;
        while world.store().journal.log(LogId::Leftovers).last == before {
            assert!(world.store().maintain(1));
        }
        let everything = world.history.len();
        world.reopen(everything);
        // The copy and its acknowledgement are soon followed by others.
        world.make(Op::Pop(once));
        let acknowledged = world.store().journal.log(LogId::Leftovers).next_seq;
        for _ in 0..400 {
            world.make(Op::Pop(short));
        }
        // Little is wasted in the log of messages.
        for _ in 0..60 {
            push(&mut world, busy, 3000);
        }
        for _ in 0..4 {
            sync(world.store());
            while world.store().maintain(1000) {}
        }
        assert!(world.store().journal.log(LogId::Leftovers).tail >= acknowledged);
        let everything = world.history.len();
        world.reopen(everything);
    }
}

fn read(disk: &FakeDisk, on_damage: OnDamage) -> Result<(FakeStore, RecoveryReport), OpenError> {
    let options = options(Promise::Disk);
    LogStore::read(disk.clone(), 0, Arc::new(OneShard), &options, on_damage)
}

/// What only lost power is not damaged.
#[test]
fn passing_over_damage_loses_nothing_where_there_is_none() {
    let mut world = copied_and_freed();
    let leftovers = head(&mut world, LogId::Leftovers);
    world.store = None;
    world
        .disk
        .lose_power_but(|name, sector| name != leftovers || sector == 0);
    let (store, report) = read(&world.disk, OnDamage::Skip).unwrap();
    assert!(dump(&store) == dump(&world.model));
    assert_eq!(report.damage, []);
    assert!(report.dropped > 0);

    let mut compared = 0;
    for seed in 0..100 {
        let mut world = World::new(seed, Promise::Disk);
        for _ in 0..world.rng.random_range(0..150) {
            world.step();
            world.housekeeping();
        }
        world.store = None;
        world.disk.lose_power(&mut world.rng);
        let (expected, _) = read(&world.disk, OnDamage::Refuse).unwrap();
        let (store, report) = read(&world.disk, OnDamage::Skip).unwrap();
        // Something torn in front of something whole looks like damage.
        if report.damage.is_empty() {
            compared += 1;
            assert!(dump(&store) == dump(&expected), "seed {seed}");
        }
    }
    assert!(compared > 50, "{compared}");
}

/// Of what is needed nothing is lost with a copy that is lost, whatever else is damaged.
#[test]
fn passing_over_damage_keeps_the_original_of_a_copy_that_was_lost() {
    let mut world = copied_and_freed();
    let (leftovers, queues) = (
        head(&mut world, LogId::Leftovers),
        head(&mut world, LogId::Queues),
    );
    world.store = None;
    world
        .disk
        .lose_power_but(|name, sector| name != leftovers || sector == 0);
    // The record of the second queue.
    world.disk.edit(&queues, |bytes| {
        let id = id(1, 1);
        let at = bytes.windows(24).position(|window| window == id).unwrap();
        bytes[at + 1] ^= 1;
    });
    let refused = read(&world.disk, OnDamage::Refuse).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused}");
    let (store, report) = read(&world.disk, OnDamage::Skip).unwrap();
    assert!(!report.damage.is_empty());
    assert_eq!(store.totals().queues, 1);
    assert_eq!(store.totals().messages, 1);
}
