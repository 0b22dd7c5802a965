//! Sockets by port, and by port and executor (spec: operations §3.3).

use crate::control::{PortSockets, ShardSnapshot};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The answer to `sockets`.
pub fn sockets(snapshots: &[ShardSnapshot]) -> String {
    let mut ports: BTreeMap<u16, PortSockets> = BTreeMap::new();
    for sockets in snapshots.iter().flat_map(|snapshot| &snapshot.sockets) {
        let sum = ports.entry(sockets.port).or_default();
        sum.accepted += sockets.accepted;
        sum.closed += sockets.closed;
        sum.active += sockets.active;
    }
    let mut out = String::new();
    for (port, sum) in ports {
        let PortSockets {
            accepted,
            closed,
            active,
            ..
        } = sum;
        let leaked = accepted.saturating_sub(closed + active);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "Sockets for port {port}:\naccepted: {accepted}\nclosed: {closed}\n\
             active: {active}\nleaked: {leaked}"
        );
    }
    out
}

/// The answer to `socket-threads`: the executors that have sockets, with the number of them where
/// the reference, which has a thread for each, shows one.
pub fn socket_threads(snapshots: &[ShardSnapshot]) -> String {
    let mut out = String::new();
    for snapshot in snapshots {
        let shard = snapshot.shard;
        for sockets in snapshot.sockets.iter().filter(|sockets| sockets.active > 0) {
            let PortSockets { port, active, .. } = sockets;
            let _ = writeln!(
                out,
                "{port},{active},shard-{shard},ThreadRunning,sockets of shard {shard}"
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(shard: u16, sockets: &[(u16, u64, u64, u64)]) -> ShardSnapshot {
        let sockets = sockets
            .iter()
            .map(|(port, accepted, closed, active)| PortSockets {
                port: *port,
                accepted: *accepted,
                closed: *closed,
                active: *active,
            });
        ShardSnapshot {
            shard,
            sockets: sockets.collect(),
            ..ShardSnapshot::default()
        }
    }

    #[test]
    fn sockets_of_all_shards_add_up_by_port() {
        let shards = [
            snapshot(0, &[(443, 1, 0, 1), (5223, 5, 3, 2)]),
            snapshot(1, &[(443, 0, 0, 0), (5223, 7, 1, 6)]),
        ];
        assert_eq!(
            sockets(&shards),
            "Sockets for port 443:\naccepted: 1\nclosed: 0\nactive: 1\nleaked: 0\n\
             Sockets for port 5223:\naccepted: 12\nclosed: 4\nactive: 8\nleaked: 0\n"
        );
        assert_eq!(
            socket_threads(&shards),
            "443,1,shard-0,ThreadRunning,sockets of shard 0\n\
             5223,2,shard-0,ThreadRunning,sockets of shard 0\n\
             5223,6,shard-1,ThreadRunning,sockets of shard 1\n"
        );
    }
}
