//! The store log: queues and services, line by line (spec: server §11.3).

mod writer;

pub use writer::{write_queue, write_record, write_service};

use super::lines::Lines;
use super::text::{Fields, LineError, Malformed, ReadError};
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::encoding::Reader;
use crate::protocol::error::BlockingInfo;
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use crate::store::{Id, LinkContent, NotifierRecord, QueueRecord, QueueStatus, ServiceRecord};
use smallvec::SmallVec;
use std::io::BufRead;

/// A queue as the store log has it. A day of 0 stands for none.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    /// The record.
    pub record: QueueRecord,
    /// The data behind the record's link id: both are there or neither.
    pub link: Option<LinkContent>,
    /// Whether the log has a link id that is not of 24 bytes, which this relay does not serve:
    /// `record` and `link` are without it.
    pub unusable_link: bool,
}

/// One line of the store log. Queues are named by their recipient id.
#[derive(Debug, Clone)]
pub enum LogRecord {
    /// A queue with all it has.
    Create(Box<QueueEntry>),
    /// Set the link id and its data.
    Link(Id, Id, LinkContent),
    /// Remove the link.
    DeleteLink(Id),
    /// Secure for a sender.
    Secure(Id, PublicAuthKey),
    /// Replace the recipient keys.
    Keys(Id, SmallVec<[PublicAuthKey; 1]>),
    /// Set the notifier.
    Notifier(Id, Box<NotifierRecord>),
    /// Remove the notifier.
    DeleteNotifier(Id),
    /// Suspend, block or reactivate.
    Status(Id, QueueStatus),
    /// Delete the queue.
    Delete(Id),
    /// Stamp the day of use, days since the Unix epoch.
    Day(Id, u32),
    /// A service.
    Service(Box<ServiceRecord>),
    /// Associate the queue with a messaging service.
    QueueService(Id, Option<Id>),
    /// Associate the notifier with a notification service.
    NotifierService(Id, Option<Id>),
}

/// Records of a store log, one at a time.
#[derive(Debug)]
pub struct Records<R> {
    lines: Lines<R>,
    failed: bool,
}

impl<R: BufRead> Records<R> {
    /// Records from where the reader stands.
    pub fn new(reader: R) -> Self {
        Self {
            lines: Lines::new(reader),
            failed: false,
        }
    }

    /// Number of the line last read, from 1.
    pub fn line(&self) -> u64 {
        self.lines.line()
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<LogRecord, ReadError>;

    /// An error of a line does not end the iteration, an error of the file does.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let parsed = match self.lines.next_line() {
            Ok(line) => line?.and_then(parse_record),
            Err(e) => {
                self.failed = true;
                return Some(Err(e.into()));
            }
        };
        let line = self.lines.line();
        Some(parsed.map_err(|reason| LineError { line, reason }.into()))
    }
}

/// Reads a line without its end.
pub fn parse_record(line: &[u8]) -> Result<LogRecord, Malformed> {
    let f = &mut Fields::new(line);
    let tag = f.take_while(|b| b.is_ascii_uppercase() || b == b'_');
    let parse: fn(&mut Fields<'_>) -> Result<LogRecord, Malformed> = match tag {
        b"CREATE" => |f| Ok(LogRecord::Create(Box::new(parse_queue(f)?))),
        b"LINK" => parse_link,
        b"LDELETE" => |f| Ok(LogRecord::DeleteLink(queue_id(f)?)),
        b"SECURE" => |f| {
            let id = queue_id(f)?;
            f.blank()?;
            Ok(LogRecord::Secure(id, f.auth_key("sender key")?))
        },
        b"KEYS" => |f| {
            let id = queue_id(f)?;
            f.blank()?;
            Ok(LogRecord::Keys(id, f.auth_keys()?))
        },
        b"NOTIFIER" => |f| {
            let id = queue_id(f)?;
            f.blank()?;
            Ok(LogRecord::Notifier(id, Box::new(parse_notifier(f)?)))
        },
        b"NDELETE" => |f| Ok(LogRecord::DeleteNotifier(queue_id(f)?)),
        b"SUSPEND" => |f| Ok(LogRecord::Status(queue_id(f)?, QueueStatus::Off)),
        b"BLOCK" => |f| {
            let id = queue_id(f)?;
            f.blank()?;
            let info = parse_blocking(f.tail())?;
            Ok(LogRecord::Status(id, QueueStatus::Blocked(info)))
        },
        b"UNBLOCK" => |f| Ok(LogRecord::Status(queue_id(f)?, QueueStatus::Active)),
        b"DELETE" => |f| Ok(LogRecord::Delete(queue_id(f)?)),
        b"TIME" => |f| {
            let id = queue_id(f)?;
            f.blank()?;
            Ok(LogRecord::Day(id, f.day("time")?))
        },
        b"NEW_SERVICE" => |f| Ok(LogRecord::Service(Box::new(parse_service(f)?))),
        b"QUEUE_SERVICE" => parse_queue_service,
        _ => return Err(Malformed::UnknownRecord),
    };
    f.blank()?;
    let record = parse(f)?;
    f.end()?;
    Ok(record)
}

fn queue_id(f: &mut Fields<'_>) -> Result<Id, Malformed> {
    f.id("recipient id")
}

/// An id of a service, or nothing.
fn optional_service(f: &mut Fields<'_>) -> Result<Option<Id>, Malformed> {
    if f.rest().is_empty() {
        Ok(None)
    } else {
        f.id("service id").map(Some)
    }
}

fn parse_queue(f: &mut Fields<'_>) -> Result<QueueEntry, Malformed> {
    f.literal("rid=")?;
    let recipient_id = queue_id(f)?;
    f.blank()?;
    f.literal("rk=")?;
    let recipient_keys = f.auth_keys()?;
    f.blank()?;
    f.literal("rdh=")?;
    let rcv_dh_secret = f.secret("recipient secret")?;
    f.blank()?;
    f.literal("sid=")?;
    let sender_id = f.id("sender id")?;
    f.blank()?;
    f.literal("sk=")?;
    let sender_key = match f.rest().first() {
        None | Some(b' ') => None,
        Some(_) => Some(f.auth_key("sender key")?),
    };
    let mode = if f.skip(" sndSecure=") {
        // Logs of before contact queues had data.
        Some(if f.flag("sndSecure")? {
            QueueMode::Messaging
        } else {
            QueueMode::Contact
        })
    } else if f.skip(" queue_mode=") {
        match f.letter("queue mode")? {
            b'M' => Some(QueueMode::Messaging),
            b'C' => Some(QueueMode::Contact),
            _ => return Err(Malformed::Expected("queue mode")),
        }
    } else {
        None
    };
    let link = if f.skip(" link_id=") {
        let id = f.bytes("link id")?;
        f.literal(" queue_data=")?;
        Some((Id::try_from(id), parse_link_content(f)?))
    } else {
        None
    };
    let notifier = if f.skip(" notifier=") {
        Some(parse_notifier(f)?)
    } else {
        None
    };
    let updated_day = if f.skip(" updated_at=") {
        f.day("updated_at")?
    } else {
        0
    };
    let status = if !f.skip(" status=") || f.skip("active") {
        QueueStatus::Active
    } else if f.skip("off") {
        QueueStatus::Off
    } else {
        f.literal("blocked,")?;
        // The reference cannot read a notice before a service (spec: server §11.3).
        QueueStatus::Blocked(parse_blocking(f.until_last(" rsrv="))?)
    };
    let service_id = if f.skip(" rsrv=") {
        Some(f.id("service id")?)
    } else {
        None
    };
    let (link_id, link, unusable_link) = match link {
        Some((Ok(id), content)) => (Some(id), Some(content), false),
        Some((Err(_), _)) => (None, None, true),
        None => (None, None, false),
    };
    Ok(QueueEntry {
        record: QueueRecord {
            recipient_id,
            recipient_keys,
            rcv_dh_secret,
            sender_id,
            sender_key,
            mode,
            link_id,
            notifier,
            status,
            updated_day,
            service_id,
        },
        link,
        unusable_link,
    })
}

/// Empty parts, which the reference writes but does not read, are read here.
fn parse_link_content(f: &mut Fields<'_>) -> Result<LinkContent, Malformed> {
    let fixed = f.bytes_or_none("fixed link data")?.into_boxed_slice();
    f.blank()?;
    let user = f.bytes_or_none("user link data")?.into_boxed_slice();
    Ok(LinkContent { fixed, user })
}

fn parse_link(f: &mut Fields<'_>) -> Result<LogRecord, Malformed> {
    let id = queue_id(f)?;
    f.blank()?;
    let link_id = f.id("link id")?;
    f.blank()?;
    Ok(LogRecord::Link(id, link_id, parse_link_content(f)?))
}

fn parse_notifier(f: &mut Fields<'_>) -> Result<NotifierRecord, Malformed> {
    let notifier_id = f.id("notifier id")?;
    f.blank()?;
    let auth_key = f.auth_key("notifier key")?;
    f.blank()?;
    let dh_secret = f.secret("notifier secret")?;
    let service_id = if f.skip(" nsrv=") {
        Some(f.id("service id")?)
    } else {
        None
    };
    Ok(NotifierRecord {
        notifier_id,
        auth_key,
        dh_secret,
        service_id,
    })
}

fn parse_blocking(text: &[u8]) -> Result<BlockingInfo, Malformed> {
    let r = &mut Reader::new(text);
    BlockingInfo::decode(r)
        .and_then(|info| r.finish().map(|()| info))
        .map_err(|_| Malformed::Expected("blocking reason"))
}

fn parse_service(f: &mut Fields<'_>) -> Result<ServiceRecord, Malformed> {
    f.literal("service_id=")?;
    let id = f.id("service id")?;
    f.literal(" role=")?;
    let role = ServiceRole::from_letter(f.letter("role")?).ok_or(Malformed::Expected("role"))?;
    f.literal(" cert=")?;
    let mut chain = vec![f.bytes("certificate")?];
    while f.skip(",") {
        chain.push(f.bytes("certificate")?);
    }
    f.literal(" cert_hash=")?;
    let fingerprint = f.array("certificate hash")?;
    f.literal(" created_at=")?;
    let created_day = f.day("created_at")?;
    Ok(ServiceRecord {
        id,
        role,
        fingerprint,
        chain,
        created_day,
    })
}

fn parse_queue_service(f: &mut Fields<'_>) -> Result<LogRecord, Malformed> {
    let id = queue_id(f)?;
    f.blank()?;
    let party = f.letter("party")?;
    f.blank()?;
    let service_id = optional_service(f)?;
    match party {
        b'R' => Ok(LogRecord::QueueService(id, service_id)),
        b'N' => Ok(LogRecord::NotifierService(id, service_id)),
        _ => Err(Malformed::Expected("party")),
    }
}
