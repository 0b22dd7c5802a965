//! Metrics that the reference does not have: each shard, its executor and its store; the process.

use super::Kind::{self, Counter, Gauge, Histogram};
use super::text::{Buckets, Text, label};
use crate::control::port::ProcessFacts;
use crate::control::{Durations, Overview, ShardSnapshot, StepKind};
use std::time::Duration;

/// Prefix of the names.
const PREFIX: &str = "smp_relay_";
const NANOS: f64 = 1e9;

/// Upper bounds of steps and commits.
const BOUNDS: [Duration; 12] = [
    Duration::from_micros(10),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// Names of the logs of a shard, in the order of their segments.
const LOGS: [&str; 3] = ["queues", "messages", "leftovers"];

/// A number of each shard: name, what it is, explanation and value.
type ShardMetric = (&'static str, Kind, &'static str, fn(&ShardSnapshot) -> u64);

static SHARD_METRICS: &[ShardMetric] = &[
    ("queues", Gauge, "Queues of a shard.", |s| s.totals.queues),
    ("messages", Gauge, "Messages stored by a shard.", |s| {
        s.totals.messages
    }),
    ("notifiers", Gauge, "Notifiers of a shard.", |s| {
        s.totals.notifiers
    }),
    (
        "waiting_notifications",
        Gauge,
        "Notifications waiting for their subscribers.",
        |s| s.waiting_notifications,
    ),
    ("message_subscriptions", Gauge, "Queues subscribed.", |s| {
        s.message_subscriptions.queues
    }),
    (
        "notification_subscriptions",
        Gauge,
        "Notifiers subscribed.",
        |s| s.notification_subscriptions.queues,
    ),
    (
        "pending_deliveries",
        Gauge,
        "Messages given to connections and not acknowledged.",
        |s| s.deliveries.count,
    ),
    (
        "messages_stored",
        Counter,
        "Messages stored by a shard since start.",
        |s| s.counters.messages_sent,
    ),
    (
        "mesh_arrived",
        Gauge,
        "Messages of other executors that are not taken yet.",
        |s| s.load.mesh_arrived,
    ),
    (
        "mesh_waiting",
        Gauge,
        "Messages that other executors have no room for.",
        |s| s.load.mesh_waiting,
    ),
    (
        "store_heap_bytes",
        Gauge,
        "Memory of the index and the table of queues.",
        |s| s.load.store.heap as u64,
    ),
    (
        "log_bytes",
        Gauge,
        "Bytes of all segments of the logs.",
        |s| s.load.store.mapped as u64,
    ),
    (
        "log_live_bytes",
        Gauge,
        "Bytes of records that are needed.",
        |s| s.load.store.live as u64,
    ),
    (
        "disk_full",
        Gauge,
        "1 when the logs get no more space.",
        |s| s.disk_full.into(),
    ),
];

/// Writes them.
pub fn write(text: &mut Text, overview: &Overview, process: &ProcessFacts) {
    of_process(text, overview, process);
    let shards: Vec<_> = overview
        .shards
        .iter()
        .map(|shard| (label("shard", &shard.shard.to_string()), shard))
        .collect();
    for (name, kind, help, value) in SHARD_METRICS {
        let name = format!("{PREFIX}{name}");
        text.family(&name, *kind, help);
        for (labels, shard) in &shards {
            text.sample(&name, labels, value(shard));
        }
    }
    connections(text, &shards);
    segments(text, &shards);
    let name = format!("{PREFIX}step_seconds");
    let help = "Time that an executor was kept by a step, by what the step was for.";
    text.family(&name, Histogram, help);
    for (labels, shard) in &shards {
        for kind in StepKind::ALL {
            let labels = format!("{labels},{}", label("kind", &kind.to_string()));
            durations(text, &name, &labels, shard.steps.of(kind));
        }
    }
    let name = format!("{PREFIX}commit_seconds");
    let help = "Time to make changes durable.";
    text.family(&name, Histogram, help);
    for (labels, shard) in &shards {
        durations(text, &name, labels, &shard.commits);
    }
}

fn of_process(text: &mut Text, overview: &Overview, process: &ProcessFacts) {
    let ProcessFacts {
        memory,
        peak_memory,
        cpu,
        elapsed,
    } = process;
    let mut one = |name: &str, kind, help: &str, value: &dyn std::fmt::Display| {
        let name = format!("{PREFIX}{name}");
        text.family(&name, kind, help);
        text.sample(&name, "", value);
    };
    let started = overview.now_ns as f64 / NANOS - elapsed.as_secs_f64();
    let help = "Resident memory of the process, mapped segments included.";
    one("resident_memory_bytes", Gauge, help, memory);
    let help = "Most resident memory since start.";
    one("peak_resident_memory_bytes", Gauge, help, peak_memory);
    let help = "Time on processors.";
    one("cpu_seconds_total", Counter, help, &cpu.as_secs_f64());
    let help = "When the process started, since the Unix epoch.";
    one("start_time_seconds", Gauge, help, &started);
    let help = "Queues blocked by the operator today.";
    one("blocked_today", Gauge, help, &overview.blocked_today);
}

/// Connections by what they are in.
fn connections(text: &mut Text, shards: &[(String, &ShardSnapshot)]) {
    let name = format!("{PREFIX}connections");
    let help = "Connections: in the TLS or SMP handshake, after it, and the rest, not begun or \
                about to close.";
    text.family(&name, Gauge, help);
    for (labels, shard) in shards {
        let active: u64 = shard.sockets.iter().map(|port| port.active).sum();
        let (handshakes, sessions) = (shard.handshakes, shard.sessions);
        for (state, number) in [
            ("handshake", handshakes),
            ("session", sessions),
            ("other", active.saturating_sub(handshakes + sessions)),
        ] {
            let labels = format!("{labels},{}", label("state", state));
            text.sample(&name, &labels, number);
        }
    }
}

fn segments(text: &mut Text, shards: &[(String, &ShardSnapshot)]) {
    let name = format!("{PREFIX}log_segments");
    let help = "Segments of each log, and those in none.";
    text.family(&name, Gauge, help);
    for (labels, shard) in shards {
        let store = &shard.load.store;
        let logs = LOGS.into_iter().zip(store.segments);
        for (log, number) in logs.chain([("unused", store.unused)]) {
            let labels = format!("{labels},{}", label("log", log));
            text.sample(&name, &labels, number);
        }
    }
}

fn durations(text: &mut Text, name: &str, labels: &str, durations: &Durations) {
    let counts = durations.at_most(&BOUNDS);
    let bounds = BOUNDS.map(|bound| bound.as_secs_f64());
    let counts: Vec<_> = bounds.into_iter().zip(counts).collect();
    let buckets = Buckets {
        counts: &counts,
        count: durations.count(),
        sum: durations.total(),
    };
    text.histogram(name, labels, &buckets);
}
