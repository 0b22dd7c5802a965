//! Sockets of a listener, counted.

use crate::control::PortSockets;
use std::cell::Cell;
use std::rc::Rc;

/// Sockets that one listener has accepted.
#[derive(Debug, Default)]
pub struct Sockets {
    port: u16,
    accepted: Cell<u64>,
    closed: Cell<u64>,
    active: Cell<u64>,
}

/// Counts a socket as open for as long as it lives.
#[derive(Debug)]
pub struct OpenSocket(Rc<Sockets>);

impl Sockets {
    /// None yet, of a listener on `port`.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            ..Self::default()
        }
    }

    /// Counts a socket that was accepted.
    pub fn open(self: &Rc<Self>) -> OpenSocket {
        self.accepted.set(self.accepted.get() + 1);
        self.active.set(self.active.get() + 1);
        OpenSocket(Rc::clone(self))
    }

    /// The numbers now.
    pub fn counts(&self) -> PortSockets {
        PortSockets {
            port: self.port,
            accepted: self.accepted.get(),
            closed: self.closed.get(),
            active: self.active.get(),
        }
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        let sockets = &self.0;
        sockets.closed.set(sockets.closed.get() + 1);
        sockets.active.set(sockets.active.get() - 1);
    }
}
