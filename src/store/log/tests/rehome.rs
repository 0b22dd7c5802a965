//! Everything moves when the number of shards changes, whenever the process ends.

use super::model::{content, record};
use crate::protocol::handshake::ServiceRole;
use crate::store::log::store::queue_ids;
use crate::store::log::{
    DaysWalk, Disk, LogOptions, LogStore, Origin, Partitions, Promise, StoreDirectory,
};
use crate::store::{ActiveDays, Id, IdKind, Location, Message, MessageKind, ServiceRecord, Store};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

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

/// What the header of a segment of queues says.
const QUEUES: u8 = 1;

fn options() -> LogOptions {
    LogOptions {
        segment_len: 64 * 1024,
        promise: Promise::Disk,
        index_key: [3; 16],
    }
}

fn partitions(shards: u16) -> Arc<dyn Partitions> {
    Arc::new(Shards(shards))
}

fn supply(store: &mut LogStore) {
    while let Some(prepare) = store.wants_segment() {
        store.segment_ready(prepare.run()).unwrap();
    }
}

/// Queues of random homes, with links and messages; returns their recipient ids.
fn fill(directory: &StoreDirectory, queues: usize) -> Vec<Id> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let shards = directory.shards();
    let partitions = partitions(shards);
    let home_of = |id: &Id| usize::from(partitions.shard(partitions.partition(id)));
    let mut stores: Vec<LogStore> = (0..shards)
        .map(|shard| {
            let partitions = Arc::clone(&partitions);
            directory
                .open_shard(shard, partitions, &options())
                .unwrap()
                .0
        })
        .collect();
    let mut ids = Vec::new();
    for n in 0..queues {
        stores.iter_mut().for_each(supply);
        let mut queue = record(&mut rng);
        queue.recipient_id = rng.random();
        queue.sender_id = rng.random();
        queue.sender_id[0] = queue.recipient_id[0];
        queue.notifier = None;
        queue.link_id = (n % 2 == 0).then(|| rng.random());
        let home = home_of(&queue.recipient_id);
        let link = queue.link_id.map(|_| content(&mut rng));
        if let Some(id) = queue.link_id.filter(|id| home_of(id) != home) {
            let shard = u16::try_from(home).unwrap();
            stores[home_of(&id)]
                .reserve_alias(IdKind::Link, &id, shard)
                .unwrap();
        }
        let (slot, _) = stores[home].create(&queue, link).unwrap();
        for i in 0..n % 4 {
            let message = Message {
                id: rng.random(),
                time_ns: 5,
                kind: MessageKind::Message { notify: i == 0 },
                body: &vec![i as u8; 500],
            };
            stores[home].push_message(slot, message).unwrap();
        }
        let days = ActiveDays {
            message: n as u16,
            notification: 2,
        };
        stores[home].set_active_days(slot, days);
        ids.push(queue.recipient_id);
    }
    // An alias of a queue that never came into being.
    stores[0].reserve_alias(IdKind::Link, &[0; 24], 0).unwrap();
    for n in 0..5_u8 {
        let service = ServiceRecord {
            id: [n; 24],
            role: ServiceRole::Notifier,
            fingerprint: [n * 50; 32],
            chain: vec![vec![n; 100]],
            created_day: 1,
        };
        let home = home_of(&[n * 50; 24]);
        stores[home].create_service(service).unwrap();
    }
    for store in &mut stores {
        store.finish().unwrap();
        store.save_days().run().unwrap();
    }
    ids
}

/// Everything all shards hold, by recipient id, each thing found where its id says.
fn everything(directory: &StoreDirectory) -> BTreeMap<Id, String> {
    let shards = directory.shards();
    let partitions = partitions(shards);
    let open = |shard| {
        let partitions = Arc::clone(&partitions);
        directory.open_shard(shard, partitions, &options()).unwrap()
    };
    let stores: Vec<LogStore> = (0..shards).map(|shard| open(shard).0).collect();
    expect_at_home(&stores, &*partitions);
    contents(&stores)
}

/// Everything shards hold, by recipient id or fingerprint.
pub fn contents<D: Disk>(stores: &[LogStore<D>]) -> BTreeMap<Id, String> {
    let mut all = BTreeMap::new();
    for store in stores {
        for slot in store.queues() {
            let queue = store.queue(slot);
            let secrets = (
                queue.rcv_dh_secret.0,
                queue.notifier.as_ref().map(|n| n.dh_secret.0),
            );
            let (link, days) = (store.link(slot), store.active_days(slot));
            let messages: Vec<_> = store.messages(slot).collect();
            let words = format!("{queue:?} {secrets:?} {link:?} {days:?} {messages:?}");
            assert_eq!(all.insert(queue.recipient_id, words), None);
        }
        for service in store.services() {
            // No queue has such an id.
            let key = head(&service.fingerprint).map(|byte| !byte);
            assert_eq!(all.insert(key, format!("{service:?}")), None);
        }
    }
    all
}

/// What leads to the home of a service.
fn head(fingerprint: &[u8; 32]) -> Id {
    *fingerprint.first_chunk().unwrap()
}

/// Asserts that every id leads to its queue from where it says that it lives.
pub fn expect_at_home<D: Disk>(stores: &[LogStore<D>], partitions: &dyn Partitions) {
    let home_of = |id: &Id| partitions.shard(partitions.partition(id));
    for store in stores {
        for slot in store.queues() {
            let queue = store.queue(slot);
            let home = home_of(&queue.recipient_id);
            for (kind, id) in queue_ids(&queue) {
                let lives_at = home_of(&id);
                let expected = if lives_at == home {
                    Location::Queue(slot)
                } else {
                    Location::Shard(home)
                };
                let found = stores[usize::from(lives_at)].find(kind, &id);
                assert_eq!(found, Some(expected), "{kind:?} {id:?}");
            }
        }
        for service in store.services() {
            let home = home_of(&head(&service.fingerprint));
            let there = stores[usize::from(home)].service(&service.fingerprint);
            assert_eq!(there, Some((service.id, service.role)));
        }
    }
}

#[test]
fn everything_moves_to_another_number_of_shards_and_back() {
    let state = tempfile::tempdir().unwrap();
    let mut directory = StoreDirectory::open(state.path(), 2).unwrap();
    assert_eq!(directory.shards(), 2);
    fill(&directory, 60);
    let before = everything(&directory);
    assert_eq!(before.len(), 65);
    for shards in [3, 1, 2] {
        let report = directory
            .rehome(shards, &partitions(shards), &options())
            .unwrap();
        assert_eq!((report.moved.queues, report.conflicts), (60, 0));
        // Another process finds the new number, whatever it is told.
        directory = StoreDirectory::open(state.path(), 9).unwrap();
        assert_eq!(directory.shards(), shards);
        assert_eq!(everything(&directory), before);
    }
}

/// All files below a directory.
fn tree(path: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() {
            tree(&entry, at, found);
        } else {
            let name = entry.strip_prefix(at).unwrap().display().to_string();
            found.insert(name, fs::read(&entry).unwrap());
        }
    }
}

#[test]
fn a_move_that_did_not_end_leaves_the_old_logs() {
    let state = tempfile::tempdir().unwrap();
    let mut directory = StoreDirectory::open(state.path(), 2).unwrap();
    fill(&directory, 20);
    let before = everything(&directory);
    let root = state.path().join("smp-server-store");
    let mut old = BTreeMap::new();
    tree(&root, &root, &mut old);
    directory.rehome(3, &partitions(3), &options()).unwrap();
    // The new generation is there, but the manifest was not replaced and the old one not removed.
    for (name, bytes) in &old {
        let file = root.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let directory = StoreDirectory::open(state.path(), 3).unwrap();
    assert_eq!(directory.shards(), 2);
    assert_eq!(everything(&directory), before);
    assert!(!root.join("generation-2").exists());
}

#[test]
fn what_is_damaged_is_skipped_only_when_asked_and_kept() {
    let state = tempfile::tempdir().unwrap();
    let mut directory = StoreDirectory::open(state.path(), 1).unwrap();
    let ids = fill(&directory, 60);
    let before = everything(&directory);
    // In the middle of the first segment of queues.
    let mut damaged = None;
    for entry in fs::read_dir(directory.shard(0)).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        let victim = bytes.windows(24).position(|window| window == ids[5]);
        if let Some(at) = victim.filter(|_| bytes[36] == QUEUES) {
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
            damaged = damaged.or(Some(file));
        }
    }
    let damaged = damaged.unwrap().display().to_string();
    let error = directory
        .open_shard(0, partitions(1), &options())
        .unwrap_err();
    assert!(error.to_string().contains(&damaged), "{error}");
    let refused = directory.rehome(2, &partitions(2), &options()).unwrap_err();
    assert!(refused.to_string().contains(&damaged), "{refused}");
    let (report, kept) = directory.salvage(&partitions(1), &options()).unwrap();
    assert!(report.damage.iter().any(|damage| damage.file == damaged));
    assert!(kept.join("shard-0000").is_dir());
    let after = everything(&directory);
    assert!(!after.contains_key(&ids[5]));
    for (id, words) in &after {
        assert_eq!(before.get(id), Some(words));
    }
    assert_eq!(after.len(), before.len() - 1);

    // Killed before the damaged logs had their name.
    let root = state.path().join("smp-server-store");
    let shard = kept.with_extension("");
    fs::rename(&kept, &shard).unwrap();
    fs::write(root.join("generation-1.keep"), "").unwrap();
    let directory = StoreDirectory::open(state.path(), 1).unwrap();
    assert!(kept.join("shard-0000").is_dir() && !shard.exists());
    assert!(!root.join("generation-1.keep").exists());
    assert_eq!(everything(&directory), after);

    // Killed before the manifest was replaced: the damaged logs still count, and are no longer
    // marked.
    fs::write(root.join("generation-2.keep"), "").unwrap();
    let mut directory = StoreDirectory::open(state.path(), 1).unwrap();
    assert_eq!(everything(&directory), after);
    directory.rehome(2, &partitions(2), &options()).unwrap();
    assert!(!root.join("generation-2.damaged").exists() && !root.join("generation-2").exists());
    assert!(kept.is_dir());
}

#[test]
fn a_shard_whose_segments_are_gone_does_not_begin_anew() {
    let state = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::open(state.path(), 2).unwrap();
    // Without queues there is nothing to lose.
    let open = |directory: &StoreDirectory, shard| {
        let partitions = partitions(directory.shards());
        directory
            .open_shard(shard, partitions, &options())
            .map(|_| ())
    };
    open(&directory, 0).unwrap();
    fs::remove_dir_all(directory.shard(0)).unwrap();
    fs::create_dir(directory.shard(0)).unwrap();
    open(&directory, 0).unwrap();
    fill(&directory, 20);
    let mut directory = StoreDirectory::open(state.path(), 2).unwrap();
    directory.note_begun().unwrap();
    let mut directory = StoreDirectory::open(state.path(), 2).unwrap();
    for entry in fs::read_dir(directory.shard(1)).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    open(&directory, 0).unwrap();
    let error = open(&directory, 1).unwrap_err().to_string();
    assert!(
        error.contains("shard-0001") && error.contains("missing"),
        "{error}"
    );
    let refused = directory.rehome(3, &partitions(3), &options());
    assert!(refused.unwrap_err().to_string().contains("shard-0001"));
    let (report, _) = directory.salvage(&partitions(2), &options()).unwrap();
    assert_eq!(report.damage.len(), 1);
    assert!(report.moved.queues > 0);
}

#[test]
fn where_a_store_comes_from_goes_with_it() {
    let state = tempfile::tempdir().unwrap();
    let mut directory = StoreDirectory::open(state.path(), 1).unwrap();
    assert_eq!(*directory.origin(), Origin::default());
    fill(&directory, 4);
    let origin = Origin {
        key_check: Some("check".to_owned()),
        imported: Some(Vec::new()),
    };
    directory.set_origin(origin.clone()).unwrap();
    directory.rehome(3, &partitions(3), &options()).unwrap();
    let mut directory = StoreDirectory::open(state.path(), 1).unwrap();
    assert_eq!(*directory.origin(), origin);
    let before = everything(&directory);
    let rekeyed = "other".to_owned();
    directory
        .rekey(rekeyed, &partitions(3), &options())
        .unwrap();
    let directory = StoreDirectory::open(state.path(), 1).unwrap();
    assert_eq!(directory.origin().key_check.as_deref(), Some("other"));
    assert_eq!(everything(&directory), before);
}

#[test]
fn a_shard_or_a_manifest_that_is_missing_does_not_begin_anew() {
    let state = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::open(state.path(), 2).unwrap();
    fill(&directory, 4);
    let root = state.path().join("smp-server-store");
    let shard = directory.shard(1);
    fs::rename(&shard, root.join("elsewhere")).unwrap();
    let error = directory
        .open_shard(1, partitions(2), &options())
        .unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    fs::remove_file(root.join("manifest.json")).unwrap();
    let error = StoreDirectory::open(state.path(), 2).unwrap_err();
    assert!(error.to_string().contains("manifest.json"), "{error}");
}

#[test]
fn logs_of_a_later_release_are_left_alone() {
    let state = tempfile::tempdir().unwrap();
    StoreDirectory::open(state.path(), 1).unwrap();
    let manifest = state.path().join("smp-server-store/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let later = text.replace("\"version\":1", "\"version\":2");
    fs::write(&manifest, &later).unwrap();
    let error = StoreDirectory::open(state.path(), 1).unwrap_err();
    let expected = format!(
        "{} has format 2, which this release does not know: start the release that wrote it",
        manifest.display()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(fs::read_to_string(&manifest).unwrap(), later);
}

#[test]
fn days_of_use_come_back_with_the_file_or_with_the_record() {
    let state = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::open(state.path(), 1).unwrap();
    let ids = fill(&directory, 3);
    let open = || {
        directory
            .open_shard(0, partitions(1), &options())
            .unwrap()
            .0
    };
    let slot_of = |store: &LogStore, id| match store.find(IdKind::Recipient, id) {
        Some(Location::Queue(slot)) => slot,
        other => panic!("{other:?}"),
    };
    let mut store = open();
    let slot = slot_of(&store, &ids[2]);
    assert_eq!(store.active_days(slot).message, 2);
    let days = ActiveDays {
        message: 40,
        notification: 50,
    };
    store.set_active_days(slot, days);
    // The record that is written tells them.
    store
        .update(slot, crate::store::QueueChange::Day(1))
        .unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.active_days(slot_of(&store, &ids[2])), days);
    // Without the file the others are as their records tell.
    fs::write(directory.shard(0).join("active-days"), b"nonsense").unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.active_days(slot_of(&store, &ids[2])), days);
    assert_eq!(
        store.active_days(slot_of(&store, &ids[1])),
        ActiveDays::default()
    );
}

fn flip(path: &Path, at: usize, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

/// A wrong manifest must not take the logs for those of an interrupted move, which are removed.
#[test]
fn any_damage_of_a_manifest_is_refused_and_removes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::open(state.path(), 2).unwrap();
    fill(&directory, 20);
    let before = everything(&directory);
    let root = state.path().join("smp-server-store");
    let manifest = root.join("manifest.json");
    let good = fs::read(&manifest).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            flip(&manifest, at, bit);
            let error = StoreDirectory::open(state.path(), 2).unwrap_err();
            assert!(error.to_string().contains("manifest.json"), "{error}");
            fs::write(&manifest, &good).unwrap();
        }
        fs::write(&manifest, &good[..at]).unwrap();
        StoreDirectory::open(state.path(), 2).unwrap_err();
        fs::write(&manifest, &good).unwrap();
    }
    let by_hand = |text: &str| {
        fs::write(&manifest, text).unwrap();
        StoreDirectory::open(state.path(), 2).map_err(|error| error.to_string())
    };
    let advised = r#"{"version":1,"generation":1,"shards":2}"#;
    for (text, reason) in [
        (
            r#"{"version":1,"generation":3,"shards":2}"#,
            "generation-3 is missing",
        ),
        (
            r#"{"version":1,"generation":1,"shards":1}"#,
            "there are 2 shards, not 1",
        ),
    ] {
        let error = by_hand(text).unwrap_err();
        assert!(error.contains(reason) && error.contains(advised), "{error}");
    }
    let later = by_hand(r#"{"version":2,"generation":1,"shards":2}"#).unwrap_err();
    assert!(later.contains("has format 2"), "{later}");
    let directory = by_hand(advised).unwrap();
    assert_eq!(everything(&directory), before);
}

#[test]
fn segments_and_directories_of_another_shard_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::open(state.path(), 2).unwrap();
    fill(&directory, 60);
    let before = everything(&directory);
    let (first, second) = (directory.shard(0), directory.shard(1));
    let beside = first.with_file_name("beside");
    let swap = |a: &Path, b: &Path| {
        fs::rename(a, &beside).unwrap();
        fs::rename(b, a).unwrap();
        fs::rename(&beside, b).unwrap();
    };
    let opens = |shard| directory.open_shard(shard, partitions(2), &options());
    let mut refused = 0;
    for entry in fs::read_dir(&first).unwrap() {
        let name = entry.unwrap().file_name();
        let (a, b) = (first.join(&name), second.join(&name));
        let is_used = |path: &Path| fs::read(path).unwrap().starts_with(b"smp-log\n");
        if !(b.is_file() && is_used(&a) && is_used(&b)) {
            continue;
        }
        swap(&a, &b);
        for shard in 0..2 {
            let error = opens(shard).unwrap_err().to_string();
            let other = format!("belongs to shard {}", 1 - shard);
            assert!(error.contains(&other), "{error}");
            refused += 1;
        }
        swap(&a, &b);
    }
    assert!(refused >= 4, "{refused}");
    swap(&first, &second);
    for shard in 0..2 {
        opens(shard).unwrap_err();
    }
    swap(&first, &second);
    assert_eq!(everything(&directory), before);
}

#[test]
fn days_of_many_queues_are_read_in_steps() {
    let state = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::open(state.path(), 1).unwrap();
    let ids = fill(&directory, 700);
    let (store, _) = directory.open_shard(0, partitions(1), &options()).unwrap();
    let mut walk = DaysWalk::default();
    assert!(store.read_days(&mut walk));
    drop(store);
    let (store, _) = directory.open_shard(0, partitions(1), &options()).unwrap();
    for (n, id) in ids.iter().enumerate() {
        let Some(Location::Queue(slot)) = store.find(IdKind::Recipient, id) else {
            panic!("queue {n} is lost");
        };
        assert_eq!(store.active_days(slot).message, n as u16);
    }
}
