//! What was counted since the last row of daily statistics, over restarts (spec: server §12.1).
//!
//! Shards count on for as long as the process lives. What they had counted at the last row is
//! subtracted here, and what earlier processes had counted since the row before is added.

use super::overview::Overview;
use super::snapshot::ShardSnapshot;
use crate::relay::{ActiveQueues, Activity, Counters, day_of};
use serde::{Deserialize, Serialize};

const NANOS: i64 = 1_000_000_000;

/// When and whether rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatisticsConfig {
    /// Seconds after midnight (UTC) at which a day begins.
    pub day_starts_at: i64,
    /// Whether each day ends with a row; without rows counting goes on.
    pub rows: bool,
}

/// What outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedStatistics {
    /// When counting began, nanoseconds since the Unix epoch.
    pub from_time_ns: i64,
    /// What was counted since.
    pub counters: Counters,
    /// The day that was running, days since the Unix epoch.
    pub day: u16,
    /// Queues used in its periods.
    pub active: ActiveQueues,
    /// Queues blocked by the operator that day.
    pub blocked_today: u64,
}

/// The totals, kept while rows come and go.
#[derive(Debug)]
pub struct Statistics {
    config: StatisticsConfig,
    from_time_ns: i64,
    /// Counted before this process started and since the last row.
    carried: Counters,
    /// Counted by this process before the last row.
    before: Counters,
    /// Queues used before this process started.
    activity: Activity,
    /// The day that runs.
    day: u16,
    /// Queues blocked that day before this process started.
    blocked_carried: u64,
    /// Queues blocked by this process before that day.
    blocked_before: u64,
}

impl Statistics {
    /// Goes on with what was saved, or begins.
    pub fn new(config: StatisticsConfig, saved: Option<SavedStatistics>, now_ns: i64) -> Self {
        let day = day_of(now_ns.div_euclid(NANOS), config.day_starts_at);
        let saved = saved.unwrap_or(SavedStatistics {
            from_time_ns: now_ns,
            day,
            ..SavedStatistics::default()
        });
        let mut activity = Activity::new(config.day_starts_at);
        activity.restore(saved.day, saved.active);
        Self {
            config,
            from_time_ns: saved.from_time_ns,
            carried: saved.counters,
            before: Counters::default(),
            activity,
            day: saved.day,
            blocked_carried: saved.blocked_today,
            blocked_before: 0,
        }
    }

    /// The relay at `now_ns`, nanoseconds since the Unix epoch, given what all shards tell.
    pub fn overview(&mut self, now_ns: i64, shards: Vec<ShardSnapshot>) -> Overview {
        let mut overview = Overview::of(shards);
        overview.now_ns = now_ns;
        overview.from_time_ns = self.from_time_ns;
        overview.counters = self.since_row(&overview.since_start);
        let blocked = overview.since_start.queues_blocked;
        overview.blocked_today = self.blocked_carried + blocked.saturating_sub(self.blocked_before);
        overview.active += self.activity.current(now_ns.div_euclid(NANOS));
        overview
    }

    fn since_row(&self, since_start: &Counters) -> Counters {
        let mut counters = *since_start;
        counters -= &self.before;
        counters += &self.carried;
        counters
    }
}
