//! What the control executor asks of this one.

use super::{Core, CoreMessage, CoreRouter, Sockets, now};
use crate::control::{Load, ShardSnapshot};
use crate::relay::{OperatorCall, SessionRef, Timestamp};
use crate::runtime::control::{BackupStep, ConnectionPage, ControlReply, ControlRequest, Order};
use crate::runtime::save::SaveRequests;
use crate::store::AnyStore;
use crate::store::log::{LogStore, NotesBatch};
use std::rc::Rc;

/// Queues of which notifications are read for a backup before connections get a turn.
const QUEUES_PER_STEP: usize = 64;

/// Places of the table of sessions that are looked at for one request.
const PLACES_PER_PAGE: u32 = 256;

impl CoreRouter<'_> {
    /// Does what the control executor wants; some answers follow when a change is durable.
    pub(super) fn control_request(&mut self, call: OperatorCall, request: ControlRequest) {
        let core = self.core;
        match request {
            ControlRequest::Snapshot => {
                let snapshot = Box::new(core.snapshot());
                core.reply_to(call, ControlReply::Snapshot(snapshot));
            }
            ControlRequest::Order(id, order) => {
                let (mut shard, effects) = (core.shard.borrow_mut(), &mut self.effects);
                match order {
                    Order::Block(info) => shard.block(call, &id, info, effects),
                    Order::Unblock => shard.unblock(call, &id, effects),
                    Order::Delete => shard.delete(call, &id, effects),
                    Order::Status => shard.queue_state(call, &id, effects),
                }
            }
            ControlRequest::Backup(step) => core.reply_to(call, core.back_up(step)),
            ControlRequest::Connections(from) => {
                let page = core.connection_page(from, self.now);
                core.reply_to(call, ControlReply::Connections(page));
            }
            ControlRequest::Listening(sessions) => {
                let shard = core.shard.borrow();
                let listening = sessions.iter().map(|session| shard.listening(*session));
                core.reply_to(call, ControlReply::Listening(listening.collect()));
            }
            ControlRequest::Save => core.save_requests.add(call),
            ControlRequest::Use(credential) => {
                core.use_credential(credential);
                core.reply_to(call, ControlReply::Used);
            }
        }
    }
}

impl Core {
    /// Does this shard's part of a backup.
    fn back_up(&self, step: BackupStep) -> ControlReply {
        match step {
            BackupStep::Days(mut walk) => {
                let more = self.with_log(|log| log.read_days(&mut walk));
                ControlReply::Days(walk, more == Some(true))
            }
            BackupStep::Notes(walk) => {
                let mut shard = self.shard.borrow_mut();
                let mut walk = walk.unwrap_or_else(|| shard.begin_copying_notes());
                let mut batch = NotesBatch::default();
                let more = shard.save_notes(&mut walk, QUEUES_PER_STEP, |notifier_id, notes| {
                    batch.put(notifier_id, notes);
                });
                ControlReply::Notes(batch, more.then_some(walk))
            }
            BackupStep::Freeze => ControlReply::Frozen(self.freeze()),
            BackupStep::Thaw => ControlReply::Thawed(self.thaw()),
            BackupStep::End => {
                self.thaw();
                self.with_log(LogStore::end_cut);
                self.store_watch.wake();
                ControlReply::Ended
            }
        }
    }

    /// Answers a request of the control executor.
    pub fn reply_to(&self, call: OperatorCall, reply: ControlReply) {
        let message = CoreMessage::ControlReply(call.token, Box::new(reply));
        self.mesh.send(call.core, message);
    }

    /// The connections in some places of the table.
    fn connection_page(&self, from: u32, now: Timestamp) -> ConnectionPage {
        let sessions = self.sessions.borrow();
        let end = from.saturating_add(PLACES_PER_PAGE);
        let shards = u64::from(self.partitioner.shards());
        let rows = (from..end).filter_map(|slot| {
            let (generation, connection) = sessions.table.get(slot as usize)?;
            let reference = SessionRef {
                core: self.index,
                slot,
                generation: *generation,
            };
            let id = u64::from(*generation) * shards + u64::from(self.index);
            Some((reference, connection.row(id, now)))
        });
        ConnectionPage {
            rows: rows.collect(),
            next: ((end as usize) < sessions.table.capacity()).then_some(end),
        }
    }

    /// Requests to save everything.
    pub fn save_requests(&self) -> &SaveRequests {
        &self.save_requests
    }

    /// Counts the sockets of a listener from now on.
    pub fn count_sockets(&self, port: u16) -> Rc<Sockets> {
        let sockets = Rc::new(Sockets::new(port));
        self.sockets.borrow_mut().push(Rc::clone(&sockets));
        sockets
    }

    /// Everything an operator may want to know of this executor.
    pub fn snapshot(&self) -> ShardSnapshot {
        let counters = self.counters();
        let seconds = now().seconds();
        let mut shard = self.shard.borrow_mut();
        let (day, mut durable_active) = shard.activity().durable(seconds);
        if shard.store_mut().log().is_none() {
            // Its queues do not come back.
            durable_active = shard.activity().current(seconds);
        }
        ShardSnapshot {
            shard: self.index,
            counters,
            active: shard.activity().current(seconds),
            finished: shard.activity().finished(seconds),
            ack_times: shard.ack_times().clone(),
            totals: shard.totals(),
            waiting_notifications: shard.waiting_notifications(),
            message_subscriptions: shard.message_subscriptions(),
            notification_subscriptions: shard.notification_subscriptions(),
            getting: shard.getting_queues(),
            deliveries: shard.pending_deliveries(seconds),
            sessions: self.session_count() as u64,
            handshakes: self.handshakes.get() as u64,
            steps: self.steps.times(),
            sockets: self.sockets.borrow().iter().map(|s| s.counts()).collect(),
            load: self.load(shard.store_mut()),
            day,
            durable_active,
            commits: self.commits.borrow().clone(),
            disk_full: self.disk_full.get(),
        }
    }

    fn load(&self, store: &mut AnyStore) -> Load {
        let (arrived, waiting) = self.mesh.depth();
        Load {
            mesh_arrived: arrived as u64,
            mesh_waiting: waiting as u64,
            store: store.log().map(|log| log.footprint()).unwrap_or_default(),
        }
    }

    /// Tells the control executor that this shard has stopped.
    pub fn say_last_words(&self) {
        let snapshot = Box::new(self.snapshot());
        let control = self.partitioner.shards();
        self.mesh.send(control, CoreMessage::LastWords(snapshot));
        self.mesh.announce();
    }
}
