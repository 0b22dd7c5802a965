//! What an operator sees of the relay and does to it, without sockets and files.

mod overview;
pub mod port;
mod snapshot;
mod statistics;
mod steps;

pub use overview::Overview;
pub use snapshot::{Load, PortSockets, ShardSnapshot};
pub use statistics::{SavedStatistics, Statistics, StatisticsConfig};
pub use steps::{StepKind, StepTimes};
