//! Notifications waiting for their subscribers, and who these are (spec: server §6).
//!
//! What waits is only which message came and when; it is boxed when it leaves. A session is given
//! no more than it has said it can take.

mod delivery;

use super::session_ref::SessionRef;
use crate::store::{Id, QueueSlot};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;

type Hasher = foldhash::fast::RandomState;

/// Notifications kept for one queue; one more displaces the oldest. As many as messages wait at
/// most, so a recipient that acknowledges nothing never loses any.
pub const MAX_PER_QUEUE: usize = 128;

/// Notifications a session may have been given by one shard without having taken them.
pub const WINDOW: usize = 512;

/// A message somebody is to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Notification {
    message_id: Id,
    /// Seconds since the Unix epoch.
    at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nobody to deliver to.
    Idle,
    /// In the list of what the next tick delivers.
    Due,
    /// A subscriber has to take something first; the number is the queue's place in its window.
    Blocked(SessionRef, u64),
}

#[derive(Debug)]
struct Waiting {
    notifications: VecDeque<Notification>,
    progress: Progress,
}

/// What a session was given and has not taken, and the queues that wait for it to do so.
#[derive(Debug, Default)]
struct Window {
    given: usize,
    blocked: BTreeMap<u64, QueueSlot>,
    next_place: u64,
}

/// Notifications of one shard's queues.
#[derive(Debug, Default)]
pub struct Notifications {
    queues: BTreeMap<QueueSlot, Waiting>,
    due: VecDeque<QueueSlot>,
    /// Of the due queues, how many the running tick still has to look at.
    in_tick: usize,
    count: u64,
    /// Individual subscribers; those of services are known by service.
    subscribers: HashMap<QueueSlot, SessionRef, Hasher>,
    sessions: HashMap<SessionRef, HashSet<QueueSlot, Hasher>, Hasher>,
    windows: HashMap<SessionRef, Window, Hasher>,
    /// Services that got a subscriber, and how far their queues have been looked through.
    scans: VecDeque<(Id, Option<QueueSlot>)>,
}

impl Notifications {
    /// Notifications waiting.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sizes of the tables, by name.
    #[cfg(test)]
    pub fn sizes(&self) -> [(&'static str, usize); 7] {
        [
            ("notifications", self.count as usize),
            ("notified queues", self.queues.len()),
            ("due queues", self.due.len()),
            ("notification subscribers", self.subscribers.len()),
            ("notified sessions", self.sessions.len()),
            ("notification windows", self.windows.len()),
            ("notification scans", self.scans.len()),
        ]
    }

    /// Adds one for a queue with a notifier; says whether an older one was dropped for it.
    pub fn add(&mut self, slot: QueueSlot, message_id: Id, at: i64) -> bool {
        let waiting = self.queues.entry(slot).or_insert_with(|| Waiting {
            notifications: VecDeque::with_capacity(1),
            progress: Progress::Idle,
        });
        let full = waiting.notifications.len() >= MAX_PER_QUEUE;
        if full {
            waiting.notifications.pop_front();
        } else {
            self.count += 1;
        }
        waiting
            .notifications
            .push_back(Notification { message_id, at });
        if waiting.progress == Progress::Idle {
            waiting.progress = Progress::Due;
            self.due.push_back(slot);
        }
        full
    }

    /// Makes a session the subscriber of a queue's notifier; returns the one before.
    pub fn subscribe(&mut self, slot: QueueSlot, session: SessionRef) -> Option<SessionRef> {
        let previous = self.subscribers.insert(slot, session);
        if let Some(previous) = previous.filter(|p| *p != session) {
            self.forget(previous, slot);
        }
        self.sessions.entry(session).or_default().insert(slot);
        self.wake(slot);
        previous
    }

    /// Ends an individual subscription and returns whose it was.
    pub fn unsubscribe(&mut self, slot: QueueSlot) -> Option<SessionRef> {
        let session = self.subscribers.remove(&slot)?;
        self.forget(session, slot);
        Some(session)
    }

    /// Forgets a queue or its notifier with what waits; returns the individual subscriber.
    pub fn remove_queue(&mut self, slot: QueueSlot) -> Option<SessionRef> {
        self.unblock(slot);
        if let Some(waiting) = self.queues.remove(&slot) {
            self.count -= waiting.notifications.len() as u64;
        }
        self.unsubscribe(slot)
    }

    /// Forgets a closed session.
    pub fn remove_session(&mut self, session: SessionRef) {
        for slot in self.sessions.remove(&session).unwrap_or_default() {
            self.subscribers.remove(&slot);
        }
        self.close_window(session);
    }

    /// Gives up on a session: what it was not given waits for the next subscriber.
    pub fn close_window(&mut self, session: SessionRef) {
        let blocked = self.windows.remove(&session).map(|window| window.blocked);
        for slot in blocked.unwrap_or_default().into_values() {
            // Whoever subscribes next looks again.
            self.set_progress(slot, Progress::Idle);
        }
    }

    /// Whether a session is subscribed to any notifier by itself.
    pub fn has_subscriptions(&self, session: SessionRef) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Delivers what waits for a queue at the next tick.
    pub fn wake(&mut self, slot: QueueSlot) {
        self.unblock(slot);
        if let Some(waiting) = self.queues.get_mut(&slot)
            && waiting.progress != Progress::Due
        {
            waiting.progress = Progress::Due;
            self.due.push_back(slot);
        }
    }

    /// Looks through the queues of a service at the next ticks: it has a subscriber.
    pub fn wake_service(&mut self, service_id: Id) {
        self.scans.retain(|(id, _)| *id != service_id);
        self.scans.push_back((service_id, None));
    }

    /// Begins a tick: what is due now is delivered by [`Shard::deliver_notifications`](super::Shard::deliver_notifications).
    pub fn begin_tick(&mut self) {
        self.in_tick = self.due.len();
    }

    fn progress(&self, slot: QueueSlot) -> Option<Progress> {
        self.queues.get(&slot).map(|waiting| waiting.progress)
    }

    fn set_progress(&mut self, slot: QueueSlot, progress: Progress) {
        if let Some(waiting) = self.queues.get_mut(&slot) {
            waiting.progress = progress;
        }
    }

    /// Takes a queue out of the window it waits for, if it does.
    fn unblock(&mut self, slot: QueueSlot) {
        if let Some(Progress::Blocked(session, place)) = self.progress(slot) {
            if let Some(window) = self.windows.get_mut(&session) {
                window.blocked.remove(&place);
            }
            self.set_progress(slot, Progress::Idle);
        }
    }

    /// The queue that has waited longest for a session, which must have room.
    fn next_blocked(&mut self, session: SessionRef) -> Option<QueueSlot> {
        let window = self.windows.get_mut(&session)?;
        if window.given >= WINDOW {
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

    fn forget(&mut self, session: SessionRef, slot: QueueSlot) {
        if let Entry::Occupied(mut entry) = self.sessions.entry(session) {
            entry.get_mut().remove(&slot);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// Takes what a session has room for from a queue that is due.
    fn take(&mut self, slot: QueueSlot, session: SessionRef) -> Vec<Notification> {
        let Some(waiting) = self.queues.get_mut(&slot) else {
            return Vec::new();
        };
        let window = self.windows.entry(session).or_default();
        let room = WINDOW.saturating_sub(window.given);
        let taken: Vec<_> = waiting
            .notifications
            .drain(..room.min(waiting.notifications.len()))
            .collect();
        window.given += taken.len();
        self.count -= taken.len() as u64;
        if waiting.notifications.is_empty() {
            self.queues.remove(&slot);
        } else {
            waiting.progress = Progress::Blocked(session, window.next_place);
            window.blocked.insert(window.next_place, slot);
            window.next_place += 1;
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
            self.unblock(slot);
            self.queues.remove(&slot);
        }
        self.count -= dropped;
        (last, dropped)
    }
}
