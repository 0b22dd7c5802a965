//! `LDEL`: delete a queue's link data (spec: server §3.12).

use crate::protocol::{ErrorType, Response};
use crate::relay::release::Confirmation;
use crate::relay::shard::{Call, Done, Shard};
use crate::store::{QueueChange, QueueSlot, Store};

/// Removes the link with its data; without one nothing happens. `None` means that the answer
/// comes with the release of the link id.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Result<Option<Done>, ErrorType> {
    let Some(link_id) = shard.store.queue(slot).link_id else {
        // Its removal may still be on its way to the disk.
        return Done::after(shard.store.last(), Response::Ok).map(Some);
    };
    let lsn = shard.store.update(slot, QueueChange::Link(None))?;
    let confirmation = Some(Confirmation::of(call));
    shard.release_link(&link_id, Some(lsn), confirmation, call.effects);
    Ok(None)
}
