//! From records to what is kept in memory.

use super::Place;
use super::codec::{self, QueuePayload};
use super::damage::{Damage, RecoveryReport};
use super::days;
use super::disk::{Disk, Memory};
use super::frame::Frame;
use super::index::{Index, NewId};
use super::slots::Entry;
use super::store::{KINDS, LogStore, Service, queue_ids};
use super::supply::file_name;
use super::walk::{Piece, records};
use crate::store::{Id, IdKind};
use std::collections::{HashMap, VecDeque};

/// Ids entered into the index together.
const INDEXED_TOGETHER: usize = 64;

type Hasher = foldhash::fast::RandomState;

/// A message found in a log; the order is that of queues and messages in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    birth: u64,
    seq: u64,
    lsn: u64,
    place: Place,
}

/// A store whose records are being read.
pub struct Replay<D: Disk> {
    pub store: LogStore<D>,
    pub report: RecoveryReport,
    /// Slot of every queue and alias, by birth.
    slots: HashMap<u64, u32, Hasher>,
    /// Newest data of every link, by birth of the queue.
    links: HashMap<(u64, Id), Place, Hasher>,
    messages: Vec<Found>,
    acks: HashMap<u64, u64, Hasher>,
}

impl<D: Disk> Replay<D> {
    /// Begins with an empty store.
    pub fn new(store: LogStore<D>, report: RecoveryReport) -> Self {
        Self {
            store,
            report,
            slots: HashMap::default(),
            links: HashMap::default(),
            messages: Vec::new(),
            acks: HashMap::default(),
        }
    }

    /// Reads the records of a piece up to a number.
    pub fn apply(&mut self, file: u16, piece: Piece, upto: u64) -> Result<(), Damage> {
        // Taken out so that the store can change meanwhile.
        let taken = self.store.journal.segments.get_mut(usize::from(file));
        let Some(segment) = taken.and_then(Option::take) else {
            return Ok(());
        };
        let mut unreadable = None;
        for frame in records(segment.memory.bytes(), piece, upto) {
            self.report.records += 1;
            if self.apply_one(file, &frame).is_none() && unreadable.is_none() {
                unreadable = Some((frame.offset, frame.head.kind));
            }
        }
        self.store.journal.add_segment(file, segment);
        match unreadable {
            None => Ok(()),
            Some((offset, kind)) => Err(Damage {
                file: self.store.journal.disk.describe(&file_name(file)),
                offset: offset as u64,
                what: format!("a record of kind {kind} has content that cannot be read"),
            }),
        }
    }

    fn apply_one(&mut self, segment: u16, frame: &Frame<'_>) -> Option<()> {
        let offset = u32::try_from(frame.offset).ok()?;
        let place = Place { segment, offset };
        let (payload, lsn) = (frame.payload, frame.head.lsn);
        match frame.head.kind {
            codec::KIND_QUEUE | codec::KIND_ALIAS => {
                self.set_record(codec::birth_of(payload)?, place);
            }
            codec::KIND_LINK => {
                let link = codec::link_key(payload)?;
                self.links.insert(link, place);
            }
            codec::KIND_GONE => {
                let birth = codec::birth_of(payload)?;
                if let Some(slot) = self.slots.remove(&birth) {
                    self.store.slots.remove(slot);
                }
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
            1..codec::KIND_QUEUE => {}
            _ => return None,
        }
        Some(())
    }

    fn set_record(&mut self, birth: u64, place: Place) {
        match self.slots.get(&birth) {
            Some(slot) => self.store.slots.set_record(*slot, place),
            None => {
                let slot = self.store.slots.insert(place);
                self.slots.insert(birth, slot);
            }
        }
    }

    /// The store as the records describe it.
    pub fn finish(mut self) -> (LogStore<D>, RecoveryReport) {
        self.attach_queues();
        self.attach_messages();
        self.attach_days();
        let services: Vec<Service> = self.store.services.values().copied().collect();
        for service in services {
            self.store.count_service(service.role);
            self.store.journal.enliven(service.place);
        }
        (self.store, self.report)
    }

    /// Indexes and counts queues and aliases.
    fn attach_queues(&mut self) {
        let store = &mut self.store;
        let slots = store.slots.len();
        // The tables of the index are made large enough once.
        let mut ids = 0;
        for slot in 0..slots {
            ids += match store.queue_payload(slot) {
                Some(payload) => {
                    let kinds = KINDS.into_iter();
                    kinds
                        .filter_map(|kind| codec::queue_id(payload, kind))
                        .count()
                }
                None => 1,
            };
        }
        store.index = Index::with_capacity(ids, slots);
        let mut found = Vec::with_capacity(INDEXED_TOGETHER + KINDS.len());
        for slot in 0..slots {
            let Some(place) = store.slots.record(slot) else {
                continue;
            };
            if let Some(alias) = store.alias(slot) {
                store.journal.enliven(place);
                note_id(store, alias.kind, &alias.id, slot, &mut found);
                continue;
            }
            let queue = store.queue_payload(slot).and_then(codec::read_queue);
            let Some(queue) = queue else {
                self.report.damage.push(Damage {
                    file: store.journal.disk.describe(&file_name(place.segment)),
                    offset: place.offset.into(),
                    what: "a queue cannot be read".to_owned(),
                });
                store.slots.remove(slot);
                continue;
            };
            let link_id = queue.record.link_id;
            let link = link_id.and_then(|id| self.links.get(&(queue.birth, id)).copied());
            attach_queue(store, slot, place, &queue, link);
            for (kind, id) in queue_ids(&queue.record) {
                note_id(store, kind, &id, slot, &mut found);
            }
        }
        store.index_ids(&found);
    }

    /// Takes over days of use that the records do not tell.
    fn attach_days(&mut self) {
        let file = match self.store.journal.disk.read(days::FILE) {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(error) => return tracing::warn!("cannot read {}: {error}", days::FILE),
        };
        let slot_of = |birth| self.slots.get(&birth).copied();
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
        let mut messages = self.messages.iter().peekable();
        while let Some(first) = messages.peek() {
            let birth = first.birth;
            let acked = self.acks.get(&birth).copied().unwrap_or(0);
            let mut list: VecDeque<Entry> = VecDeque::new();
            while let Some(found) = messages.next_if(|found| found.birth == birth) {
                let Found { seq, place, .. } = *found;
                // The newest copy of a message is the last one.
                if list.back().is_some_and(|entry| entry.seq == seq) {
                    list.pop_back();
                }
                if seq > acked {
                    list.push_back(Entry { seq, place });
                }
            }
            let slot = self.slots.get(&birth).copied();
            let Some(slot) = slot.filter(|slot| self.store.birth(*slot) == Some(birth)) else {
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
    }
}

/// Notes an id for the index, and enters those noted when they are many.
fn note_id<D: Disk>(
    store: &mut LogStore<D>,
    kind: IdKind,
    id: &Id,
    slot: u32,
    found: &mut Vec<NewId>,
) {
    let hash = store.hasher.hash(kind, id);
    found.push(NewId { kind, hash, slot });
    if found.len() >= INDEXED_TOGETHER {
        store.index_ids(found);
        found.clear();
    }
}

fn attach_queue<D: Disk>(
    store: &mut LogStore<D>,
    slot: u32,
    place: Place,
    queue: &QueuePayload,
    link: Option<Place>,
) {
    store.journal.enliven(place);
    store.slots.set_recorded_active(slot, queue.active);
    store.count_queue(&queue.record);
    if let Some(place) = link {
        store.journal.enliven(place);
        store.slots.set_link(slot, Some(place));
    }
}
