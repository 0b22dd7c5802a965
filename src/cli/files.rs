//! Files that must not get lost.

use anyhow::Context;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Mode of files with secrets.
pub(super) const SECRET_MODE: u32 = 0o600;
/// Mode of files without.
pub(super) const PUBLIC_MODE: u32 = 0o644;

/// Ends the name of a file that is about to replace another.
pub(super) const NEW: &str = ".new";
/// Ends the name of a file that is being replaced.
pub(super) const OLD: &str = ".old";

/// Reads a file that may be secret.
pub(super) fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let bytes = fs::read(path).map(Zeroizing::new);
    bytes.with_context(|| path.display().to_string())
}

/// Writes a file that must not exist yet, to the disk; its name is durable after
/// [`sync_folder`].
pub(super) fn write_new(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(bytes.as_ref())?;
        file.sync_all()
    })
    .with_context(|| path.display().to_string())
}

/// Makes the names of files in `folder` survive a loss of power.
pub(super) fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| folder.display().to_string())
}

/// Files that belong together, written beside those they are to replace.
///
/// Until [`Replacement::commit`] nothing is changed. Two files cannot be replaced at once: copies
/// of the present ones stay beside them meanwhile, and come back when that fails half-way.
#[derive(Debug)]
pub(super) struct Replacement {
    folder: PathBuf,
    names: Vec<String>,
}

impl Replacement {
    /// Writes files, each with its name, text and mode, beside the present ones, of which copies
    /// are made. Whatever lies there of a replacement that was interrupted is removed.
    pub(super) fn prepare(folder: &Path, files: &[(&str, &str, u32)]) -> anyhow::Result<Self> {
        let this = Self {
            folder: folder.to_owned(),
            names: files.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        };
        this.remove_leftovers()?;
        for (name, text, mode) in files {
            let (present, new) = (this.path(name, ""), this.path(name, NEW));
            write_new(&new, text, *mode)?;
            if present.try_exists().unwrap_or(true) {
                keep_owner(&present, &new)?;
                write_new(&this.path(name, OLD), &*read(&present)?, *mode)?;
                keep_owner(&present, &this.path(name, OLD))?;
            }
        }
        sync_folder(folder)?;
        Ok(this)
    }

    /// Replaces the present files.
    pub(super) fn commit(mut self) -> anyhow::Result<()> {
        for (done, name) in self.names.iter().enumerate() {
            let (present, new) = (self.path(name, ""), self.path(name, NEW));
            if let Err(error) = fs::rename(&new, &present) {
                let replaced = self.names.iter().take(done);
                let failed: Vec<_> = replaced
                    .filter_map(|name| self.put_back(name).err())
                    .collect();
                if let Some(failed) = failed.into_iter().next() {
                    // Nothing may remove what is left of the old files.
                    self.names.clear();
                    return Err(failed.context("the copies of the old files end in .old"));
                }
                return Err(error).with_context(|| present.display().to_string());
            }
        }
        sync_folder(&self.folder)
    }

    fn put_back(&self, name: &str) -> anyhow::Result<()> {
        let present = self.path(name, "");
        let result = match fs::rename(self.path(name, OLD), &present) {
            Err(error) if error.kind() == ErrorKind::NotFound => fs::remove_file(&present),
            result => result,
        };
        result.with_context(|| present.display().to_string())
    }

    fn remove_leftovers(&self) -> anyhow::Result<()> {
        for name in &self.names {
            for end in [NEW, OLD] {
                let path = self.path(name, end);
                remove_if_there(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn path(&self, name: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{name}{end}"))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // What stays behind is removed before the next replacement.
        let _ = self.remove_leftovers();
    }
}

/// Gives a file the owner of another: `root` may replace the files of the server's user.
fn keep_owner(of: &Path, file: &Path) -> anyhow::Result<()> {
    let owner = |path: &Path| fs::metadata(path).map(|file| (file.uid(), file.gid()));
    let change = || -> io::Result<()> {
        let (wanted, present) = (owner(of)?, owner(file)?);
        if wanted == present {
            return Ok(());
        }
        chown(file, Some(wanted.0), Some(wanted.1))
    };
    change().with_context(|| format!("cannot keep the owner of {}", of.display()))
}

/// Removes a file; there may be none.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn contents(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    const BEFORE: [(&str, &str); 2] = [("a", "old a"), ("b", "old b")];
    const FILES: [(&str, &str, u32); 3] = [
        ("a", "new a", SECRET_MODE),
        ("b", "new b", PUBLIC_MODE),
        ("c", "new c", PUBLIC_MODE),
    ];

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn replaces_all_and_leaves_nothing_behind() {
        let folder = folder(&BEFORE);
        fs::write(folder.path().join("a.new"), "of a run that was killed").unwrap();
        let replacement = Replacement::prepare(folder.path(), &FILES).unwrap();
        replacement.commit().unwrap();
        let after = [("a", "new a"), ("b", "new b"), ("c", "new c")];
        assert_eq!(contents(folder.path()), owned(&after));
        let mode = fs::metadata(folder.path().join("a")).unwrap().mode();
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn files_keep_their_owner() {
        let folder = folder(&BEFORE);
        let file = folder.path().join("a");
        if chown(&file, Some(12_345), Some(12_346)).is_err() {
            let _ = writeln!(io::stderr(), "SKIPPED files_keep_their_owner: not root");
            return;
        }
        let replacement = Replacement::prepare(folder.path(), &FILES).unwrap();
        replacement.commit().unwrap();
        let owner = fs::metadata(&file).map(|file| (file.uid(), file.gid()));
        assert_eq!(owner.unwrap(), (12_345, 12_346));
        assert_eq!(fs::read(&file).unwrap(), b"new a");
    }

    #[test]
    fn replaces_none_when_one_cannot_be() {
        for fails in ["b.new", "c.new"] {
            let folder = folder(&BEFORE);
            let replacement = Replacement::prepare(folder.path(), &FILES).unwrap();
            fs::remove_file(folder.path().join(fails)).unwrap();
            assert!(replacement.commit().is_err());
            assert_eq!(contents(folder.path()), owned(&BEFORE), "{fails}");
        }
    }

    #[test]
    fn changes_nothing_before_everything_is_written() {
        let folder = folder(&BEFORE);
        let files = [FILES[0], ("none/b", "x", PUBLIC_MODE)];
        assert!(Replacement::prepare(folder.path(), &files).is_err());
        assert_eq!(contents(folder.path()), owned(&BEFORE));
    }
}
