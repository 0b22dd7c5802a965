//! The commands of an operator, with the real program: what they print, where, and their status.

mod support;

use smp_server::protocol::address::AddressWithPassword;
use std::fs;
use std::path::Path;
use std::process::Output;
use support::{Recipient, Server, Setup, Terminal, command, expect_ok, run, send};

fn output(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn success(dir: &Path, arguments: &[&str]) -> String {
    let output = output(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    text(&output.stdout).to_owned()
}

/// What a deliberate refusal prints: on stdout, with status 1.
fn refusal(dir: &Path, arguments: &[&str]) -> String {
    let output = output(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    text(&output.stdout).to_owned()
}

/// Credentials are renewed on a copy without the state, as the hosting guide does it, while the
/// server runs; it uses them when it is started again, and clients need not change anything.
#[test]
fn credentials_are_renewed_on_a_copy() {
    for algorithm in ["ED25519", "ED448"] {
        let server = Setup::default().algorithm(algorithm).start();
        let queue = run(async {
            let mut client = server.client().await;
            Recipient::create(&mut client, true).await
        });
        let copy = tempfile::tempdir().unwrap();
        let etc = copy.path().join("etc");
        fs::create_dir(&etc).unwrap();
        // What is needed, and nothing else.
        for name in ["smp-server.ini", "ca.key", "ca.crt", "server.crt"] {
            fs::copy(server.config_file(name), etc.join(name)).unwrap();
        }
        let printed = success(copy.path(), &["cert"]);
        assert!(printed.starts_with("Generated new server credentials\n----------\n"));
        let fingerprint = fs::read_to_string(etc.join("fingerprint")).unwrap();
        assert_eq!(fingerprint.trim(), server.fingerprint);

        let before = fs::read(server.config_file("server.crt")).unwrap();
        let old = server.fingerprint.clone();
        let dir = server.stop();
        for name in ["server.crt", "server.key", "fingerprint"] {
            fs::copy(etc.join(name), dir.path().join("etc").join(name)).unwrap();
        }
        let server = Server::start_in(dir);
        assert_ne!(fs::read(server.config_file("server.crt")).unwrap(), before);
        assert_eq!(server.fingerprint, old);
        run(async {
            let mut client = server.client().await;
            let none = loadtest::Auth::None;
            expect_ok(send(&mut client, queue.sender_id(), none, b"still there").await);
        });
    }
}

#[test]
fn without_the_key_of_the_ca_nothing_is_lost() {
    let dir = Setup::default().prepare();
    fs::remove_file(dir.path().join("etc/ca.key")).unwrap();
    let output = output(dir.path(), &["cert"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("smp-server: ") && stderr.contains("ca.key"),
        "{stderr}"
    );
    // It still starts.
    Server::start_in(dir).stop();
}

fn delete(dir: &Path, answer: &str) -> (String, i32) {
    let mut delete = command(dir);
    delete.arg("delete");
    let mut terminal = Terminal::start(delete);
    let warning = "WARNING: deleting the server will make all queues inaccessible, because the \
                   server identity (certificate fingerprint) will change.\n\
                   THIS CANNOT BE UNDONE!\n";
    assert_eq!(terminal.expect("Continue (Y/n): "), warning);
    terminal.enter(answer);
    terminal.finish()
}

#[test]
fn a_server_is_deleted_with_consent_and_not_while_it_runs() {
    let server = Setup::default().start();
    let output = output(server.dir(), &["delete"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another smp-server uses"));
    let dir = server.stop();
    for answer in ["", "y", "n", "yes"] {
        let (printed, status) = delete(dir.path(), answer);
        assert_eq!((printed.as_str(), status), ("Server NOT deleted\n", 1));
    }
    assert!(dir.path().join("etc/ca.crt").exists());
    let (printed, status) = delete(dir.path(), "Y");
    assert_eq!(printed, "Deleted configuration and log files\n");
    assert_eq!(status, 0);
    assert!(!dir.path().join("etc").exists() && !dir.path().join("var").exists());
}

#[test]
fn a_configuration_is_checked_beside_a_running_server() {
    let server = Setup::default().start();
    let port = server.address.port().to_string();
    let dir = server.stop();
    let ini = dir.path().join("etc/smp-server.ini");
    let written = fs::read_to_string(&ini).unwrap();
    fs::write(
        &ini,
        written.replace("port = 0\n", &format!("port = {port}\n")),
    )
    .unwrap();
    let report = success(dir.path(), &["check-config"]);
    assert!(
        report.contains(&format!("\nok: port {port} is free for messages\n")),
        "{report}"
    );
    assert!(report.ends_with("\nThe server would start.\n"), "{report}");

    let server = Server::start_in(dir);
    run(async {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, true).await;
        let report = success(server.dir(), &["check-config"]);
        assert!(
            report.starts_with("ok: a server is running on this state folder\n"),
            "{report}"
        );
        let in_use = format!("ok: port {port} for messages is in use, as a server is running\n");
        assert!(report.contains(&in_use), "{report}");
        let none = loadtest::Auth::None;
        expect_ok(send(&mut client, queue.sender_id(), none, b"undisturbed").await);
        assert_eq!(queue.pushed(&mut client).await.1, b"undisturbed");
    });

    fs::write(
        server.config_file("smp-server.ini"),
        "[TRANSPORT]\nport = all\n[AUTH]\nnew_queues = 1\n",
    )
    .unwrap();
    let report = refusal(server.dir(), &["check-config"]);
    for line in [
        "error: invalid INI setting port: all (section [TRANSPORT]",
        "error: invalid INI setting new_queues: 1 (section [AUTH]",
    ] {
        assert!(
            report.lines().any(|l| l.starts_with(line)),
            "{line}\n{report}"
        );
    }
    assert!(
        report.ends_with("The server would not start: 2 errors\n"),
        "{report}"
    );
}

#[test]
fn the_address_is_what_clients_take() {
    let dir = Setup::default()
        .set("TRANSPORT", "host", "smp.example.org,abcdef.onion")
        .set("TRANSPORT", "port", "5223,443")
        .set("AUTH", "create_password", "pass=word")
        .prepare();
    let printed = success(dir.path(), &["address"]);
    let fingerprint = fs::read_to_string(dir.path().join("etc/fingerprint")).unwrap();
    let expected = format!(
        "smp://{}:pass=word@smp.example.org,abcdef.onion\n",
        fingerprint.trim()
    );
    assert_eq!(printed, expected);
    let address: AddressWithPassword = printed.trim().parse().unwrap();
    assert_eq!(address.server.hosts.len(), 2);
    let drawn = success(dir.path(), &["address", "--qr"]);
    let code = drawn.strip_prefix(&expected).unwrap();
    assert!(code.contains('█') && code.lines().count() > 20, "{drawn}");

    let dir = Setup::default()
        .set("TRANSPORT", "host", "<hostnames>")
        .prepare();
    assert!(refusal(dir.path(), &["address"]).starts_with("Error: the address needs a host.\n"));
}

#[test]
fn commands_of_other_storages_say_what_to_use() {
    let dir = Setup::default().prepare();
    for action in ["import", "export", "delete"] {
        let printed = refusal(dir.path(), &["journal", action]);
        assert!(printed.starts_with("Error: this server keeps messages in its own log"));
        let options = ["--table", "all", "-d", "postgresql://x", "--schema", "s"];
        let database = [&["database", action][..], &options, &["--pool-size", "3"]].concat();
        let postgres =
            "Error: server binary is compiled without support for PostgreSQL database.\n";
        assert!(refusal(dir.path(), &database).starts_with(postgres));
    }
    fs::remove_file(dir.path().join("etc/smp-server.ini")).unwrap();
    // What this server never has needs no configuration to be refused.
    assert!(
        refusal(dir.path(), &["database", "import"]).contains("without support for PostgreSQL")
    );
    for arguments in [
        &["cert"][..],
        &["start"],
        &["journal", "import"],
        &["check-config"],
        &["address"],
        &["import"],
    ] {
        let printed = refusal(dir.path(), arguments);
        let ini = dir.path().join("etc/smp-server.ini");
        let expected = format!(
            "Error: server is not initialized ({} does not exist).\nRun `smp-server init`.\n",
            ini.display()
        );
        assert_eq!(printed, expected, "{arguments:?}");
    }
}

#[test]
fn completions_and_pages_need_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = success(dir.path(), &["completions", shell]);
        assert!(script.contains("check-config"), "{shell}");
    }
    assert!(success(dir.path(), &["man"]).contains(".SH NAME"));
    assert!(success(dir.path(), &["man", "cert"]).contains("sign"));
    let output = output(dir.path(), &["man", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
}
