//! What happened, as plain integers of one shard (spec: server §12).
//!
//! Nobody shares them: whoever reports asks every shard for a copy and adds them up.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};

/// Declares the counters with what they count and how two shards' add up.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one shard since start. Numbers in brackets are columns of the statistics
        /// file (spec: server §12.2); counters that never move in the reference are not kept.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }
        }

        impl SubAssign<&Counters> for Counters {
            fn sub_assign(&mut self, other: &Counters) {
                $(self.$name = self.$name.saturating_sub(other.$name);)*
            }
        }

        impl Counters {
            /// Every counter by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Queues created (2).
    queues_created,
    /// `KEY`, `SKEY`, `LKEY`, repetitions included (3).
    queues_secured,
    /// Queues deleted (4).
    queues_deleted,
    /// Deleted queues that nobody had secured (18).
    queues_deleted_new,
    /// Deleted queues that were secured (19).
    queues_deleted_secured,
    /// Queues blocked by the operator.
    queues_blocked,
    /// Messages stored (5).
    messages_sent,
    /// Messages acknowledged (6).
    messages_received,
    /// Messages stored with the notification flag (10).
    flagged_sent,
    /// Messages acknowledged with the notification flag (11).
    flagged_received,
    /// Messages expired (17).
    messages_expired,
    /// New subscriptions that delivered a message (41).
    subscribed,
    /// `SUB` refused (42).
    sub_auth,
    /// `SUB` repeated (43).
    sub_duplicate,
    /// `SUB` after `GET` (44).
    sub_prohibited,
    /// `SEND` refused (45).
    send_auth,
    /// `SEND` refused by the quota (46).
    send_quota,
    /// `SEND` too large (47).
    send_large,
    /// `SEND` to a blocked queue.
    send_blocked,
    /// Notifications given to subscribers (48).
    notifications_delivered,
    /// Notifications dropped because too many waited for one queue (50).
    notifications_lost,
    /// Messages fetched with `GET` and acknowledged (52).
    get_received,
    /// `GET` with a message (53).
    get_message,
    /// `GET` of an empty queue (54).
    get_no_message,
    /// `GET` refused (55).
    get_auth,
    /// `GET` of a message that was outstanding already (56).
    get_duplicate,
    /// `GET` while subscribed (57).
    get_prohibited,
    /// `NKEY` (62).
    notifiers_created,
    /// `NEW` with notifier credentials.
    notifiers_new_created,
    /// `NDEL` that removed credentials (63).
    notifiers_deleted,
    /// New individual `NSUB` (64).
    ntf_subscribed,
    /// `NSUB` refused (65).
    ntf_sub_auth,
    /// `NSUB` repeated (66).
    ntf_sub_duplicate,
    /// Blocks that start with `DEL` (68).
    deleted_all_batches,
    /// Blocks that start with `SUB` (69).
    sub_all_batches,
    /// `END`, `DELD` and `ENDS` sent (70).
    sub_ended,
    /// Their batches (71).
    sub_ended_batches,
    /// Blocks that start with `NDEL` (72).
    ntf_deleted_batches,
    /// Blocks that start with `NSUB` (73).
    ntf_sub_batches,
    /// Batches of notifications (74).
    notification_batches,
    /// Notifications expired (75).
    notifications_expired,
    /// Notifiers newly associated with a service (89).
    ntf_assoc_new,
    /// `NSUB` of a notifier that belongs to the service already (90).
    ntf_assoc_duplicate,
    /// Notifiers that changed their service (91).
    ntf_assoc_updated,
    /// Notifiers that left their service (92).
    ntf_assoc_removed,
    /// Service subscriptions made by `NSUB` (93).
    ntf_service_subscribed,
    /// Notifiers subscribed through services (95).
    ntf_service_queues,
    /// Sessions with other relays asked for (20).
    relays_requests,
    /// Of these, got (21).
    relays_successes,
    /// No connection (22).
    relays_errors_connect,
    /// No common version (23).
    relays_errors_compatibility,
    /// Other failures (24).
    relays_errors_other,
    /// Sessions with the operator's own relays (25).
    relays_own_requests,
    /// Of these, got (26).
    relays_own_successes,
    /// No connection (27).
    relays_own_errors_connect,
    /// No common version (28).
    relays_own_errors_compatibility,
    /// Other failures (29).
    relays_own_errors_other,
    /// Commands forwarded to other relays (30).
    forwards_requests,
    /// Of these, answered (31).
    forwards_successes,
    /// No connection (32).
    forwards_errors_connect,
    /// No common version (33).
    forwards_errors_compatibility,
    /// Other failures (34).
    forwards_errors_other,
    /// Commands forwarded to the operator's own relays (35).
    forwards_own_requests,
    /// Of these, answered (36).
    forwards_own_successes,
    /// No connection (37).
    forwards_own_errors_connect,
    /// No common version (38).
    forwards_own_errors_compatibility,
    /// Other failures (39).
    forwards_own_errors_other,
    /// Forwarded commands of other relays answered (40).
    forwards_received,
}

impl Counters {
    /// What goes on counting when a day of the statistics ends; the rest begins at zero
    /// (spec: server §12.1).
    pub fn kept_over_days(&self) -> Self {
        Self {
            send_blocked: self.send_blocked,
            notifiers_new_created: self.notifiers_new_created,
            ntf_assoc_new: self.ntf_assoc_new,
            ntf_assoc_duplicate: self.ntf_assoc_duplicate,
            ntf_assoc_updated: self.ntf_assoc_updated,
            ntf_assoc_removed: self.ntf_assoc_removed,
            ntf_service_subscribed: self.ntf_service_subscribed,
            ntf_service_queues: self.ntf_service_queues,
            ..Self::default()
        }
    }
}

/// Seconds between delivery and acknowledgement (spec: server §12.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckTimes {
    /// Sum of all, seconds.
    pub sum: u64,
    /// Longest, seconds.
    pub max: u64,
    /// Number by upper bound, seconds.
    pub buckets: BTreeMap<u64, u64>,
}

impl AckTimes {
    /// Longest time that has a bucket of its own; the rest share one, so that their number stays
    /// bounded.
    const MAX_BUCKET: u64 = 30 * 86_400;

    /// Records one.
    pub fn record(&mut self, seconds: u64) {
        let step = match seconds {
            0..=5 => 1,
            6..=30 => 5,
            31..=60 => 10,
            61..=180 => 30,
            _ => 60,
        };
        let bucket = seconds.min(Self::MAX_BUCKET).div_ceil(step) * step;
        self.sum = self.sum.saturating_add(seconds);
        self.max = self.max.max(seconds);
        *self.buckets.entry(bucket).or_default() += 1;
    }
}

impl AddAssign<&AckTimes> for AckTimes {
    fn add_assign(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_buckets_of_the_reference() {
        let mut times = AckTimes::default();
        for seconds in [0, 5, 6, 10, 11, 30, 31, 60, 61, 90, 180, 181, 240] {
            times.record(seconds);
        }
        let buckets: Vec<_> = times.buckets.iter().map(|(b, n)| (*b, *n)).collect();
        let expected = [
            (0, 1),
            (5, 1),
            (10, 2),
            (15, 1),
            (30, 1),
            (40, 1),
            (60, 1),
            (90, 2),
            (180, 1),
            (240, 2),
        ];
        assert_eq!(buckets, expected);
        assert_eq!((times.max, times.sum), (240, 905));
    }

    #[test]
    fn counters_of_shards_add_up_one_by_one() {
        let mut sum = Counters {
            queues_created: 1,
            ..Counters::default()
        };
        sum += &Counters {
            queues_created: 2,
            sub_auth: 3,
            ..Counters::default()
        };
        let moved: Vec<_> = sum.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(moved, [("queues_created", 3), ("sub_auth", 3)]);
    }
}
