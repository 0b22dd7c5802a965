//! `SUB`: receive the messages of a queue as they arrive (spec: server §3.2).

use crate::protocol::error::CommandError;
use crate::protocol::{ErrorType, Response};
use crate::relay::effect::{Answer, Effect};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::relay::subscription::Mode;
use crate::store::{QueueSlot, Store};

/// Subscribes the session and hands it the oldest message, again when it had it already.
///
/// Subscription and look at the queue are one step: a message sent later is pushed.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    if let Some((Mode::Getting, _)) = shard.subscriptions.of(slot, call.session) {
        return Err(ErrorType::Cmd(CommandError::Prohibited));
    }
    if let Some(previous) = shard.subscriptions.subscribe(slot, call.session) {
        let entity = shard.store.queue(slot).recipient_id;
        call.effects.push(Effect::Push {
            session: previous,
            entity,
            event: Response::End,
        });
    }
    let response = Response::Sok(None);
    match shard.deliver_head(call.now, slot, call.session) {
        Some(message) => Done::now(Answer::Subscribed { response, message }),
        None => Done::now(response),
    }
}
