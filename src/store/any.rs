//! The stores a relay can run with.

use super::log::LogStore;
use super::{
    ActiveDays, Id, IdKind, LinkContent, Location, Lsn, MemoryStore, Message, QueueChange,
    QueueRecord, QueueSlot, ServiceRecord, Store, StoreError, StoredMessage, Totals,
};
use crate::protocol::handshake::ServiceRole;

/// Which store is decided at start.
#[derive(Debug)]
pub enum AnyStore {
    /// Everything is forgotten when the process ends.
    Memory(Box<MemoryStore>),
    /// Nothing acknowledged is.
    Log(Box<LogStore>),
}

impl AnyStore {
    /// The durable store, if it is one.
    pub fn log(&mut self) -> Option<&mut LogStore> {
        match self {
            Self::Memory(_) => None,
            Self::Log(store) => Some(store),
        }
    }
}

/// Calls the same method of whichever store there is.
macro_rules! either {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            AnyStore::Memory($store) => $call,
            AnyStore::Log($store) => $call,
        }
    };
}

impl Store for AnyStore {
    fn find(&self, kind: IdKind, id: &Id) -> Option<Location> {
        either!(self, s => s.find(kind, id))
    }

    fn queue(&self, slot: QueueSlot) -> QueueRecord {
        either!(self, s => s.queue(slot))
    }

    fn link(&self, slot: QueueSlot) -> Option<LinkContent> {
        either!(self, s => s.link(slot))
    }

    fn create(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
    ) -> Result<(QueueSlot, Lsn), StoreError> {
        either!(self, s => s.create(record, link))
    }

    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError> {
        either!(self, s => s.update(slot, change))
    }

    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError> {
        either!(self, s => s.delete(slot))
    }

    fn reserve_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        either!(self, s => s.reserve_alias(kind, id, shard))
    }

    fn release_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        either!(self, s => s.release_alias(kind, id, shard))
    }

    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError> {
        either!(self, s => s.push_message(slot, message))
    }

    fn head(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        either!(self, s => s.head(slot))
    }

    fn newest(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        either!(self, s => s.newest(slot))
    }

    fn pop_message(&mut self, slot: QueueSlot) -> Result<Lsn, StoreError> {
        either!(self, s => s.pop_message(slot))
    }

    fn message_count(&self, slot: QueueSlot) -> usize {
        either!(self, s => s.message_count(slot))
    }

    fn next_with_messages(&self, after: Option<QueueSlot>) -> Option<QueueSlot> {
        either!(self, s => s.next_with_messages(after))
    }

    fn active_days(&self, slot: QueueSlot) -> ActiveDays {
        either!(self, s => s.active_days(slot))
    }

    fn set_active_days(&mut self, slot: QueueSlot, days: ActiveDays) {
        either!(self, s => s.set_active_days(slot, days));
    }

    fn service(&self, fingerprint: &[u8; 32]) -> Option<(Id, ServiceRole)> {
        either!(self, s => s.service(fingerprint))
    }

    fn create_service(&mut self, service: ServiceRecord) -> Result<Lsn, StoreError> {
        either!(self, s => s.create_service(service))
    }

    fn remove_service(&mut self, fingerprint: &[u8; 32]) -> Result<Lsn, StoreError> {
        either!(self, s => s.remove_service(fingerprint))
    }

    fn service_fingerprints(&self) -> Vec<[u8; 32]> {
        either!(self, s => s.service_fingerprints())
    }

    fn service_queues(&self, service_id: &Id) -> u64 {
        either!(self, s => s.service_queues(service_id))
    }

    fn service_notifiers(&self, service_id: &Id) -> u64 {
        either!(self, s => s.service_notifiers(service_id))
    }

    fn totals(&self) -> Totals {
        either!(self, s => s.totals())
    }

    fn last(&self) -> Lsn {
        either!(self, s => s.last())
    }

    fn durable(&self) -> Lsn {
        either!(self, s => s.durable())
    }
}
