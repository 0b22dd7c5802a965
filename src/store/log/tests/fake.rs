//! A disk that can lose power, be full, and stop in the middle of a write.

use crate::store::log::disk::{Disk, Memory, SegmentFile};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

/// What a disk writes at once.
pub const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
struct Content {
    /// What the process sees.
    current: Vec<u8>,
    /// What the disk has.
    durable: Vec<u8>,
    /// Sectors in which they may differ.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    /// Bytes all files together may have.
    capacity: Option<usize>,
    /// Bytes the process still writes before it is killed.
    life: Option<usize>,
    /// Files removed since the directory was last synced: they may come back.
    removed: BTreeMap<String, Content>,
    /// Syncs that work before one fails.
    until_broken: Option<usize>,
    /// Bytes written and calls made before everything stops.
    effort: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub struct FakeDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub struct FakeMemory {
    bytes: Vec<u8>,
    file: FakeFile,
}

#[derive(Debug, Clone)]
pub struct FakeFile {
    disk: FakeDisk,
    name: String,
}

impl FakeDisk {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// All files together may have as many bytes.
    pub fn limit(&self, capacity: Option<usize>) {
        self.with(|state| state.capacity = capacity);
    }

    /// The process is killed after writing as many bytes.
    pub fn kill_after(&self, bytes: Option<usize>) {
        self.with(|state| state.life = bytes);
    }

    /// Whether the process was killed: some of what it wrote went nowhere.
    pub fn is_dead(&self) -> bool {
        self.with(|state| state.life == Some(0))
    }

    /// After some syncs that work one fails, and what it was for is forgotten, as kernels do.
    pub fn break_sync_after(&self, syncs: Option<usize>) {
        self.with(|state| state.until_broken = syncs);
    }

    /// After so many bytes written and calls made nothing reaches the disk or the kernel any more,
    /// and every call fails.
    pub fn stop_after(&self, effort: Option<usize>) {
        self.with(|state| state.effort = effort);
    }

    /// The kernel writes some of what it has, whatever it likes.
    pub fn write_back(&self, rng: &mut ChaCha20Rng) {
        let granule = [SECTOR, 4096][rng.random_range(0..2)];
        let share = rng.random_range(0.0..1.0);
        self.with(|state| {
            for content in state.files.values_mut() {
                content.persist(granule, |_| rng.random_bool(share));
            }
        });
    }

    /// The power goes and comes back. The disk keeps what was synced and any part of the rest.
    pub fn lose_power(&self, rng: &mut ChaCha20Rng) {
        self.stop_after(None);
        if rng.random_bool(0.8) {
            self.write_back(rng);
        }
        self.with(|state| {
            for (name, content) in std::mem::take(&mut state.removed) {
                if rng.random_bool(0.5) {
                    state.files.entry(name).or_insert(content);
                }
            }
            for content in state.files.values_mut() {
                content.current.clone_from(&content.durable);
                content.dirty.clear();
            }
        });
    }

    /// The power goes and comes back. Of what was not synced the disk has some sectors of some files.
    pub fn lose_power_but(&self, mut is_kept: impl FnMut(&str, usize) -> bool) {
        self.stop_after(None);
        self.with(|state| {
            for (name, content) in &mut state.files {
                content.persist(SECTOR, |sector| is_kept(name, sector));
                content.current.clone_from(&content.durable);
                content.dirty.clear();
            }
        });
    }

    pub fn names(&self) -> Vec<String> {
        self.with(|state| state.files.keys().cloned().collect())
    }

    /// Changes a file behind everybody's back.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        self.with(|state| {
            let content = state.files.entry(name.to_owned()).or_default();
            change(&mut content.current);
            content.durable.clone_from(&content.current);
            content.dirty.clear();
        });
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        self.with(|state| state.files[name].current.clone())
    }

    /// A disk with the same files.
    pub fn copy(&self) -> Self {
        self.with(|state| {
            Self(Arc::new(Mutex::new(State {
                files: state.files.clone(),
                ..State::default()
            })))
        })
    }
}

impl State {
    /// How much of an effort is made before everything stops.
    fn spend(&mut self, effort: usize) -> usize {
        let Some(left) = &mut self.effort else {
            return effort;
        };
        let spent = effort.min(*left);
        *left -= spent;
        spent
    }

    fn call(&mut self) -> io::Result<()> {
        if self.spend(1) == 1 {
            Ok(())
        } else {
            Err(io::Error::other("no power"))
        }
    }
}

impl Content {
    fn persist(&mut self, granule: usize, mut is_kept: impl FnMut(usize) -> bool) {
        let per_granule = granule / SECTOR;
        let mut kept = BTreeMap::new();
        let dirty = std::mem::take(&mut self.dirty);
        for sector in dirty {
            let granule = sector / per_granule;
            if *kept.entry(granule).or_insert_with(|| is_kept(granule)) {
                let end = ((sector + 1) * SECTOR).min(self.current.len());
                let range = sector * SECTOR..end;
                self.durable[range.clone()].copy_from_slice(&self.current[range]);
            } else {
                self.dirty.insert(sector);
            }
        }
    }
}

impl Disk for FakeDisk {
    type Memory = FakeMemory;
    type File = FakeFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<FakeMemory> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let bytes = self.with(|state| Some(state.files.get(name)?.current.clone()));
        Ok(FakeMemory {
            bytes: bytes.ok_or_else(missing)?,
            file: FakeFile {
                disk: self.clone(),
                name: name.to_owned(),
            },
        })
    }

    fn create(&self, name: &str, size: usize, header: &[u8]) -> io::Result<FakeMemory> {
        self.with(|state| {
            state.call()?;
            let used: usize = state.files.values().map(|file| file.current.len()).sum();
            if state
                .capacity
                .is_some_and(|capacity| used + size > capacity)
            {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let mut bytes = vec![0; size];
            bytes[..header.len()].copy_from_slice(header);
            let content = Content {
                current: bytes.clone(),
                durable: bytes,
                dirty: BTreeSet::new(),
            };
            state.files.insert(name.to_owned(), content);
            // The directory is synced, and with it all removals before.
            state.removed.clear();
            Ok(())
        })?;
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|state| {
            state.call()?;
            let removed = state.files.remove_entry(name);
            state.removed.extend(removed);
            Ok(())
        })
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.with(|state| Some(state.files.get(name)?.current.clone())))
    }

    fn replace(&self, name: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let bytes: Vec<u8> = parts.flatten().collect();
        self.with(State::call)?;
        self.edit(name, |content| *content = bytes);
        Ok(())
    }

    fn append(&self, name: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        self.with(State::call)?;
        self.edit(name, |content| content.extend(parts.flatten()));
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl Memory for FakeMemory {
    type File = FakeFile;

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.file.disk.with(|state| {
            let mut len = state.spend(bytes.len());
            if let Some(life) = &mut state.life {
                len = len.min(*life);
                *life -= len;
            }
            if let Some(content) = state.files.get_mut(&self.file.name).filter(|_| len > 0) {
                content.current[at..at + len].copy_from_slice(&bytes[..len]);
                content.dirty.extend(at / SECTOR..=(at + len - 1) / SECTOR);
            }
        });
    }

    fn warm(&self, _at: usize) {}

    fn prefetch(&self) {}

    fn release(&self) {}

    fn file(&self) -> FakeFile {
        self.file.clone()
    }
}

impl SegmentFile for FakeFile {
    fn warm(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.with(|state| {
            state.call()?;
            let left = state.until_broken.take();
            state.until_broken = left.and_then(|left| left.checked_sub(1));
            if left == Some(0) {
                if let Some(content) = state.files.get_mut(&self.name) {
                    content.dirty.clear();
                }
                return Err(io::Error::from_raw_os_error(5));
            }
            if let Some(content) = state.files.get_mut(&self.name) {
                content.persist(SECTOR, |_| true);
            }
            Ok(())
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}
