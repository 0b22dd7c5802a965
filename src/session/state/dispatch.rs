//! Commands on their way to shards, in the order that [`Gate`](super::Gate) allows.

use super::Session;
use crate::protocol::ErrorType;
use crate::relay::{Answer, Refusal, Request, SessionContext, Ticket};
use crate::session::order::Order;
use crate::session::router::Router;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// A command that waits for its turn, as the bytes it came in.
#[derive(Debug)]
pub struct Held {
    /// Which command it is.
    pub ticket: Ticket,
    /// What it waits for.
    pub order: Order,
    /// Where it goes.
    pub shard: u16,
    /// Its transmission.
    pub bytes: Box<[u8]>,
}

/// Commands on their way to shards, in order for each shard.
#[derive(Debug, Default)]
pub struct Routed<'a>(SmallVec<[(u16, Vec<Request<'a>>); 1]>);

impl<'a> Routed<'a> {
    /// Adds a command for a shard.
    pub fn push(&mut self, shard: u16, request: Request<'a>) {
        match self.0.iter_mut().find(|(s, _)| *s == shard) {
            Some((_, requests)) => requests.push(request),
            None => self.0.push((shard, vec![request])),
        }
    }
}

/// Parses a transmission of the session.
pub fn parse<'a>(
    bytes: &'a [u8],
    ticket: Ticket,
    context: &SessionContext,
) -> Result<Request<'a>, Refusal<'a>> {
    Request::parse(bytes, ticket, context.version(), context.session_id())
}

impl Session {
    pub(super) fn dispatch(&mut self, routed: &Routed<'_>, router: &mut impl Router) {
        for (shard, requests) in &routed.0 {
            self.touch(*shard);
            router.dispatch(*shard, self.reference, &self.context, requests);
        }
    }

    /// Dispatches what need not be held any longer.
    pub(super) fn dispatch_held(&mut self, router: &mut impl Router) {
        let mut admitted: SmallVec<[Held; 1]> = SmallVec::new();
        while let Some(next) = self.held.front()
            && self.gate.admits(next.order, next.shard)
            && let Some(next) = self.held.pop_front()
        {
            self.gate.dispatched(next.order, next.shard);
            if let Some(batch) = self.batch(next.ticket) {
                batch.dispatched(next.ticket.index, next.order, next.shard);
            }
            admitted.push(next);
        }
        if admitted.is_empty() {
            return;
        }
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        let context = Arc::clone(&self.context);
        let mut routed = Routed::default();
        let mut refused: SmallVec<[(Ticket, ErrorType); 1]> = SmallVec::new();
        for held in &admitted {
            match parse(&held.bytes, held.ticket, &context) {
                Ok(request) => routed.push(held.shard, request),
                // It parsed before; were it dropped now, its batch would never be complete.
                Err(refusal) => refused.push((held.ticket, refusal.error)),
            }
        }
        self.dispatch(&routed, router);
        for (ticket, error) in refused {
            self.answer(ticket, Answer::Refused(error), router);
        }
    }

    pub(super) fn redirect(
        &mut self,
        ticket: Ticket,
        shard: u16,
        bytes: &[u8],
        router: &mut impl Router,
    ) {
        let context = Arc::clone(&self.context);
        match parse(bytes, ticket, &context) {
            Ok(request) => {
                let counted = self
                    .batch(ticket)
                    .and_then(|batch| batch.executed(ticket.index));
                if let Some((order, from)) = counted {
                    self.gate.executed(order, from);
                    self.gate.dispatched(order, shard);
                    if let Some(batch) = self.batch(ticket) {
                        batch.dispatched(ticket.index, order, shard);
                    }
                }
                self.touch(shard);
                router.dispatch(shard, self.reference, &context, &[request]);
                // For a shard that it has left, others may have waited.
                self.dispatch_held(router);
            }
            // It parsed before; were it dropped now, its batch would never be complete.
            Err(refusal) => self.answer(ticket, Answer::Refused(refusal.error), router),
        }
    }

    /// Nothing waits any longer for this command to take effect.
    pub(super) fn opens_gate(&mut self, ticket: Ticket) {
        let counted = self
            .batch(ticket)
            .and_then(|batch| batch.executed(ticket.index));
        if let Some((order, shard)) = counted {
            self.gate.executed(order, shard);
        }
    }

    pub(super) fn touch(&mut self, shard: u16) {
        if !self.touched.contains(&shard) {
            self.touched.push(shard);
        }
    }
}
