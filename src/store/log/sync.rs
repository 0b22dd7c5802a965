//! Making changes durable, many at a time.

use super::disk::{Disk, Memory, SegmentFile};
use super::journal::Journal;
use crate::store::Lsn;
use std::io;
use thiserror::Error;

/// What must be synced, and what is durable then.
#[derive(Debug)]
pub struct SyncRequest<F> {
    /// Every change up to here is durable once all files are synced.
    pub upto: Lsn,
    /// Files to sync, in any order.
    pub files: Vec<F>,
}

/// A file could not be synced. The process must end: what the kernel could not write it forgets, so
/// that another try would promise what is lost.
#[derive(Debug, Error)]
#[error(
    "cannot make {file} durable: {source}. The relay has to stop: what the disk did not take is \
     lost, and nobody was told that it was kept. Look for errors of the disk (`dmesg`, `smartctl`), \
     then start the relay again; on another disk, restore the state directory there first"
)]
pub struct SyncFailed {
    /// The file.
    pub file: String,
    /// Why.
    pub source: io::Error,
}

impl<F: SegmentFile> SyncRequest<F> {
    /// Syncs the files one after the other; returns what is durable then.
    pub fn run(&self) -> Result<Lsn, SyncFailed> {
        for file in &self.files {
            file.sync().map_err(|source| SyncFailed {
                file: file.describe(),
                source,
            })?;
        }
        Ok(self.upto)
    }
}

impl<D: Disk> Journal<D> {
    /// What is to be synced, if anything is and nothing is being synced.
    pub fn pending_sync(&mut self) -> Option<SyncRequest<D::File>> {
        if self.is_syncing || self.dirty.is_empty() {
            return None;
        }
        self.is_syncing = true;
        self.attests = self.attesting;
        let files = self.take_dirty();
        let files = files
            .into_iter()
            .filter_map(|file| Some(self.segment(file)?.memory.file()))
            .collect();
        Some(SyncRequest {
            upto: Lsn(self.last),
            files,
        })
    }

    /// Syncs everything, waiting for it. Fails while a request is carried out, or if one failed.
    pub fn sync_now(&mut self) -> Result<(), SyncFailed> {
        if self.is_syncing {
            return Err(SyncFailed {
                file: self.disk.describe(""),
                source: io::Error::other("it is not known whether the last sync succeeded"),
            });
        }
        while let Some(request) = self.pending_sync() {
            let upto = request.run()?;
            self.synced(upto);
        }
        Ok(())
    }

    /// Notes that a request was carried out.
    pub fn synced(&mut self, upto: Lsn) {
        self.is_syncing = false;
        self.synced = self.synced.max(upto.0);
        self.attested = self.attested.max(self.attests);
        self.recycle();
    }
}
