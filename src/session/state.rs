//! One connection after its handshake.

use super::batch::{Outgoing, PendingBatch};
use super::outbox::Outbox;
use super::{
    MAX_BATCHES_IN_FLIGHT, MAX_COMMANDS_IN_FLIGHT, MAX_REDELIVERIES, OUTBOX_HIGH_WATER,
    OUTBOX_LOW_WATER, OUTBOX_PUSH_LIMIT,
};
use crate::crypto::chain::{BlockChain, ChainError};
use crate::crypto::pad;
use crate::protocol::batch::decode_batch;
use crate::protocol::{BLOCK_SIZE, BLOCK_TAG_SIZE, Command, ErrorType, Response};
use crate::relay::{Answer, Request, SessionContext, SessionRef, Ticket};
use crate::store::Id;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where commands go.
pub trait Router {
    /// The shard that executes a command.
    fn shard_for(&mut self, request: &Request<'_>) -> u16;

    /// Hands commands of one session to a shard, in order.
    fn dispatch(
        &mut self,
        shard: u16,
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    );
}

/// A connection's state: what is in flight, what waits to be sent, and the keys of its blocks.
#[derive(Debug)]
pub struct Session {
    reference: SessionRef,
    context: Arc<SessionContext>,
    chains: Option<Box<Chains>>,
    in_flight: VecDeque<PendingBatch>,
    /// Number of the oldest batch in flight.
    first_batch: u32,
    outbox: Outbox,
    /// Queues whose message was not taken for want of room, oldest first.
    deferred: VecDeque<Id>,
    /// Messages asked for again and not here yet, at most [`MAX_REDELIVERIES`].
    awaited: usize,
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
            outbox: Outbox::default(),
            deferred: VecDeque::new(),
            awaited: 0,
            touched: SmallVec::new(),
        }
    }

    /// How shards know this session.
    pub fn reference(&self) -> SessionRef {
        self.reference
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
            refused.push(&[], &[], Some(Response::Err(ErrorType::Block)));
            self.in_flight.push_back(refused);
            self.complete();
            return Ok(1);
        };
        let number = self
            .first_batch
            .wrapping_add(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX));
        let commands = batch.len();
        let mut pending = PendingBatch::with_capacity(commands);
        let mut routed: SmallVec<[(u16, Vec<Request<'_>>); 1]> = SmallVec::new();
        for (index, bytes) in (0..=u8::MAX).zip(batch) {
            let ticket = Ticket {
                batch: number,
                index,
            };
            let (version, id) = (self.context.version(), self.context.session_id());
            match Request::parse(bytes, ticket, version, id) {
                Err(refusal) => {
                    let response = Response::Err(refusal.error);
                    pending.push(refusal.corr_id, refusal.entity_id, Some(response));
                }
                Ok(request) => {
                    let t = &request.transmission;
                    let local = matches!(request.command, Command::Ping);
                    pending.push(t.corr_id, t.entity_id, local.then_some(Response::Pong));
                    if !local {
                        let shard = router.shard_for(&request);
                        match routed.iter_mut().find(|(s, _)| *s == shard) {
                            Some((_, requests)) => requests.push(request),
                            None => routed.push((shard, vec![request])),
                        }
                    }
                }
            }
        }
        self.in_flight.push_back(pending);
        for (shard, requests) in routed {
            self.touch(shard);
            router.dispatch(shard, self.reference, &self.context, &requests);
        }
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
        let has_room = self.waiting_bytes() < OUTBOX_PUSH_LIMIT;
        let offset = ticket.batch.wrapping_sub(self.first_batch) as usize;
        let Some(batch) = self.in_flight.get_mut(offset) else {
            return;
        };
        match answer {
            Answer::Response(response) | Answer::ServiceSubscription(response) => {
                batch.answer(ticket.index, response);
            }
            Answer::Refused(error) => batch.answer(ticket.index, Response::Err(error)),
            Answer::Subscribed { response, message } => {
                batch.answer(ticket.index, response);
                if has_room {
                    batch.follow(ticket.index, message);
                } else {
                    self.deferred.extend(batch.entity(ticket.index));
                }
            }
            Answer::Redirect { .. } => {}
        }
        self.complete();
    }

    fn redirect(&mut self, ticket: Ticket, shard: u16, bytes: &[u8], router: &mut impl Router) {
        let (version, id) = (self.context.version(), self.context.session_id());
        // It parsed before; were it refused now, its batch would never be complete.
        match Request::parse(bytes, ticket, version, id) {
            Ok(request) => {
                self.touch(shard);
                router.dispatch(shard, self.reference, &self.context, &[request]);
            }
            Err(refusal) => {
                let answer = Answer::Response(Response::Err(refusal.error));
                self.answer(ticket, answer, router);
            }
        }
    }

    /// Takes an unsolicited message.
    ///
    /// A message for a reader that is too slow is not kept: its queue has it, and is asked again
    /// once there is room (see [`take_deferred`](Self::take_deferred)).
    pub fn push(&mut self, entity: Id, event: Response<'static>) {
        if matches!(event, Response::Msg { .. }) {
            // One that nobody asked for counts too: the window opens a little early.
            self.awaited = self.awaited.saturating_sub(1);
            if self.waiting_bytes() >= OUTBOX_PUSH_LIMIT {
                self.deferred.push_back(entity);
                return;
            }
        }
        let mut event = event;
        for batch in &mut self.in_flight {
            match batch.hold_back(&entity, event) {
                Some(free) => event = free,
                None => return,
            }
        }
        self.outbox.push(Outgoing::push(&entity, event));
    }

    /// A queue whose message was not taken, once there is room for it again.
    pub fn take_deferred(&mut self) -> Option<Id> {
        if self.waiting_bytes() > OUTBOX_LOW_WATER || self.awaited >= MAX_REDELIVERIES {
            return None;
        }
        let id = self.deferred.pop_front()?;
        self.awaited += 1;
        Some(id)
    }

    /// A queue that was asked again has nothing for this session.
    pub fn nothing_deferred(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// Whether a further block should be read.
    pub fn wants_input(&self) -> bool {
        let unanswered: usize = self.in_flight.iter().map(PendingBatch::unanswered).sum();
        self.in_flight.len() < MAX_BATCHES_IN_FLIGHT
            && unanswered < MAX_COMMANDS_IN_FLIGHT
            && self.waiting_bytes() < OUTBOX_HIGH_WATER
    }

    /// Bytes that wait to be sent or for earlier answers, approximately.
    fn waiting_bytes(&self) -> usize {
        let in_flight = self.in_flight.iter().map(PendingBatch::bytes);
        self.outbox.bytes() + in_flight.sum::<usize>()
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

    fn touch(&mut self, shard: u16) {
        if !self.touched.contains(&shard) {
            self.touched.push(shard);
        }
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
