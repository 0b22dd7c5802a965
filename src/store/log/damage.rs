//! What is wrong with a store that is opened.

use super::sync::SyncFailed;
use std::fmt;
use std::io;
use thiserror::Error;

/// Something that cannot be read, or is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Bytes from its beginning.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

/// Why a store is not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file system refused something.
    #[error("{file}: {source}")]
    Io {
        /// The file or directory.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Something that was durable is damaged or missing.
    #[error("the store is damaged: {0}")]
    Damaged(Damage),
    /// A file was written by a later release.
    #[error("{file} has format {version}, which this release does not know")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The size of segments is out of bounds.
    #[error("segments of {0} bytes are too small or too large")]
    SegmentLen(usize),
    /// What was recovered could not be made durable.
    #[error(transparent)]
    Sync(#[from] SyncFailed),
}

/// What was found when a store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments in use.
    pub segments: usize,
    /// Records read.
    pub records: u64,
    /// Records at the end that were never durable and do not count, because one before them is
    /// missing.
    pub dropped: u64,
    /// What is damaged and was skipped.
    pub damage: Vec<Damage>,
}

/// What to do about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDamage {
    /// Open nothing.
    Refuse,
    /// Read what can be read.
    Skip,
}
