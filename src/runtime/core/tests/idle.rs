//! Connections that are silent, and which of them are closed (spec: server §8).

use super::*;
use crate::runtime::core::idle::MAX_ASKED;

#[test]
fn a_connection_is_idle_since_its_last_block() {
    let cores = cores(1, QueuePlacement::Local);
    let Peer { connection, .. } = Peer::open(&cores[0], 1);
    let notes = [Connection::note_received, Connection::note_sent];
    for note in notes {
        let before = connection.received.get().max(connection.sent.get());
        // The clock may be coarse.
        while connection.idle_for() == Duration::ZERO {}
        note(&connection);
        assert!(connection.received.get().max(connection.sent.get()) > before);
        assert!(connection.idle_for() <= before.elapsed());
    }
}

/// Lets the clock, which may be coarse, go on for all of them.
fn fall_silent(peers: &[Peer]) {
    while peers
        .iter()
        .any(|p| p.connection.idle_for() == Duration::ZERO)
    {}
}

fn closed(peers: &[Peer]) -> Vec<bool> {
    peers.iter().map(|p| p.connection.is_aborted()).collect()
}

/// Looks at sessions until shards have to answer, or all were looked at.
fn walk(core: &Core) -> IdleProgress {
    loop {
        match core.close_idle() {
            IdleProgress::More => {}
            progress => return progress,
        }
    }
}

#[test]
fn silent_connections_are_closed_unless_a_shard_knows_a_subscription() {
    for placement in [QueuePlacement::Local, QueuePlacement::Remote] {
        let cores = cores(2, placement);
        let peers = [1, 2, 3, 4].map(|slot| Peer::open(&cores[0], slot));
        // One that said nothing, one that subscribes, one that fetches, one that only created.
        for (peer, command) in peers[1..]
            .iter()
            .zip([Command::Sub, Command::Get, Command::Que])
        {
            let queue = peer.create(&cores);
            peer.own(&cores[0], &queue, &command);
            settle(&cores);
            peer.words();
        }
        cores[0].begin_idle_round(Duration::from_secs(3600));
        assert_eq!(walk(&cores[0]), IdleProgress::Done);
        settle(&cores);
        assert_eq!(closed(&peers), [false; 4]);
        fall_silent(&peers);
        cores[0].begin_idle_round(Duration::ZERO);
        assert_eq!(walk(&cores[0]), IdleProgress::Done);
        settle(&cores);
        assert_eq!(closed(&peers), [true, false, true, true]);
        assert!(peers[0].is_woken());
    }
}

#[test]
fn a_bounded_number_of_silent_connections_is_asked_about_at_a_time() {
    let cores = cores(2, QueuePlacement::Remote);
    let peers: Vec<_> = (0..MAX_ASKED as u32 + 10)
        .map(|slot| Peer::open(&cores[0], slot % 100))
        .collect();
    for peer in &peers {
        peer.create(&cores);
    }
    fall_silent(&peers);
    cores[0].begin_idle_round(Duration::ZERO);
    // Some at a time.
    assert_eq!(cores[0].close_idle(), IdleProgress::More);
    assert_eq!(walk(&cores[0]), IdleProgress::Waiting);
    let count = |of: &[Peer]| closed(of).iter().filter(|closed| **closed).count();
    assert_eq!(count(&peers), 0);
    settle(&cores);
    assert_eq!(count(&peers), MAX_ASKED);
    assert_eq!(walk(&cores[0]), IdleProgress::Done);
    settle(&cores);
    assert_eq!(count(&peers), peers.len());
}

#[test]
fn an_answer_to_an_earlier_round_closes_nothing() {
    let cores = cores(2, QueuePlacement::Remote);
    let peers = [Peer::open(&cores[0], 1)];
    let queue = peers[0].create(&cores);
    fall_silent(&peers);
    cores[0].begin_idle_round(Duration::ZERO);
    assert_eq!(walk(&cores[0]), IdleProgress::Done);
    // The shard has answered; before that arrives, the session subscribes and falls silent again.
    while cores[1].receive() {}
    peers[0].own(&cores[0], &queue, &Command::Sub);
    fall_silent(&peers);
    cores[0].begin_idle_round(Duration::ZERO);
    assert_eq!(walk(&cores[0]), IdleProgress::Done);
    settle(&cores);
    assert_eq!(closed(&peers), [false]);
    assert_eq!(peers[0].words(), ["SOK"]);
}

#[test]
fn a_connection_that_speaks_before_the_shards_have_answered_stays() {
    let hour = Duration::from_secs(3600);
    let cores = cores(2, QueuePlacement::Remote);
    let peers = [1, 2].map(|slot| Peer::open(&cores[0], slot));
    for peer in &peers {
        peer.create(&cores);
        let long_ago = Instant::now() - 2 * hour;
        peer.connection.received.set(long_ago);
        peer.connection.sent.set(long_ago);
    }
    cores[0].begin_idle_round(hour);
    assert_eq!(walk(&cores[0]), IdleProgress::Done);
    peers[0].connection.note_received();
    settle(&cores);
    assert_eq!(closed(&peers), [false, true]);
}
