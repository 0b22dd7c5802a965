//! Undelivered notifications, line by line (spec: server §11.5).
//!
//! The file has what is sent to a notification service: metadata boxed for the recipient, with its
//! nonce. This relay keeps which message came and when, and boxes when it sends.

use super::text::{Fields, Malformed, put, put_base64, put_integer};
use crate::crypto::message::{decrypt_notification, encrypt_notification};
use crate::crypto::smp_box::{BoxError, BoxKey, NONCE_LEN, Nonce, nonce_from};
use crate::store::Id;
use rand::CryptoRng;

/// A notification of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedNotification {
    /// Whom it is for.
    pub notifier_id: Id,
    /// Which message came.
    pub message_id: Id,
    /// When, seconds since the Unix epoch.
    pub seconds: i64,
    nonce: Nonce,
    boxed: Vec<u8>,
}

impl LoggedNotification {
    /// The message id and the seconds that the recipient would read with `key`, `None` if it does
    /// not open the box.
    pub fn open(mut self, key: &BoxKey) -> Option<(Id, i64)> {
        let meta = decrypt_notification(key, &self.nonce, &mut self.boxed).ok()?;
        Some((meta.msg_id.try_into().ok()?, meta.timestamp))
    }
}

/// Reads a line without its end.
pub fn parse_notification_line(line: &[u8]) -> Result<LoggedNotification, Malformed> {
    let f = &mut Fields::new(line);
    f.literal("v1 ")?;
    let notifier_id = f.id("notifier id")?;
    f.blank()?;
    let message_id = f.id("message id")?;
    f.blank()?;
    let seconds = f.integer("time")?;
    f.blank()?;
    let nonce = nonce_from(&f.bytes("nonce")?);
    f.blank()?;
    let boxed = f.bytes("metadata")?;
    f.end()?;
    Ok(LoggedNotification {
        notifier_id,
        message_id,
        seconds,
        nonce,
        boxed,
    })
}

/// Appends a line with metadata boxed under a fresh nonce, or nothing.
pub fn write_notification_line(
    out: &mut Vec<u8>,
    rng: &mut impl CryptoRng,
    key: &BoxKey,
    notifier_id: &Id,
    message_id: &Id,
    seconds: i64,
) -> Result<(), BoxError> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let boxed = encrypt_notification(key, &nonce, message_id, seconds)?;
    put(out, "v1 ");
    put_base64(out, notifier_id);
    out.push(b' ');
    put_base64(out, message_id);
    out.push(b' ');
    put_integer(out, seconds);
    out.push(b' ');
    put_base64(out, &nonce);
    out.push(b' ');
    put_base64(out, &boxed);
    out.push(b'\n');
    Ok(())
}
