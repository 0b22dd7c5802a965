//! Ended subscriptions are told together, and not when they are none (spec: server §4).

use super::peer::{Peer, SERVICE_ID, message, queue, subscribed};
use crate::protocol::command::ServiceQueues;
use crate::protocol::{Command, Response};
use crate::relay::Answer;
use crate::session::outbox::ITEM_BYTES;
use crate::session::{FlushDue, MAX_PENDING_EVENTS, OUTBOX_PUSH_LIMIT};

/// A session whose subscription to `queue(1, 0)` was confirmed.
fn subscriber() -> Peer {
    let mut peer = Peer::plain();
    let sub = [peer.sub(&queue(1, 0))];
    peer.send(&sub);
    peer.answer(0, 0, Response::Sok(None));
    assert_eq!(peer.tags(), ["SOK"]);
    peer
}

#[test]
fn ended_subscriptions_wait_to_be_told_together() {
    let mut peer = subscriber();
    let events = [
        (1, Response::End),
        (2, Response::Deld),
        (1, Response::Deld),
        (3, Response::Ends(ServiceQueues::UNKNOWN)),
    ];
    for (n, event) in events {
        assert_eq!(peer.session.push(queue(n, 0), event), FlushDue::Later);
    }
    assert!(!peer.session.has_output());
    // Nothing else waits for them.
    let unchanged = peer.session.push(queue(4, 0), message(4));
    assert_eq!(unchanged, FlushDue::Unchanged);
    assert_eq!(peer.tags(), ["MSG"]);
    assert_eq!(peer.session.flush_events(), 4);
    let all = peer.all();
    let of: Vec<_> = all.iter().map(|r| r.entity_id[0]).collect();
    assert_eq!(of, [1, 2, 1, 3]);
    assert!(all.iter().all(|r| r.corr_id.is_empty()));
    assert_eq!(peer.session.flush_events(), 0);
    assert!(!peer.session.has_output());
}

#[test]
fn a_subscription_that_is_confirmed_again_has_not_ended() {
    for answer in [Response::Sok(None).into(), subscribed(1)] {
        let mut peer = subscriber();
        peer.session.push(queue(1, 0), Response::End);
        peer.session.push(queue(2, 0), Response::End);
        peer.session.push(queue(1, 0), Response::End);
        let sub = [peer.sub(&queue(1, 0))];
        peer.send(&sub);
        peer.answer(1, 0, answer);
        peer.all();
        assert_eq!(peer.session.flush_events(), 1);
        assert_eq!(peer.all()[0].entity_id, queue(2, 0));
        // Taken over again.
        peer.session.push(queue(1, 0), Response::End);
        assert_eq!(peer.session.flush_events(), 1);
        assert_eq!(peer.tags(), ["END"]);
    }
}

#[test]
fn a_refused_subscription_leaves_the_end_of_the_earlier_one() {
    let mut peer = subscriber();
    peer.session.push(queue(1, 0), Response::End);
    let sub = [peer.sub(&queue(1, 0))];
    peer.send(&sub);
    peer.answer(1, 0, crate::protocol::ErrorType::Auth);
    assert_eq!(peer.session.flush_events(), 1);
    assert_eq!(peer.tags(), ["ERR AUTH", "END"]);
}

/// The answer waits for the disk; meanwhile another connection takes over.
#[test]
fn an_end_after_the_subscription_took_effect_is_told() {
    let mut peer = subscriber();
    peer.session.push(queue(1, 0), Response::End);
    let sub = [peer.sub(&queue(1, 0))];
    peer.send(&sub);
    peer.executed(1, 0);
    peer.session.push(queue(1, 0), Response::End);
    assert_eq!(peer.session.flush_events(), 1);
    assert!(!peer.session.has_output());
    peer.answer(1, 0, Response::Sok(None));
    assert_eq!(peer.tags(), ["SOK", "END"]);
}

#[test]
fn an_end_does_not_precede_its_confirmation() {
    let mut peer = Peer::plain();
    let block = [peer.sub(&queue(1, 0)), peer.sub(&queue(2, 1))];
    peer.send(&block);
    peer.answer(0, 0, Response::Sok(None));
    peer.session.push(queue(1, 0), Response::End);
    assert_eq!(peer.session.flush_events(), 1);
    assert!(!peer.session.has_output());
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.tags(), ["SOK", "OK", "END"]);

    let mut peer = Peer::service();
    let service = ServiceQueues::UNKNOWN;
    let nsubs = peer.transmission(&[1], &SERVICE_ID, &Command::NSubs(service));
    let block = [nsubs, peer.sub(&queue(1, 0))];
    peer.send(&block);
    peer.answer(0, 0, Response::Soks(service));
    peer.push(SERVICE_ID, Response::Ends(service));
    assert!(!peer.session.has_output());
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.tags(), ["SOKS", "OK", "ENDS"]);
}

/// It waits behind the first confirmation when the second comes, in the same block.
#[test]
fn an_end_between_two_confirmations_of_a_block_is_not_told() {
    let mut peer = Peer::plain();
    let block = [peer.sub(&queue(1, 0)), peer.sub(&queue(1, 0))];
    peer.send(&block);
    peer.answer(0, 0, Response::Sok(None));
    peer.push(queue(1, 0), Response::End);
    peer.push(queue(1, 0), message(1));
    peer.answer(0, 1, Response::Sok(None));
    assert_eq!(peer.tags(), ["SOK", "SOK", "MSG"]);
    assert!(peer.session.wants_input());
}

#[test]
fn a_bounded_number_of_events_waits() {
    let mut peer = subscriber();
    for _ in 1..MAX_PENDING_EVENTS {
        let due = peer.session.push(queue(1, 0), Response::Deld);
        assert_eq!(due, FlushDue::Later);
    }
    let due = peer.session.push(queue(1, 0), Response::Deld);
    assert_eq!(due, FlushDue::Now);
    assert_eq!(peer.session.flush_events(), MAX_PENDING_EVENTS);
    let due = peer.session.push(queue(1, 0), Response::Deld);
    assert_eq!(due, FlushDue::Later);
}

#[test]
fn a_confirmation_through_a_service_makes_an_end_stale_too() {
    let mut peer = Peer::service();
    peer.session.push(queue(1, 0), Response::End);
    let nsub = [peer.transmission(&[1], &queue(1, 0), &Command::NSub)];
    peer.send(&nsub);
    let (response, is_new) = (Response::Sok(None), true);
    peer.answer(0, 0, Answer::ServiceSubscription { response, is_new });
    // The session is not the subscriber of its service yet, but of this queue.
    peer.push(queue(1, 0), Response::Deld);
    assert!(!peer.session.has_output());
    peer.session.service_joined();
    assert_eq!(peer.tags(), ["SOK", "DELD"]);
}

#[test]
fn ends_wait_for_a_reader_that_is_too_slow() {
    let mut peer = Peer::plain();
    let total = 3 * OUTBOX_PUSH_LIMIT / ITEM_BYTES;
    let id = |n: usize| {
        let mut id = queue(9, 0);
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    };
    let mut flushed = 0;
    for n in 0..total {
        if peer.session.push(id(n), Response::End) == FlushDue::Now {
            flushed += peer.session.flush_events();
        }
    }
    flushed += peer.session.flush_events();
    let room = OUTBOX_PUSH_LIMIT / ITEM_BYTES;
    assert_eq!(flushed, room);
    assert!(!peer.session.has_overdue_events());
    // One of those that wait begins anew.
    let sub = [peer.sub(&id(total - 1))];
    peer.send(&sub);
    peer.answer(0, 0, Response::Sok(None));
    let mut received = Vec::new();
    while let Some(block) = peer.next() {
        received.extend(block.into_iter().map(|r| (r.entity_id, r.response)));
        if peer.session.has_overdue_events() {
            assert!(peer.session.has_output());
            flushed += peer.session.flush_events();
        }
    }
    assert_eq!(flushed, total - 1);
    received.retain(|(_, response)| matches!(response, Response::End));
    let expected: Vec<_> = (0..total - 1).map(|n| id(n).to_vec()).collect();
    let received: Vec<_> = received.into_iter().map(|(id, _)| id.to_vec()).collect();
    assert_eq!(received, expected);
}

/// Many blocks wait for the disk while many events come: each goes behind its own confirmation.
#[test]
fn many_events_find_their_confirmations() {
    let mut peer = Peer::plain();
    let subs = |peer: &mut Peer, block: u8| {
        let subs: Vec<_> = (0..100).map(|n| peer.sub(&queue(n, block))).collect();
        peer.send(&subs);
        (0..100).for_each(|index| peer.executed(u32::from(block), index));
    };
    subs(&mut peer, 0);
    subs(&mut peer, 1);
    for n in 0..100 {
        peer.session.push(queue(n, 1), Response::End);
        peer.session.push(queue(n, 2), Response::End);
    }
    assert_eq!(peer.session.flush_events(), 200);
    // Only what belongs to no confirmation leaves.
    let free = peer.all();
    assert_eq!(free.len(), 100);
    assert!(free.iter().all(|r| r.entity_id[23] == 2));
    for block in 0..2 {
        for index in 0..100 {
            peer.answer(block, index, Response::Sok(None));
        }
    }
    let tags = peer.tags();
    let expected = [vec!["SOK"; 200], vec!["END"; 100]].concat();
    assert_eq!(tags, expected);
}
