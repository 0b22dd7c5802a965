//! What an executor tells about itself.

use crate::relay::{AckTimes, ActiveQueues, Counters};
use crate::store::Totals;

/// One executor at a moment: its shard and the connections it has accepted.
#[derive(Debug, Clone, Default)]
pub struct ShardSnapshot {
    /// Number of the shard.
    pub shard: u16,
    /// What its shard and sessions have counted since start.
    pub counters: Counters,
    /// Queues used in the periods that run.
    pub active: ActiveQueues,
    /// Seconds from delivery to acknowledgement, since start.
    pub ack_times: AckTimes,
    /// What is stored.
    pub totals: Totals,
    /// Notifications waiting for their subscribers.
    pub waiting_notifications: u64,
    /// Queues somebody listens to.
    pub subscribed_queues: u64,
    /// Sessions that listen to queues of the shard.
    pub subscribed_sessions: u64,
    /// Connections after their handshakes.
    pub sessions: u64,
    /// Connections in the TLS or SMP handshake.
    pub handshakes: u64,
    /// Sockets accepted, by port.
    pub sockets: Vec<PortSockets>,
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
