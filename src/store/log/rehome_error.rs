//! Why the logs of a state directory cannot be used or moved.

use super::{OpenError, SyncFailed};
use crate::store::StoreError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why everything could not be moved. The old directory still counts.
#[derive(Debug, Error)]
pub enum RehomeError {
    /// A shard cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file system refused something.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{} is damaged: {reason}", file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The logs were written by a later release.
    #[error(
        "{} has format {version}, which this release does not know: start the release that wrote \
         it, or restore a backup of this one",
        file.display()
    )]
    Version {
        /// The manifest.
        file: PathBuf,
        /// Its format.
        version: u32,
    },
    /// What was read could not be written again.
    #[error("cannot write a shard: {0}")]
    Store(#[from] StoreError),
    /// What was written could not be made durable.
    #[error(transparent)]
    Sync(#[from] SyncFailed),
    /// There is no room for all of it a second time.
    #[error(
        "{}: {source}. Everything is written again beside what there is, for which as much space \
         must be free as the logs take; the old logs are as they were. To go on with them, set \
         `shards = {shards}` under [RELAY]",
        file.display()
    )]
    NoSpace {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
        /// Shards that the old logs have.
        shards: u16,
    },
}

pub(super) fn at(file: &Path) -> impl FnOnce(io::Error) -> RehomeError + use<> {
    let file = file.to_owned();
    move |source| RehomeError::Io { file, source }
}

pub(super) fn damaged(file: &Path, reason: String) -> RehomeError {
    let file = file.to_owned();
    RehomeError::Manifest { file, reason }
}
