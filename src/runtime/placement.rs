//! How many shards there are and where their executors run.

use glommio::Placement;
use rustix::process::Pid;
use rustix::thread::sched_getaffinity;

/// From this many cores on, one is left to everything that is not a shard.
const CORES_WITH_CONTROL: usize = 4;

/// Cores this process may run on, ascending; empty when the system does not say.
pub fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None::<Pid>) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Number of shards when the configuration does not say.
pub fn default_shards(cores: usize) -> usize {
    if cores >= CORES_WITH_CONTROL {
        cores - 1
    } else {
        cores.max(1)
    }
}

/// Where the executor of a shard runs: pinned to a core of its own, unbound when there are more
/// shards than cores. With spare cores the first is left alone.
pub fn placement(shard: usize, shards: usize, cores: &[usize]) -> Placement {
    let first = usize::from(cores.len() > shards);
    match cores.get(first + shard) {
        Some(core) if shards <= cores.len() => Placement::Fixed(*core),
        _ => Placement::Unbound,
    }
}

/// Where the control executor runs: on the core that is left alone, if there is one, else wherever
/// the system finds time.
pub fn control_placement(shards: usize, cores: &[usize]) -> Placement {
    match cores.first() {
        Some(core) if cores.len() > shards => Placement::Fixed(*core),
        _ => Placement::Unbound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_use_every_core_and_large_ones_spare_one() {
        assert_eq!([1, 2, 3, 4, 16].map(default_shards), [1, 2, 3, 3, 15]);
    }

    #[test]
    fn executors_are_pinned_only_when_each_has_a_core() {
        let pinned = |shard, shards, cores: &[usize]| match placement(shard, shards, cores) {
            Placement::Fixed(core) => Some(core),
            _ => None,
        };
        assert_eq!(pinned(0, 2, &[0, 1]), Some(0));
        assert_eq!(pinned(1, 2, &[4, 6]), Some(6));
        assert_eq!(pinned(2, 3, &[0, 1, 2, 3]), Some(3));
        assert_eq!(pinned(0, 4, &[0, 1]), None);
    }
}
