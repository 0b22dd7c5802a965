//! Certificates are replaced while the server runs, for new connections, when it is told to.

mod support;

use loadtest::Client;
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use support::{NotifySocket, Server, Setup, Site, command, get, run, tls};

/// Tells a server to reload and waits until it has.
fn reload(server: &Server, socket: &NotifySocket) {
    server.signal(Signal::HUP);
    socket.expect("RELOADING=1");
    socket.expect("READY=1");
}

fn leaf(client: &Client) -> Vec<u8> {
    client.tls().peer_certificates().unwrap()[0].to_vec()
}

fn renew(dir: &Path) {
    let output = command(dir).arg("cert").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn new_connections_get_the_new_certificate_and_old_ones_stay() {
    for algorithm in ["ED25519", "ED448"] {
        let socket = NotifySocket::nowhere();
        let setup = Setup::default().algorithm(algorithm).placed("2", "spread");
        let server = socket.start(setup.prepare());
        socket.expect("READY=1");
        run(async {
            let mut before = server.client().await;
            renew(server.dir());
            // Nothing changes by itself.
            assert_eq!(leaf(&server.client().await), leaf(&before));
            reload(&server, &socket);
            before.ping().await.unwrap();
            // Whichever shard gets them.
            let mut leaves = Vec::new();
            for _ in 0..16 {
                let mut client = server.client().await;
                client.ping().await.unwrap();
                leaves.push(leaf(&client));
            }
            assert!(
                leaves
                    .iter()
                    .all(|l| *l == leaves[0] && *l != leaf(&before))
            );
        });
    }
}

#[test]
fn another_identity_is_refused() {
    let socket = NotifySocket::nowhere();
    let server = socket.start(Setup::default().prepare());
    socket.expect("READY=1");
    let other = Setup::default().prepare();
    for name in [
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
        "fingerprint",
    ] {
        let from = other.path().join("etc").join(name);
        fs::copy(from, server.config_file(name)).unwrap();
    }
    reload(&server, &socket);
    let log = server.log();
    assert!(
        log.contains("TLS credentials are not replaced: ca.crt has"),
        "{log}"
    );
    assert!(log.contains(&server.fingerprint), "{log}");
    // Its clients find it as before.
    run(async { server.client().await.ping().await.unwrap() });
}

#[test]
fn unusable_files_change_nothing() {
    let socket = NotifySocket::nowhere();
    let server = socket.start(Setup::default().prepare());
    socket.expect("READY=1");
    let key = server.config_file("server.key");
    let before = fs::read(&key).unwrap();
    for content in [&b"no key"[..], b""] {
        fs::write(&key, content).unwrap();
        reload(&server, &socket);
        run(async { server.client().await.ping().await.unwrap() });
    }
    fs::remove_file(&key).unwrap();
    reload(&server, &socket);
    let log = server.log();
    assert_eq!(
        log.matches("those loaded before stay in use").count(),
        3,
        "{log}"
    );
    run(async { server.client().await.ping().await.unwrap() });
    fs::write(&key, before).unwrap();
    reload(&server, &socket);
    assert!(server.log().contains("TLS credentials are loaded"));
}

#[test]
fn the_certificate_of_the_pages_is_replaced_at_once() {
    let (site, other) = (Site::ecdsa(), Site::ecdsa());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let port = address.port().to_string();
    let setup = site.setup(&port).set("TRANSPORT", "port", &port);
    let socket = NotifySocket::nowhere();
    let server = socket.start(setup.prepare());
    socket.expect("READY=1");
    let page = get(&mut tls(address, site.browser()), "/");
    assert_eq!(page.status, "HTTP/1.1 200 OK");
    for name in ["web.crt", "web.key"] {
        fs::copy(other.file(name), site.file(name)).unwrap();
    }
    reload(&server, &socket);
    let page = get(&mut tls(address, other.browser()), "/");
    assert_eq!(page.status, "HTTP/1.1 200 OK");
}
