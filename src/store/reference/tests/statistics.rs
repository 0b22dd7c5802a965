//! The counters' file and the sets in it.

use super::*;
use crate::store::ActiveDays;
use crate::store::reference::{ActiveSets, PeriodSets, Statistics, queue_hash, replay};

fn error(text: &str) -> String {
    Statistics::read(text.as_bytes()).unwrap_err().to_string()
}

fn written(statistics: &Statistics) -> String {
    let mut out = Vec::new();
    statistics.write(&mut out);
    String::from_utf8(out).unwrap()
}

fn recorded() -> Statistics {
    Statistics::read(&read("var/smp-server-stats.log")[..]).unwrap()
}

#[test]
fn the_recorded_file_writes_as_it_was() {
    let text = String::from_utf8(read("var/smp-server-stats.log")).unwrap();
    let statistics = recorded();
    assert_eq!(written(&statistics), text);
    assert_eq!(text.lines().count(), 95);
    assert_eq!(statistics.numbers.messages_sent, 163);
    assert_eq!(statistics.numbers.queues, 11);
    assert_eq!(statistics.from_time_ns, 1_795_364_318_867_823_562);
    assert_eq!(statistics.active.messages.day.len(), 8);
    assert_eq!(statistics.active.notifications.month.len(), 6);
}

#[test]
fn hashes_are_those_of_the_reference() {
    let bytes: Vec<u8> = (0..24).collect();
    assert_eq!(queue_hash(&bytes), 2_172_784_807_584_543_549);
    assert_eq!(queue_hash(b""), 5_558_979_605_539_197_941);
    assert_eq!(queue_hash(b"abc"), -9_115_746_252_107_565_630);
    // The recorded sets are of recorded queues.
    let log = replay(&read("var/smp-server-store.log")[..]).unwrap();
    let mut hashes: Vec<_> = log
        .into_queues()
        .map(|e| queue_hash(&e.record.recipient_id))
        .collect();
    hashes.sort_unstable();
    for hash in recorded().active.messages.month {
        assert!(hashes.binary_search(&hash).is_ok());
    }
}

#[test]
fn every_number_has_its_own_line() {
    let text = written(&Statistics::default());
    let numbered: String = text
        .lines()
        .enumerate()
        .map(|(i, line)| match line.strip_suffix("=0") {
            Some(label) => format!("{label}={}\n", i64::try_from(i).unwrap() - 50),
            None => format!("{line}\n"),
        })
        .collect();
    assert_ne!(numbered, text);
    let statistics = Statistics::read(numbered.as_bytes()).unwrap();
    assert_eq!(written(&statistics), numbered);
}

#[test]
fn the_first_version_is_read() {
    let text = "fromTime=2022-05-26T00:00:00Z\nqCreated=1\nqSecured=2\nqDeleted=3\nmsgSent=4\n\
                msgRecv=5\ndayMsgQueues=YWJj\nweekMsgQueues=YWJj,AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\n\
                monthMsgQueues=\n";
    let statistics = Statistics::read(text.as_bytes()).unwrap();
    let numbers = &statistics.numbers;
    assert_eq!((numbers.queues_created, numbers.queues_secured), (1, 2));
    assert_eq!((numbers.queues_deleted, numbers.queues_deleted_new), (3, 0));
    assert_eq!((numbers.messages_sent, numbers.messages_received), (4, 5));
    let messages = &statistics.active.messages;
    assert_eq!(messages.day, [-9_115_746_252_107_565_630]);
    assert_eq!(
        messages.week,
        [-9_115_746_252_107_565_630, 2_172_784_807_584_543_549]
    );
    assert!(messages.month.is_empty());
    // The end of the last line may be missing, and ends may be of the other kind.
    assert_eq!(
        Statistics::read(text.trim_end().as_bytes()).unwrap(),
        statistics
    );
    let other = text.replace('\n', "\r\n");
    assert_eq!(Statistics::read(other.as_bytes()).unwrap(), statistics);
}

#[test]
fn versions_between_are_read() {
    let text = "fromTime=2024-05-26T12:30:00.5Z\nqCreated=1\nqSecured=2\nqDeletedAll=3\n\
                qDeletedNew=1\nqDeletedSecured=2\nqCount=9\nqSub=7\nqSubNoMsg=100\nqSubAuth=6\n\
                msgSent=4\nmsgRecv=5\nmsgExpired=8\nactiveQueues:\nday=YWJj\nweek=YWJj\nmonth=YWJj\n\
                subscribedQueues:\ndayHashes=1\nweekHashes=1\nmonthHashes=1\n\
                activeQueuesNtf:\ndayHashes=3,-4,3\nweekHashes=\nmonthHashes=+5\n\
                pRelays:\nrequests=1\nsuccesses=2\nerrorsConnect=3\nerrorsCompat=4\nerrorsOther=5\n\
                pMsgFwdsRecv=6\n";
    let statistics = Statistics::read(text.as_bytes()).unwrap();
    let numbers = &statistics.numbers;
    assert_eq!(
        (
            numbers.subscribed,
            numbers.sub_auth,
            numbers.messages_expired
        ),
        (7, 6, 8)
    );
    assert_eq!(
        statistics.active.messages.month,
        [-9_115_746_252_107_565_630]
    );
    let notifications = &statistics.active.notifications;
    assert_eq!(notifications.day, [-4, 3]);
    assert_eq!(notifications.month, [5]);
    assert_eq!(statistics.sections.relays.errors_other, 5);
    assert_eq!(statistics.sections.forwards_received, 6);
    assert_eq!(statistics.from_time_ns % 1_000_000_000, 500_000_000);
}

#[test]
fn version_seven_is_read_without_its_resolver() {
    let text = String::from_utf8(read("var/smp-server-stats.log")).unwrap();
    let seven =
        text.clone() + "rslvStats:\nreqs=1\nsucc=2\nnotFound=3\nresolverErrs=4\ndisabled=5\n";
    let statistics = Statistics::read(seven.as_bytes()).unwrap();
    assert_eq!(written(&statistics), text);
}

#[test]
fn what_is_no_statistics_file_is_told_by_its_line() {
    let text = String::from_utf8(read("var/smp-server-stats.log")).unwrap();
    assert_eq!(error(""), "line 1: expected fromTime=");
    assert_eq!(error("fromTime=now\n"), "line 1: expected a time");
    assert_eq!(
        error(&text.replace("\nqSecured=4", "")),
        "line 3: expected qSecured="
    );
    assert_eq!(
        error(&text.replace("msgRecv=3", "msgRecv=x")),
        "line 30: expected a number"
    );
    assert_eq!(
        error(&text.replace("qSub=1", "qSub=")),
        "line 10: expected a number"
    );
    assert_eq!(
        error(&(text.clone() + "more")),
        "line 96: text after the record"
    );
    assert_eq!(
        error(&(text.clone() + "\n")),
        "line 96: text after the record"
    );
    assert_eq!(
        error(&text.replace("\nsubEnd=0\nntfServices:", "\nntfServices:")),
        "line 86: expected subEnd="
    );
    assert_eq!(
        error(&text.replace("dayHashes=-", "dayHashes=,-")),
        "line 46: expected a number"
    );
}

#[test]
fn times_are_read_to_the_nanosecond() {
    let time = |text: &str| {
        let rest = "\nqCreated=1\nqSecured=2\nqDeleted=3\nmsgSent=4\nmsgRecv=5\n\
                    dayMsgQueues=\nweekMsgQueues=\nmonthMsgQueues=";
        let file = format!("fromTime={text}{rest}");
        Statistics::read(file.as_bytes())
            .ok()
            .map(|s| s.from_time_ns)
    };
    let begin = 1_795_305_600_000_000_000;
    assert_eq!(time("2026-11-22T00:00:00Z"), Some(begin));
    assert_eq!(time("2026-11-22T00:00:00.000000001Z"), Some(begin + 1));
    assert_eq!(time("2026-11-22T00:00:00.000000001999Z"), Some(begin + 1));
    assert_eq!(time("2026-11-22T00:00:01.25Z"), Some(begin + 1_250_000_000));
    assert_eq!(time("1970-01-01T00:00:00Z"), Some(0));
    for bad in [
        "2026-11-22",
        "2026-11-22T00:00:00",
        "2026-13-22T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T00:00:00.Z",
        "2026-11-22T00:00:00.xZ",
        "2026-11-22T0:0:0Z",
        "9999-11-22T00:00:00Z",
        "2026-+1-22T00:00:00Z",
        "",
    ] {
        assert_eq!(time(bad), None, "{bad}");
    }
    let statistics = Statistics {
        from_time_ns: begin + 1_250_000_000,
        ..Statistics::default()
    };
    assert!(written(&statistics).starts_with("fromTime=2026-11-22T00:00:01.25Z\n"));
}

/// 2026-11-25, a Wednesday; its Monday is the 23rd.
const WEDNESDAY: u16 = 20_782;

#[test]
fn a_queue_gets_a_day_within_its_periods() {
    let hash = |n| queue_hash(&id(n));
    let mut sets = ActiveSets {
        messages: PeriodSets {
            day: vec![hash(1)],
            week: vec![hash(1), hash(2)],
            month: vec![hash(1), hash(2), hash(3)],
        },
        notifications: PeriodSets::default(),
    };
    sets.sort();
    let day = |n, today| sets.days_of(&id(n), today).message;
    assert_eq!(day(1, WEDNESDAY), WEDNESDAY);
    assert_eq!(day(2, WEDNESDAY), WEDNESDAY - 1);
    assert_eq!(day(3, WEDNESDAY), WEDNESDAY - 3);
    assert_eq!(day(4, WEDNESDAY), 0);
    assert_eq!(sets.days_of(&id(1), WEDNESDAY).notification, 0);
    // On a Monday and on the first of a month nothing lies between.
    let monday = WEDNESDAY - 2;
    assert_eq!((day(2, monday), day(3, monday)), (monday, monday - 1));
    let first_of_month = WEDNESDAY - 24;
    assert_eq!(day(3, first_of_month), first_of_month);
}

#[test]
fn sets_of_queues_come_back_from_their_days() {
    let all = |day, week, month| {
        let hashes = |ids: &[u64]| {
            let mut set: Vec<_> = ids.iter().map(|n| queue_hash(&id(*n))).collect();
            set.sort_unstable();
            set
        };
        PeriodSets {
            day: hashes(day),
            week: hashes(week),
            month: hashes(month),
        }
    };
    let sets = ActiveSets {
        messages: all(&[1, 2], &[1, 2, 3], &[1, 2, 3, 4]),
        notifications: all(&[2], &[2, 3], &[2, 3]),
    };
    let mut again = ActiveSets::default();
    for n in 1..=9 {
        again.insert(&id(n), sets.days_of(&id(n), WEDNESDAY), WEDNESDAY);
    }
    again.sort();
    assert_eq!(again, sets);
    // Another day later the day's set is empty, in December all are.
    let days = ActiveDays {
        message: WEDNESDAY,
        notification: 0,
    };
    let sizes = |today| {
        let mut sets = ActiveSets::default();
        sets.insert(&id(1), days, today);
        sets.messages.each().map(Vec::len)
    };
    assert_eq!(sizes(WEDNESDAY + 1), [0, 1, 1]);
    assert_eq!(sizes(WEDNESDAY + 5), [0, 0, 1]);
    assert_eq!(sizes(WEDNESDAY + 6), [0, 0, 0]);
}
