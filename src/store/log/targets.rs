//! Shards that are being filled: with those of another number, or with what is imported.

use super::disk::Disk;
use super::manifest::shard_of;
use super::notes::{Notes, NotesBatch};
use super::rehome_error::{RehomeError, at};
use super::store::queue_ids;
use super::{Directory, LogOptions, LogStore, Partitions, Promise};
use crate::store::{
    ActiveDays, Id, IdKind, LinkContent, Location, Message, Note, QueueRecord, ServiceRecord,
    Store, StoreError, Totals,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes copied between two syncs of a new shard.
const SYNC_EVERY: usize = 64 << 20;
/// What a record is taken to weigh besides its content.
const RECORD_COST: usize = 512;

/// All shards of a new generation; nothing counts before the manifest names them.
#[derive(Debug)]
pub(super) struct Targets<D: Disk = Directory> {
    shards: Vec<Target<D>>,
    partitions: Arc<dyn Partitions>,
    path: PathBuf,
}

impl Targets {
    /// Begins shards in the directory of a generation.
    pub(super) fn begin(
        generation: &Path,
        shards: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<Self, RehomeError> {
        Directory::open(generation).map_err(at(generation))?;
        let disks = (0..shards).map(|shard| {
            let path = shard_of(generation, shard);
            Directory::open(&path).map_err(at(&path))
        });
        Self::over(generation, disks, partitions, options)
    }
}

impl<D: Disk> Targets<D> {
    /// Begins a shard on each of some disks, which are those of a generation's directory.
    pub(super) fn over(
        generation: &Path,
        disks: impl Iterator<Item = Result<D, RehomeError>>,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<Self, RehomeError> {
        let shards = disks
            .zip(0..)
            .map(|(disk, shard)| Target::begin(disk?, shard, partitions, options))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shards,
            partitions: Arc::clone(partitions),
            path: generation.to_owned(),
        })
    }

    fn home_of(&self, id: &Id) -> u16 {
        self.partitions.shard(self.partitions.partition(id))
    }

    fn home(&mut self, id: &Id) -> Option<&mut Target<D>> {
        let home = self.home_of(id);
        self.shards.get_mut(usize::from(home))
    }

    /// Adds a service where its certificate leads; false when it is there already.
    pub(super) fn put_service(&mut self, service: ServiceRecord) -> Result<bool, RehomeError> {
        let mut head = Id::default();
        let len = head.len();
        head.copy_from_slice(&service.fingerprint[..len]);
        let Some(target) = self.home(&head) else {
            return Ok(false);
        };
        if target.store.service(&service.fingerprint).is_some() {
            return Ok(false);
        }
        let chain: usize = service.chain.iter().map(Vec::len).sum();
        target.supply(RECORD_COST + chain)?;
        target.store.create_service(service)?;
        Ok(true)
    }

    /// Whether no id of a queue is in use.
    pub(super) fn has_room_for(&mut self, record: &QueueRecord) -> bool {
        queue_ids(record).all(|(kind, id)| {
            let target = self.home(&id);
            target.is_none_or(|target| target.store.find(kind, &id).is_none())
        })
    }

    /// Adds a queue where its recipient id leads, and aliases where its other ids lead. Returns how
    /// many aliases could not be made since their ids are in use; `None` when the queue could not.
    pub(super) fn put_queue(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
        active: ActiveDays,
    ) -> Result<Option<u64>, RehomeError> {
        let home = self.home_of(&record.recipient_id);
        let Some(target) = self.shards.get_mut(usize::from(home)) else {
            return Ok(None);
        };
        let data = link.as_ref().map_or(0, |l| l.fixed.len() + l.user.len());
        target.supply(RECORD_COST + data)?;
        match target.store.create_used(record, link, active) {
            Ok(_) => {}
            Err(StoreError::Duplicate) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut conflicts = 0;
        for (kind, id) in queue_ids(record) {
            let lives_at = self.home_of(&id);
            if kind == IdKind::Recipient || lives_at == home {
                continue;
            }
            if let Some(target) = self.shards.get_mut(usize::from(lives_at)) {
                target.supply(RECORD_COST)?;
                match target.store.reserve_alias(kind, &id, home) {
                    Ok(_) => {}
                    Err(StoreError::Duplicate) => conflicts += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(Some(conflicts))
    }

    /// Adds a message to a queue that was put; false when it was not.
    pub(super) fn put_message(
        &mut self,
        recipient_id: &Id,
        message: Message<'_>,
    ) -> Result<bool, RehomeError> {
        let Some(target) = self.home(recipient_id) else {
            return Ok(false);
        };
        target.supply(RECORD_COST + message.body.len())?;
        let found = target.store.find(IdKind::Recipient, recipient_id);
        let Some(Location::Queue(slot)) = found else {
            return Ok(false);
        };
        target.store.push_message(slot, message)?;
        Ok(true)
    }

    /// Adds the next waiting note of a notifier whose queue was put; false when it was not.
    pub(super) fn put_note(&mut self, notifier_id: &Id, note: Note) -> bool {
        let find = |target: &Target<D>| target.store.find(IdKind::Notifier, notifier_id);
        let shard = self.home_of(notifier_id);
        let shard = match self.shards.get(usize::from(shard)).and_then(find) {
            Some(Location::Queue(_)) => shard,
            // Notes are with the queue.
            Some(Location::Shard(shard)) => shard,
            None => return false,
        };
        let Some(target) = self.shards.get_mut(usize::from(shard)) else {
            return false;
        };
        target.notes.entry(*notifier_id).or_default().push(note);
        true
    }

    /// Makes everything durable, and tells what there is.
    pub(super) fn complete(self) -> Result<Totals, RehomeError> {
        let mut totals = Totals::default();
        for mut target in self.shards {
            target.store.finish()?;
            target.store.save_days().run().map_err(at(&self.path))?;
            target.save_notes().map_err(at(&self.path))?;
            totals += target.store.totals();
        }
        Ok(totals)
    }
}

/// A shard that is being filled.
#[derive(Debug)]
struct Target<D: Disk> {
    store: LogStore<D>,
    notes: Notes,
    unsynced: usize,
}

impl<D: Disk> Target<D> {
    fn begin(
        disk: D,
        shard: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<Self, RehomeError> {
        let options = LogOptions {
            promise: Promise::Disk,
            ..options.clone()
        };
        let (store, _) = LogStore::open(disk, shard, Arc::clone(partitions), &options)?;
        Ok(Self {
            store,
            notes: Notes::new(),
            unsynced: 0,
        })
    }

    fn save_notes(&self) -> io::Result<()> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let mut batch = NotesBatch::default();
        for (notifier_id, notes) in &self.notes {
            batch.put(notifier_id, notes);
        }
        self.store.notes_file().replace(vec![batch])
    }

    /// Gets room for a change and counts it.
    fn supply(&mut self, bytes: usize) -> Result<(), RehomeError> {
        // A lack of space that opening only warned of is an error here, told as what it is.
        self.store.journal.retry();
        while let Some(prepare) = self.store.wants_segment() {
            self.store.segment_ready(prepare.run()).map_err(|source| {
                let file = PathBuf::from(self.store.journal.disk.describe(""));
                RehomeError::Io { file, source }
            })?;
        }
        self.unsynced += bytes;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.store.journal.sync_now()?;
            self.store.journal.release_memory();
        }
        Ok(())
    }
}
