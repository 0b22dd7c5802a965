//! Writing a backup: it is complete under its name or not there at all.

use super::copy::{self, Content, create};
use super::error::{BackupError, writing};
use super::files::{
    make_directory, open_directory, open_file, open_trusted, parent, sync_directory, with_ending,
};
use super::manifest::{self, BackupFile, BackupManifest, hexadecimal, moment};
use super::{CONFIGURATION, STATE};
use crate::crypto::hash::Sha256;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Ends the name of a backup that is not complete.
pub const PARTIAL: &str = ".partial";
/// Permissions of what a server keeps.
pub const SECRET: u32 = 0o600;

/// What a backup says about itself besides its files.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Number of shards.
    pub shards: u16,
    /// Number of queues.
    pub queues: u64,
    /// Number of messages.
    pub messages: u64,
    /// Whether the configuration is there too.
    pub configuration: bool,
}

/// A backup being written; when it is dropped before its end nothing is left.
#[derive(Debug)]
pub struct BackupWriter {
    target: PathBuf,
    partial: PathBuf,
    /// Locked: no other process takes it for a leftover.
    _lock: File,
    created: OffsetDateTime,
    files: Vec<BackupFile>,
    /// Directories with new names in them.
    directories: BTreeSet<PathBuf>,
    /// Bytes that are still to be written, as far as is known.
    planned: u64,
    has_space: bool,
    is_finished: bool,
}

impl BackupWriter {
    /// Begins a backup in a directory that is not there or empty, outside of the directories that
    /// are copied.
    pub fn begin(target: &Path, sources: &[&Path]) -> Result<Self, BackupError> {
        check_outside(target, sources)?;
        check_target(target)?;
        let partial = with_ending(target, PARTIAL);
        remove_leftover(&partial)?;
        make_directory(&partial).map_err(writing(&partial))?;
        let lock = open_directory(&partial).map_err(writing(&partial))?;
        lock_directory(&lock, &partial)?;
        let directories = [partial.clone()].into();
        Ok(Self {
            target: target.to_owned(),
            partial,
            _lock: lock,
            created: OffsetDateTime::now_utc(),
            files: Vec::new(),
            directories,
            planned: 0,
            has_space: false,
            is_finished: false,
        })
    }

    /// Says how many bytes will be copied; they are looked for before the first is written.
    pub fn plan(&mut self, bytes: u64) {
        self.planned += bytes;
    }

    /// Copies the first `len` bytes of a file, which is to have `size` when it is restored; all of
    /// it when they are not given.
    pub fn copy(
        &mut self,
        source: &Path,
        path: String,
        mode: u32,
        extent: Option<(u64, u64)>,
    ) -> Result<(), BackupError> {
        let from = open_file(source).map_err(writing(source))?;
        self.copy_opened(source, &from, path, mode, extent)
    }

    /// Copies a file of the configuration, which may be a link, with its permissions.
    pub fn copy_configured(&mut self, source: &Path, path: String) -> Result<(), BackupError> {
        let from = open_trusted(source).map_err(writing(source))?;
        let mode = from.metadata().map_err(writing(source))?.mode() & 0o777;
        self.copy_opened(source, &from, path, mode, None)
    }

    fn copy_opened(
        &mut self,
        source: &Path,
        from: &File,
        path: String,
        mode: u32,
        extent: Option<(u64, u64)>,
    ) -> Result<(), BackupError> {
        let (len, size) = match extent {
            Some(extent) => extent,
            None => {
                let len = from.metadata().map_err(writing(source))?.len();
                (len, len)
            }
        };
        let target = self.place(&path)?;
        let to = create(&target).map_err(writing(&target))?;
        let (partial, needed) = (self.partial.clone(), self.planned.max(len));
        let has_space = self.has_space;
        let copied = copy::copy_trimmed(from, &to, len, || match has_space {
            true => Ok(()),
            false => check_space(&partial, needed),
        });
        let content = copied.map_err(|error| match error {
            CopyError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let what = format!("ended before byte {len} while it was copied");
                writing(source)(io::Error::new(error.kind(), what))
            }
            // Which of the two files it was is not told; nearly always it is the one written.
            CopyError::Io(error) => writing(&target)(error),
            CopyError::Backup(error) => error,
        })?;
        self.has_space = true;
        self.planned = self.planned.saturating_sub(len);
        self.note(path, content, size, mode);
        Ok(())
    }

    /// Writes a file of some parts.
    pub fn put(
        &mut self,
        path: String,
        parts: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), BackupError> {
        let target = self.place(&path)?;
        let (mut hash, mut length) = (Sha256::new(), 0);
        let write = || -> io::Result<()> {
            let mut file = create(&target)?;
            for part in parts {
                hash.update(&part);
                length += part.len() as u64;
                file.write_all(&part)?;
            }
            file.sync_all()
        };
        write().map_err(writing(&target))?;
        let sha256 = hash.finish();
        self.note(path, Content { length, sha256 }, length, SECRET);
        Ok(())
    }

    fn note(&mut self, path: String, content: Content, size: u64, mode: u32) {
        self.files.push(BackupFile {
            path,
            length: content.length,
            size,
            mode,
            sha256: hexadecimal(&content.sha256),
        });
    }

    /// Where a file goes; makes the directories on the way.
    fn place(&mut self, path: &str) -> Result<PathBuf, BackupError> {
        let target = self.partial.join(path);
        let mut missing = Vec::new();
        let mut directory = parent(&target);
        while !self.directories.contains(directory) {
            missing.push(directory.to_owned());
            directory = parent(directory);
        }
        for directory in missing.into_iter().rev() {
            make_directory(&directory).map_err(writing(&directory))?;
            self.directories.insert(directory);
        }
        Ok(target)
    }

    /// Writes the list of files and gives the backup its name.
    pub fn finish(mut self, facts: Facts) -> Result<BackupManifest, BackupError> {
        let manifest = BackupManifest {
            version: manifest::VERSION,
            created: moment(self.created),
            relay: env!("CARGO_PKG_VERSION").to_owned(),
            shards: facts.shards,
            queues: facts.queues,
            messages: facts.messages,
            configuration: facts.configuration,
            files: std::mem::take(&mut self.files),
        };
        let path = self.partial.join(manifest::FILE);
        // Everything that is listed is durable before the list is there.
        for directory in self.directories.iter().rev() {
            sync_directory(directory).map_err(writing(directory))?;
        }
        let write = || -> io::Result<()> {
            let mut file = create(&path)?;
            file.write_all(&manifest.encode()?)?;
            file.sync_all()
        };
        write().map_err(writing(&path))?;
        sync_directory(&self.partial).map_err(writing(&self.partial))?;
        fs::rename(&self.partial, &self.target).map_err(writing(&self.target))?;
        self.is_finished = true;
        let around = parent(&self.target);
        sync_directory(around).map_err(writing(around))?;
        Ok(manifest)
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // What stays behind is removed by the next backup and never looks complete.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// What went wrong while a file was copied.
enum CopyError {
    Io(io::Error),
    Backup(BackupError),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Refuses a place that is copied itself, or removed when the store is.
fn check_outside(target: &Path, sources: &[&Path]) -> Result<(), BackupError> {
    // What is there of the way to it may be links.
    let real = target.ancestors().find_map(|there| {
        let below = target.strip_prefix(there).ok()?;
        Some(fs::canonicalize(there).ok()?.join(below))
    });
    for source in sources {
        let is_inside = |path: &Path| {
            path.starts_with(source)
                || fs::canonicalize(source).is_ok_and(|source| path.starts_with(source))
        };
        if is_inside(target) || real.as_deref().is_some_and(is_inside) {
            return Err(BackupError::Inside(target.to_owned()));
        }
    }
    Ok(())
}

/// Whether a backup can be made under a name.
fn check_target(target: &Path) -> Result<(), BackupError> {
    let around = parent(target);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(around).map_err(writing(around))?;
    let found = match fs::symlink_metadata(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(writing(target))?,
    };
    if !found.is_dir() {
        return Err(BackupError::NotDirectory(target.to_owned()));
    }
    let entries = fs::read_dir(target).map_err(writing(target))?;
    if entries.count() > 0 {
        return Err(BackupError::NotEmpty(target.to_owned()));
    }
    let outside = fs::metadata(around).map_err(writing(around))?;
    if outside.dev() != found.dev() {
        return Err(BackupError::MountPoint(target.to_owned()));
    }
    Ok(())
}

/// Removes what a killed process has left, and nothing else.
fn remove_leftover(partial: &Path) -> Result<(), BackupError> {
    let in_the_way = || BackupError::InTheWay(partial.to_owned());
    let directory = match open_directory(partial) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(in_the_way()),
        opened => opened.map_err(writing(partial))?,
    };
    lock_directory(&directory, partial)?;
    for entry in fs::read_dir(partial).map_err(writing(partial))? {
        let name = entry.map_err(writing(partial))?.file_name();
        let own = [STATE, CONFIGURATION, manifest::FILE];
        if !own.iter().any(|own| name == **own) {
            return Err(in_the_way());
        }
    }
    fs::remove_dir_all(partial).map_err(writing(partial))
}

fn lock_directory(directory: &File, path: &Path) -> Result<(), BackupError> {
    match flock(directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(BackupError::Busy(path.to_owned())),
        // A file system without locks does not keep anybody from making a backup.
        _ => Ok(()),
    }
}

fn check_space(directory: &Path, needed: u64) -> Result<(), CopyError> {
    let system = statvfs(directory).map_err(|e| CopyError::Backup(writing(directory)(e.into())))?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if free < needed {
        return Err(CopyError::Backup(BackupError::NoSpace {
            directory: directory.to_owned(),
            needed,
            free,
        }));
    }
    Ok(())
}
