//! The shard: a pure state machine from commands to answers.
//!
//! A shard owns the queues of its partitions, their messages and subscriptions. It has no I/O and
//! no clock: commands and times come in, [`Effect`]s go out. What it promises a client leaves only
//! when the store says that it is durable.

mod activity;
mod agreement;
mod command;
mod counters;
mod deliveries;
mod delivery;
mod effect;
mod expiry;
mod figures;
mod notification;
mod operator;
mod partition;
mod pending;
mod reference_statistics;
mod release;
mod request;
mod service;
mod session_queues;
mod session_ref;
mod session_set;
mod shard;
mod subscription;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use activity::{ActiveQueues, Activity, PeriodCounts, day_of, month_of, week_of};
pub use counters::{AckTimes, Counters};
pub use deliveries::{DELIVERY_PERIODS, PendingDeliveries};
pub use effect::{Answer, Effect, PeerMessage};
pub use expiry::{MessageSweep, NotificationSweep};
pub use figures::{Listening, Subscribed};
pub use notification::NotesWalk;
pub use operator::{OperatorAnswer, OperatorCall, QueueState};
pub use partition::{PARTITIONS, Partition, Partitioner};
pub use release::Confirmation;
pub use request::{Refusal, Request};
pub use service::{ServiceMessage, ServiceRegistration, service_home};
pub use session_ref::{ServiceSession, SessionContext, SessionRef, Ticket};
pub use session_set::SessionSet;
pub use shard::{Shard, ShardConfig};

/// Time as shards see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch.
    pub nanos: i64,
}

impl Timestamp {
    /// Whole seconds since the Unix epoch.
    pub fn seconds(self) -> i64 {
        self.nanos.div_euclid(1_000_000_000)
    }

    /// Whole days since the Unix epoch, the granularity of a queue's last use.
    pub fn day(self) -> u32 {
        u32::try_from(self.seconds().div_euclid(86_400)).unwrap_or(0)
    }
}
