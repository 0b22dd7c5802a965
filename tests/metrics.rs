//! Metrics over HTTP and in their file (spec: operations §5).

mod support;

use loadtest::{Auth, Client};
use smp_server::protocol::Command;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use support::{Page, Recipient, Server, Setup, expect_ok, get, read_page, run, send, tcp};

const QUEUES: usize = 4;
const OK: &str = "HTTP/1.1 200 OK";

fn setup() -> Setup {
    Setup::default()
        .placed("2", "remote")
        .set("RELAY", "metrics_port", "0")
}

/// Where metrics are, as the log tells.
fn address(server: &Server) -> SocketAddr {
    loop {
        let log = server.log();
        let mut lines = log.lines();
        let port = lines.find_map(|line| line.split_once("Serving metrics on port "));
        if let Some(port) = port.and_then(|(_, port)| port.parse().ok()) {
            return ([127, 0, 0, 1], port).into();
        }
        // A file tells nobody that it has grown.
        sleep(Duration::from_millis(5));
    }
}

fn text(page: &Page) -> &str {
    str::from_utf8(&page.body).unwrap()
}

/// Names with labels, and values without their times.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line: &str| {
        let end = line
            .find("} ")
            .map_or_else(|| line.find(' '), |at| Some(at + 1));
        let (name, value) = line.split_at(end.unwrap());
        let value = value.split_whitespace().next().unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let page = get(&mut tcp(address(server)), "/metrics");
    assert_eq!(page.status, OK);
    samples(text(&page))
}

#[track_caller]
fn expect(samples: &BTreeMap<String, f64>, expected: &[(&str, usize)]) {
    for (name, value) in expected {
        let name = format!("simplex_smp_{name}");
        assert_eq!(samples.get(&name), Some(&(*value as f64)), "{name}");
    }
}

/// One message to each queue; all but one are acknowledged.
async fn exchange(recipient: &mut Client, sender: &mut Client, queues: &[Recipient]) {
    for queue in queues {
        expect_ok(send(sender, queue.sender_id(), Auth::None, b"hello").await);
        let (id, _) = queue.open(queue.ask(recipient, &Command::Get).await);
        if queue.id() != queues[0].id() {
            expect_ok(queue.ack(recipient, &id).await);
        }
    }
}

#[test]
fn what_happened_is_in_the_metrics_also_after_a_kill() {
    let server = setup().start();
    let queues = run(async {
        let (mut recipient, mut sender) = (server.client().await, server.client().await);
        let queues = Recipient::create_many(&mut recipient, QUEUES, false).await;
        exchange(&mut recipient, &mut sender, &queues).await;
        let samples = scrape(&server);
        expect(
            &samples,
            &[
                ("queues_created", QUEUES),
                ("queues_total1", QUEUES),
                ("queues_daily", QUEUES),
                ("messages_sent", QUEUES),
                ("messages_received", QUEUES - 1),
                ("messages_notify_get_sent", QUEUES),
                ("messages_total", 1),
                ("clients_total", 2),
                ("delivered_total", 1),
                ("delivered_clients_total", 1),
                ("delivery_ack_confirmed_time_count", QUEUES - 1),
                ("delivery_ack_pending_count{period=\"0-60\"}", 1),
                ("loaded_queues_queue_count", QUEUES),
            ],
        );
        let port = server.address.port();
        let sockets = format!("sockets_active{{port=\"{port}\"}}");
        expect(&samples, &[(&sockets, 2)]);
        let of_shards = |name: &str| -> f64 {
            let shard = |shard| samples[&format!("smp_relay_{name}{{shard=\"{shard}\"}}")];
            shard(0) + shard(1)
        };
        assert_eq!(of_shards("queues"), QUEUES as f64);
        assert!(of_shards("commit_seconds_count") > 0.0);
        assert!(of_shards("log_bytes") > of_shards("log_live_bytes"));
        assert!(samples["smp_relay_resident_memory_bytes"] > 1e6);
        queues
    });
    // Whether it was saved already nobody can know but by looking.
    let file = server.dir().join("var/smp-server-statistics");
    let is_saved = || {
        let file = fs::read(&file).ok()?;
        let record = smp_server::control::StatisticsRecord::decode(&file).ok()?;
        (record.statistics.counters.messages_received == QUEUES as u64 - 1).then_some(())
    };
    while is_saved().is_none() {
        sleep(Duration::from_millis(5));
    }
    let server = Server::start_in(server.kill());
    expect(
        &scrape(&server),
        &[
            ("queues_created", QUEUES),
            ("queues_total1", QUEUES),
            ("messages_sent", QUEUES),
            ("messages_received", QUEUES - 1),
            ("messages_total", 1),
            ("clients_total", 0),
            ("delivered_total", 0),
        ],
    );
    run(async {
        let (mut recipient, mut sender) = (server.client().await, server.client().await);
        exchange(&mut recipient, &mut sender, &queues[1..]).await;
        // Days of use are saved less often: a queue whose day was lost counts when it is used again.
        expect(
            &scrape(&server),
            &[
                ("queues_created", QUEUES),
                ("queues_daily", QUEUES - 1),
                ("messages_sent", 2 * QUEUES - 1),
                ("messages_received", 2 * QUEUES - 3),
            ],
        );
    });
}

#[test]
fn others_than_readers_of_metrics_get_nothing() {
    let server = setup().start();
    let address = address(&server);
    let mut stream = tcp(address);
    for (path, status) in [
        ("/metrics", OK),
        ("/", "HTTP/1.1 404 Not Found"),
        ("/metrics/", "HTTP/1.1 404 Not Found"),
        ("/metrics?name=x", OK),
    ] {
        assert_eq!(get(&mut stream, path).status, status, "{path}");
    }
    let page = get(&mut stream, "/metrics");
    let format = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(page.header("content-type"), format);
    assert!(text(&page).starts_with("# Recorded at: "));
    let mut stream = tcp(address);
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(post.as_bytes()).unwrap();
    let refused = read_page(&mut stream);
    assert_eq!(refused.status, "HTTP/1.1 405 Method Not Allowed");
    // Nothing waits for whoever holds a connection open.
    server.stop();
}

fn file(server: &Server) -> PathBuf {
    server.dir().join("var/smp-server-metrics.txt")
}

/// Waits for a file with so many messages sent.
fn await_file(server: &Server, sent: usize) -> String {
    let line = format!("\nsimplex_smp_messages_sent {sent} ");
    loop {
        let text = fs::read_to_string(file(server)).unwrap_or_default();
        if text.contains(&line) {
            return text;
        }
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_file_is_replaced_as_often_as_it_is_said() {
    let setup = setup().set("STORE_LOG", "prometheus_interval", "1");
    let server = setup.start();
    let path = file(&server);
    let line = format!(
        "Prometheus metrics saved every 1 seconds to {}",
        path.display()
    );
    assert!(
        server.start_lines.contains(&line),
        "{:?}",
        server.start_lines
    );
    await_file(&server, 0);
    run(async {
        let (mut recipient, mut sender) = (server.client().await, server.client().await);
        let queues = Recipient::create_many(&mut recipient, QUEUES, false).await;
        exchange(&mut recipient, &mut sender, &queues).await;
    });
    let text = await_file(&server, QUEUES);
    // All samples have the same time, and those that are asked for have the same names.
    let times: std::collections::BTreeSet<_> = text
        .lines()
        .filter(|line| line.starts_with("s") && !line.starts_with("simplex_smp_info"))
        .map(|line| line.rsplit_once(' ').unwrap().1)
        .collect();
    assert_eq!(times.len(), 1, "{times:?}");
    assert!(samples(&text).keys().eq(scrape(&server).keys()));
    server.stop();
}

#[test]
fn a_relay_without_a_port_for_metrics_serves_messages() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let server = setup().set("RELAY", "metrics_port", &port).start();
    run(async {
        let (mut recipient, mut sender) = (server.client().await, server.client().await);
        let queues = Recipient::create_many(&mut recipient, 1, false).await;
        exchange(&mut recipient, &mut sender, &queues).await;
    });
    let reason = format!("metrics are not served: port {port} is already in use");
    assert!(server.log().contains(&reason), "{}", server.log());
    server.stop();
}
