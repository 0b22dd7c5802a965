//! Service sessions of the client against the server's side of the handshake, which verifies what
//! it gets.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use glommio::net::TcpListener;
use glommio::{LocalExecutor, spawn_local};
use loadtest::{
    Auth, Client, ClientError, CorrId, Options, ServiceCredentials, ServiceProof, Target,
    TlsOptions,
};
use smp_server::crypto::authorization::{
    Authorization, Authorized, Claim, SessionSecrets, verify_service,
};
use smp_server::crypto::certificate::{
    CertificateProfile, DistinguishedName, KeyAlgorithm, certificate_to_pem, private_key_to_pem,
};
use smp_server::crypto::keys::{PublicAuthKey, SigningKey, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::pad::pad_into;
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::address::{AddressWithPassword, ServerAddress, TransportHost};
use smp_server::protocol::batch::decode_batch;
use smp_server::protocol::command::{NewQueue, ServiceQueues};
use smp_server::protocol::error::{ErrorType, HandshakeError, TransportError};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::transmission::{Transmission, put_sent, put_transmission};
use smp_server::protocol::{BLOCK_SIZE, Command, Response, Version, VersionRange};
use smp_server::relay::SessionContext;
use smp_server::session::{
    Established, HandshakeOutcome, Identity, ServerHandshake, ServiceClaim, put_plain_block,
};
use smp_server::transport::TlsStream;
use smp_server::transport::config::{ServerOptions, server_config};
use smp_server::transport::credential::Credential;

const SERVICE_ID: [u8; 24] = [7; 24];

/// A server that verifies every command with one key and answers `SOK`, with the service's id if
/// its signature is there and right, else `ERR AUTH` or, for the service signature, `ERR SERVICE`.
struct Server {
    credential: Credential,
    /// Key of every entity.
    entity_key: PublicAuthKey,
    /// Whether the registry takes the claim.
    accepts: bool,
    claim: RefCell<Option<ServiceClaim>>,
}

impl Server {
    fn new(entity_key: PublicAuthKey, accepts: bool) -> Rc<Self> {
        let mut rng = rand::rng();
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let algorithm = KeyAlgorithm::Ed25519;
        let ca_key = algorithm.generate(&mut rng).unwrap();
        let key = algorithm.generate(&mut rng).unwrap();
        let ca = CertificateProfile::authority(now, &mut rng)
            .issue(&ca_key.verifying_key(), &ca_key)
            .unwrap();
        let name = DistinguishedName::authority();
        let leaf = CertificateProfile::server("localhost", name, now, &mut rng)
            .issue(&key.verifying_key(), &ca_key)
            .unwrap();
        Rc::new(Self {
            credential: Credential::new(vec![leaf, ca], key).unwrap(),
            entity_key,
            accepts,
            claim: RefCell::new(None),
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
        let tls = server_config(&self.credential, ServerOptions::default()).unwrap();
        let tcp = listener.accept().await.unwrap();
        let mut tls = TlsStream::accept(tcp, tls).await.unwrap();
        let Some(Established { context, chains }) = self.handshake(&mut tls).await else {
            tls.close().await.unwrap();
            return;
        };
        let mut chains = chains.expect("encrypted blocks");
        while let Some(content) = tls
            .read_block(|block| chains.0.open_block(block).unwrap().to_vec())
            .await
            .unwrap()
        {
            for bytes in decode_batch(&content).unwrap() {
                let mut block = self.answer(bytes, &context);
                chains.1.seal_block(&mut block).unwrap();
                tls.write_block(&block).await.unwrap();
            }
        }
    }

    async fn handshake(&self, tls: &mut TlsStream) -> Option<Established> {
        let chain = self.credential.chain().iter();
        let identity = Identity {
            key_hash: self.credential.identity(),
            chain: chain.map(|c| c.to_vec()).collect(),
            key: Arc::clone(self.credential.signing_key()),
            versions: VersionRange::SERVER,
        };
        let mut block = Box::new([0; BLOCK_SIZE]);
        let (id, rng) = (tls.session_id(), &mut rand::rng());
        let handshake =
            ServerHandshake::start(&identity, id.as_bytes(), true, rng, &mut block).unwrap();
        tls.write_block(&block).await.unwrap();
        let chain = tls.peer_certificates().unwrap_or_default().to_vec();
        let outcome = tls
            .read_block(|block| handshake.finish(block, &chain))
            .await;
        let (established, content) = match outcome.unwrap()?.unwrap() {
            HandshakeOutcome::Established(established) => return Some(established),
            HandshakeOutcome::ServiceRefused(content) => (None, content),
            HandshakeOutcome::Claimed(claimed) => {
                self.claim.replace(Some(claimed.claim().clone()));
                if self.accepts {
                    let (established, content) = claimed.accept(SERVICE_ID);
                    (Some(established), content)
                } else {
                    (None, claimed.refuse())
                }
            }
        };
        put_plain_block(&content, &mut block).unwrap();
        tls.write_block(&block).await.unwrap();
        established
    }

    fn answer(&self, bytes: &[u8], context: &SessionContext) -> [u8; BLOCK_SIZE] {
        let (version, session_id) = (context.version(), context.session_id());
        let t = Transmission::decode(bytes, version).unwrap();
        let command = Command::decode(t.command, version).unwrap();
        let response = self.verdict(&t, &command, context);
        let (mut sent, mut whole) = (Vec::new(), vec![1, 0, 0]);
        put_sent(
            &mut sent,
            version,
            session_id,
            t.corr_id,
            t.entity_id,
            |o| {
                response.encode(version, o);
            },
        );
        put_transmission(&mut whole, version, &[], None, &sent);
        let len = u16::try_from(whole.len() - 3).unwrap();
        whole[1..3].copy_from_slice(&len.to_be_bytes());
        let mut block = [0; BLOCK_SIZE];
        block[18..18 + whole.len()].copy_from_slice(&whole);
        pad_into(whole.len(), &mut block[16..]).unwrap();
        block
    }

    /// What the specification says, in its order: service signature, then entity key.
    fn verdict(
        &self,
        t: &Transmission<'_>,
        command: &Command<'_>,
        context: &SessionContext,
    ) -> Response<'static> {
        let mut scratch = Vec::new();
        let mut authorized = Authorized::new(context.session_id(), t.sent);
        let mut key = self.entity_key;
        let service = context.service();
        if matches!(command, Command::Subs(_) | Command::NSubs(_)) {
            let service = service.unwrap();
            assert_eq!(t.entity_id, service.id);
            assert_eq!(t.service_signature, None);
            key = PublicAuthKey::Ed25519(service.session_key);
        } else {
            let signed = service.filter(|_| ServiceProof::is_required(command));
            let right = match (signed, t.service_signature) {
                (None, None) => true,
                (Some(service), Some(signature)) => {
                    verify_service(&service.session_key, signature, &authorized, &mut scratch)
                }
                _ => false,
            };
            if !right {
                return Response::Err(ErrorType::Service);
            }
            if let Some(service) = signed {
                authorized = authorized.for_service(&service.fingerprint);
            }
        }
        let claim = Claim {
            authorization: Authorization::from_bytes(t.authorization).unwrap(),
            corr_id: t.corr_id,
            authorized,
        };
        let mut secret = Secret(context.secret().unwrap());
        if claim.verify(&key, &mut secret, &mut scratch) {
            Response::Sok(service.map(|s| s.id.to_vec().into()))
        } else {
            Response::Err(ErrorType::Auth)
        }
    }
}

/// The session key of a context.
struct Secret<'a>(&'a X25519SecretKey);

impl SessionSecrets for Secret<'_> {
    fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey> {
        Some(BoxKey::from(&self.0.agree(peer)))
    }
}

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

fn ed25519() -> SigningKey {
    SigningKey::generate_ed25519(&mut rand::rng()).unwrap()
}

fn credentials() -> ServiceCredentials {
    ServiceCredentials::generate(ServiceRole::Notifier).unwrap()
}

async fn connect(target: Target, credentials: ServiceCredentials) -> Result<Client, ClientError> {
    Client::connect(&target.with_service(credentials), Options::default()).await
}

#[test]
fn every_shape_of_chain_becomes_a_service_session() {
    let key = PublicAuthKey::from(ed25519().verifying_key());
    let role = ServiceRole::Notifier;
    for (algorithm, lengths) in [(KeyAlgorithm::Ed25519, 1..=4), (KeyAlgorithm::Ed448, 2..=4)] {
        for length in lengths {
            let credentials = ServiceCredentials::generate_chain(role, algorithm, length).unwrap();
            let chain = credentials.credential.chain().to_vec();
            let server = Server::new(key, true);
            with_server(Rc::clone(&server), |target| async {
                let client = connect(target, credentials.clone()).await.unwrap();
                assert_eq!(client.service_id(), Some(&SERVICE_ID[..]));
                let service = Rc::clone(client.service().unwrap());
                assert_eq!(service.role, role);
                let claim = server.claim.borrow_mut().take().unwrap();
                assert_eq!(claim.role, role);
                assert_eq!(claim.fingerprint, service.fingerprint);
                assert!(chain.iter().map(|c| &c[..]).eq(claim.chain.iter()));
                client.close().await.unwrap();
            });
        }
    }
}

#[test]
fn commands_of_a_service_carry_both_signatures_where_they_must() {
    let signing = ed25519();
    let x25519 = X25519SecretKey::generate(&mut rand::rng());
    let keys = [
        (signing.verifying_key().into(), Auth::Sign(&signing)),
        (
            PublicAuthKey::X25519(x25519.public_key().0),
            Auth::X25519(&x25519),
        ),
    ];
    for (key, auth) in keys {
        with_server(Server::new(key, true), |target| async move {
            let mut client = connect(target, credentials()).await.unwrap();
            let accepted = Response::Sok(Some(SERVICE_ID[..].into()));
            let new = Command::New(NewQueue {
                auth_key: key,
                dh_key: X25519SecretKey::from_bytes([1; 32]).public_key(),
                password: None,
                subscribe: true,
                queue: None,
                notifier: None,
            });
            for (command, entity) in [
                (new, &b""[..]),
                (Command::Sub, b"recipient"),
                (Command::NSub, b"notifier"),
                // Not one that carries them.
                (Command::Que, b"recipient"),
            ] {
                let response = client.command(&command, entity, auth).await.unwrap();
                assert_eq!(response, accepted, "{}", command.tag());
            }
            for command in [
                Command::NSubs(ServiceQueues::UNKNOWN),
                Command::Subs(ServiceQueues::UNKNOWN),
            ] {
                let response = client.service_command(&command).await.unwrap();
                assert_eq!(response, accepted, "{}", command.tag());
            }
            client.close().await.unwrap();
        });
    }
}

#[test]
fn proofs_can_be_wrong() {
    let key = ed25519();
    let entity_key = PublicAuthKey::from(key.verifying_key());
    with_server(Server::new(entity_key, true), |target| async move {
        let mut client = connect(target, credentials()).await.unwrap();
        let service = Rc::clone(client.service().unwrap());
        let foreign = ed25519();
        let right = service.proof();
        let (service_error, auth_error) = (
            Response::Err(ErrorType::Service),
            Response::Err(ErrorType::Auth),
        );
        let of = |signer, fingerprint| ServiceProof {
            signer,
            fingerprint,
        };
        let cases = [
            (Command::NSub, ServiceProof::NONE, &service_error),
            (Command::NSub, of(None, right.fingerprint), &service_error),
            (
                Command::NSub,
                of(Some(&foreign), right.fingerprint),
                &service_error,
            ),
            (Command::NSub, of(right.signer, None), &auth_error),
            (Command::NSub, of(right.signer, Some(&[0; 32])), &auth_error),
            (Command::Que, right, &service_error),
        ];
        for (i, (command, proof, expected)) in cases.into_iter().enumerate() {
            let corr_id: CorrId = client
                .send_with(&command, b"entity", Auth::Sign(&key), proof)
                .unwrap();
            let reply = client.reply(&corr_id).await.unwrap();
            assert_eq!(reply.response, *expected, "case {i}");
        }
        let ed448 = SigningKey::generate_ed448(&mut rand::rng());
        let proof = of(Some(&ed448), None);
        let refused = client.send_with(&Command::NSub, b"entity", Auth::Sign(&key), proof);
        assert!(matches!(refused, Err(ClientError::ServiceKey)));
        client.close().await.unwrap();
    });
}

#[test]
fn ordinary_sessions_can_send_the_proof_of_a_service() {
    let key = ed25519();
    let entity_key = PublicAuthKey::from(key.verifying_key());
    with_server(Server::new(entity_key, true), |target| async move {
        let mut client = Client::connect(&target, Options::default()).await.unwrap();
        assert_eq!(client.service_id(), None);
        let proof = ServiceProof {
            signer: Some(&key),
            fingerprint: None,
        };
        let corr_id = client
            .send_with(&Command::Sub, b"entity", Auth::Sign(&key), proof)
            .unwrap();
        let reply = client.reply(&corr_id).await.unwrap();
        assert_eq!(reply.response, Response::Err(ErrorType::Service));
        let none = client
            .service_command(&Command::NSubs(ServiceQueues::UNKNOWN))
            .await;
        assert!(matches!(none, Err(ClientError::NoService)));
        client.close().await.unwrap();
    });
}

#[test]
fn a_refusal_is_an_error_with_its_reason() {
    let key = PublicAuthKey::from(ed25519().verifying_key());
    let refused = |accepts, change: fn(&mut Target)| {
        with_server(Server::new(key, accepts), |target| async move {
            let mut target = target.with_service(credentials());
            change(&mut target);
            let error = Client::connect(&target, Options::default()).await.err();
            match error.unwrap() {
                ClientError::ServiceRefused(TransportError::Handshake(e)) => e,
                other => panic!("{other}"),
            }
        })
    };
    assert_eq!(refused(false, |_| ()), HandshakeError::BadService);
    // Other certificates in the hello than in TLS.
    let other = |target: &mut Target| target.service = Some(credentials());
    assert_eq!(refused(true, other), HandshakeError::BadAuth);
}

#[test]
fn a_version_without_services_makes_an_ordinary_session() {
    let key = PublicAuthKey::from(ed25519().verifying_key());
    with_server(Server::new(key, true), |target| async move {
        let options = Options {
            version: Version(15),
            ..Options::default()
        };
        let target = target.with_service(credentials());
        let client = Client::connect(&target, options).await.unwrap();
        assert_eq!(client.service_id(), None);
        assert!(client.encrypts_blocks());
        client.close().await.unwrap();
    });
}

#[test]
fn credentials_are_read_from_pem() {
    let made =
        ServiceCredentials::generate_chain(ServiceRole::Messaging, KeyAlgorithm::Ed448, 2).unwrap();
    let chain = made.credential.chain().iter();
    let certificates: String = chain.map(|c| certificate_to_pem(c).unwrap()).collect();
    let key = private_key_to_pem(made.credential.signing_key()).unwrap();
    let read =
        ServiceCredentials::from_pem(made.role, certificates.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(read.credential.chain(), made.credential.chain());
    assert_eq!(read.credential.identity(), made.credential.identity());
    let other = private_key_to_pem(&ed25519()).unwrap();
    let mixed = ServiceCredentials::from_pem(made.role, certificates.as_bytes(), other.as_bytes());
    assert!(mixed.is_err());
}
