//! `LKEY`: secure a queue by its link and read the link data (spec: server §3.8).

use super::{lget, skey};
use crate::crypto::keys::PublicAuthKey;
use crate::relay::shard::{Done, Outcome, Shard};
use crate::store::{QueueSlot, Store};

/// Like `SKEY`, answered with the link data.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    slot: QueueSlot,
    sender_key: &PublicAuthKey,
) -> Outcome {
    let secured = skey::execute(shard, slot, sender_key)?;
    Ok(Done {
        answer: lget::link_answer(shard, slot)?.into(),
        lsn: secured.lsn,
    })
}
