//! Service certificates in TLS and in the hello (spec: protocol §2.8, §5.3, §7.4).

mod support;

use loadtest::{
    Auth, ClientError, Options, Outbox, ServiceSession, Target, TlsOptions, TlsVersion,
};
use smp_server::crypto::certificate::KeyAlgorithm;
use smp_server::crypto::keys::SigningKey;
use smp_server::protocol::error::{HandshakeError, TransportError};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, Version};
use std::rc::Rc;
use support::{Setup, run, service_credentials};

const ROLE: ServiceRole = ServiceRole::Notifier;

async fn refusal(target: &Target) -> HandshakeError {
    match loadtest::Client::connect(target, Options::default()).await {
        Err(ClientError::ServiceRefused(TransportError::Handshake(e))) => e,
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_chain_that_tls_did_not_see_is_refused() {
    let server = Setup::default().start();
    run(async {
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let target = server.target(TlsOptions {
                version,
                ..TlsOptions::default()
            });
            // None in TLS, then another.
            let mut none = target.clone();
            none.service = Some(service_credentials(ROLE));
            assert_eq!(refusal(&none).await, HandshakeError::BadAuth);
            let mut other = target.with_service(service_credentials(ROLE));
            other.service = Some(service_credentials(ROLE));
            assert_eq!(refusal(&other).await, HandshakeError::BadAuth);
        }
    });
}

#[test]
fn without_service_credentials_in_the_configuration_all_are_refused() {
    let server = Setup::default()
        .set("TRANSPORT", "accept_service_credentials", "off")
        .start();
    run(async {
        let target = server.target(TlsOptions::default());
        let service = target.with_service(service_credentials(ROLE));
        assert_eq!(refusal(&service).await, HandshakeError::BadAuth);
        server.client().await.ping().await.unwrap();
    });
}

#[test]
fn a_certificate_without_service_credentials_makes_an_ordinary_session() {
    let server = Setup::default().start();
    run(async {
        for (algorithm, length) in [
            (KeyAlgorithm::Ed25519, 1),
            (KeyAlgorithm::Ed448, 2),
            (KeyAlgorithm::Ed25519, 4),
        ] {
            let credentials =
                loadtest::ServiceCredentials::generate_chain(ROLE, algorithm, length).unwrap();
            let mut target = server
                .target(TlsOptions::default())
                .with_service(credentials);
            target.service = None;
            let mut client = loadtest::Client::connect(&target, Options::default())
                .await
                .unwrap();
            assert_eq!(client.service_id(), None);
            client.ping().await.unwrap();
        }
    });
}

#[test]
fn both_signatures_of_a_command_are_the_known_answer() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/vectors.json")).unwrap();
    let all = vectors["vectors"].as_array().unwrap();
    let vector = all.iter().find(|v| v["id"] == "service_auth").unwrap();
    let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
    let array = |name: &str| <[u8; 32]>::try_from(bytes(name)).unwrap();
    let key = |name: &str| SigningKey::ed25519_from_seed(array(name)).unwrap();

    let mut outbox = Outbox::new(Version::CURRENT, &bytes("session_id"), None);
    outbox.sign_for(Rc::new(ServiceSession {
        id: vec![7; 24],
        role: ROLE,
        fingerprint: array("service_cert_fingerprint"),
        key: key("service_session_seed"),
    }));
    let notifier = key("ntf_auth_seed");
    outbox
        .send_as(
            &bytes("corr_id"),
            &Command::NSub,
            &bytes("notifier_id"),
            Auth::Sign(&notifier),
        )
        .unwrap();
    let mut content = Vec::new();
    assert!(outbox.pack(&mut content));
    let transmission = bytes("transmission");
    let head = [1, 0, u8::try_from(transmission.len()).unwrap()];
    assert_eq!(content, [&head[..], &transmission].concat());
}
