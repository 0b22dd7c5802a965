//! A state directory of the reference, handed over piece by piece.

mod sink;

pub use sink::{ImportError, ImportOptions, ImportReport, ImportSink, SinkError};

use super::activity::ActiveSets;
use super::file_names::{
    JOURNAL, MESSAGES, MESSAGES_BACKUP, NOTIFICATIONS, STATISTICS, STORE_LOG, STORE_LOG_START,
};
use super::journal::{read_journal_queue, visit_queues};
use super::lines::Lines;
use super::message_log::{LoggedMessage, parse_message_line};
use super::message_run::MessageRun;
use super::notification_log::parse_notification_line;
use super::replay::replay_file;
use super::statistics::Statistics;
use super::text::DAY_SECONDS;
use super::warning::{Reason, Warnings};
use crate::crypto::keys::SharedSecret;
use crate::crypto::smp_box::BoxKey;
use crate::store::Id;
use sink::Nowhere;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Bytes read at once.
const READ_BUFFER: usize = 256 * 1024;
const SECOND_NANOS: i64 = 1_000_000_000;
/// Bytes between two reports of progress.
const PROGRESS_BYTES: u64 = 1 << 20;

type Hasher = foldhash::quality::RandomState;

/// Reads a state directory and hands over what is in it. Nothing in the directory is changed.
pub fn import_dir(
    directory: &Path,
    options: &ImportOptions,
    sink: &mut dyn ImportSink,
) -> Result<ImportReport, ImportError> {
    Import::new(directory, options, sink)?.run()
}

/// Reports what [`import_dir`] would, and keeps nothing.
/// `progress` is told the bytes read and the bytes to be read.
pub fn check_dir(
    directory: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ImportReport, ImportError> {
    import_dir(directory, options, &mut Nowhere(progress))
}

/// An import under way.
struct Import<'a> {
    directory: &'a Path,
    options: &'a ImportOptions,
    sink: &'a mut dyn ImportSink,
    report: ImportReport,
    progress: Progress,
    /// Recipient ids of the queues taken, ascending.
    known: Vec<Id>,
    /// Secrets of the notifiers taken for which there are notifications.
    notifiers: HashMap<Id, SharedSecret, Hasher>,
}

/// How far an import is.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes of what is complete.
    done: u64,
    total: u64,
    reported: u64,
}

impl Progress {
    /// Reports `bytes` of what is under way, now and then.
    fn report(&mut self, bytes: u64, sink: &mut dyn ImportSink) {
        let done = self.done + bytes;
        if done >= self.reported + PROGRESS_BYTES {
            self.reported = done;
            sink.progress(done, self.total);
        }
    }

    /// Reports that `bytes` more are complete.
    fn complete(&mut self, bytes: u64, sink: &mut dyn ImportSink) {
        self.done += bytes;
        self.reported = self.done;
        sink.progress(self.done, self.total);
    }
}

impl<'a> Import<'a> {
    fn new(
        directory: &'a Path,
        options: &'a ImportOptions,
        sink: &'a mut dyn ImportSink,
    ) -> Result<Self, ImportError> {
        let mut this = Self {
            directory,
            options,
            sink,
            report: ImportReport {
                warnings: Warnings::with_log(options.warnings_file.clone()),
                ..ImportReport::default()
            },
            progress: Progress::default(),
            known: Vec::new(),
            notifiers: HashMap::default(),
        };
        let mut total = 2 * this.store_log_len()?;
        for name in [MESSAGES, NOTIFICATIONS, STATISTICS] {
            total += this.len(name)?.unwrap_or(0);
        }
        if this.has_journal() {
            total += this.store_log_len()?;
            if this.len(MESSAGES)?.is_some() {
                return Err(ImportError::TwoMessageStores);
            }
        }
        this.progress.total = total;
        Ok(this)
    }

    fn run(mut self) -> Result<ImportReport, ImportError> {
        let statistics = self.read_statistics()?;
        self.import_store_log(statistics.as_ref())?;
        if self.has_journal() {
            self.import_journal()?;
        } else {
            self.import_messages()?;
        }
        self.import_notifications()?;
        if let Some(statistics) = &statistics {
            let taken = self.sink.statistics(statistics);
            self.report.statistics = self.taken(taken, STATISTICS, None)?;
        }
        Ok(self.report)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn failed(&self, name: &str) -> impl FnOnce(io::Error) -> ImportError {
        let path = self.path(name);
        |source| ImportError::Io { path, source }
    }

    /// Length of a file, `None` if there is none.
    fn len(&self, name: &str) -> Result<Option<u64>, ImportError> {
        match fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed(name)(e)),
        }
    }

    fn has_journal(&self) -> bool {
        self.path(JOURNAL).is_dir()
    }

    /// The store log, or what it was before a compaction that did not end (spec: server §11.3).
    fn store_log(&self) -> Result<&'static str, ImportError> {
        if self.len(STORE_LOG_START)?.is_some() {
            Ok(STORE_LOG_START)
        } else if self.len(STORE_LOG)?.is_some() {
            Ok(STORE_LOG)
        } else {
            Err(ImportError::NoStoreLog(self.directory.to_owned()))
        }
    }

    fn store_log_len(&self) -> Result<u64, ImportError> {
        Ok(self.len(self.store_log()?)?.unwrap_or(0))
    }

    fn open(&self, name: &str) -> Result<BufReader<File>, ImportError> {
        let file = File::open(self.path(name)).map_err(self.failed(name))?;
        Ok(BufReader::with_capacity(READ_BUFFER, file))
    }

    /// Whether the sink took something; what is in use already is a warning.
    fn taken(
        &mut self,
        result: Result<(), SinkError>,
        file: &str,
        line: Option<u64>,
    ) -> Result<bool, ImportError> {
        match result {
            Ok(()) => Ok(true),
            Err(SinkError::InUse) => {
                self.report.warnings.add(file, line, Reason::InUse);
                Ok(false)
            }
            Err(SinkError::Failed(e)) => Err(ImportError::Sink(e)),
        }
    }

    fn read_statistics(&mut self) -> Result<Option<Statistics>, ImportError> {
        let Some(len) = self.len(STATISTICS)? else {
            return Ok(None);
        };
        let statistics =
            Statistics::read(self.open(STATISTICS)?).map_err(|source| ImportError::Statistics {
                path: self.path(STATISTICS),
                source,
            })?;
        self.progress.complete(len, self.sink);
        Ok(Some(statistics))
    }

    fn import_store_log(&mut self, statistics: Option<&Statistics>) -> Result<(), ImportError> {
        let name = self.store_log()?;
        if name == STORE_LOG_START {
            let reason = Reason::CompactionUnfinished;
            self.report.warnings.add(name, None, reason);
        }
        let reader = self.open(name)?;
        let warnings = &mut self.report.warnings;
        let mut progress = |bytes| self.progress.report(bytes, self.sink);
        let replayed = replay_file(reader, name, warnings, &mut progress);
        let replayed = replayed.map_err(self.failed(name))?;
        let len = self.store_log_len()?;
        self.progress.complete(len, self.sink);
        self.report.store_log_lines = replayed.lines;
        for service in &replayed.services {
            let result = self.sink.service(service.clone());
            self.report.services += u64::from(self.taken(result, name, None)?);
        }
        let none = ActiveSets::default();
        let (active, today) = match statistics {
            Some(s) => (
                &s.active,
                day_of(s.from_time_ns, self.options.day_starts_at),
            ),
            None => (&none, 0),
        };
        let notified = self.notified()?;
        let count = replayed.queue_count() as u64;
        self.known.reserve_exact(replayed.queue_count());
        for (n, entry) in (0..).zip(replayed.into_queues()) {
            let bytes = u128::from(len) * n / u128::from(count.max(1));
            let bytes = u64::try_from(bytes).unwrap_or(len);
            self.progress.report(bytes, self.sink);
            let id = entry.record.recipient_id;
            let notifier = entry.record.notifier.as_ref();
            let notifier = notifier
                .filter(|n| notified.contains(&n.notifier_id))
                .map(|n| (n.notifier_id, n.dh_secret.clone()));
            let days = active.days_of(&id, today);
            let result = self.sink.queue(entry.record, entry.link, days);
            if self.taken(result, name, None)? {
                self.report.queues += 1;
                self.known.push(id);
                self.notifiers.extend(notifier);
            }
        }
        self.progress.complete(len, self.sink);
        Ok(())
    }

    /// Notifiers for which there are notifications.
    fn notified(&self) -> Result<HashSet<Id, Hasher>, ImportError> {
        let mut notified = HashSet::default();
        if self.len(NOTIFICATIONS)?.is_none() {
            return Ok(notified);
        }
        let mut lines = Lines::new(self.open(NOTIFICATIONS)?);
        while let Some(line) = lines.next_line().map_err(self.failed(NOTIFICATIONS))? {
            // What is no notification is told when they are taken.
            if let Ok((id, _)) = line.and_then(parse_notification_line) {
                notified.insert(id);
            }
        }
        Ok(notified)
    }

    fn is_known(&self, recipient_id: &Id) -> bool {
        self.known.binary_search(recipient_id).is_ok()
    }

    fn has_expired(&self, message: &LoggedMessage) -> bool {
        let seconds = message.time_ns.div_euclid(SECOND_NANOS);
        !message.is_marker()
            && self
                .options
                .messages_since
                .is_some_and(|since| seconds < since)
    }

    fn flush(&mut self, recipient_id: &Id, run: &mut MessageRun) -> Result<(), ImportError> {
        for message in run.take() {
            let result = self.sink.message(recipient_id, message.view());
            self.report.messages += u64::from(self.taken(result, MESSAGES, None)?);
        }
        Ok(())
    }

    fn import_messages(&mut self) -> Result<(), ImportError> {
        let Some(len) = self.len(MESSAGES)? else {
            if self.len(MESSAGES_BACKUP)?.is_some() {
                let reason = Reason::OldMessages;
                self.report.warnings.add(MESSAGES_BACKUP, None, reason);
            }
            return Ok(());
        };
        let mut lines = Lines::new(self.open(MESSAGES)?);
        let mut run = MessageRun::new(self.options.quota);
        // The queue of the run, and whether it exists.
        let mut queue: Option<(Id, bool)> = None;
        while let Some(parsed) = lines.next_line().map_err(self.failed(MESSAGES))? {
            let parsed = parsed.and_then(parse_message_line);
            let (line, bytes) = (lines.line(), lines.bytes());
            self.progress.report(bytes, self.sink);
            let (id, message) = match parsed {
                Ok(parsed) => parsed,
                Err(e) => {
                    self.report.warnings.add(MESSAGES, Some(line), e);
                    continue;
                }
            };
            let known = match queue {
                Some((current, known)) if current == id => known,
                _ => {
                    if let Some((current, _)) = queue {
                        self.flush(&current, &mut run)?;
                    }
                    let known = self.is_known(&id);
                    queue = Some((id, known));
                    known
                }
            };
            if !known {
                let reason = Reason::UnknownQueue;
                self.report.warnings.add(MESSAGES, Some(line), reason);
            } else if self.has_expired(&message) {
                self.report.messages_expired += 1;
            } else if !run.push(message) {
                let reason = Reason::QueueFull;
                self.report.warnings.add(MESSAGES, Some(line), reason);
            }
        }
        if let Some((current, _)) = queue {
            self.flush(&current, &mut run)?;
        }
        self.progress.complete(len, self.sink);
        Ok(())
    }

    fn import_journal(&mut self) -> Result<(), ImportError> {
        let directory = self.path(JOURNAL);
        let mut run = MessageRun::new(self.options.quota);
        let len = self.store_log_len()?;
        // The parts of the directory are visited in order, and ids are random.
        let parts = fs::read_dir(&directory).map_err(self.failed(JOURNAL))?;
        let parts = parts.count().max(1) as u64;
        let (mut begun, mut part) = (0, Vec::new());
        // Apart, since visiting borrows them while queues are taken.
        let mut warnings = std::mem::take(&mut self.report.warnings);
        let visited = visit_queues(&directory, &mut warnings, &mut |queue, warnings| {
            let path = queue.path.strip_prefix(&directory).ok();
            let first = path.and_then(|path| path.iter().next()).unwrap_or_default();
            if first.as_encoded_bytes() != part {
                self.progress.report(len / parts * begun, self.sink);
                part = first.as_encoded_bytes().to_vec();
                begun += 1;
            }
            if !self.is_known(&queue.recipient_id) {
                warnings.add(&queue.name, None, Reason::Gone);
                return Ok(());
            }
            let (mut expired, mut refused) = (0, 0);
            read_journal_queue(queue, warnings, &mut |message| {
                if self.has_expired(&message) {
                    expired += 1;
                } else if !run.push(message) {
                    refused += 1;
                }
            })?;
            self.report.messages_expired += expired;
            for _ in 0..refused {
                warnings.add(&queue.name, None, Reason::QueueFull);
            }
            self.flush(&queue.recipient_id, &mut run)
        });
        warnings.append(std::mem::take(&mut self.report.warnings));
        self.report.warnings = warnings;
        self.progress.complete(len, self.sink);
        visited
    }

    fn import_notifications(&mut self) -> Result<(), ImportError> {
        let Some(len) = self.len(NOTIFICATIONS)? else {
            return Ok(());
        };
        let mut lines = Lines::new(self.open(NOTIFICATIONS)?);
        let mut key: Option<(Id, BoxKey)> = None;
        while let Some(parsed) = lines.next_line().map_err(self.failed(NOTIFICATIONS))? {
            let parsed = parsed.and_then(parse_notification_line);
            let line = Some(lines.line());
            let (id, note) = match parsed {
                Ok(notification) => notification,
                Err(e) => {
                    self.report.warnings.add(NOTIFICATIONS, line, e);
                    continue;
                }
            };
            if self
                .options
                .notifications_since
                .is_some_and(|since| note.at < since)
            {
                self.report.notifications_expired += 1;
                continue;
            }
            if key.as_ref().is_none_or(|(current, _)| *current != id) {
                let secret = self.notifiers.get(&id);
                key = secret.map(|secret| (id, BoxKey::from(secret)));
            }
            let Some((_, key)) = &key else {
                let reason = Reason::Gone;
                self.report.warnings.add(NOTIFICATIONS, line, reason);
                continue;
            };
            if note
                .sealed
                .as_ref()
                .and_then(|meta| meta.open(key))
                .is_none()
            {
                let reason = Reason::NotForThisQueue;
                self.report.warnings.add(NOTIFICATIONS, line, reason);
                continue;
            }
            let result = self.sink.notification(&id, note);
            self.report.notifications += u64::from(self.taken(result, NOTIFICATIONS, line)?);
        }
        self.progress.complete(len, self.sink);
        Ok(())
    }
}

/// The day of the statistics, days since the Unix epoch.
fn day_of(nanos: i64, day_starts_at: i64) -> u16 {
    let seconds = nanos.div_euclid(SECOND_NANOS);
    let day = (seconds - day_starts_at).div_euclid(DAY_SECONDS);
    u16::try_from(day).unwrap_or(0)
}
