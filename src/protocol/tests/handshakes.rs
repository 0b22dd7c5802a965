//! Hellos (spec: protocol §5).

use super::super::error::{HandshakeError, TransportError};
use super::super::handshake::{
    CertChainKey, ClientHello, ClientService, ServerHello, ServiceResponse, ServiceRole,
};
use super::super::{Version, VersionRange};
use crate::crypto::hash::sha256;
use crate::crypto::keys::VerifyingKey;
use crate::crypto::signed_key::SignedKey;
use crate::crypto::{pad, vectors};
use crate::protocol::BLOCK_SIZE;

fn key_hash() -> Vec<u8> {
    vectors::hex(&vectors::get("cert_fingerprint")["key_hash"])
}

#[track_caller]
fn assert_client_hello(bytes: &[u8], hello: &ClientHello<'_>) {
    assert_eq!(ClientHello::decode(bytes).as_ref(), Ok(hello));
    let mut out = Vec::new();
    hello.encode(&mut out);
    assert_eq!(hex::encode(&out), hex::encode(bytes));
    // Bytes of a later version are ignored.
    out.extend_from_slice(b"more");
    assert_eq!(ClientHello::decode(&out).as_ref(), Ok(hello));
}

#[track_caller]
fn assert_padded_hash(content: &[u8], expected: &serde_json::Value) {
    let mut block = vec![0; BLOCK_SIZE];
    block[2..][..content.len()].copy_from_slice(content);
    pad::pad_into(content.len(), &mut block).unwrap();
    assert_eq!(sha256(&block), vectors::array(expected));
}

#[test]
fn server_hellos() {
    let v = vectors::get("handshake_blocks");
    let session_id = vectors::hex(&v["session_id"]);
    let certificates = vectors::get("cert_fingerprint");
    let bytes = vectors::hex(&v["server_hello_v6_18"]["hex"]);
    assert_padded_hash(&bytes, &v["server_hello_v6_18"]["block_sha256"]);
    let hello = ServerHello::decode(&bytes).unwrap();
    assert_eq!(hello.versions, VersionRange::SERVER);
    assert_eq!(*hello.session_id, session_id);
    let key = hello.key.as_ref().unwrap();
    assert_eq!(*key.chain[0], vectors::hex(&certificates["server_der"]));
    assert_eq!(*key.chain[1], vectors::hex(&certificates["ca_der"]));
    assert_eq!(key.chain.len(), 2);
    assert_eq!(sha256(&key.chain[1])[..], key_hash());
    assert_eq!(key.signed_key.len(), 122);
    let mut out = Vec::new();
    hello.encode(&mut out);
    assert_eq!(out, bytes);
    out.push(0);
    assert_eq!(ServerHello::decode(&out).as_ref(), Ok(&hello));

    // A range up to 6 leaves the key out, whatever there is.
    let bytes = vectors::hex(&v["server_hello_no_alpn"]["hex"]);
    assert_padded_hash(&bytes, &v["server_hello_no_alpn"]["block_sha256"]);
    let legacy = ServerHello {
        versions: VersionRange::LEGACY,
        ..hello.clone()
    };
    let mut out = Vec::new();
    legacy.encode(&mut out);
    assert_eq!(out, bytes);
    let decoded = ServerHello::decode(&bytes).unwrap();
    assert_eq!(
        decoded,
        ServerHello {
            key: None,
            ..legacy
        }
    );

    // A server without session key writes nothing instead.
    let keyless = ServerHello { key: None, ..hello };
    let mut out = Vec::new();
    keyless.encode(&mut out);
    assert_eq!(ServerHello::decode(&out), Ok(keyless.clone()));

    // Versions in the wrong order, and a session id cut off.
    assert!(ServerHello::decode(b"\x00\x12\x00\x06\x00").is_err());
    assert!(ServerHello::decode(b"\x00\x06\x00\x12\x20abc").is_err());
}

#[test]
fn client_hellos() {
    let v = vectors::get("handshake_blocks");
    let key_hash = key_hash();
    let v18 = vectors::hex(&v["client_hello_v18"]["hex"]);
    assert_padded_hash(&v18, &v["client_hello_v18"]["block_sha256"]);
    let session_key = ClientHello::decode(&v18).unwrap().session_key;
    assert_eq!(session_key.unwrap().to_spki(), v18[2 + 33 + 1..][..44]);
    let hello = ClientHello {
        version: Version(18),
        key_hash: &key_hash,
        session_key,
        proxy: false,
        service: None,
    };
    assert!(hello.encrypts_blocks());
    assert_client_hello(&v18, &hello);

    let proxy = ClientHello {
        proxy: true,
        ..hello.clone()
    };
    assert!(!proxy.encrypts_blocks());
    assert_client_hello(&vectors::hex(&v["client_hello_v18_proxy"]), &proxy);

    // The letter of the flag is no length of a key.
    let mut keyless = ClientHello {
        session_key: None,
        ..hello.clone()
    };
    assert!(!keyless.encrypts_blocks());
    assert_client_hello(&vectors::hex(&v["client_hello_v18_without_key"]), &keyless);
    keyless.proxy = true;
    let mut out = Vec::new();
    keyless.encode(&mut out);
    assert_client_hello(&out, &keyless);

    for (name, version, session_key) in [
        ("client_hello_v11_with_key", 11, session_key),
        ("client_hello_v14_with_key", 14, session_key),
        ("client_hello_v6", 6, None),
    ] {
        let older = ClientHello {
            version: Version(version),
            session_key,
            ..hello.clone()
        };
        assert_eq!(older.encrypts_blocks(), version >= 11);
        assert_client_hello(&vectors::hex(&v[name]), &older);
    }
    let v10 = ClientHello {
        version: Version(10),
        ..hello.clone()
    };
    assert!(!v10.encrypts_blocks());

    // Missing flag, flag of no meaning, missing service, unknown role.
    for cut in [1, 2] {
        assert!(ClientHello::decode(&v18[..v18.len() - cut]).is_err());
    }
    let changed = |from_end: usize, byte: u8| {
        let mut bytes = v18.clone();
        let at = bytes.len() - from_end;
        bytes[at] = byte;
        bytes
    };
    assert!(ClientHello::decode(&changed(2, b'X')).is_err());
    assert!(ClientHello::decode(&changed(1, b'2')).is_err());
    assert!(ClientHello::decode(&[&changed(1, b'1')[..], b"X"].concat()).is_err());
}

#[test]
fn service_hello_and_responses() {
    let v = vectors::get("handshake_blocks");
    let notifier = &v["client_hello_v18_notifier_service"];
    let bytes = vectors::hex(&notifier["hex"]);
    let decoded = ClientHello::decode(&bytes).unwrap();
    assert_client_hello(&bytes, &decoded);
    let Some(ClientService { role, key }) = &decoded.service else {
        panic!("no service");
    };
    assert_eq!(*role, ServiceRole::Notifier);
    let certificates = vectors::get("cert_fingerprint");
    let CertChainKey { chain, signed_key } = key;
    assert_eq!(*chain[0], vectors::hex(&certificates["server_der"]));
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let leaf = VerifyingKey::from_spki(leaf.tbs_certificate.subject_pki.raw).unwrap();
    let session_key = SignedKey::decode(signed_key).unwrap().verify_ed25519(&leaf);
    assert_eq!(
        session_key.unwrap(),
        vectors::array(&notifier["service_session_public"])
    );

    for role in [
        ServiceRole::Messaging,
        ServiceRole::Notifier,
        ServiceRole::Proxy,
    ] {
        assert_eq!(ServiceRole::from_letter(role.letter()), Some(role));
    }
    assert_eq!(ServiceRole::from_letter(b'X'), None);

    let id = hex::decode("7f5de772d6da945ababd0b261280d26404cd21338fa11b28").unwrap();
    let refused = ServiceResponse::Refused(TransportError::Handshake(HandshakeError::BadAuth));
    for (name, response) in [
        ("service_response_ok", ServiceResponse::Accepted(id.into())),
        ("service_response_bad_auth", refused),
    ] {
        let bytes = vectors::hex(&v[name]);
        assert_eq!(ServiceResponse::decode(&bytes).as_ref(), Ok(&response));
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(out, bytes);
    }
    assert!(ServiceResponse::decode(b"").is_err());
    assert!(ServiceResponse::decode(b"X").is_err());
    assert!(ServiceResponse::decode(b"EHANDSHAKE WHAT").is_err());
}
