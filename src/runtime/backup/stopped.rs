//! A backup of a relay that does not run; the caller holds the lock of the state directory.

use super::error::{BackupError, writing};
use super::files::{list, open_file};
use super::writer::{BackupWriter, Facts, SECRET};
use super::{BackupManifest, CONFIGURATION, Places, STATISTICS_FILES, in_state, state_path};
use crate::relay::Partitioner;
use crate::runtime::partition_key;
use crate::store::log::{DAYS_FILE, LogOptions, NOTES_FILE, Partitions, Promise, StoreDirectory};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

/// How often statistics are read until they did not change meanwhile; they change every ten
/// seconds.
const ATTEMPTS: usize = 20;

/// Makes a backup. The store is read first, so that no damaged one is taken for a good backup.
pub fn back_up_stopped(
    places: &Places,
    target: &Path,
    configuration: bool,
) -> Result<BackupManifest, BackupError> {
    let state = &places.state;
    let store = StoreDirectory::find(state)?.ok_or_else(|| BackupError::NoStore(state.clone()))?;
    let key = partition_key::of_store(state, Some(&store))?;
    let homes: Arc<dyn Partitions> = Arc::new(Partitioner::new(&key, store.shards()));
    let totals = store.totals(&homes, &read_only())?;
    let sources = places.sources(&store, configuration);
    let mut writer = BackupWriter::begin(target, &sources)?;
    let mut segments = Vec::new();
    for shard in 0..store.shards() {
        let folder = store.shard(shard);
        let in_use = store.segments_in_use(shard).map_err(writing(&folder))?;
        segments.extend(in_use.into_iter().map(|name| folder.join(name)));
    }
    for segment in &segments {
        let len = segment.metadata().map_err(writing(segment))?.len();
        writer.plan(len);
    }
    for segment in segments {
        copy_state(&mut writer, state, &segment)?;
    }
    for shard in 0..store.shards() {
        for name in [DAYS_FILE, NOTES_FILE] {
            let file = store.shard(shard).join(name);
            if file.try_exists().map_err(writing(&file))? {
                copy_state(&mut writer, state, &file)?;
            }
        }
    }
    copy_rest(&mut writer, places, &store)?;
    if configuration {
        copy_configuration(&mut writer, places)?;
    }
    writer.finish(Facts {
        shards: store.shards(),
        queues: totals.queues,
        messages: totals.messages,
        configuration,
    })
}

/// How a store is read that will not be written.
pub(super) fn read_only() -> LogOptions {
    LogOptions {
        segment_len: crate::store::log::MIN_SEGMENT_LEN,
        promise: Promise::Disk,
        index_key: rand::random(),
    }
}

fn copy_state(writer: &mut BackupWriter, state: &Path, file: &Path) -> Result<(), BackupError> {
    let path = state_path(state, file).ok_or_else(|| BackupError::Name(file.to_owned()))?;
    writer.copy(file, path, SECRET, None)
}

/// Copies what all shards share.
pub(super) fn copy_rest(
    writer: &mut BackupWriter,
    places: &Places,
    store: &StoreDirectory,
) -> Result<(), BackupError> {
    let state = &places.state;
    copy_state(writer, state, &store.manifest_file())?;
    copy_state(writer, state, &state.join(partition_key::FILE))?;
    let statistics = read_statistics(|name| {
        let file = state.join(name);
        read_if_there(&file).map_err(writing(&file))
    })?;
    for (name, content) in STATISTICS_FILES.into_iter().zip(statistics) {
        if let Some(content) = content {
            writer.put(in_state(name), [content])?;
        }
    }
    Ok(())
}

/// Reads the files of statistics as they were at one moment. A running server may end a day
/// meanwhile: the row would be in the second, and its counters still in the first.
pub(super) fn read_statistics(
    mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, BackupError>,
) -> Result<[Option<Vec<u8>>; 2], BackupError> {
    let [record, rows] = STATISTICS_FILES;
    let mut before = read(record)?;
    for _ in 0..ATTEMPTS {
        let rows = read(rows)?;
        let after = read(record)?;
        if before == after {
            return Ok([after, rows]);
        }
        before = after;
    }
    Err(BackupError::Changing)
}

/// A file as a whole; a new relay has none.
fn read_if_there(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match open_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?.read_to_end(&mut bytes)?,
    };
    Ok(Some(bytes))
}

/// Copies the configuration with certificates and keys.
pub(super) fn copy_configuration(
    writer: &mut BackupWriter,
    places: &Places,
) -> Result<(), BackupError> {
    let from = &places.configuration;
    for path in list(from).map_err(writing(from))? {
        let file = from.join(&path);
        let name = path
            .to_str()
            .ok_or_else(|| BackupError::Name(file.clone()))?;
        writer.copy_configured(&file, format!("{CONFIGURATION}/{name}"))?;
    }
    Ok(())
}
