//! `SEND`: store a message and hand it to the subscriber (spec: server §3.18).

use crate::protocol::{ErrorType, MAX_STORED_BODY, Response};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{Id, Message, MessageKind, QueueChange, QueueSlot, QueueStatus, Store};
use rand::RngCore;

/// Stores the message unless the queue is suspended, blocked or full.
///
/// The first message beyond the quota leaves a marker in its place; then nothing is accepted until
/// the recipient has acknowledged everything, the marker included (spec: server §5.3).
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
    notify: bool,
    body: &[u8],
) -> Outcome {
    if body.len() > call.context.version().max_message_length() {
        shard.counters.send_large += 1;
        return Err(ErrorType::LargeMsg);
    }
    let record = shard.store.queue(slot);
    match &record.status {
        QueueStatus::Active => {}
        QueueStatus::Off => {
            shard.counters.send_auth += 1;
            return Err(ErrorType::Auth);
        }
        QueueStatus::Blocked(info) => {
            shard.counters.send_blocked += 1;
            return Err(ErrorType::Blocked(info.clone()));
        }
    }
    if body.len() > MAX_STORED_BODY {
        return Err(ErrorType::LargeMsg);
    }
    if let Some(link_id) = record.link_id.filter(|_| record.is_secured_messaging()) {
        // The one sender has used its link; a failure costs nothing but the space of the data.
        if let Ok(lsn) = shard.store.update(slot, QueueChange::Link(None)) {
            shard.release_link(&link_id, Some(lsn), None, call.effects);
        }
    }
    if shard.config.expire_on_send {
        shard.expire_queue(call.now, slot);
    }
    let mut id = Id::default();
    shard.rng.fill_bytes(&mut id);
    let time_ns = call.now.nanos;
    let was_empty = match shard.store.newest(slot).map(|newest| newest.kind) {
        None => true,
        Some(MessageKind::Quota) => {
            shard.counters.send_quota += 1;
            return Err(ErrorType::Quota);
        }
        Some(MessageKind::Message { .. })
            if shard.store.message_count(slot) >= shard.config.queue_quota =>
        {
            let marker = Message {
                id,
                time_ns,
                kind: MessageKind::Quota,
                body: &[],
            };
            shard.store.push_message(slot, marker)?;
            shard.counters.send_quota += 1;
            return Err(ErrorType::Quota);
        }
        Some(MessageKind::Message { .. }) => false,
    };
    let kind = MessageKind::Message { notify };
    let lsn = shard.store.push_message(
        slot,
        Message {
            id,
            time_ns,
            kind,
            body,
        },
    )?;
    shard.counters.messages_sent += 1;
    shard.counters.flagged_sent += u64::from(notify);
    shard.note_activity(call.now, slot, notify);
    if was_empty {
        shard.push_to_subscriber(call.now, slot, call.effects);
    }
    if let Some(notifier) = record.notifier.filter(|_| notify) {
        shard.notify(slot, notifier.notifier_id, id, call.now.seconds());
    }
    Done::after(lsn, Response::Ok)
}
