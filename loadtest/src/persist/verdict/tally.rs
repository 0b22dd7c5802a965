//! Faults, and what was found in numbers.

use std::fmt;
use std::ops::AddAssign;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something confirmed is not there.
    Lost,
    /// Something is there that was never like that.
    Corrupted,
    /// A message came later than it should.
    Reordered,
    /// A message came twice.
    Repeated,
    /// A part of an operation took effect.
    Half,
}

/// Something wrong with a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: Kind,
    /// What exactly.
    pub what: String,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { kind, what }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Lost => "lost",
            Kind::Corrupted => "corrupted",
            Kind::Reordered => "reordered",
            Kind::Repeated => "repeated",
            Kind::Half => "half done",
        };
        write!(f, "{kind}: {}", self.what)
    }
}

/// What was found, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Queues looked at.
    pub queues: u64,
    /// Facts that confirmed operations made and that hold: a queue, its keys, link, notifier,
    /// status, deletion, each message.
    pub proved: u64,
    /// Confirmed facts that do not hold.
    pub lost: u64,
    /// See [`Kind::Corrupted`].
    pub corrupted: u64,
    /// See [`Kind::Reordered`].
    pub reordered: u64,
    /// See [`Kind::Repeated`].
    pub repeated: u64,
    /// See [`Kind::Half`].
    pub half: u64,
    /// Acknowledged messages that came again in their place: allowed.
    pub reappeared: u64,
    /// Notifications that came and opened.
    pub notified: u64,
    /// Operations that were never confirmed and took effect: allowed.
    pub happened: u64,
    /// Operations that were never confirmed and took none: allowed.
    pub did_not_happen: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.queues += other.queues;
        self.proved += other.proved;
        self.lost += other.lost;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.repeated += other.repeated;
        self.half += other.half;
        self.reappeared += other.reappeared;
        self.notified += other.notified;
        self.happened += other.happened;
        self.did_not_happen += other.did_not_happen;
    }
}

impl Tally {
    /// Counts a fault.
    pub fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Lost => &mut self.lost,
            Kind::Corrupted => &mut self.corrupted,
            Kind::Reordered => &mut self.reordered,
            Kind::Repeated => &mut self.repeated,
            Kind::Half => &mut self.half,
        } += 1;
    }

    /// Number of faults.
    pub fn faults(&self) -> u64 {
        self.lost + self.corrupted + self.reordered + self.repeated + self.half
    }
}
