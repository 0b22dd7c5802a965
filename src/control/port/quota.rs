//! How many queues may be blocked per day (spec: operations §3.3).

use crate::config::values::BlockQuota;

/// Queues blocked through the control port on one day (UTC).
#[derive(Debug, Default)]
pub struct BlockedToday {
    day: u32,
    count: u64,
}

impl BlockedToday {
    /// Queues blocked on `day`, days since the Unix epoch.
    pub fn count(&mut self, day: u32) -> u64 {
        if self.day != day {
            *self = Self { day, count: 0 };
        }
        self.count
    }

    /// Counts a queue that was active before.
    pub fn note(&mut self, day: u32) {
        self.count = self.count(day) + 1;
    }
}

impl BlockQuota {
    /// What is answered to `block` when so many queues were blocked today, if it is refused.
    pub fn refusal(self, blocked: u64) -> Option<String> {
        let limit = match self {
            Self::Unlimited => return None,
            Self::Never => -1,
            Self::PerDay(limit) if blocked < u64::from(limit) => return None,
            Self::PerDay(limit) => i64::from(limit),
        };
        Some(format!(
            "error: reached limit of {limit} queues blocked daily"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_bound_the_day() {
        let mut blocked = BlockedToday::default();
        let quota = BlockQuota::PerDay(2);
        let mut refusal = |day, note: bool| {
            if note {
                blocked.note(day);
            }
            quota.refusal(blocked.count(day))
        };
        assert_eq!(refusal(1, false), None);
        assert_eq!(refusal(1, true), None);
        let refused = "error: reached limit of 2 queues blocked daily";
        assert_eq!(refusal(1, true).as_deref(), Some(refused));
        assert_eq!(refusal(2, false), None);
        assert_eq!(BlockQuota::Unlimited.refusal(u64::MAX), None);
        let never = "error: reached limit of -1 queues blocked daily";
        assert_eq!(BlockQuota::Never.refusal(0).as_deref(), Some(never));
    }
}
