//! Taking over the state of a reference server, and giving it back.
//!
//! The caller holds the lock of the state directory.

use super::partition_key::{self, KeyError};
use super::shard::whole_seconds;
use super::statistics::{RecordFile, RecordFileError};
use super::{placement, server, storage};
use crate::config::settings::Settings;
use crate::control::SavedStatistics;
use crate::relay::Partitioner;
use crate::store::hand_over;
use crate::store::log::{
    ExportedStore, ImportedStore, OpenError, Origin, Partitions, RehomeError, STORE_FOLDER,
    StoreDirectory,
};
use crate::store::reference::file_names::{MESSAGES, NOTIFICATIONS, STATISTICS};
use crate::store::reference::file_names::{STORE_LOG, STORE_LOG_START};
use crate::store::reference::{
    ExportError, ExportOptions, ExportReport, ImportError, ImportOptions, ImportReport, SourceFile,
    Statistics, Warnings, changed_files, check_dir, export_dir, import_dir, source_files,
};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Has all warnings of an import that are too many to be told, in the state directory.
const WARNINGS_FILE: &str = "smp-server-import-warnings.log";

/// Why nothing was imported or exported.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// The configuration says that nothing is kept.
    #[error("nothing is kept: set `enable = on` in section [STORE_LOG]")]
    Disabled,
    /// Imported queues would mix with those that are there.
    #[error(
        "the store of this server holds {queues} queues and {services} services already. To import \
         anew in their place, move {} away",
        store.display()
    )]
    NotEmpty {
        /// The store.
        store: PathBuf,
        /// Queues there.
        queues: u64,
        /// Services there.
        services: u64,
    },
    /// There is nothing to export.
    #[error("there is no store of this server in {}", .0.display())]
    NoStore(PathBuf),
    /// Something could not be taken over, and that was not allowed.
    #[error(
        "something would be lost, in {} places, see above. To leave out what they name: --skip-warnings",
        .0.losses()
    )]
    Warnings(Box<Warnings>),
    /// The files of the reference cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// They cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The store of the state directory cannot be used or written.
    #[error(transparent)]
    Directory(#[from] RehomeError),
    /// A shard cannot be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Counters cannot be read or written.
    #[error("{0}. Without this file counters are left out")]
    Statistics(#[from] RecordFileError),
    /// The secret of the state directory is missing, another, or cannot be read or made.
    #[error(transparent)]
    PartitionKey(#[from] KeyError),
    /// A file of the reference cannot be looked at.
    #[error("{}: {source}", file.display())]
    Look {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A reference server has run since its state was imported, or beside this server.
    #[error(
        "{} of a reference server in {} changed after this server had made or imported its store: \
         what they hold is not in it. To go on with the queues of this server, move these files \
         away. To take over those of the reference instead, move {STORE_FOLDER} away; the next \
         start imports anew",
        names.join(", "), state.display()
    )]
    Stale {
        /// The files that differ.
        names: Vec<String>,
        /// The state directory.
        state: PathBuf,
    },
    /// A reference server runs.
    #[error("{} changed while they were read: stop the reference server first", .0.join(", "))]
    Running(Vec<String>),
}

impl From<(PathBuf, io::Error)> for MigrationError {
    fn from((file, source): (PathBuf, io::Error)) -> Self {
        Self::Look { file, source }
    }
}

/// Whether a state directory holds queues of the reference server.
pub fn has_reference_state(state: &Path) -> bool {
    [STORE_LOG, STORE_LOG_START]
        .iter()
        .any(|name| state.join(name).is_file())
}

/// Whether a start has to import first: there are queues of the reference, and no store yet. A
/// store that is older than they are is refused.
pub fn is_due(settings: &Settings, state: &Path) -> Result<bool, MigrationError> {
    if !settings.storage.enable || !has_reference_state(state) {
        return Ok(false);
    }
    let Some(mut store) = StoreDirectory::find(state)? else {
        return Ok(true);
    };
    let files = source_files(state)?;
    refuse_stale(&store, &files, state)?;
    if store.origin().imported.is_none() {
        store.set_origin(Origin {
            imported: Some(files),
            ..store.origin().clone()
        })?;
    }
    Ok(false)
}

/// Whether a start would use the store that is there, with the key that is there. Changes nothing:
/// a server may be running.
pub fn check_store(settings: &Settings, state: &Path) -> Result<(), MigrationError> {
    if !settings.storage.enable {
        return Ok(());
    }
    let Some(store) = StoreDirectory::peek(state)? else {
        return Ok(());
    };
    partition_key::of_store(state, Some(&store))?;
    match has_reference_state(state) {
        true => refuse_stale(&store, &source_files(state)?, state),
        false => Ok(()),
    }
}

/// Refuses a store that is older than the files of the reference beside it.
fn refuse_stale(
    store: &StoreDirectory,
    files: &[SourceFile],
    state: &Path,
) -> Result<(), MigrationError> {
    let changed = match &store.origin().imported {
        Some(imported) => changed_files(imported, files),
        // An early release has not noted them, but it wrote the manifest after it had read them.
        None => changed_since(files, store.written_at()?),
    };
    if changed.is_empty() {
        return Ok(());
    }
    Err(MigrationError::Stale {
        names: changed,
        state: state.to_owned(),
    })
}

/// Names of the files that were changed after a time.
fn changed_since(files: &[SourceFile], time: SystemTime) -> Vec<String> {
    let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos());
    let later = files
        .iter()
        .filter(|file| i128::from(file.modified_ns) > nanos.cast_signed());
    later.map(|file| file.name.clone()).collect()
}

/// Fills the store from the files of the reference server, none of which is changed. `progress` is
/// told the bytes read and the bytes to be read. On an error there is no store that was not there
/// before.
pub fn import(
    settings: &Settings,
    state: &Path,
    skip_warnings: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ImportReport, MigrationError> {
    if !settings.storage.enable {
        return Err(MigrationError::Disabled);
    }
    server::raise_descriptor_limit();
    let present = StoreDirectory::find(state)?;
    let key = partition_key::of_store(state, present.as_ref())?;
    let options = storage::options(settings, &key);
    if let Some(directory) = present {
        let totals = directory.totals(&partitions(&key, directory.shards()), &options)?;
        let (queues, services) = (totals.queues, totals.services());
        if queues > 0 || services > 0 {
            return Err(MigrationError::NotEmpty {
                store: state.join(STORE_FOLDER),
                queues,
                services,
            });
        }
    }
    let shards = server::shard_count(settings, placement::allowed_cores().len());
    let homes = partitions(&key, shards);
    let day_starts_at = whole_seconds(settings.relay.stats_day_starts);
    let counted = Cell::new(None);
    let mut count = |statistics: &Statistics| {
        counted.set(Some(SavedStatistics::from_reference(
            statistics,
            day_starts_at,
        )));
    };
    let before = source_files(state)?;
    let mut store = ImportedStore::begin(state, shards, &homes, &options, progress, &mut count)?;
    let report = import_dir(state, &choices(settings, state), &mut store)?;
    let report = refuse_losses(report, skip_warnings)?;
    let changed = changed_files(&before, &source_files(state)?);
    if !changed.is_empty() {
        return Err(MigrationError::Running(changed));
    }
    if let Some(statistics) = counted.get() {
        let file = RecordFile::of(state);
        let mut record = file.load_or_keep_aside().unwrap_or_default();
        record.statistics = statistics;
        // Before the store: what is there without it is replaced by the next import.
        file.save(&record)?;
    }
    store.publish(Origin {
        key_check: Some(partition_key::check_value(&key)),
        imported: Some(before),
    })?;
    Ok(report)
}

/// Reads what [`import`] would, and keeps nothing.
pub fn check(
    settings: &Settings,
    state: &Path,
    skip_warnings: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ImportReport, MigrationError> {
    if !settings.storage.enable {
        return Err(MigrationError::Disabled);
    }
    let report = check_dir(state, &choices(settings, state), progress)?;
    refuse_losses(report, skip_warnings)
}

fn choices(settings: &Settings, state: &Path) -> ImportOptions {
    ImportOptions {
        quota: settings.relay.msg_queue_quota as usize,
        warnings_file: Some(state.join(WARNINGS_FILE)),
        day_starts_at: whole_seconds(settings.relay.stats_day_starts),
        ..ImportOptions::default()
    }
}

/// Lets nothing be lost without being asked.
fn refuse_losses(
    report: ImportReport,
    skip_warnings: bool,
) -> Result<ImportReport, MigrationError> {
    if report.warnings.losses() > 0 && !skip_warnings {
        return Err(MigrationError::Warnings(Box::new(report.warnings)));
    }
    Ok(report)
}

/// Writes the files that a reference server starts from into a directory that has none of them.
pub fn export(
    settings: &Settings,
    state: &Path,
    directory: &Path,
) -> Result<ExportReport, MigrationError> {
    server::raise_descriptor_limit();
    let Some(store) = StoreDirectory::find(state)? else {
        return Err(MigrationError::NoStore(state.to_owned()));
    };
    let key = partition_key::of_store(state, Some(&store))?;
    let homes = partitions(&key, store.shards());
    let mut source = ExportedStore::read(&store, &homes, &storage::options(settings, &key))?;
    let record = RecordFile::of(state).load()?;
    if let Some(record) = &record {
        let statistics = record.statistics.to_reference(source.totals().queues);
        source.set_statistics(statistics);
    }
    let options = ExportOptions {
        today: record.map_or(0, |record| record.statistics.day),
    };
    let report = export_dir(directory, &options, &mut rand::rng(), &mut source)?;
    for name in [STORE_LOG, MESSAGES, NOTIFICATIONS, STATISTICS] {
        let file = directory.join(name);
        if file.exists() {
            hand_over(state, &file);
        }
    }
    Ok(report)
}

fn partitions(key: &[u8; 16], shards: u16) -> Arc<dyn Partitions> {
    Arc::new(Partitioner::new(key, shards))
}

#[cfg(test)]
mod tests;
