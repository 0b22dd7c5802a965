//! Blocks of transmissions.

use crate::mutation;
use proptest::prelude::*;
use smp_server::crypto::authorization::Authorized;
use smp_server::protocol::Version;
use smp_server::protocol::batch::{BatchBuilder, MAX_BATCH_BYTES, MAX_BATCH_ITEMS, decode_batch};
use smp_server::protocol::transmission::{Transmission, put_sent, put_transmission};

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=max)
}

/// Sizes of which a few, or more than 255, fill a block.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(0usize..17_000, 1..6),
        prop::collection::vec(0usize..200, 1..400),
        prop::collection::vec(0usize..3, 200..400),
    ]
}

/// Decodes hostile bytes as a block and as a transmission.
fn survive(content: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(batch) = decode_batch(content) {
        let promised = batch.len();
        let items: Vec<_> = batch.collect();
        prop_assert_eq!(items.len(), promised);
        prop_assert!((1..=MAX_BATCH_ITEMS).contains(&promised));
        let total: usize = items.iter().map(|item| 2 + item.len()).sum();
        prop_assert_eq!(total + 1, content.len());
    }
    for version in crate::versions() {
        if let Ok(t) = Transmission::decode(content, version) {
            prop_assert!(content.ends_with(t.sent) && t.sent.ends_with(t.command));
            prop_assert!(t.corr_id.len() <= 255 && t.entity_id.len() <= 255);
            prop_assert_eq!(t.session_id.is_some(), version.0 < 7);
            let mut again = Vec::new();
            put_transmission(
                &mut again,
                version,
                t.authorization,
                t.service_signature,
                t.sent,
            );
            prop_assert_eq!(again, content);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn batches_round_trip(sizes in sizes(), before in bytes(20), fill: u8) {
        let mut content = before.clone();
        let mut batch = BatchBuilder::new(&mut content);
        let mut accepted = Vec::new();
        let mut used = 0;
        for size in sizes {
            let fits = used + 2 + size <= MAX_BATCH_BYTES && accepted.len() < MAX_BATCH_ITEMS;
            prop_assert_eq!(batch.room().is_some_and(|room| size <= room), fits);
            prop_assert_eq!(batch.push(|out| out.resize(out.len() + size, fill)), fits);
            if fits {
                used += 2 + size;
                accepted.push(vec![fill; size]);
            }
            prop_assert_eq!(batch.len(), accepted.len());
            prop_assert_eq!(batch.is_empty(), accepted.is_empty());
        }
        prop_assert_eq!(&content[..before.len()], &before[..]);
        let content = &content[before.len()..];
        prop_assert_eq!(content.len(), 1 + used);
        if !accepted.is_empty() {
            let decoded: Vec<_> = decode_batch(content).unwrap().collect();
            prop_assert_eq!(decoded, accepted);
        }
    }

    #[test]
    fn transmissions_round_trip(
        authorization in bytes(255),
        service in prop::option::of(prop::array::uniform32(any::<u8>())),
        (session_id, corr_id, entity_id) in (bytes(255), bytes(255), bytes(255)),
        command in bytes(400),
        mutations in mutation::mutations(),
    ) {
        let signature = service.map(|half| {
            let mut whole = [0; 64];
            whole[..32].copy_from_slice(&half);
            whole
        });
        for version in crate::versions() {
            let mut sent = Vec::new();
            put_sent(&mut sent, version, &session_id, &corr_id, &entity_id, |out| {
                out.extend_from_slice(&command);
            });
            let mut bytes = Vec::new();
            put_transmission(&mut bytes, version, &authorization, signature.as_ref(), &sent);
            let has_slot = version.0 >= 16 && !authorization.is_empty();
            let expected = Transmission {
                authorization: &authorization,
                service_signature: signature.as_ref().filter(|_| has_slot),
                session_id: (version.0 < 7).then_some(&session_id[..]),
                corr_id: &corr_id,
                entity_id: &entity_id,
                command: &command,
                sent: &sent,
            };
            prop_assert_eq!(Transmission::decode(&bytes, version), Ok(expected));
            // What is authorised is the same in every version.
            let mut legacy = Vec::new();
            put_sent(&mut legacy, Version::MIN, &session_id, &corr_id, &entity_id, |out| {
                out.extend_from_slice(&command);
            });
            let authorized = if version < Version::AUTH_COMMANDS {
                Authorized::sent_only(&sent)
            } else {
                Authorized::new(&session_id, &sent)
            };
            prop_assert_eq!(authorized.parts().concat(), legacy);

            mutation::mutate(&mut bytes, &mutations);
            survive(&bytes)?;
        }
    }

    #[test]
    fn damaged_batches_do_no_harm(
        items in prop::collection::vec(bytes(60), 1..300),
        mutations in mutation::mutations(),
    ) {
        let mut content = Vec::new();
        let mut batch = BatchBuilder::new(&mut content);
        for item in &items {
            batch.push(|out| out.extend_from_slice(item));
        }
        mutation::mutate(&mut content, &mutations);
        survive(&content)?;
    }

    #[test]
    fn any_bytes_do_no_harm(content in bytes(600)) {
        survive(&content)?;
    }
}
