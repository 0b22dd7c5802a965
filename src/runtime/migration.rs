//! Taking over the state of a reference server, and giving it back.
//!
//! The caller holds the lock of the state directory.

use super::shard::whole_seconds;
use super::statistics::{RecordFile, RecordFileError};
use super::{partition_key, placement, server, storage};
use crate::config::settings::Settings;
use crate::control::SavedStatistics;
use crate::relay::Partitioner;
use crate::store::log::{
    ExportedStore, ImportedStore, OpenError, Partitions, RehomeError, StoreDirectory,
};
use crate::store::reference::file_names::{STORE_LOG, STORE_LOG_START};
use crate::store::reference::{
    ExportError, ExportOptions, ExportReport, ImportError, ImportOptions, ImportReport, Statistics,
    Warnings, export_dir, import_dir,
};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use zeroize::Zeroizing;

/// Has all warnings of an import that are too many to be told, in the state directory.
const WARNINGS_FILE: &str = "smp-server-import-warnings.log";

/// Why nothing was imported or exported.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// The configuration says that nothing is kept.
    #[error("nothing is kept: set `enable = on` in section [STORE_LOG]")]
    Disabled,
    /// Imported queues would mix with those that are there.
    #[error("the store of this server holds {queues} queues and {services} services already")]
    NotEmpty {
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
        "nothing was imported: {} warnings, see above. To leave out what they name: \
         --skip-warnings",
        .0.count()
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
    /// The secret of the state directory cannot be read or made.
    #[error("{}: {source}", file.display())]
    PartitionKey {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Whether a state directory holds queues of the reference server.
pub fn has_reference_state(state: &Path) -> bool {
    [STORE_LOG, STORE_LOG_START]
        .iter()
        .any(|name| state.join(name).is_file())
}

/// Whether a start has to import first: there are queues of the reference, and no store yet.
pub fn is_due(settings: &Settings, state: &Path) -> Result<bool, MigrationError> {
    Ok(settings.storage.enable
        && has_reference_state(state)
        && StoreDirectory::find(state)?.is_none())
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
    let key = load_key(state)?;
    let options = storage::options(settings, &key);
    if let Some(directory) = StoreDirectory::find(state)? {
        let totals = directory.totals(&partitions(&key, directory.shards()), &options)?;
        let (queues, services) = (totals.queues, totals.services());
        if queues > 0 || services > 0 {
            return Err(MigrationError::NotEmpty { queues, services });
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
    let mut store = ImportedStore::begin(state, shards, &homes, &options, progress, &mut count)?;
    let choices = ImportOptions {
        quota: settings.relay.msg_queue_quota as usize,
        warnings_file: Some(state.join(WARNINGS_FILE)),
        day_starts_at,
        ..ImportOptions::default()
    };
    let report = import_dir(state, &choices, &mut store)?;
    if report.warnings.count() > 0 && !skip_warnings {
        return Err(MigrationError::Warnings(Box::new(report.warnings)));
    }
    if let Some(statistics) = counted.get() {
        let file = RecordFile::of(state);
        let mut record = file.load_or_keep_aside().unwrap_or_default();
        record.statistics = statistics;
        // Before the store: what is there without it is replaced by the next import.
        file.save(&record)?;
    }
    store.publish()?;
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
    let key = load_key(state)?;
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
    Ok(export_dir(
        directory,
        &options,
        &mut rand::rng(),
        &mut source,
    )?)
}

fn load_key(state: &Path) -> Result<Zeroizing<[u8; 16]>, MigrationError> {
    partition_key::load_or_create(state)
        .map_err(|(file, source)| MigrationError::PartitionKey { file, source })
}

fn partitions(key: &[u8; 16], shards: u16) -> Arc<dyn Partitions> {
    Arc::new(Partitioner::new(key, shards))
}
