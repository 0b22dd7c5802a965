//! `DEL`: delete a queue with its messages (spec: server §3.16).

use super::ndel::end_notifier;
use crate::protocol::{ErrorType, Response};
use crate::relay::effect::Effect;
use crate::relay::release::Confirmation;
use crate::relay::session_ref::SessionRef;
use crate::relay::shard::{Call, Done, Shard};
use crate::store::{Id, IdKind, Lsn, QueueRecord, QueueSlot, Store, StoreError};

/// Deletes, and tells a subscriber other than the deleting session. `None` means that the
/// answer comes with the release of the link id.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Result<Option<Done>, ErrorType> {
    let (record, lsn, subscriber) = remove(shard, slot)?;
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
    shard.release_imported(imported(&record), lsn, call.effects);
    let Some(link_id) = record.link_id else {
        return Done::after(lsn, Response::Ok).map(Some);
    };
    let confirmation = Some(Confirmation::of(call));
    shard.release_link(&link_id, Some(lsn), confirmation, call.effects);
    Ok(None)
}

/// Ids of a queue that may live elsewhere, when it was imported.
pub(in crate::relay) fn imported(record: &QueueRecord) -> impl Iterator<Item = (IdKind, Id)> {
    let notifier_id = record.notifier.as_ref().map(|n| n.notifier_id);
    let notifier = notifier_id.map(|id| (IdKind::Notifier, id));
    [(IdKind::Sender, record.sender_id)]
        .into_iter()
        .chain(notifier)
}

/// Removes a queue with its messages and counts that; who was subscribed is for the caller to tell.
pub(in crate::relay) fn remove<S: Store>(
    shard: &mut Shard<S>,
    slot: QueueSlot,
) -> Result<(QueueRecord, Lsn, Option<SessionRef>), StoreError> {
    let (record, lsn) = shard.store.delete(slot)?;
    let subscriber = shard.subscriptions.remove_queue(slot);
    shard.counters.queues_deleted += 1;
    match record.sender_key {
        Some(_) => shard.counters.queues_deleted_secured += 1,
        None => shard.counters.queues_deleted_new += 1,
    }
    Ok((record, lsn, subscriber))
}
