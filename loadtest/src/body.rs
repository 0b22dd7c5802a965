//! Message bodies that identify themselves, so that loss, duplication, reordering and corruption
//! are seen by the recipient.
//!
//! ```text
//! run:8 queue:4 sequence:8 time:8 filler checksum:8
//! ```

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// Shortest body that can identify itself.
pub const MIN_LEN: usize = 8 + 4 + 8 + 8 + 8;
/// Longest body of the versions from 11.
pub const MAX_LEN: usize = 16048;

/// What a body says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the queue within the run.
    pub queue: u32,
    /// Number of the message within its queue, from 0.
    pub sequence: u64,
    /// When it should have been sent, in nanoseconds since the start of the run.
    pub time: u64,
}

/// Makes and recognises the bodies of one run.
#[derive(Clone)]
pub struct Bodies {
    run: u64,
    buffer: Vec<u8>,
}

impl Bodies {
    /// Bodies of `len` bytes (at least [`MIN_LEN`]) of the run with this id.
    pub fn new(run: u64, len: usize) -> Self {
        let len = len.max(MIN_LEN);
        let mut buffer = vec![0; len];
        rand::fill(&mut buffer[..]);
        buffer[..8].copy_from_slice(&run.to_be_bytes());
        Self { run, buffer }
    }

    /// The body with this stamp.
    pub fn make(&mut self, stamp: Stamp) -> &[u8] {
        let b = &mut self.buffer;
        b[8..12].copy_from_slice(&stamp.queue.to_be_bytes());
        b[12..20].copy_from_slice(&stamp.sequence.to_be_bytes());
        b[20..28].copy_from_slice(&stamp.time.to_be_bytes());
        let end = b.len() - 8;
        let sum = checksum(&b[..end]);
        b[end..].copy_from_slice(&sum);
        b
    }

    /// The stamp of a body of this run and length; `None` for any other bytes.
    pub fn read(&self, body: &[u8]) -> Option<Stamp> {
        read(self.run, body).filter(|_| body.len() == self.buffer.len())
    }
}

/// The stamp of a body of a run; `None` for any other bytes.
pub fn read(run_id: u64, body: &[u8]) -> Option<Stamp> {
    let (content, sum) = body.split_last_chunk()?;
    let (run, rest) = content.split_first_chunk()?;
    let (queue, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (time, _) = rest.split_first_chunk()?;
    (*sum == checksum(content) && u64::from_be_bytes(*run) == run_id).then_some(Stamp {
        queue: u32::from_be_bytes(*queue),
        sequence: u64::from_be_bytes(*sequence),
        time: u64::from_be_bytes(*time),
    })
}

/// Not cryptographic: it finds accidents. Both ends are in this process.
fn checksum(content: &[u8]) -> [u8; 8] {
    let mut hasher = FixedState::with_seed(0x5eed).build_hasher();
    hasher.write(content);
    hasher.finish().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        queue: 7,
        sequence: 1 << 40,
        time: 123_456_789_012,
    };

    #[test]
    fn reads_its_own_bodies_of_every_length() {
        for len in [0, MIN_LEN, 100, MAX_LEN] {
            let mut bodies = Bodies::new(99, len);
            let body = bodies.make(STAMP).to_vec();
            assert_eq!(body.len(), len.max(MIN_LEN));
            assert_eq!(bodies.read(&body), Some(STAMP));
        }
    }

    #[test]
    fn sees_every_damage() {
        let mut bodies = Bodies::new(99, 200);
        let body = bodies.make(STAMP).to_vec();
        for i in 0..body.len() {
            let mut bad = body.clone();
            bad[i] ^= 1;
            assert_eq!(bodies.read(&bad), None, "byte {i}");
        }
        assert_eq!(bodies.read(&body[..199]), None);
        assert_eq!(bodies.read(&[]), None);
        assert_eq!(Bodies::new(98, 200).read(&body), None);
    }
}
