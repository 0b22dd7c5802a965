//! Many commands in a block, many blocks at once: answers come in the order of the commands
//! (spec: protocol §6, server §2.5).

mod support;

use loadtest::{Auth, Client, TlsOptions};
use smp_server::crypto::keys::SigningKey;
use smp_server::protocol::Command;
use support::wire::{self, Item};
use support::{
    Hello, Key, RawSession, Recipient, Server, Setup, ask, every_placement, expect_ok, full_body,
    run, send, unknown_id,
};

fn number(n: usize) -> [u8; 24] {
    let mut corr_id = [0; 24];
    corr_id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    corr_id
}

/// An unsigned command of the newest version.
fn unsigned(corr_id: &[u8], entity: &[u8], command: &[u8]) -> Vec<u8> {
    let sent = wire::sent(18, &[], corr_id, entity, command);
    wire::transmission(18, &[], &sent)
}

/// A recipient's command of the newest version.
fn signed(session: &RawSession, queue: &Recipient, corr_id: &[u8], command: &[u8]) -> Vec<u8> {
    let Key::Sign(key) = &queue.key else {
        unreachable!("made with an Ed25519 key");
    };
    let sent = wire::sent(18, &[], corr_id, queue.id(), command);
    let signature = key.sign(&wire::authorized(18, &session.session_id, &sent));
    wire::transmission(18, &signature, &sent)
}

async fn session(server: &Server) -> RawSession {
    RawSession::connect(&server.target(TlsOptions::default()), Hello::of(18)).await
}

async fn queues(client: &mut Client, count: usize) -> Vec<Recipient> {
    let mut queues = Vec::new();
    for _ in 0..count {
        queues.push(Recipient::create(client, false).await);
    }
    queues
}

/// A server of four shards whose queues are on all of them.
fn spread() -> Server {
    Setup::default()
        .set("RELAY", "shards", "4")
        .set("RELAY", "queue_placement", "spread")
        .start()
}

#[test]
fn a_block_of_255_commands_over_all_shards_is_answered_in_order_by_one_block() {
    let server = spread();
    run(async {
        let mut client = server.client().await;
        let queues = queues(&mut client, 255).await;
        let mut session = session(&server).await;
        for round in 0..4 {
            let commands: Vec<_> = (0..255)
                .map(|n| unsigned(&number(n), queues[n].sender_id(), b"SEND F x"))
                .collect();
            session.send(&wire::batch(&commands)).await;
            let answers = session.recv_items().await;
            assert_eq!(answers.len(), 255, "round {round}");
            for (n, answer) in answers.iter().enumerate() {
                assert_eq!(*answer, Item::new(&number(n), queues[n].sender_id(), b"OK"));
            }
        }
        assert_eq!(queues[254].info(&mut client).await["qiSize"], 4);
    });
}

#[test]
fn a_block_of_135_subscriptions_is_answered_in_order() {
    let server = spread();
    run(async {
        let mut client = server.client().await;
        let queues = queues(&mut client, 135).await;
        let mut session = session(&server).await;
        let subscribe = |session: &RawSession| {
            let commands = queues.iter().enumerate();
            let commands: Vec<_> = commands
                .map(|(n, queue)| signed(session, queue, &number(n), b"SUB"))
                .collect();
            wire::batch(&commands)
        };
        let is_subscribed = |answers: &[Item]| {
            for (n, answer) in answers.iter().enumerate() {
                assert_eq!(*answer, Item::new(&number(n), queues[n].id(), b"SOK 0"));
            }
        };
        let content = subscribe(&session);
        session.send(&content).await;
        let answers = session.recv_items().await;
        assert_eq!(answers.len(), 135);
        is_subscribed(&answers);

        // Messages waiting in some of them follow all answers, in the order of the queues.
        let waiting = [3, 50, 51, 134];
        for n in waiting {
            let body = full_body(&[u8::try_from(n).unwrap()]);
            expect_ok(send(&mut client, queues[n].sender_id(), Auth::None, &body).await);
        }
        let mut pushed = session.recv_at_least(4).await;
        pushed.sort_by_key(|item| queues.iter().position(|q| q.id() == item.entity_id));
        let content = subscribe(&session);
        session.send(&content).await;
        let answers = session.recv_at_least(139).await;
        is_subscribed(&answers[..135]);
        assert!(answers[135..] == pushed);
    });
}

#[test]
fn answers_and_messages_share_blocks_as_they_fit() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queues = queues(&mut client, 3).await;
        for queue in &queues {
            expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"x").await);
        }
        let mut session = session(server).await;
        let commands: Vec<_> = (0..3)
            .map(|n| signed(&session, &queues[n], &number(n), b"SUB"))
            .collect();
        session.send(&wire::batch(&commands)).await;
        // A message fills a block but for some answers.
        let sizes = [
            session.recv_items().await.len(),
            session.recv_items().await.len(),
            session.recv_items().await.len(),
        ];
        assert_eq!(sizes, [4, 1, 1]);
    });
}

#[test]
fn refusals_precede_the_other_answers_of_their_block() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queues = queues(&mut client, 2).await;
        let mut session = session(server).await;
        let (a, b) = (queues[0].id(), queues[1].id());
        let unknown = unknown_id();
        let stranger = SigningKey::generate_ed25519(&mut rand::rng()).unwrap();
        let wrong_key = {
            let sent = wire::sent(18, &[], b"2", a, b"SUB");
            let signature = stranger.sign(&wire::authorized(18, &session.session_id, &sent));
            wire::transmission(18, &signature, &sent)
        };
        let unknown_queue = {
            let sent = wire::sent(18, &[], b"5", &unknown, b"SUB");
            wire::transmission(18, &[1; 64], &sent)
        };
        let commands = [
            signed(&session, &queues[0], b"1", b"SUB"),
            wrong_key,
            unsigned(b"3", b"", b"PING"),
            signed(&session, &queues[1], b"4", b"SUB"),
            unknown_queue,
            unsigned(b"6", b"", b"NONSENSE"),
            signed(&session, &queues[1], b"7", b"GET"),
            signed(&session, &queues[0], b"8", b"DEL"),
            signed(&session, &queues[0], b"9", b"SUB"),
        ];
        session.send(&wire::batch(&commands)).await;
        let expected = [
            Item::new(b"2", a, b"ERR AUTH"),
            Item::new(b"5", &unknown, b"ERR AUTH"),
            Item::new(b"6", b"", b"ERR CMD UNKNOWN"),
            Item::new(b"9", a, b"ERR AUTH"),
            Item::new(b"1", a, b"SOK 0"),
            Item::new(b"3", b"", b"PONG"),
            Item::new(b"4", b, b"SOK 0"),
            // Executed, and refused by that.
            Item::new(b"7", b, b"ERR CMD PROHIBITED"),
            Item::new(b"8", a, b"OK"),
        ];
        assert_eq!(session.recv_items().await, expected);
    });
}

/// The reference carries them out from the last to the first.
#[test]
fn commands_of_a_block_are_carried_out_from_the_first_to_the_last() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        let mut session = session(server).await;
        let secure = |key: u8| [b"KEY ", &wire::ed25519_key(&[key; 32])[..]].concat();
        let commands: Vec<_> = (0..20)
            .map(|n| signed(&session, &queue, &[n], &secure(n / 10)))
            .collect();
        session.send(&wire::batch(&commands)).await;
        let answers = session.recv_items().await;
        let expected: Vec<_> = (0..20)
            .map(|n| {
                let answer: &[u8] = if n < 10 { b"OK" } else { b"ERR AUTH" };
                Item::new(&[n], queue.id(), answer)
            })
            .collect();
        assert_eq!(answers, expected);
    });
}

/// A block in which all signatures but one are right, as many as are checked together.
#[test]
fn a_wrong_signature_among_many_is_the_only_one_refused() {
    let server = spread();
    run(async {
        let mut client = server.client().await;
        let queues = queues(&mut client, 64).await;
        let mut session = session(&server).await;
        for wrong in [0, 31, 63] {
            let mut commands: Vec<_> = (0..64)
                .map(|n| signed(&session, &queues[n], &number(n), b"SUB"))
                .collect();
            commands[wrong][10] ^= 1;
            session.send(&wire::batch(&commands)).await;
            let answers = session.recv_items().await;
            let others = (0..64).filter(|n| *n != wrong);
            for (answer, n) in answers.iter().zip([wrong].into_iter().chain(others)) {
                let expected: &[u8] = if n == wrong { b"ERR AUTH" } else { b"SOK 0" };
                assert_eq!(*answer, Item::new(&number(n), queues[n].id(), expected));
            }
            assert_eq!(answers.len(), 64);
        }
    });
}

#[test]
fn pipelined_blocks_are_answered_in_order() {
    let server = spread();
    run(async {
        let mut client = server.client().await;
        let queues = queues(&mut client, 40).await;
        let mut session = session(&server).await;
        // More blocks than a connection may have in flight.
        let (blocks, each) = (60, 40);
        for block in 0..blocks {
            let commands: Vec<_> = (0..each)
                .map(|n| {
                    let corr_id = number(block * each + n);
                    match (block + n) % 3 {
                        0 => unsigned(&corr_id, b"", b"PING"),
                        1 => unsigned(&corr_id, queues[n].sender_id(), b"SEND F x"),
                        _ => signed(&session, &queues[n], &corr_id, b"OFF "),
                    }
                })
                .collect();
            session.send(&wire::batch(&commands)).await;
        }
        let answers = session.recv_at_least(blocks * each).await;
        assert_eq!(answers.len(), blocks * each);
        let kind = |n: usize| (n / each + n % each) % 3;
        let mut answers = answers.iter();
        for block in 0..blocks {
            let numbers = block * each..(block + 1) * each;
            // What does not parse is refused before anything else is answered.
            let refused = numbers.clone().filter(|n| kind(*n) == 2);
            for n in refused.chain(numbers.filter(|n| kind(*n) != 2)) {
                let queue = &queues[n % each];
                let expected = match kind(n) {
                    0 => Item::new(&number(n), b"", b"PONG"),
                    1 => Item::new(&number(n), queue.sender_id(), b"OK"),
                    _ => Item::new(&number(n), queue.id(), b"ERR CMD SYNTAX"),
                };
                assert_eq!(answers.next(), Some(&expected), "{n}");
            }
        }
    });
}

/// Correlation ids need not differ; the order is all there is.
#[test]
fn equal_correlation_ids_are_answered_one_for_one() {
    every_placement(&Setup::default(), async |server| {
        let mut session = session(server).await;
        let commands = vec![unsigned(b"same", b"", b"PING"); 255];
        session.send(&wire::batch(&commands)).await;
        let answers = session.recv_items().await;
        assert_eq!(answers, vec![Item::new(b"same", b"", b"PONG"); 255]);
    });
}

#[test]
fn ended_subscriptions_are_told_in_one_block() {
    let server = Setup::default().start();
    run(async {
        let mut client = server.client().await;
        let queues = queues(&mut client, 100).await;
        let mut sessions = [session(&server).await, session(&server).await];
        for session in &mut sessions {
            let commands: Vec<_> = queues
                .iter()
                .enumerate()
                .map(|(n, queue)| signed(session, queue, &number(n), b"SUB"))
                .collect();
            session.send(&wire::batch(&commands)).await;
            assert_eq!(session.recv_items().await.len(), 100);
        }
        let ended: Vec<_> = queues
            .iter()
            .map(|queue| Item::new(b"", queue.id(), b"END"))
            .collect();
        assert_eq!(sessions[0].recv_items().await, ended);
    });
}

#[test]
fn a_client_of_many_queues_is_served_in_few_blocks() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queues = queues(&mut client, 300).await;
        let commands: Vec<_> = queues
            .iter()
            .map(|queue| (Command::Sub, queue.id(), queue.key.auth()))
            .collect();
        for answer in client.batch(&commands).await.unwrap() {
            expect_ok(answer);
        }
        let deleted = ask(
            &mut client,
            &Command::Del,
            queues[299].id(),
            queues[299].key.auth(),
        );
        expect_ok(deleted.await);
    });
}
