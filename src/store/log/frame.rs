//! How records lie in a segment: framed, numbered and checksummed (docs/STORAGE.md).

use std::iter;

/// Bytes of a record before its payload.
pub const HEAD_LEN: usize = 24;
/// Bytes of the checksum after the payload.
const TRAILER_LEN: usize = 4;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;
/// Bytes that are passed over at once when they are zero.
const BLOCK_LEN: usize = 512;
/// Where a record could begin: none does.
pub const END: [u8; 4] = [0; 4];
/// Longest record; the longest that is written holds the chain of a service's certificates.
pub const MAX_RECORD_LEN: usize = 128 * 1024;

/// The fixed part of a record. Integers are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the record without padding, head and checksum included.
    pub len: u32,
    /// What the payload is.
    pub kind: u8,
    /// Partition of what the record is about.
    pub partition: u16,
    /// Number of the record in its shard; no two records of a shard share one.
    pub lsn: u64,
    /// Every record up to this number was durable when this one was written.
    pub synced: u64,
}

/// A record that passed its checksum.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Where it begins in its segment.
    pub offset: usize,
    /// Fixed part.
    pub head: Head,
    /// The rest.
    pub payload: &'a [u8],
}

/// What a checksum begins with, so that a record is valid only where it was written: neither in
/// another segment, nor in a later use of the same file, nor after the log was cut before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed of one run's records in one segment.
    pub fn new(file: u16, log: u8, seq: u64, run: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = log;
        bytes[2..4].copy_from_slice(&file.to_le_bytes());
        bytes[4..12].copy_from_slice(&seq.to_le_bytes());
        bytes[12..].copy_from_slice(&run.to_le_bytes());
        Self(crc32c::crc32c(&bytes))
    }
}

/// Bytes a record with a payload takes in a segment.
pub const fn space(payload_len: usize) -> usize {
    (HEAD_LEN + payload_len + TRAILER_LEN).next_multiple_of(ALIGN)
}

impl Head {
    /// The head of a record with a payload; `None` when that is too long.
    pub fn new(kind: u8, partition: u16, payload_len: usize) -> Option<Self> {
        let len = HEAD_LEN + payload_len + TRAILER_LEN;
        Some(Self {
            len: u32::try_from(len).ok().filter(|_| len <= MAX_RECORD_LEN)?,
            kind,
            partition,
            lsn: 0,
            synced: 0,
        })
    }

    /// Its form in the segment.
    pub fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind;
        bytes[6..8].copy_from_slice(&self.partition.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[16..].copy_from_slice(&self.synced.to_le_bytes());
        bytes
    }

    /// Reads the head at `offset`, if a record could begin and end there. Nothing is verified.
    pub fn read(segment: &[u8], offset: usize) -> Option<Self> {
        let bytes: &[u8; HEAD_LEN] = segment.get(offset..)?.first_chunk()?;
        let len = u32::from_le_bytes(chunk(bytes, 0));
        let size = usize::try_from(len).ok()?;
        let fits = (HEAD_LEN + TRAILER_LEN..=MAX_RECORD_LEN).contains(&size)
            && size.next_multiple_of(ALIGN) <= segment.len() - offset;
        fits.then(|| Self {
            len,
            kind: bytes[4],
            partition: u16::from_le_bytes(chunk(bytes, 6)),
            lsn: u64::from_le_bytes(chunk(bytes, 8)),
            synced: u64::from_le_bytes(chunk(bytes, 16)),
        })
    }

    /// Bytes the record takes in a segment.
    pub fn space(&self) -> usize {
        (self.len as usize).next_multiple_of(ALIGN)
    }

    fn checked_len(&self) -> usize {
        self.len as usize - TRAILER_LEN
    }
}

fn chunk<const N: usize>(bytes: &[u8; HEAD_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Checksum of a record made of a head and parts of a payload.
pub fn checksum(seed: Seed, head: &[u8; HEAD_LEN], payload: &[&[u8]]) -> u32 {
    iter::once(&head[..])
        .chain(payload.iter().copied())
        .fold(seed.0, crc32c::crc32c_append)
}

/// The payload behind a head that [`Head::read`] found at `offset`, unverified.
pub fn payload<'a>(segment: &'a [u8], offset: usize, head: &Head) -> &'a [u8] {
    &segment[offset + HEAD_LEN..offset + head.checked_len()]
}

/// The record at `offset`, when it passes its checksum.
pub fn read(segment: &[u8], offset: usize, seed: Seed) -> Option<Frame<'_>> {
    let head = Head::read(segment, offset)?;
    let end = offset + head.checked_len();
    let stored = segment.get(end..)?.first_chunk()?;
    let computed = crc32c::crc32c_append(seed.0, &segment[offset..end]);
    (u32::from_le_bytes(*stored) == computed).then(|| Frame {
        offset,
        head,
        payload: payload(segment, offset, &head),
    })
}

/// The first record at or after `offset` with a number above `lsn`.
pub fn scan(segment: &[u8], offset: usize, seed: Seed, lsn: u64) -> Option<Frame<'_>> {
    (offset..segment.len())
        .step_by(BLOCK_LEN)
        .map(|from| from..(from + BLOCK_LEN).min(segment.len()))
        // A record begins with its length: where all is zero none does.
        .filter(|block| segment[block.clone()].iter().any(|byte| *byte != 0))
        .flat_map(|block| block.step_by(ALIGN))
        // A checksum is computed only where a later record could be.
        .filter(|at| Head::read(segment, *at).is_some_and(|head| head.lsn > lsn))
        .find_map(|at| read(segment, at, seed))
}
