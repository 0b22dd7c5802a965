//! Bringing the configuration back.

use super::Archive;
use super::copy::create;
use super::error::{RestoreError, restoring};
use super::files::{
    Owner, exists, make_owned, make_parents, open_trusted, remove_all, sync_directory, with_ending,
};
use super::manifest::BackupFile;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Ending of files that are being written.
const NEW: &str = ".new";

/// Replaces files of the configuration one by one; copies of the old ones are made first, in the
/// folder `aside`. On an error no new file is left beside those that are there.
pub fn restore_configuration(
    archive: &Archive,
    config: &Path,
    files: &[(&BackupFile, &Path)],
    aside: &str,
) -> Result<(), RestoreError> {
    if files.is_empty() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(config).map_err(restoring(config))?;
    let aside = config.join(aside);
    let prepared = prepare(archive, config, files, &aside);
    let paths: Vec<_> = files.iter().map(|(_, path)| *path).collect();
    let replaced = prepared.and_then(|directories| replace(config, &paths, &aside, &directories));
    replaced.inspect_err(|_| {
        for path in paths {
            // They have private keys. The error that is told is the first one.
            let _ = remove_all(&with_ending(&config.join(path), NEW));
        }
    })
}

/// Writes the new files and copies the old ones. Returns the directories of the new ones.
fn prepare(
    archive: &Archive,
    config: &Path,
    files: &[(&BackupFile, &Path)],
    aside: &Path,
) -> Result<BTreeSet<PathBuf>, RestoreError> {
    let owner = Owner::of(config).map_err(restoring(config))?;
    let (mut kept, mut directories) = (BTreeSet::new(), [config.to_owned()].into());
    for (file, path) in files {
        let (present, new) = (config.join(path), with_ending(&config.join(path), NEW));
        make_parents(&present, owner, &mut directories)?;
        remove_all(&new).map_err(restoring(&new))?;
        let written = archive.extract(file, &new)?;
        let permissions = Permissions::from_mode(file.mode & 0o777);
        owner
            .take(&written)
            .and_then(|()| written.set_permissions(permissions))
            .and_then(|()| written.sync_all())
            .map_err(restoring(&new))?;
        if exists(&present)? {
            // Copies belong to this process until they are complete.
            let (old, current) = (aside.join(path), Owner::current());
            if kept.insert(aside.to_owned()) {
                make_owned(aside, current).map_err(restoring(aside))?;
            }
            make_parents(&old, current, &mut kept)?;
            keep(&present, &old).map_err(restoring(&present))?;
        }
    }
    if !kept.is_empty() {
        owner.take_all(aside).map_err(restoring(aside))?;
    }
    for directory in &directories {
        sync_directory(directory).map_err(restoring(directory))?;
    }
    Ok(directories)
}

/// Copies a file with its permissions.
fn keep(present: &Path, old: &Path) -> io::Result<()> {
    let mut from = open_trusted(present)?;
    let mut to = create(old)?;
    io::copy(&mut from, &mut to)?;
    let mode = from.metadata()?.permissions().mode() & 0o777;
    to.set_permissions(Permissions::from_mode(mode))?;
    to.sync_all()
}

/// Gives the new files their names.
pub(super) fn replace(
    config: &Path,
    paths: &[&Path],
    aside: &Path,
    directories: &BTreeSet<PathBuf>,
) -> Result<(), RestoreError> {
    let mut replaced = 0;
    let mut rename = || -> Result<(), (PathBuf, io::Error)> {
        for path in paths {
            let present = config.join(path);
            fs::rename(with_ending(&present, NEW), &present).map_err(|error| (present, error))?;
            replaced += 1;
        }
        for directory in directories {
            sync_directory(directory).map_err(|error| (directory.clone(), error))?;
        }
        Ok(())
    };
    rename().map_err(|(file, source)| match replaced {
        0 => RestoreError::Io { file, source },
        _ => RestoreError::Mixed {
            file,
            source,
            replaced,
            files: paths.len(),
            aside: aside.to_owned(),
        },
    })
}
