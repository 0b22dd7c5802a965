//! What the control executor asks and gets.

use super::*;
use crate::protocol::error::{BlockingInfo, BlockingReason};
use crate::relay::OperatorAnswer;
use crate::runtime::control::{Order, vital_signs};
use crate::runtime::server::Report;
use crate::store::QueueStatus;
use futures_lite::future::{block_on, poll_once};
use glommio::LocalExecutorBuilder;
use std::pin::pin;
use std::sync::mpsc;

/// Lets the cores work on what is asked until the answer is there.
pub(super) fn answered<T>(
    cores: &[Core],
    control: &Control,
    question: impl Future<Output = T>,
) -> T {
    let mut receiving = pin!(control.receive(|_| {}));
    let mut question = pin!(question);
    for _ in 0..8 {
        if let Some(answer) = block_on(poll_once(&mut question)) {
            return answer;
        }
        settle(cores);
        block_on(poll_once(&mut receiving));
    }
    panic!("no answer");
}

#[test]
fn every_shard_tells_about_itself() {
    let (cores, control) = cores_and_control(3, QueuePlacement::Remote, Duration::ZERO);
    let peer = Peer::open(&cores[1], 1);
    let queue = peer.create(&cores);
    peer.message(&cores[1], &queue);
    settle(&cores);
    cores[2].count_sockets(5223).open();
    let snapshots = answered(&cores, &control, control.snapshots());
    let shards: Vec<_> = snapshots.iter().map(|s| s.shard).collect();
    assert_eq!(shards, [0, 1, 2]);
    let created: u64 = snapshots.iter().map(|s| s.counters.queues_created).sum();
    let messages: u64 = snapshots.iter().map(|s| s.totals.messages).sum();
    assert_eq!((created, messages), (1, 1));
    let sessions: Vec<_> = snapshots.iter().map(|s| s.sessions).collect();
    assert_eq!(sessions, [0, 1, 0]);
    let sockets = snapshots[2].sockets[0];
    assert_eq!(
        (sockets.port, sockets.accepted, sockets.closed),
        (5223, 1, 1)
    );
}

#[test]
fn orders_find_the_queue_wherever_it_is() {
    let (cores, control) = cores_and_control(3, QueuePlacement::Remote, Duration::ZERO);
    let peer = Peer::open(&cores[0], 1);
    let queue = peer.create(&cores);
    let info = BlockingInfo {
        reason: BlockingReason::Spam,
        notice: None,
    };
    let give = |id, order| answered(&cores, &control, control.order(id, order));
    assert_eq!(give([9; 24], Order::Unblock), OperatorAnswer::Unknown);
    let block = Order::Block(info.clone());
    let answer = give(queue.sender, block);
    assert_eq!(answer, OperatorAnswer::Was(QueueStatus::Active));
    let answer = give(queue.sender, Order::Unblock);
    assert_eq!(answer, OperatorAnswer::Was(QueueStatus::Blocked(info)));
}

/// The service manager must not hear that all is well while a shard does not answer.
#[test]
fn there_is_no_sign_of_life_while_a_shard_is_stuck() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Remote, Duration::ZERO);
    let control = Rc::new(control);
    let (report, reports) = mpsc::channel();
    let executor = LocalExecutorBuilder::default().io_memory(64 << 10).make();
    executor.unwrap().run(async {
        let mut receiving = pin!(control.receive(|_| {}));
        let showing = vital_signs::show(Rc::clone(&control), Duration::from_secs(60), report);
        let mut showing = pin!(showing);
        // One shard answers, the other does not.
        for _ in 0..8 {
            assert!(poll_once(&mut showing).await.is_none());
            cores[0].receive();
            assert!(poll_once(&mut receiving).await.is_none());
        }
        assert!(reports.try_recv().is_err());
        cores[1].receive();
        assert!(poll_once(&mut receiving).await.is_none());
        assert!(poll_once(&mut showing).await.is_none());
        match reports.try_recv() {
            Ok(Report::Alive(status)) => assert_eq!(status, "0 connections, 0.0 messages/s"),
            _ => panic!("no sign of life"),
        }
    });
}

#[test]
fn last_words_are_heard_once_all_have_spoken() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Local, Duration::ZERO);
    let mut receiving = pin!(control.receive(|_| {}));
    let mut last_words = pin!(control.last_words());
    for core in &cores {
        assert!(block_on(poll_once(&mut last_words)).is_none());
        core.say_last_words();
        block_on(poll_once(&mut receiving));
    }
    let heard = block_on(poll_once(&mut last_words)).unwrap();
    assert_eq!(heard.len(), 2);
}

#[test]
fn queues_are_looked_at_and_deleted() {
    let (cores, control) = cores_and_control(3, QueuePlacement::Remote, Duration::ZERO);
    let peer = Peer::open(&cores[0], 1);
    let queue = peer.create(&cores);
    peer.message(&cores[0], &queue);
    settle(&cores);
    let give = |order| answered(&cores, &control, control.order(queue.sender, order));
    match give(Order::Status) {
        OperatorAnswer::Is(state) => assert_eq!(state.status, QueueStatus::Active),
        other => panic!("{other:?}"),
    }
    assert_eq!(give(Order::Delete), OperatorAnswer::Deleted(1));
    assert_eq!(give(Order::Status), OperatorAnswer::Unknown);
}

#[test]
fn connections_are_told_in_portions_with_what_all_shards_know() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Remote, Duration::ZERO);
    let peers: Vec<_> = (0..600)
        .map(|slot| Peer::open(&cores[1], slot % 100))
        .collect();
    peers[5].create(&cores);
    for place in [7, 7, 599] {
        let queue = peers[place].create(&cores);
        peers[place].own(&cores[1], &queue, &Command::Sub);
        settle(&cores);
        assert_eq!(peers[place].words(), ["SOK"]);
    }
    let mut next = Some((0, 0));
    let (mut all, mut portions) = (Vec::new(), 0);
    while let Some(place) = next {
        let rows;
        (rows, next) = answered(&cores, &control, control.connections(place));
        assert!(rows.len() <= 256);
        all.extend(rows);
        portions += 1;
    }
    assert!(portions >= 4, "{portions}");
    assert_eq!(all.len(), 600);
    let mut ids: Vec<_> = all.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 600);
    let listening: Vec<_> = all.iter().map(|row| row.listening.messages).collect();
    assert_eq!(listening.iter().sum::<u64>(), 3);
    assert_eq!((listening[5], listening[7], listening[599]), (0, 2, 1));
}
