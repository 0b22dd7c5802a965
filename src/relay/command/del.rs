//! `DEL`: delete a queue with its messages (spec: server §3.16).

use super::ndel::end_notifier;
use crate::protocol::Response;
use crate::relay::effect::Effect;
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{QueueSlot, Store};

/// Deletes, and tells a subscriber other than the deleting session.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    let (record, lsn) = shard.store.delete(slot)?;
    let subscriber = shard.subscriptions.remove_queue(slot);
    shard.counters.queues_deleted += 1;
    match record.sender_key {
        Some(_) => shard.counters.queues_deleted_secured += 1,
        None => shard.counters.queues_deleted_new += 1,
    }
    if let Some(session) = subscriber.filter(|s| *s != call.session) {
        let push = Effect::Push {
            session,
            entity: record.recipient_id,
            event: Response::Deld,
        };
        shard.emit(Some(lsn), push, call.effects);
    }
    if let Some(notifier) = &record.notifier {
        end_notifier(shard, call.session, slot, notifier, lsn, call.effects);
    }
    if let Some(release) = record.link_id.and_then(|id| shard.release_link(&id)) {
        shard.emit(Some(lsn), release, call.effects);
    }
    Done::after(lsn, Response::Ok)
}
