//! Answers and creations that wait: for the disk, or for another shard.

use super::effect::Effect;
use super::session_ref::{SessionRef, Ticket};
use crate::store::{Lsn, QueueRecord};
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
}

/// A queue whose link id another shard is asked to reserve.
#[derive(Debug)]
pub struct PendingQueue {
    /// Creator.
    pub session: SessionRef,
    /// Its command.
    pub ticket: Ticket,
    /// The queue.
    pub record: QueueRecord,
    /// Keys for the answer.
    pub keys: crate::relay::command::new::AnswerKeys,
    /// Whether the creator subscribes; cleared when it closes meanwhile.
    pub subscribe: bool,
}

/// Queues under creation.
#[derive(Debug, Default)]
pub struct PendingQueues {
    next: u64,
    queues: HashMap<u64, PendingQueue>,
}

impl PendingQueues {
    /// Keeps a queue and returns the number of its reservation.
    pub fn insert(&mut self, queue: PendingQueue) -> u64 {
        self.next += 1;
        self.queues.insert(self.next, queue);
        self.next
    }

    /// Takes a queue back.
    pub fn remove(&mut self, token: u64) -> Option<PendingQueue> {
        self.queues.remove(&token)
    }

    /// The creator is gone: nobody subscribes.
    pub fn session_closed(&mut self, session: SessionRef) {
        for queue in self.queues.values_mut().filter(|q| q.session == session) {
            queue.subscribe = false;
        }
    }
}
