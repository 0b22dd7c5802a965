//! `SKEY`: the sender secures a messaging queue for itself (spec: server §3.7).

use super::key;
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::ErrorType;
use crate::protocol::response::QueueMode;
use crate::relay::shard::{Outcome, Shard};
use crate::store::{QueueSlot, Store};

/// Like `KEY`, for messaging queues only.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    slot: QueueSlot,
    sender_key: &PublicAuthKey,
) -> Outcome {
    if shard.store.queue(slot).mode != Some(QueueMode::Messaging) {
        return Err(ErrorType::Auth);
    }
    key::execute(shard, slot, sender_key)
}
