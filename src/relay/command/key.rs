//! `KEY`: the recipient secures a queue for its sender (spec: server §3.6).

use crate::crypto::keys::PublicAuthKey;
use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Done, Outcome, Shard};
use crate::store::{QueueChange, QueueSlot, Store};

/// Sets the sender key; repeating the same key succeeds, another is refused.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    slot: QueueSlot,
    key: &PublicAuthKey,
) -> Outcome {
    match shard.store.queue(slot).sender_key {
        Some(current) if current != *key => return Err(ErrorType::Auth),
        _ => {}
    }
    // Repetition is logged again: the first record may still be on its way to the disk.
    let lsn = shard.store.update(slot, QueueChange::SenderKey(*key))?;
    shard.counters.queues_secured += 1;
    Done::after(lsn, Response::Ok)
}
