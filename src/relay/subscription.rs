//! Who receives the messages of a queue (spec: server §1.4, §5).
//!
//! A queue has at most one subscriber. A connection that used `GET` has an entry of its own, which
//! is not a subscription. Only queues somebody listens to appear here.

use super::deliveries::{Deliveries, PendingDeliveries};
use super::session_queues::SessionQueues;
use super::session_ref::SessionRef;
use super::session_set::SessionSet;
use crate::store::{Id, QueueSlot};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

type Hasher = foldhash::fast::RandomState;

/// Queues of one shard that a connection may listen to, and notifiers it may subscribe to. Real
/// clients stay far below. Tests must be able to get there.
pub const MAX_PER_SESSION: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };

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
    /// Listeners that are closed sessions are none, until they are removed.
    queues: HashMap<QueueSlot, Listeners, Hasher>,
    subscribed: SessionQueues,
    getting: SessionQueues,
    /// Queues with a subscriber.
    subscribers: u64,
    /// Getters of all queues.
    getters: u64,
    deliveries: Deliveries,
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

impl Listener {
    /// Nothing given to it counts any more.
    fn end_delivery(&self, deliveries: &mut Deliveries) {
        if let Some(delivered) = self.delivered {
            deliveries.end(self.session, delivered.at);
        }
    }
}

impl Listeners {
    fn listener(&mut self, session: SessionRef) -> Option<&mut Listener> {
        let mut all = self.subscriber.iter_mut().chain(&mut self.getters);
        all.find(|listener| listener.session == session)
    }

    fn is_empty(&self) -> bool {
        self.subscriber.is_none() && self.getters.is_empty()
    }
}

impl Subscriptions {
    /// How an open session receives from a queue and what it was given; `None` when it does not.
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
        self.subscribed
            .contains(subscriber.session)
            .then_some((subscriber.session, subscriber.delivered))
    }

    /// Queues a session is subscribed to or fetches from.
    pub fn count_of(&self, session: SessionRef) -> usize {
        self.subscribed.count(session) + self.getting.count(session)
    }

    /// Queues a session is subscribed to, and those it fetches from.
    pub fn counts_of(&self, session: SessionRef) -> (usize, usize) {
        (self.subscribed.count(session), self.getting.count(session))
    }

    /// Whether a session listens to as many queues as it may.
    pub fn is_full(&self, session: SessionRef) -> bool {
        self.count_of(session) >= MAX_PER_SESSION
    }

    /// Whether a session is the subscriber of any queue.
    pub fn is_subscriber(&self, session: SessionRef) -> bool {
        self.subscribed.contains(session)
    }

    /// Makes a session, which must not fetch from the queue, the subscriber and returns another one
    /// that it replaced.
    pub fn subscribe(&mut self, slot: QueueSlot, session: SessionRef) -> Option<SessionRef> {
        let previous = self.subscriber(slot).map(|(previous, _)| previous);
        let subscriber = Listener {
            session,
            delivered: None,
        };
        let listeners = self.queues.entry(slot).or_default();
        match listeners.subscriber.replace(subscriber) {
            Some(before) => before.end_delivery(&mut self.deliveries),
            None => self.subscribers += 1,
        }
        self.subscribed.insert(session, slot);
        let replaced = previous.filter(|p| *p != session)?;
        self.subscribed.remove(replaced, slot);
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
            self.getters += 1;
            self.getting.insert(session, slot);
        }
    }

    /// Notes what a session was given; without an entry nothing happens.
    pub fn set_delivered(
        &mut self,
        slot: QueueSlot,
        session: SessionRef,
        delivered: Option<Delivered>,
    ) {
        if let Some(listener) = self
            .queues
            .get_mut(&slot)
            .and_then(|listeners| listeners.listener(session))
        {
            listener.end_delivery(&mut self.deliveries);
            listener.delivered = delivered;
            if let Some(delivered) = delivered {
                self.deliveries.begin(session, delivered.at);
            }
        }
    }

    /// Forgets a deleted queue and returns its subscriber.
    pub fn remove_queue(&mut self, slot: QueueSlot) -> Option<SessionRef> {
        let subscriber = self.subscriber(slot).map(|(session, _)| session);
        let listeners = self.queues.remove(&slot)?;
        for listener in listeners.subscriber.iter().chain(&listeners.getters) {
            listener.end_delivery(&mut self.deliveries);
        }
        self.subscribers -= u64::from(listeners.subscriber.is_some());
        self.getters -= listeners.getters.len() as u64;
        for getter in listeners.getters {
            self.getting.remove(getter.session, slot);
        }
        if let Some(session) = subscriber {
            self.subscribed.remove(session, slot);
        }
        subscriber
    }

    /// Closes a session: from now on it listens to nothing. [`forget_closed`](Self::forget_closed)
    /// frees what it leaves.
    pub fn close_session(&mut self, session: SessionRef) {
        self.subscribed.close(session);
        self.getting.close(session);
        self.deliveries.close_session(session);
    }

    /// Forgets closed sessions with at most `queues` queues; says whether there are more.
    pub fn forget_closed(&mut self, queues: usize) -> bool {
        for _ in 0..queues {
            let next = self.subscribed.next_closed();
            let Some((session, slot)) = next.or_else(|| self.getting.next_closed()) else {
                return false;
            };
            if let Entry::Occupied(mut entry) = self.queues.entry(slot) {
                let listeners = entry.get_mut();
                if let Some(gone) = listeners.subscriber.take_if(|s| s.session == session) {
                    gone.end_delivery(&mut self.deliveries);
                    self.subscribers -= 1;
                }
                for gone in listeners.getters.extract_if(.., |g| g.session == session) {
                    gone.end_delivery(&mut self.deliveries);
                    self.getters -= 1;
                }
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
        self.subscribed.has_closed() || self.getting.has_closed()
    }

    /// Queues with a subscriber; those of closed sessions count until they are forgotten.
    pub fn subscribed_queues(&self) -> u64 {
        self.subscribers
    }

    /// Open sessions that are the subscriber of a queue.
    pub fn subscribed_sessions(&self) -> &SessionSet {
        self.subscribed.open_set()
    }

    /// Pairs of queues and sessions that fetch from them.
    pub fn getting_queues(&self) -> u64 {
        self.getters
    }

    /// What was given and not acknowledged at `now`, seconds since the Unix epoch.
    pub fn pending_deliveries(&self, now: i64) -> PendingDeliveries {
        self.deliveries.pending(now)
    }

    /// Sizes of what is counted, by name.
    #[cfg(test)]
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = vec![
            ("subscribers", self.subscribers as usize),
            ("getters", self.getters as usize),
            (
                "set of subscribers",
                self.subscribed_sessions().len() as usize,
            ),
        ];
        sizes.extend(self.deliveries.sizes());
        sizes
    }

    /// Number of queues with a subscriber or getter, and of sessions that subscribe or get; closed
    /// ones count until they are forgotten.
    pub fn counts(&self) -> (usize, usize) {
        let sessions = self.subscribed.sessions() + self.getting.sessions();
        (self.queues.len(), sessions)
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
        subs.close_session(session(1));
        assert_eq!(subs.subscriber(QUEUE), None);
        assert_eq!(subs.of(QUEUE, session(2)), Some((Mode::Getting, None)));
        subs.close_session(session(2));
        assert!(!subs.forget_closed(3));
        assert_eq!(subs.counts(), (0, 0));
    }

    #[test]
    fn a_closed_session_is_nobodys_subscriber_while_its_queues_are_forgotten_in_steps() {
        let mut subs = Subscriptions::default();
        let slots: Vec<_> = (0..10).map(QueueSlot).collect();
        for slot in &slots {
            subs.subscribe(*slot, session(1));
        }
        subs.get(QueueSlot(20), session(1));
        subs.close_session(session(1));
        assert!(!subs.is_subscriber(session(1)) && !subs.is_full(session(1)));
        // Others subscribe, to the queue or to the next one in its place; nobody was replaced.
        assert_eq!(subs.remove_queue(slots[1]), None);
        for slot in &slots[..2] {
            assert_eq!(subs.subscriber(*slot), None);
            assert_eq!(subs.subscribe(*slot, session(2)), None);
        }
        for _ in 0..3 {
            assert!(subs.forget_closed(3));
        }
        assert!(!subs.forget_closed(3));
        assert_eq!(subs.counts(), (2, 1));
        for slot in &slots[..2] {
            assert_eq!(subs.subscriber(*slot), Some((session(2), None)));
        }
    }

    #[test]
    fn subscriptions_and_fetching_count_together_and_only_subscribers_are_subscribers() {
        let mut subs = Subscriptions::default();
        let slot = |n: usize| QueueSlot(u32::try_from(n).unwrap());
        for n in 0..MAX_PER_SESSION - 1 {
            subs.get(slot(n), session(1));
        }
        assert!(!subs.is_full(session(1)) && !subs.is_subscriber(session(1)));
        subs.subscribe(slot(MAX_PER_SESSION), session(1));
        assert!(subs.is_full(session(1)) && subs.is_subscriber(session(1)));
        assert!(!subs.is_full(session(2)));
        subs.subscribe(slot(MAX_PER_SESSION), session(2));
        assert!(!subs.is_full(session(1)) && !subs.is_subscriber(session(1)));
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
