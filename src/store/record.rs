//! Queue records, messages and the changes to them (spec: server §1).

use super::Id;
use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::crypto::message::{BOXED_META_LEN, decrypt_notification};
use crate::crypto::smp_box::{BoxKey, Nonce};
use crate::protocol::error::BlockingInfo;
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use smallvec::SmallVec;
use std::ops::AddAssign;

/// The four separate spaces of queue ids (spec: protocol §16.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// Recipient commands.
    Recipient,
    /// `SEND` and `SKEY`.
    Sender,
    /// `LKEY` and `LGET`.
    Link,
    /// `NSUB`.
    Notifier,
}

/// What a queue is, without its messages and link data. Cheap to copy: mostly keys and ids.
#[derive(Debug, Clone)]
pub struct QueueRecord {
    /// Entity id of recipient commands.
    pub recipient_id: Id,
    /// 1 to 255 keys, any of which authorises recipient commands.
    pub recipient_keys: SmallVec<[PublicAuthKey; 1]>,
    /// Secret that boxes message bodies.
    pub rcv_dh_secret: SharedSecret,
    /// Entity id of sender commands.
    pub sender_id: Id,
    /// Key of the sender; once set it never changes.
    pub sender_key: Option<PublicAuthKey>,
    /// `None` only for queues of clients older than version 9.
    pub mode: Option<QueueMode>,
    /// Id of the short link; its data is kept apart ([`LinkContent`]).
    pub link_id: Option<Id>,
    /// Notifications.
    pub notifier: Option<NotifierRecord>,
    /// Whether the queue accepts messages.
    pub status: QueueStatus,
    /// Day of last use, days since the Unix epoch.
    pub updated_day: u32,
    /// Receiving service the queue belongs to.
    pub service_id: Option<Id>,
}

impl QueueRecord {
    /// Whether link data is readable by anyone: contact queues, and old queues nobody secured.
    pub fn is_contact(&self) -> bool {
        match self.mode {
            Some(QueueMode::Contact) => true,
            Some(QueueMode::Messaging) => false,
            None => self.sender_key.is_none(),
        }
    }

    /// Whether the one sender has secured the queue.
    pub fn is_secured_messaging(&self) -> bool {
        self.mode != Some(QueueMode::Contact) && self.sender_key.is_some()
    }
}

/// Data behind a short link, opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkContent {
    /// Immutable part.
    pub fixed: Box<[u8]>,
    /// Replaceable part.
    pub user: Box<[u8]>,
}

/// Credentials of a queue's notifier.
#[derive(Debug, Clone)]
pub struct NotifierRecord {
    /// Entity id of `NSUB`.
    pub notifier_id: Id,
    /// Key that authorises `NSUB`.
    pub auth_key: PublicAuthKey,
    /// Secret that boxes notification metadata.
    pub dh_secret: SharedSecret,
    /// Notification service the notifier belongs to.
    pub service_id: Option<Id>,
}

/// Whether a queue accepts messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueStatus {
    /// Yes.
    Active,
    /// Suspended by its recipient.
    Off,
    /// Blocked by the operator.
    Blocked(BlockingInfo),
}

/// One change of a record, one kind of log record each.
#[derive(Debug, Clone)]
pub enum QueueChange {
    /// Secure for a sender.
    SenderKey(PublicAuthKey),
    /// Replace the recipient keys.
    RecipientKeys(SmallVec<[PublicAuthKey; 1]>),
    /// Suspend, block or reactivate.
    Status(QueueStatus),
    /// Set or remove the link.
    Link(Option<(Id, LinkContent)>),
    /// Set or remove the notifier.
    Notifier(Option<NotifierRecord>),
    /// Associate the notifier, which there must be, with a notification service.
    NotifierService(Option<Id>),
    /// Stamp the day of use, days since the Unix epoch.
    Day(u32),
}

/// A service, known by its certificate (spec: server §1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Random, stable for the certificate.
    pub id: Id,
    /// What it may do; a certificate has one role for ever.
    pub role: ServiceRole,
    /// SHA-256 of the identity certificate.
    pub fingerprint: [u8; 32],
    /// TLS chain, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// Day of creation, days since the Unix epoch.
    pub created_day: u32,
}

/// Days on which a queue was last used, in the numbering of the statistics; 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActiveDays {
    /// A message was sent or received.
    pub message: u16,
    /// A message with the notification flag was sent or received.
    pub notification: u16,
}

/// What a store holds altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Queues.
    pub queues: u64,
    /// Queues with a notifier.
    pub notifiers: u64,
    /// Messages, quota markers included.
    pub messages: u64,
    /// Receiving services.
    pub messaging_services: u64,
    /// Notification services.
    pub notifier_services: u64,
    /// Queues of receiving services.
    pub messaging_service_queues: u64,
    /// Notifiers of notification services.
    pub notifier_service_queues: u64,
    /// Proxies with a certificate.
    pub proxy_services: u64,
}

impl Totals {
    /// Services of every role.
    pub fn services(&self) -> u64 {
        self.messaging_services + self.notifier_services + self.proxy_services
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.queues += other.queues;
        self.notifiers += other.notifiers;
        self.messages += other.messages;
        self.messaging_services += other.messaging_services;
        self.notifier_services += other.notifier_services;
        self.messaging_service_queues += other.messaging_service_queues;
        self.notifier_service_queues += other.notifier_service_queues;
        self.proxy_services += other.proxy_services;
    }
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A message of a sender.
    Message {
        /// Whether the sender asked for a notification.
        notify: bool,
    },
    /// Marks that messages were refused: the queue was full.
    Quota,
}

/// A message to be stored; the body is copied once, into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Id, also the nonce of its box.
    pub id: Id,
    /// Receive time, nanoseconds since the Unix epoch; the wire has whole seconds.
    pub time_ns: i64,
    /// Message or quota marker.
    pub kind: MessageKind,
    /// Body, empty for a quota marker.
    pub body: &'a [u8],
}

/// A notification that waits for its subscriber: a message somebody is to be told of
/// (spec: server §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which message came.
    pub message_id: Id,
    /// When, seconds since the Unix epoch.
    pub at: i64,
    /// What a reference server had boxed already, which is delivered as it is; others are boxed
    /// when they leave.
    pub sealed: Option<Box<SealedMeta>>,
}

/// Metadata of a notification, boxed for the recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedMeta {
    /// Travels in front of the box.
    pub nonce: Nonce,
    /// The box.
    pub boxed: [u8; BOXED_META_LEN],
}

impl Note {
    /// One of this relay, boxed when it leaves.
    pub fn new(message_id: Id, at: i64) -> Self {
        Self {
            message_id,
            at,
            sealed: None,
        }
    }
}

impl SealedMeta {
    /// Which message came and when, as a notifier's secret shows it; `None` if it does not open
    /// the box.
    pub fn open(&self, key: &BoxKey) -> Option<(Id, i64)> {
        let mut boxed = self.boxed;
        let meta = decrypt_notification(key, &self.nonce, &mut boxed).ok()?;
        Some((meta.msg_id.try_into().ok()?, meta.timestamp))
    }
}

/// A message as the store shows it.
pub type StoredMessage<'a> = Message<'a>;
