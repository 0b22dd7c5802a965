//! No store is served that is older than the files of a reference server beside it.

use crate::clients::{expect_everybody_served, expect_everything_delivered, expect_notified};
use crate::state::*;
use crate::support::{Server, Setup, command, run, start_fails};
use smp_server::store::reference::file_names::{JOURNAL, MESSAGES, NOTIFICATIONS, STORE_LOG};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

const JOURNAL_FILE: &str = "messages/7s/lL/z3/mP/iE5xCjR7cyAyiv8fTiXrA3mS/\
                            queue_state.7slLz3mPiE5xCjR7cyAyiv8fTiXrA3mS.log";

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A copy of the recorded state in journal mode.
fn journal_server() -> tempfile::TempDir {
    let dir = reference_server("2");
    let var = dir.path().join("var");
    fs::remove_file(var.join(MESSAGES)).unwrap();
    copy_tree(&fixture("journal"), &var);
    dir
}

/// Asserts that the queues of the recorded state are served.
fn expect_queues(server: &Server) {
    run(expect_everything_delivered(server));
    run(expect_notified(server));
    run(expect_everybody_served(server));
}

/// What the reference does when it goes on.
fn append(file: &Path, text: &[u8]) {
    let mut all = fs::read(file).unwrap();
    all.extend_from_slice(text);
    fs::write(file, all).unwrap();
}

/// Asserts that nothing starts on a directory, and that these files are named.
#[track_caller]
fn refuses(dir: &Path, names: &str) {
    let output = start_fails(dir);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(names), "{text}");
    assert!(text.contains("move these files away"), "{text}");
    assert!(text.contains("move smp-server-store away"), "{text}");
}

#[test]
fn what_the_reference_wrote_after_the_import_is_not_passed_over() {
    let dir = reference_server("2");
    let var = dir.path().join("var");
    succeeds(dir.path(), &["import"]);
    append(&var.join(STORE_LOG), &many_queues(1));
    refuses(dir.path(), &format!("{STORE_LOG} of a reference server"));
    append(&var.join(NOTIFICATIONS), b"\n");
    refuses(dir.path(), &format!("{STORE_LOG}, {NOTIFICATIONS} of"));

    // One way on: the queues that this server has.
    let elsewhere = tempfile::tempdir().unwrap();
    for name in [STORE_LOG, MESSAGES, NOTIFICATIONS] {
        fs::rename(var.join(name), elsewhere.path().join(name)).unwrap();
    }
    let server = Server::start_in(dir);
    expect_queues(&server);
    let dir = server.stop();

    // The other: those of the reference, one more.
    for name in [STORE_LOG, MESSAGES] {
        fs::copy(elsewhere.path().join(name), var.join(name)).unwrap();
    }
    refuses(dir.path(), STORE_LOG);
    fs::rename(var.join(STORE), elsewhere.path().join(STORE)).unwrap();
    let server = Server::start_in(dir);
    let imported = format!("imported queues: {}", QUEUES + 1);
    assert!(server.log().contains(&imported), "{}", server.log());
}

#[test]
fn the_number_of_shards_changes_nothing_about_it() {
    let dir = reference_server("1");
    let server = Server::start_in(dir);
    let dir = server.stop();
    let ini = dir.path().join("etc/smp-server.ini");
    let text = fs::read_to_string(&ini).unwrap();
    fs::write(&ini, text.replace("shards = 1", "shards = 3")).unwrap();
    let server = Server::start_in(dir);
    expect_queues(&server);
    let dir = server.stop();
    append(&dir.path().join("var").join(MESSAGES), b"\n");
    refuses(dir.path(), MESSAGES);
}

#[test]
fn a_journal_that_goes_on_is_noticed() {
    let dir = journal_server();
    succeeds(dir.path(), &["import", "--skip-warnings"]);
    let server = Server::start_in(dir);
    let dir = server.stop();
    append(&dir.path().join("var").join(JOURNAL_FILE), b"\n");
    refuses(dir.path(), JOURNAL);
}

#[test]
fn queues_of_the_reference_are_not_passed_over_for_a_store_without_import() {
    let server = Setup::default().start();
    let dir = server.stop();
    let var = dir.path().join("var");
    fs::copy(fixture("var").join(STORE_LOG), var.join(STORE_LOG)).unwrap();
    refuses(dir.path(), STORE_LOG);
    // Nothing is in the store yet, so it can be filled.
    let imported = succeeds(dir.path(), &["import", "--skip-warnings"]);
    assert!(imported.contains("queues: 11\n"), "{imported}");
    Server::start_in(dir);
}

#[test]
fn a_store_of_an_early_release_is_judged_by_its_time() {
    let dir = reference_server("1");
    let var = dir.path().join("var");
    succeeds(dir.path(), &["import"]);
    let manifest = var.join(STORE).join("manifest.json");
    let early = r#"{"version":1,"generation":1,"shards":1}"#;
    fs::write(&manifest, early).unwrap();
    let dir = Server::start_in(dir).stop();
    let noted = fs::read_to_string(&manifest).unwrap();
    assert!(
        noted.contains(STORE_LOG) && noted.contains("key_check"),
        "{noted}"
    );
    let log = var.join(STORE_LOG);
    fs::write(&manifest, early).unwrap();
    let written = fs::metadata(&manifest).unwrap().modified().unwrap();
    let later = written + std::time::Duration::from_secs(1);
    let file = fs::File::options().write(true).open(&log).unwrap();
    file.set_modified(later).unwrap();
    refuses(dir.path(), STORE_LOG);
}

#[test]
fn a_check_keeps_nothing_and_needs_nobody_to_stop() {
    let dir = reference_server("2");
    let var = dir.path().join("var");
    let before = files(&var);
    let checked = succeeds(dir.path(), &["import", "--check"]);
    let imported = succeeds(reference_server("2").path(), &["import"]);
    assert_eq!(
        checked.lines().skip(1).collect::<Vec<_>>(),
        imported.lines().skip(1).collect::<Vec<_>>()
    );
    assert!(checked.starts_with("Nothing is imported yet"), "{checked}");
    assert_eq!(files(&var), before);
    assert!(!var.join(STORE).exists());

    let server = Server::start_in(dir);
    assert_eq!(succeeds(server.dir(), &["import", "--check"]), checked);
    let dir = server.stop();
    append(&var.join(STORE_LOG), b"CREATE nonsense\n");
    let error = fails(dir.path(), &["import", "--check"]);
    assert!(error.contains("not a record"), "{error}");
    let checked = succeeds(dir.path(), &["import", "--check", "--skip-warnings"]);
    assert!(checked.contains("skipped: 1\n"), "{checked}");
}

#[test]
fn a_server_that_has_the_ports_is_not_imported_from() {
    let dir = reference_server("1");
    let var = dir.path().join("var");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let ini = dir.path().join("etc/smp-server.ini");
    let text = fs::read_to_string(&ini).unwrap();
    fs::write(
        &ini,
        text.replace("\nport = 0\n", &format!("\nport = {port}\n")),
    )
    .unwrap();
    let in_use = format!("port {port} is already in use");
    for arguments in [&["start"][..], &["start", "--maintenance"], &["import"]] {
        let output = command(dir.path()).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(&in_use), "{arguments:?}: {error}");
        assert!(!var.join(STORE).exists(), "{arguments:?}");
    }
    succeeds(dir.path(), &["import", "--check"]);
    drop(other);
    succeeds(dir.path(), &["import"]);
}
