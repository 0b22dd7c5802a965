//! The socket for the operator on this machine: who may open it, the owner of the state, is an
//! admin.

use crate::control::port::SOCKET_FILE;
use glommio::net::UnixListener;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder that nobody else may enter, where it is made before it has its permissions.
const NURSERY: &str = ".sock";

/// A listening socket, whose file is removed with it.
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Listens in a state directory that no other server uses; replaces what a server left behind
    /// that was killed.
    pub fn bind(state_dir: &Path) -> io::Result<Self> {
        let nursery = state_dir.join(NURSERY);
        remove_nursery(&nursery)?;
        DirBuilder::new().mode(0o700).create(&nursery)?;
        let bound = Self::bind_in(&nursery, state_dir.join(SOCKET_FILE));
        remove_nursery(&nursery)?;
        bound
    }

    fn bind_in(nursery: &Path, path: PathBuf) -> io::Result<Self> {
        let newborn = nursery.join("s");
        let listener = UnixListener::bind(&newborn)?;
        fs::set_permissions(&newborn, Permissions::from_mode(0o600))?;
        fs::rename(&newborn, &path)?;
        Ok(Self { listener, path })
    }

    /// The socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // The next start replaces it as well.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_nursery(nursery: &Path) -> io::Result<()> {
    match fs::remove_dir_all(nursery) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
