//! One server per state directory.
//!
//! Every listener shares its ports, so a second server would not fail to bind: it would take
//! half of the connections and write the same files.

use super::backup;
use crate::store::hand_over;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The file that is locked; it stays behind, empty.
pub const LOCK_FILE: &str = "smp-server.lock";

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("another smp-server uses {}, stop it first", state.display())]
    Busy {
        /// The state directory.
        state: PathBuf,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock {}: {source}", file.display())]
    Io {
        /// The lock file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A restore was interrupted and cannot be ended.
    #[error("cannot end an interrupted restore: {}: {source}", file.display())]
    Restore {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The exclusive use of a state directory, until dropped or the process ends.
#[derive(Debug)]
pub struct StateLock {
    /// The lock belongs to the open file.
    _file: File,
}

impl StateLock {
    /// Takes the lock of an existing state directory, without waiting. A restore that was
    /// interrupted is ended first.
    pub fn acquire(state: &Path) -> Result<Self, LockError> {
        let path = state.join(LOCK_FILE);
        let failed = |source| LockError::Io {
            file: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .custom_flags(no_link())
            .open(&path)
            .map_err(failed)?;
        hand_over(state, &path);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                backup::complete(state)
                    .map_err(|(file, source)| LockError::Restore { file, source })?;
                Ok(Self { _file: file })
            }
            Err(Errno::WOULDBLOCK) => Err(LockError::Busy {
                state: state.to_owned(),
            }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Whether somebody has the lock of a state directory. A server that starts at this very moment is
/// told that the directory is in use.
pub fn is_held(state: &Path) -> bool {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(no_link());
    options.open(state.join(LOCK_FILE)).is_ok_and(|file| {
        let taken = flock(&file, FlockOperation::NonBlockingLockShared);
        taken == Err(Errno::WOULDBLOCK)
    })
}

/// A link would have `root` make a file anywhere, and a pipe would be waited for.
fn no_link() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_server_is_refused_until_the_first_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let first = StateLock::acquire(state.path()).unwrap();
        let second = StateLock::acquire(state.path()).unwrap_err();
        assert!(matches!(second, LockError::Busy { .. }));
        assert!(second.to_string().contains("another smp-server"));
        assert!(is_held(state.path()));
        drop(first);
        assert!(!is_held(state.path()) && !is_held(&state.path().join("none")));
        assert!(StateLock::acquire(state.path()).is_ok());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let state = tempfile::tempdir().unwrap();
        let error = StateLock::acquire(&state.path().join("none")).unwrap_err();
        assert!(
            error.to_string().contains("none/smp-server.lock"),
            "{error}"
        );
    }

    #[test]
    fn no_file_is_made_where_a_link_leads() {
        let state = tempfile::tempdir().unwrap();
        let elsewhere = state.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, state.path().join(LOCK_FILE)).unwrap();
        let error = StateLock::acquire(state.path()).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert!(!elsewhere.exists());
    }
}
