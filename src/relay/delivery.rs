//! One message at a time to whoever listens (spec: server §5).

use super::Timestamp;
use super::effect::Effect;
use super::session_ref::SessionRef;
use super::shard::Shard;
use super::subscription::Delivered;
use crate::crypto::message::{encrypt_message, encrypt_quota};
use crate::crypto::smp_box::BoxKey;
use crate::protocol::Response;
use crate::protocol::response::BOXED_MESSAGE_LEN;
use crate::store::{MessageKind, QueueRecord, QueueSlot, Store, StoredMessage};

/// A message boxed for the recipient; the same bytes each time (spec: protocol §12).
fn boxed(record: &QueueRecord, message: &StoredMessage<'_>) -> Response<'static> {
    let key = BoxKey::from(&record.rcv_dh_secret);
    let seconds = Timestamp {
        nanos: message.time_ns,
    }
    .seconds();
    let mut boxed = Vec::with_capacity(BOXED_MESSAGE_LEN);
    let result = match message.kind {
        MessageKind::Message { notify } => {
            encrypt_message(&key, &message.id, seconds, notify, message.body, &mut boxed)
        }
        MessageKind::Quota => encrypt_quota(&key, &message.id, seconds, &mut boxed),
    };
    // Bodies are bounded when they are stored, so that they always fit their box.
    debug_assert!(result.is_ok());
    Response::Msg {
        msg_id: message.id.to_vec().into(),
        boxed: boxed.into(),
    }
}

impl<S: Store> Shard<S> {
    /// Boxes the oldest message for a listener and notes that it was given to it.
    pub(super) fn deliver_head(
        &mut self,
        now: Timestamp,
        slot: QueueSlot,
        session: SessionRef,
    ) -> Option<Response<'static>> {
        let Some(head) = self.store.head(slot) else {
            self.subscriptions.set_delivered(slot, session, None);
            return None;
        };
        let delivered = Delivered {
            id: head.id,
            at: now.seconds(),
        };
        let message = boxed(&self.store.queue(slot), &head);
        self.subscriptions
            .set_delivered(slot, session, Some(delivered));
        Some(message)
    }

    /// Pushes the oldest message to a subscriber that has nothing to acknowledge.
    pub(super) fn push_to_subscriber(
        &mut self,
        now: Timestamp,
        slot: QueueSlot,
        effects: &mut Vec<Effect>,
    ) {
        let Some((session, None)) = self.subscriptions.subscriber(slot) else {
            return;
        };
        if let Some(event) = self.deliver_head(now, slot, session) {
            let entity = self.store.queue(slot).recipient_id;
            effects.push(Effect::Push {
                session,
                entity,
                event,
            });
        }
    }
}
