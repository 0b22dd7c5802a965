//! Messages of the journal mode: a directory with files for every queue (spec: server §11.7).
//!
//! Read only: files that the reference would cut or rename stay as they are.

use super::file_names::JOURNAL;
use super::lines::Lines;
use super::message_log::{LoggedMessage, parse_message};
use super::text::{Fields, Malformed};
use super::warning::{Reason, Warnings};
use crate::store::Id;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes at the end of a state file in which its last two lines are looked for.
const STATE_TAIL: u64 = 512;
/// Characters of a recipient id in each part of a queue's path.
const PATH_PARTS: [usize; 5] = [2, 2, 2, 2, 24];
/// So many of them, the last ones, are not told: ids of queues do not belong into logs. The others
/// lead to the directory.
const HIDDEN_PARTS: usize = 2;
/// What is told instead.
const HIDDEN: &str = "…";

/// A journal that cannot be read.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct JournalError {
    /// The file or directory.
    pub path: PathBuf,
    /// What failed.
    pub source: io::Error,
}

/// The directory of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalQueue {
    /// Whose messages these are.
    pub recipient_id: Id,
    /// The directory.
    pub path: PathBuf,
    /// The directory relative to the state directory, for warnings: without most of the id.
    pub name: String,
}

/// Where reading or writing stands in one file of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    file: String,
    message: u64,
    messages: u64,
    byte: u64,
    bytes: u64,
}

/// A line of a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    write: Position,
    read: Position,
    size: u64,
}

impl State {
    fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let f = &mut Fields::new(line);
        f.literal("write=")?;
        let write = Position::parse(f)?;
        f.literal(" read=")?;
        let read = Position::parse(f)?;
        f.literal(" canWrite=")?;
        f.flag("canWrite")?;
        f.literal(" size=")?;
        let size = f.natural("size")?;
        f.end()?;
        Ok(Self { write, read, size })
    }

    fn is_valid(&self) -> bool {
        let Self { write, read, size } = self;
        let positions = read.message <= read.messages
            && read.byte <= read.bytes
            && write.message == write.messages
            && write.byte == write.bytes;
        let unread = read.messages.saturating_sub(read.message);
        positions
            && if self.is_one_file() {
                read.messages == write.messages && read.bytes == write.bytes && *size == unread
            } else {
                Some(*size) == write.messages.checked_add(unread)
            }
    }

    fn is_one_file(&self) -> bool {
        self.read.file == self.write.file
    }
}

impl Position {
    fn parse(f: &mut Fields<'_>) -> Result<Self, Malformed> {
        // What is no base64 could lead out of the directory.
        let file = f.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='));
        let file = str::from_utf8(file)
            .ok()
            .filter(|file| !file.is_empty())
            .ok_or(Malformed::Expected("journal id"))?;
        let mut number = || {
            f.literal(",")?;
            f.natural("position")
        };
        Ok(Self {
            file: file.to_owned(),
            message: number()?,
            messages: number()?,
            byte: number()?,
            bytes: number()?,
        })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    |source| JournalError { path, source }
}

/// `None` for what does not exist.
fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Gives every queue of a `messages` directory to `visit`, ordered by path.
pub(super) fn visit_queues<E: From<JournalError>>(
    directory: &Path,
    warnings: &mut Warnings,
    visit: &mut dyn FnMut(&JournalQueue, &mut Warnings) -> Result<(), E>,
) -> Result<(), E> {
    visit_level(directory, JOURNAL, "", &PATH_PARTS, warnings, visit)
}

fn visit_level<E: From<JournalError>>(
    directory: &Path,
    shown: &str,
    id_begin: &str,
    parts: &[usize],
    warnings: &mut Warnings,
    visit: &mut dyn FnMut(&JournalQueue, &mut Warnings) -> Result<(), E>,
) -> Result<(), E> {
    let Some((part, parts)) = parts.split_first() else {
        return Ok(());
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        names.push(entry.map_err(at(directory))?.file_name());
    }
    names.sort_unstable();
    for name in names {
        let path = directory.join(&name);
        let name = name.to_string_lossy();
        let shown = match parts.len() {
            ..HIDDEN_PARTS if shown.ends_with(HIDDEN) => shown.to_owned(),
            ..HIDDEN_PARTS => format!("{shown}/{HIDDEN}"),
            _ => format!("{shown}/{name}"),
        };
        let id = format!("{id_begin}{name}");
        if name.len() != *part || !path.is_dir() {
            warnings.add(&shown, None, Reason::NotAJournal);
        } else if !parts.is_empty() {
            visit_level(&path, &shown, &id, parts, warnings, visit)?;
        } else {
            match URL_SAFE.decode(&id).map(Id::try_from) {
                Ok(Ok(recipient_id)) => {
                    let queue = JournalQueue {
                        recipient_id,
                        path,
                        name: shown,
                    };
                    visit(&queue, warnings)?;
                }
                _ => warnings.add(&shown, None, Reason::NotAJournal),
            }
        }
    }
    Ok(())
}

/// Gives the messages of a queue that have not been read to `take`, in order. Returns the bytes
/// they took.
pub fn read_journal_queue(
    queue: &JournalQueue,
    warnings: &mut Warnings,
    take: &mut dyn FnMut(LoggedMessage),
) -> Result<u64, JournalError> {
    let Some(state) = read_state(queue, warnings)? else {
        return Ok(0);
    };
    if state.size == 0 {
        return Ok(0);
    }
    let mut files = Files {
        queue,
        warnings,
        take,
        bytes: 0,
    };
    let State { read, write, .. } = &state;
    files.read(&read.file, read.byte, read.bytes)?;
    if !state.is_one_file() {
        files.read(&write.file, 0, write.bytes)?;
    }
    Ok(files.bytes)
}

/// The current state, `None` for a queue without messages.
fn read_state(
    queue: &JournalQueue,
    warnings: &mut Warnings,
) -> Result<Option<State>, JournalError> {
    let id = URL_SAFE.encode(queue.recipient_id);
    let name = format!("queue_state.{id}.log");
    // The backup is there for as long as the state is rewritten.
    let backup = queue.path.join(format!("{name}.bak"));
    let path = queue.path.join(&name);
    let open = |path: &Path| if_exists(File::open(path)).map_err(at(path));
    let (file, path) = match open(&backup)? {
        Some(file) => (file, backup),
        None => match open(&path)? {
            Some(file) => (file, path),
            None => return Ok(None),
        },
    };
    let tail = read_tail(file).map_err(at(&path))?;
    let mut lines = tail
        .strip_suffix(b"\n")
        .unwrap_or(&tail)
        .rsplit(|b| *b == b'\n')
        .map(|line| State::parse(line).ok().filter(State::is_valid));
    let (last, before) = (lines.next().flatten(), lines.next().flatten());
    let shown = format!("{}/queue_state", queue.name);
    match (last, before) {
        (Some(state), _) => Ok(Some(state)),
        (None, Some(state)) => {
            warnings.add(&shown, None, Reason::TornState);
            Ok(Some(state))
        }
        (None, None) => {
            warnings.add(&shown, None, Reason::NoState);
            Ok(None)
        }
    }
}

fn read_tail(mut file: File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(STATE_TAIL)))?;
    let mut tail = Vec::new();
    file.take(STATE_TAIL).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The files of messages of one queue.
struct Files<'a> {
    queue: &'a JournalQueue,
    warnings: &'a mut Warnings,
    take: &'a mut dyn FnMut(LoggedMessage),
    bytes: u64,
}

impl Files<'_> {
    /// Takes the messages between two positions of a file that should end at the second. A file
    /// that is missing leaves those of the other.
    fn read(&mut self, file: &str, from: u64, to: u64) -> Result<(), JournalError> {
        let name = format!("messages.{file}.log");
        let path = self.queue.path.join(&name);
        let shown = format!("{}/{name}", self.queue.name);
        let Some(mut file) = if_exists(File::open(&path)).map_err(at(&path))? else {
            self.warnings.add(&shown, None, Reason::NoMessages);
            return Ok(());
        };
        let len = file.metadata().map_err(at(&path))?.len();
        if len > to {
            self.warnings.add(&shown, None, Reason::Beyond(len - to));
        } else if len < to {
            self.warnings.add(&shown, None, Reason::Short(to - len));
        }
        file.seek(SeekFrom::Start(from)).map_err(at(&path))?;
        let unread = file.take(to.saturating_sub(from));
        let mut lines = Lines::new(BufReader::new(unread));
        let mut lost = 0;
        while let Some(line) = lines.next_line().map_err(at(&path))? {
            match line.and_then(|line| parse_message(&mut Fields::new(line))) {
                Ok(message) => (self.take)(message),
                Err(_) => lost += 1,
            }
        }
        self.bytes += lines.bytes();
        if lost > 0 {
            self.warnings.add(&shown, None, Reason::LostMessages(lost));
        }
        Ok(())
    }
}
