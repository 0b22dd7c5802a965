//! Which queues were used in a day, week and month, as sets of hashes (spec: server §11.6, §12.1).
//!
//! This relay keeps the last day of use per queue instead. The way from the sets picks the latest
//! day that leaves every queue in the periods it was in; the way back is exact for queues that
//! still exist.

use crate::store::{ActiveDays, Id};
use std::ops::Range;
use time::{Date, Duration, OffsetDateTime};

/// Hashes of queues used in each period, ascending without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeriodSets {
    /// This day.
    pub day: Vec<i64>,
    /// Since Monday.
    pub week: Vec<i64>,
    /// Since the first of the month.
    pub month: Vec<i64>,
}

/// Sets for messages and for messages with the notification flag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActiveSets {
    /// Any message.
    pub messages: PeriodSets,
    /// Messages with the notification flag.
    pub notifications: PeriodSets,
}

/// The reference's hash of a recipient id: FNV-1 over the length and the bytes.
pub fn queue_hash(recipient_id: &[u8]) -> i64 {
    const PRIME: u64 = 1_099_511_628_211;
    const START: u64 = 14_695_981_039_346_656_037;
    let len = recipient_id.len() as u64;
    let length = [48, 32, 16, 0].map(|shift| (len >> shift) & 0xffff);
    let bytes = recipient_id.iter().copied().map(u64::from);
    length
        .into_iter()
        .chain(bytes)
        .fold(START, |state, part| state.wrapping_mul(PRIME) ^ part)
        .cast_signed()
}

impl ActiveSets {
    /// When a queue was last used, given the day (since the Unix epoch) that the sets are of.
    pub fn days_of(&self, recipient_id: &Id, today: u16) -> ActiveDays {
        let hash = queue_hash(recipient_id);
        ActiveDays {
            message: self.messages.last_day(hash, today),
            notification: self.notifications.last_day(hash, today),
        }
    }

    /// Adds a queue, given the day (since the Unix epoch) that the sets are of.
    pub fn insert(&mut self, recipient_id: &Id, days: ActiveDays, today: u16) {
        let hash = queue_hash(recipient_id);
        self.messages.insert(hash, days.message, today);
        self.notifications.insert(hash, days.notification, today);
    }

    /// Brings the sets into order after insertions.
    pub fn sort(&mut self) {
        self.messages.sort();
        self.notifications.sort();
    }
}

impl PeriodSets {
    /// The sets, from the shortest period.
    pub fn each(&self) -> [&Vec<i64>; 3] {
        [&self.day, &self.week, &self.month]
    }

    fn last_day(&self, hash: i64, today: u16) -> u16 {
        let (week, month) = (week_of(today), month_of(today));
        if self.day.binary_search(&hash).is_ok() {
            today
        } else if self.week.binary_search(&hash).is_ok() {
            latest(week..today)
        } else if self.month.binary_search(&hash).is_ok() {
            latest(month..week.min(today))
        } else {
            0
        }
    }

    fn insert(&mut self, hash: i64, last: u16, today: u16) {
        if last == 0 {
            return;
        }
        for (set, begin) in [
            (&mut self.day, today),
            (&mut self.week, week_of(today)),
            (&mut self.month, month_of(today)),
        ] {
            if last >= begin {
                set.push(hash);
            }
        }
    }

    fn sort(&mut self) {
        for set in [&mut self.day, &mut self.week, &mut self.month] {
            set.sort_unstable();
            set.dedup();
        }
    }
}

/// The last day of a period, or its first if it has none.
fn latest(days: Range<u16>) -> u16 {
    days.end.saturating_sub(1).max(days.start)
}

fn date(day: u16) -> Date {
    OffsetDateTime::UNIX_EPOCH.date() + Duration::days(day.into())
}

/// The Monday of a day's week.
fn week_of(day: u16) -> u16 {
    day.saturating_sub(date(day).weekday().number_days_from_monday().into())
}

/// The first of a day's month.
fn month_of(day: u16) -> u16 {
    day.saturating_sub(u16::from(date(day).day()) - 1)
}
