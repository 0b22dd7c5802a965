//! Responses and messages on their way out: who may overtake whom (spec: server §2.2, §2.5).

use super::peer::{Peer, Received, message, numbered, queue, subscribed};
use crate::protocol::response::BOXED_MESSAGE_LEN;
use crate::protocol::{BLOCK_SIZE, Command, Response, Version};

/// Subscribes to `n` queues with a waiting message each; gives how many answers and how many
/// messages are in each block.
fn subscribe(peer: &mut Peer, n: u8) -> Vec<(usize, usize)> {
    let subs: Vec<_> = (0..n)
        .map(|i| peer.transmission(&[i; 24], &queue(i, 0), &Command::Sub))
        .collect();
    peer.send(&subs);
    for i in 0..n {
        peer.answer(0, i, subscribed(i));
    }
    blocks(peer)
}

fn is_message(received: &Received) -> bool {
    matches!(received.response, Response::Msg { .. })
}

/// Answers and messages of every block that waits.
fn blocks(peer: &mut Peer) -> Vec<(usize, usize)> {
    std::iter::from_fn(|| peer.next())
        .map(|block| {
            let messages = block.iter().filter(|r| is_message(r)).count();
            (block.len() - messages, messages)
        })
        .collect()
}

#[test]
fn a_message_shares_the_block_of_few_confirmations() {
    for encrypted in [false, true] {
        let peer = || Peer::new(Version::CURRENT, encrypted);
        assert_eq!(subscribe(&mut peer(), 1), [(1, 1)]);
        assert_eq!(subscribe(&mut peer(), 3), [(3, 1), (0, 1), (0, 1)]);
        let blocks = subscribe(&mut peer(), 5);
        assert_eq!(blocks, [(5, 0), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1)]);
    }
}

#[test]
fn a_message_to_oneself_precedes_the_confirmation() {
    let mut peer = Peer::plain();
    let notify = false;
    let send = Command::Send { notify, body: &[] };
    let block = [peer.transmission(&[1], &queue(1, 0), &send)];
    peer.send(&block);
    peer.push(queue(2, 0), message(1));
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.next_tags(), ["MSG", "OK"]);
}

#[test]
fn responses_fill_the_block_of_a_message_and_messages_keep_their_order() {
    let mut peer = Peer::plain();
    for n in 0..3 {
        peer.push(queue(n, 0), message(n));
        peer.push(queue(n, 0), Response::Sok(None));
    }
    let first = peer.next().unwrap();
    assert!(is_message(&first[0]) && !first[1..].iter().any(is_message));
    assert_eq!(first.len(), 4);
    let of: Vec<_> = peer.all().iter().map(|r| r.entity_id[0]).collect();
    assert_eq!(of, [1, 2]);
}

#[test]
fn a_message_does_not_overtake_an_earlier_response() {
    let mut peer = Peer::plain();
    peer.push(queue(1, 0), message(1));
    // Fills a block nearly alone.
    let long = Response::Info(vec![b'x'; BOXED_MESSAGE_LEN].into());
    peer.push(queue(2, 0), long);
    peer.push(queue(3, 0), message(3));
    peer.push(queue(4, 0), Response::Ok);
    let tags: Vec<_> =
        std::iter::from_fn(|| peer.session.has_output().then(|| peer.next_tags())).collect();
    // The response behind the long one does not overtake it either.
    assert_eq!(tags, [vec!["MSG"], vec!["INFO", "OK"], vec!["MSG"]]);
}

#[test]
fn answers_are_not_delayed_by_the_messages_before_them() {
    let mut peer = Peer::plain();
    // As many as find room.
    for n in 0..60 {
        peer.push(queue(n, 0), message(n));
    }
    let pings = vec![peer.transmission(&[1; 24], &[], &Command::Ping); 255];
    peer.send(&pings);
    let sizes = blocks(&mut peer);
    assert_eq!(sizes.len(), 61);
    assert!(sizes[0].0 <= 6 && sizes[0].1 == 1, "{:?}", sizes[0]);
    assert_eq!(sizes[1], (255 - sizes[0].0, 0));
    assert!(sizes[2..].iter().all(|size| *size == (0, 1)));
}

#[test]
fn neither_lane_starves() {
    let mut peer = Peer::plain();
    for n in 0..20 {
        peer.push(queue(n, 0), message(n));
        // Each fills a block.
        peer.push(
            queue(n, 0),
            Response::Info(vec![n; BLOCK_SIZE - 100].into()),
        );
    }
    // The first message waits for nothing, each other for the response before it.
    let tags = peer.tags();
    let expected: Vec<_> = (0..20).flat_map(|_| ["MSG", "INFO"]).collect();
    assert_eq!(tags, expected);

    for n in 0..5 {
        peer.push(queue(n, 0), message(n));
    }
    for _ in 0..8 {
        peer.push(
            queue(1, 0),
            Response::Info(vec![1; BLOCK_SIZE - 100].into()),
        );
    }
    // In turn while more than a few responses wait, then in the order in which they came.
    let tags = peer.tags().join(" ");
    let turns = "MSG INFO MSG INFO MSG INFO MSG INFO MSG INFO INFO INFO INFO";
    assert_eq!(tags, turns);
}

#[test]
fn a_block_takes_one_message_whatever_its_size() {
    let mut peer = Peer::plain();
    let short = || Response::Msg {
        msg_id: vec![1; 24].into(),
        boxed: vec![2; 100].into(),
    };
    for n in 0..2 {
        peer.push(queue(n, 0), short());
        peer.push(queue(n, 0), Response::Ok);
    }
    assert_eq!(blocks(&mut peer), [(2, 1), (0, 1)]);
}

/// An answer is no message, whatever its correlation id.
#[test]
fn answers_that_are_messages_keep_their_place() {
    let mut peer = Peer::plain();
    let get = peer.transmission(&[], &queue(1, 0), &Command::Get);
    let block = [get.clone(), get.clone(), get];
    peer.send(&block);
    peer.answer(0, 0, message(1));
    peer.answer(0, 1, numbered(2));
    peer.answer(0, 2, message(3));
    assert_eq!(peer.next_tags(), ["MSG", "INFO"]);
    assert_eq!(peer.next_tags(), ["MSG"]);
}

#[test]
fn a_response_that_fits_no_block_hides_no_message() {
    let mut peer = Peer::plain();
    let huge = Response::Info(vec![b'x'; BLOCK_SIZE].into());
    peer.push(queue(1, 0), message(1));
    peer.push(queue(2, 0), message(2));
    for _ in 0..4 {
        peer.push(queue(1, 0), huge.clone());
    }
    assert_eq!(peer.next_tags(), ["MSG"]);
    assert_eq!(peer.next_tags(), ["MSG"]);
    assert!(!peer.session.has_output());
}

#[test]
fn the_end_of_a_subscription_does_not_overtake_its_messages() {
    let mut peer = Peer::plain();
    for n in 0..3 {
        peer.push(queue(n, 0), message(n));
    }
    for n in 0..4 {
        peer.push(queue(n, 0), Response::End);
    }
    peer.session.flush_events();
    let mut order: Vec<_> = peer
        .all()
        .iter()
        .map(|r| (r.entity_id[0], is_message(r)))
        .collect();
    // Nothing holds the end of the fourth.
    assert!(order.contains(&(3, false)));
    order.retain(|(queue, _)| *queue < 3);
    order.sort_by_key(|(queue, _)| *queue);
    let both = |queue| [(queue, true), (queue, false)];
    assert_eq!(order, [both(0), both(1), both(2)].concat());
}
