//! Segments made ready before they are needed, and removed when there are too many.

use super::LogId;
use super::control::Header;
use super::disk::{Disk, Memory, SegmentFile};
use super::journal::{Journal, MARGIN, RESERVED_SEGMENTS, Segment};
use std::io;

/// Segments kept ready.
const READY_SEGMENTS: usize = 5;
/// Unused segments that are kept; more are removed.
const KEPT_SEGMENTS: usize = 8;
/// Of those, how many are kept in memory.
const WARM_SEGMENTS: usize = 2;
/// Bytes of records that the commands of one block make, with a large margin.
const BURST: usize = 256 << 10;
/// File numbers are below this.
const MAX_FILES: u16 = u16::MAX;
/// Ending of the names of segments.
const ENDING: &str = ".seg";

/// The name of a segment's file.
pub fn file_name(file: u16) -> String {
    format!("{file:05}{ENDING}")
}

/// The number in the name of a segment's file.
pub fn file_number(name: &str) -> Option<u16> {
    let digits = name.strip_suffix(ENDING)?;
    let file = digits.parse().ok()?;
    (file_name(file) == name && file < MAX_FILES).then_some(file)
}

/// Makes a segment ready; takes time and is meant for a thread of its own.
#[derive(Debug)]
pub struct PrepareSegment<D> {
    disk: D,
    file: u16,
    len: usize,
    run: u32,
}

/// A segment made ready, or why not.
#[derive(Debug)]
pub struct Prepared<D: Disk>(io::Result<D::Memory>);

impl<D: Disk> PrepareSegment<D> {
    /// Makes the file.
    pub fn run(self) -> Prepared<D> {
        let header = Header::void(self.run);
        Prepared(self.disk.create(&file_name(self.file), self.len, &header))
    }
}

/// Removes a segment; takes time and is meant for a thread of its own.
#[derive(Debug)]
pub struct RemoveSegment<D: Disk> {
    disk: D,
    file: u16,
    memory: D::Memory,
}

/// A segment that was removed, or why not.
#[derive(Debug)]
pub struct Removed {
    file: u16,
    result: io::Result<()>,
}

impl<D: Disk> RemoveSegment<D> {
    /// Removes the file. On an error it stays, unused, and is used by the next run.
    pub fn run(self) -> Removed {
        drop(self.memory);
        let result = self.disk.remove(&file_name(self.file));
        Removed {
            file: self.file,
            result,
        }
    }
}

/// Brings a segment into memory; takes time and is meant for a thread of its own.
#[derive(Debug)]
pub struct WarmSegment<F>(F);

impl<F: SegmentFile> WarmSegment<F> {
    /// Reads the file.
    pub fn run(self) -> io::Result<()> {
        self.0.warm()
    }
}

impl<D: Disk> Journal<D> {
    /// A segment to be prepared, when too few are ready and none is being prepared.
    pub fn wants_segment(&mut self) -> Option<PrepareSegment<D>> {
        if self.preparing.is_some() || self.failed || self.ready.len() >= READY_SEGMENTS {
            return None;
        }
        let file = (0..MAX_FILES)
            .find(|file| self.segment(*file).is_none() && !self.removed.contains(file));
        let Some(file) = file else {
            self.note_no_numbers();
            return None;
        };
        self.preparing = Some(file);
        Some(PrepareSegment {
            disk: self.disk.clone(),
            file,
            len: self.segment_len,
            run: self.run,
        })
    }

    /// Says once that there are as many files as can be.
    fn note_no_numbers(&mut self) {
        // Not looked for again before this process ends: that would take long.
        self.failed = true;
        if !std::mem::replace(&mut self.has_no_numbers, true) {
            tracing::error!(
                "shard {} has {MAX_FILES} log segments, more are not possible: new queues and \
                 messages are refused. Stop the relay, set a larger segment size and start it again",
                self.shard
            );
        }
    }

    /// Takes what was prepared, or tells why it could not be.
    pub fn segment_ready(&mut self, prepared: Prepared<D>) -> io::Result<()> {
        let file = self.preparing.take();
        match (prepared.0, file) {
            (Ok(memory), Some(file)) => {
                self.add_segment(file, Segment::unused(memory));
                self.ready.push(file);
                self.note_warm(file);
                Ok(())
            }
            (Ok(_), None) => Ok(()),
            (Err(error), _) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// Lets a failed preparation be tried again.
    pub(super) fn retry(&mut self) {
        self.failed = self.has_no_numbers;
    }

    /// One of the segments that are used next, which may not be in memory.
    pub fn cold_segment(&mut self) -> Option<WarmSegment<D::File>> {
        let next = self.ready.iter().rev().take(WARM_SEGMENTS).copied();
        let cold = next
            .filter_map(|file| Some((file, self.segment(file)?)))
            .find(|(_, segment)| !segment.is_warm);
        let (file, memory) = cold.map(|(file, segment)| (file, segment.memory.file()))?;
        self.note_warm(file);
        Some(WarmSegment(memory))
    }

    /// Notes that a segment is in memory, or soon.
    fn note_warm(&mut self, file: u16) {
        if let Some(segment) = self.segment_mut(file) {
            segment.is_warm = true;
        }
    }

    /// Notes that a segment was removed, or tells why not.
    pub fn segment_removed(&mut self, removed: Removed) -> io::Result<()> {
        removed.result?;
        self.removed.remove(&removed.file);
        self.has_no_numbers = false;
        Ok(())
    }

    /// Whether what comes next may need a segment that is still being prepared.
    pub(super) fn awaits_segment(&self) -> bool {
        let room = BURST.min(self.segment_len / 4) + self.segment_len / MARGIN;
        let is_filled = |log| self.room_at_head(log) < room;
        // What is not being prepared yet is about to be, unless it cannot be.
        !self.failed
            && !self.has_no_numbers
            && self.is_short()
            && [LogId::Queues, LogId::Messages].into_iter().any(is_filled)
    }

    /// Whether what fills the disk is refused once the segments that are written are full.
    pub(super) fn is_short(&self) -> bool {
        self.ready.len() <= RESERVED_SEGMENTS
    }

    /// An unused segment of which there are too many.
    pub fn surplus_segment(&mut self) -> Option<RemoveSegment<D>> {
        let file = match self.odd.pop() {
            Some(file) => file,
            None if self.ready.len() <= KEPT_SEGMENTS => return None,
            // The one used longest ago is the coldest.
            None => self.ready.remove(0),
        };
        let segment = self.segments.get_mut(usize::from(file))?.take()?;
        self.removed.insert(file);
        Some(RemoveSegment {
            disk: self.disk.clone(),
            file,
            memory: segment.memory,
        })
    }
}
