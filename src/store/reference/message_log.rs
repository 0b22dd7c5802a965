//! Undelivered messages, line by line (spec: server §11.4).

use super::text::{Fields, Malformed, put, put_base64, put_flag, put_seconds_of};
use crate::protocol::MAX_STORED_BODY;
use crate::store::{Id, Message, MessageKind};
use thiserror::Error;

/// A message of a file. Its time has whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedMessage {
    /// Message id.
    pub id: Id,
    /// Receive time, nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Message or quota marker.
    pub kind: MessageKind,
    /// Body, empty for a quota marker.
    pub body: Vec<u8>,
}

impl LoggedMessage {
    /// The message as a store takes it.
    pub fn view(&self) -> Message<'_> {
        Message {
            id: self.id,
            time_ns: self.time_ns,
            kind: self.kind,
            body: &self.body,
        }
    }

    /// Whether this is the marker of refused messages.
    pub fn is_marker(&self) -> bool {
        self.kind == MessageKind::Quota
    }

    /// The marker that stands for this message when it is refused.
    pub(super) fn marker(&self) -> Self {
        Self {
            kind: MessageKind::Quota,
            body: Vec::new(),
            ..*self
        }
    }
}

/// A message without body, which the reference writes but does not start with
/// (spec: server §14.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the reference reads no message without body")]
pub struct EmptyBody;

/// Reads a line of the messages file, without its end: the recipient id and the message.
pub fn parse_message_line(line: &[u8]) -> Result<(Id, LoggedMessage), Malformed> {
    let f = &mut Fields::new(line);
    f.literal("v3 ")?;
    let recipient_id = f.id("recipient id")?;
    f.blank()?;
    Ok((recipient_id, parse_message(f)?))
}

/// Reads the rest of a line, a message: lines of a journal have nothing else
/// (spec: server §11.7).
pub(super) fn parse_message(f: &mut Fields<'_>) -> Result<LoggedMessage, Malformed> {
    let id = f.id("message id")?;
    f.blank()?;
    let time_ns = f.nanos("time")?;
    f.blank()?;
    let message = if f.rest() == b"quota" {
        f.tail();
        LoggedMessage {
            id,
            time_ns,
            kind: MessageKind::Quota,
            body: Vec::new(),
        }
    } else {
        let notify = if f.skip("flags=") {
            let notify = f.flag("flags")?;
            // Flags of later versions follow the first.
            f.take_while(|b| b != b' ');
            f.blank()?;
            notify
        } else {
            false
        };
        let body = f.bytes_or_none("body")?;
        if body.len() > MAX_STORED_BODY {
            return Err(Malformed::Length {
                what: "body",
                len: body.len(),
            });
        }
        LoggedMessage {
            id,
            time_ns,
            kind: MessageKind::Message { notify },
            body,
        }
    };
    f.end()?;
    Ok(message)
}

/// Appends a line of the messages file, or nothing.
pub fn write_message_line(
    out: &mut Vec<u8>,
    recipient_id: &Id,
    message: &Message<'_>,
) -> Result<(), EmptyBody> {
    if message.body.is_empty() && message.kind != MessageKind::Quota {
        return Err(EmptyBody);
    }
    put(out, "v3 ");
    put_base64(out, recipient_id);
    out.push(b' ');
    put_base64(out, &message.id);
    out.push(b' ');
    put_seconds_of(out, message.time_ns);
    match message.kind {
        MessageKind::Quota => put(out, " quota"),
        MessageKind::Message { notify } => {
            put(out, " flags=");
            put_flag(out, notify);
            out.push(b' ');
            put_base64(out, message.body);
        }
    }
    out.push(b'\n');
    Ok(())
}
