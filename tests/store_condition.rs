//! A store whose key or whose logs are not as they were is refused, and repaired on demand.

mod support;

use smp_server::protocol::{Command, ErrorType, Response};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Recipient, Server, Setup, command, expect_ok, run, start_fails};
use tempfile::TempDir;

const QUEUES: usize = 24;
const KEY: &str = "var/smp-server-partition.key";
const MANIFEST: &str = "var/smp-server-store/manifest.json";

fn setup() -> Setup {
    Setup::default().placed("4", "spread")
}

/// A stopped server with queues on all shards.
fn server_with_queues() -> (TempDir, Vec<Recipient>) {
    let server = setup().start();
    let queues = run(async {
        let mut client = server.client().await;
        let mut queues = Vec::new();
        for _ in 0..QUEUES {
            queues.push(Recipient::create(&mut client, false).await);
        }
        queues
    });
    (server.stop(), queues)
}

/// How many of the queues are there.
fn served(server: &Server, queues: &[Recipient]) -> usize {
    run(async {
        let mut client = server.client().await;
        let mut served = 0;
        for queue in queues {
            let response = queue.ask(&mut client, &Command::Sub).await;
            if response != Response::Err(ErrorType::Auth) {
                expect_ok(response);
                served += 1;
            }
        }
        served
    })
}

fn run_with(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = command(dir).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Starts without serving.
fn maintain(dir: &Path, arguments: &[&str]) -> (bool, String) {
    run_with(dir, &[&["start", "--maintenance"], arguments].concat())
}

fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    entries
        .flat_map(|entry| files(&entry.unwrap().path()))
        .collect()
}

/// Flips a bit in the record of a queue; gives the file.
fn damage(dir: &Path, queue: &Recipient) -> PathBuf {
    let mut damaged = None;
    for file in files(&dir.join("var/smp-server-store")) {
        let mut bytes = fs::read(&file).unwrap();
        let found = bytes.windows(24).position(|window| window == queue.id());
        // Log 1 is that of queues.
        if let Some(at) = found.filter(|_| bytes[36] == 1) {
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
            damaged = Some(file);
        }
    }
    damaged.unwrap()
}

#[test]
fn no_other_key_is_made_or_used_for_a_store() {
    let (dir, queues) = server_with_queues();
    let key = fs::read(dir.path().join(KEY)).unwrap();
    let to = tempfile::tempdir().unwrap();
    let export = ["export", to.path().to_str().unwrap()];
    let name = dir.path().join(KEY).display().to_string();

    fs::remove_file(dir.path().join(KEY)).unwrap();
    let missing = format!("{name} is missing");
    for arguments in [
        &["start"][..],
        &["start", "--maintenance"],
        &export,
        &["import"],
    ] {
        let (success, text) = run_with(dir.path(), arguments);
        assert!(!success && text.contains(&missing), "{arguments:?}: {text}");
        assert!(!dir.path().join(KEY).exists(), "{arguments:?}");
    }
    fs::write(dir.path().join(KEY), [7; 16]).unwrap();
    let other = format!("{name} is not the key");
    for arguments in [
        &["start"][..],
        &["start", "--maintenance"],
        &export,
        &["import"],
    ] {
        let (success, text) = run_with(dir.path(), arguments);
        assert!(!success && text.contains(&other), "{arguments:?}: {text}");
    }
    fs::write(dir.path().join(KEY), key).unwrap();
    let server = Server::start_in(dir);
    assert_eq!(served(&server, &queues), QUEUES);
}

#[test]
fn a_lost_key_is_replaced_on_demand_and_everybody_found() {
    for noted in [true, false] {
        let (dir, queues) = server_with_queues();
        if !noted {
            let early = r#"{"version":1,"generation":1,"shards":4}"#;
            fs::write(dir.path().join(MANIFEST), early).unwrap();
        }
        fs::remove_file(dir.path().join(KEY)).unwrap();
        start_fails(dir.path());
        let (success, text) = maintain(dir.path(), &["--repair"]);
        assert!(
            success && text.contains("under another partition key"),
            "{text}"
        );
        let server = Server::start_in(dir);
        assert_eq!(served(&server, &queues), QUEUES, "{noted}");
    }
}

#[test]
fn a_repair_of_what_is_in_order_changes_nothing() {
    let (dir, queues) = server_with_queues();
    // Opening writes; afterwards nothing does.
    let before = fs::read(dir.path().join(MANIFEST)).unwrap();
    let (success, text) = maintain(dir.path(), &["--repair"]);
    assert!(
        success && text.contains("the store is not damaged"),
        "{text}"
    );
    assert_eq!(fs::read(dir.path().join(MANIFEST)).unwrap(), before);
    let server = Server::start_in(dir);
    assert_eq!(served(&server, &queues), QUEUES);
}

#[test]
fn damage_is_refused_until_a_repair_is_asked_for() {
    let (dir, queues) = server_with_queues();
    let damaged = damage(dir.path(), &queues[3]);
    let name = damaged.display().to_string();
    for arguments in [&[][..], &["--skip-warnings"]] {
        let (success, text) = maintain(dir.path(), arguments);
        assert!(!success && text.contains(&name), "{arguments:?}: {text}");
        assert!(text.contains("`smp-server start --repair`"), "{text}");
        let output = command(dir.path()).arg("start").args(arguments).output();
        assert_eq!(output.unwrap().status.code(), Some(1));
    }
    let (success, text) = maintain(dir.path(), &["--repair"]);
    assert!(
        success && text.contains("skipped: ") && text.contains(&name),
        "{text}"
    );
    let kept = dir.path().join("var/smp-server-store/generation-1.damaged");
    assert!(kept.is_dir());
    let server = Server::start_in(dir);
    assert_eq!(served(&server, &queues), QUEUES - 1);
}

#[test]
fn maintenance_tells_what_there_is_and_moves_it() {
    let (dir, queues) = server_with_queues();
    let (success, text) = maintain(dir.path(), &[]);
    assert!(success, "{text}");
    let counted = format!("queues: {QUEUES}, services: 0, messages: 0");
    assert!(text.contains(&counted), "{text}");
    assert!(
        text.contains("Server started in 'maintenance' mode, exiting\n"),
        "{text}"
    );
    fs::write(
        dir.path().join("etc/smp-server.ini"),
        setup().placed("3", "spread").ini_text(),
    )
    .unwrap();
    let (success, text) = maintain(dir.path(), &[]);
    assert!(success && text.contains("from 4 shards to 3"), "{text}");
    let server = Server::start_in(dir);
    assert!(!server.log().contains("from 4 shards"), "{}", server.log());
    assert_eq!(served(&server, &queues), QUEUES);
}
