//! Hellos.

use crate::parts::{dh_key, parts};
use crate::{bounds, mutation, versions};
use proptest::prelude::*;
use smp_server::protocol::error::{HandshakeError, TransportError};
use smp_server::protocol::handshake::{
    CertChainKey, ClientHello, ClientService, ServerHello, ServiceResponse, ServiceRole,
};
use smp_server::protocol::{Version, VersionRange};

pub fn cert_chain_key() -> impl Strategy<Value = CertChainKey<'static>> {
    let der = || prop::collection::vec(any::<u8>(), 0..400);
    let chain = prop_oneof![
        4 => prop::collection::vec(der(), 1..5),
        1 => prop::collection::vec(Just(vec![0x30]), 255),
    ];
    (chain, der()).prop_map(|(chain, signed_key)| CertChainKey {
        chain: chain.into_iter().map(Into::into).collect(),
        signed_key: signed_key.into(),
    })
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// Decodes hostile bytes as every kind of hello.
fn survive(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(hello) = ServerHello::decode(bytes) {
        let key = hello.key.as_ref().map_or(0, bounds::chain);
        prop_assert!(hello.session_id.len() + key <= bytes.len());
        prop_assert!(hello.versions.min() <= hello.versions.max());
        let again = encoded(|out| hello.encode(out));
        prop_assert!(bytes.starts_with(&again), "more than it read");
    }
    if let Ok(hello) = ClientHello::decode(bytes) {
        let service = hello.service.as_ref().map_or(0, |s| bounds::chain(&s.key));
        prop_assert!(hello.key_hash.len() + service <= bytes.len());
        let again = encoded(|out| hello.encode(out));
        prop_assert!(bytes.starts_with(&again), "more than it read");
    }
    if let Ok(response) = ServiceResponse::decode(bytes) {
        let again = encoded(|out| response.encode(out));
        prop_assert!(bytes.starts_with(&again), "more than it read");
    }
    Ok(())
}

proptest! {
    #[test]
    fn server_hellos_round_trip(
        parts in parts(),
        key in prop::option::of(cert_chain_key()),
        (min, max) in (6u16..=20, 6u16..=20),
        later in prop::collection::vec(any::<u8>(), 0..20),
        mutations in mutation::mutations(),
    ) {
        let versions = VersionRange::new(Version(min.min(max)), Version(min.max(max)));
        let hello = ServerHello {
            versions: versions.unwrap_or(VersionRange::LEGACY),
            session_id: parts.ids[0][..].into(),
            key,
        };
        let mut bytes = encoded(|out| hello.encode(out));
        let mut expected = hello.clone();
        if expected.versions.max() < Version(7) {
            expected.key = None;
        }
        prop_assert_eq!(ServerHello::decode(&bytes), Ok(expected.clone()));
        // Bytes of later versions are ignored, unless they stand where a key would.
        if expected.key.is_some() {
            bytes.extend_from_slice(&later);
            prop_assert_eq!(ServerHello::decode(&bytes), Ok(expected));
        }
        mutation::mutate(&mut bytes, &mutations);
        survive(&bytes)?;
    }

    #[test]
    fn client_hellos_round_trip(
        parts in parts(),
        session_key in prop::option::of(dh_key()),
        proxy: bool,
        service in prop::option::of(cert_chain_key()),
        role in prop::sample::select(vec![
            ServiceRole::Messaging,
            ServiceRole::Notifier,
            ServiceRole::Proxy,
        ]),
        mutations in mutation::mutations(),
    ) {
        for version in versions() {
            let service = service.clone().map(|key| ClientService { role, key });
            let hello = ClientHello {
                version,
                key_hash: &parts.ids[0],
                session_key: session_key.filter(|_| version.0 >= 7),
                proxy: proxy && version.0 >= 14,
                service: service.filter(|_| version.0 >= 16),
            };
            let mut bytes = encoded(|out| hello.encode(out));
            prop_assert_eq!(ClientHello::decode(&bytes), Ok(hello.clone()));
            let encrypts = version.0 >= 11 && session_key.is_some() && !hello.proxy;
            prop_assert_eq!(hello.encrypts_blocks(), encrypts);
            mutation::mutate(&mut bytes, &mutations);
            survive(&bytes)?;
        }
    }

    #[test]
    fn service_responses_round_trip(parts in parts(), mutations in mutation::mutations()) {
        for response in [
            ServiceResponse::Accepted(parts.ids[0][..].into()),
            ServiceResponse::Refused(TransportError::Handshake(HandshakeError::BadService)),
            ServiceResponse::Refused(TransportError::NoAuth),
        ] {
            let mut bytes = encoded(|out| response.encode(out));
            prop_assert_eq!(ServiceResponse::decode(&bytes), Ok(response.clone()));
            mutation::mutate(&mut bytes, &mutations);
            survive(&bytes)?;
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in mutation::bytes(&["EHANDSHAKE", "E", "R"])) {
        survive(&bytes)?;
        for version in [0u16, 6, 7, 14, 16, 18, 20, u16::MAX] {
            let mut hello = version.to_be_bytes().to_vec();
            hello.extend_from_slice(&bytes);
            survive(&hello)?;
            survive(&[&[0, 6], &hello[..]].concat())?;
        }
    }
}
