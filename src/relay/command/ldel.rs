//! `LDEL`: delete a queue's link data (spec: server §3.12).

use crate::protocol::Response;
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{QueueChange, QueueSlot, Store};

/// Removes the link with its data; without one nothing happens.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    let Some(link_id) = shard.store.queue(slot).link_id else {
        // Its removal may still be on its way to the disk.
        return Done::after(shard.store.last(), Response::Ok);
    };
    let lsn = shard.store.update(slot, QueueChange::Link(None))?;
    if let Some(release) = shard.release_link(&link_id) {
        shard.emit(Some(lsn), release, call.effects);
    }
    Done::after(lsn, Response::Ok)
}
