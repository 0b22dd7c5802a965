//! Thousands of connections that never finish their handshake do not keep others from working,
//! and go away.

mod support;

use glommio::net::TcpStream as GlommioStream;
use loadtest::server_process::resident_bytes;
use loadtest::{Auth, TlsOptions};
use rustix::process::{Resource, getrlimit};
use smp_server::transport::TlsStream;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{RawSession, Recipient, Setup, expect_ok, run, send};

/// Half-open connections wanted.
const WANTED: usize = 10_000;
/// Descriptors this process needs besides.
const SPARE: usize = 200;
/// Of them, those that finish TLS and then stay silent.
const SILENT: usize = 200;

/// As many as descriptors allow; the server has the same limit.
fn affordable() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    WANTED.min(limit.saturating_sub(SPARE + SILENT))
}

#[test]
fn half_open_connections_disturb_nobody_and_go_away() {
    for shards in ["1", "4"] {
        let server = Setup::default()
            .set("RELAY", "shards", shards)
            .set("RELAY", "queue_placement", "spread")
            .set("RELAY", "tls_setup_timeout", "8")
            .set("RELAY", "handshake_timeout", "8")
            .start();
        let before = resident_bytes(server.pid()).unwrap();
        let all_open = AtomicBool::new(false);
        let others_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let half_open: Vec<_> = (0..affordable())
                    .map(|n| {
                        let mut tcp = TcpStream::connect(server.address).unwrap();
                        // Some say nothing, others begin a record.
                        if n % 2 == 0 {
                            tcp.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
                        }
                        tcp
                    })
                    .collect();
                let silent = run(async {
                    let target = server.target(TlsOptions::default());
                    let mut silent = Vec::new();
                    for _ in 0..SILENT {
                        silent.push(RawSession::greet(&target).await.unwrap());
                    }
                    all_open.store(true, Ordering::Relaxed);
                    // Each is closed by the server, without a word.
                    for session in &mut silent {
                        session.assert_closed().await;
                    }
                    silent.len()
                });
                let resident = resident_bytes(server.pid()).unwrap();
                for mut tcp in half_open.iter() {
                    // Generous: it only matters when the server forgets the connection.
                    tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    match tcp.read(&mut [0; 64]) {
                        Ok(0) => {}
                        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
                        other => panic!("{other:?}"),
                    }
                }
                eprintln!(
                    "{shards} shards: {} without TLS and {silent} without hello; server used \
                     {} MiB before, {} MiB with them",
                    half_open.len(),
                    before >> 20,
                    resident >> 20
                );
                others_done.store(true, Ordering::Relaxed);
            });
            // Meanwhile: an old connection works and new ones are accepted.
            let rounds = run(async {
                let mut old = server.client().await;
                let queue = Recipient::create(&mut old, true).await;
                let mut rounds = 0;
                while !all_open.load(Ordering::Relaxed) || rounds < 20 {
                    let mut new = server.client().await;
                    for n in 0..10 {
                        expect_ok(send(&mut new, queue.sender_id(), Auth::None, &[n]).await);
                        let (id, body) = queue.pushed(&mut old).await;
                        assert_eq!(body, [n]);
                        expect_ok(queue.ack(&mut old, &id).await);
                    }
                    rounds += 1;
                }
                rounds
            });
            eprintln!("{rounds} new connections served meanwhile");
        });
        assert!(others_done.load(Ordering::Relaxed));
        // There is room again.
        run(async {
            let target = server.target(TlsOptions::default());
            let tcp = GlommioStream::connect(target.socket).await.unwrap();
            TlsStream::connect(tcp, Arc::clone(&target.tls))
                .await
                .unwrap();
            server.client().await.ping().await.unwrap();
        });
        let after = resident_bytes(server.pid()).unwrap();
        eprintln!("server uses {} MiB after", after >> 20);
    }
}
