//! Metrics of the reference about the moment, and about acknowledgements since start
//! (spec: operations §5.3).

use super::Kind::{Counter, Gauge, Histogram};
use super::text::{Buckets, Text, label};
use super::{About, Family, REFERENCE, families, write_families};
use crate::control::{Overview, PortSockets};
use crate::relay::{AckTimes, DELIVERY_PERIODS};
use std::time::Duration;

/// What the operator has not told.
const NO_OPTIONS: &str = "set SMP_RTS_OPTIONS";
/// Periods of deliveries, in the words of the reference; they end at [`DELIVERY_PERIODS`].
const PERIODS: [&str; DELIVERY_PERIODS.len() + 1] =
    ["0-60", "60-300", "300-1200", "1200-3600", "3600+"];
/// Upper bounds of acknowledgement times, seconds: each is the bound of a bucket that is counted.
const ACK_BOUNDS: [u64; 18] = [
    1, 2, 3, 4, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 1_200, 3_600, 21_600, 86_400,
];

families! {
    /// Threads, connections and deliveries.
    DELIVERED {
        threads_total Gauge "Threads" {
            "": |o| o.threads;
        }
        clients_total Gauge "Clients" {
            "": |o| o.sessions;
        }
        delivered_total Gauge "Total SMP subscriptions with delivered messages" {
            "": |o| o.deliveries.count;
        }
        delivered_clients_total Gauge "Subscribed clients" {
            "": |o| o.deliveries.sessions.len();
        }
    }
    /// The longest delivery, subscriptions and what is in memory.
    SUBSCRIBED {
        delivery_ack_time_max Gauge "Max time to confirm message delivery" {
            "": |o| o.deliveries.longest;
        }
        subscribtion_total Gauge "Total SMP subscriptions" {
            "": |o| o.message_subscriptions.queues;
        }
        subscribtion_clients_total Gauge "Subscribed clients" {
            "": |o| o.message_subscriptions.sessions.len();
        }
        subscribtion_services_total Gauge "Subscribed services, first counting method" {
            "": |o| o.message_subscriptions.services;
        }
        subscription_ntf_total Gauge "Total notification subscripbtions (from ntf server)" {
            "": |o| o.notification_subscriptions.queues;
        }
        subscription_ntf_clients_total Gauge "Total subscribed NTF servers" {
            "": |o| o.notification_subscriptions.sessions.len();
        }
        subscribtion_nts_services_total Gauge "Subscribed NTF services, first counting method" {
            "": |o| o.notification_subscriptions.services;
        }
        loaded_queues_queue_count Gauge "Total loaded queues count (all queues for memory/journal storage)" {
            "": |o| o.totals.queues;
        }
        loaded_queues_ntf_count Gauge "Total loaded ntf credential references (all ntf credentials for memory/journal storage)" {
            "": |o| o.totals.notifiers;
        }
        loaded_queues_open_journal_count Gauge "Total opened queue journals (0 for memory storage)" {
            "": |_| 0;
        }
        loaded_queues_queue_lock_count Gauge "Total queue locks (0 for memory storage)" {
            "": |_| 0;
        }
        loaded_queues_ntf_lock_count Gauge "Total notifier locks (0 for memory/journal storage)" {
            "": |_| 0;
        }
    }
}

/// Writes them.
pub fn write(text: &mut Text, overview: &Overview, about: &About) {
    let name = format!("{REFERENCE}info");
    let help = "Server information. RTS options have to be passed via SMP_RTS_OPTIONS env var";
    text.family(&name, Gauge, help);
    let options = about.rts_options.as_deref().unwrap_or(NO_OPTIONS);
    let version = label("version", &about.version);
    let labels = format!("{version},{}", label("rts_options", options));
    text.constant(&name, &labels, 1);
    sockets(text, &overview.sockets);
    write_families(text, DELIVERED, overview);
    acknowledgements(text, &overview.ack_times);
    by_period(
        text,
        ("delivery_ack_pending_count", "Counts for pending delivery"),
        overview.deliveries.by_age,
    );
    write_families(text, SUBSCRIBED, overview);
}

/// How many sockets each port has had.
fn sockets(text: &mut Text, sockets: &[PortSockets]) {
    type Count = fn(&PortSockets) -> u64;
    let families: [(&str, &str, Count); 4] = [
        ("accepted", "Accepted sockets", |port| port.accepted),
        ("closed", "Closed sockets", |port| port.closed),
        ("active", "Active sockets", |port| port.active),
        ("leaked", "Leaked sockets", |port| {
            port.accepted.saturating_sub(port.closed + port.active)
        }),
    ];
    for (name, help, count) in families {
        let name = format!("{REFERENCE}sockets_{name}");
        text.family(&name, Gauge, help);
        for port in sockets {
            let labels = label("port", &port.port.to_string());
            text.sample(&name, &labels, count(port));
        }
    }
}

fn acknowledgements(text: &mut Text, times: &AckTimes) {
    let name = format!("{REFERENCE}delivery_ack_confirmed_time");
    let help = "Times to confirm message delivery, only confirmed deliveries";
    text.family(&name, Histogram, help);
    let mut counts = ACK_BOUNDS.map(|bound| (bound as f64, 0));
    let mut by_period = [0; PERIODS.len()];
    let mut count = 0;
    for (bucket, number) in &times.buckets {
        count += number;
        let from = ACK_BOUNDS.partition_point(|bound| bound < bucket);
        for (_, up_to) in &mut counts[from..] {
            *up_to += number;
        }
        let ends = DELIVERY_PERIODS.map(i64::unsigned_abs);
        by_period[ends.partition_point(|end| end < bucket)] += number;
    }
    let buckets = Buckets {
        counts: &counts,
        count,
        sum: Duration::from_secs(times.sum),
    };
    text.histogram(&name, "", &buckets);
    let help = "Counts for confirmed deliveries";
    let name = format!("{REFERENCE}delivery_ack_confirmed_count");
    text.family(&name, Counter, help);
    samples_by_period(text, &name, by_period);
}

fn by_period(text: &mut Text, (name, help): (&str, &str), counts: [u64; PERIODS.len()]) {
    let name = format!("{REFERENCE}{name}");
    text.family(&name, Gauge, help);
    samples_by_period(text, &name, counts);
}

fn samples_by_period(text: &mut Text, name: &str, counts: [u64; PERIODS.len()]) {
    for (period, count) in PERIODS.iter().zip(counts) {
        text.sample(name, &label("period", period), count);
    }
}
