//! Subscribers of services, and notifications in portions (spec: server §6, §7).

use super::peer::{Peer, SERVICE_ID, SERVICE_SHARD, message, queue};
use crate::protocol::command::ServiceQueues;
use crate::protocol::{Command, Response};
use crate::relay::Answer;
use crate::session::{OUTBOX_HIGH_WATER, OUTBOX_LOW_WATER};
use crate::store::Id;

fn confirmed() -> Answer {
    Answer::ServiceSubscription(Response::Sok(None))
}

/// Sends blocks of one `NSUB` each.
fn subscribe(peer: &mut Peer, blocks: usize) {
    let nsub = [peer.transmission(&[1], &queue(1, 0), &Command::NSub)];
    (0..blocks).for_each(|_| peer.send(&nsub));
}

#[test]
fn confirmations_wait_until_the_session_has_joined_its_service() {
    let mut peer = Peer::service();
    subscribe(&mut peer, 3);
    assert!(!peer.session.touched_shards().contains(&SERVICE_SHARD));
    peer.answer(1, 0, confirmed());
    peer.answer(0, 0, confirmed());
    assert_eq!(peer.router.joining, 1);
    // The shard of the service must hear of the session's end.
    assert!(peer.session.touched_shards().contains(&SERVICE_SHARD));
    assert!(!peer.session.has_output() && !peer.session.holds_service_subscription());
    peer.session.service_joined();
    assert!(peer.session.holds_service_subscription());
    assert_eq!(peer.tags(), ["SOK", "SOK"]);
    peer.answer(2, 0, confirmed());
    assert_eq!(peer.tags(), ["SOK"]);
    assert_eq!(peer.router.joining, 1);
    assert!(peer.session.is_settled());
}

#[test]
fn a_waiting_confirmation_keeps_no_command_waiting() {
    let mut peer = Peer::service();
    let block = [
        peer.transmission(&[1], &queue(1, 0), &Command::NSub),
        peer.transmission(&[1], &queue(2, 1), &Command::NDel),
    ];
    peer.send(&block);
    assert_eq!(peer.dispatched(), [(0, 0, 0)]);
    peer.answer(0, 0, confirmed());
    assert_eq!(peer.dispatched(), [(1, 0, 1)]);
}

#[test]
fn a_session_whose_service_subscription_ended_joins_again() {
    let mut peer = Peer::service();
    subscribe(&mut peer, 3);
    peer.answer(0, 0, confirmed());
    // The end of what was before it joined.
    peer.push(SERVICE_ID, Response::Ends(ServiceQueues::UNKNOWN));
    peer.session.service_joined();
    assert!(peer.session.holds_service_subscription());
    peer.push(SERVICE_ID, Response::Ends(ServiceQueues::UNKNOWN));
    assert!(!peer.session.holds_service_subscription());
    peer.all();
    peer.answer(1, 0, confirmed());
    assert_eq!(peer.router.joining, 2);
    assert!(!peer.session.has_output());
    peer.session.service_joined();
    assert_eq!(peer.tags(), ["SOK"]);
}

#[test]
fn a_session_that_has_joined_again_is_not_told_of_an_end() {
    let ended = || Response::Ends(ServiceQueues::UNKNOWN);
    let nsubs = Command::NSubs(ServiceQueues::UNKNOWN);
    // Again through one queue, or through all.
    for all in [false, true] {
        let mut peer = Peer::service();
        subscribe(&mut peer, 1);
        peer.answer(0, 0, confirmed());
        peer.session.service_joined();
        peer.session.push(SERVICE_ID, ended());
        if all {
            let block = [peer.transmission(&[1], &SERVICE_ID, &nsubs)];
            peer.send(&block);
            peer.answer(1, 0, Response::Soks(ServiceQueues::UNKNOWN));
        } else {
            subscribe(&mut peer, 1);
            peer.answer(1, 0, confirmed());
            peer.session.service_joined();
        }
        assert_eq!(peer.session.flush_events(), 0);
        peer.session.push(SERVICE_ID, ended());
        assert_eq!(peer.session.flush_events(), 1);
        assert_eq!(peer.tags().last().unwrap(), "ENDS");
    }
}

#[test]
fn subscribing_to_all_queues_of_the_service_joins_it() {
    let mut peer = Peer::service();
    let nsubs = [peer.transmission(&[1], &SERVICE_ID, &Command::NSubs(ServiceQueues::UNKNOWN))];
    peer.send(&nsubs);
    peer.answer(0, 0, Response::Soks(ServiceQueues::UNKNOWN));
    assert!(peer.session.holds_service_subscription());
    subscribe(&mut peer, 1);
    peer.answer(1, 0, confirmed());
    assert_eq!(peer.tags(), ["SOKS", "SOK"]);
    assert_eq!(peer.router.joining, 0);
}

/// The answer does not say what the shard of the service said.
#[test]
fn a_session_that_is_joining_waits_for_the_shard_of_the_service() {
    let mut peer = Peer::service();
    let nsubs = peer.transmission(&[1], &SERVICE_ID, &Command::NSubs(ServiceQueues::UNKNOWN));
    subscribe(&mut peer, 1);
    peer.answer(0, 0, confirmed());
    peer.send(&[nsubs]);
    peer.answer(1, 0, Response::Soks(ServiceQueues::UNKNOWN));
    assert!(!peer.session.holds_service_subscription());
    assert!(!peer.session.has_output());
    peer.session.service_joined();
    assert_eq!(peer.tags(), ["SOK", "SOKS"]);
}

fn notifications(count: u8) -> Vec<(Id, Response<'static>)> {
    let notification = |n| Response::NMsg {
        nonce: [n; 24],
        boxed: vec![n; 144].into(),
    };
    (0..count).map(|n| (queue(n, 0), notification(n))).collect()
}

#[test]
fn notifications_leave_in_order_and_are_reported_to_their_shards() {
    let mut peer = Peer::plain();
    peer.session.notify(4, notifications(3));
    peer.session.notify(2, notifications(1));
    peer.session.notify(4, notifications(2));
    let mut credits: Vec<_> = std::iter::from_fn(|| peer.session.take_credit()).collect();
    credits.sort_unstable();
    assert_eq!(credits, [(2, 1), (4, 5)]);
    let of: Vec<_> = peer.all().iter().map(|r| r.entity_id[0]).collect();
    assert_eq!(of, [0, 1, 2, 0, 0, 1]);
    assert_eq!(peer.session.take_credit(), None);
}

#[test]
fn notifications_wait_for_the_confirmation_of_their_subscription() {
    let mut peer = Peer::plain();
    let nsub = |n| peer.transmission(&[1], &queue(n, n), &Command::NSub);
    let block = [nsub(0), nsub(1)];
    peer.send(&block);
    peer.answer(0, 0, Response::Sok(None));
    peer.session.notify(0, notifications(1));
    assert!(!peer.session.has_output());
    peer.answer(0, 1, Response::Sok(None));
    assert_eq!(peer.tags(), ["SOK", "SOK", "NMSG"]);
}

#[test]
fn a_reader_that_is_too_slow_is_given_no_further_notifications() {
    let mut peer = Peer::plain();
    // What a shard gives without being told that something was taken.
    let window = 255;
    let mut given = 0;
    loop {
        peer.session.notify(1, notifications(window));
        given += 1;
        match peer.session.take_credit() {
            Some(credit) => assert_eq!(credit, (1, u32::from(window))),
            None => break,
        }
    }
    let bytes = given * usize::from(window) * 144;
    assert!(bytes < 2 * OUTBOX_LOW_WATER);
    assert!(peer.session.wants_input());
    let mut left = 0;
    while let Some(block) = peer.next() {
        left += block.len();
        if let Some(credit) = peer.session.take_credit() {
            assert_eq!(credit, (1, u32::from(window)));
            assert!(
                peer.session.has_output(),
                "asked for before nothing is left"
            );
        }
    }
    assert_eq!(left, given * usize::from(window));
    // Nor is a reader of much else.
    for n in 0..=(OUTBOX_LOW_WATER >> 14) {
        peer.push(queue(1, 0), message(n as u8));
    }
    peer.session.notify(1, notifications(1));
    assert_eq!(peer.session.take_credit(), None);
    const { assert!(OUTBOX_LOW_WATER < OUTBOX_HIGH_WATER) };
    peer.all();
    assert_eq!(peer.session.take_credit(), Some((1, 1)));
}
