//! What an operator sees of the relay and does to it, without sockets and files.

mod snapshot;
mod steps;

pub use snapshot::{PortSockets, ShardSnapshot};
pub use steps::{StepKind, StepTimes};
