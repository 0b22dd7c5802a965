//! Buffers of an executor, lent to a connection for the length of one poll.

use std::cell::Cell;

use super::stream::BLOCKS_PER_WRITE;
use crate::protocol::BLOCK_SIZE;

/// Longest TLS record of one block: header, content type and tag around the block.
const RECORD_LEN: usize = BLOCK_SIZE + 5 + 1 + 16;
/// Room for handshake flights and alerts beside data.
const CONTROL_LEN: usize = 4096;

/// The buffers. Contents are left over from any connection of this executor.
pub(super) struct Scratch {
    /// Bytes from the socket.
    pub(super) input: Box<[u8]>,
    /// Decrypted bytes; empty when borrowed.
    pub(super) plain: Vec<u8>,
    /// Bytes for the socket; empty when borrowed.
    pub(super) output: Output,
    /// One block before encryption.
    pub(super) block: Vec<u8>,
}

/// A fixed buffer filled from the front.
pub(super) struct Output {
    buffer: Box<[u8]>,
    used: usize,
}

impl Output {
    pub(super) fn spare(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.used..).unwrap_or(&mut [])
    }

    /// Counts `written` bytes of [`Self::spare`] as filled.
    pub(super) fn commit(&mut self, written: usize) {
        self.used = self.buffer.len().min(self.used + written);
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.buffer.get(..self.used).unwrap_or(&[])
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }
}

impl Scratch {
    fn new() -> Self {
        let zeros = |len| vec![0; len].into_boxed_slice();
        Self {
            input: zeros(BLOCKS_PER_WRITE * RECORD_LEN),
            plain: Vec::with_capacity(BLOCKS_PER_WRITE * BLOCK_SIZE),
            output: Output {
                buffer: zeros(BLOCKS_PER_WRITE * RECORD_LEN + CONTROL_LEN),
                used: 0,
            },
            block: Vec::with_capacity(BLOCK_SIZE),
        }
    }

    /// Lends the buffers of this executor to `f`. Asking again meanwhile makes a temporary set, so
    /// `f` may use other connections.
    pub(super) fn with<R>(f: impl FnOnce(&mut Self) -> R) -> R {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| Box::new(Self::new()));
        scratch.plain.clear();
        scratch.output.clear();
        let result = f(&mut scratch);
        SCRATCH.set(Some(scratch));
        result
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}
