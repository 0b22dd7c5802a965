//! The service manager is told when the server serves, reloads and stops, and that it is alive.

mod support;

use rustix::process::Signal;
use std::net::TcpStream;
use std::time::Duration;
use support::{NotifySocket, Operator, Recipient, Setup, run};

#[test]
fn the_server_is_ready_when_every_port_is_served() {
    let pages = tempfile::tempdir().unwrap();
    // A port that nobody else has got meanwhile.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = free.local_addr().unwrap();
    drop(free);
    let setup = Setup::default()
        .set("TRANSPORT", "control_port", "0")
        .set("WEB", "static_path", pages.path().to_str().unwrap())
        .set("WEB", "http", &http.port().to_string())
        .placed("4", "spread");
    for socket in [NotifySocket::in_a_folder(), NotifySocket::nowhere()] {
        let mut server = socket.start(setup.prepare());
        assert_eq!(socket.next(), "READY=1");
        Operator::connect(&server);
        Operator::local(&server);
        TcpStream::connect(http).unwrap();
        run(async { server.client().await.ping().await.unwrap() });
        server.signal(Signal::TERM);
        socket.expect("STOPPING=1");
        assert!(server.wait().success());
    }
}

#[test]
fn a_reload_is_announced_and_finished() {
    let socket = NotifySocket::in_a_folder();
    let server = socket.start(Setup::default().placed("2", "spread").prepare());
    socket.expect("READY=1");
    for _ in 0..3 {
        server.signal(Signal::HUP);
        socket.expect("RELOADING=1\nMONOTONIC_USEC=");
        socket.expect("READY=1");
    }
    run(async { server.client().await.ping().await.unwrap() });
    server.signal(Signal::INT);
    socket.expect("STOPPING=1");
}

#[test]
fn signs_of_life_come_in_time_with_what_the_server_does() {
    let socket = NotifySocket::nowhere();
    let limit = Duration::from_millis(400);
    let server = socket.start_watched(Setup::default().placed("2", "spread").prepare(), limit);
    assert_eq!(socket.next(), "READY=1");
    run(async {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        loop {
            let sender = queue.sender_id();
            let none = loadtest::Auth::None;
            support::expect_ok(support::send(&mut client, sender, none, b"x").await);
            let told = socket.next();
            let status = told.strip_prefix("WATCHDOG=1\nSTATUS=").expect(&told);
            let (connections, rest) = status.split_once(" connections, ").unwrap();
            let rate = rest.strip_suffix(" messages/s").unwrap();
            if connections == "1" && rate.parse::<f64>().unwrap() > 0.0 {
                break;
            }
        }
    });
}

#[test]
fn without_a_service_manager_nothing_is_told() {
    let mut server = Setup::default().start();
    server.signal(Signal::HUP);
    run(async { server.client().await.ping().await.unwrap() });
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}
