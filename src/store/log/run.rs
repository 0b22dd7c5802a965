//! The beginning of a run: from what counts of the logs to where they are written.

use super::LogId;
use super::control::{Control, Header};
use super::disk::{Disk, Memory};
use super::frame::{self, Head};
use super::journal::{Journal, Log};
use super::sync::SyncFailed;
use zeroize::Zeroizing;

impl<D: Disk> Journal<D> {
    /// Says of files that they are not in use, and which run it is.
    fn void(&mut self, files: Vec<u16>) {
        let header = Header::void(self.run);
        for file in files {
            if let Some(segment) = self.segment_mut(file) {
                Header::write(&mut segment.memory, &header);
                self.touch(file);
            }
        }
    }

    /// Begins to write where what counts ends. Each step is durable before the next: whatever ends
    /// this half-way, the next opening finds what this one found.
    pub(super) fn begin_run(&mut self) -> Result<(), SyncFailed> {
        self.write_again();
        // The numbers of what does not count are given again. Were it still there when only some of
        // those records are, it would count after all.
        let unused = std::mem::take(&mut self.unused);
        self.void(unused);
        self.mark_ends();
        self.sync_now()?;
        for log in LogId::ALL {
            if !self.log(log).segments.is_empty() {
                self.resume(log);
            }
        }
        self.sync_now()?;
        self.checkpoint();
        self.sync_now()?;
        // That these are not needed is attested only now.
        let unused = self.ready.iter().chain(&self.odd).copied().collect();
        self.void(unused);
        self.sync_now()
    }

    /// Writes again what may not be durable. A sync alone would not do: after one that failed, the
    /// system shows what it has, but does not write it any more.
    fn write_again(&mut self) {
        for (file, range) in std::mem::take(&mut self.undurable) {
            if let Some(segment) = self.segment_mut(file) {
                let start = range.start;
                let bytes = Zeroizing::new(segment.memory.bytes()[range].to_vec());
                segment.memory.write(start, &bytes);
                self.touch(file);
            }
        }
    }

    /// Ends the logs where what counts ends.
    fn mark_ends(&mut self) {
        for log in LogId::ALL {
            let Log { segments, end, .. } = self.log(log);
            let (last, end) = (segments.back().copied(), *end);
            let Some(file) = last else {
                continue;
            };
            if let Some(segment) = self.segment_mut(file)
                && end + frame::END.len() <= segment.memory.bytes().len()
            {
                segment.memory.write(end, &frame::END);
                self.touch(file);
            }
        }
    }

    /// Voids whatever lies behind the end of a log, which another run may have written.
    fn resume(&mut self, log: LogId) {
        let (run, len) = (self.run, self.head_len(log).unwrap_or(0));
        let control = Control::Resume { run };
        let payload = control.encode();
        let written = Head::new(control.kind(), 0, payload.len())
            .and_then(|head| self.write(log, head, &[&payload]));
        // Where it does not fit, no record is behind the end.
        self.log_mut(log).run = run;
        if written.is_none() {
            self.log_mut(log).end = len;
        }
    }
}
