//! What can go wrong, and what to do about it.

use crate::store::log::{OpenError, RehomeError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no backup.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file system refused something.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no secret under which ids can be found.
    #[error(transparent)]
    Key(#[from] crate::runtime::partition_key::KeyError),
    /// The directory is in use.
    #[error("{} is not empty: choose a directory that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// There is something else.
    #[error("{} is not a directory: choose one that does not exist yet", .0.display())]
    NotDirectory(PathBuf),
    /// A finished backup could not take its name.
    #[error(
        "{at} is a mount point: choose a directory in it that does not exist yet, such as {at}/today",
        at = .0.display()
    )]
    MountPoint(PathBuf),
    /// What seems to be left of another backup is something else.
    #[error("{} is in the way and is no unfinished backup: move it away", .0.display())]
    InTheWay(PathBuf),
    /// The same backup is being made.
    #[error("another backup is being written to {}", .0.display())]
    Busy(PathBuf),
    /// The backup would be a part of what it copies, or be removed with it.
    #[error("{} is inside of what is copied: choose another directory", .0.display())]
    Inside(PathBuf),
    /// It would not fit.
    #[error(
        "not enough space for {}: {needed} bytes are needed, {free} are free. Free some or choose \
         another directory",
        directory.display()
    )]
    NoSpace {
        /// Where.
        directory: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes there are.
        free: u64,
    },
    /// A file has a name that the list of files cannot have.
    #[error("{} has a name that is no UTF-8: rename it", .0.display())]
    Name(PathBuf),
    /// There is nothing to back up.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// The configuration says that nothing is kept.
    #[error(
        "nothing is kept, so there is nothing to back up: `enable` is off in section [STORE_LOG]"
    )]
    Disabled,
    /// One backup at a time.
    #[error("another backup is being made, wait for its end")]
    AnotherRuns,
    /// The relay ends.
    #[error("the server stops")]
    Stopping,
    /// The shards were not still at the same time.
    #[error("the shards could not be held together in time, try again when there is less to do")]
    NotStill,
    /// They were saved again and again.
    #[error("statistics changed whenever they were read, try again")]
    Changing,
    /// The store cannot be used.
    #[error(transparent)]
    Directory(#[from] RehomeError),
    /// A shard is damaged.
    #[error(transparent)]
    Store(#[from] OpenError),
}

/// Why nothing was restored. What was there is as it was, unless the error says something else.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The file system refused something.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no secret under which ids can be found.
    #[error(transparent)]
    Key(#[from] crate::runtime::partition_key::KeyError),
    /// There is no list of files.
    #[error(
        "{at} is no complete backup: it has no {name}. A backup that was interrupted ends in .partial",
        at = .0.display(), name = super::manifest::FILE
    )]
    Incomplete(PathBuf),
    /// Something is not as it was written.
    #[error("the backup is damaged: {}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A later release made it.
    #[error("{} has version {version}, which this release does not know", file.display())]
    Version {
        /// The list of files.
        file: PathBuf,
        /// Its version.
        version: u64,
    },
    /// Something is there that would be replaced.
    #[error(
        "{} has {what} already. With --yes it is moved aside, into {} there",
        directory.display(), aside
    )]
    Exists {
        /// State or configuration directory.
        directory: PathBuf,
        /// What is there.
        what: &'static str,
        /// Where it would go.
        aside: String,
    },
    /// It was made without.
    #[error("{} was made without --with-configuration", .0.display())]
    NoConfiguration(PathBuf),
    /// What was copied does not have what the backup says.
    #[error(
        "the copy of the backup has {found} {what} instead of {expected}: the backup cannot be used"
    )]
    Differs {
        /// Queues or messages.
        what: &'static str,
        /// How many the copy has.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// The new state counts, but is not in its place.
    #[error(
        "the backup is restored but for its last steps: {}: {source}. The next command or start \
         that uses the state directory makes them",
        file.display()
    )]
    NotEnded {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some files of the configuration were replaced, others not.
    #[error(
        "{}: {source}. The state is as it was, but {replaced} of {files} files of the \
         configuration were replaced: restore again, or copy back those before from {}",
        file.display(), aside.display()
    )]
    Mixed {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
        /// How many were replaced.
        replaced: usize,
        /// How many were to be.
        files: usize,
        /// Where those before are, if there were any.
        aside: PathBuf,
    },
    /// What was copied cannot be opened.
    #[error("the copy of the backup cannot be used: {0}")]
    Directory(#[from] RehomeError),
    /// What was copied cannot be opened.
    #[error("the copy of the backup cannot be used: {0}")]
    Store(#[from] OpenError),
}

/// An error of making a backup, with its file.
pub(super) fn writing(file: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let file = file.to_owned();
    move |source| BackupError::Io { file, source }
}

/// An error of restoring, with its file.
pub(super) fn restoring(file: &Path) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let file = file.to_owned();
    move |source| RestoreError::Io { file, source }
}
