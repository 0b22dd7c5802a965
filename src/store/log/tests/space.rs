//! Space is used again, and when there is none the store can be drained.

use super::fake::FakeDisk;
use super::model::{OneShard, Op, SEGMENT_LEN, World, apply, dump, id, record, supply, sync};
use crate::store::log::disk::Memory;
use crate::store::log::{Directory, LogId, LogOptions, LogStore, Promise};
use crate::store::{
    IdKind, Location, MemoryStore, Message, MessageKind, QueueChange, QueueRecord, Store,
    StoreError,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;
use std::time::Instant;

pub const KIND: MessageKind = MessageKind::Message { notify: false };

/// A queue without anything that another could have.
pub fn queue(world: &mut World, number: u8) -> QueueRecord {
    let mut queue = record(&mut world.rng);
    queue.recipient_id = id(1, number);
    queue.sender_id = id(2, number);
    queue.link_id = None;
    queue.notifier = None;
    world.make(Op::Create(Box::new(queue.clone()), None));
    queue
}

#[test]
fn a_stream_of_messages_needs_a_few_segments_for_ever() {
    let mut world = World::new(1, Promise::Disk);
    let old = queue(&mut world, 0);
    let queue = queue(&mut world, 1);
    world.make(Op::Push(old.recipient_id, [1; 24], KIND, vec![1; 3000]));
    for n in 0..2000_u32 {
        let body = vec![2; 3000];
        world.make(Op::Push(queue.recipient_id, [n as u8; 24], KIND, body));
        world.make(Op::Pop(queue.recipient_id));
        world.history.clear();
        sync(world.store());
        while world.store().maintain(SEGMENT_LEN) {}
    }
    let files = world.disk.names().len();
    assert!(files <= 9, "{files} segments for two messages at a time");
    assert_eq!(dump(world.store()), dump(&world.model));
}

#[test]
fn a_queue_that_changes_for_ever_needs_a_few_segments() {
    let mut world = World::new(2, Promise::Disk);
    let queue = queue(&mut world, 1);
    for day in 0..5000 {
        world.make(Op::Update(queue.recipient_id, QueueChange::Day(day)));
        world.history.clear();
        sync(world.store());
        while world.store().maintain(1000) {}
    }
    let files = world.disk.names().len();
    assert!(files <= 9, "{files} segments for one queue");
    assert_eq!(dump(world.store()), dump(&world.model));
}

#[test]
fn nothing_is_used_again_before_it_is_durable_that_nobody_needs_it() {
    let mut world = World::new(3, Promise::Disk);
    let queue = queue(&mut world, 1);
    let before = world.disk.names().len();
    for n in 0..100 {
        world.make(Op::Push(queue.recipient_id, [n; 24], KIND, vec![2; 3000]));
        world.make(Op::Pop(queue.recipient_id));
        while world.store().maintain(SEGMENT_LEN) {}
    }
    let unsynced = world.disk.names().len();
    assert!(unsynced > before + 15, "{unsynced}");
    sync(world.store());
    supply(world.store());
    // Durable, but no record says so that would be found after a loss of power.
    assert_eq!(world.disk.names().len(), unsynced);
    world.store().maintain(0);
    sync(world.store());
    supply(world.store());
    assert!(world.disk.names().len() < unsynced);
}

#[test]
fn a_full_disk_refuses_what_fills_it_and_lets_it_be_drained() {
    let mut world = World::new(4, Promise::Disk);
    let queue = queue(&mut world, 1);
    world.disk.limit(Some(24 * SEGMENT_LEN));
    let store = world.store.as_mut().unwrap();
    let push = |store: &mut _| {
        let push = Op::Push(queue.recipient_id, [1; 24], KIND, vec![3; 3000]);
        apply(store, &push)
    };
    let mut pushed = 0;
    loop {
        supply(store);
        match push(store) {
            Ok(_) => pushed += 1,
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                break;
            }
        }
        sync(store);
        store.maintain(SEGMENT_LEN);
        assert!(pushed < 1000);
    }
    assert!(pushed > 50, "only {pushed} messages fit");
    let mut other = queue.clone();
    (other.recipient_id, other.sender_id) = (id(1, 2), id(2, 2));
    // The log of queues is another one and has room; what still fits is taken.
    let _ = apply(store, &Op::Create(Box::new(other), None));
    let Some(Location::Queue(slot)) = store.find(IdKind::Recipient, &queue.recipient_id) else {
        panic!("the queue is lost");
    };
    // Everything that makes space works, the disk being full all the while.
    store.update(slot, QueueChange::Day(8)).unwrap();
    for _ in 0..pushed / 2 {
        assert_eq!(store.head(slot).unwrap().body, [3; 3000]);
        store.pop_message(slot).unwrap();
        sync(store);
        store.maintain(SEGMENT_LEN);
        supply(store);
    }
    // And then messages come in again.
    for _ in 0..pushed / 4 {
        push(store).unwrap();
        sync(store);
        store.maintain(SEGMENT_LEN);
        supply(store);
    }
    let count = store.message_count(slot);
    assert_eq!(count, pushed - pushed / 2 + pushed / 4);
    let before = dump(store);
    store.delete(slot).unwrap();
    sync(store);
    world.store = None;
    let (store, _) = super::model::open(&world.disk, Promise::Disk).unwrap();
    assert_ne!(dump(&store), before);
    assert_eq!(store.totals().messages, 0);
}

#[test]
fn a_full_disk_does_not_keep_a_store_from_opening() {
    let mut world = World::new(5, Promise::Disk);
    let queue = queue(&mut world, 1);
    world.make(Op::Push(queue.recipient_id, [1; 24], KIND, vec![3; 3000]));
    world.disk.limit(Some(0));
    world.reopen(0);
    assert_eq!(dump(world.store()), dump(&world.model));
}

#[test]
fn a_disk_too_small_for_anything_refuses_everything() {
    let disk = FakeDisk::default();
    disk.limit(Some(SEGMENT_LEN));
    let (mut store, _) = super::model::open(&disk, Promise::Disk).unwrap();
    let queue = record(&mut ChaCha20Rng::seed_from_u64(1));
    let refused = apply(&mut store, &Op::Create(Box::new(queue), None));
    assert_eq!(refused, Err(StoreError::Full));
}

#[test]
fn files_of_a_file_system_serve_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_len: 1 << 20,
        promise: Promise::Disk,
        index_key: [1; 16],
    };
    let mut model = MemoryStore::new();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let path = dir.path().join("shard");
    let open = || {
        let disk = Directory::open(&path).unwrap();
        LogStore::open(disk, 0, Arc::new(OneShard), &options).unwrap()
    };
    for _ in 0..3 {
        let (mut store, _) = open();
        assert_eq!(dump(&store), dump(&model));
        for _ in 0..20 {
            let record = record(&mut rng);
            let link = record.link_id.map(|_| super::model::content(&mut rng));
            let push = Op::Push(record.recipient_id, [3; 24], KIND, vec![4; 15_000]);
            let create = Op::Create(Box::new(record), link);
            for op in [create, push] {
                while let Some(prepare) = store.wants_segment() {
                    store.segment_ready(prepare.run()).unwrap();
                }
                assert_eq!(apply(&mut store, &op), apply(&mut model, &op));
            }
            // A change that was refused leaves nothing to sync.
            if let Some(request) = store.pending_sync() {
                let upto = request.run().unwrap();
                store.synced(upto);
            }
            assert_eq!(store.durable(), store.last());
        }
        assert_eq!(dump(&store), dump(&model));
    }
}

/// Milliseconds this thread has been running.
fn busy_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: u64 = stat.split(' ').next().unwrap().parse().unwrap();
    nanos / 1_000_000
}

/// `cargo test --release -p smp-server --lib -- --ignored --nocapture a_million`
#[test]
#[ignore = "prints measurements"]
fn a_million_queues_open_quickly_and_take_little_memory() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let queues: u32 = std::env::var("QUEUES").map_or(1_000_000, |n| n.parse().unwrap());
    let options = LogOptions {
        segment_len: 64 << 20,
        promise: Promise::Process,
        index_key: [1; 16],
    };
    let disk = Directory::open(&dir.path().join("shard")).unwrap();
    let open = || LogStore::open(disk.clone(), 0, Arc::new(OneShard), &options).unwrap();
    let (mut store, _) = open();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut queue = record(&mut rng);
    (queue.link_id, queue.notifier) = (None, None);
    let started = Instant::now();
    for n in 0..queues {
        use rand::Rng;
        (queue.recipient_id, queue.sender_id) = (rng.random(), rng.random());
        queue.notifier = (n % 2 == 0).then(|| crate::store::NotifierRecord {
            notifier_id: rng.random(),
            auth_key: queue.recipient_keys[0],
            dh_secret: queue.rcv_dh_secret.clone(),
            service_id: None,
        });
        if let Some(prepare) = store.wants_segment() {
            store.segment_ready(prepare.run()).unwrap();
        }
        let (slot, _) = store.create(&queue, None).unwrap();
        if n % 10 == 0 {
            let message = Message {
                id: [1; 24],
                time_ns: 1,
                kind: KIND,
                body: &[7; 200],
            };
            store.push_message(slot, message).unwrap();
        }
    }
    println!("{queues} queues created in {:?}", started.elapsed());
    let per_queue = |store: &LogStore| store.footprint().heap as f64 / f64::from(queues);
    println!("{:.1} bytes on the heap each as created", per_queue(&store));
    let request = store.pending_sync().unwrap();
    store.synced(request.run().unwrap());
    drop(store);
    let (started, busy) = (Instant::now(), busy_ms());
    let (store, report) = open();
    let busy = busy_ms() - busy;
    println!(
        "replayed in {:?}, {busy} ms of them busy: {report:?}",
        started.elapsed()
    );
    println!("{:.1} bytes on the heap each as opened", per_queue(&store));
    println!("{:?}", store.footprint());
    assert_eq!(store.totals().queues, u64::from(queues));
    assert_eq!(
        store
            .find(IdKind::Recipient, &queue.recipient_id)
            .map(|_| ()),
        Some(())
    );
}

/// Lets no more segments be made, and leaves some ready.
fn run_out(world: &mut World, ready: usize) {
    supply(world.store());
    world.disk.limit(Some(0));
    let journal = &mut world.store().journal;
    journal.ready.truncate(ready);
    assert_eq!(journal.ready.len(), ready);
}

#[test]
fn changes_and_stamps_on_a_full_disk_leave_room_for_what_frees_space() {
    let mut world = World::new(6, Promise::Disk);
    let (first, second) = (queue(&mut world, 0), queue(&mut world, 1));
    for n in 0..30 {
        world.make(Op::Push(first.recipient_id, [n; 24], KIND, vec![1; 3000]));
    }
    run_out(&mut world, 4);
    let store = world.store.as_mut().unwrap();
    let slot = |store: &_, queue: &QueueRecord| match Store::find(
        store,
        IdKind::Recipient,
        &queue.recipient_id,
    ) {
        Some(Location::Queue(slot)) => slot,
        other => panic!("{other:?}"),
    };
    // Faster than space is made: everybody comes back on a new day, and everybody changes keys.
    let slots = [slot(store, &first), slot(store, &second)];
    let stamp = |day| QueueChange::Day(day);
    let change = |_| QueueChange::RecipientKeys(first.recipient_keys.clone());
    let mut refused = 0;
    for changes in [&stamp as &dyn Fn(u32) -> QueueChange, &change] {
        for day in 0..2000_u32 {
            for slot in slots {
                refused += u32::from(store.update(slot, changes(day)).is_err());
            }
        }
    }
    assert!(refused > 1000, "{refused}");
    assert!(store.journal.ready.len() >= 2);
    // What frees space works at once, and then everything else.
    for _ in 0..10 {
        store.pop_message(slots[0]).unwrap();
    }
    for _ in 0..4 {
        while store.maintain(SEGMENT_LEN) {}
        sync(store);
    }
    assert!(store.journal.ready.len() > 3);
    store.update(slots[0], stamp(1)).unwrap();
    store.delete(slots[1]).unwrap();
    assert_eq!(store.message_count(slots[0]), 20);
}

#[test]
fn segments_that_need_no_copies_are_freed_although_there_is_no_room_for_others() {
    let mut world = World::new(7, Promise::Disk);
    let (old, busy) = (queue(&mut world, 0), queue(&mut world, 1));
    let push = |world: &mut World, queue: &QueueRecord| {
        world.make(Op::Push(queue.recipient_id, [1; 24], KIND, vec![1; 3000]));
    };
    let tail = |world: &mut World, log| world.store().journal.log(log).tail;
    // Leftovers that nobody needs.
    for _ in 0..10 {
        push(&mut world, &old);
    }
    for _ in 0..40 {
        push(&mut world, &busy);
        world.make(Op::Pop(busy.recipient_id));
    }
    while world.store().maintain(1000) {}
    sync(world.store());
    for _ in 0..10 {
        world.make(Op::Pop(old.recipient_id));
    }
    let leftovers = world.store().journal.log(LogId::Leftovers).clone();
    assert!(leftovers.segments.len() > 1);
    // Messages in the oldest segment for which there is no room, and records of queues of which only the newest counts.
    push(&mut world, &old);
    let end = world.store().journal.log(LogId::Leftovers).end;
    assert!(end + 3000 > SEGMENT_LEN, "{end}");
    for _ in 0..20 {
        push(&mut world, &busy);
        world.make(Op::Pop(busy.recipient_id));
    }
    for id in [busy.recipient_id, old.recipient_id].repeat(100) {
        world.make(Op::Update(id, QueueChange::Day(3)));
    }
    let queues = tail(&mut world, LogId::Queues);
    run_out(&mut world, 1);
    world.store().empty_oldest(LogId::Messages);
    assert!(!world.store().maintain(SEGMENT_LEN));
    assert!(world.store().cleaning.is_some());
    assert!(tail(&mut world, LogId::Queues) > queues);
    // These may hold acknowledgements of what is being emptied.
    assert_eq!(tail(&mut world, LogId::Leftovers), leftovers.tail);
    for _ in 0..3 {
        sync(world.store());
        while world.store().maintain(SEGMENT_LEN) {}
    }
    assert!(tail(&mut world, LogId::Leftovers) > leftovers.tail);
    assert_eq!(dump(world.store()), dump(&world.model));
}

#[test]
fn a_segment_in_which_something_is_not_found_is_not_freed() {
    let mut world = World::new(8, Promise::Disk);
    let (old, busy) = (queue(&mut world, 0), queue(&mut world, 1));
    world.make(Op::Push(old.recipient_id, [1; 24], KIND, vec![1; 3000]));
    for _ in 0..20 {
        world.make(Op::Push(busy.recipient_id, [1; 24], KIND, vec![1; 3000]));
        world.make(Op::Pop(busy.recipient_id));
    }
    let journal = &mut world.store().journal;
    let before = journal.log(LogId::Messages).clone();
    let begin = super::super::control::HEADER_LEN;
    let oldest = journal.segment_mut(before.segments[0]).unwrap();
    oldest.memory.write(begin, &[0xff; 4]);
    while world.store().maintain(SEGMENT_LEN) {}
    assert!(world.store().unreadable[LogId::Messages as usize]);
    assert_eq!(world.store().journal.log(LogId::Messages).tail, before.tail);
    // Everything else goes on.
    world.make(Op::Push(old.recipient_id, [2; 24], KIND, vec![1; 3000]));
    assert_eq!(dump(world.store()), dump(&world.model));
}

#[test]
fn numbers_of_removed_segments_are_given_again() {
    let mut world = World::new(9, Promise::Disk);
    let busy = queue(&mut world, 1);
    let mut most = 0;
    for _ in 0..5 {
        for n in 0..100 {
            world.make(Op::Push(busy.recipient_id, [n; 24], KIND, vec![2; 3000]));
        }
        for _ in 0..100 {
            world.make(Op::Pop(busy.recipient_id));
        }
        for _ in 0..3 {
            sync(world.store());
            while world.store().maintain(SEGMENT_LEN) {}
        }
        supply(world.store());
        let names = world.disk.names();
        assert!(names.len() < 12, "{names:?}");
        let highest = names.last().unwrap().clone();
        most = most.max(highest[..5].parse().unwrap());
    }
    assert!(most < 60, "{most}");
}

#[test]
fn segments_are_brought_into_memory_before_they_are_used() {
    let mut world = World::new(10, Promise::Disk);
    let busy = queue(&mut world, 1);
    world.reopen(1);
    let mut warmed = 0;
    for n in 0..200 {
        world.make(Op::Push(busy.recipient_id, [n; 24], KIND, vec![2; 3000]));
        world.make(Op::Pop(busy.recipient_id));
        sync(world.store());
        while world.store().maintain(SEGMENT_LEN) {}
        supply(world.store());
        while let Some(warm) = world.store().cold_segment() {
            warm.run().unwrap();
            warmed += 1;
        }
        let journal = &world.store().journal;
        let next = journal.ready.last().and_then(|file| journal.segment(*file));
        assert!(next.unwrap().is_warm);
    }
    // Each time one is used again.
    assert!((20..80).contains(&warmed), "{warmed}");
}
