//! Whoever does not read is not read from, costs bounded memory and stops nobody else
//! (spec: server §8).

mod support;

use futures_lite::future::{or, poll_fn};
use loadtest::server_process::resident_bytes;
use loadtest::{Auth, TlsOptions};
use smp_server::protocol::Command;
use std::cell::Cell;
use std::collections::HashSet;
use support::wire::{self, Item};
use support::{
    Hello, RawSession, Recipient, Setup, ask, every_placement, expect_ok, full_body, send,
};

const MIB: u64 = 1 << 20;

#[test]
fn a_connection_that_does_not_read_is_stopped_and_stops_nobody() {
    every_placement(&Setup::default(), async |server| {
        let target = server.target(TlsOptions::default());
        let mut deaf = RawSession::connect(&target, Hello::of(18)).await;
        let mut other = server.client().await;
        let queue = Recipient::create(&mut other, true).await;
        let before = resident_bytes(server.pid()).unwrap();

        // 255 answers to each block fill a block themselves. What the sockets of both sides hold
        // is less than all of them.
        let blocks = 4000;
        let ping = |n: u8| {
            let sent = wire::sent(18, &[], &[n; 24], b"", b"PING");
            wire::batch(&vec![wire::transmission(18, &[], &sent); 255])
        };
        let written = Cell::new(0);
        let pushing = async {
            for n in 0..blocks {
                deaf.send(&ping((n % 251) as u8)).await;
                written.set(n + 1);
            }
        };
        let others_work = async {
            // Long enough for the deaf connection to fill everything there is to fill.
            let mut idle = 0;
            while idle < 50 {
                let seen = written.get();
                for n in 0..10 {
                    expect_ok(send(&mut other, queue.sender_id(), Auth::None, &[n]).await);
                    let (id, body) = queue.pushed(&mut other).await;
                    assert_eq!(body, [n]);
                    expect_ok(queue.ack(&mut other, &id).await);
                }
                idle = if written.get() == seen { idle + 1 } else { 0 };
            }
        };
        or(others_work, async {
            pushing.await;
            panic!("the server read {blocks} blocks whose answers nobody reads");
        })
        .await;
        let grown = resident_bytes(server.pid()).unwrap().saturating_sub(before);
        eprintln!(
            "stopped after {} blocks, server grew by {} KiB",
            written.get(),
            grown / 1024
        );
        assert!(grown < 8 * MIB, "grew by {grown} bytes");

        // What was taken is answered completely and in order once the answers are read. The block
        // that was being written was cut off, so the last whole one is the last answered.
        for n in 0..written.get() {
            let answers = deaf.recv_at_least(255).await;
            assert_eq!(
                answers,
                vec![Item::new(&[(n % 251) as u8; 24], b"", b"PONG"); 255]
            );
        }
    });
}

/// More messages than a connection may have waiting for it: those that found no room stay in
/// their queues and come later.
#[test]
fn messages_for_a_slow_reader_are_late_but_not_lost() {
    every_placement(&Setup::default(), async |server| {
        let count = 1200;
        let mut slow = server.client().await;
        let mut sender = server.client().await;
        let mut queues = Vec::new();
        for _ in 0..count {
            queues.push(Recipient::create(&mut slow, true).await);
        }
        let body = full_body(b"");
        for chunk in queues.chunks(50) {
            let message = Command::Send {
                notify: false,
                body: &body,
            };
            let commands: Vec<_> = chunk
                .iter()
                .map(|queue| (message.clone(), queue.sender_id(), Auth::None))
                .collect();
            for answer in sender.batch(&commands).await.unwrap() {
                expect_ok(answer);
            }
        }
        let mut missing: HashSet<_> = queues.iter().map(|q| q.id().to_vec()).collect();
        while !missing.is_empty() {
            let push = slow.next_push().await.unwrap();
            missing.remove(&push.entity_id);
        }
        expect_ok(
            ask(
                &mut slow,
                &Command::Sub,
                queues[0].id(),
                queues[0].key.auth(),
            )
            .await,
        );
    });
}

/// The peer of a connection that ends while much is owed to it does not matter to others.
#[test]
fn a_connection_that_ends_without_reading_leaves_nothing_behind() {
    every_placement(&Setup::default(), async |server| {
        let target = server.target(TlsOptions::default());
        let sent = wire::sent(18, &[], &[1; 24], b"", b"PING");
        let pings = wire::batch(&vec![wire::transmission(18, &[], &sent); 255]);
        let mut other = server.client().await;
        for _ in 0..20 {
            let mut leaving = RawSession::connect(&target, Hello::of(18)).await;
            for _ in 0..100 {
                leaving.send(&pings).await;
            }
            poll_fn(|cx| leaving.tls.poll_close(cx)).await.unwrap();
            drop(leaving);
            other.ping().await.unwrap();
        }
    });
}
