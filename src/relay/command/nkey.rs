//! `NKEY`: enable notifications (spec: server §3.13).

use super::ndel::end_notifier;
use super::new::{ATTEMPTS, agree_fresh};
use crate::protocol::command::NotifierCredentials;
use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{IdKind, NotifierRecord, QueueChange, QueueSlot, Store, StoreError};

/// Gives the queue a new notifier, in place of the one it may have.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
    credentials: &NotifierCredentials,
) -> Outcome {
    let record = shard.store.queue(slot);
    let partition = shard.config.partitioner.partition(&record.recipient_id);
    let (dh_key, dh_secret) = agree_fresh(shard, &credentials.dh_key);
    let mut notifier = NotifierRecord {
        notifier_id: Default::default(),
        auth_key: credentials.auth_key,
        dh_secret,
        service_id: None,
    };
    for _ in 0..ATTEMPTS {
        notifier.notifier_id = shard.config.partitioner.make_id(partition, &mut shard.rng);
        let change = QueueChange::Notifier(Some(notifier.clone()));
        match shard.store.update(slot, change) {
            Ok(lsn) => {
                if let Some(old) = &record.notifier {
                    // Who subscribed to it is known by the old record.
                    end_notifier(shard, call.session, slot, old, lsn, call.effects);
                    let id = (IdKind::Notifier, old.notifier_id);
                    shard.release_imported([id], lsn, call.effects);
                }
                shard.counters.notifiers_created += 1;
                let answer = Response::Nid {
                    notifier_id: notifier.notifier_id.to_vec().into(),
                    dh_key,
                };
                return Done::after(lsn, answer);
            }
            Err(StoreError::Duplicate) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(ErrorType::Internal)
}
