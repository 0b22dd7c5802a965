//! The durable store: append-only logs in mapped segments (docs/STORAGE.md).
//!
//! A shard writes three logs that share one numbering: queues, messages, and messages that lived
//! longer than the segment they came in. Memory holds where things are; what they are is in the
//! log. The caller drives everything that takes time: syncing, preparing and removing segments.

mod checks;
pub(in crate::store) mod codec;
mod compaction;
mod control;
mod cut;
mod damage;
mod days;
mod disk;
mod export;
mod extent;
mod frame;
mod import;
mod index;
mod journal;
mod manifest;
mod notes;
mod operations;
mod origin;
mod recovery;
mod rehome;
mod rehome_error;
mod replay;
mod run;
mod segment;
mod sketch;
mod slots;
mod store;
mod supply;
mod sync;
mod targets;
#[cfg(test)]
mod tests;
mod walk;

pub use cut::{Cut, CutSegment};
pub use damage::{Damage, OpenError, RecoveryReport};
pub use days::{DaysWalk, FILE as DAYS_FILE, SaveDays};
pub use disk::{Disk, Memory, SegmentFile};
pub use export::ExportedStore;
pub use import::ImportedStore;
pub use manifest::Manifest;
pub use notes::{FILE as NOTES_FILE, MAGIC as NOTES_MAGIC, Notes, NotesBatch, NotesFile};
pub use origin::Origin;
pub use rehome::{RehomeReport, STORE_FOLDER, StoreDirectory};
pub use rehome_error::RehomeError;
pub use segment::{Directory, Mapped, MappedFile, copies_on_write};
pub use store::{Footprint, LogStore};
pub use supply::{PrepareSegment, Prepared, RemoveSegment, Removed, WarmSegment};
pub use sync::{SyncFailed, SyncRequest};

use crate::store::Id;
use std::fmt;

/// Number of logs of a shard.
pub const LOGS: usize = 3;

/// Smallest segment; every record but the longest fits in one.
pub const MIN_SEGMENT_LEN: usize = 16 * 1024;
/// Largest segment: offsets are 32 bits.
pub const MAX_SEGMENT_LEN: usize = 1 << 30;

/// One of the logs of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogId {
    /// Queues, links, aliases, services.
    Queues,
    /// Messages as they come, acknowledgements.
    Messages,
    /// Messages that were moved out of the way.
    Leftovers,
}

impl LogId {
    /// All of them.
    pub const ALL: [Self; LOGS] = [Self::Queues, Self::Messages, Self::Leftovers];

    fn tag(self) -> u8 {
        self as u8 + 1
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|log| log.tag() == tag)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queues => "queues",
            Self::Messages => "messages",
            Self::Leftovers => "leftover messages",
        })
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Number of the segment's file.
    pub segment: u16,
    /// Bytes from its beginning.
    pub offset: u32,
}

/// Which partition an id belongs to, and which shard a partition.
pub trait Partitions: fmt::Debug + Send + Sync {
    /// Partition of an id.
    fn partition(&self, id: &Id) -> u16;

    /// Shard of a partition.
    fn shard(&self, partition: u16) -> u16;
}

/// When a change counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Promise {
    /// Once it is on the disk: survives loss of power.
    #[default]
    Disk,
    /// At once: survives the end of the process. Syncing still is needed to use space again.
    Process,
}

/// How a shard's store is run.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of a segment, the same in all runs of a directory.
    pub segment_len: usize,
    /// When a change counts as durable.
    pub promise: Promise,
    /// Secret under which ids are hashed in memory.
    pub index_key: [u8; 16],
}
