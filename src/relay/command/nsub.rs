//! `NSUB`: receive the notifications of a queue (spec: server §3.20).

use super::sub::too_many;
use crate::protocol::{ErrorType, Response};
use crate::relay::effect::{Answer, Effect};
use crate::relay::session_ref::{ServiceSession, SessionRef};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{Id, NotifierRecord, QueueChange, QueueSlot, Store};

/// Subscribes the session itself, or associates the notifier with the session's service. Whichever
/// way it was subscribed before ends.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    let notifier = shard.store.queue(slot).notifier.ok_or(ErrorType::Auth)?;
    match call.context.service() {
        Some(service) => by_service(shard, call, slot, &notifier, service),
        None => by_session(shard, call, slot, &notifier),
    }
}

fn by_session<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
    notifier: &NotifierRecord,
) -> Outcome {
    let is_new = !shard.notifications.is_subscriber(slot, call.session);
    if is_new && shard.notifications.is_full(call.session) {
        return Err(too_many());
    }
    let left = if notifier.service_id.is_some() {
        let lsn = shard
            .store
            .update(slot, QueueChange::NotifierService(None))?;
        shard.counters.ntf_assoc_removed += 1;
        let subscriber = shard.notification_subscriber(slot, notifier);
        end(call, subscriber, notifier.notifier_id);
        Some(lsn)
    } else {
        None
    };
    let previous = shard.notifications.subscribe(slot, call.session);
    if previous == Some(call.session) {
        shard.counters.ntf_sub_duplicate += 1;
    } else {
        shard.counters.ntf_subscribed += 1;
        end(call, previous, notifier.notifier_id);
    }
    Ok(Done {
        answer: Response::Sok(None).into(),
        lsn: left,
    })
}

fn by_service<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
    notifier: &NotifierRecord,
    service: &ServiceSession,
) -> Outcome {
    let is_subscriber = shard.services.subscriber(&service.id) == Some(call.session);
    let lsn = if notifier.service_id == Some(service.id) {
        shard.counters.ntf_assoc_duplicate += 1;
        shard.counters.ntf_service_queues += u64::from(!is_subscriber);
        // The association may still be on its way to the disk.
        shard.store.last()
    } else {
        let lsn = shard
            .store
            .update(slot, QueueChange::NotifierService(Some(service.id)))?;
        match notifier.service_id {
            None => shard.counters.ntf_assoc_new += 1,
            Some(_) => shard.counters.ntf_assoc_updated += 1,
        }
        shard.counters.ntf_service_queues += 1;
        let subscriber = shard.notification_subscriber(slot, notifier);
        shard.notifications.unsubscribe(slot);
        end(call, subscriber, notifier.notifier_id);
        shard.notifications.wake(slot);
        lsn
    };
    let response = Response::Sok(Some(service.id.to_vec().into()));
    Done::after(lsn, Answer::ServiceSubscription(response))
}

/// Tells another session that it lost the subscription: before the disk, or the news would overtake
/// its subscribing again.
fn end(call: &mut Call<'_>, subscriber: Option<SessionRef>, notifier_id: Id) {
    if let Some(session) = subscriber.filter(|s| *s != call.session) {
        call.effects.push(Effect::Push {
            session,
            entity: notifier_id,
            event: Response::End,
        });
    }
}
