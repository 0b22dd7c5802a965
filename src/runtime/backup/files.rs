//! Directories and their durability.

use super::error::{RestoreError, restoring};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::process::{getegid, geteuid};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Makes a directory that only its owner may enter.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes the names in a directory survive a loss of power.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    open(path, OFlags::DIRECTORY)?.sync_all()
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
        fs::metadata(path).map(|of| Self::from(&of))
    }

    /// The owner of what this process makes.
    pub fn current() -> Self {
        Self {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
        }
    }

    /// Gives an open file or directory to this owner: `root` may make files for the server's user.
    pub fn take(self, file: &File) -> io::Result<()> {
        if Self::from(&file.metadata()?) == self {
            return Ok(());
        }
        fchown(file, Some(self.user), Some(self.group))
    }

    /// Gives a directory of this process to this owner, durably, with everything in it; itself
    /// last, so that nobody else changes what is in it meanwhile.
    pub fn take_all(self, path: &Path) -> io::Result<()> {
        self.take_tree(&open_own_directory(path)?)
    }

    fn take_tree(self, directory: &File) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(openat(directory, name, flags, Mode::empty())?);
            if file.metadata()?.is_dir() {
                self.take_tree(&file)?;
            } else {
                self.take(&file)?;
                file.sync_all()?;
            }
        }
        self.take(directory)?;
        directory.sync_all()
    }
}

impl From<&Metadata> for Owner {
    fn from(of: &Metadata) -> Self {
        Self {
            user: of.uid(),
            group: of.gid(),
        }
    }
}

/// Makes a directory for an owner.
pub fn make_owned(path: &Path, owner: Owner) -> io::Result<()> {
    make_directory(path)?;
    owner.take(&open_own_directory(path)?)
}

/// Whether there is a directory; anything else, a link too, is an error.
pub fn has_directory(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Ok(found) if !found.is_dir() => Err(ErrorKind::NotADirectory.into()),
        found => found.map(|_| true),
    }
}

/// Opens a directory, no link to one.
pub fn open_directory(path: &Path) -> io::Result<File> {
    open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// Opens a directory that this process has made. Whoever may write around it may have put another
/// there.
fn open_own_directory(path: &Path) -> io::Result<File> {
    let directory = open_directory(path)?;
    if directory.metadata()?.uid() != geteuid().as_raw() {
        return Err(io::Error::other("another user has put something there"));
    }
    Ok(directory)
}

/// Opens a regular file, no link to one.
pub fn open_file(path: &Path) -> io::Result<File> {
    open_regular(path, OFlags::NOFOLLOW)
}

/// Opens a regular file, or what a link leads to.
pub fn open_followed(path: &Path) -> io::Result<File> {
    open_regular(path, OFlags::empty())
}

/// Opens a regular file, or what a link leads to, if who made the link may have it: it was this
/// user, or the file is theirs. Otherwise the server's user could have `root` read any file.
pub fn open_trusted(path: &Path) -> io::Result<File> {
    let file = open_followed(path)?;
    let (found, opened) = (fs::symlink_metadata(path)?, file.metadata()?);
    let leads_to = fs::metadata(path)?;
    let is_same = (leads_to.dev(), leads_to.ino()) == (opened.dev(), opened.ino());
    let may = !found.is_symlink() || [geteuid().as_raw(), opened.uid()].contains(&found.uid());
    if is_same && may {
        return Ok(file);
    }
    Err(io::Error::other(
        "it is a link that another user made to a file of somebody else: make the link yourself or \
         remove it",
    ))
}

fn open_regular(path: &Path, flags: OFlags) -> io::Result<File> {
    // A pipe would be waited for.
    let file = open(path, flags | OFlags::NONBLOCK)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Makes the directories of a file below one that was made already; none may be a link.
pub fn make_parents(
    file: &Path,
    owner: Owner,
    made: &mut BTreeSet<PathBuf>,
) -> Result<(), RestoreError> {
    let mut missing = Vec::new();
    let mut directory = parent(file);
    while !made.contains(directory) {
        missing.push(directory.to_owned());
        directory = parent(directory);
    }
    for directory in missing.into_iter().rev() {
        let ready = has_directory(&directory).and_then(|there| match there {
            true => Ok(()),
            false => make_owned(&directory, owner),
        });
        ready.map_err(restoring(&directory))?;
        made.insert(directory);
    }
    Ok(())
}

/// Whether there is something.
pub fn exists(path: &Path) -> Result<bool, RestoreError> {
    path.try_exists().map_err(restoring(path))
}

/// Removes a file or directory, if it is there.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
