//! Counters outlive the server, and each day has its row (spec: server §12).

mod support;

use base64::Engine as _;
use loadtest::Auth;
use smp_server::control::{SavedStatistics, StatisticsRecord, daily};
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{Operator, Recipient, Server, Setup, expect_ok, run, send};

const QUEUES: usize = 3;
const DAY: i64 = 86_400 * 1_000_000_000;

fn setup() -> Setup {
    Setup::default()
        .placed("2", "spread")
        .set("STORE_LOG", "log_stats", "on")
}

fn record_file(dir: &Path) -> std::path::PathBuf {
    dir.join("var/smp-server-statistics")
}

/// What is saved.
fn saved(dir: &Path) -> SavedStatistics {
    let file = fs::read(record_file(dir)).unwrap();
    StatisticsRecord::decode(&file).unwrap().statistics
}

fn save(dir: &Path, statistics: SavedStatistics) {
    let record = StatisticsRecord {
        statistics,
        rows: None,
    };
    fs::write(record_file(dir), record.encode().unwrap()).unwrap();
}

/// Waits until what is saved is as it should be.
async fn await_saved(server: &Server, is_saved: impl Fn(&SavedStatistics) -> bool) {
    loop {
        let file = fs::read(record_file(server.dir())).unwrap_or_default();
        // There is none before the first save.
        let record = StatisticsRecord::decode(&file);
        if record.is_ok_and(|record| is_saved(&record.statistics)) {
            return;
        }
        glommio::timer::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends a message to each queue, which is acknowledged.
async fn exchange(server: &Server, queues: &[Recipient]) {
    let (mut recipient, mut sender) = (server.client().await, server.client().await);
    for queue in queues {
        expect_ok(send(&mut sender, queue.sender_id(), Auth::None, b"hello").await);
        let (id, _) = queue.open(
            queue
                .ask(&mut recipient, &smp_server::protocol::Command::Get)
                .await,
        );
        expect_ok(queue.ack(&mut recipient, &id).await);
    }
}

/// The rows of the file of daily statistics.
fn rows(dir: &Path) -> Vec<Vec<String>> {
    let file = fs::read_to_string(dir.join("var/smp-server-stats.daily.log"));
    let file = file.unwrap_or_default();
    let rows = file.lines().map(|row| row.split(',').map(str::to_owned));
    rows.map(Iterator::collect).collect()
}

fn column<'a>(row: &'a [String], name: &str) -> &'a str {
    let index = daily::column_names().position(|column| column == name);
    &row[index.unwrap()]
}

#[test]
fn counters_go_on_after_a_kill_and_after_a_stop() {
    let server = setup().start();
    let queues = run(async {
        let mut client = server.client().await;
        let queues = Recipient::create_many(&mut client, QUEUES, false).await;
        exchange(&server, &queues).await;
        await_saved(&server, |saved| saved.counters.messages_received == 3).await;
        queues
    });
    let begun = saved(server.dir()).from_time_ns;
    let server = Server::start_in(server.kill());
    run(async {
        for _ in 0..2 {
            exchange(&server, &queues).await;
        }
        await_saved(&server, |saved| saved.counters.messages_received == 9).await;
    });
    let mut dir = server.stop();
    for times in [4, 5] {
        let server = Server::start_in(dir);
        run(exchange(&server, &queues));
        dir = server.stop();
        let saved = saved(dir.path());
        assert_eq!(saved.from_time_ns, begun);
        let counters = &saved.counters;
        assert_eq!(counters.queues_created, QUEUES as u64);
        let messages = (times * QUEUES) as u64;
        assert_eq!(counters.messages_sent, messages);
        assert_eq!(counters.messages_received, messages);
        // However often a queue is used, it is one.
        assert_eq!(saved.active.messages.day, QUEUES as u64);
    }
    assert!(rows(dir.path()).is_empty());
}

#[test]
fn a_day_that_ended_meanwhile_gets_one_row() {
    let setup = setup().set("RELAY", "stats_header", "on");
    let server = setup.start();
    run(async {
        let mut client = server.client().await;
        let queues = Recipient::create_many(&mut client, QUEUES, false).await;
        exchange(&server, &queues).await;
    });
    let log = server.dir().join("var/smp-server-stats.daily.log");
    let line = format!("server stats log enabled: {}", log.display());
    assert!(
        server.start_lines.contains(&line),
        "{:?}",
        server.start_lines
    );
    let dir = server.stop();
    // As if it had stopped long ago, on a Wednesday.
    let mut before = saved(dir.path());
    let day = 20_754;
    before.day = day;
    before.from_time_ns = i64::from(day) * DAY + 1;
    save(dir.path(), before);
    let server = Server::start_in(dir);
    run(await_saved(&server, |saved| saved.day > day));
    let mut dir = server.stop();
    for _ in 0..2 {
        let rows = rows(dir.path());
        let [names, row] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert!(names.iter().map(String::as_str).eq(daily::column_names()));
        assert_eq!(row.len(), daily::COLUMN_COUNT);
        for (name, value) in [
            ("fromTime", "2026-10-28"),
            ("qCreated", "3"),
            ("msgSent", "3"),
            ("msgRecvGet", "3"),
            ("dayMsgQueues", "3"),
            ("weekMsgQueues", "3"),
            ("monthMsgQueues", "3"),
            ("dayCountNtf", "0"),
            ("qCount", "3"),
            ("msgCount", "0"),
        ] {
            assert_eq!(column(row, name), value, "{name}");
        }
        let counters = saved(dir.path()).counters;
        assert_eq!((counters.messages_sent, counters.queues_created), (0, 0));
        dir = Server::start_in(dir).stop();
    }
}

#[test]
fn statistics_that_cannot_be_read_begin_at_zero_and_are_kept() {
    let dir = setup().prepare();
    fs::create_dir_all(dir.path().join("var")).unwrap();
    fs::write(record_file(dir.path()), "smp-statistics 1 00000000\n{}").unwrap();
    let server = Server::start_in(dir);
    run(await_saved(&server, |_| true));
    let log = server.log();
    assert!(log.contains("statistics begin at zero: "), "{log}");
    assert!(
        log.contains("smp-server-statistics: its checksum is wrong"),
        "{log}"
    );
    let kept = server.dir().join("var/smp-server-statistics.damaged");
    assert_eq!(fs::read(kept).unwrap(), b"smp-statistics 1 00000000\n{}");
}

/// The quota of a day is that of the day, not of the process.
#[test]
fn queues_blocked_today_count_after_a_kill() {
    let setup = setup().set("AUTH", "daily_block_queue_quota", "2");
    let server = setup.start();
    let queues = run(async {
        let mut client = server.client().await;
        Recipient::create_many(&mut client, QUEUES, false).await
    });
    let block = |server: &Server, queue: &Recipient| {
        let id = base64::engine::general_purpose::URL_SAFE.encode(queue.sender_id());
        Operator::local(server).ask(&format!("block {id} reason=spam"))
    };
    for queue in &queues[..2] {
        assert!(block(&server, queue).starts_with("ok, queue blocked"));
    }
    run(await_saved(&server, |saved| saved.blocked_today == 2));
    let mut server = Server::start_in(server.kill());
    for _ in 0..2 {
        let refusal = "error: reached limit of 2 queues blocked daily";
        assert_eq!(block(&server, &queues[2]), refusal);
        // Also what was saved on demand.
        let answer = Operator::local(&server).ask("save");
        assert!(answer.ends_with("server state saved!"), "{answer}");
        server = Server::start_in(server.kill());
    }
}
