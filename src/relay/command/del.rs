//! `DEL`: delete a queue with its messages (spec: server §3.16).

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
    if let Some(session) = subscriber.filter(|s| *s != call.session) {
        let push = Effect::Push {
            session,
            entity: record.recipient_id,
            event: Response::Deld,
        };
        shard.emit(Some(lsn), push, call.effects);
    }
    let release = record
        .link
        .and_then(|link| shard.release_link(&link.link_id));
    if let Some(release) = release {
        shard.emit(Some(lsn), release, call.effects);
    }
    Done::after(lsn, Response::Ok)
}
