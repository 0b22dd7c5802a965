//! Waiting notifications, in a file of their own.
//!
//! The shard keeps them in memory; every few seconds what has changed is appended, and now and then
//! everything is written anew. A batch has the notes of some notifiers as they are then, perhaps
//! none any more: the last that a file has of a notifier counts.

use super::Directory;
use super::disk::Disk;
use super::store::LogStore;
use crate::crypto::message::BOXED_META_LEN;
use crate::crypto::smp_box::Nonce;
use crate::store::{Id, Note, SealedMeta};
use std::collections::BTreeMap;
use std::io;

/// The file, beside the segments.
pub const FILE: &str = "notifications";
/// First bytes of the file; the last one is the version.
pub const MAGIC: [u8; 8] = *b"smp-ntf\x01";
/// Length and checksum in front of a batch.
const HEAD_LEN: usize = 8;
/// The note is boxed when it leaves.
const OWN: u8 = 0;
/// The note is boxed: nonce and box follow.
const SEALED: u8 = 1;
/// Bytes appended before everything is written anew, unless it was more.
const MIN_APPENDED: usize = 256 << 10;

/// Waiting notes by notifier, those of each oldest first.
pub type Notes = BTreeMap<Id, Vec<Note>>;

/// Notes of some notifiers on their way to the file.
#[derive(Debug, Default)]
pub struct NotesBatch {
    content: Vec<u8>,
}

impl NotesBatch {
    /// Adds what waits for a notifier, perhaps nothing any more.
    pub fn put<'a>(
        &mut self,
        notifier_id: &Id,
        notes: impl IntoIterator<Item = &'a Note, IntoIter: ExactSizeIterator>,
    ) {
        let notes = notes.into_iter();
        let out = &mut self.content;
        out.extend_from_slice(notifier_id);
        let count = u32::try_from(notes.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for note in notes.take(count as usize) {
            out.extend_from_slice(&note.message_id);
            out.extend_from_slice(&note.at.to_le_bytes());
            match &note.sealed {
                None => out.push(OWN),
                Some(sealed) => {
                    out.push(SEALED);
                    out.extend_from_slice(&sealed.nonce);
                    out.extend_from_slice(&sealed.boxed);
                }
            }
        }
    }

    /// Bytes it takes.
    fn len(&self) -> usize {
        HEAD_LEN + self.content.len()
    }

    /// Its form in the file.
    pub fn finish(self) -> Vec<u8> {
        let len = u32::try_from(self.content.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&checksum(len, &self.content).to_le_bytes());
        bytes.extend_from_slice(&self.content);
        bytes
    }
}

fn checksum(len: u32, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len.to_le_bytes()), content)
}

/// The file of a shard. Writing takes time and is meant for a thread of its own.
#[derive(Debug)]
pub struct NotesFile<D: Disk = Directory> {
    disk: D,
    /// Bytes when everything was written and since then; unknown before, and after a failure.
    written: Option<(usize, usize)>,
}

impl<D: Disk> NotesFile<D> {
    /// Whether the next writing must have everything.
    pub fn wants_all(&self) -> bool {
        self.written
            .is_none_or(|(all, since)| since > all.max(MIN_APPENDED))
    }

    /// Writes the file anew.
    pub fn replace(&mut self, batches: Vec<NotesBatch>) -> io::Result<()> {
        self.written = None;
        let len = batches.iter().map(NotesBatch::len).sum();
        let batches = batches.into_iter().map(NotesBatch::finish);
        let mut parts = std::iter::once(MAGIC.to_vec()).chain(batches);
        self.disk.replace(FILE, &mut parts)?;
        self.written = Some((len, 0));
        Ok(())
    }

    /// Adds what has changed to a file that has everything else.
    pub fn append(&mut self, batches: Vec<NotesBatch>) -> io::Result<()> {
        let written = self.written.take();
        let len: usize = batches.iter().map(NotesBatch::len).sum();
        self.disk
            .append(FILE, &mut batches.into_iter().map(NotesBatch::finish))?;
        self.written = written.map(|(all, since)| (all, since + len));
        Ok(())
    }
}

impl<D: Disk> LogStore<D> {
    /// The file of waiting notes; the first writing must have everything.
    pub fn notes_file(&self) -> NotesFile<D> {
        NotesFile {
            disk: self.journal.disk.clone(),
            written: None,
        }
    }

    /// The notes that the file has. What cannot be read is left out with a warning: nobody was
    /// promised it.
    pub fn notes(&self) -> Notes {
        let disk = &self.journal.disk;
        let file = match disk.read(FILE) {
            Ok(Some(file)) => file,
            Ok(None) => return Notes::new(),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", disk.describe(FILE));
                return Notes::new();
            }
        };
        let (notes, unread) = read_notes(&file);
        if unread > 0 {
            tracing::warn!(
                "the last {unread} bytes of {} cannot be read: some notifications are lost or \
                 come again",
                disk.describe(FILE)
            );
        }
        notes
    }

    /// Removes the file.
    pub fn drop_notes(&self) -> io::Result<()> {
        self.journal.disk.remove(FILE)
    }
}

/// The notes of a file, and how many bytes at its end cannot be read.
pub(super) fn read_notes(file: &[u8]) -> (Notes, usize) {
    let mut notes = Notes::new();
    let Some(mut rest) = file.strip_prefix(&MAGIC) else {
        return (notes, file.len());
    };
    while let Some((batch, behind)) = split_batch(rest) {
        if read_batch(batch, &mut notes).is_none() {
            break;
        }
        rest = behind;
    }
    (notes, rest.len())
}

/// The content of the first batch, and what comes behind it.
fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let len = u32::from_le_bytes(*len);
    let (content, rest) = rest.split_at_checked(len as usize)?;
    (checksum(len, content) == u32::from_le_bytes(*crc)).then_some((content, rest))
}

fn read_batch(mut content: &[u8], notes: &mut Notes) -> Option<()> {
    while !content.is_empty() {
        let notifier_id: Id = take(&mut content)?;
        let count = u32::from_le_bytes(take(&mut content)?);
        let mut of_notifier = Vec::new();
        for _ in 0..count {
            of_notifier.push(read_note(&mut content)?);
        }
        if of_notifier.is_empty() {
            notes.remove(&notifier_id);
        } else {
            notes.insert(notifier_id, of_notifier);
        }
    }
    Some(())
}

fn read_note(content: &mut &[u8]) -> Option<Note> {
    let message_id = take(content)?;
    let at = i64::from_le_bytes(take(content)?);
    let [form] = take(content)?;
    let sealed = match form {
        OWN => None,
        SEALED => {
            let nonce: Nonce = take(content)?;
            let boxed: [u8; BOXED_META_LEN] = take(content)?;
            Some(Box::new(SealedMeta { nonce, boxed }))
        }
        _ => return None,
    };
    Some(Note {
        message_id,
        at,
        sealed,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
