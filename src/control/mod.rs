//! What an operator sees of the relay and does to it, without sockets and files.

mod snapshot;

pub use snapshot::{PortSockets, ShardSnapshot};
