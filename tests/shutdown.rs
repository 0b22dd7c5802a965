//! A server told to stop answers what it has received, closes and exits; a second server does
//! not take over what the first one uses.

mod support;

use glommio::spawn_local;
use loadtest::{Auth, Client, ClientError, TlsOptions};
use rustix::process::Signal;
use smp_server::protocol::{Command, Response};
use std::fs;
use support::{Recipient, Server, Setup, expect_ok, run, send, start_fails};

fn server(shards: &str) -> Server {
    Setup::default()
        .set("RELAY", "shards", shards)
        .set("RELAY", "queue_placement", "spread")
        .start()
}

#[test]
fn idle_connections_are_closed_and_the_exit_is_clean() {
    for signal in [Signal::TERM, Signal::INT] {
        for shards in ["1", "4"] {
            let mut server = server(shards);
            run(async {
                let mut clients = Vec::new();
                for _ in 0..20 {
                    let mut client = server.client().await;
                    Recipient::create(&mut client, true).await;
                    clients.push(client);
                }
                server.signal(signal);
                for client in &mut clients {
                    client.closed().await.unwrap();
                    assert!(client.tls().received_close_notify());
                }
            });
            let status = server.wait();
            assert_eq!(status.code(), Some(0), "{}", server.log());
        }
    }
}

/// Blocks of this many commands.
const EACH: usize = 50;

/// Sends, reading the answers ten blocks later, until the connection ends; the number of commands
/// sent and answered.
async fn send_until_closed(mut client: Client, sender_id: Vec<u8>) -> (usize, usize) {
    let mut corr_ids = Vec::new();
    let mut answered = 0;
    'open: loop {
        for _ in 0..EACH {
            let message = Command::Send {
                notify: false,
                body: b"x",
            };
            corr_ids.push(client.send(&message, &sender_id, Auth::None).unwrap());
        }
        if client.flush().await.is_err() {
            break;
        }
        while corr_ids.len() - answered > 10 * EACH {
            match client.reply(&corr_ids[answered]).await {
                Ok(reply) => expect_or_quota(reply.response),
                Err(_) => break 'open,
            }
            answered += 1;
        }
    }
    // What is answered is the beginning of what was sent.
    let mut rest = Vec::new();
    for corr_id in &corr_ids[answered..] {
        match client.reply(corr_id).await {
            Ok(reply) => expect_or_quota(reply.response),
            Err(ClientError::Timeout(limit)) => panic!("no answer and no end in {limit:?}"),
            Err(_) => rest.push(corr_id),
        }
    }
    assert!(
        corr_ids
            .iter()
            .rev()
            .zip(rest.iter().rev())
            .all(|(a, b)| a == *b)
    );
    (corr_ids.len(), corr_ids.len() - rest.len())
}

fn expect_or_quota(response: Response<'_>) {
    if response != Response::Err(smp_server::protocol::ErrorType::Quota) {
        expect_ok(response);
    }
}

#[test]
fn commands_in_flight_are_answered_before_the_end() {
    for shards in ["1", "4"] {
        let mut server = server(shards);
        run(async {
            let mut busy = Vec::new();
            let mut watch = server.client().await;
            let mut queues = Vec::new();
            for _ in 0..8 {
                let queue = Recipient::create(&mut watch, true).await;
                let client = server.client().await;
                busy.push(spawn_local(send_until_closed(
                    client,
                    queue.sender_id().to_vec(),
                )));
                queues.push(queue);
            }
            // All are at work when the first message of each arrives.
            for _ in &queues {
                watch.next_push().await.unwrap();
            }
            server.signal(Signal::TERM);
            for (n, client) in busy.into_iter().enumerate() {
                let (sent, answered) = client.await;
                eprintln!("{shards} shards, connection {n}: {answered} of {sent} answered");
                // Blocks are answered completely or not at all.
                assert!(answered > 0 && answered % EACH == 0);
            }
            watch.closed().await.unwrap();
        });
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    }
}

/// Commands that were received are in the answers: a block is sent whole and the signal follows.
#[test]
fn a_received_block_is_answered_completely() {
    for shards in ["1", "4"] {
        let mut server = server(shards);
        run(async {
            let mut client = server.client().await;
            let mut queues = Vec::new();
            for _ in 0..100 {
                queues.push(Recipient::create(&mut client, false).await);
            }
            let mut corr_ids = Vec::new();
            for queue in &queues {
                let (id, auth) = (queue.id(), queue.key.auth());
                corr_ids.push(client.send(&Command::Sub, id, auth).unwrap());
            }
            let first = {
                client.flush().await.unwrap();
                server.signal(Signal::TERM);
                client.reply(&corr_ids[0]).await
            };
            // Either the block came before the signal, then all is answered, or nothing is.
            match first {
                Ok(reply) => {
                    expect_ok(reply.response);
                    for corr_id in &corr_ids[1..] {
                        expect_ok(client.reply(corr_id).await.unwrap().response);
                    }
                    client.closed().await.unwrap();
                }
                Err(ClientError::Timeout(limit)) => panic!("neither answer nor end in {limit:?}"),
                Err(_) => {}
            }
        });
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    }
}

#[test]
fn a_stopping_server_does_not_wait_for_unfinished_handshakes_or_deaf_clients() {
    let mut server = server("4");
    let half_open = std::net::TcpStream::connect(server.address).unwrap();
    run(async {
        let mut deaf = server.client().await;
        for _ in 0..2000 {
            deaf.send(&Command::Ping, &[], Auth::None).unwrap();
        }
        deaf.flush().await.unwrap();
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    });
    drop(half_open);
}

#[test]
fn a_second_signal_does_no_harm() {
    let mut server = server("4");
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn a_second_server_in_the_same_directory_is_refused() {
    let server = server("1");
    let output = start_fails(server.dir());
    let reason = String::from_utf8_lossy(&output.stderr);
    assert!(reason.contains("another smp-server uses"), "{reason}");
    let state = server.dir().join("var");
    assert!(reason.contains(state.to_str().unwrap()), "{reason}");
    // The first one does not notice.
    run(async { server.client().await.ping().await.unwrap() });
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    let server = server("2");
    let port = server.address.port().to_string();
    let other = Setup::default().set("TRANSPORT", "port", &port).prepare();
    let output = start_fails(other.path());
    let reason = String::from_utf8_lossy(&output.stderr);
    assert!(
        reason.contains(&format!("port {port} is already in use")),
        "{reason}"
    );
    run(async {
        for _ in 0..20 {
            server.client().await.ping().await.unwrap();
        }
    });
}

/// The server closes first, so its side of the connections lingers on the port for a minute.
#[test]
fn a_server_stopped_while_clients_are_connected_starts_again_at_once() {
    let setup = Setup::default();
    let first = setup.start();
    let (fingerprint, port) = (first.fingerprint.clone(), first.address.port().to_string());
    let dir = run(async {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(first.client().await);
        }
        server_is_alive(&first).await;
        first.signal(Signal::TERM);
        for client in &mut clients {
            client.closed().await.unwrap();
        }
        drop(clients);
        first.stop()
    });
    let ini = setup.set("TRANSPORT", "port", &port).ini_text();
    fs::write(dir.path().join("etc/smp-server.ini"), ini).unwrap();
    let second = Server::start_in(dir);
    assert_eq!(second.fingerprint, fingerprint);
    assert_eq!(second.address.port().to_string(), port);
    run(async { server_is_alive(&second).await });
}

async fn server_is_alive(server: &Server) {
    let mut client = server.client().await;
    let queue = Recipient::create(&mut client, true).await;
    expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"x").await);
    assert_eq!(queue.pushed(&mut client).await.1, b"x");
    let target = server.target(TlsOptions::default());
    assert!(target.is_loopback());
}
