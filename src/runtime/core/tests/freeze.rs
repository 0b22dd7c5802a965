//! A shard that is held still, and one that goes on.

use super::control::answered;
use super::*;
use crate::runtime::backup::hold_still;
use crate::runtime::control::{BackupStep, ControlReply, ControlRequest};
use crate::runtime::mesh::QUEUE_DEPTH;
use crate::store::log::{Directory, LogOptions, LogStore, PrepareSegment, Promise};
use futures_lite::future::{block_on, poll_once};
use std::io;
use std::pin::pin;

fn step(cores: &[Core], control: &Control, shard: u16, step: BackupStep) -> ControlReply {
    let request = ControlRequest::Backup(step);
    answered(cores, control, control.ask(shard, request))
}

#[test]
fn a_frozen_shard_holds_everything_and_does_it_in_order_when_it_is_thawed() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Local, Duration::ZERO);
    let (own, far) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
    let queue = own.create(&cores);
    assert!(matches!(
        step(&cores, &control, 0, BackupStep::Freeze),
        ControlReply::Frozen(None)
    ));
    for peer in [&own, &far] {
        let core = &cores[usize::from(peer.client.session.core)];
        for _ in 0..3 {
            peer.message(core, &queue);
        }
    }
    own.own(&cores[0], &queue, &Command::Sub);
    settle(&cores);
    assert_eq!((own.words(), far.words()), (vec![], vec![]));
    // Looking at it is no reason to wait.
    let snapshots = answered(&cores, &control, control.snapshots());
    assert_eq!(snapshots[0].totals.messages, 0);
    assert!(cores[0].is_congested_for(&own.connection));
    assert!(!cores[1].is_congested_for(&far.connection));
    own.is_woken();

    let thawed = step(&cores, &control, 0, BackupStep::Thaw);
    assert!(matches!(thawed, ControlReply::Thawed(true)));
    settle(&cores);
    assert_eq!(own.words(), ["OK", "OK", "OK", "SOK", "MSG"]);
    assert_eq!(far.words(), ["OK", "OK", "OK"]);
    assert!(own.is_woken());
    assert!(!cores[0].is_congested_for(&own.connection));
    let snapshots = answered(&cores, &control, control.snapshots());
    assert_eq!(snapshots[0].totals.messages, 6);
}

#[test]
fn connections_read_on_after_a_freeze_in_which_nothing_came() {
    let (cores, control) = cores_and_control(1, QueuePlacement::Local, Duration::ZERO);
    let peer = Peer::open(&cores[0], 1);
    step(&cores, &control, 0, BackupStep::Freeze);
    assert!(cores[0].is_congested_for(&peer.connection));
    assert!(!peer.is_woken());
    step(&cores, &control, 0, BackupStep::Thaw);
    assert!(peer.is_woken());
    assert!(!cores[0].is_congested_for(&peer.connection));
}

/// Whoever sends all the time from another core must not keep a core from its own connections.
#[test]
fn own_connections_get_a_turn_after_a_freeze_while_others_go_on() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Local, Duration::ZERO);
    let (own, far) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
    let queue = own.create(&cores);
    // Enough signatures to take more than a turn.
    let sub = far
        .client
        .transmission(Some(&queue.key), &queue.recipient, &Command::Sub);
    let block = vec![sub; 100];
    let before = 4;
    step(&cores, &control, 0, BackupStep::Freeze);
    for _ in 0..before {
        far.send_block(&cores[1], &block);
    }
    cores[0].receive();
    assert!(cores[0].is_congested_for(&own.connection));
    step(&cores, &control, 0, BackupStep::Thaw);
    for _ in 0..=before {
        if own.is_woken() && !cores[0].is_congested_for(&own.connection) {
            return;
        }
        far.send_block(&cores[1], &block);
        cores[1].receive();
        cores[0].receive();
        far.words();
    }
    panic!("still congested");
}

#[test]
fn what_is_held_is_bounded() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Local, Duration::ZERO);
    let (own, far) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
    let queue = own.create(&cores);
    step(&cores, &control, 0, BackupStep::Freeze);
    for _ in 0..2 * QUEUE_DEPTH + 10 {
        let message = CoreMessage::Redeliver(far.client.session, queue.recipient);
        cores[1].mesh().send(0, message);
        cores[1].mesh().announce();
        cores[0].receive();
    }
    assert!(cores[1].mesh().is_congested());
    step(&cores, &control, 0, BackupStep::Thaw);
    settle(&cores);
    assert!(!cores[1].mesh().is_congested());
}

#[test]
fn a_session_that_ends_while_its_shard_is_still_is_forgotten_after_its_commands() {
    let (cores, control) = cores_and_control(2, QueuePlacement::Local, Duration::ZERO);
    let (own, far) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
    let queues = [own.create(&cores), own.create(&cores)];
    step(&cores, &control, 0, BackupStep::Freeze);
    for (peer, queue) in [&own, &far].into_iter().zip(&queues) {
        let core = &cores[usize::from(peer.client.session.core)];
        peer.own(core, queue, &Command::Sub);
        core.close_session(&peer.connection);
    }
    settle(&cores);
    step(&cores, &control, 0, BackupStep::Thaw);
    settle(&cores);
    assert_eq!(cores[0].shard.borrow().subscription_counts(), (0, 0));
}

#[test]
fn nobody_has_to_thaw_a_shard() {
    let (cores, control) = cores_and_control(1, QueuePlacement::Local, Duration::ZERO);
    let peer = Peer::open(&cores[0], 1);
    let queue = peer.create(&cores);
    assert!(!cores[0].thaw_overdue(Duration::ZERO));
    step(&cores, &control, 0, BackupStep::Freeze);
    assert!(!cores[0].thaw_overdue(Duration::from_secs(3600)));
    peer.message(&cores[0], &queue);
    assert!(peer.words().is_empty());
    assert!(cores[0].thaw_overdue(Duration::ZERO));
    settle(&cores);
    assert_eq!(peer.words(), ["OK"]);
    // Whoever thaws it then learns that it was too late.
    let thawed = step(&cores, &control, 0, BackupStep::Thaw);
    assert!(matches!(thawed, ControlReply::Thawed(false)));
}

/// Cores whose shards keep their queues in a directory.
fn durable_cores(state: &std::path::Path, count: u16) -> (Vec<Core>, Control) {
    let (cores, control) = cores_and_control(count, QueuePlacement::Local, Duration::ZERO);
    for core in &cores {
        let disk = Directory::open(&state.join(core.index.to_string())).unwrap();
        let options = LogOptions {
            segment_len: 64 << 10,
            promise: Promise::Process,
            index_key: [3; 16],
        };
        let homes = Arc::new(core.partitioner.clone());
        let (store, _) = LogStore::open(disk, core.index, homes, &options).unwrap();
        *core.shard.borrow_mut().store_mut() = AnyStore::Log(Box::new(store));
    }
    (cores, control)
}

fn is_pinned(core: &Core) -> bool {
    core.with_log(|log| log.is_cut()).unwrap()
}

#[test]
fn all_shards_are_still_at_once_and_keep_their_files_until_the_end() {
    let state = tempfile::tempdir().unwrap();
    let (cores, control) = durable_cores(state.path(), 3);
    let peers: Vec<_> = (0..)
        .zip(&cores)
        .map(|(n, core)| Peer::open(core, n))
        .collect();
    for peer in &peers {
        peer.create(&cores);
    }
    let (pins, cuts) = answered(&cores, &control, hold_still(&control)).unwrap();
    assert_eq!(cuts.len(), 3);
    for cut in &cuts {
        assert_eq!((cut.totals.queues, cut.segments.len()), (1, 1));
    }
    // They go on while their files are kept.
    for (core, peer) in cores.iter().zip(&peers) {
        assert!(!core.freeze.holds());
        peer.create(&cores);
        assert!(is_pinned(core));
    }
    drop(pins);
    settle(&cores);
    assert!(!cores.iter().any(is_pinned));
}

#[test]
fn a_cut_of_shards_that_were_not_still_at_once_is_taken_again() {
    let state = tempfile::tempdir().unwrap();
    let (cores, control) = durable_cores(state.path(), 2);
    let mut receiving = pin!(control.receive(|_| {}));
    let mut holding = pin!(hold_still(&control));
    let mut late = 0;
    let result = loop {
        if let Some(result) = block_on(poll_once(&mut holding)) {
            break result;
        }
        while cores[0].receive() {}
        // One that waits too long every time.
        late += usize::from(cores[0].thaw_overdue(Duration::ZERO));
        while cores[1].receive() {}
        block_on(poll_once(&mut receiving));
    };
    assert!(result.is_err());
    assert_eq!(late, 3);
    settle(&cores);
    assert!(!cores.iter().any(is_pinned));
    assert!(!cores.iter().any(|core| core.freeze.holds()));
}

#[test]
fn a_backup_that_is_given_up_leaves_no_shard_still() {
    let state = tempfile::tempdir().unwrap();
    let (cores, control) = durable_cores(state.path(), 2);
    {
        let mut holding = pin!(hold_still(&control));
        assert!(block_on(poll_once(&mut holding)).is_none());
        settle(&cores);
        assert!(cores.iter().all(|core| core.freeze.holds()));
    }
    settle(&cores);
    assert!(
        !cores
            .iter()
            .any(|core| core.freeze.holds() || is_pinned(core))
    );
}

#[test]
fn one_backup_at_a_time() {
    let (_, control) = cores_and_control(1, QueuePlacement::Local, Duration::ZERO);
    let turn = control.begin_backup();
    assert!(turn.is_some());
    for _ in 0..2 {
        assert!(control.begin_backup().is_none());
    }
    drop(turn);
    assert!(control.begin_backup().is_some());
}

/// Load that is faster than segments are made must not look like a full disk.
#[test]
fn commands_wait_for_a_segment_that_is_being_made() {
    let state = tempfile::tempdir().unwrap();
    let (cores, _) = durable_cores(state.path(), 1);
    let core = &cores[0];
    let peer = Peer::open(core, 1);
    let begin = || core.with_log(LogStore::wants_segment).flatten();
    let end = |prepare: PrepareSegment<Directory>| {
        let prepared = prepare.run();
        core.with_log(|log| log.segment_ready(prepared).unwrap());
        core.note_supply();
    };
    while let Some(prepare) = begin() {
        end(prepare);
    }
    let queue = peer.create(&cores);
    let send = Command::Send {
        notify: false,
        body: &[1; 12_000],
    };
    let message = peer.client.transmission(None, &queue.sender, &send);
    let mut being_made = None;
    loop {
        being_made = being_made.or_else(begin);
        peer.send(core, &message);
        match peer.words().as_slice() {
            [] => break,
            words => assert_eq!(words, ["OK"]),
        }
    }
    assert!(core.is_congested_for(&peer.connection));
    end(being_made.unwrap());
    settle(&cores);
    assert_eq!(peer.words(), ["OK"]);
    assert!(!core.is_congested_for(&peer.connection));
    // When there is none to be had, nothing waits.
    being_made = begin();
    core.note_full_disk(&io::Error::from(io::ErrorKind::StorageFull));
    loop {
        peer.send(core, &message);
        match peer.words().as_slice() {
            [word] if word == "OK" => {}
            words => break assert!(words[0].starts_with("ERR STORE"), "{words:?}"),
        }
    }
    drop(being_made);
}
