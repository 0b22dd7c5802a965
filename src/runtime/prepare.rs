//! Making the store of a state directory ready: its key, its condition, the number of its shards.

use super::partition_key::{self, KeyError, PartitionKey};
use super::server::RunError;
use super::storage;
use crate::config::settings::Settings;
use crate::relay::Partitioner;
use crate::store::log::{
    LogOptions, OpenError, Partitions, RehomeError, StoreDirectory, copies_on_write,
};
use crate::store::{Store, Totals};
use std::path::Path;
use std::sync::Arc;

/// What the executors of a store need.
pub struct Prepared {
    /// Secret of the state directory.
    pub key: PartitionKey,
    /// Homes of queues under this secret.
    pub partitioner: Partitioner,
    /// Where queues are kept, if they are.
    pub directory: Option<StoreDirectory>,
}

/// Finds the logs of a state directory and their key, or begins them.
///
/// Everything is moved when the number of shards is another than before. With `repair` a damaged
/// store is written again as far as it can be read, and one whose key is lost under another key.
pub fn prepare(
    settings: &Settings,
    state_dir: &Path,
    shards: u16,
    repair: bool,
) -> Result<Prepared, RunError> {
    let mut found = match settings.storage.enable {
        true => StoreDirectory::find(state_dir)?,
        false => None,
    };
    let key = match partition_key::of_store(state_dir, found.as_ref()) {
        Err(KeyError::Missing(_) | KeyError::Other(_)) if repair => {
            if let Some(directory) = &mut found {
                note_lost_key(directory)?;
            }
            partition_key::load_or_create(state_dir)?
        }
        key => key?,
    };
    let partitioner = Partitioner::new(&key, shards);
    let mut this = Prepared {
        key,
        partitioner,
        directory: None,
    };
    if !settings.storage.enable {
        return Ok(this);
    }
    let mut directory = match found {
        Some(directory) => directory,
        None => StoreDirectory::open(state_dir, shards)?,
    };
    let options = storage::options(settings, &this.key);
    if repair {
        self::repair(&mut directory, &this.key, &options)?;
    }
    note_origin(&mut directory, &this.key)?;
    if let Err(error) = directory.note_begun() {
        // A full disk must not keep the relay from starting; the next start does it.
        tracing::warn!("cannot note which shards have begun: {error}");
    }
    if copies_on_write(&directory.shard(0)) {
        tracing::warn!(
            "{} is on a file system that writes elsewhere what is overwritten (btrfs, zfs): a full \
             disk ends the relay. Use ext4 or xfs, or on btrfs a directory with `chattr +C` that the \
             store is moved to",
            state_dir.display()
        );
    }
    if directory.shards() != shards {
        tracing::info!(
            "moving queues from {} shards to {shards}...",
            directory.shards()
        );
        let partitions: Arc<dyn Partitions> = Arc::new(this.partitioner.clone());
        let report = directory.rehome(shards, &partitions, &options)?;
        tracing::info!(
            "moved {} queues and {} messages",
            report.moved.queues,
            report.moved.messages
        );
    }
    this.directory = Some(directory);
    Ok(this)
}

/// Writes a store again that is damaged or was written under another key; any other is left as it
/// is.
fn repair(
    directory: &mut StoreDirectory,
    key: &[u8; 16],
    options: &LogOptions,
) -> Result<(), RunError> {
    let partitions: Arc<dyn Partitions> = Arc::new(Partitioner::new(key, directory.shards()));
    match directory.totals(&partitions, options) {
        Ok(_) => tracing::info!("the store is not damaged"),
        Err(OpenError::Damaged(_)) => {
            let (report, kept) = directory.salvage(&partitions, options)?;
            for damage in &report.damage {
                tracing::warn!("skipped: {damage}");
            }
            tracing::warn!(
                "{} queues and {} messages could be read, {} ids belong to two queues and were left \
                 to one; the damaged logs are kept in {}",
                report.moved.queues,
                report.moved.messages,
                report.conflicts,
                kept.display()
            );
        }
        Err(error) => return Err(error.into()),
    }
    let check = partition_key::check_value(key);
    let written_under = directory.origin().key_check.as_ref();
    if written_under.is_some_and(|written| *written != check) {
        let report = directory.rekey(check, &partitions, options)?;
        tracing::warn!(
            "{} queues and {} messages were written anew under another partition key",
            report.moved.queues,
            report.moved.messages
        );
    }
    Ok(())
}

/// Has a store written anew under the next key, even if the process ends before that is done.
fn note_lost_key(directory: &mut StoreDirectory) -> Result<(), RehomeError> {
    let mut origin = directory.origin().clone();
    if origin.key_check.is_none() {
        // No check value of any key.
        origin.key_check = Some(String::new());
        directory.set_origin(origin)?;
    }
    Ok(())
}

/// Notes the key of a store that is new or was written by an early release, and that no other
/// imports are known.
fn note_origin(directory: &mut StoreDirectory, key: &[u8; 16]) -> Result<(), RehomeError> {
    let mut origin = directory.origin().clone();
    origin
        .key_check
        .get_or_insert_with(|| partition_key::check_value(key));
    origin.imported.get_or_insert_default();
    if origin == *directory.origin() {
        return Ok(());
    }
    directory.set_origin(origin)
}

/// Opens every shard, as a start does, and closes it, as a stop does; tells what there is.
pub fn open_and_close(
    settings: &Settings,
    state_dir: &Path,
    shards: u16,
    repair: bool,
) -> Result<Totals, RunError> {
    let prepared = prepare(settings, state_dir, shards, repair)?;
    let mut totals = Totals::default();
    let Some(directory) = &prepared.directory else {
        return Ok(totals);
    };
    for shard in 0..directory.shards() {
        let partitioner = &prepared.partitioner;
        let store = storage::open(settings, Some(directory), shard, partitioner, &prepared.key)?;
        totals += store.totals();
        storage::close(store)?;
    }
    Ok(totals)
}
