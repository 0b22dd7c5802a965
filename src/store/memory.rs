//! A store that forgets everything when the process ends.

use super::{
    ActiveDays, Id, IdKind, LinkContent, Location, Lsn, Message, MessageKind, QueueChange,
    QueueRecord, QueueSlot, ServiceRecord, Store, StoreError, StoredMessage, Totals,
};
use crate::protocol::handshake::ServiceRole;
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

/// Ids of clients' choosing are hashed with a random seed.
type Hasher = foldhash::quality::RandomState;
type Index = HashMap<Id, Location, Hasher>;

/// Queues and messages on the heap of one shard.
#[derive(Debug, Default)]
pub struct MemoryStore {
    queues: Slab<Queue>,
    recipients: Index,
    senders: Index,
    links: Index,
    notifiers: Index,
    services: HashMap<[u8; 32], ServiceRecord, Hasher>,
    /// Queues of each receiving service that has any.
    service_queues: HashMap<Id, u64, Hasher>,
    /// Notifiers of each notification service that has any.
    service_notifiers: HashMap<Id, u64, Hasher>,
    with_messages: BTreeSet<QueueSlot>,
    totals: Totals,
    lsn: u64,
}

#[derive(Debug)]
struct Queue {
    record: QueueRecord,
    link: Option<LinkContent>,
    messages: VecDeque<OwnedMessage>,
    active: ActiveDays,
}

#[derive(Debug)]
struct OwnedMessage {
    id: Id,
    time_ns: i64,
    kind: MessageKind,
    body: Box<[u8]>,
}

impl OwnedMessage {
    fn view(&self) -> StoredMessage<'_> {
        Message {
            id: self.id,
            time_ns: self.time_ns,
            kind: self.kind,
            body: &self.body,
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// All messages of a queue, oldest first.
    #[cfg(test)]
    pub fn messages(&self, slot: QueueSlot) -> impl Iterator<Item = StoredMessage<'_>> {
        let queue = self.queues.get(index_of(slot));
        queue
            .into_iter()
            .flat_map(|q| &q.messages)
            .map(OwnedMessage::view)
    }

    fn appended(&mut self) -> Lsn {
        self.lsn += 1;
        Lsn(self.lsn)
    }

    fn index(&mut self, kind: IdKind) -> &mut Index {
        match kind {
            IdKind::Recipient => &mut self.recipients,
            IdKind::Sender => &mut self.senders,
            IdKind::Link => &mut self.links,
            IdKind::Notifier => &mut self.notifiers,
        }
    }

    fn remove_queue_id(&mut self, kind: IdKind, id: &Id, slot: QueueSlot) {
        let index = self.index(kind);
        if index.get(id) == Some(&Location::Queue(slot)) {
            index.remove(id);
        }
    }

    fn record(&mut self, slot: QueueSlot) -> &mut QueueRecord {
        &mut self.queues[index_of(slot)].record
    }

    /// Replaces one id of a queue by another.
    fn replace_id(
        &mut self,
        kind: IdKind,
        slot: QueueSlot,
        old: Option<Id>,
        new: Option<Id>,
    ) -> Result<(), StoreError> {
        if new == old {
            return Ok(());
        }
        if new.is_some_and(|id| self.index(kind).contains_key(&id)) {
            return Err(StoreError::Duplicate);
        }
        if let Some(id) = old {
            self.remove_queue_id(kind, &id, slot);
        }
        if let Some(id) = new {
            self.index(kind).insert(id, Location::Queue(slot));
        }
        Ok(())
    }

    /// Keeps the counts of notifiers true while a queue's association changes.
    fn count_association(&mut self, old: Option<Id>, new: Option<Id>) {
        if let Some(id) = old {
            self.totals.notifier_service_queues -= 1;
            count_down(&mut self.service_notifiers, &id);
        }
        if let Some(id) = new {
            self.totals.notifier_service_queues += 1;
            *self.service_notifiers.entry(id).or_default() += 1;
        }
    }
}

fn count_down(counts: &mut HashMap<Id, u64, Hasher>, id: &Id) {
    if let Some(count) = counts.get_mut(id) {
        *count -= 1;
        if *count == 0 {
            counts.remove(id);
        }
    }
}

/// How a service counts in the totals.
fn count_of(totals: &mut Totals, role: ServiceRole) -> &mut u64 {
    match role {
        ServiceRole::Messaging => &mut totals.messaging_services,
        ServiceRole::Notifier => &mut totals.notifier_services,
        ServiceRole::Proxy => &mut totals.proxy_services,
    }
}

/// Slots are 32 bits: a shard holds at most this many queues.
const MAX_QUEUES: usize = u32::MAX as usize;

fn index_of(slot: QueueSlot) -> usize {
    slot.0 as usize
}

fn notifier_id(record: &QueueRecord) -> Option<Id> {
    record.notifier.as_ref().map(|n| n.notifier_id)
}

fn notifier_service(record: &QueueRecord) -> Option<Id> {
    record.notifier.as_ref()?.service_id
}

impl Store for MemoryStore {
    fn find(&self, kind: IdKind, id: &Id) -> Option<Location> {
        let index = match kind {
            IdKind::Recipient => &self.recipients,
            IdKind::Sender => &self.senders,
            IdKind::Link => &self.links,
            IdKind::Notifier => &self.notifiers,
        };
        index.get(id).copied()
    }

    fn queue(&self, slot: QueueSlot) -> QueueRecord {
        self.queues[index_of(slot)].record.clone()
    }

    fn link(&self, slot: QueueSlot) -> Option<LinkContent> {
        self.queues[index_of(slot)].link.clone()
    }

    fn create(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
    ) -> Result<(QueueSlot, Lsn), StoreError> {
        let notifier_id = notifier_id(record);
        if self.queues.len() >= MAX_QUEUES {
            return Err(StoreError::Full);
        }
        if self.recipients.contains_key(&record.recipient_id)
            || self.senders.contains_key(&record.sender_id)
            || record
                .link_id
                .is_some_and(|id| self.links.contains_key(&id))
            || notifier_id.is_some_and(|id| self.notifiers.contains_key(&id))
        {
            return Err(StoreError::Duplicate);
        }
        let key = self.queues.insert(Queue {
            record: record.clone(),
            link,
            messages: VecDeque::new(),
            active: ActiveDays::default(),
        });
        let slot = QueueSlot(u32::try_from(key).map_err(|_| StoreError::Full)?);
        let here = Location::Queue(slot);
        self.recipients.insert(record.recipient_id, here);
        self.senders.insert(record.sender_id, here);
        if let Some(id) = record.link_id {
            self.links.insert(id, here);
        }
        if let Some(id) = notifier_id {
            self.notifiers.insert(id, here);
            self.totals.notifiers += 1;
        }
        self.count_association(None, notifier_service(record));
        self.totals.queues += 1;
        if let Some(id) = record.service_id {
            self.totals.messaging_service_queues += 1;
            *self.service_queues.entry(id).or_default() += 1;
        }
        Ok((slot, self.appended()))
    }

    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError> {
        match change {
            QueueChange::SenderKey(key) => self.record(slot).sender_key = Some(key),
            QueueChange::RecipientKeys(keys) => self.record(slot).recipient_keys = keys,
            QueueChange::Status(status) => self.record(slot).status = status,
            QueueChange::Day(day) => self.record(slot).updated_day = day,
            QueueChange::Link(link) => {
                let old = self.record(slot).link_id;
                let new = link.as_ref().map(|(id, _)| *id);
                self.replace_id(IdKind::Link, slot, old, new)?;
                let queue = &mut self.queues[index_of(slot)];
                queue.record.link_id = new;
                queue.link = link.map(|(_, content)| content);
            }
            QueueChange::Notifier(notifier) => {
                let record = self.record(slot);
                let (old, old_service) = (notifier_id(record), notifier_service(record));
                let new = notifier.as_ref().map(|n| n.notifier_id);
                self.replace_id(IdKind::Notifier, slot, old, new)?;
                let new_service = notifier.as_ref().and_then(|n| n.service_id);
                self.count_association(old_service, new_service);
                self.totals.notifiers += u64::from(new.is_some());
                self.totals.notifiers -= u64::from(old.is_some());
                self.record(slot).notifier = notifier;
            }
            QueueChange::NotifierService(service_id) => {
                if let Some(notifier) = &mut self.record(slot).notifier {
                    let old = std::mem::replace(&mut notifier.service_id, service_id);
                    self.count_association(old, service_id);
                }
            }
        }
        Ok(self.appended())
    }

    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError> {
        let queue = self.queues.remove(index_of(slot));
        let record = queue.record;
        self.remove_queue_id(IdKind::Recipient, &record.recipient_id, slot);
        self.remove_queue_id(IdKind::Sender, &record.sender_id, slot);
        if let Some(id) = &record.link_id {
            self.remove_queue_id(IdKind::Link, id, slot);
        }
        if let Some(notifier) = &record.notifier {
            self.remove_queue_id(IdKind::Notifier, &notifier.notifier_id, slot);
            self.totals.notifiers -= 1;
        }
        self.count_association(notifier_service(&record), None);
        self.with_messages.remove(&slot);
        self.totals.queues -= 1;
        self.totals.messages -= queue.messages.len() as u64;
        if let Some(id) = &record.service_id {
            self.totals.messaging_service_queues -= 1;
            count_down(&mut self.service_queues, id);
        }
        Ok((record, self.appended()))
    }

    fn reserve_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        let index = self.index(kind);
        if index.contains_key(id) {
            return Err(StoreError::Duplicate);
        }
        index.insert(*id, Location::Shard(shard));
        Ok(self.appended())
    }

    fn release_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        let index = self.index(kind);
        if index.get(id) == Some(&Location::Shard(shard)) {
            index.remove(id);
        }
        Ok(self.appended())
    }

    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError> {
        let messages = &mut self.queues[index_of(slot)].messages;
        if messages.is_empty() {
            self.with_messages.insert(slot);
        }
        messages.push_back(OwnedMessage {
            id: message.id,
            time_ns: message.time_ns,
            kind: message.kind,
            body: message.body.into(),
        });
        self.totals.messages += 1;
        Ok(self.appended())
    }

    fn head(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.queues[index_of(slot)]
            .messages
            .front()
            .map(OwnedMessage::view)
    }

    fn newest(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.queues[index_of(slot)]
            .messages
            .back()
            .map(OwnedMessage::view)
    }

    fn pop_message(&mut self, slot: QueueSlot) -> Result<Lsn, StoreError> {
        let messages = &mut self.queues[index_of(slot)].messages;
        self.totals.messages -= u64::from(messages.pop_front().is_some());
        if messages.is_empty() {
            // A queue that was once long must not hold its ring for ever.
            messages.shrink_to(1);
            self.with_messages.remove(&slot);
        }
        Ok(self.appended())
    }

    fn message_count(&self, slot: QueueSlot) -> usize {
        self.queues[index_of(slot)].messages.len()
    }

    fn next_with_messages(&self, after: Option<QueueSlot>) -> Option<QueueSlot> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.with_messages
            .range((start, Bound::Unbounded))
            .next()
            .copied()
    }

    fn active_days(&self, slot: QueueSlot) -> ActiveDays {
        self.queues[index_of(slot)].active
    }

    fn set_active_days(&mut self, slot: QueueSlot, days: ActiveDays) {
        self.queues[index_of(slot)].active = days;
    }

    fn service(&self, fingerprint: &[u8; 32]) -> Option<(Id, ServiceRole)> {
        let service = self.services.get(fingerprint)?;
        Some((service.id, service.role))
    }

    fn create_service(&mut self, service: ServiceRecord) -> Result<Lsn, StoreError> {
        *count_of(&mut self.totals, service.role) += 1;
        self.services.insert(service.fingerprint, service);
        Ok(self.appended())
    }

    fn remove_service(&mut self, fingerprint: &[u8; 32]) -> Result<Lsn, StoreError> {
        if let Some(service) = self.services.remove(fingerprint) {
            *count_of(&mut self.totals, service.role) -= 1;
        }
        Ok(self.appended())
    }

    fn service_fingerprints(&self) -> Vec<[u8; 32]> {
        let mut services: Vec<_> = self.services.values().collect();
        services.sort_by_key(|service| service.created_day);
        services.iter().map(|service| service.fingerprint).collect()
    }

    fn service_queues(&self, service_id: &Id) -> u64 {
        self.service_queues.get(service_id).copied().unwrap_or(0)
    }

    fn service_notifiers(&self, service_id: &Id) -> u64 {
        self.service_notifiers.get(service_id).copied().unwrap_or(0)
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn last(&self) -> Lsn {
        Lsn(self.lsn)
    }

    fn durable(&self) -> Lsn {
        Lsn(self.lsn)
    }
}
