//! Records are read as they were written, and nothing else is read at all.

use super::fake::FakeDisk;
use super::model::{content, record};
use crate::store::log::LogId;
use crate::store::log::codec::{self, AckPayload, AliasPayload};
use crate::store::log::control::{Beginning, Control, HEADER_LEN, Header};
use crate::store::log::disk::Disk;
use crate::store::log::frame::{self, Head, Seed};
use crate::store::log::index::IdHasher;
use crate::store::log::walk::Walk;
use crate::store::{ActiveDays, IdKind, Message, MessageKind};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

fn write(segment: &mut [u8], at: usize, seed: Seed, lsn: u64, payload: &[u8]) -> usize {
    let mut head = Head::new(32, 7, payload.len()).unwrap();
    head.lsn = lsn;
    let bytes = head.encode();
    let crc = frame::checksum(seed, &bytes, &[payload]);
    let record = [&bytes[..], payload, &crc.to_le_bytes()].concat();
    segment[at..at + record.len()].copy_from_slice(&record);
    at + head.space()
}

proptest! {
    #[test]
    fn queues_come_back_as_they_were(seed: u64, birth: u64, message: u16, notification: u16) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (record, active) = (record(&mut rng), ActiveDays { message, notification });
        let mut payload = Vec::new();
        codec::write_queue(birth, &record, active, &mut payload);
        let back = codec::read_queue(&payload).unwrap();
        prop_assert_eq!(back.birth, birth);
        prop_assert_eq!(back.active, active);
        prop_assert_eq!(format!("{:?}", back.record), format!("{record:?}"));
        prop_assert_eq!(back.record.rcv_dh_secret.0, record.rcv_dh_secret.0);
        prop_assert_eq!(codec::queue_id(&payload, IdKind::Sender), Some(&record.sender_id));
        prop_assert_eq!(codec::queue_id(&payload, IdKind::Link), record.link_id.as_ref());
        let days = ActiveDays { message: 9, notification: 8 };
        codec::set_active(&mut payload, days);
        prop_assert_eq!(codec::read_queue(&payload).unwrap().active, days);
        // A payload cut anywhere is none.
        for len in 0..payload.len() {
            prop_assert!(codec::read_queue(&payload[..len]).is_none());
        }
    }

    #[test]
    fn links_aliases_messages_and_acknowledgements_come_back(seed: u64, birth: u64, seq: u64) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let content = content(&mut rng);
        let mut payload = Vec::new();
        codec::write_link(birth, &[1; 24], &[2; 24], &content, &mut payload);
        let link = codec::read_link(&payload).unwrap();
        prop_assert_eq!((link.birth, link.content), (birth, content));
        prop_assert_eq!(codec::link_key(&payload), Some((birth, [2; 24])));
        let alias = AliasPayload { birth, id: [3; 24], kind: IdKind::Link, shard: seq as u16 };
        let mut payload = Vec::new();
        codec::write_alias(&alias, &mut payload);
        prop_assert_eq!(codec::read_alias(&payload), Some(alias));
        let ack = AckPayload { birth, seq };
        prop_assert_eq!(codec::read_ack(&codec::write_ack(ack)), Some(ack));
        for kind in [
            MessageKind::Quota,
            MessageKind::Message { notify: true },
            MessageKind::Message { notify: false },
        ] {
            let message = Message { id: [4; 24], time_ns: seq as i64, kind, body: &[5; 99] };
            let head = codec::message_head(birth, &[6; 24], seq, &message);
            let payload = [&head[..], message.body].concat();
            let back = codec::read_message(&payload).unwrap();
            prop_assert_eq!((back.birth, back.seq, back.message), (birth, seq, message));
            prop_assert_eq!(codec::recipient_of(&payload), Some(&[6; 24]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind: u8, offset in 0_usize..64, lsn: u64) {
        let _ = codec::read_queue(&bytes);
        let _ = codec::read_link(&bytes);
        let _ = codec::read_alias(&bytes);
        let _ = codec::read_service(&bytes);
        let _ = codec::read_message(&bytes);
        let _ = codec::read_ack(&bytes);
        let _ = (codec::queue_id(&bytes, IdKind::Notifier), codec::link_key(&bytes));
        if let Some(mut head) = Head::new(kind, 0, bytes.len()) {
            head.kind = kind;
            let _ = Control::decode(&head, &bytes);
        }
        let seed = Seed::new(1, 2, 3, 4);
        prop_assert!(frame::read(&bytes, offset, seed).is_none());
        prop_assert!(frame::scan(&bytes, 0, seed, lsn).is_none());
        let _ = Header::decode(&bytes);
        let header = Header { file: 1, shard: 0, log: LogId::Queues, seq: 3, run: 4, size: 0 };
        let walk = Walk::new(&bytes, header, 6, |_, _| {});
        prop_assert_eq!(walk.begin, None);
    }

    #[test]
    fn ids_hash_alike_alone_and_together(key: [u8; 16], ids: [[u8; 24]; 4], count in 0_usize..5) {
        let hasher = IdHasher::new(&key);
        let kinds = [IdKind::Link, IdKind::Recipient, IdKind::Notifier, IdKind::Sender];
        let ids: Vec<_> = kinds.into_iter().zip(ids).take(count).collect();
        let alone: Vec<_> = ids.iter().map(|(kind, id)| hasher.hash(*kind, id)).collect();
        prop_assert_eq!(hasher.hash_all(&ids).collect::<Vec<_>>(), alone);
    }

    #[test]
    fn a_record_is_valid_only_where_it_was_written(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        flip in 0_usize..200,
        bit in 0_u8..8,
    ) {
        let mut segment = vec![0; 4096];
        let seed = Seed::new(1, 2, 3, 4);
        let end = write(&mut segment, 64, seed, 9, &payload);
        let found = frame::read(&segment, 64, seed).unwrap();
        prop_assert_eq!((found.payload, found.head.lsn), (&payload[..], 9));
        // Behind it there is nothing, and it is found by those who look.
        prop_assert!(frame::read(&segment, end, seed).is_none());
        prop_assert_eq!(frame::scan(&segment, 0, seed, 8).unwrap().offset, 64);
        prop_assert!(frame::scan(&segment, 0, seed, 9).is_none());
        let others = [
            Seed::new(2, 2, 3, 4),
            Seed::new(1, 3, 3, 4),
            Seed::new(1, 2, 4, 4),
            Seed::new(1, 2, 3, 5),
        ];
        for other in others {
            prop_assert!(frame::read(&segment, 64, other).is_none());
        }
        // The last four bytes before the padding are the checksum.
        let len = found.head.len as usize;
        segment[64 + flip % len] ^= 1 << bit;
        prop_assert!(frame::read(&segment, 64, seed).is_none());
    }
}

/// Whenever a process ends while it writes a header, and the next one as well, one can be read.
#[test]
fn a_header_can_be_read_whenever_writing_it_is_interrupted() {
    let headers = [7, 8, 9].map(Header::void);
    let mut untorn = 0;
    for first in 0..=HEADER_LEN {
        for second in 0..=HEADER_LEN {
            let disk = FakeDisk::default();
            disk.create("f", 512, &headers[0]).unwrap();
            for (header, effort) in headers[1..].iter().zip([first, second]) {
                let mut memory = disk.open("f").unwrap();
                disk.stop_after(Some(effort));
                Header::write(&mut memory, header);
                disk.stop_after(None);
            }
            let found = Header::decode(&disk.content("f"));
            assert_ne!(found, Beginning::Damaged, "{first}, {second}");
            untorn += u32::from(found == Beginning::Unused(9));
        }
    }
    assert!(untorn > 0);
}
