//! Logs of the size of large servers.

use super::*;
use crate::store::LinkContent;
use crate::store::reference::replay;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

/// Records per queue in a generated log: what a queue goes through in its life.
const RECORDS: u64 = 3;

/// Writes a log of `queues` queues, every fourth with a notifier and every eighth with a link, and
/// every tenth deleted.
fn generate(path: &Path, queues: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut put = |record: &LogRecord| file.write_all(line(record).as_bytes()).unwrap();
    for n in 0..queues {
        let mut entry = queue(3 * n, 3 * n + 1);
        if n % 8 == 0 {
            entry.record.link_id = Some(id(3 * n + 2));
            entry.link = Some(LinkContent {
                fixed: [1; 100].into(),
                user: [2; 300].into(),
            });
        }
        if n % 4 == 0 {
            entry.record.notifier = Some(notifier(3 * n + 2));
        }
        put(&LogRecord::Create(Box::new(entry)));
        put(&LogRecord::Secure(id(3 * n), key(7)));
        put(&match n % 10 {
            9 => LogRecord::Delete(id(3 * n)),
            _ => LogRecord::Day(id(3 * n), 20_800),
        });
    }
    file.flush().unwrap();
}

fn check(queues: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    generate(&path, queues);
    let started = Instant::now();
    let reader = BufReader::with_capacity(1 << 18, File::open(&path).unwrap());
    let log = replay(reader).unwrap();
    let took = started.elapsed();
    assert_eq!(log.warnings.list(), []);
    assert_eq!(log.lines, queues * RECORDS);
    assert_eq!(log.queue_count() as u64, queues - queues / 10);
    let megabytes = std::fs::metadata(&path).unwrap().len() / 1_000_000;
    let peak = peak_memory();
    println!("{queues} queues, {megabytes} MB: {took:?}, peak memory {peak}");
    let mut last = None;
    for entry in log.into_queues() {
        let record = &entry.record;
        assert_eq!(record.sender_key, Some(key(7)));
        assert_eq!(record.updated_day, 20_800);
        assert!(last.replace(record.recipient_id) < Some(record.recipient_id));
    }
}

/// The most memory this process has had.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.unwrap().trim().to_owned()
}

#[test]
fn a_hundred_thousand_queues_replay() {
    check(100_000);
}

#[test]
#[ignore = "a minute in a debug build; prints time and memory of a large server's log"]
fn a_million_queues_replay() {
    check(1_000_000);
}
