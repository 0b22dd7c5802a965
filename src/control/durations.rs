//! Durations of things that happen often, as a histogram.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Longest duration told apart, in microseconds; longer ones count as that.
const MAX_MICROS: u64 = 60_000_000;
/// Significant digits of a duration: 20 KB.
const DIGITS: u8 = 2;

/// Durations of one executor or of several together.
#[derive(Debug, Clone)]
pub struct Durations {
    /// Microseconds. Constant bounds are valid, so there always is one.
    histogram: Option<Histogram<u64>>,
    total: Duration,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok(),
            total: Duration::ZERO,
        }
    }
}

impl Durations {
    /// Notes a duration.
    pub fn record(&mut self, duration: Duration) {
        self.total += duration;
        if let Some(histogram) = &mut self.histogram {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            histogram.saturating_record(micros.clamp(1, MAX_MICROS));
        }
    }

    /// Adds those of another executor.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        if let (Some(histogram), Some(more)) = (&mut self.histogram, &other.histogram) {
            // The same bounds everywhere, so adding cannot fail.
            let _ = histogram.add(more);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Longest of all but the longest durations: 0.99 leaves out one in a hundred, 1 none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let durations = self.histogram.as_ref().filter(|all| !all.is_empty());
        let micros = durations.map_or(0, |all| all.value_at_quantile(quantile));
        Duration::from_micros(micros)
    }

    /// How many are at most as long as each bound, which ascend: the first significant digits
    /// count. One look at the histogram.
    pub fn at_most<const N: usize>(&self, bounds: &[Duration; N]) -> [u64; N] {
        let mut counts = [0; N];
        let mut bound = 0;
        let mut seen = 0;
        let Some(histogram) = &self.histogram else {
            return counts;
        };
        for step in histogram.iter_recorded() {
            let micros = histogram.lowest_equivalent(step.value_iterated_to());
            let duration = Duration::from_micros(micros);
            while bound < N && bounds[bound] < duration {
                counts[bound] = seen;
                bound += 1;
            }
            seen += step.count_since_last_iteration();
        }
        counts[bound..].fill(seen);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_count_what_is_no_longer() {
        let ms = Duration::from_millis;
        let mut durations = Durations::default();
        let bounds = [ms(1), ms(10), ms(100), ms(1_000)];
        assert_eq!(durations.at_most(&bounds), [0; 4]);
        for duration in [1, 2, 3, 20, 5_000, 90_000_000] {
            durations.record(ms(duration));
        }
        assert_eq!(durations.at_most(&bounds), [1, 3, 4, 4]);
        assert_eq!(durations.count(), 6);
        let mut only_short = Durations::default();
        only_short.record(ms(2));
        assert_eq!(only_short.at_most(&bounds), [0, 1, 1, 1]);
    }
}
