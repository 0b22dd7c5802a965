//! What an operator does to a queue (spec: server §10, operations §3).

use super::command::del;
use super::effect::Effect;
use super::shard::Shard;
use crate::protocol::error::BlockingInfo;
use crate::protocol::response::QueueMode;
use crate::protocol::{ErrorType, Response};
use crate::store::{
    Id, IdKind, Location, Lsn, QueueChange, QueueSlot, QueueStatus, Store, StoreError,
};

/// Who waits for the answer to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorCall {
    /// Core with the operator's connection.
    pub core: u16,
    /// Its number for this order.
    pub token: u64,
}

/// The answer to an order about a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorAnswer {
    /// Carried out, or nothing had to be: what the queue was before says which.
    Was(QueueStatus),
    /// Deleted, with so many messages.
    Deleted(usize),
    /// What the queue is.
    Is(QueueState),
    /// The id leads to another shard, which must be asked.
    Elsewhere(u16),
    /// There is no such queue.
    Unknown,
    /// The change could not be stored.
    Failed(StoreError),
    /// What had happened before is durable.
    Settled,
}

/// What an operator is told about a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Whether it accepts messages.
    pub status: QueueStatus,
    /// Day of last use, days since the Unix epoch.
    pub updated_day: u32,
    /// What it is for, if its creator said.
    pub mode: Option<QueueMode>,
}

impl<S: Store> Shard<S> {
    /// Blocks the queue with a sender id or, when none has it, a link id, whatever its status, and
    /// tells its subscriber. The answer leaves once the change is durable.
    pub fn block(
        &mut self,
        call: OperatorCall,
        id: &Id,
        info: BlockingInfo,
        effects: &mut Vec<Effect>,
    ) {
        let (lsn, answer) = self.with_operators_queue(id, |shard, slot| {
            let record = shard.store.queue(slot);
            let status = QueueStatus::Blocked(info.clone());
            if record.status == status {
                // It may have been blocked a moment ago.
                return Ok((shard.store.last(), OperatorAnswer::Was(record.status)));
            }
            let lsn = shard.store.update(slot, QueueChange::Status(status))?;
            shard.counters.queues_blocked += u64::from(record.status == QueueStatus::Active);
            if let Some((session, _)) = shard.subscriptions.subscriber(slot) {
                effects.push(Effect::Push {
                    session,
                    entity: record.recipient_id,
                    event: Response::Err(ErrorType::Blocked(info)),
                });
            }
            Ok((lsn, OperatorAnswer::Was(record.status)))
        });
        self.answer_operator(call, lsn, answer, effects);
    }

    /// Makes a blocked queue active again; another status stays. The answer leaves once the change
    /// is durable.
    pub fn unblock(&mut self, call: OperatorCall, id: &Id, effects: &mut Vec<Effect>) {
        let (lsn, answer) = self.with_operators_queue(id, |shard, slot| {
            let status = shard.store.queue(slot).status;
            let lsn = match status {
                QueueStatus::Blocked(_) => shard
                    .store
                    .update(slot, QueueChange::Status(QueueStatus::Active))?,
                // It may have been unblocked a moment ago.
                QueueStatus::Active | QueueStatus::Off => shard.store.last(),
            };
            Ok((lsn, OperatorAnswer::Was(status)))
        });
        self.answer_operator(call, lsn, answer, effects);
    }

    /// Deletes a queue with its messages. Nobody is told: whoever is subscribed hears nothing more
    /// of it. The answer leaves once the change is durable.
    pub fn delete(&mut self, call: OperatorCall, id: &Id, effects: &mut Vec<Effect>) {
        let (mut link_id, mut imported) = (None, Vec::new());
        let (lsn, answer) = self.with_operators_queue(id, |shard, slot| {
            let messages = shard.store.message_count(slot);
            let (record, lsn, _) = del::remove(shard, slot)?;
            shard.notifications.remove_queue(slot);
            link_id = record.link_id;
            imported.extend(del::imported(&record));
            Ok((lsn, OperatorAnswer::Deleted(messages)))
        });
        if let Some(link_id) = link_id {
            self.release_link(&link_id, lsn, None, effects);
        }
        if let Some(lsn) = lsn {
            self.release_imported(imported, lsn, effects);
        }
        self.answer_operator(call, lsn, answer, effects);
    }

    /// Tells what a queue is; nothing changes.
    pub fn queue_state(&mut self, call: OperatorCall, id: &Id, effects: &mut Vec<Effect>) {
        let (lsn, answer) = self.with_operators_queue(id, |shard, slot| {
            let record = shard.store.queue(slot);
            let state = QueueState {
                status: record.status,
                updated_day: record.updated_day,
                mode: record.mode,
            };
            // What is told may be a change on its way to the disk.
            Ok((shard.store.last(), OperatorAnswer::Is(state)))
        });
        self.answer_operator(call, lsn, answer, effects);
    }

    /// Answers once everything that has happened so far is durable.
    pub fn settle(&mut self, call: OperatorCall, effects: &mut Vec<Effect>) {
        let last = self.store.last();
        self.answer_operator(call, Some(last), OperatorAnswer::Settled, effects);
    }

    fn with_operators_queue(
        &mut self,
        id: &Id,
        work: impl FnOnce(&mut Self, QueueSlot) -> Result<(Lsn, OperatorAnswer), StoreError>,
    ) -> (Option<Lsn>, OperatorAnswer) {
        let location = self.store.find(IdKind::Sender, id);
        let slot = match location.or_else(|| self.store.find(IdKind::Link, id)) {
            None => return (None, OperatorAnswer::Unknown),
            Some(Location::Shard(shard)) => return (None, OperatorAnswer::Elsewhere(shard)),
            Some(Location::Queue(slot)) => slot,
        };
        match work(self, slot) {
            Ok((lsn, answer)) => (Some(lsn), answer),
            Err(error) => (None, OperatorAnswer::Failed(error)),
        }
    }

    fn answer_operator(
        &mut self,
        call: OperatorCall,
        lsn: Option<Lsn>,
        answer: OperatorAnswer,
        effects: &mut Vec<Effect>,
    ) {
        self.emit(lsn, Effect::OperatorAnswered { call, answer }, effects);
    }
}
