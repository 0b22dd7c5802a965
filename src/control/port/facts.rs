//! Facts of the runtime on one line, as `stats-rts` gives them (spec: operations §3.3).
//!
//! The reference shows its garbage collector. Fields with a counterpart keep their names.

use crate::control::{Load, ShardSnapshot, StepKind};
use std::time::Duration;

/// The process as the kernel shows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessFacts {
    /// Memory in use, bytes.
    pub memory: u64,
    /// Most memory ever in use, bytes.
    pub peak_memory: u64,
    /// Time on processors.
    pub cpu: Duration,
    /// Time since start.
    pub elapsed: Duration,
}

impl ProcessFacts {
    /// Reads the text of `/proc/self/status`, whose sizes are in KiB.
    pub fn read_memory(&mut self, status: &str) {
        let size = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        };
        self.memory = size("VmRSS:").unwrap_or_default();
        self.peak_memory = size("VmHWM:").unwrap_or_default();
    }
}

/// The answer to `stats-rts`.
pub fn runtime_facts(process: &ProcessFacts, snapshots: &[ShardSnapshot]) -> String {
    let ProcessFacts {
        memory,
        peak_memory,
        cpu,
        elapsed,
    } = process;
    let shards: Vec<_> = snapshots.iter().map(shard_facts).collect();
    format!(
        "RTSStats {{max_mem_in_use_bytes = {peak_memory}, mem_in_use_bytes = {memory}, \
         cpu_ns = {}, elapsed_ns = {}, executors = {}, shards = [{}]}}",
        cpu.as_nanos(),
        elapsed.as_nanos(),
        snapshots.len() + 1,
        shards.join(", "),
    )
}

fn shard_facts(snapshot: &ShardSnapshot) -> String {
    let busy: Duration = StepKind::ALL
        .into_iter()
        .map(|kind| snapshot.steps.total(kind))
        .sum();
    let Load {
        mesh_arrived,
        mesh_waiting,
        store,
    } = snapshot.load;
    format!(
        "Shard {{shard = {}, connections = {}, handshakes = {}, queues = {}, messages = {}, \
         busy_ns = {}, mesh_arrived = {mesh_arrived}, mesh_waiting = {mesh_waiting}, \
         store_heap_bytes = {}, segments_bytes = {}, segments_live_bytes = {}}}",
        snapshot.shard,
        snapshot.sessions,
        snapshot.handshakes,
        snapshot.totals.queues,
        snapshot.totals.messages,
        busy.as_nanos(),
        store.heap,
        store.mapped,
        store.live,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_one_line() {
        let mut process = ProcessFacts {
            cpu: Duration::from_nanos(5),
            elapsed: Duration::from_secs(1),
            ..ProcessFacts::default()
        };
        process.read_memory("Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t   8 kB\n");
        let line = runtime_facts(&process, &[ShardSnapshot::default()]);
        assert_eq!(
            line,
            "RTSStats {max_mem_in_use_bytes = 12288, mem_in_use_bytes = 8192, cpu_ns = 5, \
             elapsed_ns = 1000000000, executors = 2, shards = [Shard {shard = 0, \
             connections = 0, handshakes = 0, queues = 0, messages = 0, busy_ns = 0, \
             mesh_arrived = 0, mesh_waiting = 0, store_heap_bytes = 0, segments_bytes = 0, \
             segments_live_bytes = 0}]}"
        );
    }
}
