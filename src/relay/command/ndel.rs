//! `NDEL`: disable notifications (spec: server §3.14).

use crate::protocol::Response;
use crate::relay::effect::Effect;
use crate::relay::session_ref::SessionRef;
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{IdKind, Lsn, NotifierRecord, QueueChange, QueueSlot, Store};

/// Removes the notifier with what waits for it; without one nothing happens.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    let Some(notifier) = shard.store.queue(slot).notifier else {
        // Its removal may still be on its way to the disk.
        return Done::after(shard.store.last(), Response::Ok);
    };
    let lsn = shard.store.update(slot, QueueChange::Notifier(None))?;
    end_notifier(shard, call.session, slot, &notifier, lsn, call.effects);
    let id = (IdKind::Notifier, notifier.notifier_id);
    shard.release_imported([id], lsn, call.effects);
    shard.counters.notifiers_deleted += 1;
    Done::after(lsn, Response::Ok)
}

/// Forgets what belongs to a notifier that is gone and tells its subscriber, unless it is the one
/// who removed it.
pub(super) fn end_notifier<S: Store>(
    shard: &mut Shard<S>,
    by: SessionRef,
    slot: QueueSlot,
    notifier: &NotifierRecord,
    lsn: Lsn,
    effects: &mut Vec<Effect>,
) {
    let subscriber = shard.notification_subscriber(slot, notifier);
    shard.notifications.remove_queue(slot);
    if let Some(session) = subscriber.filter(|s| *s != by) {
        let push = Effect::Push {
            session,
            entity: notifier.notifier_id,
            event: Response::Deld,
        };
        shard.emit(Some(lsn), push, effects);
    }
}
