//! The relay at a moment, as operators see it.

use super::snapshot::{PortSockets, ShardSnapshot};
use crate::relay::{AckTimes, ActiveQueues, Counters, PendingDeliveries, Subscribed};
use crate::store::Totals;
use std::collections::BTreeMap;

/// Everything there is to report: the shards together, and each of them.
///
/// For the control port: lines of `stats` are `from_time_ns`, `counters`, `active.messages.day`
/// (daily active queues), `totals` (`qCount` and `qCount 2` both are `totals.queues`; `notifiers`;
/// `msgCount`; services and their queues) and `waiting_notifications` (`ntfCount` and `ntfCount 2`).
/// Lines of `server-info` are `threads`, `sessions`,
/// `message_subscriptions`, `notification_subscriptions`, `getting` (`ProhibitSub`). The quota of
/// `block` compares with `blocked_today`.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// When this was, nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// Since when `counters` count, nanoseconds since the Unix epoch: the last row of daily
    /// statistics, or the very beginning without such rows.
    pub from_time_ns: i64,
    /// What was counted since then, restarts included.
    pub counters: Counters,
    /// What was counted since the process started.
    pub since_start: Counters,
    /// Queues blocked by the operator this day, whether or not rows are written.
    pub blocked_today: u64,
    /// Queues used in the periods that run.
    pub active: ActiveQueues,
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
    /// Pairs of queues and connections that fetch from them with `GET`.
    pub getting: u64,
    /// Messages given to connections and not acknowledged.
    pub deliveries: PendingDeliveries,
    /// Connections after their handshakes.
    pub sessions: u64,
    /// Connections in the TLS or SMP handshake.
    pub handshakes: u64,
    /// Sockets accepted, by port.
    pub sockets: Vec<PortSockets>,
    /// Threads of the process.
    pub threads: u64,
    /// Each shard, in their order.
    pub shards: Vec<ShardSnapshot>,
}

impl Overview {
    /// What the shards tell, together. Nothing is known from before the process started.
    pub fn of(shards: Vec<ShardSnapshot>) -> Self {
        let mut all = Self::default();
        let mut sockets: BTreeMap<u16, PortSockets> = BTreeMap::new();
        for shard in &shards {
            all.since_start += &shard.counters;
            all.active += shard.active;
            all.ack_times += &shard.ack_times;
            all.totals += shard.totals;
            all.waiting_notifications += shard.waiting_notifications;
            all.message_subscriptions.add(&shard.message_subscriptions);
            let notifications = &shard.notification_subscriptions;
            all.notification_subscriptions.add(notifications);
            all.getting += shard.getting;
            all.deliveries.add(&shard.deliveries);
            all.sessions += shard.sessions;
            all.handshakes += shard.handshakes;
            for counts in &shard.sockets {
                let sum = sockets.entry(counts.port).or_insert(PortSockets {
                    port: counts.port,
                    ..PortSockets::default()
                });
                sum.accepted += counts.accepted;
                sum.closed += counts.closed;
                sum.active += counts.active;
            }
        }
        all.counters = all.since_start;
        all.sockets = sockets.into_values().collect();
        all.shards = shards;
        all
    }
}
