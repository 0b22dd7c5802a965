//! `LGET`: read the data behind a contact link (spec: server §3.9).

use crate::protocol::response::LinkAnswer;
use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Done, Outcome, Shard};
use crate::store::{QueueSlot, Store};

/// Answers the link data of a queue found by its link.
pub(in crate::relay) fn execute<S: Store>(shard: &Shard<S>, slot: QueueSlot) -> Outcome {
    Done::now(link_answer(shard, slot)?)
}

/// The data behind a link, and where messages are to be sent.
pub(super) fn link_answer<S: Store>(
    shard: &Shard<S>,
    slot: QueueSlot,
) -> Result<Response<'static>, ErrorType> {
    let content = shard.store.link(slot).ok_or(ErrorType::Auth)?;
    Ok(Response::Lnk(Box::new(LinkAnswer {
        sender_id: shard.store.queue(slot).sender_id.to_vec().into(),
        fixed: content.fixed.into_vec().into(),
        user: content.user.into_vec().into(),
    })))
}
