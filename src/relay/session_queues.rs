//! Which queues each session has to do with. The queues of a closed session may be many: they are
//! given back one by one, whoever looks meanwhile asks whether the session is still there.

use super::session_ref::SessionRef;
use super::session_set::SessionSet;
use crate::store::QueueSlot;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque, hash_set};

type Hasher = foldhash::fast::RandomState;
type Slots = HashSet<QueueSlot, Hasher>;

/// Queues of open sessions, at least one each, and what is left of those of closed ones.
#[derive(Debug, Default)]
pub struct SessionQueues {
    open: HashMap<SessionRef, Slots, Hasher>,
    /// The sessions of `open`.
    set: SessionSet,
    closed: VecDeque<(SessionRef, hash_set::IntoIter<QueueSlot>)>,
}

impl SessionQueues {
    /// Adds a queue of a session, which must not have been closed.
    pub fn insert(&mut self, session: SessionRef, slot: QueueSlot) {
        self.open.entry(session).or_default().insert(slot);
        self.set.insert(session);
    }

    /// Removes a queue of a session.
    pub fn remove(&mut self, session: SessionRef, slot: QueueSlot) {
        if let Entry::Occupied(mut entry) = self.open.entry(session) {
            entry.get_mut().remove(&slot);
            if entry.get().is_empty() {
                entry.remove();
                self.set.remove(session);
            }
        }
    }

    /// Whether a session has any queues and is not closed.
    pub fn contains(&self, session: SessionRef) -> bool {
        self.open.contains_key(&session)
    }

    /// Number of queues of a session.
    pub fn count(&self, session: SessionRef) -> usize {
        self.open.get(&session).map_or(0, HashSet::len)
    }

    /// The open sessions.
    pub fn open_set(&self) -> &SessionSet {
        &self.set
    }

    /// Number of open sessions.
    pub fn sessions(&self) -> usize {
        self.open.len()
    }

    /// Closes a session: [`next_closed`](Self::next_closed) gives its queues back.
    pub fn close(&mut self, session: SessionRef) {
        if let Some(slots) = self.open.remove(&session) {
            self.set.remove(session);
            self.closed.push_back((session, slots.into_iter()));
        }
    }

    /// A queue of a closed session, each once. It may have been removed meanwhile, and its slot
    /// given to another.
    pub fn next_closed(&mut self) -> Option<(SessionRef, QueueSlot)> {
        while let Some((session, slots)) = self.closed.front_mut() {
            if let Some(slot) = slots.next() {
                return Some((*session, slot));
            }
            self.closed.pop_front();
        }
        None
    }

    /// Whether queues of closed sessions are left.
    pub fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }
}
