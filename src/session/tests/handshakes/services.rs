//! Service credentials in the client hello (spec: protocol §5.3).

use super::*;
use crate::crypto::certificate::{CertificateProfile, CertificateRole, DistinguishedName};
use crate::crypto::chain::BlockChain;
use crate::crypto::keys::PublicAuthKey;
use crate::crypto::signed_key::{sign_ed25519, sign_x25519};
use crate::protocol::handshake::{CertChainKey, ClientService, ServiceRole};
use crate::relay::ServiceSession;
use crate::session::ClaimedSession;
use time::OffsetDateTime;

const BAD_AUTH: &[u8] = b"EHANDSHAKE BAD_AUTH";
const SERVICE_ID: [u8; 24] = [7; 24];
const SESSION_KEY: [u8; 32] = [5; 32];

/// A chain, leaf first, with the keys of its certificates.
struct Chain {
    certificates: Vec<Vec<u8>>,
    keys: Vec<SigningKey>,
}

fn ed25519(seed: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([seed; 32]).unwrap()
}

/// A certificate of `key` named `name`, by the issuer of that name and key.
fn certificate(
    role: CertificateRole,
    (name, key): (&str, &SigningKey),
    (issuer, issuer_key): (&str, &SigningKey),
) -> Vec<u8> {
    let profile = CertificateProfile {
        role,
        subject: DistinguishedName::common(name),
        issuer: DistinguishedName::common(issuer),
        ..CertificateProfile::service(OffsetDateTime::UNIX_EPOCH)
    };
    let der = profile.issue(&key.verifying_key(), issuer_key).unwrap();
    der.to_vec()
}

impl Chain {
    /// A leaf under `keys.len() - 1` authorities, or a self-signed one without extensions.
    fn of(keys: Vec<SigningKey>) -> Self {
        let names = ["service", "identity", "operator", "network", "world"];
        let certificates = keys.iter().enumerate().map(|(i, key)| {
            let issuer = (i + 1).min(keys.len() - 1);
            let role = match i {
                0 if keys.len() == 1 => CertificateRole::Service,
                0 => CertificateRole::Server,
                _ => CertificateRole::Authority,
            };
            certificate(role, (names[i], key), (names[issuer], &keys[issuer]))
        });
        Self {
            certificates: certificates.collect(),
            keys,
        }
    }

    /// `len` Ed25519 certificates.
    fn of_len(len: u8) -> Self {
        Self::of((1..=len).map(ed25519).collect())
    }

    fn signed_key(&self) -> Vec<u8> {
        sign_ed25519(&SESSION_KEY, &self.keys[0])
    }
}

/// A hello with a session key and these service credentials.
fn hello(role: ServiceRole, chain: &[Vec<u8>], signed_key: &[u8]) -> Vec<u8> {
    hello_of(Version::CURRENT, role, chain, signed_key)
}

fn hello_of(version: Version, role: ServiceRole, chain: &[Vec<u8>], signed_key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ClientHello {
        version,
        key_hash: &identity().key_hash,
        session_key: Some(X25519SecretKey::from_bytes([3; 32]).public_key()),
        proxy: role == ServiceRole::Proxy,
        service: Some(ClientService {
            role,
            key: CertChainKey {
                chain: chain.iter().map(Into::into).collect(),
                signed_key: signed_key.into(),
            },
        }),
    }
    .encode(&mut bytes);
    bytes
}

fn claimed(hello: &[u8], tls_chain: &[Vec<u8>]) -> ClaimedSession {
    match outcome(true, hello, tls_chain).unwrap() {
        HandshakeOutcome::Claimed(claimed) => *claimed,
        other => panic!("{other:?}"),
    }
}

fn assert_bad_auth(what: &str, hello: &[u8], tls_chain: &[Vec<u8>]) {
    match outcome(true, hello, tls_chain).unwrap() {
        HandshakeOutcome::ServiceRefused(content) => assert_eq!(content, BAD_AUTH, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn credentials_are_a_claim_that_the_registry_turns_into_a_service_session() {
    let ed448 = || SigningKey::ed448_from_seed([9; 57]);
    let chains = [
        (Chain::of_len(1), 0),
        (Chain::of_len(2), 1),
        (Chain::of_len(3), 1),
        (Chain::of_len(4), 1),
        // The key of the leaf may be Ed448; the session key is Ed25519 in any case.
        (Chain::of(vec![ed448(), ed448()]), 1),
    ];
    let roles = [
        ServiceRole::Messaging,
        ServiceRole::Notifier,
        ServiceRole::Proxy,
    ];
    for (chain, identity) in &chains {
        for role in roles {
            let hello = hello(role, &chain.certificates, &chain.signed_key());
            let claimed = claimed(&hello, &chain.certificates);
            let fingerprint = sha256(&chain.certificates[*identity]);
            let claim = claimed.claim();
            assert_eq!(claim.role, role);
            assert_eq!(claim.fingerprint, fingerprint);
            assert_eq!(claim.session_key, SESSION_KEY);
            assert_eq!(claim.chain, chain.certificates);

            let (established, content) = claimed.accept(SERVICE_ID);
            assert_eq!(content, [b"R\x18", &SERVICE_ID[..]].concat());
            let context = established.context;
            assert_eq!(context.version(), Version::CURRENT);
            assert_eq!(context.session_id(), session_id());
            assert!(context.secret().is_some());
            let expected = ServiceSession {
                id: SERVICE_ID,
                role,
                fingerprint,
                session_key: SESSION_KEY,
            };
            assert_eq!(context.service(), Some(&expected));
            // Only proxies do without.
            let encrypted = role != ServiceRole::Proxy;
            assert_eq!(established.chains.is_some(), encrypted);
        }
    }
}

#[test]
fn the_service_response_does_not_advance_the_keys_of_blocks() {
    let chain = Chain::of_len(1);
    let hello = hello(
        ServiceRole::Notifier,
        &chain.certificates,
        &chain.signed_key(),
    );
    let (established, _) = claimed(&hello, &chain.certificates).accept(SERVICE_ID);
    let (_, mut send) = established.chains.unwrap();
    let server = X25519SecretKey::from_bytes(secret()).public_key();
    let agreed = X25519SecretKey::from_bytes([3; 32]).agree(&server);
    let (mut to_client, _) = BlockChain::init(&session_id(), &agreed).unwrap();
    let mut block = [0; BLOCK_SIZE];
    pad::pad_into(0, &mut block[16..]).unwrap();
    send.seal_block(&mut block).unwrap();
    assert_eq!(to_client.open_block(&mut block), Ok(&[][..]));
}

#[test]
fn service_hello_and_responses_are_the_known_answers() {
    let vectors = get("handshake_blocks");
    let chain = identity().chain;
    let hello = known("client_hello_v18_notifier_service");
    let claimed = claimed(&hello, &chain);
    let claim = claimed.claim();
    assert_eq!(claim.role, ServiceRole::Notifier);
    let expected = &vectors["client_hello_v18_notifier_service"]["service_session_public"];
    assert_eq!(claim.session_key, array(expected));
    let fingerprint = &get("service_auth")["service_cert_fingerprint"];
    assert_eq!(claim.fingerprint, array(fingerprint));

    let response = hex(&vectors["service_response_ok"]);
    let id = response[2..].try_into().unwrap();
    assert_eq!(claimed.accept(id).1, response);
    assert_eq!(BAD_AUTH, hex(&vectors["service_response_bad_auth"]));
    assert_bad_auth("no certificate in TLS", &hello, NO_CHAIN);
}

#[test]
fn a_service_with_another_role_in_the_registry_is_told_so() {
    let chain = Chain::of_len(2);
    let hello = hello(
        ServiceRole::Messaging,
        &chain.certificates,
        &chain.signed_key(),
    );
    let content = claimed(&hello, &chain.certificates).refuse();
    assert_eq!(content, b"EHANDSHAKE BAD_SERVICE");
}

#[test]
fn a_chain_other_than_that_of_tls_is_refused() {
    let chain = Chain::of_len(3);
    let hello = hello(
        ServiceRole::Notifier,
        &chain.certificates,
        &chain.signed_key(),
    );
    let [leaf, identity, operator] = &chain.certificates[..] else {
        panic!("three certificates");
    };
    let mut changed = chain.certificates.clone();
    *changed[2].last_mut().unwrap() ^= 1;
    let mut longer = chain.certificates.clone();
    longer.push(operator.clone());
    let others = [
        ("no chain", vec![]),
        ("only the leaf", vec![leaf.clone()]),
        ("without the root", vec![leaf.clone(), identity.clone()]),
        (
            "in another order",
            vec![leaf.clone(), operator.clone(), identity.clone()],
        ),
        ("one more", longer),
        ("another byte", changed),
        ("another chain", Chain::of_len(2).certificates),
    ];
    for (what, tls_chain) in others {
        assert_bad_auth(what, &hello, &tls_chain);
    }
    claimed(&hello, &chain.certificates);
}

#[test]
fn five_certificates_are_refused() {
    let chain = Chain::of_len(5);
    let hello = hello(
        ServiceRole::Notifier,
        &chain.certificates,
        &chain.signed_key(),
    );
    assert_bad_auth("five", &hello, &chain.certificates);
}

#[test]
fn a_leaf_that_is_no_certificate_is_refused() {
    let chain = Chain::of_len(2);
    let mut certificates = chain.certificates.clone();
    for bad in [
        b"certificate".to_vec(),
        vec![],
        [&chain.certificates[0][..], &[0]].concat(),
    ] {
        certificates[0] = bad;
        let hello = hello(ServiceRole::Notifier, &certificates, &chain.signed_key());
        assert_bad_auth("leaf", &hello, &certificates);
    }
}

#[test]
fn a_session_key_that_the_leaf_did_not_sign_is_refused() {
    let chain = Chain::of_len(2);
    let refused = |what: &str, signed_key: &[u8]| {
        let hello = hello(ServiceRole::Notifier, &chain.certificates, signed_key);
        assert_bad_auth(what, &hello, &chain.certificates);
    };
    refused("nothing", &[]);
    refused("rubbish", b"signed key");
    let by_identity = sign_ed25519(&SESSION_KEY, &chain.keys[1]);
    refused("signed by the identity", &by_identity);
    let by_ed448 = sign_ed25519(&SESSION_KEY, &SigningKey::ed448_from_seed([9; 57]));
    refused("signed by an Ed448 key", &by_ed448);
    let good = chain.signed_key();
    refused("cut", &good[..good.len() - 1]);
    for at in 0..good.len() {
        let mut tampered = good.clone();
        tampered[at] ^= 1;
        refused(&format!("byte {at}"), &tampered);
    }
}

#[test]
fn a_session_key_that_is_not_ed25519_is_refused() {
    let chain = Chain::of_len(1);
    let leaf = &chain.keys[0];
    let x25519 = sign_x25519(&X25519SecretKey::from_bytes([4; 32]).public_key(), leaf);
    // Written by hand: there is no use for such a key.
    let spki = PublicAuthKey::from(SigningKey::ed448_from_seed([4; 57]).verifying_key()).to_spki();
    let tbs = [&[0x30, 69][..], &spki].concat();
    let algorithm = b"\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00";
    let content = [&tbs[..], algorithm, &leaf.sign(&tbs)].concat();
    let length = u8::try_from(content.len()).unwrap();
    let ed448 = [&[0x30, 0x81, length], &content[..]].concat();
    for (what, signed_key) in [("X25519", x25519), ("Ed448", ed448)] {
        let hello = hello(ServiceRole::Notifier, &chain.certificates, &signed_key);
        assert_bad_auth(what, &hello, &chain.certificates);
    }
}

#[test]
fn versions_before_16_know_no_services() {
    let chain = Chain::of_len(1);
    let (role, signed_key) = (ServiceRole::Notifier, chain.signed_key());
    let newer = hello(role, &chain.certificates, &signed_key);
    let mut older = hello_of(Version(15), role, &chain.certificates, &signed_key);
    // What a newer hello has more is ignored.
    older.extend_from_slice(&newer[older.len()..]);
    let outcome = outcome(true, &older, &chain.certificates).unwrap();
    let HandshakeOutcome::Established(established) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(established.context.service(), None);

    let oldest = hello_of(Version(16), role, &chain.certificates, &signed_key);
    assert_eq!(claimed(&oldest, &chain.certificates).claim().role, role);
}
