//! Segment headers and the records a log keeps about itself.

use super::disk::Memory;
use super::frame::Head;
use super::{LOGS, LogId};

/// First bytes of every segment in use.
const MAGIC: [u8; 8] = *b"smp-log\n";
/// Version of the format of segments and records.
pub const FORMAT: u32 = 1;
/// First bytes of a file that is not in use.
const VOID: [u8; 8] = *b"smp-void";
/// Bytes of a header.
const COPY_LEN: usize = 64;
/// Bytes before the first record of a segment: the header twice, in one sector of the disk.
pub const HEADER_LEN: usize = 2 * COPY_LEN;

/// What a segment is, written when it is taken into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of its file.
    pub file: u16,
    /// Shard it belongs to.
    pub shard: u16,
    /// Log it belongs to.
    pub log: LogId,
    /// Position in that log; never used twice.
    pub seq: u64,
    /// Run that began it.
    pub run: u32,
    /// Bytes of the whole segment.
    pub size: u64,
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The file is not in use; the last run that could use it.
    Unused(u32),
    /// It is a segment.
    Segment(Header),
    /// It is a segment of a later version.
    Version(u32),
    /// It is none of these.
    Damaged,
}

impl Header {
    /// Its form in the segment.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; COPY_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.file.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.shard.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.size.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.run.to_le_bytes());
        bytes[36] = self.log.tag();
        twice(sealed(&mut bytes))
    }

    /// The header of a file that is not in use. Its run is durable before that run uses the file:
    /// so no later one takes the same number and finds records there that look like its own.
    pub fn void(run: u32) -> [u8; HEADER_LEN] {
        let mut bytes = [0; COPY_LEN];
        bytes[..8].copy_from_slice(&VOID);
        bytes[32..36].copy_from_slice(&run.to_le_bytes());
        twice(sealed(&mut bytes))
    }

    /// Writes the form of a header, one copy after the other: whenever the process ends meanwhile,
    /// one of them can be read.
    pub fn write<M: Memory>(memory: &mut M, header: &[u8; HEADER_LEN]) {
        let (first, second) = header.split_at(COPY_LEN);
        // One is torn when an earlier process ended here: not the other one first.
        let is_torn = memory
            .bytes()
            .first_chunk()
            .is_none_or(|copy| Self::decode_copy(copy) == Beginning::Damaged);
        if is_torn {
            memory.write(0, first);
            memory.write(COPY_LEN, second);
        } else {
            memory.write(COPY_LEN, second);
            memory.write(0, first);
        }
    }

    /// Reads the first bytes of a file.
    pub fn decode(segment: &[u8]) -> Beginning {
        let Some((first, rest)) = segment.split_first_chunk::<COPY_LEN>() else {
            return Beginning::Damaged;
        };
        match (Self::decode_copy(first), rest.first_chunk()) {
            (Beginning::Damaged, Some(second)) => Self::decode_copy(second),
            (first, _) => first,
        }
    }

    fn decode_copy(bytes: &[u8; COPY_LEN]) -> Beginning {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32_from(bytes, at);
        let crc_is_right = crc32c::crc32c(&bytes[..COPY_LEN - 4]) == u32_at(COPY_LEN - 4);
        if !crc_is_right {
            return Beginning::Damaged;
        }
        if bytes[..8] == VOID {
            return Beginning::Unused(u32_at(32));
        }
        if bytes[..8] != MAGIC {
            return Beginning::Damaged;
        }
        if u32_at(8) != FORMAT {
            return Beginning::Version(u32_at(8));
        }
        let Some(log) = LogId::from_tag(bytes[36]) else {
            return Beginning::Damaged;
        };
        Beginning::Segment(Self {
            file: u16_at(12),
            shard: u16_at(14),
            log,
            seq: u64_from(bytes, 16),
            run: u32_at(32),
            size: u64_from(bytes, 24),
        })
    }
}

/// Records of a log about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// First record of a segment: what came before it.
    Begin {
        /// Position of the oldest segment still needed, of every log.
        tails: [u64; LOGS],
        /// Number of the last record, of every log; 0 = it has none.
        last: [u64; LOGS],
    },
    /// What follows in this segment was written by another run; what once was behind it is void.
    Resume {
        /// That run.
        run: u32,
    },
    /// Nothing before this position of the same log is needed any more.
    Freed {
        /// Position of the oldest segment still needed.
        tail: u64,
    },
    /// Says what every record says: up to where everything was durable.
    Checkpoint,
}

/// Kinds of control records.
pub const KIND_BEGIN: u8 = 1;
const KIND_RESUME: u8 = 2;
const KIND_FREED: u8 = 3;
const KIND_CHECKPOINT: u8 = 4;

impl Control {
    /// Kind of the record.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Begin { .. } => KIND_BEGIN,
            Self::Resume { .. } => KIND_RESUME,
            Self::Freed { .. } => KIND_FREED,
            Self::Checkpoint => KIND_CHECKPOINT,
        }
    }

    /// Its payload.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Begin { tails, last } => {
                let numbers = tails.iter().chain(last);
                numbers.flat_map(|n| n.to_le_bytes()).collect()
            }
            Self::Resume { run } => run.to_le_bytes().to_vec(),
            Self::Freed { tail } => tail.to_le_bytes().to_vec(),
            Self::Checkpoint => Vec::new(),
        }
    }

    /// Reads a payload; `None` for records of other kinds and for malformed ones.
    pub fn decode(head: &Head, payload: &[u8]) -> Option<Self> {
        match head.kind {
            KIND_BEGIN if payload.len() == 2 * LOGS * 8 => {
                let at = |i: usize| u64_from(payload, i * 8);
                Some(Self::Begin {
                    tails: std::array::from_fn(at),
                    last: std::array::from_fn(|i| at(LOGS + i)),
                })
            }
            KIND_RESUME if payload.len() == 4 => Some(Self::Resume {
                run: u32_from(payload, 0),
            }),
            KIND_FREED if payload.len() == 8 => Some(Self::Freed {
                tail: u64_from(payload, 0),
            }),
            KIND_CHECKPOINT if payload.is_empty() => Some(Self::Checkpoint),
            _ => None,
        }
    }
}

/// Puts the checksum behind a header.
fn sealed(copy: &mut [u8; COPY_LEN]) -> &[u8; COPY_LEN] {
    let crc = crc32c::crc32c(&copy[..COPY_LEN - 4]);
    copy[COPY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    copy
}

fn twice(copy: &[u8; COPY_LEN]) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..COPY_LEN].copy_from_slice(copy);
    bytes[COPY_LEN..].copy_from_slice(copy);
    bytes
}

fn u64_from(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

fn u32_from(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}
