//! Directories that a reference server could start from.

use super::recorder::Recorder;
use super::*;
use crate::protocol::error::{BlockingInfo, BlockingReason, ClientNotice};
use crate::store::reference::file_names::*;
use crate::store::reference::{
    ExportError, ExportOptions, ExportReport, ImportOptions, LoggedMessage, export_dir, import_dir,
};
use crate::store::{ActiveDays, LinkContent, MessageKind};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn export(directory: &Path, source: &mut Recorder) -> Result<ExportReport, ExportError> {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    export_dir(
        directory,
        &ExportOptions { today: 20_779 },
        &mut rng,
        source,
    )
}

fn import(directory: &Path) -> Recorder {
    let mut recorder = Recorder::default();
    let report = import_dir(directory, &ImportOptions::default(), &mut recorder).unwrap();
    assert_eq!(report.warnings.list(), []);
    recorder
}

fn file(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_imported_directory_is_exported_as_it_was() {
    let mut recorder = import(&fixture("var"));
    let out = tempfile::tempdir().unwrap();
    let report = export(out.path(), &mut recorder).unwrap();
    let expected = ExportReport {
        queues: 11,
        messages: 161,
        notifications: 1,
        statistics: true,
        ..ExportReport::default()
    };
    assert_eq!(report, expected);
    assert_eq!(names(out.path()), names(&fixture("var")));
    for name in [MESSAGES, STATISTICS, NOTIFICATIONS] {
        assert_eq!(
            file(out.path(), name),
            file(&fixture("var"), name),
            "{name}"
        );
    }
    let again = import(out.path());
    assert_eq!(again.messages, recorder.messages);
    assert_eq!(again.notifications, recorder.notifications);
    assert_eq!(again.statistics, recorder.statistics);
    let lines = |recorder: &Recorder| -> Vec<_> {
        let queues = recorder.queues.iter();
        queues
            .map(|(e, days)| (line(&LogRecord::Create(Box::new(e.clone()))), *days))
            .collect()
    };
    assert_eq!(lines(&again), lines(&recorder));
}

#[test]
fn services_come_before_their_queues() {
    let text = read("store-logs/with-blocked-queue.log");
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join(STORE_LOG), &text).unwrap();
    let mut recorder = import(from.path());
    let out = tempfile::tempdir().unwrap();
    assert_eq!(export(out.path(), &mut recorder).unwrap().services, 1);
    let first = |text: &str| text.lines().next().unwrap().to_owned();
    let original = String::from_utf8(text).unwrap();
    assert_eq!(first(&file(out.path(), STORE_LOG)), first(&original));
}

#[test]
fn what_the_reference_does_not_read_is_written_otherwise() {
    let mut recorder = Recorder::default();
    let mut blocked = queue(1, 2);
    blocked.record.status = QueueStatus::Blocked(BlockingInfo {
        reason: BlockingReason::Spam,
        notice: Some(ClientNotice { ttl: Some(9) }),
    });
    let mut blocked_in_service = blocked.clone();
    blocked_in_service.record.recipient_id = id(3);
    blocked_in_service.record.sender_id = id(4);
    blocked_in_service.record.service_id = Some(id(5));
    let linked = |recipient, fixed: &[u8], user: &[u8]| {
        let mut entry = queue(recipient, recipient + 1);
        entry.record.link_id = Some(id(recipient + 2));
        let (fixed, user) = (fixed.into(), user.into());
        entry.link = Some(LinkContent { fixed, user });
        entry
    };
    for entry in [
        blocked,
        blocked_in_service.clone(),
        linked(10, b"f", b"u"),
        linked(20, b"", b"u"),
        linked(30, b"f", b""),
    ] {
        recorder.queues.push((entry, ActiveDays::default()));
    }
    let message = |body: &[u8]| LoggedMessage {
        id: id(50),
        time_ns: 5_999_999_999,
        kind: MessageKind::Message { notify: true },
        body: body.to_vec(),
    };
    recorder.messages = vec![(id(1), message(b"")), (id(1), message(b"a"))];
    let out = tempfile::tempdir().unwrap();
    let report = export(out.path(), &mut recorder).unwrap();
    assert_eq!((report.empty_messages, report.messages), (1, 1));
    assert_eq!((report.links_dropped, report.queues), (2, 5));
    assert!(!report.statistics);

    let log = file(out.path(), STORE_LOG);
    let lines: Vec<_> = log.lines().collect();
    assert!(lines[0].ends_with(" status=blocked,reason=spam,notice={\"ttl\":9}"));
    assert!(lines[1].contains(" rsrv=") && !lines[1].contains("status="));
    assert!(lines[2].starts_with("BLOCK ") && lines[2].ends_with("notice={\"ttl\":9}"));
    let links: Vec<_> = lines.iter().map(|l| l.contains("link_id=")).collect();
    assert_eq!(links, [false, false, false, true, false, false]);
    assert!(file(out.path(), MESSAGES).contains(" 5 flags=T YQ=="));
    let again = import(out.path());
    let status = |recorder: &Recorder| recorder.queues[1].0.record.status.clone();
    assert_eq!(status(&again), blocked_in_service.record.status);
}

#[test]
fn files_are_for_their_owner_alone() {
    let out = tempfile::tempdir().unwrap();
    export(out.path(), &mut Recorder::default()).unwrap();
    assert_eq!(names(out.path()), [MESSAGES, NOTIFICATIONS, STORE_LOG]);
    for name in names(out.path()) {
        let mode = fs::metadata(out.path().join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}

#[test]
fn nothing_is_overwritten() {
    let read_instead = [STORE_LOG_START, JOURNAL];
    let written = [STORE_LOG, MESSAGES, NOTIFICATIONS, STATISTICS];
    for name in written.into_iter().chain(read_instead) {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join(name), "").unwrap();
        let error = export(out.path(), &mut Recorder::default()).unwrap_err();
        assert!(matches!(error, ExportError::Exists(path) if path.ends_with(name)));
        assert_eq!(names(out.path()), [name]);
    }
}

#[test]
fn a_failed_export_leaves_no_file() {
    let out = tempfile::tempdir().unwrap();
    let mut recorder = import(&fixture("var"));
    recorder.failure = Some("gone".to_owned());
    let error = export(out.path(), &mut recorder).unwrap_err();
    assert_eq!(error.to_string(), "not exported: gone");
    assert_eq!(names(out.path()), Vec::<String>::new());
}
