//! Content of blocks (spec: protocol §6.1).

use super::super::batch::{BatchBuilder, MAX_BATCH_BYTES, MAX_BATCH_ITEMS, decode_batch};
use super::super::transmission::{put_sent, put_transmission};
use super::super::{Command, Response, Version};
use crate::crypto::vectors;

/// A transmission as a client or server of `version` sends it, with 24-byte ids.
fn transmission(
    version: u16,
    auth: usize,
    corr_id: usize,
    put: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let version = Version(version);
    let (mut sent, mut bytes) = (Vec::new(), Vec::new());
    put_sent(
        &mut sent,
        version,
        &[1; 32],
        &vec![2; corr_id],
        &[3; 24],
        put,
    );
    put_transmission(&mut bytes, version, &vec![4; auth], None, &sent);
    bytes
}

#[test]
fn counts_of_full_blocks() {
    let v = vectors::get("batch_counts");
    let cases = v["cases"].as_array().unwrap();
    for case in cases {
        let what = case["what"].as_str().unwrap();
        let bytes = match what {
            "v6 SUB Ed25519, 32-byte session id" => {
                transmission(6, 64, 24, |out| Command::Sub.encode(Version(6), out))
            }
            "v18 SUB Ed25519" => {
                transmission(18, 64, 24, |out| Command::Sub.encode(Version(18), out))
            }
            "END" => transmission(18, 0, 0, |out| Response::End.encode(Version(18), out)),
            "NMSG" => {
                let nmsg = Response::NMsg {
                    nonce: [5; 24],
                    boxed: vec![6; 144].into(),
                };
                transmission(18, 0, 0, |out| nmsg.encode(Version(18), out))
            }
            other => panic!("unknown case {other}"),
        };
        let expected = usize::try_from(case["count"].as_u64().unwrap()).unwrap();
        // The vectors count the length prefix.
        assert_eq!(
            Some(bytes.len() as u64 + 2),
            case["encoded_len"].as_u64(),
            "{what}"
        );
        let mut content = Vec::new();
        let mut batch = BatchBuilder::new(&mut content);
        while batch.push(|out| out.extend_from_slice(&bytes)) {}
        assert_eq!(batch.len(), expected, "{what}");
        let decoded = decode_batch(&content).unwrap();
        assert_eq!(decoded.len(), expected);
        assert!(decoded.eq(std::iter::repeat_n(&bytes[..], expected)));
    }
    assert_eq!(cases.len(), 4);
}

#[test]
fn the_last_byte_is_used_and_not_one_more() {
    for (len, fits) in [(MAX_BATCH_BYTES - 2, true), (MAX_BATCH_BYTES - 1, false)] {
        let mut content = b"before".to_vec();
        let mut batch = BatchBuilder::new(&mut content);
        assert!(batch.is_empty());
        assert_eq!(batch.room(), Some(MAX_BATCH_BYTES - 2));
        assert_eq!(batch.push(|out| out.resize(out.len() + len, 7)), fits);
        assert_eq!(batch.len(), usize::from(fits));
        assert_eq!(
            content.len(),
            6 + 1 + if fits { MAX_BATCH_BYTES } else { 0 }
        );
        assert_eq!(content[6], u8::from(fits));
    }
}

#[test]
fn a_refused_transmission_leaves_the_batch_unchanged() {
    let mut content = Vec::new();
    let mut batch = BatchBuilder::new(&mut content);
    assert!(batch.push(|out| out.extend_from_slice(b"first")));
    assert!(!batch.push(|out| out.resize(out.len() + 70_000, 0)));
    assert!(!batch.push(|out| out.resize(out.len() + MAX_BATCH_BYTES - 8, 0)));
    assert!(batch.push(|out| out.resize(out.len() + MAX_BATCH_BYTES - 10, 0)));
    // One byte is left: not even an empty transmission has room for its length.
    assert_eq!((batch.room(), batch.push(|_| {})), (None, false));
    assert_eq!(batch.len(), 2);
    let items: Vec<_> = decode_batch(&content).unwrap().collect();
    assert_eq!(
        (items[0], items[1].len()),
        (&b"first"[..], MAX_BATCH_BYTES - 10)
    );
}

#[test]
fn no_more_than_255_items() {
    let mut content = Vec::new();
    let mut batch = BatchBuilder::new(&mut content);
    for _ in 0..MAX_BATCH_ITEMS {
        assert!(batch.push(|_| {}));
    }
    assert_eq!((batch.room(), batch.push(|_| {})), (None, false));
    assert_eq!(decode_batch(&content).unwrap().count(), 255);
}

#[test]
fn malformed_contents_are_refused_whole() {
    for bad in [
        &b""[..],
        b"\x00",
        b"\x00\x00\x01a",
        b"\x01",
        b"\x01\x00",
        b"\x01\x00\x02a",
        b"\x02\x00\x01a",
        b"\x01\x00\x01ab",
        b"\x01\x00\x01a\x00",
    ] {
        assert!(decode_batch(bad).is_err(), "{bad:?}");
    }
    // A receiver takes whatever fits the block.
    let mut large = vec![1, 0x3f, 0xfb];
    large.resize(super::super::MAX_PLAIN_CONTENT, 0);
    assert_eq!(decode_batch(&large).unwrap().next().unwrap().len(), 0x3ffb);
}
