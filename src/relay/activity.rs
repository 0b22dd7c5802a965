//! How many queues were used today, this week, this month (spec: server §12.1).
//!
//! Only the last day of use is kept per queue: a queue counts for a period when it was last used
//! before the period began.

use crate::store::ActiveDays;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use time::{Date, Duration, OffsetDateTime};

const DAY_SECONDS: i64 = 86_400;

/// Queues used in a period that has not ended yet, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeriodCounts {
    /// This day.
    pub day: u64,
    /// Since Monday.
    pub week: u64,
    /// Since the first of the month.
    pub month: u64,
}

/// Counts for messages and for messages with the notification flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActiveQueues {
    /// Any message.
    pub messages: PeriodCounts,
    /// Messages with the notification flag.
    pub notifications: PeriodCounts,
}

impl AddAssign for ActiveQueues {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.notifications += other.notifications;
    }
}

impl AddAssign for PeriodCounts {
    fn add_assign(&mut self, other: Self) {
        self.day += other.day;
        self.week += other.week;
        self.month += other.month;
    }
}

/// The periods of one shard.
#[derive(Debug, Default)]
pub struct Activity {
    /// Seconds after midnight (UTC) at which a day of the statistics begins.
    day_starts_at: i64,
    /// Day of `current`, days since the Unix epoch.
    today: u16,
    current: ActiveQueues,
    /// The part of `current` of which the store remembers the queues: after a crash they count
    /// again only if they are not in it.
    durable: ActiveQueues,
    /// What the last finished day ended with.
    finished: Option<(u16, ActiveQueues)>,
}

impl Activity {
    /// No use yet. `day_starts_at` is seconds after midnight.
    pub fn new(day_starts_at: i64) -> Self {
        Self {
            day_starts_at,
            ..Self::default()
        }
    }

    /// Counts a use at `seconds` since the Unix epoch and notes it in `days`.
    pub fn note(&mut self, seconds: i64, flagged: bool, days: &mut ActiveDays) {
        let today = self.advance(seconds);
        self.current.messages.note(today, &mut days.message);
        if flagged {
            self.current
                .notifications
                .note(today, &mut days.notification);
        }
    }

    /// The counts of the day that `seconds` since the Unix epoch falls in.
    pub fn current(&mut self, seconds: i64) -> ActiveQueues {
        self.advance(seconds);
        self.current
    }

    /// What the last finished day ended with: the day, in days since the Unix epoch, and the
    /// counts.
    pub fn finished(&mut self, seconds: i64) -> Option<(u16, ActiveQueues)> {
        self.advance(seconds);
        self.finished
    }

    /// Goes on with counts from before a restart.
    pub fn restore(&mut self, day: u16, counts: ActiveQueues) {
        self.today = day;
        self.current = counts;
        self.durable = counts;
    }

    /// The day that `seconds` since the Unix epoch fall in, since the Unix epoch, and what the
    /// store remembers of its counts.
    pub fn durable(&mut self, seconds: i64) -> (u16, ActiveQueues) {
        (self.advance(seconds), self.durable)
    }

    /// The day and its counts before the store begins to remember the queues.
    pub fn before_saving(&mut self, seconds: i64) -> (u16, ActiveQueues) {
        (self.advance(seconds), self.current)
    }

    /// The store remembers the queues of what [`before_saving`](Self::before_saving) told.
    pub fn saved(&mut self, (day, mut counts): (u16, ActiveQueues)) {
        counts.advance(day, self.today);
        self.durable = counts;
    }

    /// Whether the store remembers every queue that counts.
    pub fn is_saved(&self) -> bool {
        self.durable == self.current
    }

    /// Begins the periods that have come. A clock set back changes nothing.
    fn advance(&mut self, seconds: i64) -> u16 {
        let day = day_of(seconds, self.day_starts_at);
        if day > self.today {
            if self.today > 0 {
                self.finished = Some((self.today, self.current));
            }
            self.current.advance(self.today, day);
            self.durable.advance(self.today, day);
            self.today = day;
        }
        self.today
    }
}

impl ActiveQueues {
    /// Ends the periods that end between two days, both since the Unix epoch.
    pub fn advance(&mut self, from: u16, to: u16) {
        if to <= from {
            return;
        }
        for counts in [&mut self.messages, &mut self.notifications] {
            counts.day = 0;
            if week_of(to) != week_of(from) {
                counts.week = 0;
            }
            if month_of(to) != month_of(from) {
                counts.month = 0;
            }
        }
    }
}

impl PeriodCounts {
    fn note(&mut self, today: u16, last: &mut u16) {
        if *last >= today {
            return;
        }
        self.day += 1;
        self.week += u64::from(*last < week_of(today));
        self.month += u64::from(*last < month_of(today));
        *last = today;
    }
}

/// The day, since the Unix epoch, that `seconds` since then fall in, when days begin so many
/// seconds after midnight.
pub fn day_of(seconds: i64, day_starts_at: i64) -> u16 {
    let day = (seconds - day_starts_at).div_euclid(DAY_SECONDS);
    u16::try_from(day).unwrap_or(0)
}

fn date(day: u16) -> Date {
    OffsetDateTime::UNIX_EPOCH.date() + Duration::days(i64::from(day))
}

/// The Monday of a day's week.
pub fn week_of(day: u16) -> u16 {
    day.saturating_sub(u16::from(date(day).weekday().number_days_from_monday()))
}

/// The first of a day's month.
pub fn month_of(day: u16) -> u16 {
    day.saturating_sub(u16::from(date(day).day() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22, a Sunday.
    const SUNDAY: i64 = 20_779;

    fn at(day: i64) -> i64 {
        day * DAY_SECONDS + 3_600
    }

    #[test]
    fn a_queue_counts_once_a_day_a_week_and_a_month() {
        let mut activity = Activity::new(0);
        let mut queue = ActiveDays::default();
        for _ in 0..3 {
            activity.note(at(SUNDAY), false, &mut queue);
        }
        let all = |day, week, month| PeriodCounts { day, week, month };
        assert_eq!(activity.current(at(SUNDAY)).messages, all(1, 1, 1));
        assert_eq!(activity.current(at(SUNDAY)).notifications, all(0, 0, 0));
        // Monday: another day and week of the same month.
        activity.note(at(SUNDAY + 1), true, &mut queue);
        assert_eq!(activity.current(at(SUNDAY + 1)).messages, all(1, 1, 1));
        assert_eq!(activity.current(at(SUNDAY + 1)).notifications, all(1, 1, 1));
        let (day, finished) = activity.finished(at(SUNDAY + 1)).unwrap();
        assert_eq!((i64::from(day), finished.messages), (SUNDAY, all(1, 1, 1)));
        // December begins on a Tuesday.
        activity.note(at(SUNDAY + 9), false, &mut queue);
        assert_eq!(activity.current(at(SUNDAY + 9)).messages, all(1, 1, 1));
        let mut other = ActiveDays::default();
        activity.note(at(SUNDAY + 9), false, &mut other);
        assert_eq!(activity.current(at(SUNDAY + 10)).messages, all(0, 2, 2));
    }

    #[test]
    fn what_the_store_remembers_lags_behind_and_ends_with_its_periods() {
        let mut activity = Activity::new(0);
        let mut queues = [ActiveDays::default(); 3];
        let all = |day, week, month| PeriodCounts { day, week, month };
        activity.note(at(SUNDAY), false, &mut queues[0]);
        assert!(!activity.is_saved());
        let saving = activity.before_saving(at(SUNDAY));
        activity.note(at(SUNDAY), false, &mut queues[1]);
        activity.saved(saving);
        assert_eq!(activity.current(at(SUNDAY)).messages, all(2, 2, 2));
        let (_, durable) = activity.durable(at(SUNDAY));
        assert_eq!(durable.messages, all(1, 1, 1));
        // A save that ends on the next day, which is a Monday.
        let saving = activity.before_saving(at(SUNDAY));
        activity.note(at(SUNDAY + 1), false, &mut queues[2]);
        activity.saved(saving);
        let (day, durable) = activity.durable(at(SUNDAY + 1));
        assert_eq!(
            (i64::from(day), durable.messages),
            (SUNDAY + 1, all(0, 0, 2))
        );
        assert_eq!(activity.current(at(SUNDAY + 1)).messages, all(1, 1, 3));
        let saving = activity.before_saving(at(SUNDAY + 1));
        activity.saved(saving);
        assert!(activity.is_saved());
    }

    #[test]
    fn a_day_may_begin_later_than_midnight_and_clocks_may_go_back() {
        let mut activity = Activity::new(7_200);
        let mut queue = ActiveDays::default();
        activity.note(at(SUNDAY), false, &mut queue);
        assert_eq!(i64::from(queue.message), SUNDAY - 1);
        activity.note(at(SUNDAY) + 7_200, false, &mut queue);
        assert_eq!(i64::from(queue.message), SUNDAY);
        activity.note(at(SUNDAY - 3), false, &mut queue);
        assert_eq!(i64::from(queue.message), SUNDAY);
        assert_eq!(activity.current(at(SUNDAY)).messages.day, 1);
    }
}
