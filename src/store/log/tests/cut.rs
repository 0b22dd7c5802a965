//! The files of a cut stay as they are, and are all that is needed.

use super::fake::FakeDisk;
use super::model::{Op, World, dump, id, open, record, supply, sync};
use crate::store::log::{Cut, Promise};
use crate::store::{MessageKind, QueueRecord, Store};
use rand::Rng;

const KIND: MessageKind = MessageKind::Message { notify: false };

/// A disk with the files of a cut as they are now, and nothing else.
fn copy(disk: &FakeDisk, cut: &Cut) -> FakeDisk {
    let copy = FakeDisk::default();
    for segment in &cut.segments {
        let mut bytes = disk.content(&segment.name);
        assert_eq!(bytes.len() as u64, segment.size);
        bytes.truncate(segment.len as usize);
        bytes.resize(segment.size as usize, 0);
        copy.edit(&segment.name, |content| *content = bytes);
    }
    copy
}

/// Lives, takes a cut, lives on, and opens what was copied.
fn cut_in_the_middle_of_life(seed: u64, promise: Promise) {
    // Shown when a test fails.
    println!("seed {seed}");
    let mut world = World::new(seed, promise);
    for _ in 0..world.rng.random_range(1..3) {
        for _ in 0..world.rng.random_range(0..200) {
            world.step();
            world.housekeeping();
        }
        if world.rng.random_bool(0.3) {
            world.reopen(0);
        }
    }
    // Often something is being synced, and a segment that was freed not attested.
    let request = world.store().pending_sync();
    for _ in 0..world.rng.random_range(0..60) {
        world.step();
        world.store().maintain(8000);
    }
    let expected = dump(world.store());
    let cut = world.store().cut();
    assert_eq!(cut.totals, world.store().totals());
    let at_once = copy(&world.disk, &cut);
    if let Some(request) = request {
        request.run().unwrap();
        world.store().synced(request.upto);
    }
    for _ in 0..world.rng.random_range(0..300) {
        world.step();
        world.housekeeping();
    }
    let later = copy(&world.disk, &cut);
    for segment in &cut.segments {
        let name = &segment.name;
        assert!(at_once.content(name) == later.content(name), "{name}");
    }
    let (mut copied, report) = open(&later, promise).unwrap();
    assert_eq!(report.dropped, 0);
    assert_eq!(dump(&copied), expected);
    assert_eq!(copied.totals(), cut.totals);
    // It can be used: what comes now is there after the next start.
    let queue = QueueRecord {
        recipient_id: [99; 24],
        sender_id: [98; 24],
        link_id: None,
        notifier: None,
        ..record(&mut world.rng)
    };
    copied.create(&queue, None).unwrap();
    copied.finish().unwrap();
    drop(copied);
    let (copied, _) = open(&later, promise).unwrap();
    assert_eq!(copied.totals().queues, cut.totals.queues + 1);
    world.store().end_cut();
}

#[test]
fn a_cut_has_everything_whatever_happens_while_it_is_copied() {
    for seed in 0..150 {
        cut_in_the_middle_of_life(seed, Promise::Disk);
        cut_in_the_middle_of_life(seed, Promise::Process);
    }
}

#[test]
fn files_of_a_cut_are_used_again_only_after_its_end() {
    let mut world = World::new(1, Promise::Disk);
    let mut queue = record(&mut world.rng);
    (queue.recipient_id, queue.sender_id) = (id(1, 1), id(2, 1));
    (queue.link_id, queue.notifier) = (None, None);
    world.make(Op::Create(Box::new(queue.clone()), None));
    let pass = |world: &mut World| {
        for n in 0..100 {
            world.make(Op::Push(queue.recipient_id, [n; 24], KIND, vec![2; 3000]));
            world.make(Op::Pop(queue.recipient_id));
            world.history.clear();
            sync(world.store());
            while world.store().maintain(20_000) {}
        }
    };
    for n in 0..20 {
        world.make(Op::Push(queue.recipient_id, [n; 24], KIND, vec![1; 3000]));
    }
    let cut = world.store().cut();
    assert!(world.store().is_cut());
    let expected = copy(&world.disk, &cut);
    while world.model.totals().messages > 0 {
        world.make(Op::Pop(queue.recipient_id));
    }
    pass(&mut world);
    let kept = copy(&world.disk, &cut);
    for segment in &cut.segments {
        let name = &segment.name;
        assert!(expected.content(name) == kept.content(name), "{name}");
    }
    // Another cut ends the first.
    let before = world.store().cut();
    assert!(before.segments.len() < cut.segments.len());
    let kept = world.disk.names().len();
    world.store().end_cut();
    assert!(!world.store().is_cut());
    pass(&mut world);
    supply(world.store());
    let files = world.disk.names().len();
    assert!(files < kept && files <= 11, "{kept}, then {files} segments");
    assert_eq!(dump(world.store()), dump(&world.model));
}

#[test]
fn a_cut_of_nothing_is_empty() {
    let mut world = World::new(1, Promise::Disk);
    let cut = world.store().cut();
    assert_eq!(cut.segments, []);
    let copied = copy(&world.disk, &cut);
    assert_eq!(open(&copied, Promise::Disk).unwrap().0.totals(), cut.totals);
}
