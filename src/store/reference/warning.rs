//! What an import met and went on from.

use super::replay::Refusal;
use super::text::Malformed;
use super::warning_log::WarningLog;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most warnings that are kept; when there are more, all are in a file, if one was named.
pub const MAX_WARNINGS: usize = 100;

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// The line is no record; it is passed over.
    #[error("not a record, skipped: {0}")]
    Malformed(#[from] Malformed),
    /// The record does not fit what the log said before; it is passed over.
    #[error("skipped: {0}")]
    Refused(#[from] Refusal),
    /// The queue's link id does not have 24 bytes; the queue comes without it.
    #[error("the link of this queue cannot be used, the queue comes without it")]
    UnusableLink,
    /// The receiver of the import has one of the ids already.
    #[error("skipped: identifier in use")]
    InUse,
    /// A message for a queue that the store log does not have.
    #[error("skipped: the queue does not exist")]
    UnknownQueue,
    /// A notification for a notifier, or a journal of a queue, that is not there any more.
    #[error("skipped: whom this is for does not exist any more")]
    Gone,
    /// The queue had no room for the message.
    #[error("skipped: the queue is full")]
    QueueFull,
    /// A notification that the queue's credentials do not open.
    #[error("skipped: not encrypted for this queue")]
    NotForThisQueue,
    /// The store log was left by a compaction that did not end.
    #[error("read in place of the store log: the last compaction did not end")]
    CompactionUnfinished,
    /// Only the messages of an earlier start are there.
    #[error(
        "not read: messages of an earlier start; the reference saves those of now when it is \
         stopped with SIGINT"
    )]
    OldMessages,
    /// A name in the journal directory that is none of a queue.
    #[error("skipped: not part of a message journal")]
    NotAJournal,
    /// The journal of a queue has no usable state, so it holds nothing.
    #[error("no usable state: the queue comes without messages")]
    NoState,
    /// The last line of the state is torn; the one before was used.
    #[error("torn last line: the state before it was used")]
    TornState,
    /// A file of messages is missing.
    #[error("the file of messages is missing")]
    NoMessages,
    /// A file of messages goes on beyond its state.
    #[error("{0} bytes beyond the state ignored")]
    Beyond(u64),
    /// A file of messages ends before its state says.
    #[error("{0} bytes fewer than the state says")]
    Short(u64),
    /// A line of messages that is no message.
    #[error("{0} lines are no messages, skipped")]
    LostMessages(u64),
}

impl Reason {
    /// Whether somebody may miss something. What is no loss is told and costs nothing: the queue is
    /// gone, or what counts was found elsewhere.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Refused(Refusal::DeletedQueue | Refusal::NoNotifier)
            | Self::Gone
            | Self::CompactionUnfinished
            | Self::NotAJournal
            | Self::TornState
            | Self::Beyond(_) => false,
            Self::Malformed(_)
            | Self::Refused(_)
            | Self::UnusableLink
            | Self::InUse
            | Self::UnknownQueue
            | Self::QueueFull
            | Self::NotForThisQueue
            | Self::OldMessages
            | Self::NoState
            | Self::NoMessages
            | Self::Short(_)
            | Self::LostMessages(_) => true,
        }
    }
}

/// Where an import met what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file, relative to the imported directory.
    pub file: String,
    /// Number of the line, from 1, if it is one line.
    pub line: Option<u64>,
    /// What was wrong.
    pub reason: Reason,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let weight = if self.reason.is_loss() { "" } else { "note: " };
        write!(f, ": {weight}{}", self.reason)
    }
}

/// The first [`MAX_WARNINGS`] warnings and the number of all.
#[derive(Debug, Default)]
pub struct Warnings {
    list: Vec<Warning>,
    count: u64,
    losses: u64,
    log: Option<WarningLog>,
}

impl PartialEq for Warnings {
    fn eq(&self, other: &Self) -> bool {
        (&self.list, self.count, self.losses) == (&other.list, other.count, other.losses)
    }
}

impl Warnings {
    /// None yet; once there are too many to be kept, all are written to this file.
    pub fn with_log(path: Option<PathBuf>) -> Self {
        Self {
            log: path.map(WarningLog::new),
            ..Self::default()
        }
    }

    /// Adds one.
    pub fn add(&mut self, file: &str, line: Option<u64>, reason: impl Into<Reason>) {
        self.push(Warning {
            file: file.to_owned(),
            line,
            reason: reason.into(),
        });
    }

    fn push(&mut self, warning: Warning) {
        self.count += 1;
        self.losses += u64::from(warning.reason.is_loss());
        if self.list.len() < MAX_WARNINGS {
            self.list.push(warning);
        } else if let Some(log) = &mut self.log {
            log.write(&self.list, &warning);
        }
    }

    /// Adds those that another list has kept, and the number of the others.
    pub(super) fn append(&mut self, other: Self) {
        self.count += other.count - other.list.len() as u64;
        let kept = other.list.iter().filter(|kept| kept.reason.is_loss());
        self.losses += other.losses - kept.count() as u64;
        other
            .list
            .into_iter()
            .for_each(|warning| self.push(warning));
    }

    /// Completes the file, if there is one, and says where it is, or why it is not complete.
    pub fn finish_log(&mut self) -> Option<(&Path, io::Result<()>)> {
        self.log.as_mut().and_then(WarningLog::finish)
    }

    /// The warnings kept.
    pub fn list(&self) -> &[Warning] {
        &self.list
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them are losses.
    pub fn losses(&self) -> u64 {
        self.losses
    }
}
