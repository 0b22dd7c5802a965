//! Reading a backup.

use super::copy::{digest, pad};
use super::error::{RestoreError, restoring};
use super::files::open_followed;
use super::manifest::{BackupFile, BackupManifest, Malformed, hexadecimal};
use super::{copy, manifest::FILE};
use crate::crypto::hash::Sha256;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// A backup that says what it has.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    manifest: BackupManifest,
}

impl Archive {
    /// Finds a backup and reads its list of files.
    pub fn open(path: &Path) -> Result<Self, RestoreError> {
        fs::read_dir(path).map_err(restoring(path))?;
        let file = path.join(FILE);
        let bytes = match read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(RestoreError::Incomplete(path.to_owned()));
            }
            read => read.map_err(restoring(&file))?,
        };
        let manifest = BackupManifest::decode(&bytes).map_err(|error| match error {
            Malformed::Damaged(what) => RestoreError::Damaged {
                file: file.clone(),
                what: what.to_owned(),
            },
            Malformed::Version(version) => RestoreError::Version {
                file: file.clone(),
                version,
            },
        })?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
        })
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &BackupManifest {
        &self.manifest
    }

    /// Reads every file and compares it with the list. `progress` is told the bytes read and the
    /// bytes to be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), RestoreError> {
        let total = self.manifest.files.iter().map(|file| file.length).sum();
        let mut done = 0;
        for file in &self.manifest.files {
            let (path, opened) = self.open_file(file)?;
            let found = digest(&opened, file.length).map_err(restoring(&path))?;
            check_digest(&path, file, &found)?;
            done += file.length;
            progress(done, total);
        }
        Ok(())
    }

    /// Writes a file as it was, with all its space, to a new one; it is compared once more.
    pub fn extract(&self, file: &BackupFile, target: &Path) -> Result<File, RestoreError> {
        let (path, source) = self.open_file(file)?;
        let mut out = copy::create(target).map_err(restoring(target))?;
        let mut hash = Sha256::new();
        let mut refused = None;
        let copied = copy::copy_exactly(&source, file.length, |bytes| {
            hash.update(bytes);
            let written = out.write_all(bytes);
            written.inspect_err(|error| refused = Some(error.kind()))
        });
        copied.map_err(|error| match refused {
            Some(_) => restoring(target)(error),
            None => restoring(&path)(error),
        })?;
        check_digest(&path, file, &hash.finish())?;
        pad(&out, file.size - file.length)
            .and_then(|()| out.sync_all())
            .map_err(restoring(target))?;
        Ok(out)
    }

    fn open_file(&self, file: &BackupFile) -> Result<(PathBuf, File), RestoreError> {
        let path = self.path.join(&file.path);
        let damaged = |what: String| RestoreError::Damaged {
            file: path.clone(),
            what,
        };
        let opened = match open_followed(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(damaged("it is missing".to_owned()));
            }
            opened => opened.map_err(restoring(&path))?,
        };
        let found = opened.metadata().map_err(restoring(&path))?;
        if found.len() != file.length {
            let (found, expected) = (found.len(), file.length);
            return Err(damaged(format!(
                "it has {found} bytes instead of {expected}"
            )));
        }
        Ok((path, opened))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_followed(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_digest(path: &Path, file: &BackupFile, found: &[u8; 32]) -> Result<(), RestoreError> {
    if hexadecimal(found) == file.sha256 {
        return Ok(());
    }
    Err(RestoreError::Damaged {
        file: path.to_owned(),
        what: "its checksum is wrong".to_owned(),
    })
}
