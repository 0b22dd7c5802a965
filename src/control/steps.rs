//! How long each step of an executor keeps it: nothing else of the shard happens meanwhile.

use super::durations::Durations;
use std::fmt;
use std::time::Duration;

/// Number of kinds.
const KINDS: usize = 4;

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A connection: handshake, commands, answers.
    Connection,
    /// What other executors sent.
    Mesh,
    /// What is done by the clock: expiry, notifications, ends of subscriptions.
    Timer,
    /// The store: space, syncs that have ended.
    Maintenance,
}

impl StepKind {
    /// All of them.
    pub const ALL: [Self; KINDS] = [Self::Connection, Self::Mesh, Self::Timer, Self::Maintenance];
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Mesh => "mesh",
            Self::Timer => "timer",
            Self::Maintenance => "maintenance",
        })
    }
}

/// Durations of steps by kind, of one executor or of several together.
#[derive(Debug, Clone, Default)]
pub struct StepTimes([Durations; KINDS]);

impl StepTimes {
    /// Notes a step.
    pub fn record(&mut self, kind: StepKind, duration: Duration) {
        self.0[kind as usize].record(duration);
    }

    /// Adds the steps of another executor.
    pub fn merge(&mut self, other: &Self) {
        for (times, more) in self.0.iter_mut().zip(&other.0) {
            times.merge(more);
        }
    }

    /// The steps of a kind.
    pub fn of(&self, kind: StepKind) -> &Durations {
        &self.0[kind as usize]
    }

    /// Number of steps.
    pub fn count(&self, kind: StepKind) -> u64 {
        self.of(kind).count()
    }

    /// Time that all steps took together.
    pub fn total(&self, kind: StepKind) -> Duration {
        self.of(kind).total()
    }

    /// Longest time of all but the longest steps: 0.99 leaves out one in a hundred, 1 none.
    pub fn quantile(&self, kind: StepKind, quantile: f64) -> Duration {
        self.of(kind).quantile(quantile)
    }
}

impl fmt::Display for StepTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, kind) in StepKind::ALL.into_iter().enumerate() {
            let quantiles = [0.5, 0.99, 0.999, 1.0];
            let [middle, most, nearly_all, longest] = quantiles.map(|q| self.quantile(kind, q));
            let separator = if i == 0 { "" } else { "; " };
            let count = self.count(kind);
            write!(
                f,
                "{separator}{kind}: {count}, p50 {middle:?}, p99 {most:?}, p99.9 {nearly_all:?}, \
                 longest {longest:?}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn kinds_are_told_apart_and_executors_add_up() {
        let mut own = StepTimes::default();
        let mut other = StepTimes::default();
        for ms in 1..=100 {
            own.record(StepKind::Mesh, ms * MS);
            other.record(StepKind::Mesh, (ms + 100) * MS);
        }
        other.record(StepKind::Timer, 7 * MS);
        own.merge(&other);
        assert_eq!(own.count(StepKind::Mesh), 200);
        assert_eq!(own.total(StepKind::Mesh), 20_100 * MS);
        let middle = own.quantile(StepKind::Mesh, 0.5);
        assert!(middle.abs_diff(100 * MS) <= MS, "{middle:?}");
        let longest = own.quantile(StepKind::Mesh, 1.0);
        assert!(longest.abs_diff(200 * MS) <= 2 * MS, "{longest:?}");
        assert_eq!(own.count(StepKind::Timer), 1);
        assert_eq!(own.count(StepKind::Connection), 0);
        assert_eq!(own.quantile(StepKind::Connection, 1.0), Duration::ZERO);
    }

    #[test]
    fn any_duration_counts() {
        let mut times = StepTimes::default();
        times.record(StepKind::Timer, Duration::ZERO);
        times.record(StepKind::Timer, Duration::from_secs(1 << 40));
        assert_eq!(times.count(StepKind::Timer), 2);
    }
}
