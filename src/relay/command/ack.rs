//! `ACK`: acknowledge the delivered message and get the next (spec: server §3.5).

use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::relay::subscription::Mode;
use crate::store::{QueueSlot, Store};

/// Deletes the message when it is still the oldest; a subscriber is answered with the next.
///
/// An empty id matches whatever was delivered and deletes nothing. The answer does not wait for
/// the disk: an acknowledgement that is lost only repeats the message.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &Call<'_>,
    slot: QueueSlot,
    msg_id: &[u8],
) -> Outcome {
    let Some((mode, Some(delivered))) = shard.subscriptions.of(slot, call.session) else {
        return Err(ErrorType::NoMsg);
    };
    if !msg_id.is_empty() && msg_id != delivered.id {
        return Err(ErrorType::NoMsg);
    }
    shard.subscriptions.set_delivered(slot, call.session, None);
    let is_head = shard
        .store
        .head(slot)
        .is_some_and(|head| head.id == delivered.id);
    if is_head && !msg_id.is_empty() {
        shard.store.pop_message(slot)?;
    }
    let next = match mode {
        Mode::Subscribed => shard.deliver_head(call.now, slot, call.session),
        Mode::Getting => None,
    };
    Done::now(next.unwrap_or(Response::Ok))
}
