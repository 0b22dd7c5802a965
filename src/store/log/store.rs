//! The store of a shard over its logs.

use super::codec::{self, AliasPayload};
use super::disk::Disk;
use super::index::{Hash, IdHasher, Index, NewId};
use super::journal::Journal;
use super::slots::{Entry, Slots};
use super::supply::{PrepareSegment, Prepared, RemoveSegment, Removed, WarmSegment};
use super::sync::{SyncFailed, SyncRequest};
use super::{LOGS, LogId, LogOptions, Partitions, Place, Promise, compaction::Cleaning};
use crate::protocol::handshake::ServiceRole;
use crate::store::{Id, IdKind, Lsn, QueueRecord, QueueSlot, ServiceRecord, StoredMessage, Totals};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use zeroize::Zeroizing;

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
    pub(super) service_notifiers: HashMap<Id, u64, Hasher>,
    pub(super) service_queues: HashMap<Id, u64, Hasher>,
    pub(super) totals: Totals,
    pub(super) cleaning: Option<Cleaning>,
    /// Logs in which something is not found that is needed.
    pub(super) unreadable: [bool; LOGS],
    pub(super) partitions: Arc<dyn Partitions>,
    pub(super) promise: Promise,
    /// The last record when the store was opened.
    pub(super) opened_at: u64,
    /// Payloads are made here; they hold secrets.
    pub(super) scratch: Zeroizing<Vec<u8>>,
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
    /// Segments of each log, in the order of [`LogId::ALL`].
    pub segments: [usize; LOGS],
    /// Segments in no log.
    pub unused: usize,
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
            service_queues: HashMap::default(),
            totals: Totals::default(),
            cleaning: None,
            unreadable: [false; LOGS],
            partitions,
            promise: options.promise,
            opened_at: 0,
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

    /// Whether everything up to a change is on the disk.
    pub fn is_synced(&self, upto: Lsn) -> bool {
        self.journal.synced >= upto.0
    }

    /// Whether a request is carried out, or has failed.
    pub fn is_syncing(&self) -> bool {
        self.journal.is_syncing
    }

    /// Makes everything durable and writes that down, waiting for the disk: for the end of the
    /// process. Fails while something is being synced, or if that failed.
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

    /// Whether new queues and messages are refused once the segments that are written are full.
    pub fn is_short(&self) -> bool {
        self.journal.is_short()
    }

    /// A segment that is used soon and may not be in memory, to be read by a thread that may wait.
    pub fn cold_segment(&mut self) -> Option<WarmSegment<D::File>> {
        self.journal.cold_segment()
    }

    /// Whether what comes next may need a segment that is still being prepared.
    pub fn awaits_segment(&self) -> bool {
        self.journal.awaits_segment()
    }

    /// An unused segment to be removed by a thread that may wait.
    pub fn surplus_segment(&mut self) -> Option<RemoveSegment<D>> {
        self.journal.surplus_segment()
    }

    /// Notes that a segment was removed, or tells why not.
    pub fn segment_removed(&mut self, removed: Removed) -> io::Result<()> {
        self.journal.segment_removed(removed)
    }

    /// What the store takes.
    pub fn footprint(&self) -> Footprint {
        let all = self.journal.segments.iter().flatten();
        let count = all.clone().count();
        let segments = LogId::ALL.map(|log| self.journal.log(log).segments.len());
        Footprint {
            heap: self.index.heap_size() + self.slots.heap_size(),
            mapped: count * self.journal.segment_len,
            live: all.map(|segment| segment.live).sum(),
            segments,
            unused: count.saturating_sub(segments.iter().sum()),
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

    /// Ids among some slots that led to other shards when the store was opened, with the shard
    /// they lead to, and the slot to go on with.
    pub fn old_aliases(&self, from: u32, slots: u32) -> (Vec<(IdKind, Id, u16)>, Option<u32>) {
        let end = from.saturating_add(slots).min(self.slots.len());
        let aliases = (from..end)
            .filter_map(|slot| self.alias(slot))
            .filter(|alias| alias.birth <= self.opened_at)
            .map(|alias| (alias.kind, alias.id, alias.shard))
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

    pub(super) fn message(&self, entry: &Entry) -> Option<StoredMessage<'_>> {
        let payload = self.journal.payload(entry.place)?;
        codec::read_message(payload).map(|stored| stored.message)
    }

    pub(super) fn find_slot(&self, kind: IdKind, id: &Id) -> Option<u32> {
        let is_owner =
            |slot| id_of(&self.journal, &self.slots, slot, kind).is_some_and(|own| own == *id);
        self.index.find(kind, self.hasher.hash(kind, id), is_owner)
    }

    pub(super) fn index_id(&mut self, kind: IdKind, id: &Id, slot: u32) {
        let hash = self.hasher.hash(kind, id);
        self.index_ids(&[NewId { kind, hash, slot }]);
    }

    /// Enters ids that are not there.
    pub(super) fn index_ids(&mut self, ids: &[NewId]) {
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
        index.insert_all(ids, hash_of);
    }

    pub(super) fn unindex_id(&mut self, kind: IdKind, id: &Id, slot: u32) {
        self.index.remove(kind, self.hasher.hash(kind, id), slot);
    }

    /// Keeps the totals true while a queue comes.
    pub(super) fn count_queue(&mut self, record: &QueueRecord) {
        self.totals.queues += 1;
        self.totals.notifiers += u64::from(record.notifier.is_some());
        if let Some(id) = record.service_id {
            self.totals.messaging_service_queues += 1;
            *self.service_queues.entry(id).or_default() += 1;
        }
        self.count_association(None, notifier_service(record));
    }

    /// Keeps the totals true while a queue goes.
    pub(super) fn discount_queue(&mut self, record: &QueueRecord, messages: usize) {
        self.totals.queues -= 1;
        self.totals.notifiers -= u64::from(record.notifier.is_some());
        self.totals.messages -= messages as u64;
        if let Some(id) = record.service_id {
            self.totals.messaging_service_queues -= 1;
            discount(&mut self.service_queues, &id);
        }
        self.count_association(notifier_service(record), None);
    }

    pub(super) fn count_association(&mut self, old: Option<Id>, new: Option<Id>) {
        if let Some(id) = old {
            self.totals.notifier_service_queues -= 1;
            discount(&mut self.service_notifiers, &id);
        }
        if let Some(id) = new {
            self.totals.notifier_service_queues += 1;
            *self.service_notifiers.entry(id).or_default() += 1;
        }
    }

    pub(super) fn count_service(&mut self, role: ServiceRole) {
        *self.services_of(role) += 1;
    }

    pub(super) fn discount_service(&mut self, role: ServiceRole) {
        *self.services_of(role) -= 1;
    }

    fn services_of(&mut self, role: ServiceRole) -> &mut u64 {
        match role {
            ServiceRole::Messaging => &mut self.totals.messaging_services,
            ServiceRole::Notifier => &mut self.totals.notifier_services,
            ServiceRole::Proxy => &mut self.totals.proxy_services,
        }
    }
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

pub(super) fn notifier_service(record: &QueueRecord) -> Option<Id> {
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

/// Counts one less; nothing is kept for what there is none of.
fn discount(counts: &mut HashMap<Id, u64, Hasher>, id: &Id) {
    if let Some(count) = counts.get_mut(id) {
        *count -= 1;
        if *count == 0 {
            counts.remove(id);
        }
    }
}
