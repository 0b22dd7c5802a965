//! Days, weeks and months over restarts, by a clock made up.

use super::*;
use crate::relay::{Activity, PeriodCounts};

const DAY: i64 = DAY_NANOS;
/// 2026-11-22, a Sunday.
const SUNDAY: u16 = 20_779;
const ROWS: StatisticsConfig = StatisticsConfig {
    day_starts_at: 0,
    rows: true,
};
const NO_ROWS: StatisticsConfig = StatisticsConfig {
    rows: false,
    ..ROWS
};

/// So many hours after the beginning of a day.
fn at(day: u16, hours: i64) -> i64 {
    i64::from(day) * DAY + hours * 3_600 * NANOS
}

/// A shard that has counted since the start of its process; all it has counted is durable.
#[derive(Debug)]
struct Made {
    activity: Activity,
    shard: ShardSnapshot,
}

impl Made {
    fn new() -> Self {
        Self {
            activity: Activity::new(0),
            shard: ShardSnapshot::default(),
        }
    }

    /// Queues that were not used this month are used.
    fn uses(&mut self, now_ns: i64, queues: u64) {
        for _ in 0..queues {
            let seconds = now_ns.div_euclid(NANOS);
            self.activity
                .note(seconds, true, &mut crate::store::ActiveDays::default());
        }
        self.shard.counters.messages_sent += queues;
    }

    /// What it tells.
    fn tells(&mut self, now_ns: i64) -> ShardSnapshot {
        let seconds = now_ns.div_euclid(NANOS);
        let (day, _) = self.activity.durable(seconds);
        ShardSnapshot {
            day,
            active: self.activity.current(seconds),
            durable_active: self.activity.current(seconds),
            finished: self.activity.finished(seconds),
            ..self.shard.clone()
        }
    }
}

fn first(row: &DailyStatistics) -> (u16, u64) {
    (row.day, row.counters.messages_sent)
}

#[test]
fn a_day_ends_once_with_what_was_counted_in_it() {
    let mut statistics = Statistics::new(ROWS, None, at(SUNDAY, 10));
    let (mut one, mut other) = (Made::new(), Made::new());
    one.uses(at(SUNDAY, 11), 3);
    other.uses(at(SUNDAY, 12), 4);
    let mut shards = |statistics: &mut Statistics, now| {
        let shards = [one.tells(now), other.tells(now)];
        (statistics.end_day(now, &shards), shards)
    };
    assert_eq!(shards(&mut statistics, at(SUNDAY, 23)).0, None);
    let monday = SUNDAY + 1;
    let (row, told) = shards(&mut statistics, at(monday, 0));
    let row = row.unwrap();
    assert_eq!(first(&row), (SUNDAY, 7));
    assert_eq!(row.active.messages, [Some(7), Some(7), None]);
    let now = statistics.overview(at(monday, 0), told.to_vec());
    assert_eq!(
        (now.counters.messages_sent, now.since_start.messages_sent),
        (0, 7)
    );
    assert_eq!(now.from_time_ns, at(monday, 0));
    assert_eq!(shards(&mut statistics, at(monday, 1)).0, None);
    one.uses(at(monday, 2), 2);
    let shards = [one.tells(at(monday + 1, 0)), other.tells(at(monday + 1, 0))];
    let row = statistics.end_day(at(monday + 1, 0), &shards).unwrap();
    assert_eq!(first(&row), (monday, 2));
    assert_eq!(row.active.messages, [Some(2), None, None]);
}

#[test]
fn weeks_end_on_sundays_and_months_on_their_last_day() {
    // From Saturday, 2026-11-28, over the end of the week and of the month.
    let saturday = SUNDAY + 6;
    let mut statistics = Statistics::new(ROWS, None, at(saturday, 0));
    let mut made = Made::new();
    let mut rows = Vec::new();
    for day in saturday..saturday + 6 {
        made.uses(at(day, 5), u64::from(day - saturday) + 1);
        let shards = [made.tells(at(day + 1, 0))];
        rows.extend(statistics.end_day(at(day + 1, 0), &shards));
    }
    let active: Vec<_> = rows.iter().map(|row| row.active.notifications).collect();
    let expected = [
        [Some(1), None, None],
        // Sunday.
        [Some(2), Some(3), None],
        // The 30th, a Monday.
        [Some(3), None, Some(6)],
        [Some(4), None, None],
        [Some(5), None, None],
        [Some(6), None, None],
    ];
    assert_eq!(active, expected);
    assert!(rows.iter().map(|row| row.day).eq(saturday..saturday + 6));
}

#[test]
fn a_restart_in_the_middle_of_a_day_changes_nothing() {
    let mut statistics = Statistics::new(ROWS, None, at(SUNDAY, 1));
    let mut made = Made::new();
    made.uses(at(SUNDAY, 2), 3);
    made.shard.counters.queues_blocked = 2;
    // It stops, and starts five times.
    for hour in 3..8 {
        let saved = statistics.saved(&[made.tells(at(SUNDAY, hour))]);
        assert_eq!(saved.from_time_ns, at(SUNDAY, 1));
        statistics = Statistics::new(ROWS, Some(saved), at(SUNDAY, hour));
        made = Made::new();
        let overview = statistics.overview(at(SUNDAY, hour), vec![made.tells(at(SUNDAY, hour))]);
        assert_eq!(overview.counters.messages_sent, 3);
        assert_eq!(overview.blocked_today, 2);
        assert_eq!(overview.active.messages.day, 3);
    }
    made.uses(at(SUNDAY, 9), 1);
    made.shard.counters.queues_blocked = 1;
    let shards = [made.tells(at(SUNDAY + 1, 0))];
    let row = statistics.end_day(at(SUNDAY + 1, 0), &shards).unwrap();
    assert_eq!(first(&row), (SUNDAY, 4));
    assert_eq!(row.active.messages, [Some(4), Some(4), None]);
    let overview = statistics.overview(at(SUNDAY + 1, 0), shards.to_vec());
    assert_eq!(
        (overview.blocked_today, overview.counters.messages_sent),
        (0, 0)
    );
}

#[test]
fn a_day_that_ended_without_the_process_has_its_own_row_however_long_ago() {
    for (missed, week, month) in [
        (1, Some(3), None),
        (3, Some(3), None),
        (9, Some(3), Some(3)),
    ] {
        let mut statistics = Statistics::new(ROWS, None, at(SUNDAY, 1));
        let mut made = Made::new();
        made.uses(at(SUNDAY, 2), 3);
        let saved = statistics.saved(&[made.tells(at(SUNDAY, 3))]);
        let today = SUNDAY + missed;
        statistics = Statistics::new(ROWS, Some(saved), at(today, 4));
        // What comes before the first look belongs to today.
        let mut made = Made::new();
        made.uses(at(today, 4), 10);
        let shards = [made.tells(at(today, 5))];
        let row = statistics.end_day(at(today, 5), &shards).unwrap();
        assert_eq!(first(&row), (SUNDAY, 3));
        assert_eq!(row.active.messages, [Some(3), week, month]);
        let overview = statistics.overview(at(today, 5), shards.to_vec());
        assert_eq!(overview.from_time_ns, at(today, 4));
        assert_eq!(overview.counters.messages_sent, 10);
        let shards = [made.tells(at(today + 1, 0))];
        let row = statistics.end_day(at(today + 1, 0), &shards).unwrap();
        assert_eq!(first(&row), (today, 10));
        assert_eq!(row.active.messages[0], Some(10));
    }
}

#[test]
fn a_process_that_slept_for_days_ends_them_together() {
    let mut statistics = Statistics::new(ROWS, None, at(SUNDAY, 1));
    let mut made = Made::new();
    made.uses(at(SUNDAY, 2), 3);
    let awake = at(SUNDAY + 4, 7);
    let row = statistics.end_day(awake, &[made.tells(awake)]).unwrap();
    assert_eq!(first(&row), (SUNDAY, 3));
    assert_eq!(row.active.messages, [Some(3), Some(3), None]);
    assert_eq!(statistics.end_day(awake, &[made.tells(awake)]), None);
}

#[test]
fn shards_asked_around_midnight_are_told_apart() {
    let mut statistics = Statistics::new(ROWS, None, at(SUNDAY, 1));
    let (mut before, mut after) = (Made::new(), Made::new());
    before.uses(at(SUNDAY, 2), 3);
    after.uses(at(SUNDAY, 2), 4);
    after.uses(at(SUNDAY + 1, 0), 1);
    let asked = at(SUNDAY + 1, 0) - 1;
    let shards = [before.tells(asked), after.tells(asked + 2)];
    let row = statistics.end_day(asked, &shards).unwrap();
    assert_eq!(first(&row), (SUNDAY, 8));
    assert_eq!(row.active.messages[0], Some(7));
    let saved = statistics.saved(&shards);
    let month = |day, month| PeriodCounts {
        day,
        week: day,
        month,
    };
    assert_eq!(
        (saved.day, saved.active.messages),
        (SUNDAY + 1, month(1, 8))
    );
    assert_eq!(statistics.end_day(asked + 1, &shards), None);
}

#[test]
fn without_rows_counting_goes_on_and_the_quota_of_a_day_does_not() {
    let mut statistics = Statistics::new(NO_ROWS, None, at(SUNDAY, 1));
    let mut made = Made::new();
    made.uses(at(SUNDAY, 2), 3);
    made.shard.counters.queues_blocked = 5;
    let monday = at(SUNDAY + 1, 0);
    let shards = [made.tells(monday)];
    assert_eq!(statistics.end_day(monday, &shards), None);
    let overview = statistics.overview(monday, shards.to_vec());
    assert_eq!(overview.counters.messages_sent, 3);
    assert_eq!(overview.counters.queues_blocked, 5);
    assert_eq!(
        (overview.blocked_today, overview.from_time_ns),
        (0, at(SUNDAY, 1))
    );
    // Rows begin with what is counted from then on.
    let saved = statistics.saved(&shards);
    let mut statistics = Statistics::new(ROWS, Some(saved), at(SUNDAY + 1, 8));
    let mut made = Made::new();
    made.uses(at(SUNDAY + 1, 9), 2);
    let shards = [made.tells(at(SUNDAY + 2, 0))];
    let row = statistics.end_day(at(SUNDAY + 2, 0), &shards).unwrap();
    assert_eq!(first(&row), (SUNDAY + 1, 2));
}

#[test]
fn what_services_have_counted_goes_on_over_days() {
    let mut statistics = Statistics::new(ROWS, None, at(SUNDAY, 1));
    let mut made = Made::new();
    made.shard.counters.ntf_assoc_new = 2;
    made.shard.counters.sub_auth = 3;
    for (day, new) in [(1, 2), (2, 3), (3, 3)] {
        let now = at(SUNDAY + day, 0);
        let shards = [made.tells(now)];
        let row = statistics.end_day(now, &shards).unwrap();
        assert_eq!(row.counters.ntf_assoc_new, new);
        assert_eq!(row.counters.sub_auth, if day == 1 { 3 } else { 0 });
        assert_eq!(statistics.saved(&shards).counters.ntf_assoc_new, new);
        made.shard.counters.ntf_assoc_new = 3;
    }
}

#[test]
fn days_begin_when_they_are_said_to() {
    let config = StatisticsConfig {
        day_starts_at: 2 * 3_600,
        ..ROWS
    };
    let mut statistics = Statistics::new(config, None, at(SUNDAY, 1));
    assert_eq!(statistics.until_next_day(at(SUNDAY, 1)).as_secs(), 3_600);
    assert_eq!(statistics.until_next_day(at(SUNDAY, 2)).as_secs(), 86_400);
    assert_eq!(statistics.end_day(at(SUNDAY, 1), &[]), None);
    let row = statistics.end_day(at(SUNDAY, 2), &[]).unwrap();
    assert_eq!(row.day, SUNDAY - 1);
    let row = statistics.end_day(at(SUNDAY + 1, 2), &[]).unwrap();
    assert_eq!(row.day, SUNDAY);
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_days_from_ending() {
    let mut statistics = Statistics::new(ROWS, None, at(SUNDAY + 400, 0));
    let saved = statistics.saved(&[]);
    statistics = Statistics::new(ROWS, Some(saved), at(SUNDAY, 5));
    assert_eq!(statistics.end_day(at(SUNDAY, 6), &[]), None);
    let row = statistics.end_day(at(SUNDAY + 1, 0), &[]).unwrap();
    assert_eq!(row.day, SUNDAY);
}
