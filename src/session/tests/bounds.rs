//! What a peer can make a session hold, and how much fits a block.

use super::peer::{Peer, Received, message, numbered};
use crate::protocol::batch::MAX_BATCH_ITEMS;
use crate::protocol::{BLOCK_SIZE, Command, Response, Version};
use crate::relay::{Answer, Ticket};
use crate::session::{
    MAX_BATCHES_IN_FLIGHT, MAX_COMMANDS_IN_FLIGHT, MAX_REDELIVERIES, OUTBOX_HIGH_WATER,
    OUTBOX_LOW_WATER, OUTBOX_PUSH_LIMIT,
};

const QUEUE: [u8; 24] = [1; 24];

#[test]
fn blocks_in_flight_are_bounded() {
    let mut peer = Peer::plain();
    let block = [peer.sub(&QUEUE)];
    for _ in 0..MAX_BATCHES_IN_FLIGHT {
        assert!(peer.session.wants_input());
        peer.send(&block);
    }
    assert!(!peer.session.wants_input());
    // A later answer frees nothing, the first does.
    peer.answer(1, 0, Response::Ok);
    assert!(!peer.session.wants_input());
    peer.answer(0, 0, Response::Ok);
    assert!(peer.session.wants_input());
}

#[test]
fn commands_in_flight_are_bounded() {
    let mut peer = Peer::plain();
    let sub = peer.transmission(&[], &QUEUE, &Command::Sub);
    let block = vec![sub; 128];
    let mut sent = 0;
    while peer.session.wants_input() {
        peer.send(&block);
        sent += block.len();
    }
    assert!(sent < MAX_COMMANDS_IN_FLIGHT + MAX_BATCH_ITEMS);
    // All answered but one: what they hold counts as well.
    for index in 1..128 {
        peer.answer(0, index, message(index));
    }
    assert!(!peer.session.wants_input());
    peer.answer(0, 0, Response::Ok);
    assert!(!peer.session.wants_input());
    while peer.next().is_some() {}
    assert!(peer.session.wants_input());
}

#[test]
fn a_reader_that_is_too_slow_is_not_read() {
    let mut peer = Peer::plain();
    let get = [peer.transmission(&[], &QUEUE, &Command::Get)];
    let mut batch = 0;
    while peer.session.wants_input() {
        peer.send(&get);
        peer.answer(batch, 0, message(1));
        batch += 1;
    }
    let held = batch as usize * BLOCK_SIZE;
    assert!((OUTBOX_HIGH_WATER..2 * OUTBOX_HIGH_WATER).contains(&held));
    assert!(peer.next().is_some());
    assert!(peer.next().is_some());
    assert!(peer.session.wants_input());
}

#[test]
fn messages_behind_confirmations_need_room_too() {
    let mut peer = Peer::plain();
    let room = u8::try_from(OUTBOX_PUSH_LIMIT / BLOCK_SIZE).unwrap();
    let subs: Vec<_> = (0..room + 9).map(|_| peer.sub(&QUEUE)).collect();
    peer.send(&subs);
    for index in 0..room + 9 {
        let answer = Answer::Subscribed {
            response: Response::Sok(None),
            message: message(index),
        };
        let ticket = Ticket { batch: 0, index };
        peer.session.answer(ticket, answer, &mut peer.router);
    }
    assert_eq!(peer.session.take_deferred(), None);
    let all = peer.all();
    let is_message = |r: &&Received| matches!(r.response, Response::Msg { .. });
    let messages = all.iter().filter(is_message).count();
    assert_eq!(all.len() - messages, usize::from(room) + 9);
    assert!(messages <= usize::from(room) + 1);
    let later = std::iter::from_fn(|| peer.session.take_deferred()).count();
    assert_eq!(messages + later, usize::from(room) + 9);
}

#[test]
fn messages_without_room_stay_in_their_queues() {
    let mut peer = Peer::plain();
    let queue = |n: usize| {
        let mut id = QUEUE;
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    };
    let total = 2 * OUTBOX_PUSH_LIMIT / BLOCK_SIZE;
    for n in 0..total {
        peer.push(queue(n), message(1));
    }
    // Small news are not lost.
    peer.push(QUEUE, Response::End);
    assert_eq!(peer.session.take_deferred(), None);
    let mut sent = Vec::new();
    let mut deferred = Vec::new();
    while let Some(block) = peer.next() {
        sent.extend(block.into_iter().map(|r| r.entity_id));
        let before = deferred.len();
        while let Some(id) = peer.session.take_deferred() {
            deferred.push(id.to_vec());
        }
        let asked = deferred.len() - before;
        assert!(asked <= MAX_REDELIVERIES);
        // Asked for as soon as there is room, not when nothing is left to send.
        assert!(before > 0 || asked == 0 || peer.session.has_output());
        // The queues have nothing any more: the next may be asked.
        (0..asked).for_each(|_| peer.session.nothing_deferred());
    }
    while let Some(id) = peer.session.take_deferred() {
        deferred.push(id.to_vec());
        peer.session.nothing_deferred();
    }
    let pushed = sent.len() - 1;
    assert!(pushed * BLOCK_SIZE <= OUTBOX_PUSH_LIMIT + BLOCK_SIZE);
    assert!(pushed * BLOCK_SIZE > OUTBOX_LOW_WATER);
    let all: Vec<_> = sent
        .into_iter()
        .filter(|id| id[..] != QUEUE)
        .chain(deferred)
        .collect();
    let expected: Vec<_> = (0..total).map(|n| queue(n).to_vec()).collect();
    assert_eq!(all, expected);
}

#[test]
fn blocks_are_filled_to_their_limits() {
    for encrypted in [false, true] {
        let mut peer = Peer::new(Version::CURRENT, encrypted);
        for _ in 0..600 {
            peer.push(QUEUE, Response::End);
        }
        let lens: Vec<_> = std::iter::from_fn(|| peer.next())
            .map(|b| b.len())
            .collect();
        assert_eq!(lens, [255, 255, 90]);

        // A message leaves room for a few confirmations.
        for n in 0..2 {
            peer.push(QUEUE, message(n));
            for _ in 0..4 {
                peer.push(QUEUE, Response::Sok(None));
            }
        }
        let lens: Vec<_> = std::iter::from_fn(|| peer.next())
            .map(|b| b.len())
            .collect();
        assert_eq!(lens.iter().sum::<usize>(), 10);
        assert!(lens.len() <= 3, "{lens:?}");
        assert!(!peer.session.has_output());
    }
}

#[test]
fn an_answer_that_fits_no_block_is_dropped_alone() {
    let mut peer = Peer::plain();
    let huge = Response::Info(vec![b'x'; BLOCK_SIZE].into());
    for _ in 0..2 {
        peer.push(QUEUE, huge.clone());
        peer.push(QUEUE, numbered(1));
    }
    peer.push(QUEUE, huge);
    let all = peer.all();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|r| r.response == numbered(1)));
    assert!(!peer.session.has_output());
    assert!(peer.session.wants_input());
}

#[test]
fn a_session_without_news_sends_nothing() {
    let mut peer = Peer::plain();
    assert!(peer.next().is_none());
    assert!(peer.session.is_settled());
    assert!(!peer.session.has_output());
    assert_eq!(peer.session.take_deferred(), None);
}
