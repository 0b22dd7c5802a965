//! Commands take effect in the order sent, over all shards (spec: server §2.5).

use super::peer::{Peer, of_order, queue};
use crate::protocol::batch::MAX_BATCH_ITEMS;
use crate::protocol::{Command, ErrorType, Response};
use crate::relay::Answer;
use crate::session::BatchKind;
use crate::session::order::Order::{self, Commuting, Exclusive, Ordered, Read};
use crate::session::{MAX_BATCHES_IN_FLIGHT, MAX_COMMANDS_IN_FLIGHT};

/// A command of some order for a shard.
fn command(peer: &Peer, order: Order, shard: u8) -> Vec<u8> {
    peer.transmission(&[1], &queue(1, shard), &of_order(order))
}

/// Lets the session receive a block of commands; gives what is dispatched of it.
fn send(peer: &mut Peer, commands: &[(Order, u8)]) -> Vec<(u16, u32, u8)> {
    let block: Vec<_> = commands
        .iter()
        .map(|(order, shard)| command(peer, *order, *shard))
        .collect();
    peer.send(&block);
    peer.dispatched()
}

#[test]
fn ordered_commands_wait_for_those_of_other_shards() {
    let mut peer = Peer::plain();
    let commands = [
        (Ordered, 0),
        (Ordered, 0),
        (Ordered, 1),
        (Ordered, 1),
        (Ordered, 0),
    ];
    assert_eq!(send(&mut peer, &commands), [(0, 0, 0), (0, 0, 1)]);
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.dispatched(), []);
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.dispatched(), [(1, 0, 2), (1, 0, 3)]);
    peer.answer(0, 2, Response::Ok);
    peer.answer(0, 3, Answer::Refused(ErrorType::Auth));
    assert_eq!(peer.dispatched(), [(0, 0, 4)]);
    // As many together as may be.
    assert_eq!(peer.router.groups, [2, 2, 1]);
    peer.answer(0, 4, Response::Ok);
    assert_eq!(peer.all().len(), 5);
}

#[test]
fn the_order_holds_over_pipelined_blocks() {
    let mut peer = Peer::plain();
    assert_eq!(send(&mut peer, &[(Ordered, 0)]), [(0, 0, 0)]);
    assert_eq!(send(&mut peer, &[(Read, 0), (Read, 1)]), [(0, 1, 0)]);
    // Nothing overtakes what is held, whatever it is; what needs no shard is answered.
    let ping = peer.transmission(&[1], &[], &Command::Ping);
    let block = [command(&peer, Read, 0), ping];
    peer.send(&block);
    assert_eq!(send(&mut peer, &[(Ordered, 0)]), []);
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.dispatched(), [(1, 1, 1), (0, 2, 0), (0, 3, 0)]);
    for (batch, index) in [(3, 0), (2, 0), (1, 1), (1, 0)] {
        peer.answer(batch, index, Response::Ok);
    }
    assert_eq!(peer.tags(), ["OK", "OK", "OK", "OK", "PONG", "OK"]);
    assert!(peer.session.is_settled());
}

#[test]
fn nothing_waits_for_reading() {
    let mut peer = Peer::plain();
    let commands = [(Read, 0), (Read, 1), (Exclusive, 2)];
    assert_eq!(send(&mut peer, &commands).len(), 3);
    peer.answer(0, 2, Response::Ok);
    let commands = [(Read, 0), (Ordered, 1)];
    assert_eq!(send(&mut peer, &commands).len(), 2);
}

#[test]
fn acknowledgements_pipeline_over_all_shards() {
    let mut peer = Peer::plain();
    let nsub = peer.transmission(&[1], &queue(1, 2), &Command::NSub);
    let block = [
        command(&peer, Commuting, 0),
        command(&peer, Commuting, 1),
        nsub,
        command(&peer, Ordered, 0),
        command(&peer, Commuting, 1),
        command(&peer, Commuting, 0),
    ];
    peer.send(&block);
    assert_eq!(peer.dispatched(), [(0, 0, 0), (1, 0, 1), (2, 0, 2)]);
    peer.answer(0, 0, Response::Ok);
    peer.answer(0, 2, Response::Ok);
    assert_eq!(peer.dispatched(), []);
    peer.answer(0, 1, Response::Ok);
    // The next on another shard waits for it, and what is behind too.
    assert_eq!(peer.dispatched(), [(0, 0, 3)]);
    peer.answer(0, 3, Response::Ok);
    assert_eq!(peer.dispatched(), [(1, 0, 4), (0, 0, 5)]);
}

#[test]
fn exclusive_commands_are_alone() {
    for order in [Commuting, Ordered, Exclusive] {
        let mut peer = Peer::plain();
        assert_eq!(send(&mut peer, &[(order, 0), (Exclusive, 0)]).len(), 1);
        peer.answer(0, 0, Response::Ok);
        assert_eq!(peer.dispatched(), [(0, 0, 1)]);
        for after in [Read, Commuting, Ordered, Exclusive] {
            assert_eq!(send(&mut peer, &[(after, 0)]), []);
        }
        peer.answer(0, 1, Response::Ok);
        assert_eq!(peer.dispatched(), [(0, 1, 0), (0, 2, 0), (0, 3, 0)]);
    }
}

#[test]
fn on_one_shard_only_exclusive_commands_wait() {
    let mut peer = Peer::plain();
    let commands = [Read, Ordered, Commuting, Ordered, Read, Commuting].map(|order| (order, 0));
    for _ in 0..4 {
        assert_eq!(send(&mut peer, &commands).len(), 6);
    }
}

#[test]
fn an_answer_that_waits_for_the_disk_keeps_nothing_waiting() {
    let mut peer = Peer::plain();
    let commands = [(Ordered, 0), (Ordered, 0), (Ordered, 1)];
    assert_eq!(send(&mut peer, &commands).len(), 2);
    peer.executed(0, 0);
    // What has taken effect is not counted twice.
    peer.executed(0, 0);
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.dispatched(), []);
    peer.executed(0, 1);
    assert_eq!(peer.dispatched(), [(1, 0, 2)]);
    peer.answer(0, 2, Response::Ok);
    assert!(!peer.session.has_output());
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.tags(), ["OK", "OK", "OK"]);
}

#[test]
fn a_redirected_command_is_waited_for() {
    let mut peer = Peer::plain();
    let commands = [(Ordered, 0), (Ordered, 1), (Ordered, 2)];
    assert_eq!(send(&mut peer, &commands), [(0, 0, 0)]);
    let redirect = |peer: &Peer, shard| Answer::Redirect {
        shard,
        transmission: command(peer, Ordered, 0),
    };
    let answer = redirect(&peer, 3);
    peer.answer(0, 0, answer);
    assert_eq!(peer.dispatched(), [(3, 0, 0)]);
    // To the shard of the next one, which follows it there.
    let answer = redirect(&peer, 1);
    peer.answer(0, 0, answer);
    assert_eq!(peer.dispatched(), [(1, 0, 0), (1, 0, 1)]);
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.dispatched(), []);
    peer.answer(0, 1, Response::Ok);
    assert_eq!(peer.dispatched(), [(2, 0, 2)]);
}

#[test]
fn a_redirected_exclusive_command_stays_alone() {
    let mut peer = Peer::plain();
    assert_eq!(send(&mut peer, &[(Exclusive, 0), (Read, 0)]).len(), 1);
    let transmission = command(&peer, Exclusive, 0);
    let shard = 1;
    peer.answer(
        0,
        0,
        Answer::Redirect {
            shard,
            transmission,
        },
    );
    assert_eq!(peer.dispatched(), [(1, 0, 0)]);
    peer.executed(0, 0);
    assert_eq!(peer.dispatched(), [(0, 0, 1)]);
}

#[test]
fn held_commands_count_as_commands_in_flight() {
    let mut peer = Peer::plain();
    assert_eq!(send(&mut peer, &[(Ordered, 0)]).len(), 1);
    for _ in 1..MAX_BATCHES_IN_FLIGHT {
        assert!(peer.session.wants_input());
        assert_eq!(send(&mut peer, &[(Ordered, 1)]), []);
    }
    assert!(!peer.session.wants_input());
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.dispatched().len(), MAX_BATCHES_IN_FLIGHT - 1);
    assert!(peer.session.wants_input());

    let mut peer = Peer::plain();
    send(&mut peer, &[(Exclusive, 0)]);
    let mut held = 0;
    while peer.session.wants_input() {
        assert_eq!(send(&mut peer, &[(Read, 0); 100]), []);
        held += 100;
    }
    assert!(held < MAX_COMMANDS_IN_FLIGHT + MAX_BATCH_ITEMS);
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.dispatched().len(), held);
}

#[test]
fn only_shards_that_were_given_something_are_touched() {
    let mut peer = Peer::plain();
    send(&mut peer, &[(Ordered, 4), (Ordered, 5)]);
    assert_eq!(peer.session.touched_shards(), [4]);
    peer.answer(0, 0, Response::Ok);
    assert_eq!(peer.session.touched_shards(), [4, 5]);
}

#[test]
fn blocks_of_one_kind_are_counted() {
    let mut peer = Peer::plain();
    let sub = peer.sub(&queue(1, 0));
    let del = peer.transmission(&[1], &queue(1, 0), &Command::Del);
    let ndel = peer.transmission(&[1], &queue(1, 0), &Command::NDel);
    let nsub = peer.transmission(&[1], &queue(1, 0), &Command::NSub);
    let ping = peer.transmission(&[1], &[], &Command::Ping);
    let garbage = vec![1];
    let blocks = [
        vec![sub.clone()],
        vec![sub.clone(), sub.clone()],
        vec![garbage.clone(), del.clone(), garbage.clone(), sub.clone()],
        vec![garbage.clone(), del.clone()],
        vec![sub.clone(), ping],
        vec![ndel, del],
        vec![nsub.clone(), nsub.clone()],
        vec![nsub, sub],
        vec![garbage.clone(), garbage],
    ];
    for block in blocks {
        peer.send(&block);
    }
    use BatchKind::{Del, NDel, NSub, Sub};
    assert_eq!(peer.router.counted, [Sub, Del, NDel, NSub]);
}
