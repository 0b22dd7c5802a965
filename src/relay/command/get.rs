//! `GET`: fetch one message without subscribing (spec: server §3.4).

use super::sub::too_many;
use crate::protocol::error::CommandError;
use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::relay::subscription::Mode;
use crate::store::{QueueSlot, Store};

/// Answers the oldest message, the same until it is acknowledged, or `OK`.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    let before = shard.subscriptions.of(slot, call.session);
    if let Some((Mode::Subscribed, _)) = before {
        shard.counters.get_prohibited += 1;
        return Err(ErrorType::Cmd(CommandError::Prohibited));
    }
    if before.is_none() && shard.subscriptions.is_full(call.session) {
        return Err(too_many());
    }
    shard.subscriptions.get(slot, call.session);
    let message = shard.deliver_head(call.now, slot, call.session);
    match (&message, before) {
        (None, _) => shard.counters.get_no_message += 1,
        (Some(_), Some((_, Some(_)))) => shard.counters.get_duplicate += 1,
        (Some(_), _) => shard.counters.get_message += 1,
    }
    Done::now(message.unwrap_or(Response::Ok))
}
