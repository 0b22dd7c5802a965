//! Directories and their durability.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Makes a directory that only its owner may enter.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes the names in a directory survive a loss of power.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory that has the entry of a path.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A path with an ending behind its name.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// All regular files below a directory with their paths in it, in order; links are followed.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(directory, Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(directory: &Path, below: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        // A link to a directory could lead anywhere, also back here.
        if entry.file_type()?.is_dir() {
            walk(directory, &path, found)?;
        } else if fs::metadata(entry.path()).is_ok_and(|file| file.is_file()) {
            found.push(path);
        }
    }
    Ok(())
}

/// Who owns something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// The owner of a file or directory.
    pub fn of(path: &Path) -> io::Result<Self> {
        let of = fs::metadata(path)?;
        Ok(Self {
            user: of.uid(),
            group: of.gid(),
        })
    }

    /// Gives something to this owner: `root` may make files for the server's user.
    pub fn take(self, path: &Path) -> io::Result<()> {
        if Self::of(path)? == self {
            return Ok(());
        }
        chown(path, Some(self.user), Some(self.group))
    }
}
