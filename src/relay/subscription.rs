//! Who receives the messages of a queue (spec: server §1.4, §5).
//!
//! A queue has at most one subscriber. A connection that used `GET` has an entry of its own, which
//! is not a subscription. Only queues somebody listens to appear here.

use super::session_ref::SessionRef;
use crate::store::{Id, QueueSlot};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

type Hasher = foldhash::fast::RandomState;

/// Queues of one shard that a connection may listen to. Real clients stay far below.
pub const MAX_PER_SESSION: usize = 1 << 20;

/// The message a connection has been given and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Message id.
    pub id: Id,
    /// When, seconds since the Unix epoch.
    pub at: i64,
}

/// How a connection receives from a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Messages are pushed.
    Subscribed,
    /// Messages are fetched with `GET`.
    Getting,
}

/// Subscriptions of one shard's queues.
#[derive(Debug, Default)]
pub struct Subscriptions {
    queues: HashMap<QueueSlot, Listeners, Hasher>,
    sessions: HashMap<SessionRef, HashSet<QueueSlot, Hasher>, Hasher>,
}

#[derive(Debug, Default)]
struct Listeners {
    subscriber: Option<Listener>,
    getters: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    session: SessionRef,
    delivered: Option<Delivered>,
}

impl Listeners {
    fn listener(&mut self, session: SessionRef) -> Option<(Mode, &mut Listener)> {
        match &mut self.subscriber {
            Some(subscriber) if subscriber.session == session => {
                Some((Mode::Subscribed, subscriber))
            }
            _ => self
                .getters
                .iter_mut()
                .find(|g| g.session == session)
                .map(|g| (Mode::Getting, g)),
        }
    }

    fn is_empty(&self) -> bool {
        self.subscriber.is_none() && self.getters.is_empty()
    }
}

impl Subscriptions {
    /// How a session receives from a queue and what it was given; `None` when it does not.
    pub fn of(&self, slot: QueueSlot, session: SessionRef) -> Option<(Mode, Option<Delivered>)> {
        let listeners = self.queues.get(&slot)?;
        match &listeners.subscriber {
            Some(s) if s.session == session => Some((Mode::Subscribed, s.delivered)),
            _ => {
                let getter = listeners.getters.iter().find(|g| g.session == session)?;
                Some((Mode::Getting, getter.delivered))
            }
        }
    }

    /// The subscriber of a queue and what it was given.
    pub fn subscriber(&self, slot: QueueSlot) -> Option<(SessionRef, Option<Delivered>)> {
        let subscriber = self.queues.get(&slot)?.subscriber.as_ref()?;
        Some((subscriber.session, subscriber.delivered))
    }

    /// Whether a session listens to as many queues as it may.
    pub fn is_full(&self, session: SessionRef) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|queues| queues.len() >= MAX_PER_SESSION)
    }

    /// Whether a session is the subscriber of any queue.
    pub fn is_subscriber(&self, session: SessionRef) -> bool {
        self.sessions.get(&session).is_some_and(|queues| {
            let mut subscribers = queues.iter().filter_map(|slot| self.subscriber(*slot));
            subscribers.any(|(subscriber, _)| subscriber == session)
        })
    }

    /// Makes a session the subscriber and returns another one that it replaced.
    pub fn subscribe(&mut self, slot: QueueSlot, session: SessionRef) -> Option<SessionRef> {
        let listeners = self.queues.entry(slot).or_default();
        let previous = listeners.subscriber.replace(Listener {
            session,
            delivered: None,
        });
        self.sessions.entry(session).or_default().insert(slot);
        let replaced = previous.map(|p| p.session).filter(|p| *p != session)?;
        self.forget(replaced, slot);
        Some(replaced)
    }

    /// Notes that a session fetches from a queue; it must not be the subscriber.
    pub fn get(&mut self, slot: QueueSlot, session: SessionRef) {
        let listeners = self.queues.entry(slot).or_default();
        if listeners.listener(session).is_none() {
            listeners.getters.push(Listener {
                session,
                delivered: None,
            });
            self.sessions.entry(session).or_default().insert(slot);
        }
    }

    /// Notes what a session was given; without an entry nothing happens.
    pub fn set_delivered(
        &mut self,
        slot: QueueSlot,
        session: SessionRef,
        delivered: Option<Delivered>,
    ) {
        if let Some((_, listener)) = self
            .queues
            .get_mut(&slot)
            .and_then(|listeners| listeners.listener(session))
        {
            listener.delivered = delivered;
        }
    }

    /// Forgets a deleted queue and returns its subscriber.
    pub fn remove_queue(&mut self, slot: QueueSlot) -> Option<SessionRef> {
        let listeners = self.queues.remove(&slot)?;
        let subscriber = listeners.subscriber.map(|s| s.session);
        for session in listeners
            .getters
            .iter()
            .map(|g| g.session)
            .chain(subscriber)
        {
            self.forget(session, slot);
        }
        subscriber
    }

    /// Forgets a closed session with all its subscriptions.
    pub fn remove_session(&mut self, session: SessionRef) {
        for slot in self.sessions.remove(&session).unwrap_or_default() {
            if let Entry::Occupied(mut entry) = self.queues.entry(slot) {
                let listeners = entry.get_mut();
                if listeners
                    .subscriber
                    .as_ref()
                    .is_some_and(|s| s.session == session)
                {
                    listeners.subscriber = None;
                }
                listeners.getters.retain(|g| g.session != session);
                if listeners.is_empty() {
                    entry.remove();
                }
            }
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

    /// Number of queues with a subscriber or getter, and of sessions that listen.
    pub fn counts(&self) -> (usize, usize) {
        (self.queues.len(), self.sessions.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(slot: u32) -> SessionRef {
        SessionRef {
            core: 0,
            slot,
            generation: 1,
        }
    }

    const QUEUE: QueueSlot = QueueSlot(3);

    #[test]
    fn a_second_subscriber_replaces_the_first() {
        let mut subs = Subscriptions::default();
        assert_eq!(subs.subscribe(QUEUE, session(1)), None);
        assert_eq!(subs.subscribe(QUEUE, session(1)), None);
        assert_eq!(subs.subscribe(QUEUE, session(2)), Some(session(1)));
        assert_eq!(subs.of(QUEUE, session(1)), None);
        assert_eq!(subs.counts(), (1, 1));
    }

    #[test]
    fn a_closed_session_leaves_nothing_behind() {
        let mut subs = Subscriptions::default();
        subs.subscribe(QUEUE, session(1));
        subs.get(QUEUE, session(2));
        subs.remove_session(session(1));
        assert_eq!(subs.subscriber(QUEUE), None);
        assert_eq!(subs.of(QUEUE, session(2)), Some((Mode::Getting, None)));
        subs.remove_session(session(2));
        assert_eq!(subs.counts(), (0, 0));
    }

    #[test]
    fn a_deleted_queue_frees_its_sessions() {
        let mut subs = Subscriptions::default();
        subs.subscribe(QUEUE, session(1));
        subs.get(QUEUE, session(2));
        assert_eq!(subs.remove_queue(QUEUE), Some(session(1)));
        assert_eq!(subs.counts(), (0, 0));
    }
}
