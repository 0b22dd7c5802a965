use super::*;
use crate::config::ini::IniFile;
use crate::store::reference::file_names::MESSAGES_BACKUP;
use crate::store::reference::{LogRecord, replay, write_record};
use std::fs;

fn settings() -> Settings {
    let text =
        "[STORE_LOG]\nenable = on\n[TRANSPORT]\nport = 0\n[RELAY]\nshards = 1\nsegment_mb = 1\n";
    Settings::from_ini(&IniFile::parse(text).unwrap()).unwrap()
}

/// A state directory with a copy of a recorded store log.
fn state() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference-6.5.5/var");
    fs::copy(recorded.join(STORE_LOG), state.path().join(STORE_LOG)).unwrap();
    state
}

#[test]
fn what_a_running_reference_writes_meanwhile_is_noticed() {
    let state = state();
    let mut written = false;
    let error = import(&settings(), state.path(), true, &mut |_, _| {
        if !written {
            fs::write(state.path().join(MESSAGES), "").unwrap();
            written = true;
        }
    });
    let error = error.unwrap_err();
    assert!(
        matches!(&error, MigrationError::Running(names) if names == &[MESSAGES]),
        "{error}"
    );
    assert!(StoreDirectory::find(state.path()).unwrap().is_none());
    assert!(is_due(&settings(), state.path()).unwrap());
}

#[test]
fn damaged_logs_that_were_kept_outlive_an_import() {
    let state = state();
    let store = state.path().join(STORE_FOLDER);
    StoreDirectory::open(state.path(), 1).unwrap();
    partition_key::load_or_create(state.path()).unwrap();
    for kept in ["generation-1.damaged", "generation-2.damaged"] {
        fs::create_dir(store.join(kept)).unwrap();
        fs::write(store.join(kept).join("file"), kept).unwrap();
    }
    // There is one of an earlier import.
    fs::create_dir(state.path().join("smp-server-store.generation-2.damaged")).unwrap();
    import(&settings(), state.path(), true, &mut |_, _| {}).unwrap();
    for (kept, moved) in [
        (
            "generation-1.damaged",
            "smp-server-store.generation-1.damaged",
        ),
        (
            "generation-2.damaged",
            "smp-server-store.generation-2.damaged-2",
        ),
    ] {
        let moved = state.path().join(moved).join("file");
        assert_eq!(fs::read_to_string(moved).unwrap(), kept);
        assert!(!store.join(kept).exists());
    }
}

#[test]
fn what_costs_nothing_is_told_and_stops_no_import() {
    let state = state();
    let log = state.path().join(STORE_LOG);
    let mut text = fs::read(&log).unwrap();
    let queue = replay(&*text).unwrap().into_queues().next().unwrap();
    let id = queue.record.recipient_id;
    write_record(&mut text, &LogRecord::Delete(id));
    // Written by another thread of the reference, which had looked before.
    write_record(&mut text, &LogRecord::Day(id, 20_000));
    // A compaction that did not end.
    fs::write(state.path().join(STORE_LOG_START), text).unwrap();
    fs::create_dir(state.path().join("messages")).unwrap();
    fs::write(state.path().join("messages/stray"), "").unwrap();
    let checked = check(&settings(), state.path(), false, &mut |_, _| {}).unwrap();
    let report = import(&settings(), state.path(), false, &mut |_, _| {}).unwrap();
    assert_eq!(checked, report);
    let told: Vec<_> = report
        .warnings
        .list()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        (report.warnings.count(), report.warnings.losses()),
        (3, 0),
        "{told:?}"
    );
    assert!(
        told.iter().all(|line| line.contains(": note: ")),
        "{told:?}"
    );

    // Messages that are gone are another matter.
    fs::remove_dir_all(state.path().join(STORE_FOLDER)).unwrap();
    fs::remove_dir_all(state.path().join("messages")).unwrap();
    fs::write(state.path().join(MESSAGES_BACKUP), "").unwrap();
    let error = import(&settings(), state.path(), false, &mut |_, _| {}).unwrap_err();
    let MigrationError::Warnings(warnings) = &error else {
        panic!("{error}");
    };
    assert_eq!((warnings.count(), warnings.losses()), (3, 1));
    assert!(error.to_string().contains("in 1 places"), "{error}");
}
