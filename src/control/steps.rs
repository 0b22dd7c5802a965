//! How long each step of an executor keeps it: nothing else of the shard happens meanwhile.

use hdrhistogram::Histogram;
use std::fmt;
use std::time::Duration;

/// Longest step told apart, in microseconds; longer ones count as that.
const MAX_MICROS: u64 = 60_000_000;
/// Significant digits of a duration: 20 KB per kind.
const DIGITS: u8 = 2;
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

#[derive(Debug, Clone)]
struct Times {
    /// Microseconds. Constant bounds are valid, so there always is one.
    histogram: Option<Histogram<u64>>,
    total: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok(),
            total: Duration::ZERO,
        }
    }
}

/// Durations of steps by kind, of one executor or of several together.
#[derive(Debug, Clone, Default)]
pub struct StepTimes([Times; KINDS]);

impl StepTimes {
    /// Notes a step.
    pub fn record(&mut self, kind: StepKind, duration: Duration) {
        let times = &mut self.0[kind as usize];
        times.total += duration;
        if let Some(histogram) = &mut times.histogram {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            histogram.saturating_record(micros.clamp(1, MAX_MICROS));
        }
    }

    /// Adds the steps of another executor.
    pub fn merge(&mut self, other: &Self) {
        for (times, more) in self.0.iter_mut().zip(&other.0) {
            times.total += more.total;
            if let (Some(histogram), Some(more)) = (&mut times.histogram, &more.histogram) {
                // The same bounds everywhere, so adding cannot fail.
                let _ = histogram.add(more);
            }
        }
    }

    /// Number of steps.
    pub fn count(&self, kind: StepKind) -> u64 {
        self.histogram(kind).map_or(0, Histogram::len)
    }

    /// Time that all steps took together.
    pub fn total(&self, kind: StepKind) -> Duration {
        self.0[kind as usize].total
    }

    /// Longest time of all but the longest steps: 0.99 leaves out one in a hundred, 1 none.
    pub fn quantile(&self, kind: StepKind, quantile: f64) -> Duration {
        let steps = self.histogram(kind).filter(|steps| !steps.is_empty());
        let micros = steps.map_or(0, |steps| steps.value_at_quantile(quantile));
        Duration::from_micros(micros)
    }

    fn histogram(&self, kind: StepKind) -> Option<&Histogram<u64>> {
        self.0[kind as usize].histogram.as_ref()
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
