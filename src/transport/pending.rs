//! Decrypted bytes that wait in a connection: part of a block, or blocks not yet asked for.

use crate::protocol::BLOCK_SIZE;

/// A queue of bytes that owns no memory while empty.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// Bytes at the front already consumed.
    start: usize,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to append to.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.bytes.is_empty() && bytes.len() < BLOCK_SIZE {
            self.bytes.reserve_exact(BLOCK_SIZE);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first complete block, if there is one.
    pub(super) fn block(&mut self) -> Option<&mut [u8; BLOCK_SIZE]> {
        let waiting = self.bytes.get_mut(self.start..)?;
        waiting.first_chunk_mut()
    }

    /// The waiting bytes.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or(&[])
    }

    /// Removes `count` bytes from the front; memory goes back once less than a block is left.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        let len = self.len();
        if len == 0 || (len < BLOCK_SIZE && self.start >= BLOCK_SIZE) {
            let mut rest = Self::default();
            rest.append(self.waiting());
            *self = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_out_in_order_and_memory_goes_back() {
        let mut pending = Pending::default();
        pending.append(&[1; BLOCK_SIZE]);
        pending.append(&[2; BLOCK_SIZE + 3]);
        assert_eq!(pending.block().unwrap()[0], 1);
        pending.consume(BLOCK_SIZE);
        assert_eq!(pending.block().unwrap()[BLOCK_SIZE - 1], 2);
        pending.consume(BLOCK_SIZE);
        assert_eq!(pending.waiting(), [2; 3]);
        assert!(pending.block().is_none());
        assert!(pending.bytes.capacity() <= BLOCK_SIZE);
        pending.consume(3);
        assert!(pending.is_empty());
        assert_eq!(pending.bytes.capacity(), 0);
    }
}
