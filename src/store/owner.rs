//! Who owns files of the state: a command that `root` runs must leave none that the server's user
//! cannot open.

use rustix::process::geteuid;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// Gives `path`, with everything in it, the owner of `like`, if this is `root`. Where that is not
/// permitted, it stays as it is.
pub fn hand_over(like: &Path, path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let given = fs::metadata(like).and_then(|like| give(&like, path));
    if let Err(error) = given {
        let (path, like) = (path.display(), like.display());
        tracing::warn!("cannot give {path} the owner of {like}: {error}");
    }
}

fn give(like: &Metadata, path: &Path) -> io::Result<()> {
    let present = fs::symlink_metadata(path)?;
    if (present.uid(), present.gid()) != (like.uid(), like.gid()) {
        lchown(path, Some(like.uid()), Some(like.gid()))?;
    }
    if present.is_dir() {
        for entry in fs::read_dir(path)? {
            give(like, &entry?.path())?;
        }
    }
    Ok(())
}
