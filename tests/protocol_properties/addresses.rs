//! Server addresses in text and binary form.

use crate::parts::password;
use crate::{bounds, mutation};
use proptest::prelude::*;
use smp_server::protocol::address::{AddressWithPassword, ServerAddress, TransportHost};
use smp_server::protocol::encoding::{Reader, base64url};

fn host() -> impl Strategy<Value = TransportHost> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(TransportHost::Ipv4),
        any::<[u16; 8]>().prop_map(|groups| TransportHost::Ipv6(groups.into())),
        "[a-z0-9]{0,60}\\.onion".prop_map(TransportHost::Onion),
        "[a-z][a-z0-9-]{0,40}(\\.[a-z]{2,10}){0,3}".prop_map(TransportHost::Domain),
    ]
}

pub fn server_address() -> impl Strategy<Value = ServerAddress> {
    let hosts = prop_oneof![
        4 => prop::collection::vec(host(), 1..4),
        1 => prop::collection::vec(any::<[u8; 4]>().prop_map(TransportHost::Ipv4), 255),
    ];
    let port = prop::option::of(any::<u16>());
    let key_hash = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 32),
        1 => prop::collection::vec(any::<u8>(), 1..=255),
    ];
    (hosts, port, key_hash).prop_map(|(hosts, port, key_hash)| ServerAddress {
        hosts,
        port: port.map_or_else(String::new, |port| port.to_string()),
        key_hash,
    })
}

/// Decodes a hostile text: what comes out is bounded, and its own text and bytes mean the same.
fn survive_text(text: &str) -> Result<(), TestCaseError> {
    if let Ok(address) = text.parse::<AddressWithPassword>() {
        prop_assert!(bounds::address(&address.server) <= text.len());
        let again: Result<AddressWithPassword, _> = address.to_string().parse();
        prop_assert!(again.as_ref() == Ok(&address), "{text:?}");
        let mut bytes = Vec::new();
        address.server.encode(&mut bytes);
        prop_assert_eq!(
            ServerAddress::decode(&mut Reader::new(&bytes)),
            Ok(address.server)
        );
    }
    let _ = base64url::decode(text);
    Ok(())
}

fn survive_bytes(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(address) = ServerAddress::decode(&mut Reader::new(bytes)) {
        prop_assert!(bounds::address(&address) <= bytes.len());
        let mut again = Vec::new();
        address.encode(&mut again);
        let decoded = ServerAddress::decode(&mut Reader::new(&again));
        prop_assert_eq!(decoded, Ok(address));
    }
    Ok(())
}

proptest! {
    #[test]
    fn addresses_round_trip(
        server in server_address(),
        password in prop::option::of(password()),
        mutations in mutation::mutations(),
    ) {
        let mut bytes = Vec::new();
        server.encode(&mut bytes);
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(ServerAddress::decode(&mut r), Ok(server.clone()));
        prop_assert!(r.finish().is_ok());
        mutation::mutate(&mut bytes, &mutations);
        survive_bytes(&bytes)?;

        let address = AddressWithPassword { server, password };
        let text = address.to_string();
        let parsed: Result<AddressWithPassword, _> = text.parse();
        prop_assert!(parsed.as_ref() == Ok(&address), "{text}");
        let mut damaged = text.into_bytes();
        mutation::mutate(&mut damaged, &mutations);
        survive_text(&String::from_utf8_lossy(&damaged))?;
    }

    #[test]
    fn hosts_round_trip(host in host()) {
        prop_assert_eq!(host.to_string().parse::<TransportHost>(), Ok(host));
    }

    #[test]
    fn any_text_does_no_harm(text in "(smp://)?[a-zA-Z0-9_=-]{0,8}(:\\PC{0,8})?@?\\PC{0,60}") {
        survive_text(&text)?;
    }

    #[test]
    fn address_like_texts_do_no_harm(text in "smp://[a-zA-Z0-9_-]{4}@[\\[\\]a-f0-9:.,]{1,40}") {
        survive_text(&text)?;
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        survive_bytes(&bytes)?;
    }

    #[test]
    fn base64_round_trip(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
        let text = base64url::encode(&bytes);
        prop_assert_eq!(base64url::decode(text.trim_end_matches('=')), Some(bytes.clone()));
        prop_assert_eq!(base64url::decode(&text), Some(bytes));
    }
}
