//! A connection as the rest of its executor sees it.

use crate::control::port::{Backlog, ConnectionRow};
use crate::relay::{Listening, Timestamp};
use crate::session::Session;
use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::{Duration, Instant};

/// A connection as the rest of its executor sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its state; borrowed only within a poll.
    pub session: RefCell<Session>,
    pub(super) waker: RefCell<Option<Waker>>,
    pub(super) stalled_at: Cell<Option<Instant>>,
    pub(super) aborted: Cell<bool>,
    /// Whether it waits for the mesh to clear.
    pub(super) awaits_mesh: Cell<bool>,
    /// When its session began.
    opened: Instant,
    /// When a block was last received.
    pub(super) received: Cell<Instant>,
    /// When a block was last sent.
    pub(super) sent: Cell<Instant>,
}

impl Connection {
    /// A connection of a session that begins now.
    pub(super) fn new(session: Session) -> Self {
        let now = Instant::now();
        Self {
            session: RefCell::new(session),
            waker: RefCell::default(),
            stalled_at: Cell::new(None),
            aborted: Cell::new(false),
            awaits_mesh: Cell::new(false),
            opened: now,
            received: Cell::new(now),
            sent: Cell::new(now),
        }
    }

    /// Notes the task to wake when there is something to send.
    pub fn register(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// Notes whether the peer takes what is sent to it.
    pub fn set_stalled(&self, stalled: bool) {
        match (stalled, self.stalled_at.get()) {
            (true, None) => self.stalled_at.set(Some(Instant::now())),
            (false, Some(_)) => self.stalled_at.set(None),
            _ => {}
        }
    }

    /// Notes that a block was received.
    pub fn note_received(&self) {
        self.received.set(Instant::now());
    }

    /// Notes that a block was sent.
    pub fn note_sent(&self) {
        self.sent.set(Instant::now());
    }

    /// How long no block has been received or sent.
    pub fn idle_for(&self) -> Duration {
        self.received.get().max(self.sent.get()).elapsed()
    }

    /// What an operator sees of it at `now`, apart from what the shards know.
    pub(super) fn row(&self, id: u64, now: Timestamp) -> ConnectionRow {
        let seconds = |at: Instant| {
            let ago = i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX);
            Timestamp {
                nanos: now.nanos.saturating_sub(ago),
            }
            .seconds()
        };
        let session = self.session.borrow();
        ConnectionRow {
            id,
            session_id: session.session_id().to_vec(),
            created: seconds(self.opened),
            received: seconds(self.received.get()),
            sent: seconds(self.sent.get()),
            listening: Listening::default(),
            service: session.holds_service_subscription(),
            backlog: Backlog {
                commands: session.unanswered() as u64,
                outgoing: session.outgoing() as u64,
                deferred: session.deferred() as u64,
            },
        }
    }

    /// Whether the connection is to be dropped without further ado.
    pub fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// Drops the connection without further ado.
    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// Lets the connection's task look again.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
