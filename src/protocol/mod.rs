//! The SMP wire: bytes ⇄ types for versions 6 to 20, both directions, no I/O.
//!
//! ```text
//! block (16,384 bytes) ─► batch ─► transmission ─► command / response ─► error
//! ```
//!
//! Decoders borrow from the block and never allocate more than it holds; encoders append to a
//! caller's vector. The server decodes commands and encodes responses; clients, the proxy and the
//! tests need the opposite, so every type goes both ways.

pub mod address;
pub mod batch;
pub mod command;
pub mod encoding;
pub mod error;
pub mod handshake;
pub mod response;
pub mod transmission;
pub mod version;

#[cfg(test)]
mod tests;

pub use crate::crypto::chain::BLOCK_SIZE;
pub use crate::crypto::smp_box::TAG_LEN as BLOCK_TAG_SIZE;
pub use command::Command;
pub use error::ErrorType;
pub use response::Response;
pub use version::{Version, VersionRange};

/// Most bytes of content in a plain block.
pub const MAX_PLAIN_CONTENT: usize = BLOCK_SIZE - 2;
/// Most bytes of content in an encrypted block.
pub const MAX_ENCRYPTED_CONTENT: usize = BLOCK_SIZE - BLOCK_TAG_SIZE - 2;
/// Length of the identifiers this server makes: queues, links, services, messages.
pub const ID_LEN: usize = 24;
/// Longest body any version may store (spec: protocol §22).
pub const MAX_STORED_BODY: usize = 16088;

const _: () = assert!(BLOCK_SIZE == 16384 && BLOCK_TAG_SIZE == 16);
const _: () = assert!(MAX_ENCRYPTED_CONTENT == 16366);
const _: () = assert!(batch::MAX_BATCH_BYTES + 1 == MAX_ENCRYPTED_CONTENT);
