//! A store that forgets everything when the process ends.

use super::{
    Id, IdKind, Location, Lsn, Message, QueueChange, QueueRecord, QueueSlot, Store, StoreError,
    StoredMessage,
};
use crate::store::MessageKind;
use slab::Slab;
use std::collections::{HashMap, VecDeque};

/// Ids of clients' choosing are hashed with a random seed.
type Index = HashMap<Id, Location, foldhash::quality::RandomState>;

/// Queues and messages on the heap of one shard.
#[derive(Debug, Default)]
pub struct MemoryStore {
    queues: Slab<Queue>,
    recipients: Index,
    senders: Index,
    links: Index,
    notifiers: Index,
    lsn: u64,
}

#[derive(Debug)]
struct Queue {
    record: QueueRecord,
    messages: VecDeque<OwnedMessage>,
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
}

/// Slots are 32 bits: a shard holds at most this many queues.
const MAX_QUEUES: usize = u32::MAX as usize;

fn index_of(slot: QueueSlot) -> usize {
    slot.0 as usize
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

    fn queue(&self, slot: QueueSlot) -> &QueueRecord {
        &self.queues[index_of(slot)].record
    }

    fn create(&mut self, record: QueueRecord) -> Result<(QueueSlot, Lsn), StoreError> {
        let link_id = record.link.as_ref().map(|l| l.link_id);
        let notifier_id = record.notifier.as_ref().map(|n| n.notifier_id);
        if self.queues.len() >= MAX_QUEUES {
            return Err(StoreError::Full);
        }
        if self.recipients.contains_key(&record.recipient_id)
            || self.senders.contains_key(&record.sender_id)
            || link_id.is_some_and(|id| self.links.contains_key(&id))
            || notifier_id.is_some_and(|id| self.notifiers.contains_key(&id))
        {
            return Err(StoreError::Duplicate);
        }
        let (recipient_id, sender_id) = (record.recipient_id, record.sender_id);
        let key = self.queues.insert(Queue {
            record,
            messages: VecDeque::new(),
        });
        let slot = QueueSlot(u32::try_from(key).map_err(|_| StoreError::Full)?);
        let here = Location::Queue(slot);
        self.recipients.insert(recipient_id, here);
        self.senders.insert(sender_id, here);
        if let Some(id) = link_id {
            self.links.insert(id, here);
        }
        if let Some(id) = notifier_id {
            self.notifiers.insert(id, here);
        }
        Ok((slot, self.appended()))
    }

    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError> {
        let here = Location::Queue(slot);
        match change {
            QueueChange::SenderKey(key) => {
                self.queues[index_of(slot)].record.sender_key = Some(key);
            }
            QueueChange::RecipientKeys(keys) => {
                self.queues[index_of(slot)].record.recipient_keys = keys;
            }
            QueueChange::Status(status) => self.queues[index_of(slot)].record.status = status,
            QueueChange::Day(day) => self.queues[index_of(slot)].record.updated_day = day,
            QueueChange::Link(link) => {
                let old = self.queues[index_of(slot)]
                    .record
                    .link
                    .as_ref()
                    .map(|l| l.link_id);
                let new = link.as_ref().map(|l| l.link_id);
                if new != old {
                    if new.is_some_and(|id| self.links.contains_key(&id)) {
                        return Err(StoreError::Duplicate);
                    }
                    if let Some(id) = old {
                        self.remove_queue_id(IdKind::Link, &id, slot);
                    }
                    if let Some(id) = new {
                        self.links.insert(id, here);
                    }
                }
                self.queues[index_of(slot)].record.link = link;
            }
            QueueChange::Notifier(notifier) => {
                let record = &self.queues[index_of(slot)].record;
                let old = record.notifier.as_ref().map(|n| n.notifier_id);
                let new = notifier.as_ref().map(|n| n.notifier_id);
                if new != old {
                    if new.is_some_and(|id| self.notifiers.contains_key(&id)) {
                        return Err(StoreError::Duplicate);
                    }
                    if let Some(id) = old {
                        self.remove_queue_id(IdKind::Notifier, &id, slot);
                    }
                    if let Some(id) = new {
                        self.notifiers.insert(id, here);
                    }
                }
                self.queues[index_of(slot)].record.notifier = notifier;
            }
        }
        Ok(self.appended())
    }

    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError> {
        let Queue { record, .. } = self.queues.remove(index_of(slot));
        self.remove_queue_id(IdKind::Recipient, &record.recipient_id, slot);
        self.remove_queue_id(IdKind::Sender, &record.sender_id, slot);
        if let Some(link) = &record.link {
            self.remove_queue_id(IdKind::Link, &link.link_id, slot);
        }
        if let Some(notifier) = &record.notifier {
            self.remove_queue_id(IdKind::Notifier, &notifier.notifier_id, slot);
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

    fn release_alias(&mut self, kind: IdKind, id: &Id) -> Result<Lsn, StoreError> {
        let index = self.index(kind);
        if let Some(Location::Shard(_)) = index.get(id) {
            index.remove(id);
        }
        Ok(self.appended())
    }

    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError> {
        self.queues[index_of(slot)]
            .messages
            .push_back(OwnedMessage {
                id: message.id,
                time_ns: message.time_ns,
                kind: message.kind,
                body: message.body.into(),
            });
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
        messages.pop_front();
        if messages.is_empty() {
            // A queue that was once long must not hold its ring for ever.
            messages.shrink_to(1);
        }
        Ok(self.appended())
    }

    fn message_count(&self, slot: QueueSlot) -> usize {
        self.queues[index_of(slot)].messages.len()
    }

    fn durable(&self) -> Lsn {
        Lsn(self.lsn)
    }
}
