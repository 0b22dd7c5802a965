//! The server's hellos (spec: protocol §5).

mod services;

use crate::crypto::hash::sha256;
use crate::crypto::keys::{SigningKey, X25519SecretKey};
use crate::crypto::pad;
use crate::crypto::vectors::{array, get, hex};
use crate::protocol::handshake::{ClientHello, ServerHello};
use crate::protocol::{BLOCK_SIZE, Version, VersionRange};
use crate::session::{
    Established, HandshakeOutcome, Identity, RefusedHandshake, ServerHandshake, put_plain_block,
};
use proptest::prelude::*;
use rand::{CryptoRng, RngCore};
use std::sync::Arc;

/// Random numbers that are the vectors' session key.
struct Fixed([u8; 32]);

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0[..out.len()]);
    }
}

impl CryptoRng for Fixed {}

const NO_CHAIN: &[Vec<u8>] = &[];

fn identity() -> Identity {
    let certificates = get("cert_fingerprint");
    let key = SigningKey::ed25519_from_seed(array(&certificates["server_private_seed"])).unwrap();
    Identity {
        key_hash: array(&certificates["key_hash"]),
        chain: vec![
            hex(&certificates["server_der"]),
            hex(&certificates["ca_der"]),
        ],
        key: Arc::new(key),
        versions: VersionRange::SERVER,
    }
}

fn session_id() -> Vec<u8> {
    hex(&get("handshake_blocks")["session_id"])
}

fn secret() -> [u8; 32] {
    array(&get("signed_session_key")["session_private"])
}

fn start_with(identity: &Identity, alpn: bool) -> (ServerHandshake, Box<[u8; BLOCK_SIZE]>) {
    let mut block = Box::new([0; BLOCK_SIZE]);
    let mut rng = Fixed(secret());
    let handshake = ServerHandshake::start(identity, &session_id(), alpn, &mut rng, &mut block);
    (handshake.unwrap(), block)
}

fn start(alpn: bool) -> (ServerHandshake, Box<[u8; BLOCK_SIZE]>) {
    start_with(&identity(), alpn)
}

/// What a hello leads to when the client showed `tls_chain` in TLS.
fn outcome(
    alpn: bool,
    hello: &[u8],
    tls_chain: &[Vec<u8>],
) -> Result<HandshakeOutcome, RefusedHandshake> {
    let mut block = Box::new([0; BLOCK_SIZE]);
    put_plain_block(hello, &mut block).unwrap();
    start(alpn).0.finish(&block, tls_chain)
}

/// The ordinary session that a hello begins.
fn finish(alpn: bool, hello: &[u8]) -> Result<Established, RefusedHandshake> {
    outcome(alpn, hello, &[]).map(|outcome| match outcome {
        HandshakeOutcome::Established(established) => established,
        other => panic!("{other:?}"),
    })
}

fn known(name: &str) -> Vec<u8> {
    let vector = &get("handshake_blocks")[name];
    hex(vector.get("hex").unwrap_or(vector))
}

#[test]
fn server_hellos_are_the_known_answers() {
    let vectors = get("handshake_blocks");
    let (_, block) = start(true);
    let expected = &vectors["server_hello_v6_18"];
    assert_eq!(pad::unpad(&block[..]).unwrap(), hex(&expected["hex"]));
    assert_eq!(sha256(&block[..]), array(&expected["block_sha256"]));
    let (_, block) = start(false);
    let expected = &vectors["server_hello_no_alpn"];
    assert_eq!(sha256(&block[..]), array(&expected["block_sha256"]));
}

#[test]
fn client_hellos_are_accepted_with_the_right_keys() {
    // Vector, version, whether there is a session key for commands, whether blocks are encrypted.
    let cases = [
        ("client_hello_v18", 18, true, true),
        ("client_hello_v18_proxy", 18, true, false),
        ("client_hello_v18_without_key", 18, true, false),
        ("client_hello_v11_with_key", 11, true, true),
        ("client_hello_v14_with_key", 14, true, true),
        ("client_hello_v6", 6, false, false),
    ];
    for (name, version, has_secret, encrypted) in cases {
        let established = finish(true, &known(name)).unwrap();
        let context = &established.context;
        assert_eq!(context.version(), Version(version), "{name}");
        assert_eq!(context.session_id(), session_id());
        assert_eq!(context.secret().is_some(), has_secret, "{name}");
        assert_eq!(established.chains.is_some(), encrypted, "{name}");
        assert_eq!(context.service(), None);
    }
}

#[test]
fn block_keys_are_those_of_the_client() {
    let client = X25519SecretKey::from_bytes([3; 32]);
    let key_hash = identity().key_hash;
    let hello = ClientHello {
        version: Version::CURRENT,
        key_hash: &key_hash,
        session_key: Some(client.public_key()),
        proxy: false,
        service: None,
    };
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    let (mut receive, mut send) = finish(true, &bytes).unwrap().chains.unwrap();
    let server = X25519SecretKey::from_bytes(secret()).public_key();
    let agreed = client.agree(&server);
    let (mut to_client, mut to_server) =
        crate::crypto::chain::BlockChain::init(&session_id(), &agreed).unwrap();
    for (ours, theirs) in [(&mut send, &mut to_client), (&mut to_server, &mut receive)] {
        let mut block = [0; BLOCK_SIZE];
        pad::pad_into(0, &mut block[16..]).unwrap();
        ours.seal_block(&mut block).unwrap();
        assert_eq!(theirs.open_block(&mut block), Ok(&[][..]));
    }
}

#[test]
fn bad_hellos_are_refused() {
    let good = known("client_hello_v18");
    let refused = |alpn, hello: &[u8]| finish(alpn, hello).map(|_| ()).unwrap_err();
    assert_eq!(refused(true, &[]), RefusedHandshake::Parse);
    assert_eq!(refused(true, &good[..20]), RefusedHandshake::Parse);
    // The proxy flag is a letter.
    let mut flag = good.clone();
    let at = flag.len() - 2;
    flag[at] = b'X';
    assert_eq!(refused(true, &flag), RefusedHandshake::Parse);

    let mut stranger = good.clone();
    stranger[5] ^= 1;
    assert_eq!(refused(true, &stranger), RefusedHandshake::Identity);
    let mut short = good[..2].to_vec();
    short.push(31);
    short.extend_from_slice(&good[3..34]);
    short.extend_from_slice(b"F0");
    assert_eq!(refused(true, &short), RefusedHandshake::Identity);

    for version in [0, 5, 19, u16::MAX] {
        let mut other = good.clone();
        other[..2].copy_from_slice(&u16::to_be_bytes(version));
        assert_eq!(
            refused(true, &other),
            RefusedHandshake::Version,
            "{version}"
        );
    }
    // Without ALPN only version 6 was offered.
    assert_eq!(refused(false, &good), RefusedHandshake::Version);
    let legacy = finish(false, &known("client_hello_v6")).unwrap();
    assert!(legacy.context.secret().is_none());
    // Not padded content.
    let block = [0xff; BLOCK_SIZE];
    let ended = start(true).0.finish(&block, NO_CHAIN);
    assert_eq!(ended.map(|_| ()).unwrap_err(), RefusedHandshake::Parse);
}

#[test]
fn a_chain_that_fits_no_block_cannot_be_offered() {
    let mut identity = identity();
    identity.chain.push(vec![0; BLOCK_SIZE]);
    let mut block = Box::new([0; BLOCK_SIZE]);
    let mut rng = Fixed(secret());
    let started = ServerHandshake::start(&identity, &session_id(), true, &mut rng, &mut block);
    assert_eq!(started.map(|_| ()).unwrap_err(), pad::PadError::TooLarge);
}

#[test]
fn a_narrower_range_is_offered_and_kept_to() {
    let mut identity = identity();
    identity.versions = VersionRange::new(Version(8), Version(14)).unwrap();
    let (_, block) = start_with(&identity, true);
    let hello = ServerHello::decode(pad::unpad(&block[..]).unwrap()).unwrap();
    assert_eq!(hello.versions, identity.versions);
    let mut block = Box::new([0; BLOCK_SIZE]);
    put_plain_block(&known("client_hello_v18"), &mut block).unwrap();
    let ended = start_with(&identity, true).0.finish(&block, NO_CHAIN);
    assert_eq!(ended.map(|_| ()).unwrap_err(), RefusedHandshake::Version);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_hello_is_handled_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        keep in prop_oneof![0..90usize, 0..1100usize],
        alpn: bool,
    ) {
        let mut hello = known("client_hello_v18_notifier_service");
        hello.truncate(keep);
        hello.extend_from_slice(&bytes);
        let _ = outcome(alpn, &hello, &identity().chain);
        let _ = outcome(alpn, &bytes, NO_CHAIN);
    }
}
