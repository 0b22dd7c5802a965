//! What a shard keeps, behind one seam.
//!
//! A [`Store`] belongs to one shard. It holds queue records, their index by every kind of id, and
//! messages. Every change is appended and gets a log sequence number ([`Lsn`]); the shard answers a
//! client only once the change it promises is durable.

mod any;
pub mod log;
mod memory;
mod owner;
mod record;
pub mod reference;

pub use any::AnyStore;
pub use memory::MemoryStore;
pub use owner::hand_over;
pub use record::{
    ActiveDays, IdKind, LinkContent, Message, MessageKind, Note, NotifierRecord, QueueChange,
    QueueRecord, QueueStatus, SealedMeta, ServiceRecord, StoredMessage, Totals,
};

use crate::protocol::ID_LEN;
use crate::protocol::handshake::ServiceRole;
use thiserror::Error;

/// An identifier of this server: queue, link, notifier, service or message.
pub type Id = [u8; ID_LEN];

/// Position in a shard's log; later changes have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

/// A queue within its shard; reused after the queue is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueSlot(pub u32);

/// Where an id leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// A queue of this shard.
    Queue(QueueSlot),
    /// A queue of another shard, which knows it by the same id.
    Shard(u16),
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// One of the ids is in use.
    #[error("identifier in use")]
    Duplicate,
    /// There is no room; queues can still be read and drained.
    #[error("store is full: free disk space, the relay resumes by itself")]
    Full,
}

/// The seam between a shard and what keeps its data.
///
/// Slots passed in must come from [`find`](Self::find) or [`create`](Self::create) and not be
/// deleted since: a shard never keeps one across a deletion.
pub trait Store {
    /// The queue or shard behind an id of one kind.
    fn find(&self, kind: IdKind, id: &Id) -> Option<Location>;

    /// The record of a queue.
    fn queue(&self, slot: QueueSlot) -> QueueRecord;

    /// The data behind a queue's link.
    fn link(&self, slot: QueueSlot) -> Option<LinkContent>;

    /// Adds a queue under all its ids, or fails with [`StoreError::Duplicate`] and changes nothing.
    /// `link` belongs to the link id of the record: both are there or neither.
    fn create(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
    ) -> Result<(QueueSlot, Lsn), StoreError>;

    /// Changes a record and its index entries.
    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError>;

    /// Removes a queue with its ids and messages and returns its last record.
    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError>;

    /// Makes an id of this shard lead to a queue of another.
    fn reserve_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError>;

    /// Undoes [`reserve_alias`](Self::reserve_alias); an id that is no alias or leads to another
    /// shard stays.
    fn release_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError>;

    /// Appends a message to a queue.
    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError>;

    /// The oldest message of a queue.
    fn head(&self, slot: QueueSlot) -> Option<StoredMessage<'_>>;

    /// The newest message of a queue.
    fn newest(&self, slot: QueueSlot) -> Option<StoredMessage<'_>>;

    /// Removes the oldest message of a queue, if there is one.
    fn pop_message(&mut self, slot: QueueSlot) -> Result<Lsn, StoreError>;

    /// Number of messages in a queue, quota marker included.
    fn message_count(&self, slot: QueueSlot) -> usize;

    /// The first queue with messages after another, in the order of slots.
    fn next_with_messages(&self, after: Option<QueueSlot>) -> Option<QueueSlot>;

    /// When a queue was last used. Lost by a crash at most.
    fn active_days(&self, slot: QueueSlot) -> ActiveDays;

    /// Notes when a queue was last used.
    fn set_active_days(&mut self, slot: QueueSlot, days: ActiveDays);

    /// The service with an identity certificate: its id and role.
    fn service(&self, fingerprint: &[u8; 32]) -> Option<(Id, ServiceRole)>;

    /// Adds a service; its fingerprint and id must be new.
    fn create_service(&mut self, service: ServiceRecord) -> Result<Lsn, StoreError>;

    /// Removes a service, if there is one; no queue or notifier belongs to it.
    fn remove_service(&mut self, fingerprint: &[u8; 32]) -> Result<Lsn, StoreError>;

    /// Fingerprints of all services, by the day of their creation.
    fn service_fingerprints(&self) -> Vec<[u8; 32]>;

    /// Number of this shard's queues that belong to a receiving service.
    fn service_queues(&self, service_id: &Id) -> u64;

    /// Number of this shard's notifiers that belong to a notification service.
    fn service_notifiers(&self, service_id: &Id) -> u64;

    /// What is held altogether; costs no more than a look.
    fn totals(&self) -> Totals;

    /// The last change made, durable or not.
    fn last(&self) -> Lsn;

    /// Every change up to here survives what the configured durability promises.
    fn durable(&self) -> Lsn;
}
