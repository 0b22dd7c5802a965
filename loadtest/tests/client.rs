//! The client against a small server of its own: what it accepts, refuses and keeps.

use std::borrow::Cow;
use std::future::Future;
use std::rc::Rc;

use glommio::net::TcpListener;
use glommio::{LocalExecutor, spawn_local};
use loadtest::{Auth, Client, ClientError, Options, Target, TlsOptions};
use rustls::ServerConfig;
use smp_server::crypto::certificate::{CertificateProfile, DistinguishedName, KeyAlgorithm};
use smp_server::crypto::chain::BlockChain;
use smp_server::crypto::keys::{SigningKey, X25519SecretKey};
use smp_server::crypto::pad::{pad_into, unpad};
use smp_server::crypto::signed_key::sign_x25519;
use smp_server::protocol::address::{AddressWithPassword, ServerAddress, TransportHost};
use smp_server::protocol::batch::decode_batch;
use smp_server::protocol::error::ErrorType;
use smp_server::protocol::handshake::{CertChainKey, ClientHello, ServerHello};
use smp_server::protocol::transmission::{Transmission, put_sent, put_transmission};
use smp_server::protocol::{BLOCK_SIZE, Command, Response, Version, VersionRange};
use smp_server::transport::TlsStream;
use smp_server::transport::config::{ServerOptions, server_config};
use smp_server::transport::credential::Credential;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    WrongSessionId,
    KeySignedByAnother,
    NoKey,
    ClosesAfterHello,
    Silent,
}

struct Server {
    credential: Credential,
    tls: std::sync::Arc<ServerConfig>,
    versions: VersionRange,
    fault: Fault,
}

impl Server {
    fn new(algorithm: KeyAlgorithm, max_version: u16, fault: Fault) -> Rc<Self> {
        let mut rng = rand::rng();
        let now = time::OffsetDateTime::now_utc();
        let ca_key = algorithm.generate(&mut rng).unwrap();
        let key = algorithm.generate(&mut rng).unwrap();
        let ca = CertificateProfile::authority(now, &mut rng)
            .issue(&ca_key.verifying_key(), &ca_key)
            .unwrap();
        let name = DistinguishedName::authority();
        let leaf = CertificateProfile::server("localhost", name, now, &mut rng)
            .issue(&key.verifying_key(), &ca_key)
            .unwrap();
        let credential = Credential::new(vec![leaf, ca], key).unwrap();
        Rc::new(Self {
            tls: server_config(&credential, ServerOptions::default()).unwrap(),
            credential,
            versions: VersionRange::new(Version::MIN, Version(max_version)).unwrap(),
            fault,
        })
    }

    fn target(&self, port: u16) -> Target {
        let address = AddressWithPassword {
            server: ServerAddress {
                hosts: vec![TransportHost::Ipv4([127, 0, 0, 1])],
                port: port.to_string(),
                key_hash: self.credential.identity().to_vec(),
            },
            password: None,
        };
        Target::new(&address, TlsOptions::default()).unwrap()
    }

    async fn serve(self: Rc<Self>, listener: TcpListener) {
        let tcp = listener.accept().await.unwrap();
        let mut tls = TlsStream::accept(tcp, std::sync::Arc::clone(&self.tls))
            .await
            .unwrap();
        let key = X25519SecretKey::generate(&mut rand::rng());
        let mut content = Vec::new();
        self.hello(&tls, &key).encode(&mut content);
        tls.write_block(&padded(&content)).await.unwrap();
        if self.fault == Fault::ClosesAfterHello {
            return;
        }
        let answer = tls
            .read_block(|b| unpad(&b[..]).unwrap().to_vec())
            .await
            .unwrap();
        let Some(answer) = answer else {
            return;
        };
        let hello = ClientHello::decode(&answer).unwrap();
        assert_eq!(*hello.key_hash, self.credential.identity());
        let session_id = tls.session_id();
        let mut chains = hello.encrypts_blocks().then(|| {
            let secret = key.agree(&hello.session_key.unwrap());
            BlockChain::init(session_id.as_bytes(), &secret).unwrap()
        });
        if self.fault == Fault::Silent {
            // The connection stays open until the client leaves.
            while let Ok(Some(())) = tls.read_block(|_| ()).await {}
            return;
        }
        loop {
            let read = tls.read_block(|block| match &mut chains {
                Some((_, to_server)) => to_server.open_block(block).map(<[u8]>::to_vec),
                None => Ok(unpad(&block[..]).unwrap().to_vec()),
            });
            let Some(content) = read.await.unwrap() else {
                return;
            };
            for block in answers(&content.unwrap(), hello.version, session_id.as_bytes()) {
                let mut block = match chains {
                    Some(_) => padded_from(16, &block),
                    None => padded(&block),
                };
                if let Some((to_client, _)) = &mut chains {
                    to_client.seal_block(&mut block).unwrap();
                }
                tls.write_block(&block).await.unwrap();
            }
        }
    }

    fn hello(&self, tls: &TlsStream, key: &X25519SecretKey) -> ServerHello<'_> {
        let mut session_id = tls.session_id().as_bytes().to_vec();
        if self.fault == Fault::WrongSessionId {
            session_id[0] ^= 1;
        }
        let other = SigningKey::generate_ed25519(&mut rand::rng()).unwrap();
        let signer = match self.fault {
            Fault::KeySignedByAnother => &other,
            _ => self.credential.signing_key(),
        };
        let chain = self.credential.chain().iter();
        ServerHello {
            versions: self.versions,
            session_id: Cow::Owned(session_id),
            key: (self.fault != Fault::NoKey).then(|| CertChainKey {
                chain: chain.map(|c| Cow::Borrowed(&c[..])).collect(),
                signed_key: Cow::Owned(sign_x25519(&key.public_key(), signer)),
            }),
        }
    }
}

/// `PING` is answered; `SUB` is answered by a push in front of the answer; anything else by an
/// error. The last of several commands is answered first.
fn answers(content: &[u8], version: Version, session_id: &[u8]) -> Vec<Vec<u8>> {
    let put = |corr_id: &[u8], entity: &[u8], response: &Response<'_>| {
        let (mut sent, mut whole) = (Vec::new(), vec![1, 0, 0]);
        put_sent(&mut sent, version, session_id, corr_id, entity, |out| {
            response.encode(version, out);
        });
        put_transmission(&mut whole, version, &[], None, &sent);
        let len = u16::try_from(whole.len() - 3).unwrap();
        whole[1..3].copy_from_slice(&len.to_be_bytes());
        whole
    };
    let mut blocks = Vec::new();
    let commands: Vec<_> = decode_batch(content).unwrap().collect();
    for bytes in commands.into_iter().rev() {
        let t = Transmission::decode(bytes, version).unwrap();
        match Command::decode(t.command, version) {
            Ok(Command::Ping) => blocks.push(put(t.corr_id, &[], &Response::Pong)),
            Ok(Command::Sub) => {
                blocks.push(put(&[], t.entity_id, &Response::End));
                blocks.push(put(t.corr_id, t.entity_id, &Response::Sok(None)));
            }
            _ => {
                let error = Response::Err(ErrorType::Auth);
                blocks.push(put(t.corr_id, t.entity_id, &error));
            }
        }
    }
    blocks
}

fn padded(content: &[u8]) -> [u8; BLOCK_SIZE] {
    padded_from(0, content)
}

fn padded_from(start: usize, content: &[u8]) -> [u8; BLOCK_SIZE] {
    let mut block = [0; BLOCK_SIZE];
    block[start + 2..start + 2 + content.len()].copy_from_slice(content);
    pad_into(content.len(), &mut block[start..]).unwrap();
    block
}

/// Runs `test` with a target served by `server`, and waits until both have ended.
fn with_server<T, F>(server: Rc<Server>, test: impl FnOnce(Target) -> F) -> T
where
    F: Future<Output = T>,
{
    LocalExecutor::default().run(async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.target(listener.local_addr().unwrap().port());
        let serving = spawn_local(server.serve(listener));
        let result = test(target).await;
        serving.await;
        result
    })
}

fn connect_error(fault: Fault, options: Options) -> ClientError {
    let server = Server::new(KeyAlgorithm::Ed25519, 18, fault);
    with_server(server, |target| async move {
        Client::connect(&target, options).await.err().unwrap()
    })
}

#[test]
fn exchanges_commands_in_every_kind_of_session() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448] {
        for (version, block_encryption) in
            [(6, true), (7, true), (10, true), (18, true), (18, false)]
        {
            let options = Options {
                version: Version(version),
                block_encryption,
                ..Options::default()
            };
            let server = Server::new(algorithm, 18, Fault::None);
            with_server(server, |target| async move {
                let mut client = Client::connect(&target, options).await.unwrap();
                assert_eq!(client.encrypts_blocks(), version >= 11 && block_encryption);
                client.ping().await.unwrap();

                let key = SigningKey::generate_ed25519(&mut rand::rng()).unwrap();
                let responses = client
                    .batch(&[
                        (Command::Sub, b"queue", Auth::Sign(&key)),
                        (Command::Ping, b"", Auth::None),
                        (Command::Que, b"queue", Auth::Sign(&key)),
                    ])
                    .await
                    .unwrap();
                let subscribed = match version {
                    ..16 => Response::Ok,
                    _ => Response::Sok(None),
                };
                assert_eq!(
                    responses,
                    [subscribed, Response::Pong, Response::Err(ErrorType::Auth)]
                );
                let push = client.next_push().await.unwrap();
                assert_eq!(push.entity_id, b"queue");
                assert_eq!(push.response, Response::End);
                assert!(client.buffered_push().is_none());
                client.close().await.unwrap();
            });
        }
    }
}

#[test]
fn raw_blocks_pass_unchanged() {
    let server = Server::new(KeyAlgorithm::Ed25519, 18, Fault::None);
    with_server(server, |target| async move {
        let mut client = Client::connect(&target, Options::default()).await.unwrap();
        let ping = b"\x01\x00\x09\x00\x02id\x00PING";
        client.send_block(ping).await.unwrap();
        let answer = client.recv_block().await.unwrap();
        assert_eq!(answer, b"\x01\x00\x09\x00\x02id\x00PONG");
        client.close().await.unwrap();
    });
}

#[test]
fn many_more_commands_than_a_block_holds() {
    let server = Server::new(KeyAlgorithm::Ed25519, 18, Fault::None);
    with_server(server, |target| async move {
        let mut client = Client::connect(&target, Options::default()).await.unwrap();
        let pings = vec![(Command::Ping, &b""[..], Auth::None); 1000];
        let responses = client.batch(&pings).await.unwrap();
        assert!(responses.iter().all(|r| *r == Response::Pong));
        client.close().await.unwrap();
    });
}

#[test]
fn refuses_a_server_that_is_not_the_one_in_tls() {
    for fault in [
        Fault::WrongSessionId,
        Fault::KeySignedByAnother,
        Fault::NoKey,
    ] {
        let error = connect_error(fault, Options::default());
        assert!(matches!(error, ClientError::Hello(_)), "{error}");
    }
}

#[test]
fn refuses_versions_that_are_not_offered() {
    let options = Options {
        version: Version(19),
        ..Options::default()
    };
    let error = connect_error(Fault::None, options);
    assert!(matches!(error, ClientError::Version { .. }), "{error}");
}

#[test]
fn notices_that_the_server_left() {
    let server = Server::new(KeyAlgorithm::Ed25519, 18, Fault::ClosesAfterHello);
    with_server(server, |target| async move {
        // The hello may be written before the end is seen.
        if let Ok(mut client) = Client::connect(&target, Options::default()).await {
            client.closed().await.unwrap();
        }
    });
}

#[test]
fn waits_no_longer_than_allowed() {
    let options = Options {
        timeout: std::time::Duration::from_millis(50),
        ..Options::default()
    };
    let server = Server::new(KeyAlgorithm::Ed25519, 18, Fault::Silent);
    with_server(server, |target| async move {
        let mut client = Client::connect(&target, options).await.unwrap();
        let error = client.ping().await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout(_)), "{error}");
    });
}
