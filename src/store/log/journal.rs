//! Appending records, and the life of segments.

use super::control::{Control, HEADER_LEN, Header};
use super::disk::{Disk, Memory};
use super::frame::{self, Frame, Head, Seed};
use super::{LOGS, LogId, Place};
use crate::store::{Lsn, StoreError};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// Ready segments that are not for what fills the disk.
pub(super) const RESERVED_SEGMENTS: usize = 3;
/// Of those, how many are not for changes of what is there either, which nothing bounds.
const RESERVED_FROM_CHANGES: usize = 2;
/// Of those, how many are not for compaction either, which must not starve what it waits for.
const RESERVED_FROM_COMPACTION: usize = 1;
/// This part of a segment's end is only for what frees space.
pub(super) const MARGIN: usize = 16;

/// What a record is for when space runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It fills the disk.
    Fills,
    /// It changes what is there.
    Changes,
    /// It is a copy that lets a segment be freed.
    Copies,
    /// It helps to free space.
    Frees,
}

/// A segment in use or ready.
#[derive(Debug)]
pub struct Segment<M> {
    /// Its bytes.
    pub memory: M,
    /// Bytes of records that are still needed.
    pub live: usize,
    /// What it is, unless it is unused.
    pub header: Option<Header>,
    /// Whether an unused one was brought into memory.
    pub is_warm: bool,
    is_dirty: bool,
}

impl<M: Memory> Segment<M> {
    /// A segment that is not in use.
    pub fn unused(memory: M) -> Self {
        Self {
            memory,
            live: 0,
            header: None,
            is_warm: false,
            is_dirty: false,
        }
    }
}

/// One log: its segments, oldest first, of which the last is written.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// File numbers.
    pub segments: VecDeque<u16>,
    /// Where the next record goes.
    pub end: usize,
    /// Run of the records being written.
    pub run: u32,
    /// Number of the last record; 0 = none.
    pub last: u64,
    /// Position of the next segment.
    pub next_seq: u64,
    /// Position of the oldest segment.
    pub tail: u64,
}

/// The logs of a shard.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    pub(super) disk: D,
    pub(super) shard: u16,
    pub(super) segment_len: usize,
    /// By file number.
    pub(super) segments: Vec<Option<Segment<D::Memory>>>,
    pub(super) logs: [Log; LOGS],
    /// Segments not in use when the store was opened, or behind the end that counts.
    pub(super) unused: Vec<u16>,
    /// Parts of segments that may not have been durable then.
    pub(super) undurable: Vec<(u16, Range<usize>)>,
    /// Unused segments.
    pub(super) ready: Vec<u16>,
    /// Number of the last record.
    pub(super) last: u64,
    /// Every record up to this number is durable.
    pub(super) synced: u64,
    /// What the last record says that is durable.
    pub(super) attesting: u64,
    /// What `attested` becomes when what is being synced is durable.
    pub(super) attests: u64,
    /// What a durable record says that is durable. Only that is known after a loss of power.
    pub(super) attested: u64,
    /// Number of the last checkpoint.
    checkpoint: u64,
    pub(super) run: u32,
    pub(super) dirty: Vec<u16>,
    pub(super) is_syncing: bool,
    /// Segments nobody needs, and the number that must be durable before they are used again.
    pub(super) retired: VecDeque<(u16, u64)>,
    /// Unused segments of a size that is not wanted any more.
    pub(super) odd: Vec<u16>,
    pub(super) preparing: Option<u16>,
    /// Files being removed, or that could not be; their numbers are not given again.
    pub(super) removed: BTreeSet<u16>,
    /// Preparing failed; nothing is tried before the caller has let some time pass.
    pub(super) failed: bool,
    /// There are as many files as can be.
    pub(super) has_no_numbers: bool,
    /// Segments of a cut, which stay as they are.
    pub(super) pinned: BTreeSet<u16>,
    /// Those of them that nobody needs any more and that may be used again.
    pub(super) outlived: Vec<u16>,
}

impl<D: Disk> Journal<D> {
    /// The logs of an empty directory.
    pub fn new(disk: D, shard: u16, segment_len: usize) -> Self {
        Self {
            disk,
            shard,
            segment_len,
            segments: Vec::new(),
            logs: Default::default(),
            unused: Vec::new(),
            undurable: Vec::new(),
            ready: Vec::new(),
            last: 0,
            synced: 0,
            attesting: 0,
            attests: 0,
            attested: 0,
            checkpoint: 0,
            run: 0,
            dirty: Vec::new(),
            is_syncing: false,
            retired: VecDeque::new(),
            odd: Vec::new(),
            preparing: None,
            removed: BTreeSet::new(),
            failed: false,
            has_no_numbers: false,
            pinned: BTreeSet::new(),
            outlived: Vec::new(),
        }
    }

    pub(super) fn log(&self, log: LogId) -> &Log {
        &self.logs[log as usize]
    }

    pub(super) fn log_mut(&mut self, log: LogId) -> &mut Log {
        &mut self.logs[log as usize]
    }

    pub(super) fn segment(&self, file: u16) -> Option<&Segment<D::Memory>> {
        self.segments.get(usize::from(file))?.as_ref()
    }

    pub(super) fn segment_mut(&mut self, file: u16) -> Option<&mut Segment<D::Memory>> {
        self.segments.get_mut(usize::from(file))?.as_mut()
    }

    pub(super) fn add_segment(&mut self, file: u16, segment: Segment<D::Memory>) {
        let at = usize::from(file);
        if self.segments.len() <= at {
            self.segments.resize_with(at + 1, || None);
        }
        self.segments[at] = Some(segment);
    }

    /// The record at a place that was noted when it was written or checked.
    pub fn read(&self, place: Place) -> Option<Frame<'_>> {
        let bytes = self.segment(place.segment)?.memory.bytes();
        let offset = place.offset as usize;
        let head = Head::read(bytes, offset)?;
        Some(Frame {
            offset,
            head,
            payload: frame::payload(bytes, offset, &head),
        })
    }

    /// The payload of a record.
    pub fn payload(&self, place: Place) -> Option<&[u8]> {
        self.read(place).map(|frame| frame.payload)
    }

    /// The log a record is in.
    pub fn log_of(&self, place: Place) -> Option<LogId> {
        let header = self.segment(place.segment)?.header?;
        Some(header.log)
    }

    /// Notes that a record is needed.
    pub fn enliven(&mut self, place: Place) {
        self.change_live(place, usize::saturating_add);
    }

    /// Notes that a record is not needed any more.
    pub fn kill(&mut self, place: Place) {
        self.change_live(place, usize::saturating_sub);
    }

    /// Notes that a record of some bytes is needed.
    pub fn enliven_bytes(&mut self, file: u16, space: usize) {
        if let Some(segment) = self.segment_mut(file) {
            segment.live = segment.live.saturating_add(space);
        }
    }

    fn change_live(&mut self, place: Place, change: impl Fn(usize, usize) -> usize) {
        let space = self.read(place).map(|frame| frame.head.space());
        if let (Some(space), Some(segment)) = (space, self.segment_mut(place.segment)) {
            segment.live = change(segment.live, space);
        }
    }

    /// Bytes of the segment that is written.
    pub(super) fn head_len(&self, log: LogId) -> Option<usize> {
        let file = self.log(log).segments.back()?;
        Some(self.segment(*file)?.memory.bytes().len())
    }

    /// Bytes that the segment that is written still takes.
    pub(super) fn room_at_head(&self, log: LogId) -> usize {
        let len = self.head_len(log).unwrap_or(0);
        len.saturating_sub(self.log(log).end)
    }

    /// Makes sure that records of `bytes` together will be taken by one log.
    pub fn reserve(
        &mut self,
        log: LogId,
        bytes: usize,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        let margin = match purpose {
            Purpose::Fills => self.segment_len / MARGIN,
            Purpose::Changes | Purpose::Copies | Purpose::Frees => 0,
        };
        let has_room = |end: usize, len: usize| end + bytes + margin <= len;
        if let Some(len) = self.head_len(log)
            && has_room(self.log(log).end, len)
        {
            return Ok(());
        }
        let kept = match purpose {
            Purpose::Fills => RESERVED_SEGMENTS,
            Purpose::Changes => RESERVED_FROM_CHANGES,
            Purpose::Copies => RESERVED_FROM_COMPACTION,
            Purpose::Frees => 0,
        };
        let begin = HEADER_LEN + frame::space(2 * LOGS * 8);
        if self.ready.len() <= kept || !has_room(begin, self.segment_len) {
            return Err(StoreError::Full);
        }
        self.roll(log);
        Ok(())
    }

    /// Appends a record, for which there must be room ([`reserve`](Self::reserve)).
    pub(super) fn write(
        &mut self,
        log: LogId,
        mut head: Head,
        payload: &[&[u8]],
    ) -> Option<(Place, Lsn)> {
        head.lsn = self.last + 1;
        head.synced = self.synced;
        let Log {
            segments, end, run, ..
        } = self.log(log);
        let (file, offset, run) = (*segments.back()?, *end, *run);
        let segment = self.segment_mut(file)?;
        let header = segment.header?;
        if offset + head.space() > segment.memory.bytes().len() {
            return None;
        }
        let bytes = head.encode();
        let seed = Seed::new(file, log.tag(), header.seq, run);
        let crc = frame::checksum(seed, &bytes, payload);
        let mut at = offset;
        let parts = [&bytes[..]].into_iter().chain(payload.iter().copied());
        for part in parts.chain([&crc.to_le_bytes()[..]]) {
            segment.memory.write(at, part);
            at += part.len();
        }
        self.touch(file);
        self.last = head.lsn;
        self.attesting = head.synced;
        let log = self.log_mut(log);
        log.end = offset + head.space();
        log.last = head.lsn;
        let offset = u32::try_from(offset).ok()?;
        Some((
            Place {
                segment: file,
                offset,
            },
            Lsn(head.lsn),
        ))
    }

    /// Appends a record.
    pub fn append(
        &mut self,
        log: LogId,
        kind: u8,
        partition: u16,
        payload: &[&[u8]],
        purpose: Purpose,
    ) -> Result<(Place, Lsn), StoreError> {
        let len = payload.iter().map(|part| part.len()).sum();
        let head = Head::new(kind, partition, len).ok_or(StoreError::Full)?;
        self.reserve(log, head.space(), purpose)?;
        self.write(log, head, payload).ok_or(StoreError::Full)
    }

    /// Appends a record of a log about itself.
    pub(super) fn append_control(
        &mut self,
        log: LogId,
        control: Control,
    ) -> Result<Lsn, StoreError> {
        let (kind, payload) = (control.kind(), control.encode());
        let (_, lsn) = self.append(log, kind, 0, &[&payload], Purpose::Frees)?;
        Ok(lsn)
    }

    /// Writes down that everything is durable, when nothing does and nothing else will soon: what
    /// is not known to have been durable counts as never written when it is damaged.
    pub(super) fn checkpoint(&mut self) {
        if self.synced != self.last || self.checkpoint == self.last {
            return;
        }
        let logs = LogId::ALL.into_iter();
        let mut logs = logs.filter_map(|log| Some((log, self.head_len(log)?)));
        // A log with room needs no segment that may have to be attested first.
        let with_room = |(log, len): &(LogId, usize)| self.log(*log).end + frame::space(0) <= *len;
        let Some((log, _)) = logs.clone().find(with_room).or(logs.next()) else {
            return;
        };
        // Without room the next record does it.
        if self.append_control(log, Control::Checkpoint).is_ok() {
            self.checkpoint = self.last;
        }
    }

    /// Takes a ready segment into use.
    fn roll(&mut self, log: LogId) {
        let Some(file) = self.ready.pop() else {
            return;
        };
        let (run, seq) = (self.run, self.log(log).next_seq);
        let header = Header {
            file,
            shard: self.shard,
            log,
            seq,
            run,
            size: self.segment_len as u64,
        };
        let begin = Control::Begin {
            tails: std::array::from_fn(|i| self.logs[i].tail),
            last: std::array::from_fn(|i| self.logs[i].last),
        };
        if let Some(segment) = self.segment_mut(file) {
            Header::write(&mut segment.memory, &header.encode());
            segment.header = Some(header);
            segment.live = 0;
        }
        let state = self.log_mut(log);
        state.segments.push_back(file);
        state.next_seq = seq + 1;
        state.end = HEADER_LEN;
        state.run = run;
        let payload = begin.encode();
        if let Some(head) = Head::new(begin.kind(), 0, payload.len()) {
            self.write(log, head, &[&payload]);
        }
    }

    pub(super) fn touch(&mut self, file: u16) {
        if let Some(segment) = self.segment_mut(file)
            && !std::mem::replace(&mut segment.is_dirty, true)
        {
            self.dirty.push(file);
        }
    }

    /// Lets the system have the memory of all segments, which are read again when they are needed.
    pub(super) fn release_memory(&self) {
        for segment in self.segments.iter().flatten() {
            segment.memory.release();
        }
    }

    pub(super) fn take_dirty(&mut self) -> Vec<u16> {
        let files = std::mem::take(&mut self.dirty);
        for file in &files {
            if let Some(segment) = self.segment_mut(*file) {
                segment.is_dirty = false;
            }
        }
        files
    }

    /// Gives up the oldest segment of a log, in which nothing is needed any more.
    pub(super) fn free_tail(&mut self, log: LogId) -> Result<(), StoreError> {
        let tail = self.log(log).tail + 1;
        let Lsn(lsn) = self.append_control(log, Control::Freed { tail })?;
        let state = self.log_mut(log);
        state.tail = tail;
        if let Some(file) = state.segments.pop_front() {
            self.retired.push_back((file, lsn));
        }
        Ok(())
    }

    /// Makes segments ready that nobody needs, once that is attested: were it only durable, a
    /// recovery that finds them overwritten would not know that they may be.
    pub(super) fn recycle(&mut self) {
        while let Some((file, lsn)) = self.retired.front().copied() {
            if lsn > self.attested {
                break;
            }
            self.retired.pop_front();
            if self.pinned.contains(&file) {
                self.outlived.push(file);
            } else {
                self.reuse(file);
            }
        }
    }

    /// Keeps a segment for later use that nobody needs any more.
    pub(super) fn reuse(&mut self, file: u16) {
        if let Some(segment) = self.segment_mut(file) {
            segment.header = None;
            segment.live = 0;
            segment.is_warm = false;
        }
        self.add_unused(file);
    }

    /// Keeps a segment for later use, unless it has another size than is wanted now.
    pub(super) fn add_unused(&mut self, file: u16) {
        let len = self.segment(file).map(|s| s.memory.bytes().len());
        if len == Some(self.segment_len) {
            self.ready.push(file);
        } else {
            self.odd.push(file);
        }
    }
}
