//! What an operator sees of the relay and does to it, without sockets and files.

pub mod daily;
mod durations;
pub mod metrics;
mod overview;
pub mod port;
mod record;
mod snapshot;
mod statistics;
mod steps;

pub use durations::Durations;
pub use overview::Overview;
pub use record::{PendingRows, RecordError, StatisticsRecord};
pub use snapshot::{Load, PortSockets, ShardSnapshot};
pub use statistics::{SavedStatistics, Statistics, StatisticsConfig};
pub use steps::{StepKind, StepTimes};
