//! Queue records, messages and the changes to them (spec: server §1).

use super::Id;
use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::protocol::error::BlockingInfo;
use crate::protocol::response::QueueMode;
use smallvec::SmallVec;

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

/// Everything a queue is, without its messages.
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
    /// Short link.
    pub link: Option<Box<LinkRecord>>,
    /// Notifications.
    pub notifier: Option<Box<NotifierRecord>>,
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
pub struct LinkRecord {
    /// Link id.
    pub link_id: Id,
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
    Link(Option<Box<LinkRecord>>),
    /// Set or remove the notifier.
    Notifier(Option<Box<NotifierRecord>>),
    /// Stamp the day of use, days since the Unix epoch.
    Day(u32),
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

/// A message as the store shows it.
pub type StoredMessage<'a> = Message<'a>;
