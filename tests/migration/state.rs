//! The recorded state of a reference server, servers that start from it, and what their files say.

use crate::support::{Setup, command};
use smp_server::protocol::Response;
use smp_server::store::reference::file_names::STORE_LOG;
use smp_server::store::reference::{
    LoggedMessage, QueueEntry, parse_message_line, parse_notification_line, replay, write_queue,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// Queues and messages of the recorded state.
pub const QUEUES: usize = 11;
pub const MESSAGE_COUNT: usize = 161;

pub const STORE: &str = "smp-server-store";
pub const UNFINISHED: &str = "smp-server-store.unfinished";

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/reference-6.5.5")
        .join(name)
}

pub fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The files of a directory by name, without those of directories in it.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A copy of the recorded configuration and state, on any port of the loopback address.
pub fn reference_server(shards: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_files(&fixture("etc"), &dir.path().join("etc"));
    copy_files(&fixture("var"), &dir.path().join("var"));
    let ini = dir.path().join("etc/smp-server.ini");
    let text = fs::read_to_string(&ini).unwrap();
    // The recorded messages are as old as the recording.
    let text = text.replace("\ncontrol_port = ", "\n# control_port = ");
    let changed = text.replace("\nport = 25223\n", "\nport = 0\n").replace(
        "\nexpire_messages_days = 21\n",
        "\nexpire_messages_days = 36500\n",
    );
    assert_ne!(text, changed);
    let relay = format!(
        "\n[RELAY]\naddress = 127.0.0.1\nshards = {shards}\nsegment_mb = 1\n\
         ntf_delivery_interval_ms = 20\nntf_ttl = 3153600000\n"
    );
    fs::write(&ini, changed + &relay).unwrap();
    dir
}

/// A server without state, on as many shards.
pub fn empty_server(shards: &str) -> TempDir {
    let setup = Setup::default().set("RELAY", "shards", shards).set(
        "STORE_LOG",
        "expire_messages_days",
        "36500",
    );
    setup.prepare()
}

pub fn run_command(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).output().unwrap()
}

#[track_caller]
pub fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = run_command(dir, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with status 1 and gives what it wrote to stderr.
#[track_caller]
pub fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = run_command(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Exports the state of a stopped server.
pub fn export(dir: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    succeeds(dir, &["export", to.path().to_str().unwrap()]);
    to
}

/// Messages of a file, by recipient id, in order.
pub fn messages(file: &Path) -> BTreeMap<[u8; 24], Vec<LoggedMessage>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in fs::read(file).unwrap().split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            let (id, message) = parse_message_line(line).unwrap();
            all.entry(id).or_default().push(message);
        }
    }
    all
}

/// What a store log amounts to: the line of every queue, and the services.
pub fn queues(file: &Path) -> (BTreeSet<Vec<u8>>, String) {
    let replayed = replay(&*fs::read(file).unwrap()).unwrap();
    assert_eq!(replayed.warnings.count(), 0);
    let services = format!("{:?}", replayed.services);
    let line = |entry: QueueEntry| {
        let mut line = Vec::new();
        write_queue(&mut line, &entry.record, entry.link.as_ref());
        line
    };
    (replayed.into_queues().map(line).collect(), services)
}

/// Notifications of a file: whom they are for, nonce and box.
pub fn notifications(file: &Path) -> Vec<([u8; 24], Response<'static>)> {
    let text = fs::read(file).unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let (id, note) = parse_notification_line(line).unwrap();
            let sealed = note.sealed.unwrap();
            let (nonce, boxed) = (sealed.nonce, sealed.boxed.to_vec().into());
            (id, Response::NMsg { nonce, boxed })
        })
        .collect()
}

/// Store logs of `count` queues that differ from a recorded one in their ids.
pub fn many_queues(count: usize) -> Vec<u8> {
    let replayed = replay(&*fs::read(fixture("var").join(STORE_LOG)).unwrap()).unwrap();
    let mut entry = replayed.into_queues().find(|e| e.link.is_none()).unwrap();
    entry.record.notifier = None;
    let mut text = Vec::new();
    for n in 0..count {
        let number = (n as u64).to_be_bytes();
        entry.record.recipient_id[..8].copy_from_slice(&number);
        entry.record.sender_id[..8].copy_from_slice(&number);
        write_queue(&mut text, &entry.record, None);
    }
    text
}
