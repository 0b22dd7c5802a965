//! Wrong passwords are answered late, the later the more there were.

use std::time::{Duration, Instant};

/// Delay after the first wrong password.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Time without wrong passwords after which they are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// More doublings make no difference.
const MAX_DOUBLINGS: u32 = 16;

/// Wrong passwords of all sessions. Only the session that gave one waits.
#[derive(Debug, Default)]
pub struct Throttle {
    wrong: u32,
    last: Option<Instant>,
}

impl Throttle {
    /// Notes a wrong password; how long its answer is to wait.
    pub fn note_wrong(&mut self, now: Instant) -> Duration {
        let forgotten = self.last.is_none_or(|last| {
            let since = now.saturating_duration_since(last);
            since > FORGOTTEN_AFTER
        });
        if forgotten {
            self.wrong = 0;
        }
        let doublings = self.wrong.min(MAX_DOUBLINGS);
        self.wrong = self.wrong.saturating_add(1);
        self.last = Some(now);
        (FIRST_DELAY * (1 << doublings)).min(MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_are_forgotten() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let delays: Vec<_> = (0..9).map(|_| throttle.note_wrong(start)).collect();
        assert!(delays.is_sorted());
        assert_eq!(delays[0], FIRST_DELAY);
        assert_eq!(delays[1], 2 * FIRST_DELAY);
        assert_eq!(delays[8], MAX_DELAY);
        for _ in 0..99 {
            assert_eq!(throttle.note_wrong(start), MAX_DELAY);
        }
        let later = start + FORGOTTEN_AFTER + Duration::from_secs(1);
        assert_eq!(throttle.note_wrong(later), FIRST_DELAY);
    }
}
