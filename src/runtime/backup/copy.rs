//! Copying files and knowing what was copied.

use crate::crypto::hash::Sha256;
use rustix::fs::{Advice, fadvise, ioctl_ficlone};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes read at a time. They may be secrets.
const CHUNK: usize = 1 << 20;

/// What a file has up to its last byte that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// Reads `len` bytes, gives `sink` those up to the last that is not zero, and says what they were.
fn read_trimmed(
    from: &mut impl Read,
    len: u64,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Content> {
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    let zeros = vec![0; CHUNK];
    let (mut hash, mut length, mut withheld) = (Sha256::new(), 0, 0);
    let mut left = len;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let part = &mut chunk[..wanted];
        from.read_exact(part)?;
        left -= wanted as u64;
        let Some(last) = part.iter().rposition(|byte| *byte != 0) else {
            withheld += wanted as u64;
            continue;
        };
        let mut put = |bytes: &[u8]| {
            hash.update(bytes);
            length += bytes.len() as u64;
            sink(bytes)
        };
        while withheld > 0 {
            let some = usize::try_from(withheld).unwrap_or(CHUNK).min(CHUNK);
            put(&zeros[..some])?;
            withheld -= some as u64;
        }
        put(&part[..=last])?;
        withheld = (wanted - last - 1) as u64;
    }
    Ok(Content {
        length,
        sha256: hash.finish(),
    })
}

/// Makes a new file that only its owner may read.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path)
}

/// Copies the first `len` bytes of a file to a new one, without zeros at the end, durably. Where
/// the file system can, both share their space; where it cannot, `may_fill` is asked first.
pub fn copy_trimmed<E: From<io::Error>>(
    source: &File,
    target: &File,
    len: u64,
    may_fill: impl FnOnce() -> Result<(), E>,
) -> Result<Content, E> {
    let content = if ioctl_ficlone(target, source).is_ok() {
        let content = read_trimmed(&mut &*target, len, |_| Ok(()))?;
        target.set_len(content.length)?;
        content
    } else {
        may_fill()?;
        read_trimmed(&mut &*source, len, |bytes| (&*target).write_all(bytes))?
    };
    target.sync_all()?;
    forget(target);
    Ok(content)
}

/// What a whole file has.
pub fn digest(file: &File, len: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    copy_exactly(file, len, |bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    forget(file);
    Ok(hash.finish())
}

/// Gives `sink` the first `len` bytes of a file.
pub fn copy_exactly(
    mut file: &File,
    len: u64,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    let mut left = len;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact(&mut chunk[..wanted])?;
        sink(&chunk[..wanted])?;
        left -= wanted as u64;
    }
    Ok(())
}

/// Writes zeros at the end of a file, so that it has its space.
pub fn pad(mut file: &File, zeros: u64) -> io::Result<()> {
    let chunk = vec![0; CHUNK];
    let mut left = zeros;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Lets the system use the memory for something else: nobody reads the file again soon.
fn forget(file: &File) {
    // Failing costs nothing but memory.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}
