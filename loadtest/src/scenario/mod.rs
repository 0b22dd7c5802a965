//! What is measured, one file each.

pub mod handshakes;
pub mod idle;
pub mod messages;
pub mod queues;
pub mod resubscribe;
pub mod smoke;
