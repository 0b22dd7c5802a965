//! TLS and the hellos (spec: protocol §2, §5; server §2.1).

mod support;

use glommio::net::TcpStream;
use loadtest::{Target, TlsOptions, TlsVersion};
use smp_server::transport::{TlsError, TlsStream};
use std::io::{Read, Write};
use std::sync::Arc;
use support::wire::{self, Item, bytes8, bytes16, take16, x25519_key};
use support::{Hello, RawSession, Server, Setup, every_placement, run};

fn target(server: &Server) -> Target {
    server.target(TlsOptions::default())
}

/// A target that offers these protocols.
fn offering(server: &Server, protocols: &[&str]) -> Target {
    let mut target = target(server);
    let mut tls = (*target.tls).clone();
    tls.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    target.tls = Arc::new(tls);
    target
}

async fn assert_works(session: &mut RawSession) {
    let (version, id) = (session.version, session.session_id.clone());
    let sent = wire::sent(version, &id, b"corr", b"", b"PING");
    let ping = wire::transmission(version, b"", &sent);
    session.send(&wire::batch(&[ping])).await;
    assert_eq!(
        session.recv_items().await,
        [Item::new(b"corr", b"", b"PONG")]
    );
}

#[test]
fn the_server_hello_has_certificates_and_a_signed_key() {
    let server = Setup::default().start();
    run(async {
        let target = target(&server);
        let session = RawSession::greet(&target).await.unwrap();
        assert_eq!(session.offered, (6, 18));
        let (count, rest) = session.hello_rest.split_first().unwrap();
        assert_eq!(*count, 2);
        let (leaf, rest) = take16(rest);
        let (identity, rest) = take16(rest);
        let (signed_key, rest) = take16(rest);
        assert_eq!(rest, b"");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, identity);
        assert_eq!(digest.as_ref(), target.identity);
        let presented = session.tls.peer_certificates().unwrap();
        assert_eq!(leaf, &*presented[0]);
        assert_eq!(identity, &*presented[1]);
        // Another key for every connection.
        let other = RawSession::greet(&target).await.unwrap();
        assert!(!other.hello_rest.ends_with(signed_key));
        assert_ne!(other.session_id, session.session_id);
    });
}

#[test]
fn alpn_decides_the_versions_offered() {
    let server = Setup::default().start();
    run(async {
        for protocol in ["smp/1", "http/1.1", "h2"] {
            let target = offering(&server, &[protocol]);
            let mut session = RawSession::greet(&target).await.unwrap();
            assert_eq!(session.offered, (6, 18), "{protocol}");
            session.answer(&target.identity, Hello::of(18)).await;
            assert_works(&mut session).await;
        }
        let target = offering(&server, &[]);
        let mut session = RawSession::greet(&target).await.unwrap();
        assert_eq!(session.offered, (6, 6));
        // No session key either.
        assert_eq!(session.hello_rest, b"");
        session.answer(&target.identity, Hello::of(6)).await;
        assert_works(&mut session).await;
        // One known protocol among others is enough.
        let target = offering(&server, &["other", "http/1.1"]);
        let session = RawSession::greet(&target).await.unwrap();
        assert_eq!(session.offered, (6, 18));
    });
}

#[test]
fn unknown_protocols_end_tls_with_an_alert() {
    let server = Setup::default().start();
    run(async {
        for protocols in [&["other"][..], &["smp/2", "h3"]] {
            let target = offering(&server, protocols);
            let tcp = TcpStream::connect(target.socket).await.unwrap();
            match TlsStream::connect(tcp, Arc::clone(&target.tls)).await {
                Err(TlsError::Tls(rustls::Error::AlertReceived(alert))) => {
                    assert_eq!(alert, rustls::AlertDescription::NoApplicationProtocol);
                }
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("connected with {protocols:?}"),
            }
        }
    });
}

#[test]
fn without_alpn_in_the_configuration_everybody_gets_version_6() {
    let server = Setup::default().set("RELAY", "alpn", "off").start();
    run(async {
        for protocols in [&[][..], &["smp/1"]] {
            let target = offering(&server, protocols);
            let session = RawSession::greet(&target).await.unwrap();
            assert_eq!(session.offered, (6, 6));
        }
    });
}

#[test]
fn the_configuration_limits_versions() {
    let server = Setup::default()
        .set("RELAY", "min_version", "8")
        .set("RELAY", "max_version", "14")
        .start();
    run(async {
        let target = target(&server);
        for (version, is_offered) in [(7, false), (8, true), (14, true), (15, false)] {
            let mut session = RawSession::connect(&target, Hello::of(version)).await;
            assert_eq!(session.offered, (8, 14));
            if is_offered {
                assert_works(&mut session).await;
            } else {
                session.assert_closed().await;
            }
        }
    });
}

#[test]
fn every_version_works_over_tls_1_2_and_1_3_with_both_kinds_of_certificates() {
    for algorithm in ["ED25519", "ED448"] {
        every_placement(&Setup::default().algorithm(algorithm), async |server| {
            for (tls, id_len) in [(TlsVersion::V12, 12), (TlsVersion::V13, 32)] {
                let target = server.target(TlsOptions {
                    version: tls,
                    ..TlsOptions::default()
                });
                for version in 6..=18 {
                    let mut session = RawSession::connect(&target, Hello::of(version)).await;
                    assert_eq!(session.session_id.len(), id_len);
                    assert_works(&mut session).await;
                }
            }
        });
    }
}

#[test]
fn clients_that_prefer_x448_are_served() {
    for x448 in ["off", "on"] {
        let server = Setup::default().set("RELAY", "x448", x448).start();
        run(async {
            for version in [TlsVersion::V12, TlsVersion::V13] {
                let target = server.target(TlsOptions {
                    version,
                    x448: true,
                    ..TlsOptions::default()
                });
                assert_works(&mut RawSession::connect(&target, Hello::of(18)).await).await;
            }
        });
    }
}

#[test]
fn versions_that_were_not_offered_close_the_connection() {
    let server = Setup::default().start();
    run(async {
        let target = target(&server);
        for version in [0, 5, 19, 20, u16::MAX] {
            let mut session = RawSession::connect(&target, Hello::of(version)).await;
            session.assert_closed().await;
        }
        let without_alpn = offering(&server, &[]);
        let mut session = RawSession::greet(&without_alpn).await.unwrap();
        let hello = Hello {
            key: false,
            ..Hello::of(7)
        };
        session.answer(&without_alpn.identity, hello).await;
        session.assert_closed().await;
    });
}

#[test]
fn a_client_of_another_server_is_left_without_a_word() {
    let server = Setup::default().start();
    run(async {
        let target = target(&server);
        let mut one_bit = target.identity;
        one_bit[31] ^= 1;
        for wrong in [&one_bit[..], &target.identity[..31], b""] {
            let mut session = RawSession::greet(&target).await.unwrap();
            session.answer(wrong, Hello::of(18)).await;
            session.assert_closed().await;
        }
    });
}

#[test]
fn hellos_that_do_not_parse_close_the_connection() {
    let server = Setup::default().start();
    run(async {
        let target = target(&server);
        let identity = bytes8(&target.identity);
        let key = x25519_key(&[9; 32]);
        let good = [&[0, 18][..], &identity, &key].concat();
        let cases = [
            vec![],
            vec![0],
            vec![0, 18],
            [&[0, 18][..], &identity[..20]].concat(),
            // The proxy flag is missing, or neither true nor false.
            good.clone(),
            [&good[..], b"X0"].concat(),
            // The service is missing, or has an unknown role.
            [&good[..], b"F"].concat(),
            [&good[..], b"F1X"].concat(),
        ];
        for content in cases {
            let mut session = RawSession::greet(&target).await.unwrap();
            session.send_plain(&content).await;
            session.assert_closed().await;
        }
        // A length beyond the block; the end within the hello.
        let mut session = RawSession::greet(&target).await.unwrap();
        session.send_damaged().await;
        session.assert_closed().await;
        let mut session = RawSession::greet(&target).await.unwrap();
        session.send_bytes(&[b'#'; 1000]).await;
        session.tls.close().await.unwrap();
        session.assert_closed().await;
    });
}

#[test]
fn bytes_after_the_hello_are_ignored() {
    let server = Setup::default().start();
    run(async {
        let target = target(&server);
        let mut session = RawSession::greet(&target).await.unwrap();
        let hello = [&[0, 7][..], &bytes8(&target.identity), b"more to come"].concat();
        session.send_plain(&hello).await;
        session.version = 7;
        assert_works(&mut session).await;
    });
}

#[test]
fn blocks_are_encrypted_when_both_sides_want_it() {
    every_placement(&Setup::default(), async |server| {
        let target = target(server);
        for version in 6..=18 {
            for (key, proxy) in [(true, false), (false, false), (true, true), (false, true)] {
                let hello = Hello {
                    version,
                    key,
                    proxy: proxy && version >= 14,
                };
                // Both sides see what they agreed on by understanding each other.
                let mut session = RawSession::connect(&target, hello).await;
                let expected = version >= 11 && key && !hello.proxy;
                assert_eq!(session.encrypts_blocks(), expected);
                assert_works(&mut session).await;
            }
        }
    });
}

#[test]
fn service_credentials_without_a_certificate_in_tls_are_refused_with_a_reason() {
    let server = Setup::default().start();
    run(async {
        let target = target(&server);
        for version in [16_u16, 18] {
            let mut session = RawSession::greet(&target).await.unwrap();
            let mut hello = version.to_be_bytes().to_vec();
            hello.extend(bytes8(&target.identity));
            hello.extend(x25519_key(&[9; 32]));
            hello.extend(b"F1N\x01");
            hello.extend(bytes16(b"certificate"));
            hello.extend(bytes16(b"signed key"));
            session.send_plain(&hello).await;
            let refusal = session.recv().await;
            assert_eq!(refusal.as_deref(), Some(&b"EHANDSHAKE BAD_AUTH"[..]));
            session.assert_closed().await;
        }
    });
}

#[test]
fn an_unfinished_smp_handshake_ends_in_time() {
    let server = Setup::default()
        .set("RELAY", "handshake_timeout", "1")
        .start();
    run(async {
        let target = target(&server);
        let mut silent = RawSession::greet(&target).await.unwrap();
        let mut halfway = RawSession::greet(&target).await.unwrap();
        halfway.send_bytes(&[b'#'; 1000]).await;
        let mut prompt = RawSession::connect(&target, Hello::of(18)).await;
        silent.assert_closed().await;
        halfway.assert_closed().await;
        // The limit is for handshakes only.
        assert_works(&mut prompt).await;
    });
}

#[test]
fn an_unfinished_tls_handshake_ends_in_time() {
    let server = Setup::default()
        .set("RELAY", "tls_setup_timeout", "1")
        .start();
    let mut silent = std::net::TcpStream::connect(server.address).unwrap();
    let mut halfway = std::net::TcpStream::connect(server.address).unwrap();
    // The beginning of a record with a client hello.
    Write::write_all(
        &mut halfway,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    )
    .unwrap();
    run(async {
        let mut prompt = RawSession::connect(&target(&server), Hello::of(18)).await;
        for tcp in [&mut silent, &mut halfway] {
            // Closed or reset; either is an end.
            let _ = tcp.read_to_end(&mut Vec::new());
        }
        // The limit is for handshakes only.
        assert_works(&mut prompt).await;
    });
}

#[test]
fn what_is_not_tls_is_not_served() {
    let server = Setup::default().start();
    let requests: [&[u8]; 3] = [
        b"GET / HTTP/1.0\r\n\r\n",
        &[0; 16384],
        b"\x16\x03\x01\xff\xff",
    ];
    for request in requests {
        let mut tcp = std::net::TcpStream::connect(server.address).unwrap();
        Write::write_all(&mut tcp, request).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
        // At most an alert.
        assert!(rest.len() < 16, "{rest:?}");
    }
    run(async {
        assert_works(&mut RawSession::connect(&target(&server), Hello::of(18)).await).await;
    });
}

/// The DER of the signed key, byte for byte (spec: protocol §1.3).
#[test]
fn the_session_key_is_signed_as_specified() {
    let server = Setup::default().start();
    run(async {
        let session = RawSession::greet(&target(&server)).await.unwrap();
        let (leaf, rest) = take16(&session.hello_rest[1..]);
        let (_, rest) = take16(rest);
        let (signed_key, _) = take16(rest);
        let to_be_signed = signed_key.strip_prefix(b"\x30\x78").unwrap();
        let (to_be_signed, rest) = to_be_signed.split_at(46);
        assert!(
            to_be_signed.starts_with(b"\x30\x2c\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00")
        );
        let algorithm = b"\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00";
        let signature = rest.strip_prefix(algorithm).unwrap();
        let spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        let at = leaf.windows(12).position(|window| window == spki).unwrap();
        let key = &leaf[at + 12..at + 44];
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key)
            .verify(to_be_signed, signature)
            .unwrap();
    });
}
