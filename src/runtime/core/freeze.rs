//! Holding a shard still: while the control executor takes a point in time of all shards, and
//! while space for its log is being made that its commands would have needed already.
//!
//! What would reach a frozen shard waits here, in order, and connections read no further commands.
//! When much waits, the rest stays in the mesh, which pushes back on other executors. Answers to
//! what was done before still leave.

use super::{Core, CoreMessage, CoreRouter};
use crate::runtime::control::ControlRequest;
use crate::runtime::mesh::QUEUE_DEPTH;
use crate::store::log::{Cut, LogStore};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a shard stays frozen when nobody thaws it. Thawing takes milliseconds otherwise.
pub const FREEZE_LIMIT: Duration = Duration::from_secs(1);
/// Waiting longer than that for a segment of the log is told.
const SUPPLY_LIMIT: Duration = Duration::from_secs(1);

/// What keeps a shard still.
#[derive(Debug, Default)]
pub(super) struct Freeze {
    since: Cell<Option<Instant>>,
    /// Since when the log has to wait for space.
    starved: Cell<Option<Instant>>,
    /// Who sent what, for the shard.
    held: RefCell<VecDeque<(u16, CoreMessage)>>,
}

impl Freeze {
    /// Whether what comes for the shard has to wait: also behind what still does.
    pub fn holds(&self) -> bool {
        self.is_still() || !self.held.borrow().is_empty()
    }

    /// Whether something is held that may reach the shard now.
    pub fn may_release(&self) -> bool {
        !self.is_still() && !self.held.borrow().is_empty()
    }

    fn is_still(&self) -> bool {
        self.since.get().is_some() || self.starved.get().is_some()
    }

    /// Whether messages of other shards are taken: what is held goes first, and is bounded.
    pub fn takes_more(&self) -> bool {
        let held = self.held.borrow().len();
        held == 0 || self.is_still() && held < QUEUE_DEPTH
    }

    /// Keeps a message for the shard until it is its turn.
    pub fn hold(&self, from: u16, message: CoreMessage) {
        self.held.borrow_mut().push_back((from, message));
    }

    /// The next message that may reach the shard now.
    fn next(&self) -> Option<(u16, CoreMessage)> {
        if self.is_still() {
            return None;
        }
        self.held.borrow_mut().pop_front()
    }
}

impl CoreMessage {
    /// Whether it is for the shard, not for a session or for who looks at the executor.
    pub(super) fn is_for_shard(&self) -> bool {
        match self {
            Self::Commands(_)
            | Self::NotificationsTaken(..)
            | Self::JoinService(..)
            | Self::ServiceClosed(..)
            | Self::RegisterService(_)
            | Self::AskSubscribed(..)
            | Self::Peer(_)
            | Self::SessionClosed(_)
            | Self::Redeliver(..) => true,
            Self::Control(_, request) => matches!(**request, ControlRequest::Order(..)),
            Self::Reply(..)
            | Self::Executed(..)
            | Self::Push(..)
            | Self::Notify(..)
            | Self::ServiceJoined(_)
            | Self::ServiceRegistered(..)
            | Self::Subscribed(..)
            | Self::NothingToRedeliver(_)
            | Self::ControlReply(..)
            | Self::LastWords(_) => false,
        }
    }
}

impl CoreRouter<'_> {
    /// Lets what was held reach the shard while `on` says so, at least one; says whether it did.
    pub(super) fn release_held(&mut self, on: impl Fn() -> bool) -> bool {
        let freeze = &self.core.freeze;
        let mut released = false;
        while let Some((from, message)) = freeze.next() {
            released = true;
            self.deliver(from, message);
            self.carry_out();
            if !on() {
                break;
            }
        }
        if released && !freeze.holds() {
            self.core.resume_congested();
        }
        released
    }
}

impl Core {
    /// Holds the shard still from now on and notes what its store has; `None` when nothing is
    /// kept.
    pub(super) fn freeze(&self) -> Option<Cut> {
        self.freeze.since.set(Some(Instant::now()));
        self.with_log(LogStore::cut)
    }

    /// Lets the shard go on; says whether it was held until now.
    pub(super) fn thaw(&self) -> bool {
        let was_held = self.freeze.since.take().is_some();
        if !self.freeze.holds() {
            self.resume_congested();
        }
        was_held
    }

    /// Holds the shard still while its log waits for space that is being made: refusing what comes
    /// would tell clients of a full disk. Once the disk is known to be full nothing waits.
    pub fn note_supply(&self) {
        let is_waiting = self.with_log(|store| store.awaits_segment()) == Some(true);
        let starved = is_waiting && !self.disk_full.get();
        let since = self.freeze.starved.get();
        let now = starved.then(|| since.unwrap_or_else(Instant::now));
        self.freeze.starved.set(now);
        if let (Some(since), None) = (since, now) {
            let waited = since.elapsed();
            if waited > SUPPLY_LIMIT {
                tracing::warn!(
                    "shard {}: commands waited {} ms for space of the log: the disk is slow",
                    self.index,
                    waited.as_millis()
                );
            }
            if !self.freeze.holds() {
                self.resume_congested();
            }
            self.mesh.rouse();
        }
    }

    /// Lets the shard go on when it was held too long; says whether it was. What was held reaches
    /// it when the executor next [receives](Self::receive).
    pub fn thaw_overdue(&self, limit: Duration) -> bool {
        let since = self.freeze.since.get();
        since.is_some_and(|since| since.elapsed() > limit) && self.thaw()
    }
}
