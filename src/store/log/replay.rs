//! From records to what is kept in memory.

use super::codec;
use super::damage::{Damage, RecoveryReport};
use super::days;
use super::disk::{Disk, Memory};
use super::frame::{self, Frame, Head};
use super::index::{Index, NewId};
use super::sketch::{Form, Sketch, Sketches};
use super::slots::Entry;
use super::store::{KINDS, LogStore, Service};
use super::supply::file_name;
use super::{LogId, Place};
use crate::store::Id;
use std::collections::{HashMap, VecDeque};

/// Ids entered into the index together.
const INDEXED_TOGETHER: usize = 256;

type Hasher = foldhash::fast::RandomState;

/// A message found in a log; the order is that of queues and messages in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    birth: u64,
    seq: u64,
    lsn: u64,
    place: Place,
}

/// The record of a queue or alias: its birth, the file, and its number among the outlines there.
type Listed = (u64, u16, u32);

/// A store whose records are being read.
pub struct Replay<D: Disk> {
    pub store: LogStore<D>,
    pub report: RecoveryReport,
    /// All records of queues and aliases, in the order of the log.
    listed: Vec<Listed>,
    /// Births of queues and aliases that are no more.
    gone: Vec<u64>,
    /// Births of those that are, by slot.
    births: Vec<u64>,
    /// Data of links by birth of the queue, in the order of the log.
    links: Vec<(u64, Id, Place)>,
    messages: Vec<Found>,
    acks: HashMap<u64, u64, Hasher>,
}

impl<D: Disk> Replay<D> {
    /// Begins with an empty store.
    pub fn new(store: LogStore<D>, report: RecoveryReport) -> Self {
        Self {
            store,
            report,
            listed: Vec::new(),
            gone: Vec::new(),
            births: Vec::new(),
            links: Vec::new(),
            messages: Vec::new(),
            acks: HashMap::default(),
        }
    }

    /// Takes over the records of a segment, of which those that do not count were cut off.
    pub fn apply(&mut self, file: u16, sketch: &Sketch) {
        let outlines = sketch.outlines.iter().zip(0..);
        self.listed
            .extend(outlines.map(|(outline, number)| (outline.birth, file, number)));
        // Taken out so that the store can change meanwhile.
        let taken = self.store.journal.segments.get_mut(usize::from(file));
        let Some(segment) = taken.and_then(Option::take) else {
            return;
        };
        let bytes = segment.memory.bytes();
        for offset in &sketch.others {
            let offset = *offset as usize;
            let Some(head) = Head::read(bytes, offset) else {
                continue;
            };
            let payload = frame::payload(bytes, offset, &head);
            let frame = Frame {
                offset,
                head,
                payload,
            };
            if self.apply_one(file, &frame).is_none() {
                self.report.damage.push(Damage {
                    file: self.store.journal.disk.describe(&file_name(file)),
                    offset: offset as u64,
                    what: format!(
                        "a record of kind {} has content that cannot be read",
                        head.kind
                    ),
                });
            }
        }
        self.store.journal.add_segment(file, segment);
    }

    fn apply_one(&mut self, segment: u16, frame: &Frame<'_>) -> Option<()> {
        let offset = u32::try_from(frame.offset).ok()?;
        let place = Place { segment, offset };
        let (payload, lsn) = (frame.payload, frame.head.lsn);
        match frame.head.kind {
            codec::KIND_LINK => {
                let (birth, id) = codec::link_key(payload)?;
                self.links.push((birth, id, place));
            }
            codec::KIND_GONE => {
                self.gone.push(codec::birth_of(payload)?);
            }
            codec::KIND_SERVICE => {
                let service = codec::read_service(payload)?;
                let (id, role) = (service.id, service.role);
                let known = Service { id, role, place };
                self.store.services.insert(service.fingerprint, known);
            }
            codec::KIND_SERVICE_GONE => {
                let fingerprint: &[u8; 32] = payload.get(..32)?.try_into().ok()?;
                self.store.services.remove(fingerprint);
            }
            codec::KIND_MESSAGE => {
                let message = codec::read_message(payload)?;
                let (birth, seq) = (message.birth, message.seq);
                self.messages.push(Found {
                    birth,
                    seq,
                    lsn,
                    place,
                });
            }
            codec::KIND_ACK => {
                let ack = codec::read_ack(payload)?;
                let seq = self.acks.entry(ack.birth).or_default();
                *seq = ack.seq.max(*seq);
            }
            _ => return None,
        }
        Some(())
    }

    /// The store as the records describe it, once the queues are attached.
    pub fn finish(mut self) -> (LogStore<D>, RecoveryReport) {
        self.attach_messages();
        self.attach_days();
        let services: Vec<Service> = self.store.services.values().copied().collect();
        for service in services {
            self.store.count_service(service.role);
            self.store.journal.enliven(service.place);
        }
        (self.store, self.report)
    }

    /// Lists the newest record of each queue and alias that is still there, by birth.
    fn list_newest(&mut self) -> Vec<Listed> {
        let mut listed = std::mem::take(&mut self.listed);
        // Stable: of the same birth the last is the newest. Mostly they are in order already.
        listed.sort_by_key(|(birth, ..)| *birth);
        self.gone.sort_unstable();
        let mut gone = self.gone.iter().peekable();
        let mut kept = 0;
        for at in 0..listed.len() {
            let birth = listed[at].0;
            if listed.get(at + 1).is_some_and(|next| next.0 == birth) {
                continue;
            }
            while gone.next_if(|gone| **gone < birth).is_some() {}
            if gone.peek() != Some(&&birth) {
                listed[kept] = listed[at];
                kept += 1;
            }
        }
        listed.truncate(kept);
        listed
    }

    /// Gives queues and aliases their slots, indexes and counts them.
    pub fn attach_queues(&mut self, sketches: &Sketches) {
        let listed = self.list_newest();
        // Stable: of the same link the last is the newest.
        self.links.sort_by_key(|(birth, ..)| *birth);
        let mut links = &self.links[..];
        let outline_of = |(_, file, number): &Listed| {
            let sketch = sketches.get(usize::from(*file))?.as_ref()?;
            Some((sketch, sketch.outlines.get(*number as usize)?))
        };
        let outlines = listed.iter().filter_map(outline_of);
        let ids = outlines.map(|(_, outline)| outline.kinds().count()).sum();
        let last = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        let store = &mut self.store;
        // The tables of the index are made large enough once.
        store.index = Index::with_capacity(ids, last);
        self.births.reserve_exact(listed.len());
        let mut found = Vec::with_capacity(INDEXED_TOGETHER + KINDS.len());
        for one in &listed {
            let Some((sketch, outline)) = outline_of(one) else {
                continue;
            };
            let (birth, segment, _) = *one;
            let offset = outline.offset;
            let place = Place { segment, offset };
            let slot = store.slots.insert(place);
            self.births.push(birth);
            store.journal.enliven_bytes(segment, outline.space as usize);
            match outline.form {
                Form::Alias => {}
                Form::Plain | Form::Notified => {
                    store.totals.queues += 1;
                    store.totals.notifiers += u64::from(outline.form == Form::Notified);
                }
                Form::Rich => {
                    let older = links.iter().take_while(|(other, ..)| *other < birth);
                    links = &links[older.count()..];
                    let own = links.iter().take_while(|(other, ..)| *other == birth);
                    let (own, others) = links.split_at(own.count());
                    links = others;
                    attach_rich(store, slot, own);
                }
            }
            store.slots.set_recorded_active(slot, outline.active);
            let hashes = sketch.ids.iter().skip(outline.first_id as usize);
            let ids = outline.kinds().zip(hashes.copied());
            found.extend(ids.map(|(kind, hash)| NewId { kind, hash, slot }));
            if found.len() >= INDEXED_TOGETHER {
                store.index_ids(&found);
                found.clear();
            }
        }
        store.index_ids(&found);
    }

    /// The slot of a queue or alias.
    fn slot_of(&self, birth: u64) -> Option<u32> {
        let slot = self.births.binary_search(&birth).ok()?;
        u32::try_from(slot).ok()
    }

    /// Takes over days of use that the records do not tell.
    fn attach_days(&mut self) {
        let file = match self.store.journal.disk.read(days::FILE) {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(error) => return tracing::warn!("cannot read {}: {error}", days::FILE),
        };
        let births = &self.births;
        let mut next = 0;
        // The file is in the order of slots, as these are.
        let slot_of = |birth| {
            let slot = match births.get(next) {
                Some(expected) if *expected == birth => next,
                _ => births.binary_search(&birth).ok()?,
            };
            next = slot + 1;
            u32::try_from(slot).ok()
        };
        if days::load(&file, &mut self.store.slots, slot_of).is_none() {
            tracing::warn!(
                "{} is damaged: a few days of statistics are lost",
                days::FILE
            );
        }
    }

    /// Lists the messages that are still there.
    fn attach_messages(&mut self) {
        self.messages.sort_unstable();
        let mut is_half_emptied = false;
        let mut messages = self.messages.iter().peekable();
        while let Some(first) = messages.peek() {
            let birth = first.birth;
            let acked = self.acks.get(&birth).copied().unwrap_or(0);
            let mut list: VecDeque<Entry> = VecDeque::new();
            let mut older: Option<Found> = None;
            while let Some(found) = messages.next_if(|found| found.birth == birth) {
                let Found { seq, place, .. } = *found;
                // The newest copy of a message is the last one.
                if let Some(older) = older.replace(*found).filter(|older| older.seq == seq) {
                    let log = self.store.journal.log_of(older.place);
                    is_half_emptied |= log == Some(LogId::Messages);
                }
                if list.back().is_some_and(|entry| entry.seq == seq) {
                    list.pop_back();
                }
                if seq > acked {
                    list.push_back(Entry { seq, place });
                }
            }
            let Some(slot) = self.slot_of(birth) else {
                continue;
            };
            if list.is_empty() {
                continue;
            }
            list.shrink_to_fit();
            for entry in &list {
                self.store.journal.enliven(entry.place);
            }
            self.store.totals.messages += list.len() as u64;
            self.store.slots.set_messages(slot, list);
        }
        if is_half_emptied {
            self.store.empty_oldest(LogId::Messages);
        }
    }
}

/// Counts a queue whose outline does not say enough, and finds the data of its link among those
/// that its links have had.
fn attach_rich<D: Disk>(store: &mut LogStore<D>, slot: u32, links: &[(u64, Id, Place)]) {
    // It was read when it was checked.
    let Some(queue) = store.queue_payload(slot).and_then(codec::read_queue) else {
        return;
    };
    store.count_queue(&queue.record);
    let newest = links.iter().rev();
    let link = newest
        .into_iter()
        .find(|(_, id, _)| queue.record.link_id == Some(*id));
    if let Some((.., place)) = link {
        store.journal.enliven(*place);
        store.slots.set_link(slot, Some(*place));
    }
}
