//! How many queues may be blocked per day (spec: operations §3.3).

use crate::config::values::BlockQuota;

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
        let quota = BlockQuota::PerDay(2);
        assert_eq!(quota.refusal(1), None);
        let refused = "error: reached limit of 2 queues blocked daily";
        assert_eq!(quota.refusal(2).as_deref(), Some(refused));
        assert_eq!(BlockQuota::Unlimited.refusal(u64::MAX), None);
        let never = "error: reached limit of -1 queues blocked daily";
        assert_eq!(BlockQuota::Never.refusal(0).as_deref(), Some(never));
    }
}
