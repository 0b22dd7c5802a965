//! Blocks and transmissions that are answered without being executed (spec: server §2.3).

use super::peer::{Peer, Received, tag};
use crate::protocol::encoding::put_bytes8;
use crate::protocol::{Command, Response, Version};
use proptest::prelude::*;

/// The tag, correlation and entity id of what was received.
fn summary(received: &[Received]) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    received
        .iter()
        .map(|r| (tag(&r.response), r.corr_id.clone(), r.entity_id.clone()))
        .collect()
}

#[test]
fn bad_blocks_are_answered_and_the_connection_goes_on() {
    for encrypted in [false, true] {
        let mut peer = Peer::new(Version::CURRENT, encrypted);
        let ping = peer.transmission(&[1], &[], &Command::Ping);
        let mut good = vec![1, 0, ping.len() as u8];
        good.extend_from_slice(&ping);
        let trailing = [&good[..], &[0]].concat();
        let cut = &good[..good.len() - 1];
        for content in [&[][..], &[0], &[1], &[2, 0, 0], cut, &trailing] {
            let mut block = peer.block(content);
            peer.receive(&mut block);
            let expected = [("ERR BLOCK".to_owned(), vec![], vec![])];
            assert_eq!(summary(&peer.all()), expected, "{content:?}");
        }
        // A block that does not unpad, or open; the keys go on as the client's do.
        let mut block = peer.block(&good);
        block[..2].copy_from_slice(&[0xff, 0xff]);
        peer.receive(&mut block);
        assert_eq!(peer.tags(), ["ERR BLOCK"]);
        let mut block = peer.block(&good);
        peer.receive(&mut block);
        assert_eq!(peer.tags(), ["PONG"]);
    }
}

#[test]
fn a_bad_block_waits_for_its_turn() {
    let mut peer = Peer::plain();
    let sub = [peer.sub(&[1; 24])];
    peer.send(&sub);
    let mut block = peer.block(&[0]);
    peer.receive(&mut block);
    assert!(!peer.session.has_output());
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.tags(), ["OK", "ERR BLOCK"]);
}

#[test]
fn transmissions_are_refused_one_by_one() {
    let mut peer = Peer::plain();
    let (corr_id, entity) = (vec![1, 2], vec![3; 24]);
    // Authorization, absent service signature, ids, command.
    let bytes = |authorization: &[u8], entity: &[u8], command: &[u8]| {
        let mut out = Vec::new();
        put_bytes8(&mut out, authorization);
        if !authorization.is_empty() {
            out.push(b'0');
        }
        put_bytes8(&mut out, &[1, 2]);
        put_bytes8(&mut out, entity);
        out.extend_from_slice(command);
        out
    };
    let signed = [9; 64];
    let nothing = Vec::new;
    let cases = [
        (vec![], ("ERR BLOCK", nothing(), nothing())),
        (vec![5, 1], ("ERR BLOCK", nothing(), nothing())),
        (
            bytes(&[1; 63], &entity, b"SUB"),
            ("ERR BLOCK", corr_id.clone(), nothing()),
        ),
        (
            bytes(&signed, &entity, b"OK"),
            ("ERR CMD UNKNOWN", corr_id.clone(), entity.clone()),
        ),
        (
            bytes(&signed, &entity, b"SUB="),
            ("ERR CMD UNKNOWN", corr_id.clone(), entity.clone()),
        ),
        (
            bytes(&signed, &entity, b"SUB "),
            ("ERR CMD SYNTAX", corr_id.clone(), entity.clone()),
        ),
        (
            bytes(&[], &entity, b"SUB"),
            ("ERR CMD NO_AUTH", corr_id.clone(), entity.clone()),
        ),
        (
            bytes(&signed, &[], b"SUB"),
            ("ERR CMD NO_AUTH", corr_id.clone(), nothing()),
        ),
        (
            bytes(&[], &[], b"SEND F body"),
            ("ERR CMD NO_ENTITY", corr_id.clone(), nothing()),
        ),
        (
            bytes(&signed, &[], b"PING"),
            ("ERR CMD HAS_AUTH", corr_id.clone(), nothing()),
        ),
        (
            bytes(&[], &[], b"PING"),
            ("PONG", corr_id.clone(), nothing()),
        ),
    ];
    let (items, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    peer.send(&items);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(tag, corr_id, entity)| (tag.to_owned(), corr_id, entity))
        .collect();
    assert_eq!(summary(&peer.all()), expected);
    assert!(peer.router.dispatched.is_empty());
}

#[test]
fn version_six_names_its_session_in_both_directions() {
    let mut peer = Peer::new(Version(6), false);
    let ping = peer.transmission(&[1], &[], &Command::Ping);
    let mut stranger = ping.clone();
    // Behind the empty authorization and the length comes the session id.
    stranger[2] ^= 1;
    peer.send(&[ping, stranger]);
    let expected = [
        ("ERR SESSION".to_owned(), vec![1], vec![]),
        ("PONG".to_owned(), vec![1], vec![]),
    ];
    assert_eq!(summary(&peer.all()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_block_is_answered_without_panic(
        version in 6..=18u16,
        encrypted: bool,
        count: u8,
        items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..12),
        cut in 0..64usize,
    ) {
        let mut peer = Peer::new(Version(version), encrypted);
        let mut content = vec![count];
        for item in &items {
            content.extend_from_slice(&(item.len() as u16).to_be_bytes());
            content.extend_from_slice(item);
        }
        content.truncate(content.len().saturating_sub(cut));
        let mut block = peer.block(&content);
        peer.receive(&mut block);
        answer_all(&mut peer);
    }

    #[test]
    fn changed_blocks_are_answered_without_panic(
        version in 6..=18u16,
        changes in proptest::collection::vec((0..200usize, any::<u8>()), 0..6),
    ) {
        let mut peer = Peer::new(Version(version), false);
        let items = [
            peer.sub(&[1; 24]),
            peer.transmission(&[2], &[2; 24], &Command::Send { notify: true, body: b"body" }),
            peer.transmission(&[3], &[3; 24], &Command::Ack { msg_id: &[4; 24] }),
        ];
        let mut content = vec![3];
        for item in &items {
            content.extend_from_slice(&(item.len() as u16).to_be_bytes());
            content.extend_from_slice(item);
        }
        let mut block = peer.block(&content);
        for (at, value) in changes {
            block[at] = value;
        }
        peer.receive(&mut block);
        answer_all(&mut peer);
    }
}

/// Every command gets an answer, and every answer leaves.
fn answer_all(peer: &mut Peer) {
    while let Some((_, ticket)) = peer.router.dispatched.pop() {
        peer.answer(ticket.batch, ticket.index, Response::Ok);
    }
    assert!(peer.session.is_settled());
    assert!(!peer.all().is_empty());
}
