//! What waits to be sent, packed into blocks.

use super::batch::Outgoing;
use crate::protocol::batch::BatchBuilder;
use crate::protocol::transmission::{put_sent, put_transmission_head};
use crate::protocol::{Response, Version};
use std::collections::VecDeque;

/// Transmissions in the order in which they leave.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Outgoing>,
    bytes: usize,
}

/// What an item weighs apart from long contents.
const ITEM_BYTES: usize = 128;

/// Bytes a response holds, approximately.
pub(super) fn weight(response: &Response<'_>) -> usize {
    ITEM_BYTES
        + match response {
            Response::Msg { boxed, .. } => boxed.len(),
            Response::Lnk(link) => link.fixed.len() + link.user.len(),
            Response::Pres(bytes) | Response::Rres(bytes) | Response::Info(bytes) => bytes.len(),
            _ => 0,
        }
}

impl Outbox {
    /// Adds one at the end.
    pub fn push(&mut self, outgoing: Outgoing) {
        self.bytes += weight(&outgoing.response);
        self.queue.push_back(outgoing);
    }

    /// Bytes waiting, approximately.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends the content of one block, as many transmissions as fit, to `out`. Says whether
    /// there was anything to send.
    pub fn pack(&mut self, version: Version, session_id: &[u8], out: &mut Vec<u8>) -> bool {
        let mut batch = BatchBuilder::new(out);
        while let Some(next) = self.queue.front() {
            let fits = batch.push(|out| {
                put_transmission_head(out);
                put_sent(
                    out,
                    version,
                    session_id,
                    &next.corr_id,
                    &next.entity_id,
                    |out| {
                        next.response.encode(version, out);
                    },
                );
            });
            if !fits && !batch.is_empty() {
                break;
            }
            if !fits {
                tracing::warn!("dropped a response that is larger than a block");
            }
            self.bytes -= weight(&next.response);
            self.queue.pop_front();
        }
        let packed = !batch.is_empty();
        if self.queue.is_empty() {
            // Idle connections hold no memory for what they once sent.
            self.queue = VecDeque::new();
        }
        packed
    }
}
