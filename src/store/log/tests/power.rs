//! What was promised survives loss of power and the end of the process.

use super::model::{FakeStore, World, dump, supply, sync};
use crate::store::Store;
use crate::store::log::{LogId, Promise};
use rand::Rng;

/// What was going on when the power went, and what it took: how many times.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// A segment was half emptied.
    compacting: u32,
    /// Messages had been moved.
    leftovers: u32,
    /// Segments waited for a sync to be used again.
    retired: u32,
    /// Changes were not durable yet.
    unsynced: u32,
    /// Records behind a missing one did not count.
    dropped: u32,
}

impl Seen {
    fn note(&mut self, store: &FakeStore) {
        self.compacting += u32::from(store.cleaning.is_some());
        let leftovers = store.journal.log(LogId::Leftovers);
        self.leftovers += u32::from(!leftovers.segments.is_empty());
        self.retired += u32::from(!store.journal.retired.is_empty());
        self.unsynced += u32::from(store.durable() < store.last());
    }

    fn add(&mut self, other: Self) {
        self.compacting += other.compacting;
        self.leftovers += other.leftovers;
        self.retired += other.retired;
        self.unsynced += other.unsynced;
        self.dropped += other.dropped;
    }

    fn least(&self) -> u32 {
        let of_store = self.compacting.min(self.leftovers).min(self.retired);
        of_store.min(self.unsynced).min(self.dropped)
    }
}

/// Runs a life of several powers: changes, syncs, compaction, and then the power goes.
fn lose_power_again_and_again(seed: u64, promise: Promise) -> Seen {
    let mut seen = Seen::default();
    // Shown when a test fails.
    println!("seed {seed}");
    let mut world = World::new(seed, promise);
    world.is_opening_troubled = !seed.is_multiple_of(4);
    for _ in 0..world.rng.random_range(2..5) {
        let steps = world.rng.random_range(0..150);
        for _ in 0..steps {
            world.step();
            world.housekeeping();
        }
        // Often the power goes during a sync: what is written meanwhile is not promised.
        let request = world.store().pending_sync();
        if let Some(request) = request {
            let is_early = world.rng.random_bool(0.5);
            if is_early {
                request.run().unwrap();
            }
            for _ in 0..world.rng.random_range(0..60) {
                world.step();
                world.store().maintain(8000);
            }
            if is_early {
                world.store().synced(request.upto);
                // Whatever was given up meanwhile must not be used again yet.
                for _ in 0..world.rng.random_range(0..100) {
                    world.step();
                }
            }
        }
        if world.rng.random_bool(0.5) {
            // A segment stays half emptied.
            world.store().maintain(1);
        }
        let promised = match promise {
            Promise::Disk => world.promised(),
            // Only the process may end.
            Promise::Process => 0,
        };
        seen.note(world.store());
        world.disk.lose_power(&mut world.rng);
        let report = world.reopen(promised);
        seen.dropped += u32::from(report.dropped > 0);
    }
    seen
}

#[test]
fn nothing_that_was_durable_is_lost_with_the_power() {
    let mut seen = Seen::default();
    for seed in 0..100 {
        seen.add(lose_power_again_and_again(seed, Promise::Disk));
    }
    // Every kind of moment was among those.
    assert!(seen.least() >= 10, "{seen:?}");
}

#[test]
#[ignore = "takes minutes"]
fn nothing_that_was_durable_is_lost_with_the_power_in_many_worlds() {
    let mut seen = Seen::default();
    for seed in 10_000..20_000 {
        seen.add(lose_power_again_and_again(seed, Promise::Disk));
    }
    println!("{seen:?}");
}

#[test]
fn whoever_promises_less_still_gets_a_state_that_once_was() {
    for seed in 0..40 {
        lose_power_again_and_again(seed, Promise::Process);
    }
}

#[test]
fn nothing_is_lost_with_the_process() {
    for seed in 0..80 {
        let mut world = World::new(seed, Promise::Process);
        for _ in 0..3 {
            for _ in 0..world.rng.random_range(0..120) {
                world.step();
                world.housekeeping();
            }
            assert_eq!(world.store().durable(), world.store().last());
            let promised = world.promised();
            // It dies within one of the next changes.
            let life = world.rng.random_range(0..4000);
            world.disk.kill_after(Some(life));
            for _ in 0..3 {
                world.step();
            }
            world.disk.kill_after(None);
            world.reopen(promised);
        }
    }
}

#[test]
fn power_lost_while_opening_changes_nothing() {
    for seed in 0..80 {
        let mut world = World::new(seed, Promise::Disk);
        for _ in 0..60 {
            world.step();
            world.housekeeping();
        }
        let mut promised = world.promised();
        for _ in 0..3 {
            world.disk.lose_power(&mut world.rng);
            world.reopen(promised);
            // Opened, and nothing done: all that is there was made durable.
            promised = world.history.len();
            assert_eq!(world.promised(), promised);
        }
        supply(world.store());
        sync(world.store());
        assert_eq!(dump(world.store()), dump(&world.model));
    }
}

/// Kernels forget what a sync could not write, but go on to show it: it must be written anew.
#[test]
fn what_a_failed_sync_forgot_is_not_promised_before_it_is_written_again() {
    for seed in 0..80 {
        println!("seed {seed}");
        let mut world = World::new(seed, Promise::Disk);
        for _ in 0..world.rng.random_range(1..120) {
            world.step();
            world.housekeeping();
        }
        let promised = world.promised();
        world.disk.break_sync_after(Some(0));
        let Some(request) = world.store().pending_sync() else {
            continue;
        };
        let failure = request.run().unwrap_err();
        assert!(world.disk.names().contains(&failure.file), "{failure}");
        // Nothing is retried, and nothing more is promised.
        assert!(world.store().pending_sync().is_none());
        world.store().finish().unwrap_err();
        assert_eq!(world.promised(), promised);
        // The process ends, the system does not.
        world.reopen(promised);
        let promised = world.promised();
        assert_eq!(promised, world.history.len());
        world.disk.lose_power(&mut world.rng);
        world.reopen(promised);
    }
}
