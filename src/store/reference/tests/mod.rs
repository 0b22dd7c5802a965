//! Tests against files that the reference has written, and against made ones.

mod exports;
mod imports;
mod journals;
mod known_answers;
mod properties;
mod recorder;
mod replays;
mod scale;
mod statistics;

use super::store_log::{LogRecord, QueueEntry, parse_record, write_record};
use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::protocol::response::QueueMode;
use crate::store::{Id, NotifierRecord, QueueRecord, QueueStatus};
use std::path::PathBuf;

/// A file or directory of the recorded state.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/reference-6.5.5"
    ))
    .join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// An id that stands for `n`.
fn id(n: u64) -> Id {
    let mut id = [0x55; 24];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

fn key(n: u8) -> PublicAuthKey {
    PublicAuthKey::Ed25519([n; 32])
}

/// A queue without anything optional; its sender id is `sender`.
fn queue(recipient: u64, sender: u64) -> QueueEntry {
    QueueEntry {
        record: QueueRecord {
            recipient_id: id(recipient),
            recipient_keys: [key(1)].into_iter().collect(),
            rcv_dh_secret: SharedSecret([2; 32]),
            sender_id: id(sender),
            sender_key: None,
            mode: Some(QueueMode::Messaging),
            link_id: None,
            notifier: None,
            status: QueueStatus::Active,
            updated_day: 20_779,
            service_id: None,
        },
        link: None,
        unusable_link: false,
    }
}

fn notifier(n: u64) -> NotifierRecord {
    NotifierRecord {
        notifier_id: id(n),
        auth_key: key(3),
        dh_secret: SharedSecret([4; 32]),
        service_id: None,
    }
}

fn line(record: &LogRecord) -> String {
    let mut out = Vec::new();
    write_record(&mut out, record);
    String::from_utf8(out).unwrap()
}

/// The line of what a line says.
fn rewritten(text: &str) -> String {
    line(&parse_record(text.as_bytes()).unwrap())
}
