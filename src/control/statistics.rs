//! What was counted since the last row of daily statistics, over restarts (spec: server §12.1).
//!
//! Shards count on for as long as the process lives. What they had counted at the last row is
//! subtracted here, and what earlier processes had counted since the row before is added.
//!
//! A day that ended while no process ran gets its row from the next one, with what was counted
//! until then.

use super::daily::{DailyStatistics, EndedPeriods};
use super::overview::Overview;
use super::snapshot::ShardSnapshot;
use crate::relay::{ActiveQueues, Counters, day_of};
use crate::store::{Totals, reference};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const NANOS: i64 = 1_000_000_000;
const DAY_NANOS: i64 = 86_400 * NANOS;

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
    /// Whether days ended with rows.
    pub rows: bool,
}

impl SavedStatistics {
    /// What the reference has saved, when days begin so many seconds after midnight.
    pub fn from_reference(statistics: &reference::Statistics, day_starts_at: i64) -> Self {
        let counters = Counters::from(statistics);
        Self {
            from_time_ns: statistics.from_time_ns,
            counters,
            day: day_of(statistics.from_time_ns.div_euclid(NANOS), day_starts_at),
            active: (&statistics.active).into(),
            blocked_today: counters.queues_blocked,
            rows: true,
        }
    }

    /// What the reference saves, without sets of active queues; `queues` is how many there are.
    pub fn to_reference(&self, queues: u64) -> reference::Statistics {
        self.counters.to_statistics(self.from_time_ns, queues)
    }
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
    /// The day that runs.
    day: u16,
    /// Queues used in its periods before this process started.
    active: ActiveQueues,
    /// When this process started, nanoseconds since the Unix epoch, and the day of that.
    started: (i64, u16),
    /// Queues blocked that day before this process started.
    blocked_carried: u64,
    /// Queues blocked by this process before that day.
    blocked_before: u64,
}

impl Statistics {
    /// Goes on with what was saved, or begins.
    pub fn new(config: StatisticsConfig, saved: Option<SavedStatistics>, now_ns: i64) -> Self {
        let today = config.day_of(now_ns);
        let mut saved = saved.unwrap_or(SavedStatistics {
            from_time_ns: now_ns,
            day: today,
            rows: config.rows,
            ..SavedStatistics::default()
        });
        if config.rows && !saved.rows {
            // The first row tells of the days with rows only.
            saved.counters = saved.counters.kept_over_days();
            saved.from_time_ns = now_ns;
        }
        if saved.day < today {
            saved.blocked_today = 0;
        }
        // A clock that was ahead must not keep days from ending.
        saved.day = saved.day.min(today);
        saved.from_time_ns = saved.from_time_ns.min(now_ns);
        Self {
            config,
            from_time_ns: saved.from_time_ns,
            carried: saved.counters,
            before: Counters::default(),
            day: saved.day,
            active: saved.active,
            started: (now_ns, today),
            blocked_carried: saved.blocked_today,
            blocked_before: 0,
        }
    }

    /// The relay at `now_ns`, nanoseconds since the Unix epoch, given what all shards tell.
    pub fn overview(&self, now_ns: i64, shards: Vec<ShardSnapshot>) -> Overview {
        let mut overview = Overview::of(shards);
        overview.now_ns = now_ns;
        overview.from_time_ns = self.from_time_ns;
        overview.counters = self.since_row(&overview.since_start);
        overview.blocked_today = self.blocked_today(&overview.since_start);
        overview.active += self.active;
        overview
    }

    /// Ends the day if it is over at `now_ns`, nanoseconds since the Unix epoch, given what all
    /// shards told at that time or later. Returns what its row tells, when days end with rows.
    pub fn end_day(&mut self, now_ns: i64, shards: &[ShardSnapshot]) -> Option<DailyStatistics> {
        // A shard may have been asked a moment later, or before a clock was set back.
        let days = shards.iter().map(|shard| shard.day);
        let today = days.fold(self.config.day_of(now_ns), u16::max);
        if today <= self.day {
            return None;
        }
        let since_start = counters(shards);
        // What was counted since the start belongs to the day of the start or a later one.
        let is_own = self.day >= self.started.1;
        let counted = if is_own {
            self.since_row(&since_start)
        } else {
            self.carried
        };
        let row = self.config.rows.then(|| {
            let mut active = self.active;
            let mut totals = Totals::default();
            for shard in shards {
                active += active_on(self.day, shard);
                totals += shard.totals;
            }
            DailyStatistics {
                day: self.config.day_of(self.from_time_ns),
                counters: counted,
                active: EndedPeriods::between(active, self.day, today),
                totals,
                waiting_notifications: shards.iter().map(|s| s.waiting_notifications).sum(),
            }
        });
        if row.is_some() {
            self.from_time_ns = if is_own { now_ns } else { self.started.0 };
            self.carried = counted.kept_over_days();
            if is_own {
                self.before = since_start;
            }
        }
        self.blocked_carried = 0;
        if is_own {
            self.blocked_before = since_start.queues_blocked;
        }
        self.active.advance(self.day, today);
        self.day = today;
        row
    }

    /// What must outlive the process, given what all shards told. The day must be
    /// [ended](Self::end_day) if it is over.
    pub fn saved(&self, shards: &[ShardSnapshot]) -> SavedStatistics {
        let mut active = self.active;
        for shard in shards {
            let mut counts = shard.durable_active;
            counts.advance(shard.day, self.day);
            active += counts;
        }
        let since_start = counters(shards);
        SavedStatistics {
            from_time_ns: self.from_time_ns,
            counters: self.since_row(&since_start),
            day: self.day,
            active,
            blocked_today: self.blocked_today(&since_start),
            rows: self.config.rows,
        }
    }

    /// Time from `now_ns`, nanoseconds since the Unix epoch, to the end of the day.
    pub fn until_next_day(&self, now_ns: i64) -> Duration {
        let begun = now_ns - self.config.day_starts_at.saturating_mul(NANOS);
        let left = DAY_NANOS - begun.rem_euclid(DAY_NANOS);
        Duration::from_nanos(left.unsigned_abs())
    }

    fn since_row(&self, since_start: &Counters) -> Counters {
        let mut counters = *since_start;
        counters -= &self.before;
        counters += &self.carried;
        counters
    }

    fn blocked_today(&self, since_start: &Counters) -> u64 {
        let own = since_start.queues_blocked;
        self.blocked_carried + own.saturating_sub(self.blocked_before)
    }
}

impl StatisticsConfig {
    fn day_of(&self, nanos: i64) -> u16 {
        day_of(nanos.div_euclid(NANOS), self.day_starts_at)
    }
}

fn counters(shards: &[ShardSnapshot]) -> Counters {
    let mut counters = Counters::default();
    shards.iter().for_each(|shard| counters += &shard.counters);
    counters
}

/// Queues of a shard used in the periods of a day that has ended, or is about to.
fn active_on(day: u16, shard: &ShardSnapshot) -> ActiveQueues {
    match shard.finished {
        _ if shard.day == day => shard.active,
        Some((finished, counts)) if finished == day => counts,
        _ => ActiveQueues::default(),
    }
}

#[cfg(test)]
mod tests;
