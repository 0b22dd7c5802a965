//! What the service manager is told, if one listens: `sd_notify(3)` of systemd.

use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

/// How long a manager that takes nothing is waited for.
const SEND_TIME: Duration = Duration::from_secs(1);

/// A service manager that wants to be told.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl ServiceManager {
    /// The one that has started this process, if it says where it listens.
    pub fn from_environment() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        match Self::at(&name) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!("the service manager is told nothing: NOTIFY_SOCKET: {error}");
                None
            }
        }
    }

    /// The one at a path, or with `@` in front at an abstract address.
    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIME))?;
        Ok(Self { socket, address })
    }

    /// Connections are accepted.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// What was changed is being read; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = Duration::try_from(now).unwrap_or_default().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// All is well: a sign of life, and a line for the operator.
    pub fn alive(&self, status: &str) {
        self.tell(&format!("WATCHDOG=1\nSTATUS={status}"));
    }

    fn tell(&self, text: &str) {
        loop {
            match self.socket.send_to_addr(text.as_bytes(), &self.address) {
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return tracing::debug!("the service manager was not told: {error}");
                }
            }
        }
    }
}

/// Within what time the service manager wants a sign of life each time, if it wants any.
pub fn watchdog_limit() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    limit_of(number("WATCHDOG_USEC"), number("WATCHDOG_PID"))
}

/// The limit, microseconds, when it is meant for this process.
fn limit_of(micros: Option<u64>, pid: Option<u64>) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid == u64::from(process::id()));
    let micros = micros.filter(|micros| *micros > 0 && is_meant)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a manager at an address hears.
    fn heard(listener: &UnixDatagram, name: &OsStr, say: impl Fn(&ServiceManager)) -> String {
        say(&ServiceManager::at(name).unwrap());
        let mut text = [0; 256];
        let count = listener.recv(&mut text).unwrap();
        String::from_utf8(text[..count].to_vec()).unwrap()
    }

    #[test]
    fn paths_and_abstract_addresses_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let ready = heard(&listener, path.as_os_str(), ServiceManager::ready);
        assert_eq!(ready, "READY=1");
        let name = format!("@smp-server-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        let alive = |manager: &ServiceManager| manager.alive("3 connections");
        let heard = heard(&listener, OsStr::new(&name), alive);
        assert_eq!(heard, "WATCHDOG=1\nSTATUS=3 connections");
    }

    #[test]
    fn a_manager_that_is_gone_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        drop(UnixDatagram::bind(&path).unwrap());
        ServiceManager::at(path.as_os_str()).unwrap().stopping();
    }

    #[test]
    fn the_watchdog_of_another_process_does_not_count() {
        let own = Some(u64::from(process::id()));
        let limit = Some(Duration::from_secs(30));
        assert_eq!(limit_of(Some(30_000_000), own), limit);
        assert_eq!(limit_of(Some(30_000_000), None), limit);
        assert_eq!(limit_of(Some(30_000_000), Some(1)), None);
        assert_eq!(limit_of(Some(0), own), None);
        assert_eq!(limit_of(None, own), None);
    }
}
