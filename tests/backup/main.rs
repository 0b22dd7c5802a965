//! Backups of running and stopped servers, and what starts from them.

mod load;
mod program;
#[path = "../support/mod.rs"]
mod support;

use program::{back_up, fails, restore, restored};
use smp_server::protocol::{Command, Response};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use support::Tmpfs;
use support::{
    Notifier, Recipient, Server, Setup, command, expect_ok, flagged, full_body, run, send,
};

/// Queues with a message each.
async fn fill(server: &Server, queues: usize) -> Vec<Recipient> {
    let mut client = server.client().await;
    let queues = Recipient::create_many(&mut client, queues, false).await;
    for (n, queue) in queues.iter().enumerate() {
        let body = full_body(&n.to_be_bytes());
        let sent = send(&mut client, queue.sender_id(), loadtest::Auth::None, &body).await;
        expect_ok(sent);
    }
    queues
}

async fn expect_filled(server: &Server, queues: &[Recipient]) {
    let mut client = server.client().await;
    for (n, queue) in queues.iter().enumerate() {
        let (_, body) = queue.open(queue.ask(&mut client, &Command::Get).await);
        assert_eq!(body, full_body(&n.to_be_bytes()));
    }
}

fn configure(dir: &Path, setup: &Setup) {
    fs::write(dir.join("etc/smp-server.ini"), setup.ini_text()).unwrap();
}

#[test]
fn a_server_starts_from_a_backup_whatever_the_number_of_shards() {
    for (shards, placement) in [("1", "local"), ("4", "remote")] {
        let setup = Setup::default().placed(shards, placement);
        let server = setup.start();
        let queues = run(fill(&server, 20));
        let running = back_up(server.dir(), "running");
        assert!(running.contains("queues: 20\nmessages: 20\n"), "{running}");
        let fingerprint = server.fingerprint.clone();
        let dir = server.stop();
        let stopped = back_up(dir.path(), "stopped");
        assert!(stopped.contains("queues: 20\nmessages: 20\n"), "{stopped}");
        for (backup, shards) in [("running", "4"), ("running", "3"), ("stopped", "1")] {
            let other = restored(&dir.path().join(backup));
            configure(other.path(), &Setup::default().placed(shards, "remote"));
            let server = Server::start_in(other);
            assert_eq!(server.fingerprint, fingerprint);
            run(expect_filled(&server, &queues));
            drop(server.stop());
        }
    }
}

#[test]
fn the_state_before_is_moved_aside_and_can_come_back() {
    let server = Setup::default().placed("2", "spread").start();
    let first = run(fill(&server, 5));
    back_up(server.dir(), "backup");
    let second = run(fill(&server, 5));
    let busy = fails(server.dir(), &["restore", "backup", "--yes"]);
    assert!(busy.contains("another smp-server uses"), "{busy}");
    let dir = server.stop();
    let refused = fails(dir.path(), &["restore", "backup"]);
    assert!(refused.contains("--yes"), "{refused}");
    let told = restore(dir.path(), &["backup", "--yes"]);
    let aside = told
        .lines()
        .find_map(|line| line.strip_prefix("the state before is in "));
    let aside = aside.unwrap().to_owned();
    assert!(
        aside.contains("smp-server-state.before-restore-"),
        "{aside}"
    );
    let server = Server::start_in(dir);
    run(expect_filled(&server, &first));
    run(async {
        let mut client = server.client().await;
        let gone = second[0].ask(&mut client, &Command::Sub).await;
        assert!(matches!(gone, Response::Err(_)), "{gone:?}");
    });
    let dir = server.stop();
    let state = dir.path().join("var");
    for name in ["smp-server-store", "smp-server-partition.key"] {
        fs::rename(state.join(name), dir.path().join(name)).unwrap();
        fs::rename(Path::new(&aside).join(name), state.join(name)).unwrap();
    }
    let server = Server::start_in(dir);
    run(expect_filled(&server, &first));
    run(expect_filled(&server, &second));
}

#[test]
fn notifications_that_wait_come_along() {
    let setup =
        Setup::default()
            .placed("4", "remote")
            .set("RELAY", "ntf_delivery_interval_ms", "20");
    let server = setup.start();
    let expected = run(async {
        let mut client = server.client().await;
        let mut expected = Vec::new();
        for _ in 0..6 {
            let (queue, notifier) = Recipient::create_with_notifier(&mut client, false).await;
            let mut ids = Vec::new();
            for _ in 0..2 {
                ids.push(flagged(&mut client, &queue).await);
            }
            expected.push((notifier, ids));
        }
        expected
    });
    // At once: the file that the server keeps is behind.
    back_up(server.dir(), "backup");
    let server = Server::start_in(restored(&server.dir().join("backup")));
    run(async {
        let mut subscriber = server.client().await;
        for (notifier, ids) in &expected {
            let notifier: &Notifier = notifier;
            expect_ok(notifier.subscribe(&mut subscriber).await);
            for id in ids {
                assert_eq!(&notifier.pushed(&mut subscriber).await, id);
            }
        }
    });
}

#[test]
fn a_backup_is_where_it_was_asked_for_or_says_why_not() {
    let server = Setup::default().start();
    let queues = run(fill(&server, 3));
    let root = server.dir();
    fs::create_dir(root.join("used")).unwrap();
    fs::write(root.join("used/file"), "x").unwrap();
    let wrong = |to: &str| fails(root, &["backup", to]);
    assert!(
        wrong("used").contains("used is not empty"),
        "{}",
        wrong("used")
    );
    assert!(wrong("/proc/none/backup").contains("/proc/none"));
    let inside = root.join("var/smp-server-store/backup");
    assert!(wrong(inside.to_str().unwrap()).contains("inside of what is copied"));
    assert!(!root.join("used.partial").exists());
    // Relative to where the command is run, also with a blank and a slash.
    fs::create_dir(root.join("below")).unwrap();
    let output = command(root)
        .args(["backup", "./a backup/", "--with-configuration"])
        .current_dir(root.join("below"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = server.log();
    assert!(log.contains("made a backup of 3 queues"), "{log}");
    let server = Server::start_in(restored(&root.join("below/a backup")));
    run(expect_filled(&server, &queues));
    let none = fails(server.stop().path(), &["restore", "none"]);
    assert!(none.contains("none: No such file"), "{none}");
}

#[test]
fn only_the_owner_asks_for_backups() {
    let server = Setup::default()
        .set("TRANSPORT", "control_port", "0")
        .set("AUTH", "control_port_admin_password", "secret")
        .start();
    let mut admin = support::Operator::connect(&server);
    assert_eq!(admin.auth("secret"), "Current role is CPRAdmin");
    let target = server.dir().join("backup");
    assert_eq!(admin.ask(&format!("backup {}", target.display())), "AUTH");
    assert!(!target.exists());
    let mut owner = support::Operator::local(&server);
    let told = owner.ask(&format!("backup {}", target.display()));
    assert_eq!(told, "backing up...\nbackup complete");
    assert!(target.join("backup.manifest").exists());
    let told = owner.ask(&format!("backup {}", target.display()));
    assert!(
        told.contains("error: ") && told.contains("is not empty"),
        "{told}"
    );
}

#[test]
fn a_server_that_keeps_nothing_has_no_backup() {
    let server = Setup::default().set("STORE_LOG", "enable", "off").start();
    let refused = fails(server.dir(), &["backup", "backup"]);
    assert!(refused.contains("nothing is kept"), "{refused}");
    let dir = server.stop();
    let refused = fails(dir.path(), &["backup", "backup"]);
    assert!(refused.contains("there is no store"), "{refused}");
}

#[test]
fn a_full_disk_makes_no_backup_and_no_harm() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let server = Setup::default().start();
    let queues = run(fill(&server, 60));
    let target = disk.path().join("backup");
    disk.eat(512 << 10);
    let refused = fails(server.dir(), &["backup", target.to_str().unwrap()]);
    assert!(refused.contains("not enough space"), "{refused}");
    assert!(!target.exists() && !disk.path().join("backup.partial").exists());
    run(expect_filled(&server, &queues));
    let mounted = fails(server.dir(), &["backup", disk.path().to_str().unwrap()]);
    assert!(mounted.contains("is not empty"), "{mounted}");
}

#[test]
fn a_server_killed_during_a_backup_leaves_none_that_looks_complete() {
    let server = Setup::default().placed("4", "remote").start();
    let queues = run(fill(&server, 300));
    let target = server.dir().join("backup");
    let partial = server.dir().join("backup.partial");
    let child = command(server.dir())
        .args(["backup", "backup"])
        .current_dir(server.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !partial.join("state").exists() && !target.exists() {
        std::thread::yield_now();
    }
    let dir = server.kill();
    let output = child.wait_with_output().unwrap();
    assert!(!target.exists(), "it was made before the server was killed");
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot back up"), "{error}");
    let refused = fails(dir.path(), &["restore", "backup.partial", "--yes"]);
    assert!(refused.contains("no complete backup"), "{refused}");
    // What was kept is intact, and the next backup takes the same name.
    let server = Server::start_in(dir);
    run(expect_filled(&server, &queues));
    back_up(server.dir(), "backup");
    assert!(!partial.exists());
    let server = Server::start_in(restored(&server.dir().join("backup")));
    run(expect_filled(&server, &queues));
}
