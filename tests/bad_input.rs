//! What cannot be understood is answered as specified, and the connection goes on
//! (spec: server §2.3, protocol §4.4, §6.4).

mod support;

use loadtest::{Auth, TlsOptions};
use smp_server::crypto::keys::SigningKey;
use support::wire::{self, Item, bytes8, bytes16};
use support::{
    Hello, Key, RawSession, Recipient, Server, Setup, every_placement, expect_ok, send, unknown_id,
};

/// One of every layout of transmissions and blocks.
const VERSIONS: [u16; 6] = [6, 7, 10, 11, 15, 18];

async fn session(server: &Server, version: u16) -> RawSession {
    RawSession::connect(&server.target(TlsOptions::default()), Hello::of(version)).await
}

/// A transmission of the session, with any authorization.
fn transmission(
    session: &RawSession,
    authorization: &[u8],
    corr_id: &[u8],
    entity: &[u8],
    command: &[u8],
) -> Vec<u8> {
    let version = session.version;
    let sent = wire::sent(version, &session.session_id, corr_id, entity, command);
    wire::transmission(version, authorization, &sent)
}

/// Asserts that the connection still works.
async fn assert_alive(session: &mut RawSession) {
    let ping = transmission(session, b"", b"alive", b"", b"PING");
    session.send(&wire::batch(&[ping])).await;
    assert_eq!(
        session.recv_items().await,
        [Item::new(b"alive", b"", b"PONG")]
    );
}

/// Sends the content of a block and asserts the answers.
async fn assert_answers(session: &mut RawSession, content: &[u8], expected: &[Item], case: &str) {
    session.send(content).await;
    let version = session.version;
    assert_eq!(
        session.recv_items().await,
        expected,
        "{case}, version {version}"
    );
    assert_alive(session).await;
}

/// Sends one transmission and asserts the answer with its ids.
async fn assert_answer(session: &mut RawSession, transmission: &[u8], expected: Item, case: &str) {
    let content = wire::batch(&[transmission.to_vec()]);
    assert_answers(session, &content, &[expected], case).await;
}

fn block_error() -> Item {
    Item::new(b"", b"", b"ERR BLOCK")
}

#[test]
fn bad_blocks_are_refused_as_a_whole() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            let ping = transmission(&session, b"", b"1", b"", b"PING");
            let good = wire::batch(std::slice::from_ref(&ping));
            let with = |count: u8, items: &[u8]| [&[count], items].concat();
            let garbage: Vec<u8> = (0..16_000).map(|n: u32| (n * 31 % 251) as u8).collect();
            let cases: [(&str, Vec<u8>); 9] = [
                ("nothing", vec![]),
                ("garbage", garbage),
                ("no transmissions", vec![0]),
                ("no transmissions and bytes", with(0, &bytes16(&ping))),
                ("a count without transmissions", vec![1]),
                ("fewer transmissions than counted", with(2, &bytes16(&ping))),
                ("more bytes than counted", [&good[..], b"x"].concat()),
                (
                    "more transmissions than counted",
                    [&good[..], &bytes16(&ping)].concat(),
                ),
                ("a transmission cut off", good[..good.len() - 1].to_vec()),
            ];
            for (case, content) in cases {
                assert_answers(&mut session, &content, &[block_error()], case).await;
            }
        }
    });
}

#[test]
fn blocks_that_do_not_open_are_refused() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            assert_eq!(session.encrypts_blocks(), version >= 11);
            for _ in 0..3 {
                session.send_damaged().await;
                assert_eq!(session.recv_items().await, [block_error()]);
                // The keys of both sides have moved on together.
                assert_alive(&mut session).await;
            }
        }
    });
}

#[test]
fn a_bad_transmission_does_not_spoil_its_neighbours() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            let ping = |n: &[u8]| transmission(&session, b"", n, b"", b"PING");
            let (first, cut_off, third) = (ping(b"1"), ping(b"longer"), ping(b"3"));
            let cases = [
                vec![],
                vec![255],
                vec![1],
                // Up to the middle of the correlation id.
                cut_off[..cut_off.len() - 9].to_vec(),
            ];
            for bad in cases {
                let content = wire::batch(&[first.clone(), bad, third.clone()]);
                let expected = [
                    block_error(),
                    Item::new(b"1", b"", b"PONG"),
                    Item::new(b"3", b"", b"PONG"),
                ];
                session.send(&content).await;
                assert_eq!(session.recv_items().await, expected, "version {version}");
            }
            assert_alive(&mut session).await;
        }
    });
}

#[test]
fn authorizations_of_impossible_lengths_are_refused() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            for len in [1, 32, 63, 65, 79, 81, 113, 115, 255] {
                let bad = transmission(&session, &vec![7; len], b"corr", &[1; 24], b"SUB");
                let expected = Item::new(b"corr", b"", b"ERR BLOCK");
                assert_answer(&mut session, &bad, expected, "length of authorization").await;
            }
            for len in [64, 80, 114] {
                let wrong = transmission(&session, &vec![7; len], b"corr", &[1; 24], b"SUB");
                let expected = Item::new(b"corr", &[1; 24], b"ERR AUTH");
                assert_answer(&mut session, &wrong, expected, "wrong authorization").await;
            }
        }
    });
}

#[test]
fn another_session_is_refused() {
    every_placement(&Setup::default(), async |server| {
        let mut session = session(server, 6).await;
        let other = session.session_id.iter().map(|b| b ^ 1).collect::<Vec<_>>();
        for id in [&other[..], &other[1..], b""] {
            let sent = wire::sent(6, id, b"corr", b"", b"PING");
            let bad = wire::transmission(6, b"", &sent);
            let expected = Item::new(b"corr", b"", b"ERR SESSION");
            assert_answer(&mut session, &bad, expected, "session id").await;
        }
    });
}

#[test]
fn unknown_commands_are_named_so() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            let tags: [&[u8]; 15] = [
                b"",
                b" ",
                b" SUB",
                b"HELLO",
                b"sub",
                b"SUB=",
                b"SUBX",
                b"SU",
                b"PING\n",
                b"\xff\xfe",
                // What only servers say.
                b"OK",
                b"PONG",
                b"END",
                b"MSG x",
                b"ERR AUTH",
            ];
            for tag in tags {
                for authorization in [&[][..], &[1; 64]] {
                    let bad = transmission(&session, authorization, b"corr", b"entity", tag);
                    let expected = Item::new(b"corr", b"entity", b"ERR CMD UNKNOWN");
                    assert_answer(&mut session, &bad, expected, "unknown tag").await;
                }
            }
        }
    });
}

#[test]
fn parameters_that_do_not_parse_are_a_syntax_error() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            let key = wire::ed25519_key(&[5; 32]);
            let with = |tag: &[u8], parameters: &[u8]| [tag, parameters].concat();
            // Ed25519 keys of wrong length, with other object identifiers, cut off.
            let mut foreign = key.clone();
            foreign[9] = 0x6f;
            let commands = [
                b"SUB ".to_vec(),
                b"SUB x".to_vec(),
                b"PING ".to_vec(),
                b"GET ".to_vec(),
                b"DEL x".to_vec(),
                b"OFF ".to_vec(),
                b"QUE ".to_vec(),
                b"ACK".to_vec(),
                b"ACK ".to_vec(),
                b"ACK \x05abcd".to_vec(),
                b"ACK \x01ab".to_vec(),
                b"KEY".to_vec(),
                b"KEY ".to_vec(),
                b"KEY \x05hello".to_vec(),
                with(b"KEY ", &key[..44]),
                with(b"KEY ", &[&key[..], b" "].concat()),
                with(b"KEY ", &foreign),
                with(b"SKEY ", &foreign),
                b"RKEY \x00".to_vec(),
                with(b"RKEY \x02", &key),
                b"SEND".to_vec(),
                b"SEND ".to_vec(),
                b"SEND X body".to_vec(),
                b"SEND T".to_vec(),
                b"NEW".to_vec(),
                b"NEW ".to_vec(),
                with(b"NEW ", &key),
                // The second key agrees; it must not be one that signs.
                with(b"NEW ", &[&key[..], &key, b"C"].concat()),
                with(
                    b"NEW ",
                    &[&key[..], &wire::x25519_key(&[9; 32]), b"?"].concat(),
                ),
            ];
            for command in commands {
                let signature = [1; 64];
                let bad = transmission(&session, &signature, b"corr", b"entity", &command);
                let expected = Item::new(b"corr", b"entity", b"ERR CMD SYNTAX");
                let case = String::from_utf8_lossy(&command).into_owned();
                assert_answer(&mut session, &bad, expected, &case).await;
            }
        }
    });
}

/// Password characters that no password has (spec: protocol §9.2).
#[test]
fn impossible_passwords_are_a_syntax_error() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            let mut session = session(server, version).await;
            for password in ["a b", "a@b", "a:b", "a/b", "a\tb", "\u{80}"] {
                let mut command = b"NEW ".to_vec();
                command.extend(wire::ed25519_key(&[5; 32]));
                command.extend(wire::x25519_key(&[9; 32]));
                command.push(if version < 9 { b'A' } else { b'1' });
                command.extend(bytes8(password.as_bytes()));
                let rest: &[u8] = match version {
                    ..=8 => b"C",
                    9..=14 => b"CT",
                    15 | 16 => b"C1M0",
                    _ => b"C1M00",
                };
                command.extend(rest);
                let bad = transmission(&session, &[1; 64], b"corr", b"", &command);
                let expected = Item::new(b"corr", b"", b"ERR CMD SYNTAX");
                assert_answer(&mut session, &bad, expected, password).await;
            }
        }
    });
}

#[test]
fn credentials_must_be_there_or_not_as_the_command_says() {
    every_placement(&Setup::default(), async |server| {
        let mut new = b"NEW ".to_vec();
        new.extend(wire::ed25519_key(&[5; 32]));
        new.extend(wire::x25519_key(&[9; 32]));
        new.extend(b"0C00");
        let key = wire::ed25519_key(&[5; 32]);
        let with_key = |tag: &[u8]| [tag, &key[..]].concat();
        let link = [
            b"LSET ",
            &bytes8(&[1; 24])[..],
            &bytes16(b"f"),
            &bytes16(b"u"),
        ]
        .concat();
        let notifier = [&with_key(b"NKEY ")[..], &wire::x25519_key(&[9; 32])].concat();
        let both_required = [
            b"SUB".to_vec(),
            b"SUBS".to_vec(),
            with_key(b"KEY "),
            with_key(b"RKEY \x01"),
            link,
            b"LDEL".to_vec(),
            notifier,
            b"NDEL".to_vec(),
            b"GET".to_vec(),
            b"ACK \x00".to_vec(),
            b"OFF".to_vec(),
            b"DEL".to_vec(),
            b"QUE".to_vec(),
            with_key(b"SKEY "),
            with_key(b"LKEY "),
            b"NSUB".to_vec(),
            b"NSUBS".to_vec(),
        ];
        let (signature, entity, none): (&[u8], &[u8], &[u8]) = (&[1; 64], &[2; 24], b"");
        let mut cases = vec![
            (new.clone(), none, none, "NO_AUTH"),
            (new.clone(), b"", entity, "NO_AUTH"),
            (new, signature, entity, "HAS_AUTH"),
            (b"SEND T x".to_vec(), b"", b"", "NO_ENTITY"),
            (b"SEND T x".to_vec(), signature, b"", "NO_ENTITY"),
            (b"LGET".to_vec(), b"", b"", "NO_ENTITY"),
            (b"LGET".to_vec(), signature, b"", "NO_ENTITY"),
            (b"LGET".to_vec(), signature, entity, "HAS_AUTH"),
            (b"PING".to_vec(), signature, b"", "HAS_AUTH"),
            (b"PING".to_vec(), b"", entity, "HAS_AUTH"),
            (b"PING".to_vec(), signature, entity, "HAS_AUTH"),
            (b"RFWD x".to_vec(), signature, b"", "HAS_AUTH"),
            (b"RFWD x".to_vec(), b"", entity, "HAS_AUTH"),
        ];
        for command in both_required {
            cases.push((command.clone(), b"", entity, "NO_AUTH"));
            cases.push((command.clone(), signature, b"", "NO_AUTH"));
            cases.push((command, b"", b"", "NO_AUTH"));
        }
        let mut session = session(server, 18).await;
        for (command, authorization, entity, error) in cases {
            let bad = transmission(&session, authorization, b"corr", entity, &command);
            let expected = Item::new(b"corr", entity, format!("ERR CMD {error}").as_bytes());
            let case = String::from_utf8_lossy(&command).into_owned();
            assert_answer(&mut session, &bad, expected, &case).await;
        }
    });
}

/// From version 16 an authorization may be followed by the signature of a service.
#[test]
fn service_signatures_are_not_for_everybody() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        let Key::Sign(key) = &queue.key else {
            unreachable!("made with an Ed25519 key");
        };
        for version in [16, 18] {
            let mut session = session(server, version).await;
            let with_service = |key: &SigningKey, entity: &[u8], command: &[u8], service: &[u8]| {
                let id = &session.session_id;
                let sent = wire::sent(version, id, b"corr", entity, command);
                let signature = key.sign(&wire::authorized(version, id, &sent));
                [&bytes8(&signature)[..], b"1", &bytes8(service), &sent].concat()
            };
            let unreadable = [
                with_service(key, queue.id(), b"SUB", &[1; 63]),
                with_service(key, queue.id(), b"SUB", b""),
            ];
            let signed = with_service(key, queue.id(), b"SUB", &[1; 64]);
            let other_command = with_service(key, queue.id(), b"QUE", &[1; 64]);
            let unknown = unknown_id();
            let on_nothing = with_service(key, &unknown, b"SUB", &[1; 64]);
            for bad in unreadable {
                assert_answer(&mut session, &bad, block_error(), "service signature").await;
            }
            for bad in [signed, other_command] {
                let expected = Item::new(b"corr", queue.id(), b"ERR SERVICE");
                assert_answer(&mut session, &bad, expected, "service signature").await;
            }
            let expected = Item::new(b"corr", &unknown, b"ERR AUTH");
            assert_answer(&mut session, &on_nothing, expected, "no queue").await;
        }
    });
}

#[test]
fn wrong_signatures_are_refused() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        let Key::Sign(key) = &queue.key else {
            unreachable!("made with an Ed25519 key");
        };
        for version in VERSIONS {
            let mut session = session(server, version).await;
            let id = session.session_id.clone();
            let sent = wire::sent(version, &id, b"corr", queue.id(), b"SUB");
            let right = wire::authorized(version, &id, &sent);
            // Signed for another correlation id, another command, another session.
            let other_corr = wire::sent(version, &id, b"corq", queue.id(), b"SUB");
            let other_command = wire::sent(version, &id, b"corr", queue.id(), b"GET");
            let other_id: Vec<_> = id.iter().map(|b| b ^ 1).collect();
            let other_session = wire::sent(version, &other_id, b"corr", queue.id(), b"SUB");
            let wrong = [
                key.sign(&wire::authorized(version, &id, &other_corr)),
                key.sign(&wire::authorized(version, &id, &other_command)),
                key.sign(&wire::authorized(version, &other_id, &other_session)),
                key.sign(b""),
                vec![0; 64],
                {
                    let mut signature = key.sign(&right);
                    signature[63] ^= 0x20;
                    signature
                },
            ];
            for signature in wrong {
                let bad = wire::transmission(version, &signature, &sent);
                let expected = Item::new(b"corr", queue.id(), b"ERR AUTH");
                assert_answer(&mut session, &bad, expected, "signature").await;
            }
            let good = wire::transmission(version, &key.sign(&right), &sent);
            let answer: &[u8] = if version < 16 { b"OK" } else { b"SOK 0" };
            let expected = Item::new(b"corr", queue.id(), answer);
            assert_answer(&mut session, &good, expected, "the right signature").await;
        }
    });
}

#[test]
fn messages_are_as_long_as_the_senders_version_allows() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for version in 6..=18 {
            let queue = Recipient::create(&mut client, false).await;
            let mut session = session(server, version).await;
            let limit = match version {
                ..=7 => 16088,
                8..=10 => 16064,
                _ => 16048,
            };
            for (len, answer) in [(limit, &b"OK"[..]), (limit + 1, b"ERR LARGE_MSG")] {
                let command = [b"SEND F ", &vec![b'm'; len][..]].concat();
                let sent = transmission(&session, b"", b"corr", queue.sender_id(), &command);
                let expected = Item::new(b"corr", queue.sender_id(), answer);
                assert_answer(&mut session, &sent, expected, "length").await;
            }
            // Whatever was accepted reaches a recipient of any version.
            let got = queue
                .ask(&mut client, &smp_server::protocol::Command::Get)
                .await;
            assert_eq!(queue.open(got).1, vec![b'm'; limit]);
        }
    });
}

#[test]
fn the_end_in_the_middle_of_a_block_ends_the_connection() {
    every_placement(&Setup::default(), async |server| {
        for version in VERSIONS {
            for len in [1, 100, 16383] {
                let mut session = session(server, version).await;
                assert_alive(&mut session).await;
                session.send_bytes(&vec![b'#'; len]).await;
                session.tls.close().await.unwrap();
                session.assert_closed().await;
            }
        }
    });
}

#[test]
fn the_end_between_blocks_ends_the_connection() {
    every_placement(&Setup::default(), async |server| {
        let mut session = session(server, 18).await;
        assert_alive(&mut session).await;
        session.tls.close().await.unwrap();
        session.assert_closed().await;
    });
}

/// Every single byte of a good command, damaged: whatever the answer is, there is one.
#[test]
fn a_damaged_command_is_answered() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        let mut session = session(server, 18).await;
        let mut new = b"NEW ".to_vec();
        new.extend(wire::ed25519_key(&[5; 32]));
        new.extend(wire::x25519_key(&[9; 32]));
        new.extend(b"0C1M00");
        let commands = [
            transmission(&session, &[1; 64], b"corr", b"", &new),
            transmission(&session, b"", b"corr", queue.sender_id(), b"SEND T hello"),
        ];
        for command in commands {
            for at in 0..command.len() {
                for flip in [1, 0x80] {
                    let mut damaged = command.clone();
                    damaged[at] ^= flip;
                    session.send(&wire::batch(&[damaged])).await;
                    assert_eq!(session.recv_items().await.len(), 1);
                }
            }
        }
        expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"").await);
        assert_alive(&mut session).await;
    });
}
