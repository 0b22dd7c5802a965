//! A store that is filled from elsewhere.
//!
//! It is filled beside the place where it will be and moved there when it is complete and durable:
//! whenever the process ends, there is all of it or nothing.

use super::manifest::{Manifest, generation};
use super::origin::Origin;
use super::rehome::{DAMAGED, STORE_FOLDER};
use super::rehome_error::{RehomeError, at};
use super::targets::Targets;
use super::{Directory, LogOptions, Partitions};
use crate::store::hand_over;
use crate::store::reference::{ImportSink, SinkError, Statistics};
use crate::store::{
    ActiveDays, Id, LinkContent, Message, Note, QueueRecord, ServiceRecord, StoreError, Totals,
};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directory of a store that is not complete, in the state directory.
const UNFINISHED_FOLDER: &str = "smp-server-store.unfinished";

/// A store being filled; what was written is removed unless it is [published](Self::publish).
pub struct ImportedStore<'a> {
    state: PathBuf,
    manifest: Manifest,
    /// Gone once everything is durable.
    targets: Option<Targets>,
    progress: &'a mut dyn FnMut(u64, u64),
    statistics: &'a mut dyn FnMut(&Statistics),
}

impl<'a> ImportedStore<'a> {
    /// Begins a store of some shards in a state directory. `progress` is told the bytes read and
    /// the bytes to be read; `statistics` gets counters, which no store keeps.
    pub fn begin(
        state: &Path,
        shards: u16,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
        progress: &'a mut dyn FnMut(u64, u64),
        statistics: &'a mut dyn FnMut(&Statistics),
    ) -> Result<Self, RehomeError> {
        remove_unfinished(state)?;
        let mut this = Self {
            state: state.to_owned(),
            manifest: Manifest::first(shards),
            targets: None,
            progress,
            statistics,
        };
        let path = state.join(UNFINISHED_FOLDER);
        Directory::open(&path).map_err(at(&path))?;
        let first = generation(&path, this.manifest.generation);
        this.targets = Some(Targets::begin(&first, shards, partitions, options)?);
        // Whoever starts next can remove this if it stays.
        hand_over(state, &path);
        Ok(this)
    }

    /// Puts the store in the place of one that holds nothing, and tells what it holds.
    pub fn publish(mut self, origin: Origin) -> Result<Totals, RehomeError> {
        let unfinished = self.state.join(UNFINISHED_FOLDER);
        let totals = match self.targets.take() {
            Some(targets) => targets.complete()?,
            None => Totals::default(),
        };
        self.manifest.origin = origin;
        self.manifest.write(&unfinished)?;
        hand_over(&self.state, &unfinished);
        let path = self.state.join(STORE_FOLDER);
        keep_damaged(&self.state, &path)?;
        remove(&path)?;
        fs::rename(&unfinished, &path).map_err(at(&path))?;
        let state = File::open(&self.state).map_err(at(&self.state))?;
        state.sync_all().map_err(at(&self.state))?;
        Ok(totals)
    }

    fn targets(&mut self) -> Result<&mut Targets, SinkError> {
        let gone = || SinkError::Failed("the store is complete".into());
        self.targets.as_mut().ok_or_else(gone)
    }
}

impl Drop for ImportedStore<'_> {
    fn drop(&mut self) {
        self.targets = None;
        // The next one removes what stays.
        let _ = remove_unfinished(&self.state);
    }
}

/// Moves what was kept of damaged logs out of a store that is to go.
fn keep_damaged(state: &Path, store: &Path) -> Result<(), RehomeError> {
    let entries = match fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at(store))?,
    };
    for entry in entries {
        let kept = entry.map_err(at(store))?.path();
        if kept.extension().is_some_and(|end| end == DAMAGED)
            && let Some(name) = kept.file_name()
        {
            let name = format!("{STORE_FOLDER}.{}", name.display());
            let free = (1..).map(|n| match n {
                1 => state.join(&name),
                _ => state.join(format!("{name}-{n}")),
            });
            if let Some(moved) = free.into_iter().find(|path: &PathBuf| !path.exists()) {
                fs::rename(&kept, &moved).map_err(at(&kept))?;
                tracing::warn!("the damaged logs are kept in {}", moved.display());
            }
        }
    }
    Ok(())
}

/// Removes what an import left that did not come to its end.
pub(super) fn remove_unfinished(state: &Path) -> Result<(), RehomeError> {
    remove(&state.join(UNFINISHED_FOLDER))
}

fn remove(path: &Path) -> Result<(), RehomeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

impl From<RehomeError> for SinkError {
    fn from(error: RehomeError) -> Self {
        match error {
            RehomeError::Store(StoreError::Duplicate) => Self::InUse,
            error => Self::Failed(Box::new(error)),
        }
    }
}

fn taken(taken: bool) -> Result<(), SinkError> {
    taken.then_some(()).ok_or(SinkError::InUse)
}

impl ImportSink for ImportedStore<'_> {
    fn service(&mut self, service: ServiceRecord) -> Result<(), SinkError> {
        taken(self.targets()?.put_service(service)?)
    }

    fn queue(
        &mut self,
        record: QueueRecord,
        link: Option<LinkContent>,
        active: ActiveDays,
    ) -> Result<(), SinkError> {
        let targets = self.targets()?;
        taken(targets.has_room_for(&record))?;
        taken(targets.put_queue(&record, link, active)?.is_some())
    }

    fn message(&mut self, recipient_id: &Id, message: Message<'_>) -> Result<(), SinkError> {
        taken(self.targets()?.put_message(recipient_id, message)?)
    }

    fn notification(&mut self, notifier_id: &Id, note: Note) -> Result<(), SinkError> {
        taken(self.targets()?.put_note(notifier_id, note))
    }

    /// Days of use come with the queues.
    fn statistics(&mut self, statistics: &Statistics) -> Result<(), SinkError> {
        (self.statistics)(statistics);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }
}
