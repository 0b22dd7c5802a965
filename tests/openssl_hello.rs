//! OpenSSL connects to the running server: the session id in the server hello must be OpenSSL's own
//! tls-unique. Nothing of this project takes part in the comparison (spec: protocol §2.7, §5.1).

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Server, Setup};
use tempfile::TempDir;

fn is_installed(tool: &str, argument: &str) -> bool {
    let found = Command::new(tool).arg(argument).output().is_ok();
    if !found {
        // Not `eprintln!`, which the test runner hides when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED openssl_hello: no {tool}");
    }
    found
}

/// One connection.
struct Attempt(Command);

impl Attempt {
    fn new(server: &Server, tls: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openssl_interop.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(server.address.to_string())
            .args(["--tls", tls, "--ca"])
            .arg(server.config_file("ca.crt"));
        Self(command)
    }

    fn args(mut self, args: &[&str]) -> Self {
        self.0.args(args);
        self
    }

    /// Shows a certificate, when there is one.
    fn show(mut self, client: Option<&Client>) -> Self {
        if let Some(client) = client {
            self.0.arg("--cert").arg(client.file("chain.crt"));
            self.0.arg("--key").arg(client.file("server.key"));
        }
        self
    }

    fn run(mut self) {
        let output = self.0.output().unwrap();
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {reason}", self.0);
    }
}

/// The credentials of a client that is a service: those of another server will do.
struct Client(TempDir);

impl Client {
    fn new(algorithm: &'static str) -> Self {
        let this = Self(Setup::default().algorithm(algorithm).prepare());
        let read = |name| fs::read(this.file(name)).unwrap();
        let chain = [read("server.crt"), read("ca.crt")].concat();
        fs::write(this.file("chain.crt"), chain).unwrap();
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("etc").join(name)
    }
}

fn the_session_id_is_that_of_openssl(algorithm: &'static str) {
    if !is_installed("python3", "--version") || !is_installed("openssl", "version") {
        return;
    }
    let client = Client::new(algorithm);
    // A client that prefers X448 is asked for X25519, unless the server has X448 too.
    for (x448, hellos) in [("off", "2"), ("on", "1")] {
        let setup = Setup::default().algorithm(algorithm);
        let server = setup.set("RELAY", "x448", x448).start();
        for certificate in [None, Some(&client)] {
            for (tls, hellos) in [("1.2", "1"), ("1.3", hellos)] {
                for protocol in ["smp/1", "http/1.1", "h2"] {
                    Attempt::new(&server, tls)
                        .args(&["--alpn", protocol, "--versions", "6-18"])
                        .show(certificate)
                        .run();
                }
                Attempt::new(&server, tls)
                    .args(&["--versions", "6-6"])
                    .show(certificate)
                    .run();
                Attempt::new(&server, tls)
                    .args(&["--groups", "X448:X25519", "--expect-hellos", hellos])
                    .args(&["--alpn", "smp/1", "--versions", "6-18"])
                    .show(certificate)
                    .run();
            }
        }
        for tls in ["1.2", "1.3"] {
            Attempt::new(&server, tls)
                .args(&["--alpn", "other"])
                .args(&["--expect-failure", "no application protocol"])
                .run();
        }
    }
}

#[test]
fn ed25519_servers_send_the_session_id_of_openssl() {
    the_session_id_is_that_of_openssl("ED25519");
}

#[test]
fn ed448_servers_send_the_session_id_of_openssl() {
    the_session_id_is_that_of_openssl("ED448");
}
