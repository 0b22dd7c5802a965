//! The connection: a pure state machine from blocks to routed commands and back to blocks.
//!
//! Bytes of decrypted TLS come in as blocks; commands leave for the shard of their entity id;
//! answers come back in any order and leave in the order of the commands, packed into as few
//! blocks as they fit. Nothing here does I/O.

mod batch;
mod batch_kind;
mod events;
mod handshake;
mod order;
mod outbox;
mod router;
mod service;
mod state;

#[cfg(test)]
mod tests;

pub use batch_kind::BatchKind;
pub use events::{FlushDue, MAX_PENDING_EVENTS};
pub use handshake::{
    ClaimedSession, Established, HandshakeOutcome, Identity, RefusedHandshake, ServerHandshake,
    ServiceClaim, put_plain_block,
};
pub use router::Router;
pub use state::Session;

/// Blocks of commands a connection may have in flight; beyond, its socket is not read.
pub const MAX_BATCHES_IN_FLIGHT: usize = 16;
/// Commands a connection may have in flight; beyond, its socket is not read. Any of them may be
/// answered with a whole message.
pub const MAX_COMMANDS_IN_FLIGHT: usize = 256;
/// Bytes waiting for a slow reader beyond which its socket is not read.
pub const OUTBOX_HIGH_WATER: usize = 512 << 10;
/// Bytes waiting for a slow reader beyond which pushed messages stay in their queues, and ends of
/// subscriptions are kept small.
pub const OUTBOX_PUSH_LIMIT: usize = 1 << 20;
/// Bytes waiting below which messages that stayed in their queues are asked for again.
pub const OUTBOX_LOW_WATER: usize = 128 << 10;

/// Messages a connection asks for again at a time: they come from other cores, so what they will
/// weigh is not known when they are asked for.
pub const MAX_REDELIVERIES: usize = 32;

const _: () = assert!(OUTBOX_LOW_WATER < OUTBOX_HIGH_WATER);
const _: () = assert!(OUTBOX_HIGH_WATER <= OUTBOX_PUSH_LIMIT);
