//! Payloads of queue and message records (docs/STORAGE.md).
//!
//! Ids lie at fixed places, so that they are compared in the segment without decoding the rest.

use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::protocol::ID_LEN;
use crate::protocol::error::{BlockingInfo, BlockingReason, ClientNotice};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use crate::store::{
    ActiveDays, Id, IdKind, LinkContent, Message, MessageKind, NotifierRecord, QueueRecord,
    QueueStatus, ServiceRecord,
};
use smallvec::SmallVec;

/// A queue with everything but its link data and messages.
pub const KIND_QUEUE: u8 = 16;
/// The data behind a queue's link.
pub const KIND_LINK: u8 = 17;
/// A queue or an alias is no more.
pub const KIND_GONE: u8 = 18;
/// An id that leads to another shard.
pub const KIND_ALIAS: u8 = 19;
/// A service.
pub const KIND_SERVICE: u8 = 20;
/// A service is no more: its fingerprint.
pub const KIND_SERVICE_GONE: u8 = 21;
/// A message.
pub const KIND_MESSAGE: u8 = 32;
/// Messages of a queue are no more.
pub const KIND_ACK: u8 = 33;

const BIRTH_AT: usize = 0;
const RECIPIENT_AT: usize = 8;
const SENDER_AT: usize = 32;
const LINK_AT: usize = 56;
const NOTIFIER_AT: usize = 80;
const FLAGS_AT: usize = 104;
const ACTIVE_AT: usize = 110;

const HAS_LINK: u8 = 1;
const HAS_NOTIFIER: u8 = 2;
const HAS_SENDER_KEY: u8 = 4;
const HAS_SERVICE: u8 = 8;
const HAS_NOTIFIER_SERVICE: u8 = 16;

/// Bytes of a message's payload before its body.
pub const MESSAGE_HEAD_LEN: usize = 8 + 8 + ID_LEN + ID_LEN + 8 + 1;

/// A queue record, its birth and its days.
#[derive(Debug, Clone)]
pub struct QueuePayload {
    /// Number of the first record of the queue: no other queue ever has it.
    pub birth: u64,
    /// The record.
    pub record: QueueRecord,
    /// Days of use, as far as known when it was written.
    pub active: ActiveDays,
}

/// Link data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPayload {
    /// Birth of the queue.
    pub birth: u64,
    /// Its recipient id.
    pub recipient_id: Id,
    /// The link.
    pub link_id: Id,
    /// Its data.
    pub content: LinkContent,
}

/// An id that leads to another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AliasPayload {
    /// Number of its record when it was made.
    pub birth: u64,
    /// The id.
    pub id: Id,
    /// Its space.
    pub kind: IdKind,
    /// The other shard.
    pub shard: u16,
}

/// Where a message belongs, and the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePayload<'a> {
    /// Birth of the queue.
    pub birth: u64,
    /// Its recipient id.
    pub recipient_id: Id,
    /// Position in the queue: later messages have greater ones.
    pub seq: u64,
    /// The message.
    pub message: Message<'a>,
}

/// All messages of a queue up to one are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckPayload {
    /// Birth of the queue.
    pub birth: u64,
    /// Position of the last message that is gone.
    pub seq: u64,
}

/// Reads a payload from its front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    fn auth_key(&mut self) -> Option<PublicAuthKey> {
        Some(match self.u8()? {
            1 => PublicAuthKey::Ed25519(self.array()?),
            2 => PublicAuthKey::Ed448(self.array()?),
            3 => PublicAuthKey::X25519(self.array()?),
            _ => return None,
        })
    }

    /// A payload has nothing after what it is.
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn write_auth_key(key: &PublicAuthKey, out: &mut Vec<u8>) {
    let (tag, raw): (u8, &[u8]) = match key {
        PublicAuthKey::Ed25519(raw) => (1, raw),
        PublicAuthKey::Ed448(raw) => (2, raw),
        PublicAuthKey::X25519(raw) => (3, raw),
    };
    out.push(tag);
    out.extend_from_slice(raw);
}

fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    // Longer ones do not fit in a record, which is checked before it is written.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn write_status(status: &QueueStatus, out: &mut Vec<u8>) {
    let info = match status {
        QueueStatus::Active => return out.push(0),
        QueueStatus::Off => return out.push(1),
        QueueStatus::Blocked(info) => info,
    };
    out.push(match info.reason {
        BlockingReason::Spam => 2,
        BlockingReason::Content => 3,
    });
    match info.notice {
        None => out.push(0),
        Some(ClientNotice { ttl: None }) => out.push(1),
        Some(ClientNotice { ttl: Some(ttl) }) => {
            out.push(2);
            out.extend_from_slice(&ttl.to_le_bytes());
        }
    }
}

fn read_status(r: &mut Reader<'_>) -> Option<QueueStatus> {
    let reason = match r.u8()? {
        0 => return Some(QueueStatus::Active),
        1 => return Some(QueueStatus::Off),
        2 => BlockingReason::Spam,
        3 => BlockingReason::Content,
        _ => return None,
    };
    let notice = match r.u8()? {
        0 => None,
        1 => Some(ClientNotice { ttl: None }),
        2 => Some(ClientNotice {
            ttl: Some(r.i64()?),
        }),
        _ => return None,
    };
    Some(QueueStatus::Blocked(BlockingInfo { reason, notice }))
}

/// Appends a queue's payload.
pub fn write_queue(birth: u64, record: &QueueRecord, active: ActiveDays, out: &mut Vec<u8>) {
    out.extend_from_slice(&birth.to_le_bytes());
    out.extend_from_slice(&record.recipient_id);
    out.extend_from_slice(&record.sender_id);
    let notifier = record.notifier.as_ref();
    let notifier_service = notifier.and_then(|n| n.service_id);
    out.extend_from_slice(&record.link_id.unwrap_or_default());
    out.extend_from_slice(&notifier.map(|n| n.notifier_id).unwrap_or_default());
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        flag(record.link_id.is_some(), HAS_LINK)
            | flag(notifier.is_some(), HAS_NOTIFIER)
            | flag(record.sender_key.is_some(), HAS_SENDER_KEY)
            | flag(record.service_id.is_some(), HAS_SERVICE)
            | flag(notifier_service.is_some(), HAS_NOTIFIER_SERVICE),
    );
    out.push(match record.mode {
        None => 0,
        Some(QueueMode::Messaging) => 1,
        Some(QueueMode::Contact) => 2,
    });
    out.extend_from_slice(&record.updated_day.to_le_bytes());
    out.extend_from_slice(&active.message.to_le_bytes());
    out.extend_from_slice(&active.notification.to_le_bytes());
    out.extend_from_slice(&record.rcv_dh_secret.0);
    let keys = u8::try_from(record.recipient_keys.len()).unwrap_or(u8::MAX);
    out.push(keys);
    for key in record.recipient_keys.iter().take(keys.into()) {
        write_auth_key(key, out);
    }
    if let Some(key) = &record.sender_key {
        write_auth_key(key, out);
    }
    if let Some(id) = &record.service_id {
        out.extend_from_slice(id);
    }
    if let Some(notifier) = notifier {
        write_auth_key(&notifier.auth_key, out);
        out.extend_from_slice(&notifier.dh_secret.0);
    }
    if let Some(id) = &notifier_service {
        out.extend_from_slice(id);
    }
    write_status(&record.status, out);
}

/// Replaces the days of use in the payload of a queue.
pub fn set_active(payload: &mut [u8], active: ActiveDays) {
    if let Some(bytes) = payload.get_mut(ACTIVE_AT..ACTIVE_AT + 4) {
        bytes[..2].copy_from_slice(&active.message.to_le_bytes());
        bytes[2..].copy_from_slice(&active.notification.to_le_bytes());
    }
}

/// Reads a queue's payload.
pub fn read_queue(payload: &[u8]) -> Option<QueuePayload> {
    let mut r = Reader(payload);
    let birth = r.u64()?;
    let recipient_id = r.array()?;
    let sender_id = r.array()?;
    let link_id = r.array()?;
    let notifier_id = r.array()?;
    let flags = r.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let mode = match r.u8()? {
        0 => None,
        1 => Some(QueueMode::Messaging),
        2 => Some(QueueMode::Contact),
        _ => return None,
    };
    let updated_day = r.u32()?;
    let active = ActiveDays {
        message: r.u16()?,
        notification: r.u16()?,
    };
    let rcv_dh_secret = SharedSecret(r.array()?);
    let mut recipient_keys = SmallVec::new();
    for _ in 0..r.u8()? {
        recipient_keys.push(r.auth_key()?);
    }
    let sender_key = match has(HAS_SENDER_KEY) {
        true => Some(r.auth_key()?),
        false => None,
    };
    let service_id = match has(HAS_SERVICE) {
        true => Some(r.array()?),
        false => None,
    };
    let mut notifier = None;
    if has(HAS_NOTIFIER) {
        notifier = Some(NotifierRecord {
            notifier_id,
            auth_key: r.auth_key()?,
            dh_secret: SharedSecret(r.array()?),
            service_id: match has(HAS_NOTIFIER_SERVICE) {
                true => Some(r.array()?),
                false => None,
            },
        });
    }
    let status = read_status(&mut r)?;
    r.end()?;
    let record = QueueRecord {
        recipient_id,
        recipient_keys,
        rcv_dh_secret,
        sender_id,
        sender_key,
        mode,
        link_id: has(HAS_LINK).then_some(link_id),
        notifier,
        status,
        updated_day,
        service_id,
    };
    Some(QueuePayload {
        birth,
        record,
        active,
    })
}

/// The birth in the payload of a queue, a link, an alias, a message or the end of one.
pub fn birth_of(payload: &[u8]) -> Option<u64> {
    payload
        .get(BIRTH_AT..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

/// The recipient id in the payload of a queue, a link or a message.
pub fn recipient_of(payload: &[u8]) -> Option<&Id> {
    payload.get(RECIPIENT_AT..)?.first_chunk()
}

/// One id in the payload of a queue.
pub fn queue_id(payload: &[u8], kind: IdKind) -> Option<&Id> {
    let flags = *payload.get(FLAGS_AT)?;
    let (at, is_there) = match kind {
        IdKind::Recipient => (RECIPIENT_AT, true),
        IdKind::Sender => (SENDER_AT, true),
        IdKind::Link => (LINK_AT, flags & HAS_LINK != 0),
        IdKind::Notifier => (NOTIFIER_AT, flags & HAS_NOTIFIER != 0),
    };
    payload.get(at..)?.first_chunk().filter(|_| is_there)
}

/// Appends the payload of link data.
pub fn write_link(
    birth: u64,
    recipient_id: &Id,
    link_id: &Id,
    content: &LinkContent,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&birth.to_le_bytes());
    out.extend_from_slice(recipient_id);
    out.extend_from_slice(link_id);
    write_sized(&content.fixed, out);
    write_sized(&content.user, out);
}

/// The birth of the queue and the id in the payload of link data.
pub fn link_key(payload: &[u8]) -> Option<(u64, Id)> {
    let id = payload.get(SENDER_AT..)?.first_chunk()?;
    Some((birth_of(payload)?, *id))
}

/// Reads the payload of link data.
pub fn read_link(payload: &[u8]) -> Option<LinkPayload> {
    let mut r = Reader(payload);
    let link = LinkPayload {
        birth: r.u64()?,
        recipient_id: r.array()?,
        link_id: r.array()?,
        content: LinkContent {
            fixed: r.sized()?.into(),
            user: r.sized()?.into(),
        },
    };
    r.end()?;
    Some(link)
}

/// Appends the payload of an alias.
pub fn write_alias(alias: &AliasPayload, out: &mut Vec<u8>) {
    out.extend_from_slice(&alias.birth.to_le_bytes());
    out.extend_from_slice(&alias.id);
    out.push(kind_tag(alias.kind));
    out.extend_from_slice(&alias.shard.to_le_bytes());
}

/// Reads the payload of an alias.
pub fn read_alias(payload: &[u8]) -> Option<AliasPayload> {
    let mut r = Reader(payload);
    let alias = AliasPayload {
        birth: r.u64()?,
        id: r.array()?,
        kind: kind_from_tag(r.u8()?)?,
        shard: r.u16()?,
    };
    r.end()?;
    Some(alias)
}

/// The number of a kind of id in records and in the index.
pub fn kind_tag(kind: IdKind) -> u8 {
    match kind {
        IdKind::Recipient => 0,
        IdKind::Sender => 1,
        IdKind::Link => 2,
        IdKind::Notifier => 3,
    }
}

/// The kind of id with a number.
pub fn kind_from_tag(tag: u8) -> Option<IdKind> {
    Some(match tag {
        0 => IdKind::Recipient,
        1 => IdKind::Sender,
        2 => IdKind::Link,
        3 => IdKind::Notifier,
        _ => return None,
    })
}

/// Appends the payload of a service.
pub fn write_service(service: &ServiceRecord, out: &mut Vec<u8>) {
    out.extend_from_slice(&service.id);
    out.extend_from_slice(&service.fingerprint);
    out.push(service.role.letter());
    out.extend_from_slice(&service.created_day.to_le_bytes());
    for certificate in &service.chain {
        write_sized(certificate, out);
    }
}

/// Reads the payload of a service.
pub fn read_service(payload: &[u8]) -> Option<ServiceRecord> {
    let mut r = Reader(payload);
    let mut service = ServiceRecord {
        id: r.array()?,
        fingerprint: r.array()?,
        role: ServiceRole::from_letter(r.u8()?)?,
        created_day: r.u32()?,
        chain: Vec::new(),
    };
    while r.end().is_none() {
        service.chain.push(r.sized()?.to_vec());
    }
    Some(service)
}

/// The payload of a message, up to its body.
pub fn message_head(
    birth: u64,
    recipient_id: &Id,
    seq: u64,
    message: &Message<'_>,
) -> [u8; MESSAGE_HEAD_LEN] {
    let mut out = [0; MESSAGE_HEAD_LEN];
    out[..8].copy_from_slice(&birth.to_le_bytes());
    out[8..32].copy_from_slice(recipient_id);
    out[32..40].copy_from_slice(&seq.to_le_bytes());
    out[40..64].copy_from_slice(&message.id);
    out[64..72].copy_from_slice(&message.time_ns.to_le_bytes());
    out[72] = match message.kind {
        MessageKind::Message { notify: false } => 0,
        MessageKind::Message { notify: true } => 1,
        MessageKind::Quota => 2,
    };
    out
}

/// Reads the payload of a message; the body is borrowed.
pub fn read_message(payload: &[u8]) -> Option<MessagePayload<'_>> {
    let mut r = Reader(payload);
    let birth = r.u64()?;
    let recipient_id = r.array()?;
    let seq = r.u64()?;
    let id = r.array()?;
    let time_ns = r.i64()?;
    let kind = match r.u8()? {
        0 => MessageKind::Message { notify: false },
        1 => MessageKind::Message { notify: true },
        2 => MessageKind::Quota,
        _ => return None,
    };
    let message = Message {
        id,
        time_ns,
        kind,
        body: r.0,
    };
    Some(MessagePayload {
        birth,
        recipient_id,
        seq,
        message,
    })
}

/// The payload of an acknowledgement.
pub fn write_ack(ack: AckPayload) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&ack.birth.to_le_bytes());
    out[8..].copy_from_slice(&ack.seq.to_le_bytes());
    out
}

/// Reads the payload of an acknowledgement.
pub fn read_ack(payload: &[u8]) -> Option<AckPayload> {
    let mut r = Reader(payload);
    let ack = AckPayload {
        birth: r.u64()?,
        seq: r.u64()?,
    };
    r.end()?;
    Some(ack)
}
