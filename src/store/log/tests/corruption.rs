//! Damage is refused with its place, or recovered from exactly; nothing wrong is ever shown.

use super::fake::FakeDisk;
use super::model::{SEGMENT_LEN, World, dump, open, sync};
use crate::store::log::{LogId, OpenError, Promise};
use crate::store::{MemoryStore, Store};
use rand::Rng;
use std::collections::BTreeSet;

/// A world of which all but the last few changes are known to be durable, and the states it had
/// from then on.
fn world(seed: u64) -> (World, BTreeSet<String>) {
    let (world, _, states) = old_world(seed);
    (world, states)
}

/// The same, and all states it ever had.
fn old_world(seed: u64) -> (World, BTreeSet<String>, BTreeSet<String>) {
    let mut world = World::new(seed, Promise::Disk);
    let mut old = BTreeSet::from([dump(&world.model)]);
    for _ in 0..200 {
        world.step();
        old.insert(dump(&world.model));
        world.housekeeping();
    }
    sync(world.store());
    let mut states = BTreeSet::from([dump(&world.model)]);
    // At least one record says that all the others were durable.
    let (durable, before) = (world.store().durable(), world.store().last());
    assert_eq!(durable, before);
    while world.store().last() < crate::store::Lsn(before.0 + 3) {
        world.step();
        states.insert(dump(&world.model));
    }
    sync(world.store());
    world.store = None;
    old.extend(states.iter().cloned());
    (world, old, states)
}

/// What tells a state from the most similar one.
fn difference(state: &str, states: &BTreeSet<String>) -> String {
    let differing = |other: &String| -> Vec<String> {
        let pairs = state.lines().zip(other.lines()).filter(|(a, b)| a != b);
        pairs
            .map(|(a, b)| format!("{a}\ninstead of\n{b}"))
            .collect()
    };
    let closest = states.iter().map(differing).min_by_key(Vec::len);
    format!(
        "a state that never was\n{}",
        closest.unwrap_or_default().join("\n")
    )
}

/// Opens a damaged copy. `true` when it opened.
fn check(disk: &FakeDisk, states: &BTreeSet<String>, what: &str) -> bool {
    match open(disk, Promise::Disk) {
        Ok((store, _)) => {
            let state = dump(&store);
            assert!(
                states.contains(&state),
                "{what}: {}",
                difference(&state, states)
            );
            true
        }
        Err(OpenError::Damaged(damage)) => {
            assert!(disk.names().contains(&damage.file), "{what}: {damage}");
            assert!(damage.offset <= SEGMENT_LEN as u64, "{what}: {damage}");
            false
        }
        Err(OpenError::Version { .. }) => panic!("{what}: a version out of nothing"),
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn a_flipped_bit_is_refused_or_was_never_promised() {
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..8 {
        let (mut world, states) = world(seed);
        let names = world.disk.names();
        for _ in 0..150 {
            let name = &names[world.rng.random_range(0..names.len())];
            let offset = world.rng.random_range(0..SEGMENT_LEN);
            let disk = world.disk.copy();
            disk.edit(name, |bytes| {
                bytes[offset] ^= 1 << world.rng.random_range(0..8)
            });
            if check(&disk, &states, &format!("seed {seed}: {name} at {offset}")) {
                opened += 1;
            } else {
                refused += 1;
            }
        }
    }
    // Most bytes are padding, free, or of records nobody needs; but many are not.
    assert!(
        refused > 100 && opened > 100,
        "{refused} refused, {opened} opened"
    );
}

/// A stretch may take with it every record that says that those before it were durable.
#[test]
fn a_zeroed_or_overwritten_stretch_is_refused_or_leaves_a_state_that_once_was() {
    for seed in 20..30 {
        let (mut world, states, _) = old_world(seed);
        let names = world.disk.names();
        for _ in 0..60 {
            let name = &names[world.rng.random_range(0..names.len())];
            let start = world.rng.random_range(0..SEGMENT_LEN);
            let end = world.rng.random_range(start..SEGMENT_LEN);
            let byte = [0, 0xff, 0x20][world.rng.random_range(0..3)];
            let disk = world.disk.copy();
            disk.edit(name, |bytes| bytes[start..end].fill(byte));
            check(
                &disk,
                &states,
                &format!("seed {seed}: {name} {start}..{end} = {byte}"),
            );
        }
    }
}

#[test]
fn a_truncated_segment_is_refused_unless_it_is_unused() {
    for seed in 40..46 {
        let (mut world, states) = world(seed);
        for name in world.disk.names() {
            let len = world.rng.random_range(0..SEGMENT_LEN);
            let disk = world.disk.copy();
            disk.edit(&name, |bytes| bytes.truncate(len));
            check(&disk, &states, &format!("seed {seed}: {name} cut to {len}"));
        }
    }
}

#[test]
fn missing_swapped_and_copied_segments_are_refused_unless_they_are_unused() {
    for seed in 50..56 {
        let (world, states, _) = old_world(seed);
        let names = world.disk.names();
        for (i, name) in names.iter().enumerate() {
            let what = format!("seed {seed}: {name}");
            let disk = world.disk.copy();
            crate::store::log::Disk::remove(&disk, name).unwrap();
            check(&disk, &states, &format!("{what} is missing"));
            let other = &names[(i + 1) % names.len()];
            let (mine, others) = (world.disk.content(name), world.disk.content(other));
            let in_use = |bytes: &[u8]| bytes[..8] == *b"smp-log\n";
            let disk = world.disk.copy();
            disk.edit(name, |bytes| bytes.clone_from(&others));
            disk.edit(other, |bytes| bytes.clone_from(&mine));
            let opened = check(&disk, &states, &format!("{what} swapped"));
            assert!(
                !opened || !(in_use(&mine) || in_use(&others)),
                "{what} swapped"
            );
            let disk = world.disk.copy();
            disk.edit("00099.seg", |bytes| bytes.clone_from(&mine));
            assert!(
                !check_copy(&disk, &states, &what) || !in_use(&mine),
                "{what} copied"
            );
        }
    }
}

/// A file may come back as it was earlier, from a copy or a disk that lost a write.
#[test]
fn a_segment_of_an_earlier_time_is_refused_or_leaves_a_state_that_once_was() {
    let (mut refused, mut opened) = (0, 0);
    for seed in 80..88 {
        let mut world = World::new(seed, Promise::Disk);
        let mut states = BTreeSet::from([dump(&world.model)]);
        let mut copies = Vec::new();
        for i in 0..200 {
            if i % 25 == 0 {
                sync(world.store());
                copies.push(world.disk.copy());
            }
            world.step();
            states.insert(dump(&world.model));
            world.housekeeping();
        }
        sync(world.store());
        world.store = None;
        for copy in &copies {
            for name in copy.names() {
                let earlier = copy.content(&name);
                let disk = world.disk.copy();
                if !disk.names().contains(&name) || disk.content(&name) == earlier {
                    continue;
                }
                disk.edit(&name, |bytes| *bytes = earlier);
                match check(&disk, &states, &format!("seed {seed}: an earlier {name}")) {
                    true => opened += 1,
                    false => refused += 1,
                }
            }
        }
    }
    assert!(
        refused > 50 && opened > 5,
        "{refused} refused, {opened} opened"
    );
}

#[test]
fn a_segment_in_the_place_of_another_is_refused_and_an_unused_one_is_not_taken_for_it() {
    for seed in 90..96 {
        let (world, states, _) = old_world(seed);
        let names = world.disk.names();
        for name in &names {
            for other in names.iter().filter(|other| *other != name) {
                let content = world.disk.content(other);
                let is_used = content.starts_with(b"smp-log\n");
                let disk = world.disk.copy();
                disk.edit(name, |bytes| *bytes = content);
                let what = format!("seed {seed}: {other} in the place of {name}");
                let opened = check(&disk, &states, &what);
                assert!(!opened || !is_used, "{what}");
            }
        }
    }
}

#[test]
fn a_segment_with_more_bytes_is_refused_unless_it_is_unused() {
    for seed in 100..104 {
        let (mut world, states) = world(seed);
        for name in world.disk.names() {
            let more = world.rng.random_range(1..SEGMENT_LEN);
            let disk = world.disk.copy();
            let mut is_used = false;
            disk.edit(&name, |bytes| {
                is_used = bytes.starts_with(b"smp-log\n");
                bytes.resize(SEGMENT_LEN + more, 7);
            });
            let opened = check(
                &disk,
                &states,
                &format!("seed {seed}: {more} more in {name}"),
            );
            assert_eq!(opened, !is_used, "seed {seed}: {more} more in {name}");
        }
    }
}

/// Every byte of a world in which all logs are in use and a segment is half emptied.
fn flip_every_byte(seed: u64, step: usize) {
    let (mut world, states) = compacting_world(seed);
    let (mut refused, mut opened) = (0, 0);
    for name in world.disk.names() {
        for offset in (seed as usize % step..SEGMENT_LEN).step_by(step) {
            let disk = world.disk.copy();
            let bit = world.rng.random_range(0..8);
            disk.edit(&name, |bytes| bytes[offset] ^= 1 << bit);
            match check(&disk, &states, &format!("seed {seed}: {name} at {offset}")) {
                true => opened += 1,
                false => refused += 1,
            }
        }
    }
    assert!(refused * 10 > opened, "{refused} refused, {opened} opened");
}

/// A world that is being compacted, with messages in the leftovers.
fn compacting_world(seed: u64) -> (World, BTreeSet<String>) {
    for seed in seed * 1000.. {
        let (mut world, states) = world_at(seed, |world| {
            let store = world.store();
            let leftovers = store.journal.log(LogId::Leftovers);
            store.cleaning.is_some() && !leftovers.segments.is_empty()
        });
        if !states.is_empty() {
            world.store = None;
            return (world, states);
        }
    }
    unreachable!("no world is being compacted")
}

/// A world of which everything is durable at a certain moment, and its states from then on; none
/// when that does not come.
fn world_at(seed: u64, is_now: impl Fn(&mut World) -> bool) -> (World, BTreeSet<String>) {
    let mut world = World::new(seed, Promise::Disk);
    for i in 0..400 {
        world.step();
        world.housekeeping();
        if i > 100 && is_now(&mut world) {
            sync(world.store());
            let mut states = BTreeSet::from([dump(&world.model)]);
            // At least one record says that all the others were durable.
            let before = world.store().last();
            while world.store().last() < crate::store::Lsn(before.0 + 3) {
                world.step();
                states.insert(dump(&world.model));
            }
            sync(world.store());
            return (world, states);
        }
    }
    (world, BTreeSet::new())
}

#[test]
fn a_byte_flipped_while_a_store_is_compacted_is_refused_or_was_never_promised() {
    for seed in 1..5 {
        flip_every_byte(seed, 211);
    }
}

#[test]
#[ignore = "takes minutes"]
fn any_byte_flipped_is_refused_or_was_never_promised() {
    for seed in 10..14 {
        flip_every_byte(seed, 1);
    }
}

fn check_copy(disk: &FakeDisk, states: &BTreeSet<String>, what: &str) -> bool {
    check(disk, states, &format!("{what} copied"))
}

#[test]
fn what_was_there_when_a_store_was_closed_or_opened_is_never_taken_for_a_torn_end() {
    for seed in 70..76 {
        let mut world = World::new(seed, Promise::Disk);
        for _ in 0..40 {
            world.step();
        }
        // One sync for everything, and nothing comes after it but what the store does itself.
        match seed % 3 {
            0 => world.store().finish().unwrap(),
            1 => {
                sync(world.store());
                world.store().maintain(0);
                sync(world.store());
            }
            _ => {
                world.reopen(0);
            }
        }
        world.store = None;
        let states = BTreeSet::from([dump(&world.model)]);
        let mut refused = 0;
        for name in world.disk.names() {
            for offset in (0..SEGMENT_LEN).step_by(97) {
                let disk = world.disk.copy();
                disk.edit(&name, |bytes| bytes[offset] ^= 0x10);
                let what = format!("seed {seed}: {name} at {offset}");
                refused += u32::from(!check(&disk, &states, &what));
            }
        }
        assert!(refused > 5, "{refused}");
    }
}

#[test]
fn a_later_format_is_named() {
    let (world, _) = world(60);
    let name = world.disk.names()[0].clone();
    world.disk.edit(&name, |bytes| {
        bytes[..8].copy_from_slice(b"smp-log\n");
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes.copy_within(..64, 64);
    });
    let error = open(&world.disk, Promise::Disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{name} has format 2, which this release does not know")
    );
}

#[test]
fn an_empty_directory_is_an_empty_store() {
    let disk = FakeDisk::default();
    let (store, report) = open(&disk, Promise::Disk).unwrap();
    assert_eq!(dump(&store), dump(&MemoryStore::new()));
    assert_eq!(report.records, 0);
}
