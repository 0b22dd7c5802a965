//! All shards of a state directory: which directories there are, and moving everything when the
//! number of shards changes.
//!
//! A manifest names the directory that counts. A new one is filled beside it, made durable, and
//! then the manifest is replaced: whenever the process ends, one of the two is complete.

use super::damage::{Damage, OnDamage};
use super::disk::Disk;
use super::import::remove_unfinished;
use super::manifest::{MANIFEST, Manifest, generation, generations, has_records, shard_of};
use super::rehome_error::{RehomeError, at};
use super::targets::Targets;
use super::{Directory, LogOptions, LogStore, OpenError, Partitions};
use crate::store::{Store, Totals};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directory of all logs in the state directory.
pub const STORE_FOLDER: &str = "smp-server-store";
/// Follows the name of a generation that is to be kept although it does not count.
const KEEP: &str = "keep";
/// Follows the name of a generation that was kept.
pub(super) const DAMAGED: &str = "damaged";

/// What was moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RehomeReport {
    /// What the new shards hold together.
    pub moved: Totals,
    /// Links and other ids that were left out since an earlier queue has them; only after damage.
    pub conflicts: u64,
    /// What was damaged and skipped.
    pub damage: Vec<Damage>,
}

/// The logs in a state directory.
#[derive(Debug, Clone)]
pub struct StoreDirectory {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
}

impl StoreDirectory {
    /// Finds the logs of a state directory, or begins with some shards. What an interrupted move
    /// left behind is removed.
    pub fn open(state: &Path, shards: u16) -> Result<Self, RehomeError> {
        remove_unfinished(state)?;
        let path = state.join(STORE_FOLDER);
        Directory::open(&path).map_err(at(&path))?;
        let manifest = match Manifest::read(&path)? {
            Some(manifest) => manifest,
            None => {
                // Another start may have ended before it came to that.
                for (_, empty) in generations(&path).map_err(at(&path))? {
                    fs::remove_dir_all(&empty).map_err(at(&empty))?;
                }
                let manifest = Manifest::first(shards);
                let first = generation(&path, manifest.generation);
                Directory::open(&first).map_err(at(&first))?;
                for shard in 0..shards {
                    let shard = shard_of(&first, shard);
                    Directory::open(&shard).map_err(at(&shard))?;
                }
                manifest.write(&path)?;
                manifest
            }
        };
        let this = Self { path, manifest };
        this.remove_others()?;
        Ok(this)
    }

    /// Notes which shards have records: they do not begin anew when all their files are gone.
    pub fn note_begun(&mut self) -> Result<(), RehomeError> {
        let mut begun = self.manifest.begun.clone();
        for shard in 0..self.shards() {
            let path = self.shard(shard);
            if !begun.contains(&shard) && path.is_dir() && has_records(&path).map_err(at(&path))? {
                begun.push(shard);
            }
        }
        if begun == self.manifest.begun {
            return Ok(());
        }
        let mut next = self.manifest.clone();
        next.begun = begun;
        next.write(&self.path)?;
        self.manifest = next;
        Ok(())
    }

    /// Finds the logs of a state directory, if it has any.
    pub fn find(state: &Path) -> Result<Option<Self>, RehomeError> {
        let is_store = Self::peek(state)?.is_some();
        // The number of shards is for a new one.
        is_store.then(|| Self::open(state, 1)).transpose()
    }

    /// Finds the logs of a state directory, if it has any, and changes nothing: somebody else may
    /// use them.
    pub fn peek(state: &Path) -> Result<Option<Self>, RehomeError> {
        let path = state.join(STORE_FOLDER);
        if !path.try_exists().map_err(at(&path))? {
            return Ok(None);
        }
        let manifest = Manifest::read(&path)?;
        Ok(manifest.map(|manifest| Self { path, manifest }))
    }

    /// Number of shards the logs were written by.
    pub fn shards(&self) -> u16 {
        self.manifest.shards
    }

    /// The directory of all logs.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The file that says which generation counts.
    pub fn manifest_file(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    /// The directory of a shard.
    pub fn shard(&self, shard: u16) -> PathBuf {
        shard_of(&generation(&self.path, self.manifest.generation), shard)
    }

    /// Opens a shard; may be done for all shards at the same time.
    pub fn open_shard(
        &self,
        shard: u16,
        partitions: Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<(LogStore, super::RecoveryReport), OpenError> {
        let path = self.shard(shard);
        self.check_shard(shard)?;
        let disk = Directory::open(&path).map_err(|source| OpenError::Io {
            file: path.display().to_string(),
            source,
        })?;
        LogStore::open(disk, shard, partitions, options)
    }

    /// Reads a shard without changing anything.
    pub(super) fn read_shard(
        &self,
        shard: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<LogStore, OpenError> {
        let path = self.shard(shard);
        self.check_shard(shard)?;
        let disk = Directory::open(&path).map_err(|source| OpenError::Io {
            file: path.display().to_string(),
            source,
        })?;
        let partitions = Arc::clone(partitions);
        Ok(LogStore::read(disk, shard, partitions, options, OnDamage::Refuse)?.0)
    }

    /// Moves everything to another number of shards, for which `partitions` knows the homes.
    pub fn rehome(
        &mut self,
        shards: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<RehomeReport, RehomeError> {
        self.rewrite(shards, partitions, options, OnDamage::Refuse)
    }

    /// Writes everything again that can be read, with the same number of shards, and reports what
    /// cannot. The damaged logs are kept under the name that is returned with the report.
    pub fn salvage(
        &mut self,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<(RehomeReport, PathBuf), RehomeError> {
        let old = generation(&self.path, self.manifest.generation);
        let kept = old.with_extension(DAMAGED);
        let shards = self.shards();
        let report = self.rewrite(shards, partitions, options, OnDamage::Skip)?;
        Ok((report, kept))
    }

    /// What the logs hold, read without changing anything.
    pub fn totals(
        &self,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<Totals, OpenError> {
        let mut totals = Totals::default();
        for shard in 0..self.shards() {
            totals += self.read_shard(shard, partitions, options)?.totals();
        }
        Ok(totals)
    }

    fn rewrite(
        &mut self,
        shards: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
        on_damage: OnDamage,
    ) -> Result<RehomeReport, RehomeError> {
        let next = self.manifest.next(shards);
        let old = generation(&self.path, self.manifest.generation);
        let new = generation(&self.path, next.generation);
        let written = self.write_generation(&new, shards, partitions, options, on_damage);
        if written.is_err() {
            // The space may be what is wanting. The next start removes what stays.
            let _ = fs::remove_dir_all(&new);
        }
        let report = written.map_err(|error| self.explain(error))?;
        if on_damage == OnDamage::Skip {
            // From the manifest on the old directory does not count: this tells that it is kept.
            let mark = old.with_extension(KEEP);
            fs::write(&mark, []).map_err(at(&mark))?;
            let directory = fs::File::open(&self.path).map_err(at(&self.path))?;
            directory.sync_all().map_err(at(&self.path))?;
        }
        next.write(&self.path)?;
        self.manifest = next;
        self.remove_others()?;
        Ok(report)
    }

    /// Writes everything to the shards of another generation, which is durable then.
    fn write_generation(
        &self,
        new: &Path,
        shards: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
        on_damage: OnDamage,
    ) -> Result<RehomeReport, RehomeError> {
        let old = generation(&self.path, self.manifest.generation);
        let mut report = RehomeReport::default();
        let mut targets = Targets::begin(new, shards, partitions, options)?;
        for shard in 0..self.manifest.shards {
            let path = shard_of(&old, shard);
            if let Err(error) = self.check_shard(shard) {
                match error {
                    OpenError::Damaged(damage) if on_damage == OnDamage::Skip => {
                        report.damage.push(damage);
                        continue;
                    }
                    error => return Err(error.into()),
                }
            }
            let disk = Directory::open(&path).map_err(at(&path))?;
            let read = |on_damage| {
                let partitions = Arc::clone(partitions);
                LogStore::read(disk.clone(), shard, partitions, options, on_damage)
            };
            // Of a shard that is not damaged exactly that is read which counts.
            let (source, found) = match read(OnDamage::Refuse) {
                Err(OpenError::Damaged(_)) if on_damage == OnDamage::Skip => read(on_damage)?,
                result => result?,
            };
            report.damage.extend(found.damage);
            move_all(&source, &mut targets, &mut report)?;
        }
        report.moved = targets.complete()?;
        Ok(report)
    }

    /// What an operator can do about a disk that is too small.
    fn explain(&self, error: RehomeError) -> RehomeError {
        match error {
            RehomeError::Io { file, source } if source.kind() == io::ErrorKind::StorageFull => {
                RehomeError::NoSpace {
                    file,
                    source,
                    shards: self.manifest.shards,
                }
            }
            error => error,
        }
    }

    /// A shard that is gone must not begin anew.
    fn check_shard(&self, shard: u16) -> Result<(), OpenError> {
        let path = self.shard(shard);
        let refused = |what: &str| {
            Err(OpenError::Damaged(Damage {
                file: path.display().to_string(),
                offset: 0,
                what: what.to_owned(),
            }))
        };
        if !path.is_dir() {
            return refused("the directory of a shard is missing");
        }
        let has_records = has_records(&path).map_err(|source| OpenError::Io {
            file: path.display().to_string(),
            source,
        })?;
        if !has_records && self.manifest.begun.contains(&shard) {
            return refused("the segments of a shard are missing");
        }
        Ok(())
    }

    /// Removes generations that do not count, but for those that are to be kept.
    fn remove_others(&self) -> Result<(), RehomeError> {
        let current = generation(&self.path, self.manifest.generation);
        for (_, path) in generations(&self.path).map_err(at(&self.path))? {
            let mark = path.with_extension(KEEP);
            let is_marked = mark.try_exists().map_err(at(&mark))?;
            if path != current && is_marked {
                fs::rename(&path, path.with_extension(DAMAGED)).map_err(at(&path))?;
            } else if path != current {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
            if is_marked {
                fs::remove_file(&mark).map_err(at(&mark))?;
            }
        }
        Ok(())
    }
}

/// Writes everything of one old shard to the new ones. Aliases are made anew: whether an id needs
/// one depends on the number of shards, and one without a queue leads nowhere.
pub(super) fn move_all<S: Disk, T: Disk>(
    source: &LogStore<S>,
    targets: &mut Targets<T>,
    report: &mut RehomeReport,
) -> Result<(), RehomeError> {
    for service in source.services() {
        if !targets.put_service(service)? {
            report.conflicts += 1;
        }
    }
    for slot in source.queues() {
        let mut record = source.queue(slot);
        let link = source.link(slot);
        // Only damage takes the data away and leaves the id.
        record.link_id = record.link_id.filter(|_| link.is_some());
        match targets.put_queue(&record, link, source.active_days(slot))? {
            Some(conflicts) => report.conflicts += conflicts,
            // Only damage brings back a queue whose ids were given to another.
            None => {
                report.conflicts += 1;
                continue;
            }
        }
        for message in source.messages(slot) {
            targets.put_message(&record.recipient_id, message)?;
        }
    }
    for (notifier_id, notes) in source.notes() {
        for note in notes {
            targets.put_note(&notifier_id, note);
        }
    }
    Ok(())
}
