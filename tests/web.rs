//! Pages about the server and its links, beside messages and without harm to them
//! (spec: operations §4).

mod support;

use loadtest::Auth;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use support::{Page, Recipient, Server, Site, expect_ok, get, read_page, run, send, tcp, tls};

const OK: &str = "HTTP/1.1 200 OK";
/// Connections that the pages get at a time.
const MAX_CONNECTIONS: usize = 256;

/// The address that is served according to the log: what stands between `start` and `end`.
fn logged_address(server: &Server, start: &str, end: &str) -> SocketAddr {
    loop {
        let log = server.log();
        let lines = log.lines().filter_map(|line| line.split_once(start));
        let mut ports = lines.filter_map(|(_, rest)| rest.strip_suffix(end)?.parse().ok());
        if let Some(port) = ports.next() {
            return ([127, 0, 0, 1], port).into();
        }
        // A file tells nobody that it has grown.
        thread::sleep(Duration::from_millis(10));
    }
}

fn http_address(server: &Server) -> SocketAddr {
    logged_address(server, "Serving static site on port ", "")
}

fn text(page: &Page) -> &str {
    str::from_utf8(&page.body).unwrap()
}

fn is_closed(tcp: &mut TcpStream) -> bool {
    matches!(tcp.read(&mut [0]), Ok(0) | Err(_))
}

/// A message goes through.
async fn exchange(server: &Server) {
    let mut recipient = server.client().await;
    let mut sender = server.client().await;
    let queue = Recipient::create(&mut recipient, true).await;
    expect_ok(send(&mut sender, queue.sender_id(), Auth::None, b"hello").await);
    let (id, body) = queue.pushed(&mut recipient).await;
    assert_eq!(body, b"hello");
    expect_ok(queue.ack(&mut recipient, &id).await);
}

/// Several pages over one connection with TLS.
fn read_site(address: SocketAddr, browser: ClientConfig) {
    let mut stream = tls(address, browser);
    let start = get(&mut stream, "/");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(start.status, OK);
    assert!(text(&start).contains("<dt>Server version</dt>"));
    // It would be for plain HTTP on this host as well.
    assert_eq!(start.header("strict-transport-security"), "");
    for path in ["/contact", "/invitation/", "/a", "/c", "/g", "/r", "/i"] {
        let page = get(&mut stream, path);
        assert_eq!(page.status, OK);
        assert!(text(&page).contains("/media/link.js"));
    }
    for (path, kind) in [
        ("/media/link.js", "application/javascript"),
        ("/media/qr.js", "application/javascript"),
        ("/media/style.css", "text/css"),
        ("/media/favicon.svg", "image/svg+xml"),
        ("/media/favicon.ico", "image/x-icon"),
        ("/.well-known/assetlinks.json", "application/json"),
        (
            "/.well-known/apple-app-site-association",
            "application/json",
        ),
    ] {
        let page = get(&mut stream, path);
        assert_eq!((&*page.status, page.header("content-type")), (OK, kind));
    }
    assert_eq!(
        get(&mut stream, "/nothing").status,
        "HTTP/1.1 404 Not Found"
    );
}

fn pages_and_messages_share_a_port(site: &Site) {
    for shards in ["1", "3"] {
        let server = site.setup("0").set("RELAY", "shards", shards).start();
        let port = server.address.port();
        let line = format!("Serving static site on port {port} (TLS)...");
        assert_eq!(server.next_line(), line);
        thread::scope(|scope| {
            for version in [&TLS12, &TLS13] {
                let address = server.address;
                scope.spawn(move || {
                    for _ in 0..4 {
                        read_site(address, site.browser_of(&[version]));
                    }
                });
            }
            run(async {
                for _ in 0..8 {
                    exchange(&server).await;
                }
            });
        });
        // Whoever names no server, whatever else it offers, meets the relay.
        let mut browser = site.browser();
        browser.enable_sni = false;
        let mut stream = tls(server.address, browser);
        assert!(stream.read(&mut [0]).is_err());
        let mut browser = site.browser();
        browser.alpn_protocols = vec![b"h2".to_vec()];
        let error = tls(server.address, browser).read(&mut [0]).unwrap_err();
        assert!(
            error.to_string().contains("NoApplicationProtocol"),
            "{error}"
        );
        server.stop();
    }
}

#[test]
fn pages_with_an_ecdsa_certificate_and_messages_share_a_port() {
    pages_and_messages_share_a_port(&Site::ecdsa());
}

#[test]
fn pages_with_an_rsa_certificate_and_messages_share_a_port() {
    pages_and_messages_share_a_port(&Site::rsa());
}

#[test]
fn pages_have_ports_of_their_own() {
    let site = Site::ecdsa();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = site
        .setup(&port.to_string())
        .set("WEB", "http", "0")
        .start();
    let https = logged_address(&server, "Serving static site on port ", " (TLS)");
    assert_eq!(https.port(), port);
    read_site(https, site.browser());

    let mut plain = tcp(http_address(&server));
    let page = get(&mut plain, "/");
    assert_eq!(page.status, OK);
    assert_eq!(page.header("strict-transport-security"), "");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let page = get(&mut plain, "//media//style.css");
    assert_eq!(page.status, "HTTP/1.1 302 Found");
    assert_eq!(page.header("location"), "/media/style.css");
    plain
        .write_all(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(
        read_page(&mut plain).status,
        "HTTP/1.1 405 Method Not Allowed"
    );
    let outside = get(&mut plain, "/%2e%2e/web.key");
    assert_eq!(
        (&*outside.status, text(&outside)),
        ("HTTP/1.1 403 Forbidden", "Forbidden")
    );

    // A server name means nothing on a port that is not shared.
    let error = tls(server.address, site.browser()).read(&mut [0]);
    assert!(error.is_err());
    run(exchange(&server));
    server.stop();
}

#[test]
fn without_certificates_messages_are_served() {
    let site = Site::ecdsa();
    fs::remove_file(site.file("web.crt")).unwrap();
    let server = site.setup("0").start();
    let missing = site.file("web.crt");
    let error = format!("Error: no HTTPS credentials: {}", missing.display());
    assert!(
        server.start_lines.contains(&error),
        "{:?}",
        server.start_lines
    );
    assert!(tls(server.address, site.browser()).read(&mut [0]).is_err());
    run(exchange(&server));
    // Whoever serves the pages from elsewhere has them.
    assert!(site.file("www/index.html").is_file());
    server.stop();
}

#[test]
fn who_asks_too_slowly_or_for_too_much_is_cut_off() {
    let site = Site::ecdsa();
    let server = site
        .setup("0")
        .set("WEB", "http", "0")
        .set("RELAY", "tls_setup_timeout", "2")
        .start();
    let http = http_address(&server);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut slow = tcp(http);
            slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
            assert!(is_closed(&mut slow));
        });
        scope.spawn(|| {
            let mut silent = tcp(http);
            assert_eq!(get(&mut silent, "/").status, OK);
            assert!(is_closed(&mut silent));
        });
        for request in [
            format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(1 << 20)),
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)),
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100)),
            "nonsense\r\n\r\n".to_owned(),
        ] {
            scope.spawn(move || {
                let mut large = tcp(http);
                // The server may close before everything is sent.
                let _ = large.write_all(request.as_bytes());
                let mut answer = Vec::new();
                let _ = large.read_to_end(&mut answer);
                assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
            });
        }
        // The beginning of a hello that names a server, and none.
        for part in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b""] {
            let address = server.address;
            scope.spawn(move || {
                let mut slow = tcp(address);
                slow.write_all(part).unwrap();
                assert!(is_closed(&mut slow));
            });
        }
    });
    run(exchange(&server));

    // Too many connections are closed; those there are served, and so are others later.
    let mut many: Vec<_> = (0..MAX_CONNECTIONS).map(|_| tcp(http)).collect();
    let pages = many.iter_mut().map(|tcp| get(tcp, "/").status);
    assert!(pages.into_iter().all(|status| status == OK));
    assert!(is_closed(&mut tcp(http)));
    run(exchange(&server));
    drop(many);
    let again = || {
        let mut tcp = tcp(http);
        let sent = tcp.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let mut answer = Vec::new();
        sent.and_then(|()| tcp.read_to_end(&mut answer)).is_ok() && !answer.is_empty()
    };
    while !again() {}
    server.stop();
}
