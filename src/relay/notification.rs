//! Notifications waiting for their subscribers, and who these are (spec: server §6).
//!
//! What waits is only which message came and when; it is boxed when it leaves. A session is given
//! no more than it has said it can take. What changes is noted, so that it can be saved.

mod delivery;
mod saving;
mod scan;

use super::session_queues::SessionQueues;
use super::session_ref::SessionRef;
use super::session_set::SessionSet;
use super::subscription::MAX_PER_SESSION;
use crate::store::{Id, Note, QueueSlot};
use saving::Unsaved;
use scan::Scans;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

pub use saving::NotesWalk;

type Hasher = foldhash::fast::RandomState;

/// Notifications a session may have been given by all shards without having taken them.
pub const WINDOW: usize = 512;

/// Notifications kept for one queue at least; with a greater quota of messages, as many as these.
pub const MIN_PER_QUEUE: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nobody to deliver to.
    Idle,
    /// At this place in the list of what ticks deliver.
    Due(u64),
    /// A subscriber has to take something first; the number is the queue's place in its window.
    /// The same as idle once that window is closed.
    Blocked(SessionRef, u64),
}

#[derive(Debug)]
struct Waiting {
    notifier_id: Id,
    notifications: VecDeque<Note>,
    progress: Progress,
    /// Whether the file of what waits may have any of them.
    saved: bool,
}

/// Queues in the order in which they came; every place is used once.
type Line = BTreeMap<u64, QueueSlot>;

/// What a session was given and has not taken, and the queues that wait for it to do so.
#[derive(Debug, Default)]
struct Window {
    given: usize,
    blocked: Line,
}

/// Limits of what waits.
#[derive(Debug, Clone, Copy)]
pub struct NotificationLimits {
    /// Notifications kept for one queue; one more displaces the oldest.
    pub per_queue: usize,
    /// Notifications given to a session that it has not taken.
    pub window: usize,
}

/// Notifications of one shard's queues.
#[derive(Debug)]
pub struct Notifications {
    limits: NotificationLimits,
    queues: BTreeMap<QueueSlot, Waiting>,
    due: Line,
    next_place: u64,
    /// The running tick delivers what is due before this place.
    tick_end: u64,
    /// Notifications given to sessions since the last tick began.
    tick_given: HashMap<SessionRef, u64, Hasher>,
    count: u64,
    /// Individual subscribers; those of services are known by service. Closed sessions are none,
    /// until they are removed.
    subscribers: HashMap<QueueSlot, SessionRef, Hasher>,
    sessions: SessionQueues,
    windows: HashMap<SessionRef, Window, Hasher>,
    /// What is left of closed windows.
    closed_lines: Vec<Line>,
    scans: Scans,
    unsaved: Unsaved,
}

impl Notifications {
    /// Nothing waits.
    pub fn new(limits: NotificationLimits) -> Self {
        Self {
            limits,
            queues: BTreeMap::new(),
            due: Line::new(),
            next_place: 0,
            tick_end: 0,
            tick_given: HashMap::default(),
            count: 0,
            subscribers: HashMap::default(),
            sessions: SessionQueues::default(),
            windows: HashMap::default(),
            closed_lines: Vec::new(),
            scans: Scans::default(),
            unsaved: Unsaved::default(),
        }
    }

    /// Notifications waiting.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Notifiers subscribed individually; those of closed sessions count until they are forgotten.
    pub fn subscribed(&self) -> u64 {
        self.subscribers.len() as u64
    }

    /// Open sessions that subscribed them.
    pub fn subscribed_sessions(&self) -> &SessionSet {
        self.sessions.open_set()
    }

    /// Sizes of the tables, by name.
    #[cfg(test)]
    pub fn sizes(&self) -> [(&'static str, usize); 7] {
        [
            ("notifications", self.count as usize),
            ("notified queues", self.queues.len()),
            ("due queues", self.due.len()),
            ("notification subscribers", self.subscribers.len()),
            ("notified sessions", self.sessions.sessions()),
            (
                "notification windows",
                self.windows.len() + self.closed_lines.len(),
            ),
            ("notification scans", self.scans.len()),
        ]
    }

    /// Adds one for a queue with a notifier; says whether an older one was dropped for it.
    pub fn add(&mut self, slot: QueueSlot, notifier_id: Id, note: Note) -> bool {
        // What waited before and has ended may still be in the file.
        let saved = self.unsaved.note(notifier_id);
        let waiting = self.queues.entry(slot).or_insert_with(|| Waiting {
            notifier_id,
            notifications: VecDeque::with_capacity(1),
            progress: Progress::Idle,
            saved,
        });
        let full = waiting.notifications.len() >= self.limits.per_queue;
        if full {
            waiting.notifications.pop_front();
        } else {
            self.count += 1;
        }
        waiting.notifications.push_back(note);
        let is_idle = match waiting.progress {
            Progress::Idle => true,
            Progress::Due(_) => false,
            Progress::Blocked(session, place) => !self.is_blocked(session, place),
        };
        if is_idle {
            self.make_due(slot);
        }
        full
    }

    /// Who is subscribed to a queue's notifier individually.
    fn subscriber(&self, slot: QueueSlot) -> Option<SessionRef> {
        let session = self.subscribers.get(&slot).copied();
        session.filter(|session| self.sessions.contains(*session))
    }

    /// Whether a session may subscribe to no more notifiers.
    pub fn is_full(&self, session: SessionRef) -> bool {
        self.sessions.count(session) >= MAX_PER_SESSION
    }

    /// Whether a session is subscribed to a queue's notifier individually.
    pub fn is_subscriber(&self, slot: QueueSlot, session: SessionRef) -> bool {
        self.subscriber(slot) == Some(session)
    }

    /// Makes a session the subscriber of a queue's notifier; returns the one before.
    pub fn subscribe(&mut self, slot: QueueSlot, session: SessionRef) -> Option<SessionRef> {
        let previous = self.unsubscribe(slot);
        self.subscribers.insert(slot, session);
        self.sessions.insert(session, slot);
        self.wake(slot);
        previous
    }

    /// Ends an individual subscription and returns whose it was.
    pub fn unsubscribe(&mut self, slot: QueueSlot) -> Option<SessionRef> {
        let session = self.subscriber(slot);
        self.subscribers.remove(&slot);
        if let Some(session) = session {
            self.sessions.remove(session, slot);
        }
        session
    }

    /// Forgets a queue or its notifier with what waits; returns the individual subscriber.
    pub fn remove_queue(&mut self, slot: QueueSlot) -> Option<SessionRef> {
        self.leave_line(slot);
        if let Some(waiting) = self.queues.remove(&slot) {
            self.count -= waiting.notifications.len() as u64;
            self.unsaved.note_end(&waiting);
        }
        self.unsubscribe(slot)
    }

    /// Closes a session: from now on it is subscribed to nothing.
    /// [`forget_closed`](Self::forget_closed) frees what it leaves.
    pub fn close_session(&mut self, session: SessionRef) {
        self.sessions.close(session);
        self.close_window(session);
    }

    /// Gives up on a session: what it was not given waits for the next subscriber.
    pub fn close_window(&mut self, session: SessionRef) {
        if let Some(window) = self.windows.remove(&session)
            && !window.blocked.is_empty()
        {
            self.closed_lines.push(window.blocked);
        }
    }

    /// Forgets at most `queues` queues of closed sessions and windows; says whether there are more.
    pub fn forget_closed(&mut self, queues: usize) -> bool {
        for _ in 0..queues {
            if let Some((session, slot)) = self.sessions.next_closed() {
                if let Entry::Occupied(entry) = self.subscribers.entry(slot)
                    && *entry.get() == session
                {
                    entry.remove();
                }
            } else if let Some(line) = self.closed_lines.last_mut() {
                line.pop_first();
                if line.is_empty() {
                    self.closed_lines.pop();
                }
            } else {
                return false;
            }
        }
        self.sessions.has_closed() || !self.closed_lines.is_empty()
    }

    /// Whether a session is subscribed to any notifier by itself.
    pub fn has_subscriptions(&self, session: SessionRef) -> bool {
        self.sessions.contains(session)
    }

    /// Notifiers a session is subscribed to by itself.
    pub fn subscriptions_of(&self, session: SessionRef) -> usize {
        self.sessions.count(session)
    }

    /// Delivers what waits for a queue at the next tick.
    pub fn wake(&mut self, slot: QueueSlot) {
        if let Some(progress) = self.progress(slot)
            && !matches!(progress, Progress::Due(_))
        {
            self.leave_line(slot);
            self.make_due(slot);
        }
    }

    fn progress(&self, slot: QueueSlot) -> Option<Progress> {
        self.queues.get(&slot).map(|waiting| waiting.progress)
    }

    fn set_progress(&mut self, slot: QueueSlot, progress: Progress) {
        if let Some(waiting) = self.queues.get_mut(&slot) {
            waiting.progress = progress;
        }
    }

    fn make_due(&mut self, slot: QueueSlot) {
        self.set_progress(slot, Progress::Due(self.next_place));
        self.due.insert(self.next_place, slot);
        self.next_place += 1;
    }

    /// Takes a queue out of the line it stands in, if it does.
    fn leave_line(&mut self, slot: QueueSlot) {
        match self.progress(slot) {
            None | Some(Progress::Idle) => return,
            Some(Progress::Due(place)) => drop(self.due.remove(&place)),
            Some(Progress::Blocked(session, place)) => {
                if let Some(window) = self.windows.get_mut(&session) {
                    window.blocked.remove(&place);
                }
            }
        }
        self.set_progress(slot, Progress::Idle);
    }

    fn is_blocked(&self, session: SessionRef, place: u64) -> bool {
        let window = self.windows.get(&session);
        window.is_some_and(|window| window.blocked.contains_key(&place))
    }

    /// Whether a queue waits for this session to take something.
    fn waits_for(&self, slot: QueueSlot, session: SessionRef) -> bool {
        match self.progress(slot) {
            Some(Progress::Blocked(of, place)) => of == session && self.is_blocked(of, place),
            _ => false,
        }
    }

    /// The next queue that the running tick delivers.
    fn next_due(&mut self) -> Option<QueueSlot> {
        let entry = self.due.first_entry()?;
        if *entry.key() >= self.tick_end {
            return None;
        }
        let slot = entry.remove();
        self.set_progress(slot, Progress::Idle);
        Some(slot)
    }

    /// The queue that has waited longest for a session, which must have room.
    fn next_blocked(&mut self, session: SessionRef) -> Option<QueueSlot> {
        let window = self.windows.get_mut(&session)?;
        if window.given >= self.limits.window {
            return None;
        }
        let (_, slot) = window.blocked.pop_first()?;
        self.set_progress(slot, Progress::Idle);
        Some(slot)
    }

    /// Whether a session was given something it has not taken.
    #[cfg(test)]
    pub fn has_window(&self, session: SessionRef) -> bool {
        self.windows.contains_key(&session)
    }

    /// Queues that wait for a session.
    #[cfg(test)]
    pub fn blocked(&self, session: SessionRef) -> usize {
        self.windows.get(&session).map_or(0, |w| w.blocked.len())
    }

    /// Forgets the window of a session that has taken everything and for which nothing waits.
    fn drop_empty_window(&mut self, session: SessionRef) {
        if let Entry::Occupied(entry) = self.windows.entry(session)
            && entry.get().given == 0
            && entry.get().blocked.is_empty()
        {
            entry.remove();
        }
    }

    /// Takes what a session has room for from a queue that rests.
    fn take(&mut self, slot: QueueSlot, session: SessionRef) -> Vec<Note> {
        let Some(waiting) = self.queues.get_mut(&slot) else {
            return Vec::new();
        };
        let window = self.windows.entry(session).or_default();
        let room = self.limits.window.saturating_sub(window.given);
        let taken: Vec<_> = waiting
            .notifications
            .drain(..room.min(waiting.notifications.len()))
            .collect();
        window.given += taken.len();
        self.count -= taken.len() as u64;
        if waiting.notifications.is_empty() {
            self.unsaved.note_end(waiting);
            self.queues.remove(&slot);
        } else {
            self.unsaved.note(waiting.notifier_id);
            waiting.progress = Progress::Blocked(session, self.next_place);
            window.blocked.insert(self.next_place, slot);
            self.next_place += 1;
        }
        taken
    }

    /// Drops what is older than `before` from some queues, in order; returns where to go on and
    /// how many were dropped.
    pub fn expire(
        &mut self,
        before: i64,
        after: Option<QueueSlot>,
        queues: usize,
    ) -> (Option<QueueSlot>, u64) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut last, mut dropped) = (None, 0);
        let mut emptied = Vec::new();
        for (slot, waiting) in self
            .queues
            .range_mut((start, Bound::Unbounded))
            .take(queues)
        {
            // What has expired is dropped from the file when that is read.
            while waiting.notifications.front().is_some_and(|n| n.at < before) {
                waiting.notifications.pop_front();
                dropped += 1;
            }
            if waiting.notifications.is_empty() {
                emptied.push(*slot);
            }
            last = Some(*slot);
        }
        for slot in emptied {
            self.leave_line(slot);
            if let Some(waiting) = self.queues.remove(&slot) {
                self.unsaved.note_end(&waiting);
            }
        }
        self.count -= dropped;
        (last, dropped)
    }
}
