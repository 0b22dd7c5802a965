//! A service manager: what a server tells it.

use super::server::Server;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server tells how it is.
pub struct NotifySocket {
    socket: UnixDatagram,
    /// Its name in the environment.
    name: OsString,
    _dir: Option<TempDir>,
}

impl NotifySocket {
    /// One in the file system.
    pub fn in_a_folder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::of(socket, path.into(), Some(dir))
    }

    /// One in the abstract namespace.
    pub fn nowhere() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("smp-server-notify-{}-{number}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::of(socket, format!("@{name}").into(), None)
    }

    fn of(socket: UnixDatagram, name: OsString, dir: Option<TempDir>) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            name,
            _dir: dir,
        }
    }

    /// Starts a server that tells this.
    pub fn start(&self, dir: TempDir) -> Server {
        Server::start_with(dir, |command| command.env("NOTIFY_SOCKET", &self.name))
    }

    /// Starts a server that is watched.
    pub fn start_watched(&self, dir: TempDir, limit: Duration) -> Server {
        let micros = limit.as_micros().to_string();
        Server::start_with(dir, |command| {
            command
                .env("NOTIFY_SOCKET", &self.name)
                .env("WATCHDOG_USEC", &micros)
        })
    }

    /// What is told next.
    pub fn next(&self) -> String {
        let mut text = [0; 1024];
        let count = loop {
            match self.socket.recv(&mut text) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        str::from_utf8(&text[..count]).unwrap().to_owned()
    }

    /// Waits until this is told, whatever comes before except another of these.
    pub fn expect(&self, wanted: &str) {
        loop {
            match &self.next()[..] {
                told if told.starts_with(wanted) => return,
                told if told.starts_with("WATCHDOG=1") => {}
                other => panic!("{other} instead of {wanted}"),
            }
        }
    }
}
