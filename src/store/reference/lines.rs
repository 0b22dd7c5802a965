//! Lines of a file of any length, one at a time.

use super::text::Malformed;
use std::io::{self, BufRead, Read as _};
use zeroize::Zeroizing;

/// Longest line of a record: a queue has at most 255 keys of 92 characters and link data that fits
/// a block, a service a chain of certificates that does.
pub const MAX_LINE_LEN: usize = 1 << 20;

/// Counts and bounds the lines of a reader. Holds no more than one line, which is wiped in the end.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: Zeroizing<Vec<u8>>,
    line: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines from where the reader stands.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Zeroizing::default(),
            line: 0,
            bytes: 0,
        }
    }

    /// The next line without its end, `None` at the end of the file. A line longer than
    /// [`MAX_LINE_LEN`] is passed over.
    pub fn next_line(&mut self) -> io::Result<Option<Result<&[u8], Malformed>>> {
        const LIMIT: u64 = MAX_LINE_LEN as u64 + 1;
        self.buffer.clear();
        let mut limited = self.reader.by_ref().take(LIMIT);
        let read = limited.read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.bytes += read as u64;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > MAX_LINE_LEN {
            self.bytes += self.reader.skip_until(b'\n')? as u64;
            return Ok(Some(Err(Malformed::TooLong)));
        }
        Ok(Some(Ok(&self.buffer)))
    }

    /// Number of the line last read, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
