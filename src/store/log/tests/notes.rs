//! Waiting notifications come back from their file, as far as it can be read.

use super::fake::FakeDisk;
use super::model::{id, open, options, record};
use crate::crypto::message::BOXED_META_LEN;
use crate::store::log::notes::{FILE, Notes, NotesBatch, read_notes};
use crate::store::log::{LogStore, Partitions, Promise, StoreDirectory};
use crate::store::{Id, IdKind, Location, Note, NotifierRecord, SealedMeta, Store};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

fn own(n: u8) -> Note {
    Note::new([n; 24], i64::from(n))
}

fn sealed(n: u8) -> Note {
    let meta = SealedMeta {
        nonce: [n; 24],
        boxed: [n; BOXED_META_LEN],
    };
    Note {
        sealed: Some(Box::new(meta)),
        ..own(n)
    }
}

fn batch(entries: &[(Id, Vec<Note>)]) -> NotesBatch {
    let mut batch = NotesBatch::default();
    for (notifier_id, notes) in entries {
        batch.put(notifier_id, notes);
    }
    batch
}

#[test]
fn the_last_that_was_saved_of_a_notifier_counts() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, Promise::Disk).unwrap();
    assert_eq!(store.notes(), Notes::new());
    let mut file = store.notes_file();
    assert!(file.wants_all());
    let first = [([1; 24], vec![own(1), sealed(2)]), ([2; 24], vec![own(3)])];
    file.replace(vec![batch(&first), batch(&[([3; 24], vec![own(4)])])])
        .unwrap();
    assert!(!file.wants_all());
    let gone = batch(&[([2; 24], vec![]), ([4; 24], vec![])]);
    let newer = batch(&[([3; 24], vec![own(4), own(5)])]);
    file.append(vec![gone, newer]).unwrap();
    let expected = Notes::from([
        ([1; 24], vec![own(1), sealed(2)]),
        ([3; 24], vec![own(4), own(5)]),
    ]);
    assert_eq!(store.notes(), expected);
    // What comes behind a loss is another file.
    assert!(store.notes_file().wants_all());
    store.drop_notes().unwrap();
    assert_eq!(store.notes(), Notes::new());
}

#[test]
fn a_file_that_has_doubled_is_written_anew() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, Promise::Disk).unwrap();
    let mut file = store.notes_file();
    file.replace(vec![NotesBatch::default()]).unwrap();
    let large = || batch(&[([1; 24], vec![own(1); 2000])]);
    let mut appended = 0;
    while !file.wants_all() {
        file.append(vec![large()]).unwrap();
        appended += 1;
        assert!(appended < 10, "it grows without end");
    }
    assert!(appended > 1);
    file.replace(vec![large()]).unwrap();
    assert!(!file.wants_all());
    assert_eq!(store.notes().len(), 1);
}

#[test]
fn a_torn_end_costs_the_last_batch_alone() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, Promise::Disk).unwrap();
    let mut file = store.notes_file();
    let first = [([1; 24], vec![own(1), own(2)])];
    file.replace(vec![batch(&first)]).unwrap();
    let whole = disk.content(FILE);
    file.append(vec![batch(&[
        ([1; 24], vec![]),
        ([2; 24], vec![sealed(3)]),
    ])])
    .unwrap();
    let longer = disk.content(FILE);
    let before = Notes::from(first);
    let after = Notes::from([([2; 24], vec![sealed(3)])]);
    for end in 0..=longer.len() {
        let (notes, unread) = read_notes(&longer[..end]);
        let expected = match end {
            _ if end == longer.len() => (&after, 0),
            _ if end >= whole.len() => (&before, end - whole.len()),
            8 => (&Notes::new(), 0),
            _ => {
                assert_eq!(notes, Notes::new());
                continue;
            }
        };
        assert_eq!((&notes, unread), expected, "{end}");
    }
    // A flipped bit anywhere costs its batch and what follows.
    for at in 0..longer.len() {
        let mut damaged = longer.clone();
        damaged[at] ^= 0x10;
        let (notes, unread) = read_notes(&damaged);
        let expected = if at < whole.len() {
            &Notes::new()
        } else {
            &before
        };
        assert_eq!(&notes, expected, "{at}");
        assert!(unread > 0);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(mut bytes: Vec<u8>, begin: bool) {
        if begin {
            bytes.splice(0..0, *b"smp-ntf\x01");
        }
        let (_, unread) = read_notes(&bytes);
        prop_assert!(unread <= bytes.len());
    }
}

/// The partition is the first byte.
#[derive(Debug)]
struct Shards(u16);

impl Partitions for Shards {
    fn partition(&self, id: &Id) -> u16 {
        u16::from(id[0])
    }

    fn shard(&self, partition: u16) -> u16 {
        partition * self.0 / 256
    }
}

fn partitions(shards: u16) -> Arc<dyn Partitions> {
    Arc::new(Shards(shards))
}

/// The notes of all shards, each with the queue of its notifier.
fn all_notes(directory: &StoreDirectory) -> Notes {
    let mut all = Notes::new();
    for shard in 0..directory.shards() {
        let partitions = partitions(directory.shards());
        let options = options(Promise::Disk);
        let (store, _) = directory.open_shard(shard, partitions, &options).unwrap();
        for (notifier_id, notes) in store.notes() {
            let found = store.find(IdKind::Notifier, &notifier_id);
            assert!(matches!(found, Some(Location::Queue(_))));
            assert_eq!(all.insert(notifier_id, notes), None);
        }
    }
    all
}

#[test]
fn notes_move_with_their_queues() {
    const QUEUES: u8 = 40;
    let state = tempfile::tempdir().unwrap();
    let mut directory = StoreDirectory::open(state.path(), 1).unwrap();
    let options = options(Promise::Disk);
    let (mut store, _): (LogStore, _) = directory.open_shard(0, partitions(1), &options).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut expected = Notes::new();
    for n in 0..QUEUES {
        while let Some(prepare) = store.wants_segment() {
            store.segment_ready(prepare.run()).unwrap();
        }
        let mut queue = record(&mut rng);
        // Notifiers and recipients lead to different shards.
        let place = n.wrapping_mul(6);
        let unique = |kind: u8, place: u8| {
            let mut id = [kind; 24];
            (id[0], id[1]) = (place, n);
            id
        };
        queue.recipient_id = unique(1, place);
        queue.sender_id = unique(2, place);
        queue.link_id = None;
        let notifier_id = unique(4, place.wrapping_add(100));
        queue.notifier = Some(NotifierRecord {
            notifier_id,
            auth_key: queue.recipient_keys[0],
            dh_secret: queue.rcv_dh_secret.clone(),
            service_id: None,
        });
        store.create(&queue, None).unwrap();
        expected.insert(notifier_id, vec![own(n), sealed(n)]);
    }
    store.finish().unwrap();
    let mut saved = batch(&expected.clone().into_iter().collect::<Vec<_>>());
    // What is for nobody goes nowhere.
    saved.put(&id(4, 0), &[own(1)]);
    store.notes_file().replace(vec![saved]).unwrap();
    drop(store);

    for shards in [4, 3] {
        directory
            .rehome(shards, &partitions(shards), &options)
            .unwrap();
        assert_eq!(all_notes(&directory), expected, "{shards} shards");
    }
    let (report, _) = directory.salvage(&partitions(3), &options).unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(all_notes(&directory), expected);
}
