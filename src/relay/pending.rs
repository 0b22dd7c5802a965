//! Answers and changes that wait: for the disk, or for another shard.

use super::command::lset::PendingLink;
use super::command::new::PendingQueue;
use super::effect::Effect;
use super::session_ref::SessionRef;
#[cfg(test)]
use super::{Answer, Ticket};
use crate::store::{Id, Lsn};
use std::collections::{HashMap, VecDeque};

/// Effects held until the change behind them is durable, oldest first.
#[derive(Debug, Default)]
pub struct Undurable {
    waiting: VecDeque<(Lsn, Effect)>,
}

impl Undurable {
    /// Emits `effect` at once when everything up to `lsn` is durable, else keeps it. Of an answer
    /// that is kept the session learns that its command has taken effect.
    pub fn hold(&mut self, lsn: Lsn, durable: Lsn, effect: Effect, effects: &mut Vec<Effect>) {
        if lsn <= durable && self.waiting.is_empty() {
            effects.push(effect);
            return;
        }
        if let Effect::Reply {
            session, ticket, ..
        } = effect
        {
            effects.push(Effect::Executed { session, ticket });
        }
        self.waiting.push_back((lsn, effect));
    }

    /// Emits what has become durable.
    pub fn release(&mut self, durable: Lsn, effects: &mut Vec<Effect>) {
        let ready = self.waiting.partition_point(|(lsn, _)| *lsn <= durable);
        effects.extend(self.waiting.drain(..ready).map(|(_, effect)| effect));
    }

    /// Effects held.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The answer held for a command.
    #[cfg(test)]
    pub fn answer(&self, of: SessionRef, to: Ticket) -> Option<&Answer> {
        self.waiting.iter().find_map(|(_, effect)| match effect {
            Effect::Reply {
                session,
                ticket,
                answer,
            } if *session == of && *ticket == to => Some(answer),
            _ => None,
        })
    }
}

/// A change whose link id another shard is asked to reserve.
#[derive(Debug)]
pub enum PendingChange {
    /// A queue under creation.
    Queue(Box<PendingQueue>),
    /// A link for a queue that exists.
    Link(Box<PendingLink>),
}

/// Changes that wait for a reservation. A session has one at a time.
#[derive(Debug, Default)]
pub struct PendingChanges {
    next: u64,
    changes: HashMap<u64, PendingChange>,
}

impl PendingChanges {
    /// Keeps a change and returns the number of its reservation.
    pub fn insert(&mut self, change: PendingChange) -> u64 {
        self.next += 1;
        self.changes.insert(self.next, change);
        self.next
    }

    /// Takes a change back.
    pub fn remove(&mut self, token: u64) -> Option<PendingChange> {
        self.changes.remove(&token)
    }

    /// Whether a change waits for a link id.
    pub fn wants(&self, id: &Id) -> bool {
        self.changes.values().any(|change| match change {
            PendingChange::Queue(queue) => queue.record.link_id == Some(*id),
            PendingChange::Link(link) => link.link_id == *id,
        })
    }

    /// Changes that wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The creator is gone: nobody subscribes.
    pub fn session_closed(&mut self, session: SessionRef) {
        for change in self.changes.values_mut() {
            if let PendingChange::Queue(queue) = change
                && queue.session == session
            {
                queue.subscribe = false;
            }
        }
    }
}
