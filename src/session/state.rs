//! One connection after its handshake.

use super::batch::PendingBatch;
use super::batch_kind::Tally;
use super::events::PendingEvents;
use super::order::{Gate, Order};
use super::outbox::Outbox;
use super::router::Router;
use super::service::ServiceSubscription;
use super::{MAX_BATCHES_IN_FLIGHT, MAX_COMMANDS_IN_FLIGHT, OUTBOX_HIGH_WATER, OUTBOX_PUSH_LIMIT};
use crate::crypto::chain::{BlockChain, ChainError};
use crate::crypto::pad;
use crate::protocol::batch::decode_batch;
use crate::protocol::{BLOCK_SIZE, BLOCK_TAG_SIZE, Command, ErrorType, Response};
use crate::relay::{Answer, ServiceSession, SessionContext, SessionRef, Ticket};
use crate::store::Id;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

mod dispatch;
mod pushes;

use dispatch::{Held, Routed, parse};

/// A connection's state: what is in flight, what waits to be sent, and the keys of its blocks.
#[derive(Debug)]
pub struct Session {
    reference: SessionRef,
    context: Arc<SessionContext>,
    chains: Option<Box<Chains>>,
    in_flight: VecDeque<PendingBatch>,
    /// Number of the oldest batch in flight.
    first_batch: u32,
    /// What was dispatched and may not have taken effect.
    gate: Gate,
    /// Commands in flight that must not be dispatched yet, in order. Whatever comes behind waits
    /// here too.
    held: VecDeque<Held>,
    outbox: Outbox,
    /// Ended subscriptions the client does not know of yet.
    events: PendingEvents,
    /// Whether their time came and there was no room.
    events_overdue: bool,
    service: ServiceSubscription,
    /// Queues whose message was not taken for want of room, oldest first.
    deferred: VecDeque<Id>,
    /// Messages asked for again and not here yet, at most [`MAX_REDELIVERIES`].
    awaited: usize,
    /// Notifications taken and not yet reported, by shard.
    credits: SmallVec<[(u16, u32); 2]>,
    /// Shards that may hold something of this session.
    touched: SmallVec<[u16; 4]>,
}

#[derive(Debug)]
struct Chains {
    receive: BlockChain,
    send: BlockChain,
}

/// The connection must be closed: its keys cannot be advanced.
pub type Broken = ChainError;

impl Session {
    /// A session after its handshake; `chains` are for received and for sent blocks.
    pub fn new(
        reference: SessionRef,
        context: Arc<SessionContext>,
        chains: Option<(BlockChain, BlockChain)>,
    ) -> Self {
        Self {
            reference,
            context,
            chains: chains.map(|(receive, send)| Box::new(Chains { receive, send })),
            in_flight: VecDeque::new(),
            first_batch: 0,
            gate: Gate::default(),
            held: VecDeque::new(),
            outbox: Outbox::default(),
            events: PendingEvents::default(),
            events_overdue: false,
            service: ServiceSubscription::default(),
            deferred: VecDeque::new(),
            awaited: 0,
            credits: SmallVec::new(),
            touched: SmallVec::new(),
        }
    }

    /// How shards know this session.
    pub fn reference(&self) -> SessionRef {
        self.reference
    }

    /// The service whose connection this is.
    pub fn service(&self) -> Option<&ServiceSession> {
        self.context.service()
    }

    /// Its id.
    pub fn service_id(&self) -> Option<Id> {
        self.service().map(|service| service.id)
    }

    /// Handles a received block: dispatches its commands, answers what needs no shard. Returns how
    /// many commands it had.
    pub fn receive(
        &mut self,
        block: &mut [u8; BLOCK_SIZE],
        router: &mut impl Router,
    ) -> Result<usize, Broken> {
        let content = match &mut self.chains {
            Some(chains) => match chains.receive.open_block(block) {
                Ok(content) => Some(content),
                Err(broken @ ChainError::Derivation) => return Err(broken),
                Err(ChainError::Box(_)) => None,
            },
            None => pad::unpad(block).ok(),
        };
        let batch = content.and_then(|content| decode_batch(content).ok());
        let Some(batch) = batch else {
            let mut refused = PendingBatch::with_capacity(1);
            refused.push_refused(&[], &[], ErrorType::Block);
            self.in_flight.push_back(refused);
            self.complete();
            return Ok(1);
        };
        let number = self
            .first_batch
            .wrapping_add(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX));
        let commands = batch.len();
        let context = Arc::clone(&self.context);
        let mut pending = PendingBatch::with_capacity(commands);
        let mut routed = Routed::default();
        let mut tally = Tally::default();
        for (index, bytes) in (0..=u8::MAX).zip(batch) {
            let ticket = Ticket {
                batch: number,
                index,
            };
            let request = match parse(bytes, ticket, &context) {
                Ok(request) => request,
                Err(refusal) => {
                    pending.push_refused(refusal.corr_id, refusal.entity_id, refusal.error);
                    continue;
                }
            };
            tally.add(&request.command);
            let (corr_id, entity_id) =
                (request.transmission.corr_id, request.transmission.entity_id);
            if matches!(request.command, Command::Ping) {
                pending.push_answered(corr_id, entity_id, Response::Pong);
                continue;
            }
            pending.push_command(corr_id, entity_id, &request.command);
            let order = Order::of(&request.command);
            let shard = router.shard_for(&request, &context);
            if self.held.is_empty() && self.gate.admits(order, shard) {
                self.gate.dispatched(order, shard);
                pending.dispatched(index, order, shard);
                routed.push(shard, request);
            } else {
                self.held.push_back(Held {
                    ticket,
                    order,
                    shard,
                    bytes: bytes.into(),
                });
            }
        }
        self.in_flight.push_back(pending);
        if let Some(kind) = tally.kind() {
            router.count_batch(kind);
        }
        self.dispatch(&routed, router);
        self.complete();
        Ok(commands)
    }

    /// Takes the answer to a command. A redirected command is dispatched again.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer, router: &mut impl Router) {
        if let Answer::Redirect {
            shard,
            transmission,
        } = answer
        {
            self.redirect(ticket, shard, &transmission, router);
            return;
        }
        self.opens_gate(ticket);
        let has_room = self.waiting_bytes() < OUTBOX_PUSH_LIMIT;
        match answer {
            Answer::Response(response) => self.respond(ticket, response),
            Answer::Refused(error) => {
                if let Some(batch) = self.batch(ticket) {
                    batch.refuse(ticket.index, error);
                }
            }
            Answer::ServiceSubscription { response, is_new } => {
                self.takes_effect(ticket);
                match self.service.confirm(ticket, response) {
                    Err(response) => self.respond(ticket, response),
                    Ok(false) => {}
                    Ok(true) => match router.join_service(self.reference, &self.context, is_new) {
                        Some(shard) => self.touch(shard),
                        // Nothing to wait for.
                        None => self.service_joined(),
                    },
                }
            }
            Answer::Subscribed { response, message } => {
                self.respond(ticket, response);
                if let Some(batch) = self.batch(ticket) {
                    if has_room {
                        batch.follow(ticket.index, message);
                    } else {
                        let entity = batch.entity(ticket.index);
                        self.deferred.extend(entity);
                    }
                }
            }
            Answer::Redirect { .. } => {}
        }
        self.complete();
        self.dispatch_held(router);
    }

    /// A command has taken effect although its answer is not here yet.
    pub fn executed(&mut self, ticket: Ticket, router: &mut impl Router) {
        self.takes_effect(ticket);
        self.opens_gate(ticket);
        self.dispatch_held(router);
    }

    /// The session has become the subscriber of its service.
    pub fn service_joined(&mut self) {
        if let Some(id) = self.service_id() {
            self.forget_end(&id);
        }
        for (ticket, response) in self.service.joined() {
            self.respond(ticket, response);
        }
        self.complete();
    }

    /// Whether the session is the subscriber of its service.
    pub fn holds_service_subscription(&self) -> bool {
        self.service.is_joined()
    }

    fn batch(&mut self, ticket: Ticket) -> Option<&mut PendingBatch> {
        let offset = ticket.batch.wrapping_sub(self.first_batch) as usize;
        self.in_flight.get_mut(offset)
    }

    /// A subscription that has taken effect makes stale what is known of the end of an earlier one.
    fn takes_effect(&mut self, ticket: Ticket) {
        let entity = self
            .batch(ticket)
            .and_then(|batch| batch.takes_effect(ticket.index));
        if let Some(entity) = entity {
            self.forget_end(&entity);
        }
    }

    fn forget_end(&mut self, entity: &Id) {
        self.events.forget_end(entity);
        self.outbox.forget_end(entity);
        for batch in &mut self.in_flight {
            batch.forget_end(entity);
        }
    }

    fn respond(&mut self, ticket: Ticket, response: Response<'static>) {
        match response {
            Response::Sok(_) => self.takes_effect(ticket),
            Response::Soks(_) => {
                self.takes_effect(ticket);
                self.service.subscribed();
            }
            _ => {}
        }
        if let Some(batch) = self.batch(ticket) {
            batch.answer(ticket.index, response);
        }
    }

    /// Whether a further block should be read.
    pub fn wants_input(&self) -> bool {
        self.in_flight.len() < MAX_BATCHES_IN_FLIGHT
            && self.unanswered() < MAX_COMMANDS_IN_FLIGHT
            && self.waiting_bytes() < OUTBOX_HIGH_WATER
    }

    /// Bytes that wait to be sent or for earlier answers, approximately.
    fn waiting_bytes(&self) -> usize {
        let in_flight = self.in_flight.iter().map(PendingBatch::bytes);
        self.outbox.bytes() + in_flight.sum::<usize>()
    }

    /// Id of the TLS session.
    pub fn session_id(&self) -> &[u8] {
        self.context.session_id()
    }

    /// Commands that are not answered.
    pub fn unanswered(&self) -> usize {
        self.in_flight.iter().map(PendingBatch::unanswered).sum()
    }

    /// Answers and messages that wait to be sent.
    pub fn outgoing(&self) -> usize {
        self.outbox.len()
    }

    /// Messages that stay in their queues until there is room.
    pub fn deferred(&self) -> usize {
        self.deferred.len()
    }

    /// Whether there is something to send.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether every received command has been answered.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Replaces `block` by the next block to send; says whether there is one.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Broken> {
        if self.outbox.is_empty() {
            return Ok(false);
        }
        let head = if self.chains.is_some() {
            BLOCK_TAG_SIZE
        } else {
            0
        };
        block.clear();
        block.resize(head + 2, 0);
        let (version, session_id) = (self.context.version(), self.context.session_id());
        if !self.outbox.pack(version, session_id, block) {
            return Ok(false);
        }
        let content_len = block.len() - head - 2;
        block.resize(BLOCK_SIZE, 0);
        // A batch is built to fit the smaller, encrypted block.
        pad::pad_into(content_len, &mut block[head..]).map_err(|_| ChainError::Derivation)?;
        if let Some(chains) = &mut self.chains {
            let block = block
                .as_mut_slice()
                .try_into()
                .map_err(|_| ChainError::Derivation)?;
            chains.send.seal_block(block)?;
        }
        Ok(true)
    }

    /// Shards that must be told when this session ends.
    pub fn touched_shards(&self) -> &[u16] {
        &self.touched
    }

    /// Moves the answers of complete batches to the outbox, oldest first.
    fn complete(&mut self) {
        while self
            .in_flight
            .front()
            .is_some_and(PendingBatch::is_complete)
        {
            if let Some(batch) = self.in_flight.pop_front() {
                self.first_batch = self.first_batch.wrapping_add(1);
                batch
                    .into_outgoing()
                    .for_each(|outgoing| self.outbox.push(outgoing));
            }
        }
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
    }
}
