//! What records do to the queues before them.

use super::*;
use crate::protocol::handshake::ServiceRole;
use crate::store::reference::{Reason, Refusal, Replay, Replayed, replay};
use crate::store::{LinkContent, ServiceRecord};

fn create(entry: QueueEntry) -> LogRecord {
    LogRecord::Create(Box::new(entry))
}

fn content(fixed: &[u8], user: &[u8]) -> LinkContent {
    LinkContent {
        fixed: fixed.into(),
        user: user.into(),
    }
}

fn linked(recipient: u64, sender: u64, link: u64) -> QueueEntry {
    let mut entry = queue(recipient, sender);
    entry.record.link_id = Some(id(link));
    entry.link = Some(content(b"fixed", b"user"));
    entry
}

fn notified(recipient: u64, sender: u64, n: u64) -> QueueEntry {
    let mut entry = queue(recipient, sender);
    entry.record.notifier = Some(notifier(n));
    entry
}

fn service(n: u64, fingerprint: u8, role: ServiceRole) -> LogRecord {
    LogRecord::Service(Box::new(ServiceRecord {
        id: id(n),
        role,
        fingerprint: [fingerprint; 32],
        chain: vec![b"leaf".to_vec()],
        created_day: 20_000,
    }))
}

/// The reasons by which records are refused in turn, and what the log amounts to.
fn replayed(records: Vec<LogRecord>) -> (Vec<Option<Refusal>>, Replayed) {
    let mut state = Replay::default();
    let refusals = records
        .iter()
        .map(|record| state.apply(record.clone()).err())
        .collect();
    let text: String = records.iter().map(line).collect();
    (refusals, replay(text.as_bytes()).unwrap())
}

fn only(replayed: Replayed) -> QueueEntry {
    let mut queues = replayed.into_queues();
    let entry = queues.next().unwrap();
    assert!(queues.next().is_none());
    entry
}

#[test]
fn records_change_their_queue() {
    let service_id = id(77);
    let (refusals, log) = replayed(vec![
        create(queue(1, 2)),
        LogRecord::Secure(id(1), key(9)),
        LogRecord::Secure(id(1), key(9)),
        LogRecord::Keys(id(1), [key(5), key(6)].into_iter().collect()),
        LogRecord::Link(id(1), id(3), content(b"f", b"1")),
        LogRecord::Link(id(1), id(3), content(b"f", b"2")),
        LogRecord::Notifier(id(1), Box::new(notifier(4))),
        LogRecord::Notifier(id(1), Box::new(notifier(5))),
        LogRecord::NotifierService(id(1), Some(service_id)),
        LogRecord::QueueService(id(1), Some(service_id)),
        LogRecord::Status(id(1), QueueStatus::Off),
        LogRecord::Day(id(1), 20_800),
    ]);
    assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
    assert_eq!((log.lines, log.warnings.count()), (12, 0));
    let entry = only(log);
    let record = &entry.record;
    assert_eq!(record.sender_key, Some(key(9)));
    assert_eq!(record.recipient_keys[..], [key(5), key(6)]);
    assert_eq!(record.link_id, Some(id(3)));
    assert_eq!(entry.link, Some(content(b"f", b"2")));
    let n = record.notifier.as_ref().unwrap();
    assert_eq!((n.notifier_id, n.service_id), (id(5), Some(service_id)));
    assert_eq!(record.service_id, Some(service_id));
    assert_eq!(record.status, QueueStatus::Off);
    assert_eq!(record.updated_day, 20_800);
}

#[test]
fn records_take_back_what_others_set() {
    let mut entry = linked(1, 2, 3);
    entry.record.notifier = Some(notifier(4));
    entry.record.service_id = Some(id(5));
    entry.record.status = QueueStatus::Off;
    let (refusals, log) = replayed(vec![
        create(entry),
        LogRecord::DeleteLink(id(1)),
        LogRecord::DeleteLink(id(1)),
        LogRecord::DeleteNotifier(id(1)),
        LogRecord::DeleteNotifier(id(1)),
        LogRecord::QueueService(id(1), None),
        LogRecord::Status(id(1), QueueStatus::Active),
        // Free for others again.
        LogRecord::Link(id(1), id(3), content(b"other", b"")),
        LogRecord::Notifier(id(1), Box::new(notifier(4))),
    ]);
    assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
    let entry = only(log);
    assert_eq!(entry.link, Some(content(b"other", b"")));
    assert_eq!(entry.record.service_id, None);
    assert_eq!(entry.record.status, QueueStatus::Active);
}

#[test]
fn what_run_time_would_refuse_is_refused() {
    let (refusals, log) = replayed(vec![
        create(linked(1, 2, 3)),
        create(notified(10, 11, 12)),
        create(queue(1, 20)),
        create(queue(20, 2)),
        create(linked(20, 21, 3)),
        create(notified(20, 21, 12)),
        LogRecord::Delete(id(99)),
        LogRecord::Secure(id(1), key(9)),
        LogRecord::Secure(id(1), key(8)),
        LogRecord::Link(id(1), id(4), content(b"fixed", b"")),
        LogRecord::Link(id(1), id(3), content(b"other", b"")),
        LogRecord::Link(id(10), id(3), content(b"fixed", b"")),
        LogRecord::Notifier(id(1), Box::new(notifier(12))),
        LogRecord::Notifier(id(10), Box::new(notifier(12))),
        LogRecord::NotifierService(id(1), None),
        create(queue(30, 31)),
        LogRecord::Delete(id(30)),
        LogRecord::Delete(id(30)),
        create(queue(30, 32)),
        create(queue(33, 31)),
    ]);
    use Refusal::*;
    let expected = [
        None,
        None,
        Some(DuplicateQueue),
        Some(DuplicateQueue),
        Some(DuplicateQueue),
        Some(DuplicateQueue),
        Some(UnknownQueue),
        None,
        Some(OtherSenderKey),
        Some(OtherLink),
        Some(OtherLink),
        Some(LinkInUse),
        Some(NotifierInUse),
        Some(NotifierInUse),
        Some(NoNotifier),
        None,
        None,
        Some(DeletedQueue),
        Some(DuplicateQueue),
        // A sender id is free once its queue is deleted.
        None,
    ];
    assert_eq!(refusals, expected);
    assert_eq!(log.queue_count(), 3);
    let warned: Vec<_> = log
        .warnings
        .list()
        .iter()
        .map(|w| (w.line, w.reason.clone()))
        .collect();
    let expected: Vec<_> = (1..)
        .zip(expected)
        .filter_map(|(line, r)| Some((Some(line), Reason::Refused(r?))))
        .collect();
    assert_eq!(warned, expected);
    let queues: Vec<_> = log.into_queues().map(|e| e.record.recipient_id).collect();
    assert_eq!(queues, [id(1), id(10), id(33)]);
}

#[test]
fn a_certificate_is_one_service() {
    use ServiceRole::{Messaging, Notifier};
    let (refusals, log) = replayed(vec![
        service(2, 1, Notifier),
        service(2, 1, Notifier),
        service(3, 1, Notifier),
        service(2, 1, Messaging),
        service(2, 9, Notifier),
        service(1, 3, Messaging),
    ]);
    let expected = [
        None,
        None,
        Some(Refusal::OtherServiceId),
        Some(Refusal::OtherServiceRole),
        Some(Refusal::ServiceInUse),
        None,
    ];
    assert_eq!(refusals, expected);
    let ids: Vec<_> = log.services.iter().map(|s| s.id).collect();
    assert_eq!(ids, [id(1), id(2)]);
}

#[test]
fn lines_that_are_no_records_do_not_end_a_replay() {
    let long = "x".repeat(crate::store::reference::MAX_LINE_LEN + 5);
    let unusable = line(&create(linked(7, 8, 9))).replace(" link_id=AAAA", " link_id=");
    let text = [
        "".to_owned(),
        line(&create(queue(1, 2))).trim_end().to_owned(),
        "what is this".to_owned(),
        long,
        unusable.trim_end().to_owned(),
        // Torn by a crash.
        line(&create(queue(3, 4)))[..150].to_owned(),
    ];
    let log = replay(text.join("\n").as_bytes()).unwrap();
    assert_eq!((log.lines, log.queue_count()), (6, 2));
    let shown: Vec<_> = log
        .warnings
        .list()
        .iter()
        .map(ToString::to_string)
        .collect();
    let file = "smp-server-store.log";
    assert_eq!(
        shown,
        [
            format!("{file}:1: not a record, skipped: unknown record"),
            format!("{file}:3: not a record, skipped: unknown record"),
            format!("{file}:4: not a record, skipped: line too long"),
            format!("{file}:5: the link of this queue cannot be used, the queue comes without it"),
            format!("{file}:6: not a record, skipped: expected recipient secret"),
        ]
    );
}

#[test]
fn the_longest_line_is_read() {
    let mut entry = queue(1, 2);
    entry.record.recipient_keys = (0..255).map(|_| PublicAuthKey::Ed448([7; 57])).collect();
    entry.record.link_id = Some(id(3));
    entry.link = Some(content(&[1; 16_384], &[2; 16_384]));
    let text = line(&create(entry));
    assert!(text.len() < crate::store::reference::MAX_LINE_LEN);
    assert_eq!(rewritten(text.trim_end()), text);
}

#[test]
fn an_error_of_the_file_ends_a_replay() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk"))
        }
    }
    let start = line(&create(queue(1, 2))).into_bytes();
    let broken = std::io::Read::chain(&start[..], Broken);
    let error = replay(std::io::BufReader::new(broken)).unwrap_err();
    assert_eq!(error.to_string(), "disk");
}

#[test]
fn warnings_are_counted_beyond_those_kept() {
    let text = "?\n".repeat(2_500);
    let log = replay(text.as_bytes()).unwrap();
    assert_eq!(log.warnings.count(), 2_500);
    assert_eq!(
        log.warnings.list().len(),
        crate::store::reference::MAX_WARNINGS
    );
}

#[test]
fn recorded_logs_replay_without_warning() {
    for (name, queues, services) in [
        ("store-logs/uncompacted.log", 8, 0),
        ("store-logs/with-blocked-queue.log", 8, 1),
        ("var/smp-server-store.log", 11, 0),
    ] {
        let log = replay(&read(name)[..]).unwrap();
        assert_eq!(log.warnings.list(), [], "{name}");
        assert_eq!(
            (log.queue_count(), log.services.len()),
            (queues, services),
            "{name}"
        );
    }
}
