//! Rows of daily statistics: 96 values separated by commas, as the reference writes them
//! (spec: server §12.2).

use crate::relay::{ActiveQueues, Counters, PeriodCounts, month_of, week_of};
use crate::store::Totals;
use time::{Date, Duration, OffsetDateTime};

/// Number of columns.
pub const COLUMN_COUNT: usize = 96;

/// What a row tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DailyStatistics {
    /// The day on which counting began, days since the Unix epoch.
    pub day: u16,
    /// What was counted.
    pub counters: Counters,
    /// Queues used.
    pub active: EndedPeriods,
    /// What is stored.
    pub totals: Totals,
    /// Notifications waiting for their subscribers.
    pub waiting_notifications: u64,
}

/// Queues used in the periods that ended with a day: in each day, week, month; none of a period
/// that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndedPeriods {
    /// By any message.
    pub messages: [Option<u64>; 3],
    /// By messages with the notification flag.
    pub notifications: [Option<u64>; 3],
}

impl EndedPeriods {
    /// The counts of `day` when the next day that is counted is `next`; both since the Unix epoch.
    pub fn between(counts: ActiveQueues, day: u16, next: u16) -> Self {
        let ended = |counts: PeriodCounts| {
            let week = (week_of(day) != week_of(next)).then_some(counts.week);
            let month = (month_of(day) != month_of(next)).then_some(counts.month);
            [Some(counts.day), week, month]
        };
        Self {
            messages: ended(counts.messages),
            notifications: ended(counts.notifications),
        }
    }
}

/// The value of a column.
enum Value {
    /// A day, since the Unix epoch.
    Day(u16),
    /// A number; nothing when there is none for this row.
    Number(Option<u64>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Self {
        Self::Number(number)
    }
}

/// A column: its name in the hosting guide, made unique where the guide is not, and its value.
struct Column {
    name: &'static str,
    value: fn(&DailyStatistics) -> Value,
}

macro_rules! columns {
    ($($name:literal: |$row:pat_param| $value:expr;)*) => {
        static COLUMNS: [Column; COLUMN_COUNT] = [
            $(Column { name: $name, value: |$row| $value.into() }),*
        ];
    };
}

columns! {
    "fromTime": |row| Value::Day(row.day);
    "qCreated": |row| row.counters.queues_created;
    "qSecured": |row| row.counters.queues_secured;
    "qDeleted": |row| row.counters.queues_deleted;
    "msgSent": |row| row.counters.messages_sent;
    "msgRecv": |row| row.counters.messages_received;
    "dayMsgQueues": |row| row.active.messages[0];
    "weekMsgQueues": |row| row.active.messages[1];
    "monthMsgQueues": |row| row.active.messages[2];
    "msgSentNtf": |row| row.counters.flagged_sent;
    "msgRecvNtf": |row| row.counters.flagged_received;
    "dayCountNtf": |row| row.active.notifications[0];
    "weekCountNtf": |row| row.active.notifications[1];
    "monthCountNtf": |row| row.active.notifications[2];
    "qCount": |row| row.totals.queues;
    "msgCount": |row| row.totals.messages;
    "msgExpired": |row| row.counters.messages_expired;
    "qDeletedNew": |row| row.counters.queues_deleted_new;
    "qDeletedSecured": |row| row.counters.queues_deleted_secured;
    "pRelays_pRequests": |row| row.counters.relays_requests;
    "pRelays_pSuccesses": |row| row.counters.relays_successes;
    "pRelays_pErrorsConnect": |row| row.counters.relays_errors_connect;
    "pRelays_pErrorsCompat": |row| row.counters.relays_errors_compatibility;
    "pRelays_pErrorsOther": |row| row.counters.relays_errors_other;
    "pRelaysOwn_pRequests": |row| row.counters.relays_own_requests;
    "pRelaysOwn_pSuccesses": |row| row.counters.relays_own_successes;
    "pRelaysOwn_pErrorsConnect": |row| row.counters.relays_own_errors_connect;
    "pRelaysOwn_pErrorsCompat": |row| row.counters.relays_own_errors_compatibility;
    "pRelaysOwn_pErrorsOther": |row| row.counters.relays_own_errors_other;
    "pMsgFwds_pRequests": |row| row.counters.forwards_requests;
    "pMsgFwds_pSuccesses": |row| row.counters.forwards_successes;
    "pMsgFwds_pErrorsConnect": |row| row.counters.forwards_errors_connect;
    "pMsgFwds_pErrorsCompat": |row| row.counters.forwards_errors_compatibility;
    "pMsgFwds_pErrorsOther": |row| row.counters.forwards_errors_other;
    "pMsgFwdsOwn_pRequests": |row| row.counters.forwards_own_requests;
    "pMsgFwdsOwn_pSuccesses": |row| row.counters.forwards_own_successes;
    "pMsgFwdsOwn_pErrorsConnect": |row| row.counters.forwards_own_errors_connect;
    "pMsgFwdsOwn_pErrorsCompat": |row| row.counters.forwards_own_errors_compatibility;
    "pMsgFwdsOwn_pErrorsOther": |row| row.counters.forwards_own_errors_other;
    "pMsgFwdsRecv": |row| row.counters.forwards_received;
    "qSub": |row| row.counters.subscribed;
    "qSubAuth": |row| row.counters.sub_auth;
    "qSubDuplicate": |row| row.counters.sub_duplicate;
    "qSubProhibited": |row| row.counters.sub_prohibited;
    "msgSentAuth": |row| row.counters.send_auth;
    "msgSentQuota": |row| row.counters.send_quota;
    "msgSentLarge": |row| row.counters.send_large;
    "msgNtfs": |row| row.counters.notifications_delivered;
    "msgNtfNoSub": |_| 0_u64;
    "msgNtfLost": |row| row.counters.notifications_lost;
    "qSubNoMsg": |_| 0_u64;
    "msgRecvGet": |row| row.counters.get_received;
    "msgGet": |row| row.counters.get_message;
    "msgGetNoMsg": |row| row.counters.get_no_message;
    "msgGetAuth": |row| row.counters.get_auth;
    "msgGetDuplicate": |row| row.counters.get_duplicate;
    "msgGetProhibited": |row| row.counters.get_prohibited;
    "psSubDaily": |_| 0_u64;
    "psSubWeekly": |_| 0_u64;
    "psSubMonthly": |_| 0_u64;
    "qCount2": |row| row.totals.queues;
    "ntfCreated": |row| row.counters.notifiers_created;
    "ntfDeleted": |row| row.counters.notifiers_deleted;
    "ntfSub": |row| row.counters.ntf_subscribed;
    "ntfSubAuth": |row| row.counters.ntf_sub_auth;
    "ntfSubDuplicate": |row| row.counters.ntf_sub_duplicate;
    "notifierCount": |row| row.totals.notifiers;
    "qDeletedAllB": |row| row.counters.deleted_all_batches;
    "qSubAllB": |row| row.counters.sub_all_batches;
    "qSubEnd": |row| row.counters.sub_ended;
    "qSubEndB": |row| row.counters.sub_ended_batches;
    "ntfDeletedB": |row| row.counters.ntf_deleted_batches;
    "ntfSubB": |row| row.counters.ntf_sub_batches;
    "msgNtfsB": |row| row.counters.notification_batches;
    "msgNtfExpired": |row| row.counters.notifications_expired;
    "ntfCount": |row| row.waiting_notifications;
    "rcvServiceCount": |row| row.totals.messaging_services;
    "ntfServiceCount": |row| row.totals.notifier_services;
    "rcvServiceQueuesCount": |row| row.totals.messaging_service_queues;
    "ntfServiceQueuesCount": |row| row.totals.notifier_service_queues;
    "rcvServices_srvAssocNew": |_| 0_u64;
    "rcvServices_srvAssocDuplicate": |_| 0_u64;
    "rcvServices_srvAssocUpdated": |_| 0_u64;
    "rcvServices_srvAssocRemoved": |_| 0_u64;
    "rcvServices_srvSubCount": |_| 0_u64;
    "rcvServices_srvSubDuplicate": |_| 0_u64;
    "rcvServices_srvSubQueues": |_| 0_u64;
    "rcvServices_srvSubEnd": |_| 0_u64;
    "ntfServices_srvAssocNew": |row| row.counters.ntf_assoc_new;
    "ntfServices_srvAssocDuplicate": |row| row.counters.ntf_assoc_duplicate;
    "ntfServices_srvAssocUpdated": |row| row.counters.ntf_assoc_updated;
    "ntfServices_srvAssocRemoved": |row| row.counters.ntf_assoc_removed;
    "ntfServices_srvSubCount": |row| row.counters.ntf_service_subscribed;
    "ntfServices_srvSubDuplicate": |_| 0_u64;
    "ntfServices_srvSubQueues": |row| row.counters.ntf_service_queues;
    "ntfServices_srvSubEnd": |_| 0_u64;
}

/// Names of the columns, in order.
pub fn column_names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|column| column.name)
}

/// A line of column names.
pub fn header() -> String {
    column_names().collect::<Vec<_>>().join(",")
}

impl DailyStatistics {
    /// The row, without the end of the line.
    pub fn row(&self) -> String {
        let values = COLUMNS.iter().map(|column| match (column.value)(self) {
            Value::Day(day) => date(day).to_string(),
            Value::Number(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        });
        values.collect::<Vec<_>>().join(",")
    }
}

fn date(day: u16) -> Date {
    OffsetDateTime::UNIX_EPOCH.date() + Duration::days(i64::from(day))
}

#[cfg(test)]
mod tests;
