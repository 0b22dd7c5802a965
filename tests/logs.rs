//! The log: a line for each event, for whoever reads it.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use support::{Recipient, Server, Setup, run};

#[test]
fn the_journal_gets_levels_and_no_times() {
    for matches in [true, false] {
        let dir = Setup::default().prepare();
        let log = File::create(dir.path().join("stderr.log")).unwrap();
        let metadata = log.metadata().unwrap();
        let inode = metadata.ino() + u64::from(!matches);
        let stream = format!("{}:{inode}", metadata.dev());
        let server = Server::start_with(dir, |command| command.env("JOURNAL_STREAM", &stream));
        let dir = server.stop();
        let log = fs::read_to_string(dir.path().join("stderr.log")).unwrap();
        assert!(log.lines().count() >= 4, "{log}");
        for line in log.lines() {
            let marked = line.starts_with("<4>") || line.starts_with("<6>");
            let timed = line.starts_with("20") && line.contains("Z  ");
            assert_eq!((marked, timed), (matches, !matches), "{line}");
        }
        assert_eq!(log.contains("<6>Server stopped"), matches);
    }
}

#[test]
fn lines_are_selected_by_the_environment_or_the_option() {
    let log_of = |change: fn(&mut std::process::Command) -> &mut std::process::Command| {
        let dir = Server::start_with(Setup::default().prepare(), change).stop();
        fs::read_to_string(dir.path().join("stderr.log")).unwrap()
    };
    let warnings = log_of(|command| command.env("RUST_LOG", "warn"));
    assert!(
        warnings.contains(" WARN ") && !warnings.contains(" INFO "),
        "{warnings}"
    );
    let unread = log_of(|command| command.env("RUST_LOG", "a=b=c"));
    assert!(unread.contains("RUST_LOG is ignored") && unread.contains(" INFO "));
}

#[test]
fn failures_of_tls_are_logged_when_wanted() {
    for wanted in ["on", "off"] {
        let server = Setup::default()
            .set("TRANSPORT", "log_tls_errors", wanted)
            .start();
        let mut stranger = TcpStream::connect(server.address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        stranger
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // It is over when the server has given up.
        let _ = std::io::copy(&mut stranger, &mut std::io::sink());
        let dir = server.stop();
        let log = fs::read_to_string(dir.path().join("stderr.log")).unwrap();
        assert_eq!(log.contains("ERROR TLS: "), wanted == "on", "{log}");
    }
}

/// Neither who uses the relay nor what they use it for.
#[test]
fn nothing_of_clients_is_logged() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let server = Setup::default().start();
    let ids = run(async {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, true).await;
        let none = loadtest::Auth::None;
        support::expect_ok(support::send(&mut client, queue.sender_id(), none, b"x").await);
        queue.pushed(&mut client).await;
        [queue.id().to_vec(), queue.sender_id().to_vec()]
    });
    let dir = server.stop();
    let log = fs::read_to_string(dir.path().join("stderr.log")).unwrap();
    for id in ids {
        let texts = [
            STANDARD.encode(&id),
            URL_SAFE_NO_PAD.encode(&id),
            hex::encode(&id),
        ];
        assert!(texts.iter().all(|text| !log.contains(text)), "{log}");
    }
    assert!(!log.contains("127.0.0.1"), "{log}");
}
