//! The files of the reference server, read and written (spec: server §11).
//!
//! Readers and writers work on any `BufRead` and `Write`; [`import_dir`] and [`export_dir`] drive
//! them over a state directory. Nothing here knows how this relay stores what it keeps: an import
//! hands it to an [`ImportSink`], an export asks an [`ExportSource`].
//!
//! What a file says wrongly is a [`Warning`] and costs no more than its line; only a file that
//! cannot be read ends an import.

mod activity;
mod export;
mod import;
mod journal;
mod lines;
mod message_log;
mod message_run;
mod notification_log;
mod packed;
mod replay;
mod source_files;
mod statistics;
mod store_log;
mod text;
pub mod time_text;
mod warning;
mod warning_log;

#[cfg(test)]
mod tests;

pub use activity::{ActiveSets, PeriodSets, queue_hash};
pub use export::{
    ExportError, ExportOptions, ExportReport, ExportSource, ExportedNotification, ExportedQueue,
    export_dir,
};
pub use import::{
    ImportError, ImportOptions, ImportReport, ImportSink, SinkError, check_dir, import_dir,
};
pub use journal::{JournalError, JournalQueue, read_journal_queue};
pub use lines::{Lines, MAX_LINE_LEN};
pub use message_log::{EmptyBody, LoggedMessage, parse_message_line, write_message_line};
pub use message_run::MessageRun;
pub use notification_log::{parse_notification_line, write_notification_line};
pub use replay::{Refusal, Replay, Replayed, replay};
pub use source_files::{SourceFile, changed_files, source_files};
pub use statistics::{
    Numbers, ProxyStatistics, ServiceStatistics, Statistics, StatisticsError, StatisticsSections,
};
pub use store_log::{
    LogRecord, QueueEntry, Records, parse_record, write_queue, write_record, write_service,
};
pub use text::{LineError, Malformed, ReadError};
pub use warning::{MAX_WARNINGS, Reason, Warning, Warnings};

/// Names of the files in a state directory (spec: server §11.1).
pub mod file_names {
    /// Queues and services.
    pub const STORE_LOG: &str = "smp-server-store.log";
    /// The store log as it was before a compaction that has not ended.
    pub const STORE_LOG_START: &str = "smp-server-store.log.start";
    /// Undelivered messages.
    pub const MESSAGES: &str = "smp-server-messages.log";
    /// The messages of the start before, which the reference never reads.
    pub const MESSAGES_BACKUP: &str = "smp-server-messages.log.bak";
    /// Messages of the journal mode, a directory.
    pub const JOURNAL: &str = "messages";
    /// Undelivered notifications.
    pub const NOTIFICATIONS: &str = "smp-server-ntfs.log";
    /// Counters.
    pub const STATISTICS: &str = "smp-server-stats.log";
}
