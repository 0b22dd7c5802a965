//! The files that a reference server starts from.

use super::file_names::{JOURNAL, MESSAGES, NOTIFICATIONS, STATISTICS, STORE_LOG, STORE_LOG_START};
use super::message_log::write_message_line;
use super::notification_log::write_notification_line;
use super::statistics::Statistics;
use super::store_log::{LogRecord, write_queue, write_record, write_service};
use crate::crypto::keys::SharedSecret;
use crate::crypto::smp_box::BoxKey;
use crate::protocol::error::BlockingInfo;
use crate::store::{
    ActiveDays, Id, LinkContent, Message, Note, QueueRecord, QueueStatus, ServiceRecord,
};
use rand::CryptoRng;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes written at once.
const WRITE_BUFFER: usize = 256 * 1024;
/// What a file is called until all are complete.
const UNFINISHED: &str = ".unfinished";

/// Where an export comes from. Each method gives all it has to `each` and hands on its errors.
pub trait ExportSource {
    /// All services.
    fn services(
        &mut self,
        each: &mut dyn FnMut(&ServiceRecord) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;

    /// All queues.
    fn queues(
        &mut self,
        each: &mut dyn FnMut(ExportedQueue<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;

    /// All messages by recipient id, those of a queue in order and together.
    fn messages(
        &mut self,
        each: &mut dyn FnMut(&Id, &Message<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;

    /// All notifications, those of a queue in order and together.
    fn notifications(
        &mut self,
        each: &mut dyn FnMut(ExportedNotification<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;

    /// Counters, if statistics are kept. Sets of active queues are added here.
    fn statistics(&mut self) -> Result<Option<Statistics>, ExportError>;
}

/// A queue on its way out.
#[derive(Debug, Clone, Copy)]
pub struct ExportedQueue<'a> {
    /// The record.
    pub record: &'a QueueRecord,
    /// The data behind its link, if it has one.
    pub link: Option<&'a LinkContent>,
    /// When it was last used.
    pub active: ActiveDays,
}

/// A notification on its way out.
#[derive(Debug, Clone, Copy)]
pub struct ExportedNotification<'a> {
    /// Whom it is for.
    pub notifier_id: &'a Id,
    /// The secret of this notifier.
    pub secret: &'a SharedSecret,
    /// What it is.
    pub note: &'a Note,
}

/// Choices of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// Day of the statistics that has not ended, days since the Unix epoch.
    pub today: u16,
}

/// What was exported, and what the reference could not have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportReport {
    /// Services.
    pub services: u64,
    /// Queues.
    pub queues: u64,
    /// Messages, quota markers included.
    pub messages: u64,
    /// Notifications.
    pub notifications: u64,
    /// Whether there were statistics.
    pub statistics: bool,
    /// Messages left out: the reference does not start with one without body
    /// (spec: server §14.7).
    pub empty_messages: u64,
    /// Queues that lost their link: the reference loses the queue if part of the link's data is
    /// empty (spec: server §14.8).
    pub links_dropped: u64,
}

/// Why an export did not come to its end.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A file of an earlier export or of a server is in the way.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// What is to be exported cannot be read.
    #[error("not exported: {0}")]
    Source(Box<dyn Error + Send + Sync>),
}

/// Writes the files of a reference server into a directory that has none of them. They appear
/// under their names once all are complete and on disk.
pub fn export_dir(
    directory: &Path,
    options: &ExportOptions,
    rng: &mut impl CryptoRng,
    source: &mut dyn ExportSource,
) -> Result<ExportReport, ExportError> {
    let mut files = Files::new(directory)?;
    let mut report = ExportReport::default();
    let mut statistics = source.statistics()?;

    let mut out = files.create(STORE_LOG)?;
    source.services(&mut |service| {
        report.services += 1;
        out.line(|line| write_service(line, service))
    })?;
    source.queues(&mut |queue| {
        let ExportedQueue {
            record,
            link,
            active,
        } = queue;
        report.queues += 1;
        if let Some(statistics) = &mut statistics {
            let sets = &mut statistics.active;
            sets.insert(&record.recipient_id, active, options.today);
        }
        let readable = link.filter(|link| !link.fixed.is_empty() && !link.user.is_empty());
        report.links_dropped += u64::from(link.is_some() && readable.is_none());
        out.line(|line| put_queue(line, record, readable))
    })?;
    out.finish()?;

    let mut out = files.create(MESSAGES)?;
    source.messages(&mut |recipient_id, message| {
        let mut empty = false;
        out.line(|line| empty = write_message_line(line, recipient_id, message).is_err())?;
        report.empty_messages += u64::from(empty);
        report.messages += u64::from(!empty);
        Ok(())
    })?;
    out.finish()?;

    let mut out = files.create(NOTIFICATIONS)?;
    source.notifications(&mut |notification| {
        let ExportedNotification {
            notifier_id,
            secret,
            note,
        } = notification;
        let key = BoxKey::from(secret);
        let mut boxed = Ok(());
        out.line(|line| {
            boxed = write_notification_line(line, rng, &key, notifier_id, note);
        })?;
        boxed.map_err(|e| ExportError::Source(Box::new(e)))?;
        report.notifications += 1;
        Ok(())
    })?;
    out.finish()?;

    if let Some(mut statistics) = statistics {
        statistics.active.sort();
        let mut out = files.create(STATISTICS)?;
        out.line(|text| statistics.write(text))?;
        out.finish()?;
        report.statistics = true;
    }
    files.publish()?;
    Ok(report)
}

/// Appends a queue in a form that the reference reads: it does not read a notice and a service in
/// one line (spec: server §11.3).
fn put_queue(out: &mut Vec<u8>, record: &QueueRecord, link: Option<&LinkContent>) {
    let notice = matches!(
        record.status,
        QueueStatus::Blocked(BlockingInfo {
            notice: Some(_),
            ..
        })
    );
    if !notice || record.service_id.is_none() {
        return write_queue(out, record, link);
    }
    let mut active = record.clone();
    let status = std::mem::replace(&mut active.status, QueueStatus::Active);
    write_queue(out, &active, link);
    write_record(out, &LogRecord::Status(record.recipient_id, status));
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    |source| ExportError::Io { path, source }
}

/// Files under temporary names, removed unless they are published.
struct Files<'a> {
    directory: &'a Path,
    names: Vec<&'static str>,
}

impl<'a> Files<'a> {
    fn new(directory: &'a Path) -> Result<Self, ExportError> {
        let in_the_way = [
            STORE_LOG,
            // Read in place of the store log, and in place of the messages.
            STORE_LOG_START,
            JOURNAL,
            MESSAGES,
            NOTIFICATIONS,
            STATISTICS,
        ];
        for name in in_the_way {
            let path = directory.join(name);
            if path.try_exists().map_err(failed(&path))? {
                return Err(ExportError::Exists(path));
            }
        }
        Ok(Self {
            directory,
            names: Vec::new(),
        })
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{UNFINISHED}"))
    }

    /// A file for one owner's eyes: it has secrets.
    fn create(&mut self, name: &'static str) -> Result<Output, ExportError> {
        let path = self.unfinished(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        self.names.push(name);
        Ok(Output {
            path,
            file: BufWriter::with_capacity(WRITE_BUFFER, file),
            line: Zeroizing::default(),
        })
    }

    fn publish(mut self) -> Result<(), ExportError> {
        // The store log last: a server that starts with the others alone would refuse them.
        for name in std::mem::take(&mut self.names).into_iter().rev() {
            let path = self.directory.join(name);
            fs::rename(self.unfinished(name), &path).map_err(failed(&path))?;
        }
        let directory = File::open(self.directory).map_err(failed(self.directory))?;
        directory.sync_all().map_err(failed(self.directory))
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            // Nothing more can be done about a file that stays.
            let _ = fs::remove_file(self.unfinished(name));
        }
    }
}

/// One file being written.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    line: Zeroizing<Vec<u8>>,
}

impl Output {
    fn line(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), ExportError> {
        self.line.clear();
        put(&mut self.line);
        self.file.write_all(&self.line).map_err(failed(&self.path))
    }

    /// On disk when this returns.
    fn finish(self) -> Result<(), ExportError> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all())
            .map_err(failed(&self.path))
    }
}
