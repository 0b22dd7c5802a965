//! `[STORE_LOG]`: storage, expiry and statistics files.

use super::SettingsError;
use super::reader::Reader;
use crate::config::keys;
use crate::config::values::{MessageStorage, QueueStorage};
use std::time::Duration;

/// The words for everything that needs PostgreSQL (spec: operations §1.8).
pub const POSTGRESQL_REFUSAL: &str =
    "Error: server binary is compiled without support for PostgreSQL database.";

/// When something is dropped, and how often that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    /// Age at which it is dropped.
    pub ttl: Duration,
    /// Time between two sweeps.
    pub check_interval: Duration,
}

/// Storage and expiry (spec: operations §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Whether queues outlive the process.
    pub enable: bool,
    /// Whether messages and notifications outlive the process.
    pub restore_messages: bool,
    /// Expiry of undelivered messages: `[RELAY] message_ttl`, else `expire_messages_days`.
    pub messages: Expiration,
    /// Whether a start drops expired messages.
    pub expire_messages_on_start: bool,
    /// Whether a SEND drops expired messages of its queue.
    pub expire_messages_on_send: bool,
    /// Expiry of undelivered notifications: `[RELAY] ntf_ttl`, else `expire_ntfs_hours`.
    pub notifications: Expiration,
    /// Whether a daily line of statistics is written and counters outlive the process.
    pub log_stats: bool,
    /// Time between rewrites of the metrics file; none = no file.
    pub prometheus_interval: Option<Duration>,
}

impl Storage {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, SettingsError> {
        check_modes(reader)?;
        let enable = reader.required(&keys::STORE_ENABLE)?;
        let message_days = reader.required(&keys::EXPIRE_MESSAGES_DAYS)?;
        let notification_hours = reader.required(&keys::EXPIRE_NTFS_HOURS)?;
        Ok(Self {
            enable,
            restore_messages: reader.optional(&keys::RESTORE_MESSAGES)?.unwrap_or(enable),
            messages: Expiration {
                ttl: reader.optional(&keys::MESSAGE_TTL)?.unwrap_or(message_days),
                check_interval: reader.required(&keys::MESSAGE_CHECK_INTERVAL)?,
            },
            expire_messages_on_start: reader.required(&keys::EXPIRE_MESSAGES_ON_START)?,
            expire_messages_on_send: reader.required(&keys::EXPIRE_MESSAGES_ON_SEND)?,
            notifications: Expiration {
                ttl: reader
                    .optional(&keys::NTF_TTL)?
                    .unwrap_or(notification_hours),
                check_interval: reader.required(&keys::NTF_CHECK_INTERVAL)?,
            },
            log_stats: reader.required(&keys::LOG_STATS)?,
            prometheus_interval: reader.lenient(&keys::PROMETHEUS_INTERVAL),
        })
    }
}

/// Refuses the combinations the reference refuses, and PostgreSQL (spec: operations §1.8, §2.2).
fn check_modes(reader: &Reader<'_>) -> Result<(), SettingsError> {
    let queues = reader.required(&keys::STORE_QUEUES)?;
    let messages = reader.required(&keys::STORE_MESSAGES)?;
    let refusal = match (queues, messages) {
        (QueueStorage::Memory, MessageStorage::Memory) => return Ok(()),
        (QueueStorage::Memory, MessageStorage::Journal) => {
            let reason = "messages are kept in this server's own log";
            reader.ignore(&keys::STORE_MESSAGES.info, reason.to_owned());
            return Ok(());
        }
        (QueueStorage::Memory, MessageStorage::Database)
        | (QueueStorage::Database, MessageStorage::Memory) => {
            "Database and memory storage are not compatible.".to_owned()
        }
        (QueueStorage::Database, MessageStorage::Journal | MessageStorage::Database) => {
            format!("{POSTGRESQL_REFUSAL}\nSet store_queues and store_messages to `memory`.")
        }
    };
    Err(SettingsError::Conflict {
        reason: refusal,
        keys: [&keys::STORE_QUEUES.info, &keys::STORE_MESSAGES.info],
    })
}
