//! Backups of states without a server.

use super::manifest::{FILE, Malformed};
use super::*;
use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::relay::Partitioner;
use crate::runtime::lock::StateLock;
use crate::store::log::{LogOptions, MIN_SEGMENT_LEN, Partitions, Promise, StoreDirectory};
use crate::store::{Id, IdKind, Message, MessageKind, QueueRecord, QueueStatus, Store};
use smallvec::smallvec;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tempfile::TempDir;

mod strict;

const QUEUES: u8 = 12;
const MESSAGES: u8 = 9;
/// A folder for the state before.
const ASIDE: &str = "smp-server-state.before-restore-1";

struct Server {
    root: TempDir,
    places: Places,
}

fn options() -> LogOptions {
    LogOptions {
        segment_len: MIN_SEGMENT_LEN,
        promise: Promise::Disk,
        index_key: [5; 16],
    }
}

fn queue(recipient_id: Id, number: u8) -> QueueRecord {
    QueueRecord {
        recipient_id,
        recipient_keys: smallvec![PublicAuthKey::Ed25519([number; 32])],
        rcv_dh_secret: SharedSecret([number; 32]),
        sender_id: [100 + number; 24],
        sender_key: None,
        mode: None,
        link_id: None,
        notifier: None,
        status: QueueStatus::Active,
        updated_day: 20_000,
        service_id: None,
    }
}

impl Server {
    fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        let places = Places {
            state: root.path().join("var"),
            configuration: root.path().join("etc"),
        };
        fs::create_dir(&places.state).unwrap();
        fs::create_dir(&places.configuration).unwrap();
        Self { root, places }
    }

    /// A server with queues, of which each has messages.
    fn with_queues(shards: u16) -> Self {
        let server = Self::empty();
        let state = &server.places.state;
        let partitioner = server.partitioner(shards);
        let directory = StoreDirectory::open(state, shards).unwrap();
        for shard in 0..shards {
            let homes: Arc<dyn Partitions> = Arc::new(partitioner.clone());
            let (mut store, _) = directory.open_shard(shard, homes, &options()).unwrap();
            for number in 0..QUEUES {
                let recipient_id = [number; 24];
                if partitioner.shard_of(&recipient_id) != shard {
                    continue;
                }
                let (slot, _) = store.create(&queue(recipient_id, number), None).unwrap();
                for n in 0..MESSAGES {
                    while let Some(prepare) = store.wants_segment() {
                        store.segment_ready(prepare.run()).unwrap();
                    }
                    let message = Message {
                        id: [n; 24],
                        time_ns: 1,
                        kind: MessageKind::Message { notify: false },
                        body: &[n; 1500],
                    };
                    store.push_message(slot, message).unwrap();
                }
                store.pop_message(slot).unwrap();
            }
            store.finish().unwrap();
            store.save_days().run().unwrap();
        }
        let configuration = &server.places.configuration;
        fs::create_dir(configuration.join("web")).unwrap();
        for (name, mode) in [
            ("smp-server.ini", 0o644),
            ("server.key", 0o600),
            ("web/x", 0o640),
        ] {
            let file = configuration.join(name);
            fs::write(&file, name).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        server
    }

    fn partitioner(&self, shards: u16) -> Partitioner {
        let key = partition_key::load_or_create(&self.places.state).unwrap();
        Partitioner::new(&key, shards)
    }

    fn backup(&self, name: &str) -> PathBuf {
        let target = self.root.path().join(name);
        back_up_stopped(&self.places, &target, true).unwrap();
        target
    }

    fn restore(&self, from: &Path, overwrite: bool) -> Result<RestoreReport, RestoreError> {
        let _lock = StateLock::acquire(&self.places.state).unwrap();
        let archive = Archive::open(from)?;
        archive.verify(&mut |_, _| ())?;
        restore(&RestorePlan {
            archive: &archive,
            from,
            places: &self.places,
            configuration: overwrite,
            overwrite,
        })
    }

    /// Opens the store as a start would, and finds everything.
    #[track_caller]
    fn assert_is_complete(&self, shards: u16) {
        let state = &self.places.state;
        let mut directory = StoreDirectory::find(state).unwrap().unwrap();
        let key = partition_key::of_store(state, Some(&directory)).unwrap();
        let partitioner = Partitioner::new(&key, shards);
        let homes: Arc<dyn Partitions> = Arc::new(partitioner.clone());
        if directory.shards() != shards {
            directory.rehome(shards, &homes, &options()).unwrap();
        }
        for shard in 0..shards {
            let (store, report) = directory
                .open_shard(shard, Arc::clone(&homes), &options())
                .unwrap();
            assert_eq!(report.dropped, 0);
            for number in (0..QUEUES).filter(|n| partitioner.shard_of(&[*n; 24]) == shard) {
                let found = store.find(IdKind::Recipient, &[number; 24]);
                let Some(crate::store::Location::Queue(slot)) = found else {
                    panic!("queue {number} is lost: {found:?}");
                };
                let bodies: Vec<_> = store.messages(slot).map(|m| m.body[0]).collect();
                assert_eq!(bodies, (1..MESSAGES).collect::<Vec<_>>());
            }
        }
    }
}

/// All files below a directory, with their content.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files::list(directory).unwrap();
    let content = |file: PathBuf| {
        let bytes = fs::read(directory.join(&file)).unwrap();
        (file, bytes)
    };
    files.into_iter().map(content).collect()
}

/// The state without the lock file.
fn state_of(server: &Server) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = contents(&server.places.state);
    all.retain(|(path, _)| path != Path::new("smp-server.lock"));
    all
}

#[test]
fn what_was_backed_up_comes_back_elsewhere() {
    for (shards, later) in [(1, 1), (4, 4), (4, 3), (1, 2)] {
        let server = Server::with_queues(shards);
        let before = state_of(&server);
        let backup = server.backup("backup");
        assert_eq!(state_of(&server), before);
        let manifest = Archive::open(&backup).unwrap().manifest().clone();
        assert_eq!(manifest.shards, shards);
        assert_eq!(manifest.queues, u64::from(QUEUES));
        assert_eq!(
            manifest.messages,
            u64::from(QUEUES) * u64::from(MESSAGES - 1)
        );
        let other = Server::empty();
        let report = other.restore(&backup, true).unwrap();
        assert!(report.old_state.is_none() && report.old_configuration.is_none());
        other.assert_is_complete(later);
        let configuration = contents(&server.places.configuration);
        assert_eq!(contents(&other.places.configuration), configuration);
    }
}

#[test]
fn segments_come_back_with_all_their_space() {
    let server = Server::with_queues(1);
    let backup = server.backup("backup");
    let other = Server::empty();
    other.restore(&backup, false).unwrap();
    let is_segment = |(path, _): &(PathBuf, Vec<u8>)| path.extension() == Some("seg".as_ref());
    let segments = |server| state_of(server).into_iter().filter(is_segment);
    let restored: Vec<_> = segments(&other).collect();
    assert!(restored.len() > 5);
    let before: Vec<_> = segments(&server).collect();
    for segment in restored {
        assert_eq!(segment.1.len(), MIN_SEGMENT_LEN);
        assert!(before.contains(&segment), "{}", segment.0.display());
    }
}

#[test]
fn only_the_owner_may_read_a_backup() {
    let server = Server::with_queues(1);
    let backup = server.backup("backup");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&backup), 0o700);
    assert_eq!(mode(&backup.join(STATE)), 0o700);
    for (path, _) in contents(&backup) {
        assert_eq!(mode(&backup.join(&path)), 0o600, "{}", path.display());
    }
    let other = Server::empty();
    other.restore(&backup, true).unwrap();
    for (path, _) in state_of(&other) {
        assert_eq!(mode(&other.places.state.join(path)), 0o600);
    }
    let configured = |name| mode(&other.places.configuration.join(name));
    assert_eq!(configured("smp-server.ini"), 0o644);
    assert_eq!(configured("server.key"), 0o600);
    assert_eq!(configured("web/x"), 0o640);
}

#[test]
fn a_backup_replaces_nothing() {
    let server = Server::with_queues(1);
    let root = server.root.path();
    let refusal = |name: &str| {
        let error = back_up_stopped(&server.places, &root.join(name), false).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(root.join(name).to_str().unwrap()), "{text}");
        error
    };
    fs::create_dir(root.join("used")).unwrap();
    fs::write(root.join("used/file"), "x").unwrap();
    fs::write(root.join("file"), "x").unwrap();
    assert!(matches!(refusal("used"), BackupError::NotEmpty(_)));
    assert!(matches!(refusal("file"), BackupError::NotDirectory(_)));
    let error = back_up_stopped(&server.places, &root.join("file/below"), false);
    assert!(matches!(error, Err(BackupError::Io { .. })));
    let inside = "var/smp-server-store/backup";
    assert!(matches!(refusal(inside), BackupError::Inside(_)));
    let inside = root.join("etc/backup");
    let error = back_up_stopped(&server.places, &inside, true);
    assert!(matches!(error, Err(BackupError::Inside(_))), "{error:?}");
    std::os::unix::fs::symlink(root.join("etc"), root.join("link")).unwrap();
    let linked = root.join("link/sub/backup");
    let error = back_up_stopped(&server.places, &linked, true);
    assert!(matches!(error, Err(BackupError::Inside(_))), "{error:?}");
    assert!(!root.join("etc/sub").exists());
    fs::create_dir(root.join("own.partial")).unwrap();
    fs::write(root.join("own.partial/letters"), "x").unwrap();
    assert!(matches!(refusal("own"), BackupError::InTheWay(_)));
    assert_eq!(fs::read(root.join("own.partial/letters")).unwrap(), b"x");
    // One that is empty, and what a killed backup has left.
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir_all(root.join("empty.partial/state")).unwrap();
    fs::write(root.join("empty.partial").join(FILE), "half").unwrap();
    let backup = server.backup("empty");
    Archive::open(&backup).unwrap();
    assert!(!root.join("empty.partial").exists());
    // Directories on the way are made.
    server.backup("a/b/c");
}

#[test]
fn a_backup_that_fails_leaves_nothing() {
    let server = Server::with_queues(1);
    let root = server.root.path();
    fs::remove_file(server.places.state.join(partition_key::FILE)).unwrap();
    let error = back_up_stopped(&server.places, &root.join("backup"), false).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("var/smp-server-partition.key"), "{text}");
    let empty = Server::empty();
    let error = back_up_stopped(&empty.places, &root.join("backup"), false).unwrap_err();
    assert!(matches!(error, BackupError::NoStore(_)));
    // A file that cannot be read is found only when others are copied.
    let server = Server::with_queues(1);
    let root = server.root.path();
    let unreadable = server.places.configuration.join("web/x");
    fs::remove_file(&unreadable).unwrap();
    let mut writer = writer::BackupWriter::begin(&root.join("backup"), &[]).unwrap();
    writer.put(in_state("x"), [vec![1]]).unwrap();
    assert!(root.join("backup.partial/state/x").exists());
    let missing = writer.copy(&unreadable, in_state("y"), 0o600, None);
    assert!(missing.unwrap_err().to_string().contains("web/x"));
    drop(writer);
    assert!(!root.join("backup.partial").exists() && !root.join("backup").exists());
}

#[test]
fn a_damaged_store_makes_no_backup() {
    let server = Server::with_queues(1);
    let segment = contents(&server.places.state)
        .into_iter()
        .find(|(path, bytes)| path.extension() == Some("seg".as_ref()) && bytes[900] != 0);
    let (path, mut bytes) = segment.unwrap();
    bytes[900] ^= 1;
    fs::write(server.places.state.join(&path), bytes).unwrap();
    let target = server.root.path().join("backup");
    let error = back_up_stopped(&server.places, &target, false).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert!(!target.exists());
}

#[test]
fn two_processes_do_not_write_the_same_backup() {
    let server = Server::with_queues(1);
    let target = server.root.path().join("backup");
    let first = writer::BackupWriter::begin(&target, &[]).unwrap();
    let second = writer::BackupWriter::begin(&target, &[]).unwrap_err();
    assert!(matches!(second, BackupError::Busy(_)), "{second}");
    drop(first);
    server.backup("backup");
}

#[test]
fn whatever_is_damaged_is_refused_with_its_name() {
    let server = Server::with_queues(2);
    let backup = server.backup("backup");
    let target = Server::with_queues(1);
    let before = state_of(&target);
    for (path, bytes) in contents(&backup) {
        let file = backup.join(&path);
        let refused = |what: &str| {
            let error = target.restore(&backup, true).unwrap_err();
            let text = error.to_string();
            let name = if file.exists() || path != Path::new(FILE) {
                file.to_str().unwrap()
            } else {
                FILE
            };
            assert!(text.contains(name), "{what}: {text}");
        };
        let step = (bytes.len() / 12).max(1);
        let last = bytes.len().checked_sub(1);
        for at in (0..bytes.len()).step_by(step).chain(last) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&file, damaged).unwrap();
            refused(&format!("byte {at}"));
            fs::write(&file, &bytes[..at]).unwrap();
            refused(&format!("{at} bytes"));
        }
        fs::write(&file, [&bytes[..], &[0]].concat()).unwrap();
        refused("longer");
        fs::remove_file(&file).unwrap();
        refused("missing");
        fs::create_dir(&file).unwrap();
        refused("a directory");
        fs::remove_dir(&file).unwrap();
        fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(state_of(&target), before);
    target.restore(&backup, true).unwrap();
    target.assert_is_complete(2);
}

#[test]
fn every_byte_of_the_list_counts() {
    let server = Server::with_queues(1);
    let backup = server.backup("backup");
    let bytes = fs::read(backup.join(FILE)).unwrap();
    let manifest = BackupManifest::decode(&bytes).unwrap();
    assert_eq!(manifest.encode().unwrap(), bytes);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(BackupManifest::decode(&damaged).is_err(), "{at}");
        assert!(BackupManifest::decode(&bytes[..at]).is_err(), "{at}");
    }
    let later = BackupManifest {
        version: 2,
        ..manifest.clone()
    };
    let decoded = BackupManifest::decode(&later.encode().unwrap());
    assert_eq!(decoded, Err(Malformed::Version(2)));
    // Whoever made it: nothing is written elsewhere.
    for path in ["/etc/passwd", "state/../../x", "other/x", "state", "state/"] {
        let mut evil = manifest.clone();
        path.clone_into(&mut evil.files[0].path);
        let decoded = BackupManifest::decode(&evil.encode().unwrap());
        assert!(matches!(decoded, Err(Malformed::Damaged(_))), "{path}");
    }
}

#[test]
fn what_is_no_backup_is_refused() {
    let server = Server::empty();
    let root = server.root.path();
    let refusal = |path: &Path| server.restore(path, true).unwrap_err().to_string();
    assert!(refusal(&root.join("none")).contains("none"));
    fs::create_dir(root.join("half.partial")).unwrap();
    let text = refusal(&root.join("half.partial"));
    assert!(text.contains("no complete backup"), "{text}");
    assert_eq!(state_of(&server), []);
}

#[test]
fn what_is_there_is_replaced_only_when_that_is_wanted() {
    let backed_up = Server::with_queues(4);
    let backup = backed_up.backup("backup");
    let server = Server::with_queues(1);
    let (state, configuration) = (state_of(&server), contents(&server.places.configuration));
    let refused = server.restore(&backup, false).unwrap_err();
    assert!(matches!(refused, RestoreError::Exists { .. }));
    assert!(refused.to_string().contains("--yes"), "{refused}");
    assert_eq!(state_of(&server), state);

    let report = server.restore(&backup, true).unwrap();
    server.assert_is_complete(4);
    let (old_state, old_configuration) = (report.old_state, report.old_configuration);
    assert_eq!(contents(&old_state.unwrap()), state);
    assert_eq!(contents(&old_configuration.unwrap()), configuration);
    // And once more, within the same second.
    let second = server.restore(&backup, true).unwrap();
    assert!(second.old_state.unwrap().exists());
}

#[test]
fn a_backup_without_configuration_restores_none() {
    let server = Server::with_queues(1);
    let target = server.root.path().join("backup");
    back_up_stopped(&server.places, &target, false).unwrap();
    assert!(!target.join(CONFIGURATION).exists());
    let refused = server.restore(&target, true).unwrap_err();
    assert!(matches!(refused, RestoreError::NoConfiguration(_)));
}

#[test]
fn an_interrupted_restore_is_ended_by_the_next_who_takes_the_lock() {
    let backed_up = Server::with_queues(2);
    let backup = backed_up.backup("backup");
    // The state after the decision: `moved` renames of those that follow are done.
    for moved in 0..5 {
        let server = Server::with_queues(1);
        let state = &server.places.state;
        let old = state_of(&server);
        restore::decide(&Archive::open(&backup).unwrap(), &server.places, ASIDE);
        let (new, aside) = (state.join("smp-server-restore"), state.join(ASIDE));
        fs::create_dir(&aside).unwrap();
        let entries = [STORE_FOLDER, partition_key::FILE];
        let renames = entries.iter().flat_map(|entry| {
            let present = state.join(entry);
            let away = (present.clone(), aside.join(entry));
            [away, (new.join(entry), present)]
        });
        for (from, to) in renames.take(moved) {
            fs::rename(from, to).unwrap();
        }
        drop(StateLock::acquire(state).unwrap());
        assert_eq!(contents(&aside), old, "{moved}");
        assert!(!new.exists());
        server.assert_is_complete(2);
        drop(StateLock::acquire(state).unwrap());
        server.assert_is_complete(2);
    }
}

#[test]
fn a_restore_that_was_not_decided_is_forgotten() {
    let server = Server::with_queues(1);
    let before = state_of(&server);
    let unfinished = server.places.state.join("smp-server-restore.new");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("plan.json"), "{").unwrap();
    drop(StateLock::acquire(&server.places.state).unwrap());
    assert_eq!(state_of(&server), before);
}

#[test]
fn a_statistics_file_comes_along_and_an_old_one_goes() {
    let server = Server::with_queues(1);
    let statistics = |server: &Server| server.places.state.join(STATISTICS_FILES[0]);
    let without = server.backup("without");
    fs::write(statistics(&server), "{}").unwrap();
    let with = server.backup("with");
    let other = Server::with_queues(1);
    fs::write(statistics(&other), "old").unwrap();
    let report = other.restore(&without, true).unwrap();
    assert!(!statistics(&other).exists());
    let old = report.old_state.unwrap().join(STATISTICS_FILES[0]);
    assert_eq!(fs::read(old).unwrap(), b"old");
    other.restore(&with, true).unwrap();
    assert_eq!(fs::read(statistics(&other)).unwrap(), b"{}");
}
