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
    let before = shard.subscriptions.of(slot, call.session);
    if let Some((Mode::Getting, _)) = before {
        shard.counters.sub_prohibited += 1;
        return Err(ErrorType::Cmd(CommandError::Prohibited));
    }
    if before.is_none() && shard.subscriptions.is_full(call.session) {
        return Err(too_many());
    }
    shard.counters.sub_duplicate += u64::from(before.is_some());
    if let Some(previous) = shard.subscriptions.subscribe(slot, call.session) {
        let entity = shard.store.queue(slot).recipient_id;
        call.effects.push(Effect::Push {
            session: previous,
            entity,
            event: Response::End,
        });
    }
    let service_id = call.context.service().map(|s| s.id.to_vec().into());
    let response = Response::Sok(service_id);
    match shard.deliver_head(call.now, slot, call.session) {
        Some(message) => {
            shard.counters.subscribed += u64::from(before.is_none());
            Done::now(Answer::Subscribed { response, message })
        }
        None => Done::now(response),
    }
}

/// The answer beyond the limit of subscriptions of one connection.
pub(super) fn too_many() -> ErrorType {
    ErrorType::Store("too many subscriptions of one connection".into())
}
