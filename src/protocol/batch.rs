//! The content of a block: up to 255 transmissions (spec: protocol §6.1).

use super::encoding::{DecodeError, Reader};
use super::{BLOCK_SIZE, BLOCK_TAG_SIZE};

/// Most bytes of length prefixes and transmissions in one block, encrypted or not.
pub const MAX_BATCH_BYTES: usize = BLOCK_SIZE - BLOCK_TAG_SIZE - 2 - 1;
/// Most transmissions in one block.
pub const MAX_BATCH_ITEMS: usize = 255;

/// Splits a block's content into transmissions.
///
/// Fails when the count is zero, an item is cut off or bytes are left over: then the whole block
/// is refused (spec: protocol §6.4).
pub fn decode_batch(content: &[u8]) -> Result<Batch<'_>, DecodeError> {
    let mut r = Reader::new(content);
    let count = r.u8()?;
    if count == 0 {
        return Err(DecodeError::Invalid("empty batch"));
    }
    let items = r.clone();
    for _ in 0..count {
        r.bytes16()?;
    }
    r.finish()?;
    Ok(Batch {
        remaining: count,
        items,
    })
}

/// Transmissions of a block whose framing has been checked.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    remaining: u8,
    items: Reader<'a>,
}

impl<'a> Iterator for Batch<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.remaining = self.remaining.checked_sub(1)?;
        self.items.bytes16().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (
            usize::from(self.remaining),
            Some(usize::from(self.remaining)),
        )
    }
}

impl ExactSizeIterator for Batch<'_> {}

/// Builds the content of one block in a caller's vector.
///
/// The vector is used from its current end on, so that block padding or a tag may precede it.
#[derive(Debug)]
pub struct BatchBuilder<'v> {
    out: &'v mut Vec<u8>,
    start: usize,
    count: u8,
}

impl<'v> BatchBuilder<'v> {
    /// Starts an empty batch at the end of `out`.
    pub fn new(out: &'v mut Vec<u8>) -> Self {
        let start = out.len();
        out.push(0);
        Self {
            out,
            start,
            count: 0,
        }
    }

    /// Number of transmissions added.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Most bytes that a further transmission may have, without its length prefix; `None` when
    /// not even an empty one fits.
    pub fn room(&self) -> Option<usize> {
        let used = self.out.len() - self.start - 1;
        if self.len() == MAX_BATCH_ITEMS {
            None
        } else {
            (MAX_BATCH_BYTES - used).checked_sub(2)
        }
    }

    /// Adds what `put` appends when it fits the block, and says whether it did. What does not fit
    /// leaves the batch unchanged.
    pub fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(room) = self.room() else {
            return false;
        };
        let at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        put(self.out);
        let len = self.out.len() - at - 2;
        match u16::try_from(len) {
            Ok(prefix) if len <= room => {
                self.out[at..at + 2].copy_from_slice(&prefix.to_be_bytes());
                self.count += 1;
                self.out[self.start] = self.count;
                true
            }
            _ => {
                self.out.truncate(at);
                false
            }
        }
    }
}
