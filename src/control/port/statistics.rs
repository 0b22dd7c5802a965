//! The counters that `stats` gives (spec: operations §3.3).

use super::Role;
use crate::control::Overview;
use std::fmt::{Display, Write};
use time::OffsetDateTime;

/// The answer to `stats`: a line for each counter, one more for an admin.
pub fn statistics(overview: &Overview, role: Role) -> String {
    let counters = &overview.counters;
    let totals = &overview.totals;
    let mut lines = Lines::default();
    lines.line("fromTime", utc(overview.from_time_ns));
    lines.line("qCreated", counters.queues_created);
    lines.line("qSecured", counters.queues_secured);
    lines.line("qDeletedAll", counters.queues_deleted);
    lines.line("qDeletedAllB", counters.deleted_all_batches);
    lines.line("qDeletedNew", counters.queues_deleted_new);
    lines.line("qDeletedSecured", counters.queues_deleted_secured);
    lines.line("daily active queues", overview.active.messages.day);
    lines.line("qSub", counters.subscribed);
    lines.line("qSubAllB", counters.sub_all_batches);
    lines.line("qSubEnd", counters.sub_ended);
    lines.line("qSubEndB", counters.sub_ended_batches);
    lines.three(
        "other SUB events (auth, duplicate, prohibited)",
        [
            counters.sub_auth,
            counters.sub_duplicate,
            counters.sub_prohibited,
        ],
    );
    lines.line("msgSent", counters.messages_sent);
    lines.line("msgRecv", counters.messages_received);
    lines.line("msgRecvGet", counters.get_received);
    lines.line("msgGet", counters.get_message);
    lines.line("msgGetNoMsg", counters.get_no_message);
    lines.three(
        "other GET events (auth, duplicate, prohibited)",
        [
            counters.get_auth,
            counters.get_duplicate,
            counters.get_prohibited,
        ],
    );
    lines.line("msgSentNtf", counters.flagged_sent);
    lines.line("msgRecvNtf", counters.flagged_received);
    lines.line("msgNtfs", counters.notifications_delivered);
    lines.line("msgNtfsB", counters.notification_batches);
    lines.line("msgNtfExpired", counters.notifications_expired);
    lines.line("qCount", totals.queues);
    lines.line("qCount 2", totals.queues);
    lines.line("notifiers", totals.notifiers);
    lines.line("msgCount", totals.messages);
    lines.line("ntfCount", overview.waiting_notifications);
    if role >= Role::Admin {
        lines.line("ntfCount 2", overview.waiting_notifications);
    }
    lines.requests(
        "pRelays",
        [
            counters.relays_requests,
            counters.relays_successes,
            counters.relays_errors_connect,
            counters.relays_errors_compatibility,
            counters.relays_errors_other,
        ],
    );
    lines.requests(
        "pRelaysOwn",
        [
            counters.relays_own_requests,
            counters.relays_own_successes,
            counters.relays_own_errors_connect,
            counters.relays_own_errors_compatibility,
            counters.relays_own_errors_other,
        ],
    );
    lines.requests(
        "pMsgFwds",
        [
            counters.forwards_requests,
            counters.forwards_successes,
            counters.forwards_errors_connect,
            counters.forwards_errors_compatibility,
            counters.forwards_errors_other,
        ],
    );
    lines.requests(
        "pMsgFwdsOwn",
        [
            counters.forwards_own_requests,
            counters.forwards_own_successes,
            counters.forwards_own_errors_connect,
            counters.forwards_own_errors_compatibility,
            counters.forwards_own_errors_other,
        ],
    );
    lines.line("pMsgFwdsRecv", counters.forwards_received);
    lines.line("rcvServiceCount", totals.messaging_services);
    lines.line("ntfServiceCount", totals.notifier_services);
    lines.line("rcvServiceQueuesCount", totals.messaging_service_queues);
    lines.line("ntfServiceQueuesCount", totals.notifier_service_queues);
    lines.0
}

/// Lines with a label.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, label: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{label}: {value}");
    }

    fn three(&mut self, label: &str, [a, b, c]: [u64; 3]) {
        self.line(label, format_args!("({a},{b},{c})"));
    }

    fn requests(&mut self, label: &str, counts: [u64; 5]) {
        let [requests, successes, connect, versions, other] = counts;
        self.line(
            label,
            format_args!(
                "requests={requests}, successes={successes}, errorsConnect={connect}, \
                 errorsCompat={versions}, errorsOther={other}"
            ),
        );
    }
}

/// A time in nanoseconds since the Unix epoch, as `2025-07-01 10:00:00.123 UTC`.
fn utc(nanos: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos.into());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let fraction = format!(".{:09}", time.nanosecond());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let (hour, minute, second) = time.to_hms();
    let date = time.date();
    format!("{date} {hour:02}:{minute:02}:{second:02}{fraction} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_as_many_digits_as_they_need() {
        let nanos = 1_795_363_455_025_600_040;
        assert_eq!(utc(nanos), "2026-11-22 16:04:15.02560004 UTC");
        assert_eq!(utc(1_795_363_455_000_000_000), "2026-11-22 16:04:15 UTC");
    }

    #[test]
    fn counters_are_told_apart() {
        let mut overview = Overview::default();
        overview.counters.queues_created = 1;
        overview.counters.sub_auth = 2;
        overview.counters.sub_prohibited = 3;
        overview.counters.get_duplicate = 4;
        overview.totals.queues = 5;
        overview.totals.notifier_service_queues = 6;
        overview.waiting_notifications = 7;
        let user = statistics(&overview, Role::User);
        for line in [
            "fromTime: 1970-01-01 00:00:00 UTC",
            "qCreated: 1",
            "other SUB events (auth, duplicate, prohibited): (2,0,3)",
            "other GET events (auth, duplicate, prohibited): (0,4,0)",
            "qCount: 5",
            "qCount 2: 5",
            "ntfCount: 7",
            "ntfServiceQueuesCount: 6",
            "pRelays: requests=0, successes=0, errorsConnect=0, errorsCompat=0, errorsOther=0",
        ] {
            assert!(user.lines().any(|l| l == line), "{line} in\n{user}");
        }
        let admin = statistics(&overview, Role::Admin);
        let more: Vec<_> = admin
            .lines()
            .filter(|line| !user.lines().any(|l| l == *line))
            .collect();
        assert_eq!(more, ["ntfCount 2: 7"]);
    }
}
