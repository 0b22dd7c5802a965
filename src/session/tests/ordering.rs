//! Answers leave in the order of the commands, pushes behind what makes sense of them.

use super::peer::{Peer, Received, message, numbered};
use crate::crypto::keys::X25519PublicKey;
use crate::protocol::response::QueueIds;
use crate::protocol::{Command, Response, Version};
use crate::relay::{Answer, Ticket};
use proptest::prelude::*;

/// A queue id that leads to a shard.
fn queue(n: u8, shard: u8) -> [u8; 24] {
    let mut id = [n; 24];
    id[23] = shard;
    id
}

fn subscribed(n: u8) -> Answer {
    Answer::Subscribed {
        response: Response::Sok(None),
        message: message(n),
    }
}

/// What a client sends.
#[derive(Debug, Clone, Copy)]
enum Item {
    Sub { shard: u8 },
    Ping,
    Garbage,
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => (0..3u8).prop_map(|shard| Item::Sub { shard }),
        1 => Just(Item::Ping),
        1 => Just(Item::Garbage),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn answers_in_any_order_leave_in_command_order(
        blocks in proptest::collection::vec(proptest::collection::vec(item(), 1..12), 1..12),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 150),
        redirects in proptest::collection::vec(any::<bool>(), 150),
        encrypted: bool,
    ) {
        let mut peer = Peer::new(Version::CURRENT, encrypted);
        let mut expected = Vec::new();
        for (block, number) in blocks.iter().zip(0u8..) {
            let items: Vec<_> = block
                .iter()
                .zip(0u8..)
                .map(|(item, index)| {
                    let corr_id = [number, index];
                    let (command, entity, answered) = match item {
                        Item::Sub { shard } => (Command::Sub, queue(1, *shard).to_vec(), true),
                        Item::Ping => (Command::Ping, vec![], false),
                        Item::Garbage => (Command::Sub, vec![], false),
                    };
                    expected.push((corr_id.to_vec(), answered));
                    peer.transmission(&corr_id, &entity, &command)
                })
                .collect();
            peer.send(&items);
        }
        let mut open = peer.router.dispatched.clone();
        // Within a shard commands keep their order.
        for shard in 0..3 {
            let tickets: Vec<_> = open.iter().filter(|(s, _)| *s == shard).collect();
            prop_assert!(tickets.is_sorted());
        }
        let mut received: Vec<Received> = peer.all();
        let again = peer.transmission(&[1], &queue(1, 2), &Command::Sub);
        for (pick, redirect) in order.iter().zip(&redirects) {
            if open.is_empty() {
                break;
            }
            let (_, ticket) = open.swap_remove(pick.index(open.len()));
            if *redirect {
                let before = peer.router.dispatched.len();
                peer.answer(ticket.batch, ticket.index, Answer::Redirect {
                    shard: 2,
                    transmission: again.clone(),
                });
                prop_assert_eq!(&peer.router.dispatched[before..], &[(2, ticket)]);
            }
            let number = usize::from(ticket.index) + 100 * ticket.batch as usize;
            peer.answer(ticket.batch, ticket.index, numbered(number));
            received.extend(peer.all());
            // Whatever has left is a beginning of what is owed.
            for (received, (corr_id, _)) in received.iter().zip(&expected) {
                prop_assert_eq!(&received.corr_id, corr_id);
            }
        }
        prop_assert!(peer.session.is_settled());
        prop_assert_eq!(received.len(), expected.len());
        for (received, (corr_id, answered)) in received.iter().zip(&expected) {
            if *answered {
                let number = usize::from(corr_id[1]) + 100 * usize::from(corr_id[0]);
                prop_assert_eq!(&received.response, &numbered(number));
            }
        }
    }
}

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
        peer.session.push(queue(n, 0), message(n));
        peer.session.push(queue(n, 0), Response::End);
    }
    assert!(!peer.session.has_output());
    // Whatever was subscribed to earlier is pushed at once.
    peer.session.push(queue(9, 0), Response::Deld);
    assert_eq!(peer.tags(), ["DELD"]);
    // Not yet confirmed: this end is of an earlier subscription.
    peer.session.push(queue(1, 1), Response::End);
    assert_eq!(peer.tags(), ["END"]);
    peer.answer(0, 0, Response::Sok(None));
    assert_eq!(
        peer.tags(),
        ["SOK", "SOK", "MSG", "END", "SOK", "MSG", "END"]
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
    peer.session.push([5; 24], message(1));
    assert!(!peer.session.has_output());
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.tags(), ["OK", "IDS", "MSG"]);
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
