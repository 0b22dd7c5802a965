//! What is measured or proved, one file each.

pub mod crash;
pub mod handshakes;
pub mod idle;
pub mod messages;
pub mod persist;
pub mod queues;
pub mod reference_state;
pub mod resubscribe;
pub mod smoke;
