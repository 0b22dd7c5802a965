//! Backups of servers that have much to do.

use super::program::{back_up, restored};
use super::support::{Recipient, Server, Setup, expect_ok, run, send};
use loadtest::persist::access::Access;
use loadtest::persist::book::Book;
use loadtest::persist::check::{Job, check};
use loadtest::persist::writer::{Limit, Load, Writer};
use loadtest::{Auth, Options, TlsOptions};
use std::fs;
use std::path::Path;
use std::thread;
use tempfile::TempDir;

const LOAD: Load = Load {
    connections: 3,
    in_flight: 24,
    queues: 48,
    quiet: 8,
};
/// Operations confirmed before the first backup.
const HEAD_START: usize = 300;
/// Backups of one run.
const BACKUPS: usize = 3;

/// The lines that a ledger has by now.
fn lines(ledger: &Path) -> Vec<String> {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    whole.lines().map(str::to_owned).collect()
}

fn confirmed(lines: &[String]) -> usize {
    let is_confirmation = |line: &&String| line.starts_with("{\"Confirmed\"");
    lines.iter().filter(is_confirmation).count()
}

fn access(server: &Server) -> Access {
    Access::new(server.target(TlsOptions::default()), Options::default())
}

/// Writes until the server goes.
fn write(access: &Access, ledger: &Path, seed: u64) {
    run(async {
        let mut book = Book::create(ledger, seed).unwrap();
        let writer = Writer::connect(&mut book, access, LOAD).await;
        let limit = Limit {
            operations: None,
            until: None,
        };
        let written = writer.unwrap().run(limit).await.unwrap();
        assert_eq!(written.findings.faults, []);
    });
}

/// A ledger of what must be in a backup, what was confirmed before it was begun, and what may be,
/// what was asked before it was made.
fn ledger_of(before: &[String], after: &[String], path: &Path) {
    let asked = after[before.len()..].iter();
    let asked = asked.filter(|line| line.starts_with("{\"Issued\""));
    let all: Vec<_> = before.iter().chain(asked).map(String::as_str).collect();
    fs::write(path, all.join("\n") + "\n").unwrap();
}

/// Compares what starts from a backup with its ledger.
fn expect_kept(backup: &Path, ledger: &Path) {
    let server = Server::start_in(restored(backup));
    let access = access(&server);
    run(async {
        let mut book = Book::open(ledger).unwrap();
        book.begin_epoch().unwrap();
        // Without its ids nothing more than its creation can be told of a queue.
        let queues = book.queues().iter();
        let jobs: Vec<_> = queues
            .filter(|(_, queue)| queue.ids.is_some() || queue.pending.len() == 1)
            .map(|(number, _)| Job {
                number: *number,
                delete: false,
            })
            .collect();
        assert!(jobs.len() > 20);
        let (_, findings) = check(book, &access, 4, jobs).await.unwrap();
        assert_eq!(findings.faults, []);
        assert!(findings.tally.proved > 100, "{:?}", findings.tally);
    });
    drop(server.stop());
}

fn nothing_confirmed_is_missing(setup: &Setup, seed: u64) {
    let server = setup.start();
    let access = access(&server);
    let notes = TempDir::new().unwrap();
    let (ledger, mut backups) = (notes.path().join("ledger"), Vec::new());
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&access, &ledger, seed));
        let mut enough = HEAD_START;
        for n in 0..BACKUPS {
            while confirmed(&lines(&ledger)) < enough {
                assert!(!writer.is_finished(), "the writer has ended");
                thread::yield_now();
            }
            let name = format!("backup-{n}");
            let before = lines(&ledger);
            back_up(server.dir(), &name);
            let after = lines(&ledger);
            assert!(after.len() > before.len(), "nothing was done meanwhile");
            enough = confirmed(&after) + HEAD_START;
            let ledger = notes.path().join(&name);
            ledger_of(&before, &after, &ledger);
            backups.push((server.dir().join(&name), ledger));
        }
        // That ends the writer too.
        let dir = server.stop();
        writer.join().unwrap();
        for (backup, ledger) in &backups {
            expect_kept(backup, ledger);
        }
        drop(dir);
    });
}

fn setup(shards: &str, durability: &str) -> Setup {
    Setup::default()
        .placed(shards, "spread")
        .set("RELAY", "durability", durability)
}

#[test]
fn one_shard_under_load_and_the_disk_waited_for() {
    nothing_confirmed_is_missing(&setup("1", "disk"), 11);
}

#[test]
fn four_shards_under_load_and_the_disk_waited_for() {
    nothing_confirmed_is_missing(&setup("4", "disk"), 12);
}

#[test]
fn one_shard_under_load_and_the_disk_not_waited_for() {
    nothing_confirmed_is_missing(&setup("1", "process"), 13);
}

#[test]
fn four_shards_under_load_and_the_disk_not_waited_for() {
    nothing_confirmed_is_missing(&setup("4", "process"), 14);
}

/// Each message is sent when the one before is confirmed, to the next queue, round and round: of
/// any two messages the earlier is in the backup when the later is.
#[test]
fn all_shards_are_backed_up_at_one_moment() {
    const QUEUES: usize = 12;
    let setup = setup("4", "process").set("RELAY", "msg_queue_quota", "60000");
    let server = setup.start();
    let queues = run(async {
        let mut client = server.client().await;
        Recipient::create_many(&mut client, QUEUES, false).await
    });
    let (begun, stop) = std::sync::mpsc::channel::<()>();
    let mut backups = Vec::new();
    thread::scope(|scope| {
        let (queues, server_ref) = (&queues, &server);
        let sender = scope.spawn(move || {
            run(async {
                let mut client = server_ref.client().await;
                let mut sent = 0;
                while stop.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    let queue = &queues[sent % QUEUES];
                    let sending = send(&mut client, queue.sender_id(), Auth::None, b"1");
                    expect_ok(sending.await);
                    sent += 1;
                }
                sent
            })
        });
        for n in 0..8 {
            let name = format!("backup-{n}");
            back_up(server.dir(), &name);
            backups.push(server.dir().join(name));
        }
        drop(begun);
        assert!(sender.join().unwrap() > 8 * QUEUES);
    });
    let mut seen = Vec::new();
    for backup in &backups {
        let server = Server::start_in(restored(backup));
        let sizes = run(async {
            let mut client = server.client().await;
            let mut sizes = Vec::new();
            for queue in &queues {
                let info = queue.info(&mut client).await;
                sizes.push(info["qiSize"].as_u64().unwrap() as usize);
            }
            sizes
        });
        let total: usize = sizes.iter().sum();
        let of = |n| (total + QUEUES - 1 - n) / QUEUES;
        let expected: Vec<_> = (0..QUEUES).map(of).collect();
        assert_eq!(sizes, expected);
        seen.push(total);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen[0] < seen[7], "{seen:?}");
}
