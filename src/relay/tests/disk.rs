//! A store whose disk can lag behind and be full.

use crate::protocol::handshake::ServiceRole;
use crate::store::{
    ActiveDays, Id, IdKind, LinkContent, Location, Lsn, MemoryStore, Message, QueueChange,
    QueueRecord, QueueSlot, ServiceRecord, Store, StoreError, StoredMessage, Totals,
};

/// A store whose disk can lag behind and be full.
#[derive(Debug, Default)]
pub struct TestStore {
    inner: MemoryStore,
    /// What is durable while the disk lags; `None` when it does not.
    pub synced: Option<Lsn>,
    pub full: bool,
    /// Not even what frees space is taken.
    pub exhausted: bool,
}

impl TestStore {
    fn room(&self) -> Result<(), StoreError> {
        if self.full {
            Err(StoreError::Full)
        } else {
            Ok(())
        }
    }
}

impl Store for TestStore {
    fn find(&self, kind: IdKind, id: &Id) -> Option<Location> {
        self.inner.find(kind, id)
    }

    fn queue(&self, slot: QueueSlot) -> QueueRecord {
        self.inner.queue(slot)
    }

    fn link(&self, slot: QueueSlot) -> Option<LinkContent> {
        self.inner.link(slot)
    }

    fn create(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
    ) -> Result<(QueueSlot, Lsn), StoreError> {
        self.room()?;
        self.inner.create(record, link)
    }

    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError> {
        self.room()?;
        self.inner.update(slot, change)
    }

    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError> {
        self.inner.delete(slot)
    }

    fn reserve_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        self.room()?;
        self.inner.reserve_alias(kind, id, shard)
    }

    fn release_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        self.inner.release_alias(kind, id, shard)
    }

    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError> {
        self.room()?;
        self.inner.push_message(slot, message)
    }

    fn head(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.inner.head(slot)
    }

    fn newest(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.inner.newest(slot)
    }

    fn pop_message(&mut self, slot: QueueSlot) -> Result<Lsn, StoreError> {
        if self.exhausted {
            return Err(StoreError::Full);
        }
        self.inner.pop_message(slot)
    }

    fn message_count(&self, slot: QueueSlot) -> usize {
        self.inner.message_count(slot)
    }

    fn next_with_messages(&self, after: Option<QueueSlot>) -> Option<QueueSlot> {
        self.inner.next_with_messages(after)
    }

    fn active_days(&self, slot: QueueSlot) -> ActiveDays {
        self.inner.active_days(slot)
    }

    fn set_active_days(&mut self, slot: QueueSlot, days: ActiveDays) {
        self.inner.set_active_days(slot, days);
    }

    fn service(&self, fingerprint: &[u8; 32]) -> Option<(Id, ServiceRole)> {
        self.inner.service(fingerprint)
    }

    fn create_service(&mut self, service: ServiceRecord) -> Result<Lsn, StoreError> {
        self.room()?;
        self.inner.create_service(service)
    }

    fn remove_service(&mut self, fingerprint: &[u8; 32]) -> Result<Lsn, StoreError> {
        self.room()?;
        self.inner.remove_service(fingerprint)
    }

    fn service_fingerprints(&self) -> Vec<[u8; 32]> {
        self.inner.service_fingerprints()
    }

    fn service_queues(&self, service_id: &Id) -> u64 {
        self.inner.service_queues(service_id)
    }

    fn service_notifiers(&self, service_id: &Id) -> u64 {
        self.inner.service_notifiers(service_id)
    }

    fn totals(&self) -> Totals {
        self.inner.totals()
    }

    fn last(&self) -> Lsn {
        self.inner.last()
    }

    fn durable(&self) -> Lsn {
        self.synced.unwrap_or_else(|| self.inner.durable())
    }
}
