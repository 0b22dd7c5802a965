//! Answers leave in the order of the commands, pushes behind what makes sense of them.

use super::peer::{Peer, message, numbered, queue, subscribed};
use crate::crypto::keys::X25519PublicKey;
use crate::protocol::error::CommandError;
use crate::protocol::response::QueueIds;
use crate::protocol::{Command, ErrorType, Response};
use crate::relay::{Answer, Ticket};

#[test]
fn a_batch_leaves_as_a_whole() {
    let mut peer = Peer::plain();
    let subs: Vec<_> = (1..=3).map(|n| peer.sub(&queue(n, 0))).collect();
    peer.send(&subs);
    peer.answer(0, 2, Response::Ok);
    peer.answer(0, 0, Response::Ok);
    assert!(peer.next().is_none());
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.next().map(|block| block.len()), Some(3));
    assert!(peer.next().is_none());
}

#[test]
fn refusals_before_execution_come_first() {
    let mut peer = Peer::plain();
    let without_queue = peer.transmission(&[1], &[], &Command::Sub);
    let block = [
        peer.sub(&queue(1, 0)),
        without_queue,
        peer.sub(&queue(2, 1)),
        peer.transmission(&[4], &[], &Command::Ping),
        peer.sub(&queue(3, 0)),
        vec![1],
    ];
    peer.send(&block);
    peer.answer(0, 4, Answer::Refused(ErrorType::Auth));
    // Refused by its execution: an answer like others.
    peer.answer(0, 2, ErrorType::NoMsg);
    peer.answer(0, 0, subscribed(1));
    let expected = [
        "ERR CMD NO_AUTH",
        "ERR AUTH",
        "ERR BLOCK",
        "SOK",
        "ERR NO_MSG",
        "PONG",
        "MSG",
    ];
    assert_eq!(peer.tags(), expected);
}

#[test]
fn refusals_wait_for_the_blocks_before_theirs() {
    let mut peer = Peer::plain();
    let first = [peer.sub(&queue(1, 0))];
    peer.send(&first);
    let without_queue = peer.transmission(&[1], &[], &Command::Sub);
    let second = [peer.sub(&queue(2, 0)), without_queue];
    peer.send(&second);
    let refused = ErrorType::Cmd(CommandError::Prohibited);
    peer.answer(1, 0, Answer::Refused(refused));
    assert!(!peer.session.has_output());
    peer.answer(0, 0, numbered(1));
    let expected = ["INFO", "ERR CMD PROHIBITED", "ERR CMD NO_AUTH"];
    assert_eq!(peer.tags(), expected);
}

#[test]
fn answers_repeat_the_ids_of_their_commands() {
    let mut peer = Peer::plain();
    let long = [8; 255];
    let sub = peer.transmission(&long, &queue(1, 0), &Command::Sub);
    let ping = peer.transmission(&[], &[], &Command::Ping);
    peer.send(&[sub, ping]);
    peer.answer(0, 0, Response::Sok(None));
    let all = peer.all();
    assert_eq!(all[0].corr_id, long);
    assert_eq!(all[0].entity_id, queue(1, 0));
    assert_eq!((all[1].corr_id.len(), all[1].entity_id.len()), (0, 0));
}

#[test]
fn a_waiting_message_follows_its_confirmation() {
    let mut peer = Peer::plain();
    let subs: Vec<_> = (1..=3).map(|n| peer.sub(&queue(n, 0))).collect();
    peer.send(&subs);
    peer.answer(0, 2, subscribed(3));
    peer.answer(0, 1, Response::Sok(None));
    peer.answer(0, 0, subscribed(1));
    let blocks: Vec<_> = std::iter::from_fn(|| peer.next()).collect();
    // Confirmations share the block of the first message; messages fill a block each.
    let lens: Vec<_> = blocks.iter().map(Vec::len).collect();
    assert_eq!(lens, [4, 1]);
    let messages: Vec<_> = blocks
        .iter()
        .flatten()
        .filter(|r| matches!(r.response, Response::Msg { .. }))
        .collect();
    assert!(messages.iter().all(|r| r.corr_id.is_empty()));
    let of: Vec<_> = messages.iter().map(|r| r.entity_id[0]).collect();
    // In the order of the commands, whichever shard was faster.
    assert_eq!(of, [1, 3]);
}

#[test]
fn pushes_wait_for_the_confirmation_of_their_subscription() {
    let mut peer = Peer::plain();
    let block = [peer.sub(&queue(1, 1)), peer.sub(&queue(2, 0))];
    peer.send(&block);
    let late = [peer.sub(&queue(3, 0))];
    peer.send(&late);
    peer.answer(0, 1, Response::Sok(None));
    peer.answer(1, 0, Response::Sok(None));
    for n in [2, 3] {
        peer.push(queue(n, 0), message(n));
        peer.push(queue(n, 0), Response::End);
    }
    assert!(!peer.session.has_output());
    // Whatever was subscribed to earlier does not wait.
    peer.push(queue(9, 0), Response::Deld);
    assert_eq!(peer.tags(), ["DELD"]);
    // Not yet confirmed: this end is of an earlier subscription.
    peer.push(queue(1, 1), Response::End);
    assert_eq!(peer.tags(), ["END"]);
    peer.answer(0, 0, Response::Sok(None));
    assert_eq!(
        peer.tags(),
        // What fits beside the first message, and each end behind its own.
        ["SOK", "SOK", "MSG", "SOK", "END", "MSG", "END"]
    );
}

#[test]
fn pushes_wait_for_the_ids_of_their_queue() {
    let mut peer = Peer::plain();
    let commands = [peer.sub(&queue(1, 1)), peer.sub(&queue(2, 0))];
    peer.send(&commands);
    let ids = QueueIds {
        recipient_id: vec![5; 24].into(),
        sender_id: vec![6; 24].into(),
        dh_key: X25519PublicKey([1; 32]),
        mode: None,
        link_id: None,
        service_id: None,
        notifier: None,
    };
    peer.answer(0, 1, Response::Ids(Box::new(ids)));
    peer.push([5; 24], message(1));
    assert!(!peer.session.has_output());
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.tags(), ["OK", "IDS", "MSG"]);
}

/// Both wait in one answer's block: the end came after the second.
#[test]
fn pushes_wait_for_the_latest_confirmation() {
    let mut peer = Peer::plain();
    for _ in 0..2 {
        let block = [peer.sub(&queue(1, 0)), peer.sub(&queue(2, 1))];
        peer.send(&block);
    }
    peer.answer(0, 0, Response::Sok(None));
    peer.answer(1, 0, Response::Sok(None));
    peer.push(queue(1, 0), Response::End);
    peer.answer(0, 1, Response::Sok(None));
    peer.answer(1, 1, Response::Sok(None));
    assert_eq!(peer.tags(), ["SOK", "SOK", "SOK", "SOK", "END"]);
}

#[test]
fn pushes_wait_for_a_confirmation_that_waits_for_the_disk() {
    let mut peer = Peer::plain();
    let sub = [peer.sub(&queue(1, 0))];
    peer.send(&sub);
    peer.executed(0, 0);
    peer.push(queue(1, 0), message(1));
    assert!(!peer.session.has_output());
    peer.answer(0, 0, Response::Sok(None));
    assert_eq!(peer.tags(), ["SOK", "MSG"]);
    // What is executed is no subscription.
    let key = [peer.transmission(&[1], &queue(1, 0), &Command::Off)];
    peer.send(&key);
    peer.executed(1, 0);
    peer.push(queue(1, 0), message(1));
    assert_eq!(peer.tags(), ["MSG"]);
}

/// Its ids are not known before the answer, so whatever comes may be its message.
#[test]
fn pushes_wait_for_a_new_queue_that_waits_for_the_disk() {
    let mut peer = Peer::plain();
    for (subscribe, waits) in [(true, true), (false, false)] {
        let new = [peer.new_queue(subscribe)];
        peer.send(&new);
        let batch = u32::from(!subscribe);
        peer.push(queue(5, 0), message(1));
        assert_eq!(peer.tags(), ["MSG"]);
        peer.executed(batch, 0);
        peer.push(queue(5, 0), message(1));
        assert_eq!(peer.session.has_output(), !waits);
        peer.answer(batch, 0, Response::Ok);
        let expected = if waits { ["OK", "MSG"] } else { ["MSG", "OK"] };
        assert_eq!(peer.tags(), expected);
    }
}

#[test]
fn answers_to_what_is_not_asked_are_dropped() {
    let mut peer = Peer::plain();
    let block = [peer.sub(&queue(1, 0)), peer.sub(&queue(2, 0))];
    peer.send(&block);
    for (batch, index) in [(1, 0), (u32::MAX, 0), (0, 2), (0, 255)] {
        peer.answer(batch, index, Response::Ok);
    }
    peer.answer(0, 0, Response::Ok);
    peer.answer(0, 0, Response::Pong);
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.tags(), ["OK", "OK"]);
    // And for a batch that has left.
    peer.answer(0, 0, Response::Pong);
    assert!(!peer.session.has_output());
}

#[test]
fn a_redirect_that_does_not_parse_is_answered() {
    let mut peer = Peer::plain();
    let block = [peer.sub(&queue(1, 0))];
    peer.send(&block);
    let transmission = vec![1, 2, 3];
    peer.answer(
        0,
        0,
        Answer::Redirect {
            shard: 3,
            transmission,
        },
    );
    assert_eq!(peer.tags(), ["ERR BLOCK"]);
}

#[test]
fn shards_that_were_given_something_are_remembered_once() {
    let mut peer = Peer::plain();
    let block = [
        peer.sub(&queue(1, 4)),
        peer.sub(&queue(2, 2)),
        peer.sub(&queue(3, 4)),
    ];
    peer.send(&block);
    assert_eq!(peer.session.touched_shards(), [4, 2]);
    let transmission = peer.sub(&queue(1, 4));
    peer.answer(
        0,
        0,
        Answer::Redirect {
            shard: 7,
            transmission,
        },
    );
    assert_eq!(peer.session.touched_shards(), [4, 2, 7]);
    let at: Vec<_> = peer.router.dispatched.clone();
    let ticket = |index| Ticket { batch: 0, index };
    assert_eq!(
        at,
        [
            (4, ticket(0)),
            (4, ticket(2)),
            (2, ticket(1)),
            (7, ticket(0))
        ]
    );
}
