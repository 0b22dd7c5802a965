//! `init`: questions on a terminal in their order, every option without questions, certificates
//! that OpenSSL accepts, and a server that starts from what was made.

mod support;

use smp_server::config::Settings;
use smp_server::config::values::HostingType;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{Recipient, Server, Terminal, command, run};

const PRESS_ENTER: &str = "SMP server will be initialized (press Enter)";
const STORE_LOG: &str = "Enable store log to restore queues and messages on server restart (Yn): ";
const STATISTICS: &str = "Enable logging daily statistics (yN): ";
const PASSWORD: &str = "'r' for random (default), 'n' - no password (recommended for public servers), or enter password: ";
const UPSTREAM: &str = "https://github.com/simplex-chat/simplexmq";

/// Runs `init` in `dir` on a terminal.
fn start(dir: &Path, options: &[&str]) -> Terminal {
    let mut init = command(dir);
    init.arg("init").args(options);
    Terminal::start(init)
}

/// Waits for the question, before which only `before` may stand, and answers it.
fn answer(terminal: &mut Terminal, before: &str, question: &str, answer: &str) {
    assert_eq!(terminal.expect(question), before, "before {question}");
    terminal.enter(answer);
}

fn settings(dir: &Path) -> Settings {
    Settings::load(&dir.join("etc/smp-server.ini")).unwrap()
}

#[test]
fn questions_with_good_and_bad_answers() {
    let dir = tempfile::tempdir().unwrap();
    let www = dir.path().join("var/www");
    let mut terminal = start(dir.path(), &["--ip", "192.0.2.1"]);
    let session = &mut terminal;
    let hint = "Use `smp-server init -h` for available options.\n";
    answer(session, hint, PRESS_ENTER, "anything");
    answer(session, "", STORE_LOG, "yes");
    let again = "Invalid input, please enter 'y' or 'n'\n";
    answer(session, again, STORE_LOG, "y");
    answer(session, "", STATISTICS, "Y");
    let intro = "Require a password to create new messaging queues?\n";
    answer(session, intro, PASSWORD, "not a@password");
    // Read again without the question.
    let invalid = "Invalid password. Only latin letters, digits and symbols other than '@' and ':' are allowed";
    answer(session, "", invalid, "secret");
    let host = "Enter server FQDN or IP address for certificate (192.0.2.1): ";
    answer(session, "\n", host, "smp.example.org");
    let source = format!("Enter server source code URI ({UPSTREAM}): ");
    answer(session, "", &source, "example.org");
    let invalid = "Invalid source code. URI should start from http:// or https://";
    answer(session, "", invalid, "https://example.org/code");
    let pages = format!(
        "Enter path to store generated server pages to show connection links ({}): ",
        www.display()
    );
    answer(session, "\n", &pages, "");
    let (output, status) = terminal.finish();
    assert_eq!(status, 0, "{output}");
    let ini = dir.path().join("etc/smp-server.ini");
    let first = format!(
        "Server initialized, please provide additional server information in {}.\n\
         Run `smp-server start` to start server.\n----------\n",
        ini.display()
    );
    assert!(output.starts_with(&first), "{output}");
    let last = ":secret@smp.example.org\nServer source code: https://example.org/code\n";
    assert!(output.ends_with(last), "{output}");

    let settings = settings(dir.path());
    assert!(settings.storage.enable && settings.storage.log_stats);
    assert_eq!(settings.transport.host.as_deref(), Some("smp.example.org"));
    assert_eq!(settings.web.static_path.as_ref(), Some(&www));

    // It exists now: asking begins only where there is none.
    let (output, status) = start(dir.path(), &[]).finish();
    let refusal = format!(
        "Error: server is already initialized ({} exists).\nRun `smp-server start`.\n",
        ini.display()
    );
    assert_eq!((output, status), (refusal, 1));
}

#[test]
fn enter_takes_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let mut terminal = start(dir.path(), &[]);
    for question in [
        PRESS_ENTER,
        STORE_LOG,
        STATISTICS,
        PASSWORD,
        "(127.0.0.1): ",
    ] {
        terminal.expect(question);
        terminal.enter("");
    }
    terminal.expect(&format!("({UPSTREAM}): "));
    terminal.enter("");
    terminal.expect("/var/www): ");
    terminal.enter("");
    let (output, status) = terminal.finish();
    assert_eq!(status, 0, "{output}");
    assert!(output.contains("@<hostnames>\n"), "{output}");
    let settings = settings(dir.path());
    assert!(settings.storage.enable && !settings.storage.log_stats);
    let password = settings.auth.create_password.unwrap();
    assert_eq!(password.expose().len(), 44);
    assert!(output.contains(password.expose()));
}

/// The answers that turn things off, and options that are the defaults of questions.
#[test]
fn other_answers_and_options_as_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("pages");
    let pages = pages.to_str().unwrap();
    let options = ["-n", "smp.example.org", "--source-code=https://a.b/c"];
    let mut terminal = start(dir.path(), &[&options[..], &["-s", "-a", "ED448"]].concat());
    for (question, given) in [
        (PRESS_ENTER, ""),
        (STORE_LOG, "N"),
        (STATISTICS, "no"),
        (STATISTICS, "n"),
        (PASSWORD, "x:y"),
        ("Invalid password. ", "a b"),
        ("Invalid password. ", "n"),
        ("(smp.example.org): ", ""),
        ("(https://a.b/c): ", "ftp://a.b"),
        ("Invalid source code. ", ""),
        ("/var/www): ", pages),
    ] {
        terminal.expect(question);
        terminal.enter(given);
    }
    let (output, status) = terminal.finish();
    assert_eq!(status, 0, "{output}");
    let last = "=@smp.example.org\nServer source code: https://a.b/c\n";
    assert!(output.ends_with(last), "{output}");
    let settings = settings(dir.path());
    assert!(!settings.storage.enable && !settings.storage.restore_messages);
    assert!(!settings.storage.log_stats);
    assert!(settings.auth.create_password.is_none());
    assert_eq!(settings.web.static_path.as_deref(), Some(Path::new(pages)));
}

#[test]
fn the_end_of_input_makes_nothing() {
    for answered in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut terminal = start(dir.path(), &[]);
        for question in [PRESS_ENTER, STORE_LOG].iter().take(answered) {
            terminal.expect(question);
            terminal.enter("");
        }
        terminal.expect([PRESS_ENTER, STORE_LOG, STATISTICS][answered]);
        terminal.end_input();
        let (output, status) = terminal.finish();
        assert!(output.contains("smp-server: end of input"), "{output}");
        assert_eq!(status, 1);
        assert!(!dir.path().join("etc").exists() && !dir.path().join("var").exists());
    }
}

#[test]
fn every_option_without_questions() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .args(["+RTS", "-N", "-RTS", "init", "-y", "-s", "-l", "-aED448"])
        .args([
            "--ip=192.0.2.1",
            "-n",
            "smp.example.org",
            "--password",
            "pw",
        ])
        .args(["--control-port", "--socks-proxy=[::1]:9050"])
        .args(["--own-domains", "example.org,example.net"])
        .args([
            "--source-code",
            "--operator",
            "Op",
            "--operator-country",
            "gb",
        ])
        .args(["--operator-website", "https://example.org"])
        .args(["--hosting", "Host", "--hosting-country", "fr"])
        .args(["--hosting-type", "dedicated", "--server-country", "de"])
        .args(["--web-path", "/srv/www", "--disable-web"])
        .args(["-d", "postgresql://x", "--schema", "s", "--pool-size", "3"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let source = format!(":pw@smp.example.org\nServer source code: {UPSTREAM}\n");
    assert!(stdout.ends_with(&source), "{stdout}");

    let settings = settings(dir.path());
    assert!(settings.storage.enable && settings.storage.log_stats);
    assert_eq!(settings.transport.control_port, Some(5224));
    assert_eq!(settings.transport.port.text, "5223,443");
    assert!(settings.auth.create_password.unwrap().matches(b"pw"));
    assert!(settings.auth.control_port_admin_password.is_some());
    let proxy = settings.proxy;
    assert_eq!(
        proxy.socks_proxy.unwrap().address,
        "[::1]:9050".parse().unwrap()
    );
    assert_eq!(proxy.own_server_domains, ["example.org", "example.net"]);
    assert_eq!(settings.web.https, None);
    let information = settings.information.unwrap();
    assert_eq!(information.source_code, UPSTREAM);
    assert_eq!(information.server_country.as_deref(), Some("DE"));
    assert_eq!(information.hosting_type, Some(HostingType::Dedicated));
    assert_eq!(information.hosting.unwrap().country.as_deref(), Some("FR"));
}

#[test]
fn refusals_and_where_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let init = |options: &[&str]| {
        let output = command(dir.path())
            .arg("init")
            .args(options)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!dir.path().join("etc").exists());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (stdout, stderr) = init(&["-y", "--operator", "Op"]);
    let refusal = "Error: passing any server information requires passing --source-code\n";
    assert_eq!((stdout.as_str(), stderr.as_str()), (refusal, ""));
    let (stdout, stderr) = init(&["-y", "--control-port", "5555"]);
    assert_eq!(stdout, "");
    assert!(
        stderr.starts_with("Invalid argument `5555'\n\nUsage: "),
        "{stderr}"
    );
    let (_, stderr) = init(&["-y", "--server-country", "UK1"]);
    let usage = "option --server-country: Use ISO3166 2-letter code for server\n\n";
    assert!(stderr.starts_with(usage), "{stderr}");
}

#[test]
fn openssl_reads_what_was_made() {
    if Command::new("openssl").arg("version").output().is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED openssl_reads_what_was_made: no openssl"
        );
        return;
    }
    for algorithm in ["ED25519", "ED448"] {
        let dir = tempfile::tempdir().unwrap();
        let init = ["init", "-y", "--fqdn", "smp.example.org", "-a", algorithm];
        let output = command(dir.path()).args(init).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        check_with_openssl(dir.path(), algorithm);
        // New credentials are of the same kind.
        let output = command(dir.path()).arg("cert").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        check_with_openssl(dir.path(), algorithm);
    }
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o777
}

fn check_with_openssl(dir: &Path, algorithm: &str) {
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        let output = command
            .args(arguments)
            .current_dir(dir.join("etc"))
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    openssl(&["verify", "-CAfile", "ca.crt", "server.crt"]);
    let public = |arguments: &[&str]| openssl(&[arguments, &["-pubout"]].concat());
    for (certificate, key) in [("ca.crt", "ca.key"), ("server.crt", "server.key")] {
        let certified = openssl(&["x509", "-in", certificate, "-noout", "-pubkey"]);
        assert_eq!(certified, public(&["pkey", "-in", key]));
        let text = openssl(&["x509", "-in", certificate, "-noout", "-text"]);
        let line = format!("Signature Algorithm: {algorithm}");
        assert_eq!(text.matches(&line).count(), 2, "{text}");
        assert!(!text.contains("Subject Alternative Name"), "{text}");
        // 999,999 days from now.
        assert!(text.contains(" 4764 GMT"), "{text}");
        assert_eq!(mode(&dir.join("etc").join(certificate)), 0o644);
        assert_eq!(mode(&dir.join("etc").join(key)), 0o600);
    }
    for purpose in ["sslserver", "any"] {
        openssl(&[
            "verify",
            "-CAfile",
            "ca.crt",
            "-purpose",
            purpose,
            "server.crt",
        ]);
    }
    let extensions = |certificate, names| {
        let text = openssl(&["x509", "-in", certificate, "-noout", "-ext", names]);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        lines.join("|")
    };
    assert_eq!(
        extensions("ca.crt", "basicConstraints"),
        "X509v3 Basic Constraints: critical|CA:TRUE"
    );
    assert_eq!(
        extensions("server.crt", "basicConstraints,keyUsage,extendedKeyUsage"),
        "X509v3 Basic Constraints:|CA:FALSE|\
         X509v3 Key Usage:|Digital Signature, Non Repudiation, Key Agreement|\
         X509v3 Extended Key Usage:|TLS Web Server Authentication"
    );
    let subject = |certificate| {
        let text = openssl(&["x509", "-in", certificate, "-noout", "-subject"]);
        text.replace(' ', "").trim().to_owned()
    };
    assert_eq!(subject("ca.crt"), "subject=CN=SMPserverCA,O=SimpleX");
    assert_eq!(subject("server.crt"), "subject=CN=smp.example.org");
    let fingerprint = openssl(&["x509", "-in", "ca.crt", "-noout", "-fingerprint", "-sha256"]);
    let hex: String = fingerprint
        .trim()
        .rsplit('=')
        .next()
        .unwrap()
        .replace(':', "")
        .to_lowercase();
    let stored = fs::read_to_string(dir.join("etc/fingerprint")).unwrap();
    let stored: smp_server::crypto::certificate::Fingerprint = stored.parse().unwrap();
    assert_eq!(hex::encode(stored.0), hex);
}

#[test]
fn a_server_starts_from_what_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let init = [
        "init",
        "-y",
        "--no-password",
        "--disable-web",
        "-n",
        "localhost",
    ];
    let output = command(dir.path()).args(init).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The only change: ports that tests may use.
    let ini = dir.path().join("etc/smp-server.ini");
    let text = fs::read_to_string(&ini).unwrap();
    let text = text.replace("\nport = 5223,443\n", "\nport = 0\n");
    let text = text.replace("\n# address = 127.0.0.1\n", "\naddress = 127.0.0.1\n");
    fs::write(&ini, text).unwrap();
    let server = Server::start_in(dir);
    run(async {
        let mut client = server.client().await;
        Recipient::create(&mut client, true).await;
    });
    // The key of the CA should not be there.
    assert!(
        server
            .log()
            .contains("ca.key is not needed to run the server")
    );
}
