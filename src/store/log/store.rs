//! The store of a shard over its logs.

use super::codec::{self, AckPayload, AliasPayload};
use super::disk::Disk;
use super::frame::{Head, space};
use super::index::{Hash, IdHasher, Index};
use super::journal::{Journal, PrepareSegment, Prepared, Purpose, RemoveSegment};
use super::slots::{Entry, Slots};
use super::sync::{SyncFailed, SyncRequest};
use super::{LogId, LogOptions, Partitions, Place, Promise, compaction::Cleaning};
use crate::crypto::keys::SharedSecret;
use crate::protocol::handshake::ServiceRole;
use crate::store::{
    ActiveDays, Id, IdKind, LinkContent, Location, Lsn, Message, QueueChange, QueueRecord,
    QueueSlot, QueueStatus, ServiceRecord, Store, StoreError, StoredMessage, Totals,
};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

type Hasher = foldhash::quality::RandomState;

/// All kinds of ids.
pub(super) const KINDS: [IdKind; 4] = [
    IdKind::Recipient,
    IdKind::Sender,
    IdKind::Link,
    IdKind::Notifier,
];

/// A service and where its record is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    pub id: Id,
    pub role: ServiceRole,
    pub place: Place,
}

/// A durable store of one shard.
#[derive(Debug)]
pub struct LogStore<D: Disk = super::Directory> {
    pub(super) journal: Journal<D>,
    pub(super) slots: Slots,
    pub(super) index: Index,
    pub(super) hasher: IdHasher,
    pub(super) services: HashMap<[u8; 32], Service, Hasher>,
    service_notifiers: HashMap<Id, u64, Hasher>,
    pub(super) totals: Totals,
    pub(super) cleaning: Option<Cleaning>,
    partitions: Arc<dyn Partitions>,
    promise: Promise,
    /// Payloads are made here; they hold secrets.
    scratch: Zeroizing<Vec<u8>>,
}

/// What a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Bytes on the heap for the index and the slots.
    pub heap: usize,
    /// Bytes of mapped segments, held by the page cache as far as memory goes.
    pub mapped: usize,
    /// Bytes of records that are needed.
    pub live: usize,
}

impl<D: Disk> LogStore<D> {
    /// A store without content over a journal.
    pub(super) fn over(
        journal: Journal<D>,
        partitions: Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Self {
        Self {
            journal,
            slots: Slots::default(),
            index: Index::with_capacity(0, 0),
            hasher: IdHasher::new(&options.index_key),
            services: HashMap::default(),
            service_notifiers: HashMap::default(),
            totals: Totals::default(),
            cleaning: None,
            partitions,
            promise: options.promise,
            scratch: Zeroizing::default(),
        }
    }

    /// What is to be synced, if anything is and nothing is being synced.
    pub fn pending_sync(&mut self) -> Option<SyncRequest<D::File>> {
        self.journal.pending_sync()
    }

    /// Notes that everything up to a change is durable: a request was carried out.
    pub fn synced(&mut self, upto: Lsn) {
        self.journal.synced(upto);
    }

    /// Makes everything durable and writes that down, waiting for the disk: for the end of the
    /// process, when nothing is being synced.
    pub fn finish(&mut self) -> Result<(), SyncFailed> {
        self.journal.sync_now()?;
        self.journal.checkpoint();
        self.journal.sync_now()
    }

    /// A segment to be prepared by a thread that may wait.
    pub fn wants_segment(&mut self) -> Option<PrepareSegment<D>> {
        self.journal.wants_segment()
    }

    /// Takes a prepared segment. An error says why there is none; preparing is tried again after
    /// the next [`maintain`](Self::maintain).
    pub fn segment_ready(&mut self, prepared: Prepared<D>) -> io::Result<()> {
        self.journal.segment_ready(prepared)
    }

    /// An unused segment to be removed by a thread that may wait.
    pub fn surplus_segment(&mut self) -> Option<RemoveSegment<D>> {
        self.journal.surplus_segment()
    }

    /// What the store takes.
    pub fn footprint(&self) -> Footprint {
        let segments = self.journal.segments.iter().flatten();
        Footprint {
            heap: self.index.heap_size() + self.slots.heap_size(),
            mapped: segments.clone().count() * self.journal.segment_len,
            live: segments.map(|segment| segment.live).sum(),
        }
    }

    /// All ids that lead to other shards, with the shard they lead to. An alias whose queue never
    /// came into being is found by asking that shard, and released.
    pub fn aliases(&self) -> impl Iterator<Item = (IdKind, Id, u16)> {
        (0..self.slots.len()).filter_map(|slot| {
            let alias = self.alias(slot)?;
            Some((alias.kind, alias.id, alias.shard))
        })
    }

    /// Link ids among some slots that lead to other shards, with the shard they lead to, and the
    /// slot to go on with.
    pub fn link_aliases(&self, from: u32, slots: u32) -> (Vec<(Id, u16)>, Option<u32>) {
        let end = from.saturating_add(slots).min(self.slots.len());
        let aliases = (from..end)
            .filter_map(|slot| self.alias(slot))
            .filter(|alias| alias.kind == IdKind::Link)
            .map(|alias| (alias.id, alias.shard))
            .collect();
        (aliases, (end < self.slots.len()).then_some(end))
    }

    /// All queues.
    pub fn queues(&self) -> impl Iterator<Item = QueueSlot> {
        (0..self.slots.len())
            .filter(|slot| self.kind_of(*slot) == Some(codec::KIND_QUEUE))
            .map(QueueSlot)
    }

    /// All messages of a queue, oldest first.
    pub fn messages(&self, slot: QueueSlot) -> impl Iterator<Item = StoredMessage<'_>> {
        let entries = self.slots.messages(slot.0).into_iter().flatten();
        entries.filter_map(|entry| self.message(entry))
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = ServiceRecord> {
        let places = self.services.values().map(|service| service.place);
        places.filter_map(|place| codec::read_service(self.journal.payload(place)?))
    }

    fn kind_of(&self, slot: u32) -> Option<u8> {
        let frame = self.journal.read(self.slots.record(slot)?)?;
        Some(frame.head.kind)
    }

    pub(super) fn alias(&self, slot: u32) -> Option<AliasPayload> {
        let frame = self.journal.read(self.slots.record(slot)?)?;
        let is_alias = frame.head.kind == codec::KIND_ALIAS;
        is_alias.then(|| codec::read_alias(frame.payload))?
    }

    /// The payload of a queue; `None` for an alias.
    pub(super) fn queue_payload(&self, slot: u32) -> Option<&[u8]> {
        queue_payload(&self.journal, &self.slots, slot)
    }

    pub(super) fn birth(&self, slot: u32) -> Option<u64> {
        codec::birth_of(self.journal.payload(self.slots.record(slot)?)?)
    }

    fn message(&self, entry: &Entry) -> Option<StoredMessage<'_>> {
        let payload = self.journal.payload(entry.place)?;
        codec::read_message(payload).map(|stored| stored.message)
    }

    pub(super) fn find_slot(&self, kind: IdKind, id: &Id) -> Option<u32> {
        let is_owner =
            |slot| id_of(&self.journal, &self.slots, slot, kind).is_some_and(|own| own == *id);
        self.index.find(kind, self.hasher.hash(kind, id), is_owner)
    }

    pub(super) fn index_id(&mut self, kind: IdKind, id: &Id, slot: u32) {
        let Self {
            journal,
            slots,
            index,
            hasher,
            ..
        } = self;
        let hash_of = |kind: IdKind, slot: u32| -> Option<Hash> {
            Some(hasher.hash(kind, &id_of(journal, slots, slot, kind)?))
        };
        index.insert(kind, hasher.hash(kind, id), slot, hash_of);
    }

    fn unindex_id(&mut self, kind: IdKind, id: &Id, slot: u32) {
        self.index.remove(kind, self.hasher.hash(kind, id), slot);
    }

    /// Keeps the totals true while a queue comes.
    pub(super) fn count_queue(&mut self, record: &QueueRecord) {
        self.totals.queues += 1;
        self.totals.notifiers += u64::from(record.notifier.is_some());
        self.totals.messaging_service_queues += u64::from(record.service_id.is_some());
        self.count_association(None, notifier_service(record));
    }

    /// Keeps the totals true while a queue goes.
    fn discount_queue(&mut self, record: &QueueRecord, messages: usize) {
        self.totals.queues -= 1;
        self.totals.notifiers -= u64::from(record.notifier.is_some());
        self.totals.messages -= messages as u64;
        self.totals.messaging_service_queues -= u64::from(record.service_id.is_some());
        self.count_association(notifier_service(record), None);
    }

    fn count_association(&mut self, old: Option<Id>, new: Option<Id>) {
        if let Some(id) = old {
            self.totals.notifier_service_queues -= 1;
            if let Some(count) = self.service_notifiers.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    self.service_notifiers.remove(&id);
                }
            }
        }
        if let Some(id) = new {
            self.totals.notifier_service_queues += 1;
            *self.service_notifiers.entry(id).or_default() += 1;
        }
    }

    pub(super) fn count_service(&mut self, role: ServiceRole) {
        match role {
            ServiceRole::Messaging => self.totals.messaging_services += 1,
            ServiceRole::Notifier => self.totals.notifier_services += 1,
            ServiceRole::Proxy => self.totals.proxy_services += 1,
        }
    }

    /// Fills the scratch and appends it as a record.
    fn append(
        &mut self,
        kind: u8,
        id: &Id,
        purpose: Purpose,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(Place, Lsn), StoreError> {
        let partition = self.partitions.partition(id);
        fill(&mut self.scratch);
        let payload: &[&[u8]] = &[&self.scratch];
        let written = self
            .journal
            .append(LogId::Queues, kind, partition, payload, purpose);
        self.scratch.zeroize();
        written
    }

    /// Appends the record of a queue as it is now.
    fn append_queue(
        &mut self,
        birth: u64,
        record: &QueueRecord,
        active: ActiveDays,
        purpose: Purpose,
    ) -> Result<(Place, Lsn), StoreError> {
        self.append(codec::KIND_QUEUE, &record.recipient_id, purpose, |out| {
            codec::write_queue(birth, record, active, out);
        })
    }

    fn append_link(
        &mut self,
        birth: u64,
        recipient_id: &Id,
        link_id: &Id,
        content: &LinkContent,
        purpose: Purpose,
    ) -> Result<Place, StoreError> {
        // The queue's record follows: both fit or neither is written.
        let room = space(MAX_QUEUE_PAYLOAD) + link_space(content);
        self.journal.reserve(LogId::Queues, room, purpose)?;
        let written = self.append(codec::KIND_LINK, recipient_id, purpose, |out| {
            codec::write_link(birth, recipient_id, link_id, content, out);
        })?;
        Ok(written.0)
    }

    /// Replaces the link data of a slot in memory.
    fn set_link(&mut self, slot: u32, place: Option<Place>) {
        if let Some(old) = self.slots.link(slot) {
            self.journal.kill(old);
        }
        if let Some(new) = place {
            self.journal.enliven(new);
        }
        self.slots.set_link(slot, place);
    }

    /// Replaces the record of a slot in memory.
    fn set_record(&mut self, slot: u32, place: Place) {
        if let Some(old) = self.slots.record(slot) {
            self.journal.kill(old);
        }
        self.journal.enliven(place);
        self.slots.set_record(slot, place);
    }

    fn is_taken(&self, kind: IdKind, id: Option<&Id>) -> bool {
        id.is_some_and(|id| self.find_slot(kind, id).is_some())
    }
}

/// Longest payload of a queue with as many recipient keys as can be set.
const MAX_QUEUE_PAYLOAD: usize = 256 + 16 * 58 + 2 * 58 + 32 + 2 * 24;

fn link_space(content: &LinkContent) -> usize {
    space(8 + 2 * size_of::<Id>() + 8 + content.fixed.len() + content.user.len())
}

pub(super) fn queue_payload<'a, D: Disk>(
    journal: &'a Journal<D>,
    slots: &Slots,
    slot: u32,
) -> Option<&'a [u8]> {
    let frame = journal.read(slots.record(slot)?)?;
    (frame.head.kind == codec::KIND_QUEUE).then_some(frame.payload)
}

/// One id of a queue or alias.
pub(super) fn id_of<D: Disk>(
    journal: &Journal<D>,
    slots: &Slots,
    slot: u32,
    kind: IdKind,
) -> Option<Id> {
    let frame = journal.read(slots.record(slot)?)?;
    match frame.head.kind {
        codec::KIND_QUEUE => codec::queue_id(frame.payload, kind).copied(),
        codec::KIND_ALIAS => codec::read_alias(frame.payload)
            .filter(|alias| alias.kind == kind)
            .map(|alias| alias.id),
        _ => None,
    }
}

fn notifier_service(record: &QueueRecord) -> Option<Id> {
    record.notifier.as_ref()?.service_id
}

pub(super) fn queue_ids(record: &QueueRecord) -> impl Iterator<Item = (IdKind, Id)> {
    let notifier_id = record.notifier.as_ref().map(|n| n.notifier_id);
    [
        (IdKind::Recipient, Some(record.recipient_id)),
        (IdKind::Sender, Some(record.sender_id)),
        (IdKind::Link, record.link_id),
        (IdKind::Notifier, notifier_id),
    ]
    .into_iter()
    .filter_map(|(kind, id)| Some((kind, id?)))
}

/// A queue nobody may do anything with: what a slot shows that has none.
fn nobodys_queue() -> QueueRecord {
    QueueRecord {
        recipient_id: Id::default(),
        recipient_keys: SmallVec::new(),
        rcv_dh_secret: SharedSecret([0; 32]),
        sender_id: Id::default(),
        sender_key: None,
        mode: None,
        link_id: None,
        notifier: None,
        status: QueueStatus::Off,
        updated_day: 0,
        service_id: None,
    }
}

impl<D: Disk> Store for LogStore<D> {
    fn find(&self, kind: IdKind, id: &Id) -> Option<Location> {
        let slot = self.find_slot(kind, id)?;
        match self.alias(slot) {
            Some(alias) => Some(Location::Shard(alias.shard)),
            None => Some(Location::Queue(QueueSlot(slot))),
        }
    }

    fn queue(&self, slot: QueueSlot) -> QueueRecord {
        self.queue_payload(slot.0)
            .and_then(codec::read_queue)
            .map_or_else(nobodys_queue, |queue| queue.record)
    }

    fn link(&self, slot: QueueSlot) -> Option<LinkContent> {
        let payload = self.journal.payload(self.slots.link(slot.0)?)?;
        codec::read_link(payload).map(|link| link.content)
    }

    fn create(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
    ) -> Result<(QueueSlot, Lsn), StoreError> {
        if queue_ids(record).any(|(kind, id)| self.is_taken(kind, Some(&id))) {
            return Err(StoreError::Duplicate);
        }
        if !self.slots.has_room() {
            return Err(StoreError::Full);
        }
        let mut link_place = None;
        // Room for both records first, so that the birth is the number of the next one.
        let room = space(MAX_QUEUE_PAYLOAD) + link.as_ref().map_or(0, link_space);
        self.journal.reserve(LogId::Queues, room, Purpose::Fills)?;
        let birth = self.journal.last + 1;
        if let (Some(link_id), Some(content)) = (&record.link_id, &link) {
            let id = &record.recipient_id;
            link_place = Some(self.append_link(birth, id, link_id, content, Purpose::Fills)?);
        }
        let days = ActiveDays::default();
        let (place, lsn) = self.append_queue(birth, record, days, Purpose::Fills)?;
        let slot = self.slots.insert(place);
        self.journal.enliven(place);
        self.set_link(slot, link_place);
        for (kind, id) in queue_ids(record) {
            self.index_id(kind, &id, slot);
        }
        self.count_queue(record);
        Ok((QueueSlot(slot), lsn))
    }

    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError> {
        let slot = slot.0;
        let queue = self.queue_payload(slot).and_then(codec::read_queue);
        let Some(mut queue) = queue else {
            return Err(StoreError::Full);
        };
        let record = &mut queue.record;
        let (old_link, old_notifier) = (
            record.link_id,
            record.notifier.as_ref().map(|n| n.notifier_id),
        );
        let old_service = notifier_service(record);
        let mut content = None;
        match change {
            QueueChange::SenderKey(key) => record.sender_key = Some(key),
            QueueChange::RecipientKeys(keys) => record.recipient_keys = keys,
            QueueChange::Status(status) => record.status = status,
            QueueChange::Day(day) => record.updated_day = day,
            QueueChange::Link(link) => {
                record.link_id = link.as_ref().map(|(id, _)| *id);
                content = link.map(|(_, content)| content);
            }
            QueueChange::Notifier(notifier) => record.notifier = notifier,
            QueueChange::NotifierService(service_id) => {
                if let Some(notifier) = &mut record.notifier {
                    notifier.service_id = service_id;
                }
            }
        }
        let new_notifier = record.notifier.as_ref().map(|n| n.notifier_id);
        let moved = [
            (IdKind::Link, old_link, record.link_id),
            (IdKind::Notifier, old_notifier, new_notifier),
        ];
        for (kind, old, new) in &moved {
            if old != new && self.is_taken(*kind, new.as_ref()) {
                return Err(StoreError::Duplicate);
            }
        }
        let mut link = None;
        if let (Some(link_id), Some(content)) = (&record.link_id, &content) {
            let id = &record.recipient_id;
            link = Some(self.append_link(queue.birth, id, link_id, content, Purpose::Fills)?);
        }
        let active = self.slots.active(slot);
        let (place, lsn) = self.append_queue(queue.birth, &queue.record, active, Purpose::Frees)?;
        // The index asks the records for their ids: first it forgets the old ones.
        for (kind, old, new) in &moved {
            if let Some(id) = old.filter(|_| old != new) {
                self.unindex_id(*kind, &id, slot);
            }
        }
        self.set_record(slot, place);
        self.slots.set_recorded_active(slot, active);
        for (kind, old, new) in &moved {
            if let Some(id) = new.filter(|_| old != new) {
                self.index_id(*kind, &id, slot);
            }
        }
        if link.is_some() || queue.record.link_id.is_none() {
            self.set_link(slot, link);
        }
        self.totals.notifiers += u64::from(new_notifier.is_some());
        self.totals.notifiers -= u64::from(old_notifier.is_some());
        self.count_association(old_service, notifier_service(&queue.record));
        Ok(lsn)
    }

    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError> {
        let number = slot.0;
        let queue = self.queue_payload(number).and_then(codec::read_queue);
        let Some(queue) = queue else {
            return Err(StoreError::Full);
        };
        let id = &queue.record.recipient_id;
        let (_, lsn) = self.append(codec::KIND_GONE, id, Purpose::Frees, |out| {
            out.extend_from_slice(&queue.birth.to_le_bytes());
        })?;
        for (kind, id) in queue_ids(&queue.record) {
            self.unindex_id(kind, &id, number);
        }
        if let Some(place) = self.slots.record(number) {
            self.journal.kill(place);
        }
        self.set_link(number, None);
        let count = self.message_count(slot);
        for i in 0..count {
            let entry = self.slots.messages(number).and_then(|list| list.get(i));
            if let Some(place) = entry.map(|entry| entry.place) {
                self.journal.kill(place);
            }
        }
        self.slots.remove(number);
        self.discount_queue(&queue.record, count);
        Ok((queue.record, lsn))
    }

    fn reserve_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        if self.is_taken(kind, Some(id)) {
            return Err(StoreError::Duplicate);
        }
        if !self.slots.has_room() {
            return Err(StoreError::Full);
        }
        let room = space(size_of::<AliasPayload>());
        self.journal.reserve(LogId::Queues, room, Purpose::Fills)?;
        let alias = AliasPayload {
            birth: self.journal.last + 1,
            id: *id,
            kind,
            shard,
        };
        let (place, lsn) = self.append(codec::KIND_ALIAS, id, Purpose::Fills, |out| {
            codec::write_alias(&alias, out);
        })?;
        let slot = self.slots.insert(place);
        self.journal.enliven(place);
        self.index_id(kind, id, slot);
        Ok(lsn)
    }

    fn release_alias(&mut self, kind: IdKind, id: &Id) -> Result<Lsn, StoreError> {
        let slot = self.find_slot(kind, id);
        let found = slot.and_then(|slot| Some((slot, self.alias(slot)?)));
        let Some((slot, alias)) = found else {
            return Ok(self.last());
        };
        let (_, lsn) = self.append(codec::KIND_GONE, id, Purpose::Frees, |out| {
            out.extend_from_slice(&alias.birth.to_le_bytes());
        })?;
        self.unindex_id(kind, id, slot);
        if let Some(place) = self.slots.record(slot) {
            self.journal.kill(place);
        }
        self.slots.remove(slot);
        Ok(lsn)
    }

    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError> {
        let Some(payload) = self.queue_payload(slot.0) else {
            return Err(StoreError::Full);
        };
        let ids = codec::birth_of(payload).zip(codec::recipient_of(payload).copied());
        let Some((birth, recipient_id)) = ids else {
            return Err(StoreError::Full);
        };
        let len = codec::MESSAGE_HEAD_LEN + message.body.len();
        let room = Head::new(codec::KIND_MESSAGE, 0, len).ok_or(StoreError::Full)?;
        self.journal
            .reserve(LogId::Messages, room.space(), Purpose::Fills)?;
        let seq = self.journal.last + 1;
        let head = codec::message_head(birth, &recipient_id, seq, &message);
        let (place, lsn) = self.journal.append(
            LogId::Messages,
            codec::KIND_MESSAGE,
            self.partitions.partition(&recipient_id),
            &[&head, message.body],
            Purpose::Fills,
        )?;
        self.journal.enliven(place);
        self.slots.push(slot.0, Entry { seq, place });
        self.totals.messages += 1;
        Ok(lsn)
    }

    fn head(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.message(self.slots.messages(slot.0)?.front()?)
    }

    fn newest(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.message(self.slots.messages(slot.0)?.back()?)
    }

    fn pop_message(&mut self, slot: QueueSlot) -> Result<Lsn, StoreError> {
        let head = self.slots.messages(slot.0).and_then(|list| list.front());
        let Some(Entry { seq, place }) = head.copied() else {
            return Ok(self.last());
        };
        // The acknowledgement is freed after the message: it lies in the same log, behind.
        let log = self.journal.log_of(place).unwrap_or(LogId::Messages);
        let ids = self.queue_payload(slot.0).and_then(|payload| {
            let id = codec::recipient_of(payload)?;
            Some((codec::birth_of(payload)?, self.partitions.partition(id)))
        });
        let (birth, partition) = ids.ok_or(StoreError::Full)?;
        let ack = codec::write_ack(AckPayload { birth, seq });
        let (_, lsn) =
            self.journal
                .append(log, codec::KIND_ACK, partition, &[&ack], Purpose::Frees)?;
        self.slots.pop(slot.0);
        self.journal.kill(place);
        self.totals.messages -= 1;
        Ok(lsn)
    }

    fn message_count(&self, slot: QueueSlot) -> usize {
        self.slots.messages(slot.0).map_or(0, VecDeque::len)
    }

    fn next_with_messages(&self, after: Option<QueueSlot>) -> Option<QueueSlot> {
        let after = after.map(|slot| slot.0);
        self.slots.next_with_messages(after).map(QueueSlot)
    }

    fn active_days(&self, slot: QueueSlot) -> ActiveDays {
        self.slots.active(slot.0)
    }

    fn set_active_days(&mut self, slot: QueueSlot, days: ActiveDays) {
        self.slots.set_active(slot.0, days);
    }

    fn service(&self, fingerprint: &[u8; 32]) -> Option<(Id, ServiceRole)> {
        let service = self.services.get(fingerprint)?;
        Some((service.id, service.role))
    }

    fn create_service(&mut self, service: ServiceRecord) -> Result<Lsn, StoreError> {
        let (place, lsn) =
            self.append(codec::KIND_SERVICE, &service.id, Purpose::Fills, |out| {
                codec::write_service(&service, out);
            })?;
        self.journal.enliven(place);
        self.count_service(service.role);
        let (id, role) = (service.id, service.role);
        let known = Service { id, role, place };
        self.services.insert(service.fingerprint, known);
        Ok(lsn)
    }

    fn service_notifiers(&self, service_id: &Id) -> u64 {
        self.service_notifiers.get(service_id).copied().unwrap_or(0)
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn last(&self) -> Lsn {
        Lsn(self.journal.last)
    }

    fn durable(&self) -> Lsn {
        match self.promise {
            Promise::Disk => Lsn(self.journal.synced),
            Promise::Process => self.last(),
        }
    }
}
