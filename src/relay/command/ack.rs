//! `ACK`: acknowledge the delivered message and get the next (spec: server §3.5).

use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::relay::subscription::{Delivered, Mode};
use crate::store::{MessageKind, QueueSlot, Store};

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
    let head = shard.store.head(slot).map(|head| (head.id, head.kind));
    let acknowledged = head.filter(|(id, _)| *id == delivered.id && !msg_id.is_empty());
    if acknowledged.is_some() {
        // Refused for want of space, it can be tried again: the message counts as delivered.
        shard.store.pop_message(slot)?;
    }
    shard.subscriptions.set_delivered(slot, call.session, None);
    if let Some((_, MessageKind::Message { notify })) = acknowledged {
        count(shard, call, slot, mode, notify, delivered);
    }
    let next = match mode {
        Mode::Subscribed => shard.deliver_head(call.now, slot, call.session),
        Mode::Getting => None,
    };
    Done::now(next.unwrap_or(Response::Ok))
}

/// Counts a message that was received (spec: server §12).
fn count<S: Store>(
    shard: &mut Shard<S>,
    call: &Call<'_>,
    slot: QueueSlot,
    mode: Mode,
    notify: bool,
    delivered: Delivered,
) {
    let counters = &mut shard.counters;
    counters.messages_received += 1;
    counters.flagged_received += u64::from(notify);
    counters.get_received += u64::from(mode == Mode::Getting);
    let seconds = call.now.seconds().saturating_sub(delivered.at);
    shard
        .ack_times
        .record(u64::try_from(seconds).unwrap_or_default());
    shard.note_activity(call.now, slot, notify);
}
