//! What the executors' sweeps of their messages found, together.

use std::collections::BTreeMap;

/// What one executor's sweep of its messages found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepReport {
    /// Number of its shard.
    pub shard: u16,
    /// Messages left, quota markers included.
    pub stored: u64,
    /// Messages dropped.
    pub expired: u64,
    /// Queues.
    pub queues: u64,
}

/// Reports of sweeps, until each shard has sent one. Of a shard that sweeps more often the last is
/// kept, with what its earlier ones dropped.
#[derive(Debug)]
pub struct Sweeps {
    shards: usize,
    reports: BTreeMap<u16, SweepReport>,
}

/// What the sweeps of all shards found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepTotals {
    /// Messages left, quota markers included.
    pub stored: u64,
    /// Messages dropped.
    pub expired: u64,
    /// Queues.
    pub queues: u64,
}

impl Sweeps {
    /// Waits for the reports of so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            reports: BTreeMap::new(),
        }
    }

    /// Takes a report; returns the sums once every shard has sent one, and begins again.
    pub fn add(&mut self, report: SweepReport) -> Option<SweepTotals> {
        let earlier = self.reports.insert(report.shard, report);
        if let Some((earlier, kept)) = earlier.zip(self.reports.get_mut(&report.shard)) {
            kept.expired += earlier.expired;
        }
        if self.reports.len() < self.shards {
            return None;
        }
        let reports = std::mem::take(&mut self.reports);
        let sum = |sum: SweepTotals, report: &SweepReport| SweepTotals {
            stored: sum.stored + report.stored,
            expired: sum.expired + report.expired,
            queues: sum.queues + report.queues,
        };
        Some(reports.values().fold(SweepTotals::default(), sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_counts_once_however_often_it_sweeps() {
        let mut sweeps = Sweeps::new(3);
        let report = |shard, stored, expired| SweepReport {
            shard,
            stored,
            expired,
            queues: 1,
        };
        let totals = |stored, expired| SweepTotals {
            stored,
            expired,
            queues: 3,
        };
        assert_eq!(sweeps.add(report(0, 10, 1)), None);
        assert_eq!(sweeps.add(report(0, 20, 2)), None);
        assert_eq!(sweeps.add(report(2, 100, 4)), None);
        assert_eq!(sweeps.add(report(0, 30, 8)), None);
        assert_eq!(sweeps.add(report(1, 1000, 16)), Some(totals(1130, 31)));
        // Nothing is left of it.
        for (shard, sum) in [(1, None), (0, None), (2, Some(totals(3, 0)))] {
            assert_eq!(sweeps.add(report(shard, 1, 0)), sum);
        }
    }
}
