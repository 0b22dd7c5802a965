//! `RKEY`: replace the recipient keys of a contact queue (spec: server §3.10).

use crate::crypto::keys::PublicAuthKey;
use crate::protocol::response::QueueMode;
use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Done, Outcome, Shard};
use crate::store::{QueueChange, QueueSlot, Store};

/// Most recipient keys of a queue. A command is tried against each key of its kind, so without a
/// bound one refused command could cost as much as 255.
const MAX_KEYS: usize = 16;

/// Replaces the whole list; the key that signed need not stay in it.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    slot: QueueSlot,
    keys: &[PublicAuthKey],
) -> Outcome {
    if shard.store.queue(slot).mode != Some(QueueMode::Contact) || keys.len() > MAX_KEYS {
        return Err(ErrorType::Auth);
    }
    let lsn = shard
        .store
        .update(slot, QueueChange::RecipientKeys(keys.into()))?;
    Done::after(lsn, Response::Ok)
}
