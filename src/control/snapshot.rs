//! What an executor tells about itself.

use super::{Durations, StepTimes};
use crate::relay::{AckTimes, ActiveQueues, Counters, PendingDeliveries, Subscribed};
use crate::store::Totals;
use crate::store::log::Footprint;

/// One executor at a moment: its shard and the connections it has accepted.
///
/// Sums that are kept while things happen, so that taking it costs the same with any number of
/// queues; sets of connections have a bit for each.
#[derive(Debug, Clone, Default)]
pub struct ShardSnapshot {
    /// Number of the shard.
    pub shard: u16,
    /// What its shard and sessions have counted since start.
    pub counters: Counters,
    /// Queues used in the periods that run, since start.
    pub active: ActiveQueues,
    /// Queues used in the periods of the last finished day: the day, in days since the Unix
    /// epoch, and the counts it ended with.
    pub finished: Option<(u16, ActiveQueues)>,
    /// Seconds from delivery to acknowledgement, since start.
    pub ack_times: AckTimes,
    /// What is stored.
    pub totals: Totals,
    /// Notifications waiting for their subscribers.
    pub waiting_notifications: u64,
    /// Who receives messages.
    pub message_subscriptions: Subscribed,
    /// Who gets notifications.
    pub notification_subscriptions: Subscribed,
    /// Queues that connections fetch from with `GET`, one for each connection.
    pub getting: u64,
    /// Messages given to connections and not acknowledged.
    pub deliveries: PendingDeliveries,
    /// Connections after their handshakes.
    pub sessions: u64,
    /// Connections in the TLS or SMP handshake.
    pub handshakes: u64,
    /// How long its steps took, since start.
    pub steps: StepTimes,
    /// Sockets accepted, by port.
    pub sockets: Vec<PortSockets>,
    /// What its executor is busy with.
    pub load: Load,
    /// The day that `active` is of, days since the Unix epoch.
    pub day: u16,
    /// What of `active` counts only once even after a crash: the store remembers these queues.
    pub durable_active: ActiveQueues,
    /// How long it took to make changes durable, since start.
    pub commits: Durations,
    /// Whether the store gets no more space.
    pub disk_full: bool,
}

/// How busy an executor is, and what its store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Messages of other executors that it has not taken.
    pub mesh_arrived: u64,
    /// Messages that other executors have had no room for.
    pub mesh_waiting: u64,
    /// The durable store, if there is one.
    pub store: Footprint,
}

/// Sockets of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortSockets {
    /// Port listened on.
    pub port: u16,
    /// Accepted since start.
    pub accepted: u64,
    /// Closed since start.
    pub closed: u64,
    /// Open now.
    pub active: u64,
}
