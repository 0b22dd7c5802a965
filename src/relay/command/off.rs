//! `OFF`: suspend a queue (spec: server §3.15).

use crate::protocol::Response;
use crate::relay::shard::{Done, Outcome, Shard};
use crate::store::{QueueChange, QueueSlot, QueueStatus, Store};

/// Refuses later messages; waiting ones can still be read. A blocked queue stays blocked.
pub(in crate::relay) fn execute<S: Store>(shard: &mut Shard<S>, slot: QueueSlot) -> Outcome {
    if matches!(shard.store.queue(slot).status, QueueStatus::Blocked(_)) {
        return Done::now(Response::Ok);
    }
    let lsn = shard
        .store
        .update(slot, QueueChange::Status(QueueStatus::Off))?;
    Done::after(lsn, Response::Ok)
}
