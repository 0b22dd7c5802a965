//! `GET`: fetch one message without subscribing (spec: server §3.4).

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
    if let Some((Mode::Subscribed, _)) = shard.subscriptions.of(slot, call.session) {
        return Err(ErrorType::Cmd(CommandError::Prohibited));
    }
    shard.subscriptions.get(slot, call.session);
    let message = shard.deliver_head(call.now, slot, call.session);
    Done::now(message.unwrap_or(Response::Ok))
}
