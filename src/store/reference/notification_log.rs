//! Undelivered notifications, line by line (spec: server §11.5).
//!
//! The file has what is sent to a notification service: metadata boxed for the recipient, with its
//! nonce. What comes from it is delivered as it is; what this relay has noted is boxed for it.

use super::text::{Fields, Malformed, put, put_base64, put_integer};
use crate::crypto::message::encrypt_notification;
use crate::crypto::smp_box::{BoxError, BoxKey, Nonce, nonce_from};
use crate::store::{Id, Note, SealedMeta};
use rand::CryptoRng;

/// Reads a line without its end: whom it is for, and what.
pub fn parse_notification_line(line: &[u8]) -> Result<(Id, Note), Malformed> {
    const META: &str = "metadata";
    let f = &mut Fields::new(line);
    f.literal("v1 ")?;
    let notifier_id = f.id("notifier id")?;
    f.blank()?;
    let message_id = f.id("message id")?;
    f.blank()?;
    let at = f.integer("time")?;
    f.blank()?;
    let nonce = nonce_from(&f.bytes("nonce")?);
    f.blank()?;
    let boxed = f.bytes(META)?.try_into();
    let boxed = boxed.map_err(|bytes: Vec<u8>| Malformed::Length {
        what: META,
        len: bytes.len(),
    })?;
    f.end()?;
    let note = Note {
        message_id,
        at,
        sealed: Some(Box::new(SealedMeta { nonce, boxed })),
    };
    Ok((notifier_id, note))
}

/// Appends a line with the note as it was sealed, or boxed under a fresh nonce; nothing on an
/// error.
pub fn write_notification_line(
    out: &mut Vec<u8>,
    rng: &mut impl CryptoRng,
    key: &BoxKey,
    notifier_id: &Id,
    note: &Note,
) -> Result<(), BoxError> {
    let (nonce, boxed) = match &note.sealed {
        Some(sealed) => (sealed.nonce, sealed.boxed),
        None => {
            let mut nonce = Nonce::default();
            rng.fill_bytes(&mut nonce);
            let boxed = encrypt_notification(key, &nonce, &note.message_id, note.at)?;
            (nonce, boxed)
        }
    };
    put(out, "v1 ");
    put_base64(out, notifier_id);
    out.push(b' ');
    put_base64(out, &note.message_id);
    out.push(b' ');
    put_integer(out, note.at);
    out.push(b' ');
    put_base64(out, &nonce);
    out.push(b' ');
    put_base64(out, &boxed);
    out.push(b'\n');
    Ok(())
}
