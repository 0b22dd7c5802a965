//! Between sessions and shards, wherever they are.

use super::{Core, CoreMessage, RemoteCommands};
use crate::config::values::QueuePlacement;
use crate::crypto::hash;
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, Response};
use crate::relay::{
    Answer, Effect, Request, ServiceRegistration, SessionContext, SessionRef, Ticket, Timestamp,
    service_home,
};
use crate::runtime::control::ControlReply;
use crate::session::{BatchKind, FlushDue, Router};
use crate::store::Id;
use rand::Rng;
use std::sync::Arc;

/// Carries commands to shards and answers to sessions during one step of an executor.
#[derive(Debug)]
pub struct CoreRouter<'a> {
    pub(super) core: &'a Core,
    pub(super) now: Timestamp,
    pub(super) effects: Vec<Effect>,
}

impl CoreRouter<'_> {
    /// Handles a message of an executor, or keeps it while it must not reach the shard.
    pub(super) fn take(&mut self, from: u16, message: CoreMessage) {
        let freeze = &self.core.freeze;
        if freeze.holds() && message.is_for_shard() {
            freeze.hold(from, message);
        } else {
            self.deliver(from, message);
        }
    }

    /// Handles a message of an executor.
    pub(super) fn deliver(&mut self, from: u16, message: CoreMessage) {
        let core = self.core;
        match message {
            CoreMessage::Commands(commands) => {
                let requests = commands.requests();
                core.shard.borrow_mut().execute(
                    self.now,
                    commands.session,
                    &commands.context,
                    &requests,
                    &mut self.effects,
                );
                core.note_supply();
            }
            CoreMessage::Reply(session, ticket, answer) => {
                self.effects.push(Effect::Reply {
                    session,
                    ticket,
                    answer: *answer,
                });
            }
            CoreMessage::Executed(session, ticket) => self.executed(session, ticket),
            CoreMessage::Push(session, entity, event) => {
                self.effects.push(Effect::Push {
                    session,
                    entity,
                    event: *event,
                });
            }
            CoreMessage::Notify(session, notifications) => {
                self.notify(from, session, notifications);
            }
            CoreMessage::NotificationsTaken(session, count) => {
                core.shard
                    .borrow_mut()
                    .notifications_taken(session, count, &mut self.effects);
            }
            CoreMessage::JoinService(session, service_id, by_new) => {
                core.shard.borrow_mut().join_service(
                    session,
                    &service_id,
                    by_new,
                    &mut self.effects,
                );
            }
            CoreMessage::ServiceJoined(session) => self.service_joined(session),
            CoreMessage::ServiceClosed(session, service_id) => {
                self.leave_service(session, &service_id);
            }
            CoreMessage::RegisterService(registration) => self.register_service_here(*registration),
            CoreMessage::ServiceRegistered(token, service_id) => {
                core.registrations.complete(token, service_id);
            }
            CoreMessage::AskSubscribed(session, round) => {
                let subscribed = core.shard.borrow().has_subscriptions(session);
                core.mesh
                    .send(from, CoreMessage::Subscribed(session, round, subscribed));
            }
            CoreMessage::Subscribed(session, round, subscribed) => {
                core.note_subscribed(session, round, subscribed);
            }
            CoreMessage::Peer(message) => {
                core.shard
                    .borrow_mut()
                    .peer_message(from, message, &mut self.effects);
            }
            CoreMessage::SessionClosed(session) => {
                core.shard.borrow_mut().session_closed(session);
            }
            CoreMessage::NothingToRedeliver(session) => {
                self.effects.push(Effect::NothingToRedeliver { session });
            }
            CoreMessage::Redeliver(session, id) => {
                core.shard
                    .borrow_mut()
                    .redeliver(self.now, session, &id, &mut self.effects);
            }
            CoreMessage::Control(call, request) => self.control_request(call, *request),
            CoreMessage::ControlReply(..) | CoreMessage::LastWords(_) => {
                tracing::error!("a message to the control executor reached a shard");
            }
        }
    }

    /// Carries out effects until none is left: an answer may redirect a command, which has effects
    /// of its own.
    pub(super) fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Reply {
                        session,
                        ticket,
                        answer,
                    } => {
                        self.reply(session, ticket, answer);
                    }
                    Effect::Push {
                        session,
                        entity,
                        event,
                    } => self.push(session, entity, event),
                    Effect::Notify {
                        session,
                        notifications,
                    } => self.notify(self.core.index, session, notifications),
                    Effect::Executed { session, ticket } => self.executed(session, ticket),
                    Effect::ServiceJoined { session } => self.service_joined(session),
                    Effect::ServiceRegistered {
                        core,
                        token,
                        service_id,
                    } => self.service_registered(core, token, service_id),
                    Effect::OperatorAnswered { call, answer } => {
                        self.core.reply_to(call, ControlReply::Order(answer));
                    }
                    Effect::NothingToRedeliver { session } => self.nothing_to_redeliver(session),
                    Effect::Peer { shard, message } => {
                        self.core.mesh.send(shard, CoreMessage::Peer(message));
                    }
                }
            }
        }
    }

    fn reply(&mut self, session: SessionRef, ticket: Ticket, answer: Answer) {
        if session.core != self.core.index {
            let message = CoreMessage::Reply(session, ticket, Box::new(answer));
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().answer(ticket, answer, self);
            connection.wake();
        }
    }

    pub(super) fn push(&mut self, session: SessionRef, entity: Id, event: Response<'static>) {
        if session.core != self.core.index {
            let message = CoreMessage::Push(session, entity, Box::new(event));
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            let due = connection.session.borrow_mut().push(entity, event);
            match due {
                FlushDue::Unchanged => connection.wake(),
                FlushDue::Later if !self.core.event_interval.is_zero() => {
                    self.core.with_events.borrow_mut().insert(session);
                }
                FlushDue::Later | FlushDue::Now => self.core.flush_events_of(&connection),
            }
        }
    }

    pub(super) fn executed(&mut self, session: SessionRef, ticket: Ticket) {
        if session.core != self.core.index {
            let message = CoreMessage::Executed(session, ticket);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().executed(ticket, self);
        }
    }

    fn notify(&mut self, from: u16, session: SessionRef, events: Vec<(Id, Response<'static>)>) {
        if session.core != self.core.index {
            let message = CoreMessage::Notify(session, events);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().notify(from, events);
            connection.wake();
        }
    }

    fn service_joined(&mut self, session: SessionRef) {
        if session.core != self.core.index {
            let message = CoreMessage::ServiceJoined(session);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().service_joined();
            connection.wake();
        }
    }

    /// Asks the shard of a certificate who the service is.
    pub fn register_service(&mut self, registration: ServiceRegistration) {
        let shard = self
            .core
            .partitioner
            .shard_of(&service_home(&registration.fingerprint));
        let message = CoreMessage::RegisterService(Box::new(registration));
        if shard == self.core.index {
            self.take(shard, message);
        } else {
            self.core.mesh.send(shard, message);
        }
    }

    fn register_service_here(&mut self, registration: ServiceRegistration) {
        self.core
            .shard
            .borrow_mut()
            .register_service(self.now, registration, &mut self.effects);
    }

    fn service_registered(&self, core: u16, token: u64, service_id: Option<Id>) {
        if core == self.core.index {
            self.core.registrations.complete(token, service_id);
        } else {
            let message = CoreMessage::ServiceRegistered(token, service_id);
            self.core.mesh.send(core, message);
        }
    }

    pub(super) fn leave_service(&mut self, session: SessionRef, service_id: &Id) {
        self.core
            .shard
            .borrow_mut()
            .leave_service(session, service_id, &mut self.effects);
    }

    fn nothing_to_redeliver(&mut self, session: SessionRef) {
        if session.core != self.core.index {
            let message = CoreMessage::NothingToRedeliver(session);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().nothing_deferred();
            connection.wake();
        }
    }

    /// Where a queue is created: with its sender id when the client chose it, else as configured.
    fn shard_for_new(&mut self, request: &Request<'_>) -> u16 {
        let own = self.core.index;
        let shards = self.core.partitioner.shards();
        if let Command::New(new) = &request.command
            && let Some(QueueRequest::Messaging(Some(_)) | QueueRequest::Contact(Some(_))) =
                &new.queue
        {
            // What the client should have chosen; a wrong choice is refused by any shard.
            let sender_id = hash::sender_id(request.transmission.corr_id);
            return self.core.partitioner.shard_of(&sender_id);
        }
        match self.core.queue_placement {
            QueuePlacement::Local => own,
            QueuePlacement::Spread => self.core.rng.borrow_mut().random_range(0..shards),
            QueuePlacement::Remote if shards == 1 => own,
            QueuePlacement::Remote => {
                let step = self.core.rng.borrow_mut().random_range(1..shards);
                (own + step) % shards
            }
        }
    }
}

impl Router for CoreRouter<'_> {
    fn shard_for(&mut self, request: &Request<'_>, context: &SessionContext) -> u16 {
        // An imported service has an id that leads elsewhere than to it.
        if let (Command::Subs(_) | Command::NSubs(_), Some(service)) =
            (&request.command, context.service())
        {
            return self.core.home_of(service);
        }
        match <&Id>::try_from(request.transmission.entity_id) {
            Ok(id) => self.core.partitioner.shard_of(id),
            Err(_) if matches!(request.command, Command::New(_)) => self.shard_for_new(request),
            // No queue has such an id; the refusal takes as long anywhere.
            Err(_) => self.core.index,
        }
    }

    fn dispatch(
        &mut self,
        shard: u16,
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) {
        let is_own = shard == self.core.index;
        if is_own && !self.core.freeze.holds() {
            self.core.shard.borrow_mut().execute(
                self.now,
                session,
                context,
                requests,
                &mut self.effects,
            );
            self.core.note_supply();
            return;
        }
        let commands = RemoteCommands::new(session, context, requests);
        let message = CoreMessage::Commands(Box::new(commands));
        if is_own {
            self.core.freeze.hold(shard, message);
        } else {
            self.core.mesh.send(shard, message);
        }
    }

    fn join_service(
        &mut self,
        session: SessionRef,
        context: &Arc<SessionContext>,
        by_new: bool,
    ) -> Option<u16> {
        let service = context.service()?;
        let (service_id, shard) = (service.id, self.core.home_of(service));
        let message = CoreMessage::JoinService(session, service_id, by_new);
        if shard == self.core.index {
            self.take(shard, message);
        } else {
            self.core.mesh.send(shard, message);
        }
        Some(shard)
    }

    fn count_batch(&mut self, kind: BatchKind) {
        let mut counters = self.core.counters.borrow_mut();
        *match kind {
            BatchKind::Sub => &mut counters.sub_all_batches,
            BatchKind::Del => &mut counters.deleted_all_batches,
            BatchKind::NDel => &mut counters.ntf_deleted_batches,
            BatchKind::NSub => &mut counters.ntf_sub_batches,
        } += 1;
    }
}
