//! What the files of the store show of compaction, by their format (docs/STORAGE.md): how many
//! segments were emptied, and how many messages were copied out of them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

const MAGIC: &[u8] = b"smp-log\n";
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 128;
const HEAD_LEN: usize = 24;
const LOGS: usize = 3;
/// Tag of the log with messages that were copied.
const LEFTOVERS: u8 = 3;
const KIND_BEGIN: u8 = 1;
const KIND_MESSAGE: u8 = 32;

/// What was seen in all looks together.
#[derive(Debug, Default)]
pub struct Compaction {
    shards: HashMap<PathBuf, Seen>,
}

/// What was seen of a shard's folder.
#[derive(Debug, Default)]
struct Seen {
    /// Per log, the position of the oldest segment needed: so many were emptied.
    tails: [u64; LOGS],
    /// Messages in leftovers.
    copied: u64,
    /// Number of the last record counted.
    last: u64,
}

impl Compaction {
    /// Looks at the files of a server that does not run.
    pub fn look(&mut self, store: &Path) -> Result<()> {
        for generation in folders(store)? {
            for shard in folders(&generation)? {
                let files = fs::read_dir(&shard)?;
                let files = files.map(|file| Ok(file?.path()));
                let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
                let seen = self.shards.entry(shard).or_default();
                let mut last = seen.last;
                for file in files
                    .iter()
                    .filter(|f| f.extension().is_some_and(|e| e == "seg"))
                {
                    let bytes = fs::read(file)?;
                    let looked = look_at(&bytes, seen);
                    last = last.max(looked.with_context(|| file.display().to_string())?);
                }
                seen.last = last;
            }
        }
        Ok(())
    }

    /// Segments emptied.
    pub fn emptied(&self) -> u64 {
        let each = self.shards.values().flat_map(|seen| seen.tails);
        each.sum()
    }

    /// Messages copied to the leftovers.
    pub fn copied(&self) -> u64 {
        self.shards.values().map(|seen| seen.copied).sum()
    }
}

fn folders(of: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(of).with_context(|| format!("cannot read {}", of.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

/// Looks at a segment; returns the number of its last record.
fn look_at(bytes: &[u8], seen: &mut Seen) -> Result<u64> {
    if !bytes.starts_with(MAGIC) {
        return Ok(0);
    }
    let format = number::<4>(bytes, 8).unwrap_or_default();
    ensure!(
        format == u64::from(FORMAT),
        "format {format} of the store is not known here"
    );
    let is_leftovers = bytes.get(36) == Some(&LEFTOVERS);
    let (mut at, mut last) = (HEADER_LEN, 0);
    // Behind the end lie older records, whose numbers are lower.
    while let Some((len, kind, lsn)) = record(bytes, at).filter(|record| record.2 > last) {
        if kind == KIND_BEGIN {
            for (log, tail) in seen.tails.iter_mut().enumerate() {
                let told = number::<8>(bytes, at + HEAD_LEN + 8 * log);
                *tail = told.unwrap_or_default().max(*tail);
            }
        }
        if is_leftovers && kind == KIND_MESSAGE && lsn > seen.last {
            seen.copied += 1;
        }
        last = lsn;
        at += len.next_multiple_of(8);
    }
    Ok(last)
}

/// Length, kind and number of the record at an offset.
fn record(bytes: &[u8], at: usize) -> Option<(usize, u8, u64)> {
    let len = usize::try_from(number::<4>(bytes, at)?).ok()?;
    let kind = *bytes.get(at + 4)?;
    let lsn = number::<8>(bytes, at + 8)?;
    (len > HEAD_LEN && at + len <= bytes.len()).then_some((len, kind, lsn))
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + N)?;
    let digits = bytes.iter().rev();
    Some(digits.fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(kind: u8, lsn: u64, payload: &[u8]) -> Vec<u8> {
        let len = HEAD_LEN + payload.len() + 4;
        let mut bytes = u32::try_from(len).unwrap().to_le_bytes().to_vec();
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend(lsn.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes.resize(len.next_multiple_of(8), 0);
        bytes
    }

    fn begin(lsn: u64, tails: [u64; LOGS]) -> Vec<u8> {
        let tails = tails.iter().flat_map(|tail| tail.to_le_bytes());
        let payload: Vec<u8> = tails.chain([0; 24]).collect();
        record_of(KIND_BEGIN, lsn, &payload)
    }

    fn segment(log: u8, records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = 1;
        bytes[36] = log;
        bytes.extend(records.concat());
        bytes.resize(bytes.len() + 64, 0);
        bytes
    }

    #[test]
    fn emptied_segments_and_copied_messages_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let shard = dir.path().join("generation-1/shard-0000");
        fs::create_dir_all(&shard).unwrap();
        let message = |lsn| record_of(KIND_MESSAGE, lsn, &[1; 50]);
        let mut leftovers = vec![begin(5, [0, 2, 0]), message(6), message(8)];
        // What an earlier use of the file has left.
        let stale = message(3);
        let write = |records: &[Vec<u8>]| {
            let bytes = segment(LEFTOVERS, &[records.concat(), stale.clone()]);
            fs::write(shard.join("00001.seg"), bytes).unwrap();
        };
        write(&leftovers);
        let messages = segment(2, &[begin(2, [0, 1, 0]), message(4), message(9)]);
        fs::write(shard.join("00000.seg"), messages).unwrap();
        fs::write(shard.join("00002.seg"), vec![0; 500]).unwrap();
        let mut compaction = Compaction::default();
        for _ in 0..2 {
            compaction.look(dir.path()).unwrap();
            assert_eq!((compaction.emptied(), compaction.copied()), (2, 2));
        }
        leftovers.push(message(12));
        write(&leftovers);
        compaction.look(dir.path()).unwrap();
        assert_eq!((compaction.emptied(), compaction.copied()), (2, 3));
    }

    #[test]
    fn another_format_is_not_taken_for_this_one() {
        let mut bytes = segment(2, &[begin(1, [0; LOGS])]);
        bytes[8] = 2;
        assert!(look_at(&bytes, &mut Seen::default()).is_err());
    }
}
