//! The seam to the file system: one directory of one shard.

use std::fmt;
use std::io;

/// A directory of segments and small files.
pub trait Disk: Clone + fmt::Debug + Send + 'static {
    /// A segment in memory.
    type Memory: Memory<File = Self::File>;
    /// What makes a segment's changes durable.
    type File: SegmentFile;

    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Maps a whole file.
    fn open(&self, name: &str) -> io::Result<Self::Memory>;

    /// Makes a file that begins with a header and has all its space, is durable under its name and
    /// warm in memory. On an error nothing stays behind.
    fn create(&self, name: &str, size: usize, header: &[u8]) -> io::Result<Self::Memory>;

    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Reads a small file; `None` when there is none.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a small file, atomically and durably.
    fn replace(&self, name: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()>;

    /// Adds to a small file, durably; after an error or a crash some of it may be there.
    fn append(&self, name: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()>;

    /// The path of a file, for messages.
    fn describe(&self, name: &str) -> String;
}

/// A segment in memory, shared with its file.
pub trait Memory: fmt::Debug + Send + 'static {
    /// What makes changes durable.
    type File: SegmentFile;

    /// The whole segment.
    fn bytes(&self) -> &[u8];

    /// Writes within the segment.
    fn write(&mut self, at: usize, bytes: &[u8]);

    /// Brings everything from `at` on into memory, if that is possible.
    fn warm(&self, at: usize);

    /// Has everything read into memory soon, without waiting for it.
    fn prefetch(&self);

    /// Lets the system have the memory for something else; what was written stays.
    fn release(&self);

    /// What makes changes durable.
    fn file(&self) -> Self::File;
}

/// What makes a segment's changes durable; may be used from another thread.
pub trait SegmentFile: Clone + fmt::Debug + Send + 'static {
    /// Has all of the segment read, so that accesses some time later wait for no disk.
    fn warm(&self) -> io::Result<()>;

    /// Returns when everything written to the segment before the call is durable.
    fn sync(&self) -> io::Result<()>;

    /// The path, for messages.
    fn describe(&self) -> String;
}
