//! Opening a store: which records count, and whether any are missing.
//!
//! What counts is a beginning of the common numbering of all logs. It reaches at least as far as
//! any record says that everything was durable; up to there everything must be found. Behind, it
//! ends at the first number that is missing: that is where the power went.

use super::checks::mismatch;
use super::control::{Beginning, HEADER_LEN, Header};
use super::damage::{Damage, OnDamage, OpenError, RecoveryReport};
use super::disk::{Disk, Memory};
use super::extent::pieces_read;
use super::frame::Frame;
use super::index::IdHasher;
use super::journal::{Journal, Segment};
use super::replay::Replay;
use super::sketch::{Sketch, Sketches};
use super::store::LogStore;
use super::supply::{file_name, file_number};
use super::walk::{Walk, records};
use super::{LOGS, LogId, LogOptions, MAX_SEGMENT_LEN, MIN_SEGMENT_LEN, Partitions};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

impl<D: Disk> LogStore<D> {
    /// Opens the store of a shard in its directory, or begins one there.
    ///
    /// What an operating system or a machine lost at its end without having promised it is dropped.
    /// Anything else that is missing is an error: see [`OpenError::Damaged`].
    pub fn open(
        disk: D,
        shard: u16,
        partitions: Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let (mut store, report) = Self::read(disk, shard, partitions, options, OnDamage::Refuse)?;
        store.begin_run()?;
        Ok((store, report))
    }

    /// Reads a store without changing anything; it cannot be written.
    pub(super) fn read(
        disk: D,
        shard: u16,
        partitions: Arc<dyn Partitions>,
        options: &LogOptions,
        on_damage: OnDamage,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let len = options.segment_len;
        if !(MIN_SEGMENT_LEN..=MAX_SEGMENT_LEN).contains(&len) {
            return Err(OpenError::SegmentLen(len));
        }
        let mut recovery = Recovery {
            journal: Journal::new(disk, shard, len),
            on_damage,
            hasher: IdHasher::new(&options.index_key),
            walks: BTreeMap::new(),
            sketches: Sketches::new(),
            report: RecoveryReport::default(),
            upto: 0,
            tails: [0; LOGS],
        };
        recovery.load()?;
        recovery.judge()?;
        recovery.cut();
        let Recovery {
            journal,
            report,
            sketches,
            ..
        } = recovery;
        let mut replay = Replay::new(Self::over(journal, partitions, options), report);
        for log in LogId::ALL {
            for file in replay.store.journal.log(log).segments.clone() {
                if let Some(Some(sketch)) = sketches.get(usize::from(file)) {
                    replay.apply(file, sketch);
                }
            }
        }
        replay.attach_queues(&sketches);
        drop(sketches);
        let (store, mut report) = replay.finish();
        if on_damage == OnDamage::Refuse && !report.damage.is_empty() {
            return Err(OpenError::Damaged(report.damage.swap_remove(0)));
        }
        Ok((store, report))
    }

    /// Makes the store ready to be written.
    fn begin_run(&mut self) -> Result<(), OpenError> {
        let journal = &mut self.journal;
        journal.begin_run()?;
        self.opened_at = journal.last;
        while let Some(prepare) = journal.wants_segment() {
            // Without space the store still opens: it can be drained.
            if let Err(error) = journal.segment_ready(prepare.run()) {
                tracing::warn!("cannot prepare a segment: {error}");
            }
        }
        Ok(())
    }
}

pub(super) struct Recovery<D: Disk> {
    pub journal: Journal<D>,
    pub on_damage: OnDamage,
    pub walks: BTreeMap<u16, Walk>,
    hasher: IdHasher,
    sketches: Sketches,
    pub report: RecoveryReport,
    /// Last record that counts.
    pub upto: u64,
    tails: [u64; LOGS],
}

impl<D: Disk> Recovery<D> {
    fn io(&self, name: &str) -> impl FnOnce(io::Error) -> OpenError + use<D> {
        let file = self.journal.disk.describe(name);
        move |source| OpenError::Io { file, source }
    }

    /// Refuses, or goes on without.
    pub fn damaged(&mut self, file: u16, offset: usize, what: String) -> Result<(), OpenError> {
        let damage = Damage {
            file: self.journal.disk.describe(&file_name(file)),
            offset: offset as u64,
            what,
        };
        match self.on_damage {
            OnDamage::Refuse => Err(OpenError::Damaged(damage)),
            OnDamage::Skip => {
                self.report.damage.push(damage);
                Ok(())
            }
        }
    }

    /// Maps all files and reads all records.
    fn load(&mut self) -> Result<(), OpenError> {
        let names = self.journal.disk.list().map_err(self.io(""))?;
        let mut headers = Vec::new();
        for name in names {
            let Some(file) = file_number(&name) else {
                continue;
            };
            let memory = self.journal.disk.open(&name).map_err(self.io(&name))?;
            let len = memory.bytes().len();
            match Header::decode(memory.bytes()) {
                Beginning::Unused(run) => self.journal.run = run.max(self.journal.run),
                Beginning::Damaged => {
                    let what = "the header of the segment cannot be read".to_owned();
                    self.damaged(file, 0, what)?;
                }
                Beginning::Version(version) => {
                    let file = self.journal.disk.describe(&name);
                    return Err(OpenError::Version { file, version });
                }
                Beginning::Segment(header) => {
                    match mismatch(&header, file, self.journal.shard, len) {
                        Some(what) => self.damaged(file, 0, what)?,
                        None => headers.push(header),
                    }
                }
            }
            self.journal.add_segment(file, Segment::unused(memory));
        }
        let runs = match self.on_damage {
            OnDamage::Refuse => 0,
            OnDamage::Skip => self.last_run(&headers),
        };
        for (i, header) in headers.iter().enumerate() {
            // The disk reads the next one meanwhile.
            if let Some(next) = headers
                .get(i + 1)
                .and_then(|h| self.journal.segment(h.file))
            {
                next.memory.prefetch();
            }
            let header = *header;
            if let Some(segment) = self.journal.segment(header.file) {
                let mut sketch = Sketch::default();
                let note =
                    |piece: usize, frame: &Frame<'_>| sketch.note(&self.hasher, piece, frame);
                let walk = Walk::new(segment.memory.bytes(), header, runs, note);
                self.walks.insert(header.file, walk);
                let at = usize::from(header.file);
                if self.sketches.len() <= at {
                    self.sketches.resize_with(at + 1, || None);
                }
                self.sketches[at] = Some(sketch);
            }
        }
        Ok(())
    }

    fn last_run(&self, headers: &[Header]) -> u32 {
        let walks = headers.iter().filter_map(|header| {
            let segment = self.journal.segment(header.file)?;
            Some(Walk::new(segment.memory.bytes(), *header, 0, |_, _| {}).run)
        });
        walks.max().unwrap_or(0)
    }

    /// Decides what counts and sets the logs up.
    fn judge(&mut self) -> Result<(), OpenError> {
        let synced = self.walks.values().map(|walk| walk.synced).max();
        let synced = synced.unwrap_or(0);
        self.journal.synced = synced;
        let run = self.walks.values().map(|walk| walk.run).max();
        self.journal.run = run.unwrap_or(0).max(self.journal.run) + 1;
        let extent = self.measure();
        self.upto = extent.records;
        for walk in self.walks.values() {
            // What lies behind what cannot be read was never part of this numbering, or is damaged.
            let readable = pieces_read(self.on_damage, walk)
                .last()
                .map_or(0, |piece| piece.last);
            for (lsn, log, tail) in &walk.tails {
                if *lsn <= extent.tails.min(readable) {
                    let known = &mut self.tails[*log as usize];
                    *known = (*known).max(*tail);
                }
            }
        }
        for log in LogId::ALL {
            self.set_up(log)?;
        }
        self.check_holes()?;
        self.check_ends()?;
        self.check_numbers()?;
        self.sort_out();
        let last = self.journal.logs.iter().map(|log| log.last).max();
        self.journal.last = last.unwrap_or(0);
        Ok(())
    }

    /// Puts the segments of a log in order.
    fn set_up(&mut self, log: LogId) -> Result<(), OpenError> {
        let tail = self.tails[log as usize];
        let mut segments: Vec<(u64, u16)> = Vec::new();
        for (file, walk) in &self.walks {
            let counts = match walk.begin {
                Some((lsn, ..)) => lsn <= self.upto,
                None => self.on_damage == OnDamage::Skip,
            };
            if walk.header.log == log && walk.header.seq >= tail && counts {
                segments.push((walk.header.seq, *file));
            }
        }
        segments.sort_unstable();
        let mut expected = tail;
        for (seq, file) in &segments {
            if *seq < expected {
                let what = format!("is segment {seq} of {log}, of which there is another");
                self.damaged(*file, 0, what)?;
            } else if *seq > expected {
                self.missing(*file, log, expected)?;
            }
            expected = seq + 1;
        }
        let last = segments.last().map(|(_, file)| *file);
        let state = &mut self.journal.logs[log as usize];
        state.tail = tail;
        state.next_seq = expected;
        state.segments = segments.iter().map(|(_, file)| *file).collect();
        for (_, file) in &segments {
            let header = self.walks.get(file).map(|walk| walk.header);
            if let Some(segment) = self.journal.segment_mut(*file) {
                segment.header = header;
            }
        }
        self.report.segments += segments.len();
        if let Some(file) = last {
            self.find_end(log, file);
        }
        Ok(())
    }

    fn missing(&mut self, next: u16, log: LogId, seq: u64) -> Result<(), OpenError> {
        let what = format!("segment {seq} of {log}, which comes before it, is missing");
        self.damaged(next, 0, what)
    }

    /// Finds where the last record that counts ends.
    fn find_end(&mut self, log: LogId, file: u16) {
        let Some(walk) = self.walks.get(&file) else {
            return;
        };
        let chain = walk.chain();
        let (mut end, mut last, mut run) = (HEADER_LEN, 0, chain.run);
        if chain.last <= self.upto {
            (end, last) = (chain.end, chain.last);
        } else if let Some(segment) = self.journal.segment(file) {
            run = walk.header.run;
            for frame in records(segment.memory.bytes(), chain, self.upto) {
                (end, last) = (frame.offset + frame.head.space(), frame.head.lsn);
                if let Some(super::control::Control::Resume { run: next }) =
                    super::control::Control::decode(&frame.head, frame.payload)
                {
                    run = next;
                }
            }
        }
        let state = &mut self.journal.logs[log as usize];
        (state.end, state.last, state.run) = (end, last, run);
    }

    /// What of a segment may not be durable yet.
    fn undurable(&self, file: u16) -> Option<Range<usize>> {
        let synced = self.journal.synced;
        let chain = self.walks.get(&file).map(Walk::chain)?;
        if chain.last <= synced {
            return None;
        }
        let bytes = self.journal.segment(file)?.memory.bytes();
        let first = records(bytes, chain, u64::MAX).find(|frame| frame.head.lsn > synced);
        let start = match first {
            // The header came with the first record.
            Some(frame) if frame.offset > HEADER_LEN => frame.offset,
            _ => 0,
        };
        Some(start..chain.end)
    }

    /// Forgets the records that do not count.
    fn cut(&mut self) {
        for log in &self.journal.logs {
            for file in &log.segments {
                let sketch = self.sketches.get_mut(usize::from(*file));
                let sketch = sketch.and_then(Option::as_mut);
                let Some((walk, sketch)) = self.walks.get(file).zip(sketch) else {
                    continue;
                };
                if self.on_damage == OnDamage::Refuse {
                    sketch.cut();
                }
                let read = pieces_read(self.on_damage, walk);
                self.report.records += read.iter().map(|piece| piece.count).sum::<u64>();
                let behind = read.iter().find(|piece| piece.last > self.upto);
                let segment = self.journal.segment(*file);
                if let Some((piece, segment)) = behind.zip(segment) {
                    let mut frames = records(segment.memory.bytes(), *piece, u64::MAX);
                    let first = frames.find(|frame| frame.head.lsn > self.upto);
                    sketch.cut_at(first.map_or(piece.end, |frame| frame.offset));
                }
            }
        }
        self.report.records -= self.report.dropped.min(self.report.records);
    }

    /// Tells unused files from those in use.
    fn sort_out(&mut self) {
        let files = (0..self.journal.segments.len()).filter_map(|file| u16::try_from(file).ok());
        let (mut freed, mut unused) = (Vec::new(), Vec::new());
        for file in files {
            let Some(segment) = self.journal.segment(file) else {
                continue;
            };
            if segment.header.is_some() {
                if let Some(range) = self.undurable(file) {
                    self.journal.undurable.push((file, range));
                }
                continue;
            }
            let is_freed = self.walks.get(&file).is_some_and(|walk| {
                let log = walk.header.log as usize;
                walk.header.seq < self.tails[log]
            });
            if is_freed {
                freed.push(file);
            } else {
                unused.push(file);
            }
        }
        // The last one is used first: that others are not needed is not attested yet.
        for file in freed.iter().chain(&unused) {
            self.journal.add_unused(*file);
        }
        self.journal.unused = unused;
    }
}
