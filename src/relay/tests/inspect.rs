//! What a shard holds, for tests of other rooms.

use super::disk::TestStore;
use crate::relay::{Answer, MessageSweep, NotificationSweep, SessionRef, Shard, Ticket, Timestamp};
use crate::store::{Id, IdKind, Lsn, Store};

/// Queues of one step of a sweep: fewer than tests have.
const STEP: usize = 2;

/// A shard of a world without a disk.
pub type TestShard = Shard<TestStore>;

/// From now on the disk lags: `upto` further changes are durable.
pub fn sync(shard: &mut TestShard, upto: u64) {
    let last = shard.store.last();
    let durable = Lsn((shard.store.durable().0 + upto).min(last.0));
    shard.store.synced = Some(durable);
}

/// Changes that are not durable.
pub fn lagging(shard: &TestShard) -> u64 {
    shard.store.last().0 - shard.store.durable().0
}

/// The answer to a command that has taken effect and waits for the disk.
pub fn held_answer(shard: &TestShard, session: SessionRef, ticket: Ticket) -> Option<Answer> {
    shard.undurable().answer(session, ticket).cloned()
}

/// Drops what is too old: messages, then notifications; returns how many.
pub fn expire(shard: &mut TestShard, now: Timestamp) -> (u64, u64) {
    let mut messages = MessageSweep::default();
    while shard.expire_messages(now, &mut messages, STEP) {}
    let mut notifications = NotificationSweep::default();
    while shard.expire_notifications(now, &mut notifications, STEP) {}
    (messages.expired, notifications.expired)
}

/// Whether a link id is in use on a shard, by a queue or as an alias.
pub fn has_link(shard: &TestShard, id: &Id) -> bool {
    shard.store.find(IdKind::Link, id).is_some()
}

/// What is left in a shard that nobody uses any more, by name.
pub fn leftovers(shard: &TestShard) -> Vec<(&'static str, usize)> {
    let totals = shard.store.totals();
    let (queues, sessions) = shard.subscription_counts();
    let mut all = vec![
        ("queues", totals.queues as usize),
        ("messages", totals.messages as usize),
        ("notifiers", totals.notifiers as usize),
        ("subscribed queues", queues),
        ("subscribed sessions", sessions),
        ("agreements", shard.agreements.sessions()),
        ("undurable effects", shard.undurable().len()),
        ("pending changes", shard.pending.len()),
    ];
    all.extend(shard.subscriptions.sizes());
    all.extend(shard.notifications.sizes());
    all.extend(shard.services.sizes());
    all.retain(|(_, count)| *count > 0);
    all
}
