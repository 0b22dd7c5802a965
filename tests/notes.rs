//! Notifications that nobody has taken yet survive the end of the server.

mod support;

use loadtest::Auth;
use smp_server::protocol::Command;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Notifier, Recipient, Server, Setup, expect_ok, run, send_notifying};

/// Notifications come soon.
fn setup() -> Setup {
    Setup::default().set("RELAY", "ntf_delivery_interval_ms", "20")
}

/// Queues with what their subscribers are to be told: ids of messages.
type Expected = Vec<(Recipient, Notifier, Vec<Vec<u8>>)>;

const QUEUES: usize = 8;

/// Queues with one to three waiting notifications each, whose messages are not acknowledged.
async fn leave_notes(server: &Server) -> Expected {
    let (mut recipient, mut sender) = (server.client().await, server.client().await);
    let mut expected = Vec::new();
    for n in 0..QUEUES {
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        let mut ids = Vec::new();
        for _ in 0..n % 3 + 1 {
            let sent = send_notifying(&mut sender, queue.sender_id(), Auth::None, b"ring").await;
            expect_ok(sent);
            let (id, _) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
            expect_ok(queue.ack(&mut recipient, &id).await);
            ids.push(id);
        }
        expected.push((queue, notifier, ids));
    }
    expected
}

/// Asserts that whoever subscribes is told of these messages, and of no others.
async fn expect_told(server: &Server, expected: &Expected) {
    let mut subscriber = server.client().await;
    for (queue, notifier, ids) in expected {
        expect_ok(notifier.subscribe(&mut subscriber).await);
        for id in ids {
            assert_eq!(&notifier.pushed(&mut subscriber).await, id);
        }
        // The next that comes is of the next message.
        let sent = send_notifying(&mut subscriber, queue.sender_id(), Auth::None, b"next").await;
        expect_ok(sent);
        let (id, _) = queue.open(queue.ask(&mut subscriber, &Command::Get).await);
        assert_eq!(notifier.pushed(&mut subscriber).await, id);
        expect_ok(queue.ack(&mut subscriber, &id).await);
    }
}

/// Files of waiting notifications.
fn note_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(generations) = fs::read_dir(dir.join("var/smp-server-store")) else {
        return Vec::new();
    };
    let shards = generations.filter_map(|entry| fs::read_dir(entry.unwrap().path()).ok());
    let files = shards.flatten().map(|shard| shard.unwrap().path());
    files
        .map(|shard| shard.join("notifications"))
        .filter(|file| file.is_file())
        .collect()
}

fn saved_bytes(dir: &Path) -> usize {
    let files = note_files(dir).into_iter();
    files.map(|file| fs::read(file).unwrap().len()).sum()
}

/// Waits until what is saved has changed in a way.
async fn await_saved(server: &Server, is_saved: impl Fn(usize) -> bool) {
    while !is_saved(saved_bytes(server.dir())) {
        glommio::timer::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn configure(dir: &Path, setup: &Setup) {
    fs::write(dir.join("etc/smp-server.ini"), setup.ini_text()).unwrap();
}

#[test]
fn a_restart_tells_later_subscribers_the_same_whatever_the_number_of_shards() {
    let server = setup().placed("1", "local").start();
    let mut expected = run(leave_notes(&server));
    let mut dir = server.stop();
    for shards in ["4", "3", "1"] {
        configure(dir.path(), &setup().placed(shards, "remote"));
        let server = Server::start_in(dir);
        if shards == "3" {
            run(expect_told(&server, &expected));
            // What was told is not told again.
            expected.iter_mut().for_each(|(.., ids)| ids.clear());
        } else if shards == "1" {
            run(expect_told(&server, &expected));
        }
        dir = server.stop();
    }
}

#[test]
fn a_kill_loses_nothing_that_was_saved_and_repeats_nothing_that_was_told() {
    let server = setup().placed("2", "remote").start();
    let mut expected = run(leave_notes(&server));
    // A notifier, a count and one note at least of each queue, and the beginnings of two files.
    let notes: usize = expected.iter().map(|(.., ids)| ids.len()).sum();
    let whole = QUEUES * 28 + notes * 33;
    run(await_saved(&server, |bytes| bytes >= whole));
    let server = Server::start_in(server.kill());
    run(expect_told(&server, &expected));
    let told = saved_bytes(server.dir());
    run(await_saved(&server, |bytes| bytes != told));
    // One that comes now is saved when those that were told are forgotten.
    expected.iter_mut().for_each(|(.., ids)| ids.clear());
    let server = Server::start_in(server.kill());
    run(expect_told(&server, &expected));
}

#[test]
fn a_file_that_cannot_be_read_costs_its_notes_alone() {
    let server = setup().start();
    let mut expected = run(leave_notes(&server));
    let dir = server.stop();
    let files = note_files(dir.path());
    assert_eq!(files.len(), 1);
    fs::write(&files[0], b"smp-ntf\x01 and something else").unwrap();
    let server = Server::start_in(dir);
    assert!(
        server.log().contains("notifications are lost"),
        "{}",
        server.log()
    );
    expected.iter_mut().for_each(|(.., ids)| ids.clear());
    run(expect_told(&server, &expected));
}

#[test]
fn notes_are_forgotten_when_the_settings_say_so() {
    let forgetful = setup().set("STORE_LOG", "restore_messages", "off");
    for (first, second) in [(setup(), &forgetful), (forgetful.clone(), &setup())] {
        let server = first.start();
        let mut expected = run(leave_notes(&server));
        let dir = server.stop();
        configure(dir.path(), second);
        let server = Server::start_in(dir);
        expected.iter_mut().for_each(|(.., ids)| ids.clear());
        run(expect_told(&server, &expected));
    }
    let server = setup().set("STORE_LOG", "enable", "off").start();
    run(leave_notes(&server));
    let dir = server.stop();
    assert!(note_files(dir.path()).is_empty());
    assert!(!dir.path().join("var/smp-server-store").exists());
}
