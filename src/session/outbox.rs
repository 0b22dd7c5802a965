//! What waits to be sent, packed into blocks.

use super::batch::{Lane, Outgoing};
use crate::protocol::batch::BatchBuilder;
use crate::protocol::transmission::{put_sent, put_transmission_head};
use crate::protocol::{Response, Version};
use crate::store::Id;
use std::collections::VecDeque;

/// Responses that wait behind a block with a message without getting the next block for
/// themselves: about as many as fit beside a message.
const RESPONSES_BESIDE_MESSAGE: usize = 3;

/// Transmissions on their way out, in two lanes.
///
/// Responses leave in order. Messages leave in order too, behind the responses that were there
/// before them; later responses may overtake them: a message fills a block, and a client that has
/// asked for much waits for the answers, not for the messages. The end of a subscription does not
/// overtake its messages.
#[derive(Debug, Default)]
pub struct Outbox {
    responses: VecDeque<Outgoing>,
    messages: VecDeque<Message>,
    /// Responses that have left.
    left: u64,
    /// Whether the last block had a message.
    after_message: bool,
    bytes: usize,
}

#[derive(Debug)]
struct Message {
    outgoing: Outgoing,
    /// Responses that leave before it, of all there ever were.
    behind: u64,
}

/// What an item weighs apart from long contents.
pub(super) const ITEM_BYTES: usize = 128;

/// Bytes a response holds, approximately.
pub(super) fn weight(response: &Response<'_>) -> usize {
    ITEM_BYTES
        + match response {
            Response::Msg { boxed, .. } | Response::NMsg { boxed, .. } => boxed.len(),
            Response::Lnk(link) => link.fixed.len() + link.user.len(),
            Response::Pres(bytes) | Response::Rres(bytes) | Response::Info(bytes) => bytes.len(),
            _ => 0,
        }
}

impl Outbox {
    /// Adds one at the end of its lane.
    pub fn push(&mut self, outgoing: Outgoing) {
        self.bytes += weight(&outgoing.response);
        let behind = self.left + self.responses.len() as u64;
        if outgoing.lane == Lane::Message || self.ends_a_waiting_message(&outgoing) {
            self.messages.push_back(Message { outgoing, behind });
        } else {
            self.responses.push_back(outgoing);
        }
    }

    /// Whether it is the end of a subscription with a message that still waits.
    fn ends_a_waiting_message(&self, outgoing: &Outgoing) -> bool {
        let is_end = matches!(outgoing.response, Response::End | Response::Deld);
        let mut waiting = self.messages.iter().map(|m| &m.outgoing.entity_id);
        is_end && waiting.any(|id| *id == outgoing.entity_id)
    }

    /// Drops the end of a subscription that still waits behind its messages: there is a new one.
    pub fn forget_end(&mut self, entity: &Id) {
        let bytes = &mut self.bytes;
        self.messages.retain(|message| {
            let Outgoing {
                entity_id,
                response,
                ..
            } = &message.outgoing;
            let is_stale = matches!(response, Response::End) && entity_id[..] == entity[..];
            if is_stale {
                *bytes -= weight(response);
            }
            !is_stale
        });
    }

    /// Bytes waiting, approximately.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of those that wait.
    pub fn len(&self) -> usize {
        self.responses.len() + self.messages.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty() && self.messages.is_empty()
    }

    /// Appends the content of one block, as many transmissions as fit, to `out`. Says whether
    /// there was anything to send.
    ///
    /// What waits is taken in order up to the first message; then the block is filled with
    /// responses. After a block with a message, many responses get one without.
    pub fn pack(&mut self, version: Version, session_id: &[u8], out: &mut Vec<u8>) -> bool {
        let mut batch = BatchBuilder::new(out);
        let crowded = self.responses.len() > RESPONSES_BESIDE_MESSAGE;
        let mut may_take_message = !(self.after_message && crowded);
        self.after_message = false;
        loop {
            let message = self
                .messages
                .front()
                .filter(|message| may_take_message && message.behind <= self.left);
            let in_message_lane = message.is_some();
            let next = message.map(|message| &message.outgoing);
            let Some(next) = next.or_else(|| self.responses.front()) else {
                // Responses that fit no block must not hide a message.
                if batch.is_empty() && !may_take_message && !self.messages.is_empty() {
                    may_take_message = true;
                    continue;
                }
                break;
            };
            let fits = batch.push(|out| {
                put_transmission_head(out);
                let (corr_id, entity_id) = (&next.corr_id, &next.entity_id);
                put_sent(out, version, session_id, corr_id, entity_id, |out| {
                    next.response.encode(version, out);
                });
            });
            if !fits && !batch.is_empty() {
                if in_message_lane {
                    may_take_message = false;
                    continue;
                }
                break;
            }
            if !fits {
                tracing::warn!("dropped a response that is larger than a block");
            }
            self.bytes -= weight(&next.response);
            let fills = fits && matches!(next.response, Response::Msg { .. });
            if in_message_lane {
                self.messages.pop_front();
                self.after_message |= fills;
                may_take_message &= !fills;
            } else {
                self.responses.pop_front();
                self.left += 1;
            }
        }
        let packed = !batch.is_empty();
        if self.is_empty() {
            // Idle connections hold no memory for what they once sent.
            *self = Self::default();
        }
        packed
    }
}
