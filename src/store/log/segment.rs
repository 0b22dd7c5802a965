//! Segments on a file system: preallocated files, mapped into memory.
//!
//! The only `unsafe` of the relay is the mapping of a file. What makes it sound is that nobody else
//! changes these files: the state directory is locked by the process, and files are neither
//! shortened nor written otherwise while they are mapped.
#![allow(unsafe_code)]

use super::disk::{Disk, Memory, SegmentFile};
use memmap2::{Advice, MmapMut, MmapOptions, UncheckedAdvice};
use rustix::fs::{
    Advice as FileAdvice, FallocateFlags, IFlags, StatVfs, fadvise, fallocate, fstatfs, fstatvfs,
    ioctl_getflags,
};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ending of a file that is not complete.
const UNFINISHED: &str = ".new";

/// A directory of a file system.
#[derive(Debug, Clone)]
pub struct Directory {
    path: Arc<Path>,
}

/// A mapped segment.
#[derive(Debug)]
pub struct Mapped {
    map: MmapMut,
    file: MappedFile,
}

/// The file of a mapped segment.
#[derive(Debug, Clone)]
pub struct MappedFile {
    file: Arc<File>,
    path: Arc<Path>,
}

impl Directory {
    /// Uses a directory, which is made if there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir(path)?;
            if let Some(parent) = path.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let directory = Self { path: path.into() };
        for name in directory.list()? {
            if name.ends_with(UNFINISHED) {
                directory.remove(&name)?;
            }
        }
        Ok(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn map(&self, name: &str, file: File) -> io::Result<Mapped> {
        // SAFETY: the file belongs to this process alone, which holds the lock of the state
        // directory; it has all its space and is never shortened, so no access can fail for want
        // of either. The map is the only writer and is borrowed like any other memory.
        let map = unsafe { MmapOptions::new().map_mut(&file)? };
        Ok(Mapped {
            map,
            file: MappedFile {
                file: Arc::new(file),
                path: self.file(name).into(),
            },
        })
    }

    fn fill(&self, unfinished: &Path, size: usize, header: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.mode(0o600).open(unfinished)?;
        // Trying would take away for a moment what others may need.
        let is_small = |space: &StatVfs| {
            space.f_blocks > 0 && space.f_bavail.saturating_mul(space.f_frsize) < size as u64
        };
        if fstatvfs(&file).is_ok_and(|space| is_small(&space)) {
            return Err(Errno::NOSPC.into());
        }
        fallocate(&file, FallocateFlags::empty(), 0, size as u64)?;
        // Written zeros make later commits cheaper than space that was never written.
        let zeros = vec![0; ZEROS_LEN.min(size)];
        (&file).write_all(header)?;
        let mut left = size - header.len();
        while left > 0 {
            let part = left.min(zeros.len());
            (&file).write_all(&zeros[..part])?;
            left -= part;
        }
        file.sync_all()?;
        Ok(file)
    }

    fn write_new(
        &self,
        unfinished: &Path,
        parts: &mut dyn Iterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(unfinished)?;
        for part in parts {
            file.write_all(&part)?;
        }
        file.sync_all()
    }
}

/// Types of file systems that write elsewhere what is overwritten.
const COPYING: [i64; 3] = [
    0x9123_683e, // btrfs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
];

/// Whether writing to a file in a directory may need space although the file has all of its own.
pub fn copies_on_write(directory: &Path) -> bool {
    let Ok(directory) = File::open(directory) else {
        return false;
    };
    let is_copying = fstatfs(&directory).is_ok_and(|system| COPYING.contains(&system.f_type));
    is_copying && !ioctl_getflags(&directory).is_ok_and(|flags| flags.contains(IFlags::NOCOW))
}

/// Bytes of zeros written at a time.
const ZEROS_LEN: usize = 1 << 20;

impl Disk for Directory {
    type Memory = Mapped;
    type File = MappedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Mapped> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.file(name))?;
        // A copy may have come back with holes. Writing to one when the disk is full would end the
        // process; where all space is there, this costs a look.
        match fallocate(
            &file,
            FallocateFlags::empty(),
            0,
            file.metadata()?.len().max(1),
        ) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        self.map(name, file)
    }

    fn create(&self, name: &str, size: usize, header: &[u8]) -> io::Result<Mapped> {
        let unfinished = self.file(&format!("{name}{UNFINISHED}"));
        let made = self.fill(&unfinished, size, header).and_then(|file| {
            fs::rename(&unfinished, self.file(name))?;
            self.sync()?;
            self.map(name, file)
        });
        if made.is_err() {
            // The error that is told is the first one.
            let _ = fs::remove_file(&unfinished);
        }
        let mapped = made?;
        mapped.warm(0);
        Ok(mapped)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn replace(&self, name: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let unfinished = self.file(&format!("{name}{UNFINISHED}"));
        let written = self.write_new(&unfinished, parts);
        if written.is_err() {
            // The error that is told is the first one.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        fs::rename(&unfinished, self.file(name))?;
        self.sync()
    }

    fn append(&self, name: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.file(name))?;
        for part in parts {
            file.write_all(&part)?;
        }
        file.sync_data()
    }

    fn describe(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}

impl Memory for Mapped {
    type File = MappedFile;

    fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.map[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn warm(&self, at: usize) {
        // Page faults later are the only price of a kernel that does not know this.
        let _ = self
            .map
            .advise_range(Advice::PopulateRead, at, self.map.len() - at);
    }

    fn prefetch(&self) {
        // Reading it later is the only price.
        let _ = self.map.advise(Advice::WillNeed);
    }

    fn release(&self) {
        // SAFETY: the map is shared with its file: pages that are dropped from it, changed ones
        // too, stay in the page cache and come back from there with the content they have.
        // Failing costs nothing but memory.
        let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
    }

    fn file(&self) -> MappedFile {
        self.file.clone()
    }
}

impl SegmentFile for MappedFile {
    fn warm(&self) -> io::Result<()> {
        Ok(fadvise(&self.file, 0, None, FileAdvice::WillNeed)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

impl AsFd for MappedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
