//! Real loopback sockets; both ends of most tests run in one executor.

use std::io::{Read, Write};
use std::mem::size_of;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;

use futures_lite::future::{self, zip};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpListener;
use glommio::{LocalExecutorBuilder, Placement};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, Error, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use super::*;
use crate::crypto::certificate::Fingerprint;
use crate::transport::config::{
    ClientOptions, ServerOptions, client_config, client_config_of, server_config,
};
use crate::transport::credential::Credential;
use crate::transport::test_certificates::{
    Algorithm::{self, Ed448, Ed25519},
    Authority, Template,
};

type Outcome = Result<TlsStream, TlsError>;

fn run<T>(future: impl Future<Output = T>) -> T {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .make()
        .unwrap()
        .run(future)
}

fn server_credential(algorithm: Algorithm) -> Credential {
    Authority::new(algorithm, "SMP server CA").credential(algorithm)
}

/// The two ends of a new TCP connection: accepted, connected.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, connected) = zip(listener.accept(), TcpStream::connect(address)).await;
    (accepted.unwrap(), connected.unwrap())
}

/// The results of both sides of a handshake: server, client.
async fn handshake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> (Outcome, Outcome) {
    let (accepted, connected) = sockets().await;
    zip(
        TlsStream::accept(accepted, server),
        TlsStream::connect(connected, client),
    )
    .await
}

/// A connection with default settings: server, client.
async fn connection() -> (TlsStream, TlsStream) {
    let credential = server_credential(Ed25519);
    let server = server_config(&credential, ServerOptions::default()).unwrap();
    let client = client_config(
        Fingerprint(credential.identity()),
        &ClientOptions::default(),
    )
    .unwrap();
    let (server, client) = handshake(server, client).await;
    (server.unwrap(), client.unwrap())
}

fn block(seed: usize) -> [u8; BLOCK_SIZE] {
    let mut block = [0; BLOCK_SIZE];
    for (i, byte) in block.iter_mut().enumerate() {
        *byte = (seed * 31 + i * 7 + i / 256) as u8;
    }
    block
}

/// The received block, or `None` at the end.
async fn receive(stream: &mut TlsStream) -> Result<Option<Vec<u8>>, TlsError> {
    stream.read_block(|block| block.to_vec()).await
}

async fn write_all(stream: &mut TlsStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await.unwrap();
        bytes = &bytes[written..];
    }
    stream.flush().await.unwrap();
}

/// Nothing but the sockets and `rustls` state is held.
fn assert_idle(stream: &TlsStream) {
    assert_eq!(stream.carry.capacity(), 0);
    assert_eq!(stream.unsent.capacity(), 0);
    assert_eq!(stream.plain.capacity(), 0);
}

#[test]
fn every_handshake_agrees_on_the_session_identifier() {
    let versions: [[&'static SupportedProtocolVersion; 1]; 2] = [[&TLS13], [&TLS12]];
    for algorithm in [Ed25519, Ed448] {
        let credential = server_credential(algorithm);
        let (certificate, key) = Authority::self_signed(algorithm, "simplex");
        let service = Credential::new(vec![certificate], key).unwrap();
        for versions in versions {
            for shown in [None, Some(&service)] {
                // A client that prefers X448 meets a server with and without it.
                for (x448, client_x448) in [(false, false), (false, true), (true, true)] {
                    let server = ServerOptions {
                        x448,
                        ..ServerOptions::default()
                    };
                    let server = server_config(&credential, server).unwrap();
                    let client = ClientOptions {
                        credential: shown,
                        x448: client_x448,
                        ..ClientOptions::default()
                    };
                    let client =
                        client_config_of(Fingerprint(credential.identity()), &client, &versions);
                    let (server, client) = run(handshake(server, client.unwrap()));
                    let (server, client) = (server.unwrap(), client.unwrap());

                    assert_eq!(server.session_id(), client.session_id());
                    let tls13 = versions[0].version == ProtocolVersion::TLSv1_3;
                    let len = if tls13 { 32 } else { 12 };
                    assert_eq!(server.session_id().as_bytes().len(), len);
                    assert_eq!(server.protocol_version(), Some(versions[0].version));
                    assert!(!server.sni());
                    assert_eq!(server.peer_certificates(), shown.map(Credential::chain));
                    assert_eq!(client.peer_certificates(), Some(credential.chain()));
                }
            }
        }
    }
}

#[test]
fn session_identifiers_differ_between_connections() {
    let (one, _a) = run(connection());
    let (other, _b) = run(connection());
    assert_ne!(one.session_id(), other.session_id());
}

#[test]
fn alpn_is_reported() {
    let credential = server_credential(Ed25519);
    let offer = |names: &[&[u8]], alpn| {
        let options = ServerOptions {
            alpn,
            ..ServerOptions::default()
        };
        let server = server_config(&credential, options).unwrap();
        let options = ClientOptions {
            alpn: names,
            ..ClientOptions::default()
        };
        let client = client_config(Fingerprint(credential.identity()), &options).unwrap();
        run(handshake(server, client))
    };
    for names in [
        &[b"smp/1".as_slice()][..],
        &[b"http/1.1"],
        &[b"other", b"h2"],
    ] {
        let (server, client) = offer(names, true);
        assert!(server.unwrap().alpn_negotiated());
        assert_eq!(client.unwrap().alpn_protocol(), names.last().copied());
    }
    for (names, alpn) in [(&[][..], true), (&[b"smp/1".as_slice()][..], false)] {
        let (server, client) = offer(names, alpn);
        assert!(!server.unwrap().alpn_negotiated());
        assert!(!client.unwrap().alpn_negotiated());
    }
    let (server, client) = offer(&[b"other"], true);
    assert!(matches!(
        server.err(),
        Some(TlsError::Tls(Error::NoApplicationProtocol))
    ));
    assert!(matches!(
        client.err(),
        Some(TlsError::Tls(Error::AlertReceived(
            AlertDescription::NoApplicationProtocol
        )))
    ));
}

#[test]
fn client_certificates_are_not_asked_for_when_off() {
    let credential = server_credential(Ed25519);
    let (certificate, key) = Authority::self_signed(Ed25519, "simplex");
    let service = Credential::new(vec![certificate], key).unwrap();
    let server = ServerOptions {
        ask_client_certificate: false,
        ..ServerOptions::default()
    };
    let client = ClientOptions {
        credential: Some(&service),
        ..ClientOptions::default()
    };
    let (server, client) = run(handshake(
        server_config(&credential, server).unwrap(),
        client_config(Fingerprint(credential.identity()), &client).unwrap(),
    ));
    client.unwrap();
    assert!(server.unwrap().peer_certificates().is_none());
}

#[test]
fn bad_client_certificates_get_the_alerts_of_the_reference() {
    let ca = Authority::new(Ed25519, "service CA");
    let other = Authority::new(Ed25519, "other CA");
    let issue = |template: &Template| ca.issue(Ed25519, "service", template);
    let cases = [
        (
            issue(&Template {
                not_after: "20200102000000Z",
                ..Template::server()
            }),
            &ca,
            AlertDescription::CertificateExpired,
        ),
        (
            issue(&Template::server()),
            &other,
            AlertDescription::UnknownCA,
        ),
        (
            issue(&Template {
                key_usage: Some(Template::CERT_SIGN),
                ..Template::server()
            }),
            &ca,
            AlertDescription::CertificateUnknown,
        ),
    ];
    let credential = server_credential(Ed25519);
    for ((leaf, key), root, alert) in cases {
        let service = Credential::new(vec![leaf, root.certificate.clone()], key).unwrap();
        let options = ClientOptions {
            credential: Some(&service),
            ..ClientOptions::default()
        };
        let server = server_config(&credential, ServerOptions::default()).unwrap();
        let client = client_config(Fingerprint(credential.identity()), &options).unwrap();
        run(async {
            let (server, client) = handshake(server, client).await;
            assert!(matches!(
                server.err(),
                Some(TlsError::Tls(Error::InvalidCertificate(_)))
            ));
            // In TLS 1.3 the client has finished before the server looks at its certificate.
            let error = receive(&mut client.unwrap()).await.unwrap_err();
            assert!(
                matches!(error, TlsError::Tls(Error::AlertReceived(got)) if got == alert),
                "{error:?}"
            );
        });
    }
}

#[test]
fn another_server_is_refused() {
    let credential = server_credential(Ed25519);
    let server = server_config(&credential, ServerOptions::default()).unwrap();
    let client = client_config(Fingerprint([7; 32]), &ClientOptions::default()).unwrap();
    let (server, client) = run(handshake(server, client));
    assert!(matches!(
        client.err(),
        Some(TlsError::Tls(Error::InvalidCertificate(
            CertificateError::UnknownIssuer
        )))
    ));
    assert!(matches!(
        server.err(),
        Some(TlsError::Tls(Error::AlertReceived(
            AlertDescription::UnknownCA
        )))
    ));
}

#[test]
fn what_is_not_tls_is_answered_with_an_alert() {
    let credential = server_credential(Ed25519);
    let config = server_config(&credential, ServerOptions::default()).unwrap();
    run(async {
        let (accepted, mut connected) = sockets().await;
        connected
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let error = TlsStream::accept(accepted, config).await.err().unwrap();
        assert!(matches!(error, TlsError::Tls(_)), "{error:?}");
        let mut answer = Vec::new();
        connected.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), Some(&21));
    });
}

#[test]
fn leaving_during_the_handshake_is_reported() {
    let credential = server_credential(Ed25519);
    let config = server_config(&credential, ServerOptions::default()).unwrap();
    // Nothing at all, and the beginning of a record.
    for (bytes, inside) in [(&b""[..], false), (&[22, 3, 1, 2, 0, 1], true)] {
        let config = Arc::clone(&config);
        run(async {
            let (accepted, mut connected) = sockets().await;
            connected.write_all(bytes).await.unwrap();
            drop(connected);
            let error = TlsStream::accept(accepted, config).await.err().unwrap();
            match error {
                TlsError::Truncated => assert!(inside),
                TlsError::HandshakeEof => assert!(!inside),
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn a_handshake_can_be_given_up() {
    let credential = server_credential(Ed25519);
    let config = server_config(&credential, ServerOptions::default()).unwrap();
    run(async {
        let (accepted, mut connected) = sockets().await;
        let mut accepting = Box::pin(TlsStream::accept(accepted, config));
        assert!(future::poll_once(&mut accepting).await.is_none());
        drop(accepting);
        let mut rest = Vec::new();
        connected.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    });
}

#[test]
fn blocks_arrive_however_records_split_them() {
    run(async {
        let (mut server, mut client) = connection().await;
        for piece in [1, 7, 100, 5_000, 9_999, BLOCK_SIZE, 16_383] {
            let sent = [block(piece), block(piece + 1)].concat();
            // The smallest pieces are only tried at the edges of a block.
            let (body, edge) = if piece < 100 {
                sent.split_at(BLOCK_SIZE - 300)
            } else {
                (&sent[..], &[][..])
            };
            let writer = async {
                write_all(&mut client, body).await;
                let (edge, rest) = edge.split_at(edge.len().min(600));
                for piece in edge.chunks(piece).chain(rest.chunks(BLOCK_SIZE)) {
                    write_all(&mut client, piece).await;
                }
            };
            let reader = async {
                let one = receive(&mut server).await.unwrap().unwrap();
                let two = receive(&mut server).await.unwrap().unwrap();
                [one, two].concat()
            };
            let ((), received) = zip(writer, reader).await;
            assert!(received == sent, "pieces of {piece}");
            assert_idle(&server);
            assert_idle(&client);
        }
    });
}

#[test]
fn a_block_may_be_changed_in_place_and_echoed() {
    run(async {
        let (mut server, mut client) = connection().await;
        client.write_block(&block(1)).await.unwrap();
        let mut echo = server
            .read_block(|block| {
                block.reverse();
                *block
            })
            .await
            .unwrap()
            .unwrap();
        server.write_block(&echo).await.unwrap();
        echo.copy_from_slice(&receive(&mut client).await.unwrap().unwrap());
        echo.reverse();
        assert!(echo == block(1));
    });
}

#[test]
fn several_blocks_take_one_write_and_wait_for_a_reader_that_stops() {
    run(async {
        let (mut server, mut client) = connection().await;
        let mut made = 0;
        let count = poll_fn(|cx| {
            client.poll_write_blocks(cx, |out| {
                assert!(out.is_empty());
                out.extend_from_slice(&block(made)[..]);
                made += 1;
                true
            })
        })
        .await
        .unwrap();
        assert_eq!(count, BLOCKS_PER_WRITE);
        client.flush().await.unwrap();
        client.close().await.unwrap();
        for seed in 0..BLOCKS_PER_WRITE {
            let received = receive(&mut server).await.unwrap().unwrap();
            assert!(received == block(seed));
        }
        assert_idle(&server);
        assert!(receive(&mut server).await.unwrap().is_none());
        assert!(server.received_close_notify());
        assert!(receive(&mut server).await.unwrap().is_none());
    });
}

#[test]
fn writing_nothing_sends_nothing() {
    run(async {
        let (mut server, mut client) = connection().await;
        let count = poll_fn(|cx| client.poll_write_blocks(cx, |_| false)).await;
        assert_eq!(count.unwrap(), 0);
        client.close().await.unwrap();
        assert!(receive(&mut server).await.unwrap().is_none());
    });
}

#[test]
fn a_slow_reader_makes_the_writer_wait() {
    run(async {
        let (mut server, mut client) = connection().await;
        // Until the socket is full and a tail is kept.
        let mut written = 0;
        while future::poll_once(client.write_block(&block(written)))
            .await
            .is_some()
        {
            written += 1;
        }
        assert!(!client.unsent.is_empty());
        assert!(client.unsent.len() < 2 * BLOCK_SIZE);
        let refused = future::poll_once(poll_fn(|cx| {
            client.poll_write_blocks(cx, |_| {
                unreachable!("asked for more before the rest is sent")
            })
        }));
        assert!(refused.await.is_none());
        let reader = async {
            for seed in 0..=written {
                assert!(receive(&mut server).await.unwrap().unwrap() == block(seed));
            }
        };
        let (flushed, ()) = zip(client.flush(), reader).await;
        flushed.unwrap();
        assert_idle(&client);
        assert_idle(&server);
    });
}

#[test]
fn a_read_that_completes_a_write_wakes_the_task() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run(async {
        let (mut server, mut client) = connection().await;
        let mut written = 0;
        while future::poll_once(client.write_block(&block(written)))
            .await
            .is_some()
        {
            written += 1;
        }
        for seed in 0..written {
            assert!(receive(&mut server).await.unwrap().unwrap() == block(seed));
        }
        // The writer was told to wait; now a poll for reading finds room in the socket.
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(client.poll_block(&mut cx, |_| ()).is_pending());
        assert!(client.unsent.is_empty());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_thousand_blocks_cross_in_both_directions() {
    const COUNT: usize = 1_000;
    async fn pump(stream: &mut TlsStream, ours: usize, theirs: usize) {
        let (mut sent, mut received) = (0, 0);
        poll_fn(|cx| {
            while sent < COUNT {
                match stream.poll_write_block(cx, &block(ours + sent)) {
                    Poll::Ready(result) => result.unwrap(),
                    Poll::Pending => break,
                }
                sent += 1;
            }
            while received < COUNT {
                let expected = block(theirs + received);
                match stream.poll_block(cx, |got| *got == expected) {
                    Poll::Ready(result) => assert_eq!(result.unwrap(), Some(true)),
                    Poll::Pending => break,
                }
                received += 1;
            }
            let flushed = stream.poll_flush(cx).is_ready();
            if sent == COUNT && received == COUNT && flushed {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
    run(async {
        let (mut server, mut client) = connection().await;
        zip(pump(&mut server, 0, 5), pump(&mut client, 5, 0)).await;
        assert_idle(&server);
        assert_idle(&client);
    });
}

#[test]
fn the_end_of_the_stream_has_three_kinds() {
    run(async {
        // Between blocks, without a close_notify.
        let (mut server, mut client) = connection().await;
        client.write_block(&block(1)).await.unwrap();
        drop(client);
        assert!(receive(&mut server).await.unwrap().is_some());
        assert!(receive(&mut server).await.unwrap().is_none());
        assert!(!server.received_close_notify());

        // Inside a block, with a close_notify.
        let (mut server, mut client) = connection().await;
        write_all(&mut client, &[1; 100]).await;
        client.close().await.unwrap();
        let error = receive(&mut server).await.unwrap_err();
        assert!(matches!(error, TlsError::Truncated));
        assert!(receive(&mut server).await.unwrap().is_none());

        // Inside a record.
        let (mut server, mut client) = connection().await;
        client
            .tcp
            .write_all(&[23, 3, 3, 0, 99, 1, 2])
            .await
            .unwrap();
        drop(client);
        let error = receive(&mut server).await.unwrap_err();
        assert!(matches!(error, TlsError::Truncated));
    });
}

#[test]
fn blocks_before_a_bad_record_are_delivered() {
    run(async {
        let (mut server, mut client) = connection().await;
        client.write_block(&block(1)).await.unwrap();
        client.tcp.write_all(&[23, 3, 3, 0, 20]).await.unwrap();
        client.tcp.write_all(&[0; 20]).await.unwrap();
        assert!(receive(&mut server).await.unwrap().is_some());
        let error = receive(&mut server).await.unwrap_err();
        assert!(matches!(error, TlsError::Tls(Error::DecryptError)));
        assert!(receive(&mut server).await.unwrap().is_none());
        let error = server.write_block(&block(1)).await.unwrap_err();
        assert!(matches!(error, TlsError::Closed));
        server.close().await.unwrap();
        let error = receive(&mut client).await.unwrap_err();
        assert!(matches!(
            error,
            TlsError::Tls(Error::AlertReceived(AlertDescription::BadRecordMac))
        ));
    });
}

#[test]
fn nothing_is_written_after_closing() {
    run(async {
        let (mut server, mut client) = connection().await;
        client.close().await.unwrap();
        let error = client.write_block(&block(1)).await.unwrap_err();
        assert!(matches!(error, TlsError::Closed));
        // The other direction stays open until its own end.
        server.write_block(&block(2)).await.unwrap();
        server.close().await.unwrap();
        assert!(receive(&mut client).await.unwrap().unwrap() == block(2));
        assert!(receive(&mut client).await.unwrap().is_none());
        client.close().await.unwrap();
    });
}

#[test]
fn a_callback_may_use_other_connections() {
    run(async {
        let (mut server, mut client) = connection().await;
        let (mut other_server, mut other_client) = connection().await;
        client.write_block(&block(3)).await.unwrap();
        let forwarded = poll_fn(|cx| {
            server.poll_block(cx, |block| {
                let waker = Waker::noop();
                let mut cx = Context::from_waker(waker);
                other_client.poll_write_block(&mut cx, block).is_ready()
            })
        });
        assert_eq!(forwarded.await.unwrap(), Some(true));
        assert!(receive(&mut other_server).await.unwrap().unwrap() == block(3));
    });
}

/// Writes a few bytes at a time, so that records arrive in pieces.
struct Trickle(std::net::TcpStream);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(97)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The buffered half of `rustls` as the peer: tiny records, split anywhere, with key updates.
#[test]
fn fragmented_handshakes_and_key_updates_work() {
    let credential = server_credential(Ed25519);
    let (certificate, key) = Authority::self_signed(Ed448, "simplex");
    let service = Credential::new(vec![certificate], key).unwrap();
    for versions in [&[&TLS13][..], &[&TLS12][..]] {
        let options = ClientOptions {
            credential: Some(&service),
            ..ClientOptions::default()
        };
        let config =
            client_config_of(Fingerprint(credential.identity()), &options, versions).unwrap();
        let mut config = Arc::unwrap_or_clone(config);
        config.max_fragment_size = Some(64);
        let server_config = server_config(&credential, ServerOptions::default()).unwrap();
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let client = thread::spawn(move || {
                let tcp = std::net::TcpStream::connect(address).unwrap();
                tcp.set_nodelay(true).unwrap();
                let mut tcp = Trickle(tcp);
                let name = ServerName::try_from("localhost").unwrap();
                let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
                let sent = block(9);
                let (one, two) = sent.split_at(5_000);
                rustls::Stream::new(&mut tls, &mut tcp)
                    .write_all(one)
                    .unwrap();
                if tls.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                    tls.refresh_traffic_keys().unwrap();
                }
                let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
                stream.write_all(two).unwrap();
                stream.flush().unwrap();
                let mut echo = [0; BLOCK_SIZE];
                stream.read_exact(&mut echo).unwrap();
                assert!(echo == sent);
                tcp.0.shutdown(Shutdown::Write).unwrap();
            });
            let tcp = listener.accept().await.unwrap();
            let mut server = TlsStream::accept(tcp, server_config).await.unwrap();
            assert_eq!(server.peer_certificates().unwrap().len(), 1);
            let echo = server.read_block(|block| *block).await.unwrap().unwrap();
            server.write_block(&echo).await.unwrap();
            assert!(receive(&mut server).await.unwrap().is_none());
            client.join().unwrap();
        });
    }
}

#[test]
fn bytes_can_be_read_without_blocks() {
    run(async {
        let (mut server, mut client) = connection().await;
        write_all(&mut client, b"GET / HTTP/1.1\r\n\r\n").await;
        client.close().await.unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 5];
        loop {
            match poll_fn(|cx| server.poll_read(cx, &mut buffer))
                .await
                .unwrap()
            {
                0 => break,
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(read, b"GET / HTTP/1.1\r\n\r\n");
    });
}

#[test]
fn a_stream_is_small() {
    assert!(size_of::<TlsStream>() <= 384);
}
