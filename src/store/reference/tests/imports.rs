//! Whole state directories.

use super::recorder::Recorder;
use super::*;
use crate::store::reference::file_names::*;
use crate::store::reference::{
    ImportError, ImportOptions, ImportReport, LoggedMessage, MessageRun, Reason, Statistics,
    check_dir, import_dir, parse_message_line, queue_hash, write_message_line,
    write_notification_line,
};
use crate::store::{Message, MessageKind, Note};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use std::fs;
use std::path::Path;

fn import(directory: &Path, options: &ImportOptions) -> (ImportReport, Recorder) {
    let mut recorder = Recorder::default();
    let report = import_dir(directory, options, &mut recorder).unwrap();
    (report, recorder)
}

fn reasons(report: &ImportReport) -> Vec<(&str, Option<u64>, Reason)> {
    let list = report.warnings.list().iter();
    list.map(|w| (w.file.as_str(), w.line, w.reason.clone()))
        .collect()
}

/// A state directory with the given queues.
fn directory(queues: &[QueueEntry]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_log(&directory, STORE_LOG, queues);
    directory
}

fn write_log(directory: &tempfile::TempDir, name: &str, queues: &[QueueEntry]) {
    let create = |entry: &QueueEntry| line(&LogRecord::Create(Box::new(entry.clone())));
    let text: String = queues.iter().map(create).collect();
    fs::write(directory.path().join(name), text).unwrap();
}

/// Lines of messages to queue `queue`: letters are bodies, `*` is a marker.
fn message_lines(queue: u64, bodies: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, body) in (0..).zip(bodies.chars()) {
        let (kind, body) = match body {
            '*' => (MessageKind::Quota, Vec::new()),
            body => (MessageKind::Message { notify: false }, vec![body as u8]),
        };
        let message = Message {
            id: id(1000 + i),
            time_ns: (100 + i64::try_from(i).unwrap()) * 1_000_000_000,
            kind,
            body: &body,
        };
        write_message_line(&mut out, &id(queue), &message).unwrap();
    }
    out
}

fn bodies(recorder: &Recorder, queue: u64) -> String {
    let messages = recorder.messages_of(id(queue));
    messages.iter().map(|m| letter(m)).collect()
}

fn letter(message: &LoggedMessage) -> char {
    message.body.first().map_or('*', |b| char::from(*b))
}

#[test]
fn a_recorded_directory_is_imported_whole() {
    let (report, recorder) = import(&fixture("var"), &ImportOptions::default());
    let expected = ImportReport {
        store_log_lines: 19,
        queues: 11,
        messages: 161,
        notifications: 1,
        statistics: true,
        ..ImportReport::default()
    };
    assert_eq!(report, expected);
    assert_eq!(recorder.queues.len(), 11);
    let file = String::from_utf8(read("var/smp-server-messages.log")).unwrap();
    let lines: Vec<_> = file
        .lines()
        .map(|l| parse_message_line(l.as_bytes()).unwrap())
        .collect();
    assert!(recorder.messages == lines, "messages in order");
    let statistics = recorder.statistics.as_ref().unwrap();
    let today = 20_779;
    for (entry, days) in &recorder.queues {
        let hash = queue_hash(&entry.record.recipient_id);
        let active = statistics.active.messages.day.contains(&hash);
        assert_eq!(days.message, if active { today } else { 0 });
    }
    let (done, total) = *recorder.progress.last().unwrap();
    assert_eq!(done, total);
    assert!(recorder.progress.is_sorted());
}

#[test]
fn a_check_reports_what_an_import_would() {
    let options = ImportOptions::default();
    let (report, _) = import(&fixture("var"), &options);
    assert_eq!(
        check_dir(&fixture("var"), &options, &mut |_, _| {}).unwrap(),
        report
    );
}

#[test]
fn nothing_of_the_directory_changes() {
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let made = directory(&[queue(1, 2)]);
    write_log(&made, STORE_LOG_START, &[queue(1, 2)]);
    fs::write(made.path().join(MESSAGES), message_lines(1, "a")).unwrap();
    let before = names(made.path());
    import(made.path(), &ImportOptions::default());
    assert_eq!(names(made.path()), before);
}

#[test]
fn the_log_of_an_unfinished_compaction_replaces_the_new_one() {
    let made = directory(&[queue(1, 2)]);
    write_log(&made, STORE_LOG_START, &[queue(1, 2), queue(3, 4)]);
    let (report, _) = import(made.path(), &ImportOptions::default());
    assert_eq!(report.queues, 2);
    let warning = (STORE_LOG_START, None, Reason::CompactionUnfinished);
    assert_eq!(reasons(&report), std::slice::from_ref(&warning));
    fs::remove_file(made.path().join(STORE_LOG)).unwrap();
    let (report, _) = import(made.path(), &ImportOptions::default());
    assert_eq!((report.queues, reasons(&report)), (2, vec![warning]));
}

#[test]
fn a_directory_must_be_one_of_a_server() {
    let empty = tempfile::tempdir().unwrap();
    let import = |path: &Path| check_dir(path, &ImportOptions::default(), &mut |_, _| {});
    assert!(matches!(
        import(empty.path()),
        Err(ImportError::NoStoreLog(_))
    ));
    let made = directory(&[]);
    assert_eq!(import(made.path()).unwrap(), ImportReport::default());
    fs::create_dir(made.path().join(JOURNAL)).unwrap();
    assert_eq!(import(made.path()).unwrap(), ImportReport::default());
    fs::write(made.path().join(MESSAGES), "").unwrap();
    assert!(matches!(
        import(made.path()),
        Err(ImportError::TwoMessageStores)
    ));
}

#[test]
fn broken_statistics_stop_an_import_before_it_begins() {
    let made = directory(&[queue(1, 2)]);
    fs::write(made.path().join(STATISTICS), "fromTime=?\n").unwrap();
    let mut recorder = Recorder::default();
    let error = import_dir(made.path(), &ImportOptions::default(), &mut recorder).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.ends_with("smp-server-stats.log: line 1: expected a time"),
        "{shown}"
    );
    assert_eq!(recorder.queues.len(), 0);
}

#[test]
fn messages_of_an_earlier_start_are_left_with_a_warning() {
    let made = directory(&[queue(1, 2)]);
    fs::write(made.path().join(MESSAGES_BACKUP), message_lines(1, "ab")).unwrap();
    let (report, recorder) = import(made.path(), &ImportOptions::default());
    assert_eq!(recorder.messages.len(), 0);
    assert_eq!(
        reasons(&report),
        [(MESSAGES_BACKUP, None, Reason::OldMessages)]
    );
}

#[test]
fn messages_that_cannot_be_kept_are_warnings() {
    let made = directory(&[queue(1, 2), queue(3, 4)]);
    let text = [
        message_lines(1, "ab"),
        b"what\n".to_vec(),
        message_lines(9, "x"),
        message_lines(3, "cdefg"),
        message_lines(1, "h"),
        b"v3 cut".to_vec(),
    ]
    .concat();
    fs::write(made.path().join(MESSAGES), text).unwrap();
    let options = ImportOptions {
        quota: 3,
        ..ImportOptions::default()
    };
    let (report, recorder) = import(made.path(), &options);
    assert_eq!(bodies(&recorder, 1), "abh");
    // The first beyond the quota leaves a marker.
    assert_eq!(bodies(&recorder, 3), "cde*");
    assert_eq!(recorder.messages_of(id(3))[3].id, id(1003));
    assert_eq!(report.messages, 7);
    use crate::store::reference::Malformed::Expected;
    let expected = [
        (MESSAGES, Some(3), Reason::Malformed(Expected("v3 "))),
        (MESSAGES, Some(4), Reason::UnknownQueue),
        (MESSAGES, Some(8), Reason::QueueFull),
        (MESSAGES, Some(9), Reason::QueueFull),
        (
            MESSAGES,
            Some(11),
            Reason::Malformed(Expected("recipient id")),
        ),
    ];
    assert_eq!(reasons(&report), expected);
}

#[test]
fn old_messages_expire_but_markers_do_not() {
    let made = directory(&[queue(1, 2)]);
    fs::write(made.path().join(MESSAGES), message_lines(1, "a*bc")).unwrap();
    let options = ImportOptions {
        messages_since: Some(103),
        ..ImportOptions::default()
    };
    let (report, recorder) = import(made.path(), &options);
    assert_eq!(bodies(&recorder, 1), "*c");
    assert_eq!((report.messages, report.messages_expired), (2, 2));
}

#[test]
fn a_marker_replaces_one_at_the_head() {
    let run = |bodies: &str, quota| {
        let mut run = MessageRun::new(quota);
        let lines = message_lines(1, bodies);
        let kept: Vec<_> = lines
            .split_inclusive(|b| *b == b'\n')
            .map(|line| parse_message_line(line.trim_ascii_end()).unwrap().1)
            .map(|message| run.push(message))
            .collect();
        let text: String = run.take().map(|m| letter(&m)).collect();
        (text, kept.into_iter().filter(|kept| !kept).count())
    };
    assert_eq!(run("abc", 128), ("abc".to_owned(), 0));
    assert_eq!(run("ab*", 128), ("ab*".to_owned(), 0));
    assert_eq!(run("**", 128), ("*".to_owned(), 0));
    assert_eq!(run("*a*", 128), ("a*".to_owned(), 0));
    assert_eq!(run("a*b", 128), ("a*b".to_owned(), 0));
    assert_eq!(run("ab*", 2), ("ab*".to_owned(), 0));
    assert_eq!(run("abcd*", 2), ("ab*".to_owned(), 2));
    assert_eq!(run("a", 0), ("*".to_owned(), 1));
}

#[test]
fn a_journal_is_imported_like_a_file_of_messages() {
    let recipient_id = URL_SAFE.decode("7slLz3mPiE5xCjR7cyAyiv8fTiXrA3mS").unwrap();
    let mut entry = queue(1, 2);
    entry.record.recipient_id = recipient_id.try_into().unwrap();
    let made = directory(std::slice::from_ref(&entry));
    std::os::unix::fs::symlink(fixture("journal/messages"), made.path().join(JOURNAL)).unwrap();
    let (report, recorder) = import(made.path(), &ImportOptions::default());
    assert_eq!((report.messages, reasons(&report)), (1, vec![]));
    let messages = recorder.messages_of(entry.record.recipient_id);
    assert_eq!(messages[0].body, b"hello via proxy");
    let (done, total) = *recorder.progress.last().unwrap();
    assert_eq!(done, total);

    let expired = ImportOptions {
        messages_since: Some(i64::MAX),
        ..ImportOptions::default()
    };
    let (report, _) = import(made.path(), &expired);
    assert_eq!((report.messages, report.messages_expired), (0, 1));
    let full = ImportOptions {
        quota: 0,
        ..ImportOptions::default()
    };
    let (report, _) = import(made.path(), &full);
    // Ids of queues are not told as a whole.
    let name = "messages/7s/lL/z3/…";
    assert_eq!(reasons(&report), [(name, None, Reason::QueueFull)]);
}

#[test]
fn what_is_no_queue_of_a_journal_is_a_warning() {
    let made = directory(&[queue(1, 2)]);
    let journal = made.path().join(JOURNAL);
    let unknown = "7s/lL/z3/mP/iE5xCjR7cyAyiv8fTiXrA3mS";
    for path in [
        unknown,
        "long",
        "7s/lL/z3/mP/short",
        "7s/lL/z3/mP/====xCjR7cyAyiv8fTiXrA3mS",
    ] {
        fs::create_dir_all(journal.join(path)).unwrap();
    }
    fs::write(journal.join("ab"), "a file").unwrap();
    let (report, _) = import(made.path(), &ImportOptions::default());
    let not = |name: &str| format!("messages/{name}: note: skipped: not part of a message journal");
    let gone = "note: skipped: whom this is for does not exist any more";
    let shown: Vec<_> = report
        .warnings
        .list()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            not("7s/lL/z3/…"),
            format!("messages/7s/lL/z3/…: {gone}"),
            not("7s/lL/z3/…"),
            not("ab"),
            not("long"),
        ]
    );
}

#[test]
fn notifications_that_cannot_be_kept_are_warnings() {
    use crate::crypto::smp_box::BoxKey;
    use rand::SeedableRng as _;
    let mut entry = queue(1, 2);
    entry.record.notifier = Some(notifier(3));
    let made = directory(&[entry]);
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(2);
    let mut out = Vec::new();
    let good = BoxKey::new(&[4; 32]);
    let other = BoxKey::new(&[5; 32]);
    for (key, n, message, seconds) in [
        (&good, 3, 10, 50),
        (&good, 3, 11, 49),
        (&good, 4, 12, 50),
        (&other, 3, 13, 50),
        (&good, 3, 14, 51),
    ] {
        let note = Note::new(id(message), seconds);
        write_notification_line(&mut out, &mut rng, key, &id(n), &note).unwrap();
    }
    out.extend_from_slice(b"v2 x");
    fs::write(made.path().join(NOTIFICATIONS), out).unwrap();
    let options = ImportOptions {
        notifications_since: Some(50),
        ..ImportOptions::default()
    };
    let (report, recorder) = import(made.path(), &options);
    let taken = recorder.notifications.iter();
    let taken: Vec<_> = taken
        .map(|(to, note)| (*to, note.message_id, note.at))
        .collect();
    let expected = [(id(3), id(10), 50), (id(3), id(14), 51)];
    assert_eq!(taken, expected);
    assert_eq!((report.notifications, report.notifications_expired), (2, 1));
    use crate::store::reference::Malformed::Expected;
    let expected = [
        (NOTIFICATIONS, Some(3), Reason::Gone),
        (NOTIFICATIONS, Some(4), Reason::NotForThisQueue),
        (NOTIFICATIONS, Some(6), Reason::Malformed(Expected("v1 "))),
    ];
    assert_eq!(reasons(&report), expected);
}

#[test]
fn what_is_in_use_is_passed_over_with_its_messages() {
    let made = directory(&[queue(1, 2), queue(3, 4)]);
    let text = [message_lines(1, "a"), message_lines(3, "b")].concat();
    fs::write(made.path().join(MESSAGES), text).unwrap();
    let mut recorder = Recorder {
        in_use: Some(id(1)),
        ..Recorder::default()
    };
    let report = import_dir(made.path(), &ImportOptions::default(), &mut recorder).unwrap();
    assert_eq!((report.queues, report.messages), (1, 1));
    let expected = [
        (STORE_LOG, None, Reason::InUse),
        (MESSAGES, Some(1), Reason::UnknownQueue),
    ];
    assert_eq!(reasons(&report), expected);
}

#[test]
fn a_failing_sink_ends_an_import() {
    let made = directory(&[queue(1, 2), queue(3, 4)]);
    let mut recorder = Recorder {
        failure: Some("disk full".to_owned()),
        ..Recorder::default()
    };
    let error = import_dir(made.path(), &ImportOptions::default(), &mut recorder).unwrap_err();
    assert_eq!(error.to_string(), "not imported: disk full");
    assert_eq!(recorder.queues.len(), 0);
}

#[test]
fn days_of_use_follow_the_beginning_of_a_day() {
    let made = directory(&[queue(1, 2)]);
    let mut statistics = Statistics {
        // 01:00 on a day.
        from_time_ns: (20_779 * 86_400 + 3_600) * 1_000_000_000,
        ..Statistics::default()
    };
    statistics.active.messages.day = vec![queue_hash(&id(1))];
    let mut text = Vec::new();
    statistics.write(&mut text);
    fs::write(made.path().join(STATISTICS), text).unwrap();
    let day = |day_starts_at| {
        let options = ImportOptions {
            day_starts_at,
            ..ImportOptions::default()
        };
        import(made.path(), &options).1.queues[0].1.message
    };
    assert_eq!((day(0), day(3_600), day(3_601)), (20_779, 20_779, 20_778));
}
