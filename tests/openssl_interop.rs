//! OpenSSL connects to a server made of this crate's TLS transport, and both sides must agree on
//! the session identifier: OpenSSL has its own notion of tls-unique, so the comparison owes
//! nothing to our protocol code.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc};

use glommio::{LocalExecutorBuilder, Placement};
use rustls::ServerConfig;
use smp_server::transport::config::{ServerOptions, server_config};
use smp_server::transport::credential::Credential;
use smp_server::transport::listener::{Listener, Reservation};
use smp_server::transport::{BLOCK_SIZE, TlsError, TlsStream};

const X509_CONFIG: &str = "\
[ca]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
basicConstraints = critical, CA:true
[leaf]
basicConstraints = CA:FALSE
keyUsage = digitalSignature, nonRepudiation, keyAgreement
extendedKeyUsage = serverAuth
[req]
prompt = no
utf8 = yes
distinguished_name = ca-name
[ca-name]
CN = SMP server CA
O = SimpleX
";

#[test]
fn ed25519_servers_agree_with_openssl() {
    agrees_with_openssl("ed25519", "ed448");
}

#[test]
fn ed448_servers_agree_with_openssl() {
    agrees_with_openssl("ed448", "ed25519");
}

fn agrees_with_openssl(algorithm: &str, client_algorithm: &str) {
    for (tool, argument) in [("python3", "--version"), ("openssl", "version")] {
        if Command::new(tool).arg(argument).output().is_err() {
            // Not `println!`, which the test runner hides when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED openssl_interop: no {tool}");
            return;
        }
    }
    let server = Credentials::generate(algorithm);
    let client = Credentials::generate(client_algorithm);
    let credential = Credential::load(server.folder.path()).unwrap();

    let serve = |x448| {
        let options = ServerOptions {
            x448,
            ..ServerOptions::default()
        };
        start(server_config(&credential, options).unwrap())
    };
    let plain = serve(false);
    for tls in ["1.2", "1.3"] {
        for certificate in [None, Some(&client)] {
            for sni in [None, Some("relay.example.org")] {
                let shown = if certificate.is_some() { 2 } else { 0 };
                let mut attempt = Attempt::new(plain, &server, tls)
                    .args(["--alpn", "smp/1"])
                    .expect("alpn: smp/1")
                    .expect(&format!("client-certificates: {shown};"))
                    .expect(&format!("sni: {}", sni.is_some()));
                if let Some(name) = sni {
                    attempt = attempt.args(["--sni", name]);
                }
                if let Some(client) = certificate {
                    attempt = attempt.show(client);
                }
                attempt.run();
            }
        }
        Attempt::new(plain, &server, tls).expect("alpn: none").run();
        Attempt::new(plain, &server, tls)
            .args(["--alpn", "other"])
            .args(["--expect-failure", "no application protocol"])
            .run();
    }

    // A client that prefers X448 is asked for X25519, unless the server has X448 too.
    for (address, hellos) in [(plain, "2"), (serve(true), "1")] {
        for (tls, hellos) in [("1.2", "1"), ("1.3", hellos)] {
            let attempt = Attempt::new(address, &server, tls)
                .args(["--groups", "X448:X25519"])
                .args(["--expect-hellos", hellos]);
            attempt.run();
            Attempt::new(address, &server, tls)
                .args(["--groups", "X448:X25519"])
                .args(["--expect-hellos", hellos])
                .show(&client)
                .expect("client-certificates: 2;")
                .run();
        }
    }
}

/// One run of the Python script.
struct Attempt(Command);

impl Attempt {
    fn new(address: SocketAddr, server: &Credentials, tls: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openssl_interop.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(address.to_string())
            .args(["--tls", tls, "--ca"])
            .arg(server.file("ca.crt"));
        Self(command)
    }

    fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.0.args(args);
        self
    }

    fn expect(self, text: &str) -> Self {
        self.args(["--expect", text])
    }

    fn show(mut self, client: &Credentials) -> Self {
        self.0
            .arg("--cert")
            .arg(client.file("chain.crt"))
            .arg("--key")
            .arg(client.file("server.key"));
        self
    }

    fn run(mut self) {
        let output = self.0.output().unwrap();
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {reason}", self.0);
    }
}

/// A folder with a CA and a leaf certificate as the reference server's `init` makes them.
struct Credentials {
    folder: tempfile::TempDir,
}

impl Credentials {
    fn generate(algorithm: &str) -> Self {
        let it = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(it.file("x509.conf"), X509_CONFIG).unwrap();
        for name in ["ca", "server"] {
            it.openssl(&format!("genpkey -algorithm {algorithm} -out {name}.key"));
        }
        it.openssl(
            "req -new -x509 -days 999999 -config x509.conf -extensions ca -key ca.key -out ca.crt",
        );
        it.openssl(
            "req -new -config x509.conf -subj /CN=127.0.0.1 -key server.key -out server.csr",
        );
        it.openssl(
            "x509 -req -days 999999 -extfile x509.conf -extensions leaf -in server.csr \
             -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt",
        );
        let read = |name| std::fs::read(it.file(name)).unwrap();
        let chain = [read("server.crt"), read("ca.crt")].concat();
        std::fs::write(it.file("chain.crt"), chain).unwrap();
        it
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_ascii_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {reason}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Starts a server that sends one block saying what it knows of the connection, then closes. It
/// lives as long as the test process.
fn start(config: Arc<ServerConfig>) -> SocketAddr {
    let reservation = Reservation::new(Some(IpAddr::from([127, 0, 0, 1])), 0).unwrap();
    let address = reservation.address();
    let (ready, listening) = mpsc::channel();
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .spawn(move || async move {
            let listener = Listener::bind(address).await.unwrap();
            ready.send(()).unwrap();
            loop {
                let tcp = listener.accept().await.unwrap();
                let config = Arc::clone(&config);
                glommio::spawn_local(async move {
                    // Some attempts are meant to fail; the script judges.
                    let _ = serve(tcp, config).await;
                })
                .detach();
            }
        })
        .unwrap();
    listening.recv().unwrap();
    drop(reservation);
    address
}

async fn serve(tcp: glommio::net::TcpStream, config: Arc<ServerConfig>) -> Result<(), TlsError> {
    let mut tls = TlsStream::accept(tcp, config).await?;
    let alpn = tls.alpn_protocol().map(String::from_utf8_lossy);
    let text = format!(
        "session-id: {}; client-certificates: {}; sni: {}; alpn: {}\n",
        hex::encode(tls.session_id()),
        tls.peer_certificates().map_or(0, <[_]>::len),
        tls.sni(),
        alpn.as_deref().unwrap_or("none"),
    );
    let mut block = [b'#'; BLOCK_SIZE];
    block[..text.len()].copy_from_slice(text.as_bytes());
    tls.write_block(&block).await?;
    tls.close().await
}
