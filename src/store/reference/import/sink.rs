//! Where an import goes, and what it answers.

use crate::store::reference::file_names::{JOURNAL, MESSAGES, STORE_LOG};
use crate::store::reference::journal::JournalError;
use crate::store::reference::statistics::{Statistics, StatisticsError};
use crate::store::reference::warning::Warnings;
use crate::store::{
    ActiveDays, Id, LinkContent, Message, Note, QueueRecord, ServiceRecord, StoreError,
};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Messages of a queue before the quota marker, unless set otherwise.
const DEFAULT_QUOTA: usize = 128;

/// What happens to what is imported. In this order: services, queues, messages (those of a queue
/// in order), notifications (those of a queue in order), statistics.
pub trait ImportSink {
    /// A service.
    fn service(&mut self, service: ServiceRecord) -> Result<(), SinkError>;

    /// A queue, its link data if its record has a link id, and when it was last used.
    fn queue(
        &mut self,
        record: QueueRecord,
        link: Option<LinkContent>,
        active: ActiveDays,
    ) -> Result<(), SinkError>;

    /// The next message of a queue that was taken.
    fn message(&mut self, recipient_id: &Id, message: Message<'_>) -> Result<(), SinkError>;

    /// The next notification of a notifier whose queue was taken.
    fn notification(&mut self, notifier_id: &Id, note: Note) -> Result<(), SinkError>;

    /// Counters and sets of active queues; the numbers of what is there now are in the report.
    fn statistics(&mut self, statistics: &Statistics) -> Result<(), SinkError>;

    /// How much is done of how much, in bytes: queues count when they are read and again when they
    /// are handed over, a journal as much as the queues.
    fn progress(&mut self, done: u64, total: u64) {
        let _ = (done, total);
    }
}

/// Why a sink does not take something.
#[derive(Debug, Error)]
pub enum SinkError {
    /// One of its ids is in use: it is passed over with a warning.
    #[error("identifier in use")]
    InUse,
    /// The import cannot go on.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl From<StoreError> for SinkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate => Self::InUse,
            StoreError::Full => Self::Failed(Box::new(error)),
        }
    }
}

/// Choices of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// Messages that a queue holds.
    pub quota: usize,
    /// Messages older than this have expired, seconds since the Unix epoch.
    pub messages_since: Option<i64>,
    /// Notifications older than this have expired, seconds since the Unix epoch.
    pub notifications_since: Option<i64>,
    /// When a day of the statistics begins, seconds after midnight (UTC).
    pub day_starts_at: i64,
    /// A file for all warnings, should there be more than are kept.
    pub warnings_file: Option<PathBuf>,
}

impl Default for ImportOptions {
    /// Nothing expires.
    fn default() -> Self {
        Self {
            quota: DEFAULT_QUOTA,
            messages_since: None,
            notifications_since: None,
            day_starts_at: 0,
            warnings_file: None,
        }
    }
}

/// What was imported.
#[derive(Debug, PartialEq, Default)]
pub struct ImportReport {
    /// Lines of the store log.
    pub store_log_lines: u64,
    /// Services taken.
    pub services: u64,
    /// Queues taken.
    pub queues: u64,
    /// Messages taken, quota markers included.
    pub messages: u64,
    /// Messages that had expired.
    pub messages_expired: u64,
    /// Notifications taken.
    pub notifications: u64,
    /// Notifications that had expired.
    pub notifications_expired: u64,
    /// Whether there were statistics.
    pub statistics: bool,
    /// What was passed over.
    pub warnings: Warnings,
}

/// Why an import did not come to its end.
#[derive(Debug, Error)]
pub enum ImportError {
    /// There is no store log.
    #[error("no {STORE_LOG} in {}", .0.display())]
    NoStoreLog(PathBuf),
    /// Messages are in two places, and the reference itself would not start.
    #[error("both {MESSAGES} and the directory {JOURNAL} are there: remove the one not in use")]
    TwoMessageStores,
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The statistics cannot be understood; without their file the import starts at zero.
    #[error("{}: {source}", path.display())]
    Statistics {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StatisticsError,
    },
    /// What was imported could not be kept.
    #[error("not imported: {0}")]
    Sink(Box<dyn Error + Send + Sync>),
}

impl From<JournalError> for ImportError {
    fn from(error: JournalError) -> Self {
        Self::Io {
            path: error.path,
            source: error.source,
        }
    }
}

/// Takes everything and keeps nothing; tells how far it is.
pub(super) struct Nowhere<'a>(pub &'a mut dyn FnMut(u64, u64));

impl ImportSink for Nowhere<'_> {
    fn service(&mut self, _: ServiceRecord) -> Result<(), SinkError> {
        Ok(())
    }

    fn queue(
        &mut self,
        _: QueueRecord,
        _: Option<LinkContent>,
        _: ActiveDays,
    ) -> Result<(), SinkError> {
        Ok(())
    }

    fn message(&mut self, _: &Id, _: Message<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    fn notification(&mut self, _: &Id, _: Note) -> Result<(), SinkError> {
        Ok(())
    }

    fn statistics(&mut self, _: &Statistics) -> Result<(), SinkError> {
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.0)(done, total);
    }
}
