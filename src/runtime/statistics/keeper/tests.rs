use super::*;
use crate::config::ini::IniFile;
use crate::runtime::saves::Saves;
use futures_lite::future::{block_on, poll_once};
use std::fs;
use std::pin::pin;
use tempfile::TempDir;

fn settings() -> Settings {
    let text = "[TRANSPORT]\nport = 1\n";
    Settings::from_ini(&IniFile::parse(text).unwrap()).unwrap()
}

fn open(dir: &TempDir) -> (StatisticsFiles, Option<SavedStatistics>) {
    StatisticsFiles::open(dir.path(), &settings())
}

fn statistics(sent: u64) -> SavedStatistics {
    let mut saved = SavedStatistics::default();
    saved.counters.messages_sent = sent;
    saved
}

fn daily(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join(DAILY_LOG)).unwrap_or_default()
}

#[test]
fn what_was_saved_is_there_and_each_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, saved) = open(&dir);
    assert_eq!(saved, None);
    for (sent, row) in [(1, None), (0, Some("a")), (2, None), (0, Some("b"))] {
        files.save(statistics(sent), row).unwrap();
        let (again, saved) = open(&dir);
        assert_eq!(saved, Some(statistics(sent)));
        files = again;
    }
    assert_eq!(daily(&dir), "a\nb\n");
}

/// The rows wait until they can be written, over restarts too.
#[test]
fn a_row_that_cannot_be_written_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = open(&dir);
    files.save(statistics(1), Some("a")).unwrap();
    let path = dir.path().join(DAILY_LOG);
    let kept = dir.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(files.save(statistics(0), Some("b")).is_err());
    assert!(files.save(statistics(2), None).is_err());
    assert!(files.save(statistics(0), Some("c")).is_err());
    let (mut files, saved) = open(&dir);
    assert_eq!(saved, Some(statistics(0)));
    fs::remove_dir(&path).unwrap();
    fs::rename(&kept, &path).unwrap();
    files.save(statistics(0), None).unwrap();
    assert_eq!(daily(&dir), "a\nb\nc\n");
    let (mut files, _) = open(&dir);
    files.save(statistics(1), None).unwrap();
    assert_eq!(daily(&dir), "a\nb\nc\n");
}

/// The process ends between the two files.
#[test]
fn a_row_that_was_noted_is_written_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = open(&dir);
    files.save(statistics(1), Some("a")).unwrap();
    let noted = StatisticsRecord {
        statistics: statistics(0),
        rows: Some(PendingRows {
            offset: 2,
            text: "b\n".to_owned(),
        }),
    };
    let record = RecordFile::of(dir.path());
    record.save(&noted).unwrap();
    for _ in 0..2 {
        assert_eq!(open(&dir).1, Some(statistics(0)));
        assert_eq!(daily(&dir), "a\nb\n");
    }
    assert_eq!(record.load().unwrap().unwrap().rows, None);
}

#[test]
fn whoever_asks_waits_for_a_save_that_begins_later() {
    let saves = Saves::default();
    assert!(block_on(poll_once(saves.requested())).is_none());
    let mut first = pin!(saves.save());
    assert!(block_on(poll_once(&mut first)).is_none());
    assert!(block_on(poll_once(saves.requested())).is_some());
    let begun = saves.count();
    let mut second = pin!(saves.save());
    assert!(block_on(poll_once(&mut second)).is_none());
    saves.finish(begun, None);
    assert_eq!(block_on(poll_once(&mut first)), Some(Ok(())));
    assert!(block_on(poll_once(&mut second)).is_none());
    let failure = Some("disk full".to_owned());
    saves.finish(saves.count(), failure);
    let told = block_on(poll_once(&mut second));
    assert_eq!(told, Some(Err("disk full".to_owned())));
    assert!(block_on(poll_once(saves.requested())).is_none());
}
