//! A point in time of the logs, kept as it is while its files are copied (docs/STORAGE.md).
//!
//! The files of a cut look like those of a process that was killed at that moment: everything up to
//! the last record is there, so recovery finds all of it.

use super::control::{Beginning, HEADER_LEN, Header};
use super::disk::{Disk, Memory};
use super::journal::Journal;
use super::rehome::StoreDirectory;
use super::store::LogStore;
use super::supply::{file_name, file_number};
use crate::store::Totals;
use std::fs::{self, File};
use std::io::{self, Read};

/// A segment as it was at a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutSegment {
    /// Name of its file.
    pub name: String,
    /// Bytes from its beginning that belong to the cut; they do not change while it is pinned.
    pub len: u64,
    /// Bytes of the whole file; what is behind `len` is to be zeros.
    pub size: u64,
}

/// What the files of a shard are at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// All segments in use, and those whose end no durable record attests yet.
    pub segments: Vec<CutSegment>,
    /// What the store held.
    pub totals: Totals,
}

impl<D: Disk> Journal<D> {
    /// Notes where the logs end and keeps the segments from being used again, until
    /// [`unpin`](Self::unpin).
    fn pin(&mut self) -> Vec<CutSegment> {
        self.unpin();
        let mut segments = Vec::new();
        for log in &self.logs {
            let last = log.segments.back();
            for file in &log.segments {
                let end = (Some(file) == last).then_some(log.end);
                segments.extend(self.cut_segment(*file, end));
                self.pinned.insert(*file);
            }
        }
        // Without their records the numbering might look incomplete from the first of them on.
        for (file, _) in &self.retired {
            segments.extend(self.cut_segment(*file, None));
            self.pinned.insert(*file);
        }
        segments
    }

    fn cut_segment(&self, file: u16, end: Option<usize>) -> Option<CutSegment> {
        let size = self.segment(file)?.memory.bytes().len();
        Some(CutSegment {
            name: file_name(file),
            len: end.unwrap_or(size).min(size) as u64,
            size: size as u64,
        })
    }

    fn unpin(&mut self) {
        self.pinned.clear();
        for file in std::mem::take(&mut self.outlived) {
            self.reuse(file);
        }
    }
}

impl StoreDirectory {
    /// Names of the segments in use of a shard that nobody has opened; all others are not needed.
    pub fn segments_in_use(&self, shard: u16) -> io::Result<Vec<String>> {
        let folder = self.shard(shard);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str().filter(|name| file_number(name).is_some()) else {
                continue;
            };
            let mut beginning = [0; HEADER_LEN];
            File::open(folder.join(name))?.read_exact(&mut beginning)?;
            if !matches!(Header::decode(&beginning), Beginning::Unused(_)) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

impl<D: Disk> LogStore<D> {
    /// Notes what is there now and keeps its files as they are until [`end_cut`](Self::end_cut);
    /// another cut ends this one. Costs a look at each segment, whatever the disk does.
    pub fn cut(&mut self) -> Cut {
        Cut {
            segments: self.journal.pin(),
            totals: self.totals,
        }
    }

    /// Lets the files of a cut be used again.
    pub fn end_cut(&mut self) {
        self.journal.unpin();
    }

    /// Whether files are kept for a cut.
    pub fn is_cut(&self) -> bool {
        !self.journal.pinned.is_empty()
    }
}
