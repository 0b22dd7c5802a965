//! `LSET`: set or replace a queue's link data (spec: server §3.11).

use super::new::link_content;
use crate::protocol::command::LinkData;
use crate::protocol::error::CommandError;
use crate::protocol::{ErrorType, Response};
use crate::relay::effect::Effect;
use crate::relay::pending::PendingChange;
use crate::relay::release::Confirmation;
use crate::relay::session_ref::{SessionRef, Ticket};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::store::{Id, IdKind, LinkContent, Location, QueueChange, QueueSlot, Store, StoreError};

/// A link whose id another shard is asked to reserve.
#[derive(Debug)]
pub struct PendingLink {
    session: SessionRef,
    ticket: Ticket,
    recipient_id: Id,
    pub(in crate::relay) link_id: Id,
    content: LinkContent,
}

/// What a link id and its data mean for a queue as it is.
enum Change {
    /// The queue has this link: new user data.
    Replace,
    /// The queue has none.
    Create,
}

/// Sets the link; `None` means that the answer follows when the shard of the link id has decided.
///
/// An id that is in use is refused: the reference lets one queue take over the link of another.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    slot: QueueSlot,
    link_id: &[u8],
    data: &LinkData<'_>,
) -> Result<Option<Done>, ErrorType> {
    let Ok(link_id) = Id::try_from(link_id) else {
        // Clients derive 24 bytes; nothing else can be found again.
        return Err(ErrorType::Cmd(CommandError::Prohibited));
    };
    let content = link_content(*data);
    let change = check(shard, slot, &link_id, &content)?;
    let home = shard.config.partitioner.shard_of(&link_id);
    if matches!(change, Change::Replace) || home == shard.config.index {
        return set(shard, slot, link_id, content).map(Some);
    }
    let recipient_id = shard.store.queue(slot).recipient_id;
    let token = shard
        .pending
        .insert(PendingChange::Link(Box::new(PendingLink {
            session: call.session,
            ticket: call.request.ticket,
            recipient_id,
            link_id,
            content,
        })));
    shard.reserve_link(token, link_id, call.effects);
    Ok(None)
}

/// Whether a queue may have this link now.
fn check<S: Store>(
    shard: &Shard<S>,
    slot: QueueSlot,
    link_id: &Id,
    content: &LinkContent,
) -> Result<Change, ErrorType> {
    let record = shard.store.queue(slot);
    if record.is_secured_messaging() {
        return Err(ErrorType::Auth);
    }
    match (record.link_id, shard.store.link(slot)) {
        (Some(id), Some(current)) if id == *link_id && current.fixed == content.fixed => {
            Ok(Change::Replace)
        }
        (None, _) => Ok(Change::Create),
        _ => Err(ErrorType::Auth),
    }
}

fn set<S: Store>(
    shard: &mut Shard<S>,
    slot: QueueSlot,
    link_id: Id,
    content: LinkContent,
) -> Outcome {
    let link = QueueChange::Link(Some((link_id, content)));
    let lsn = shard.store.update(slot, link)?;
    Done::after(lsn, Response::Ok)
}

/// Finishes once the shard of the link id has answered. The queue may be another by now.
pub(in crate::relay) fn resume<S: Store>(
    shard: &mut Shard<S>,
    pending: PendingLink,
    reserved: Result<(), StoreError>,
    effects: &mut Vec<Effect>,
) {
    let PendingLink {
        session,
        ticket,
        recipient_id,
        link_id,
        content,
    } = pending;
    let slot = match shard.store.find(IdKind::Recipient, &recipient_id) {
        Some(Location::Queue(slot)) => Some(slot),
        _ => None,
    };
    let change = slot
        .ok_or(ErrorType::Auth)
        .and_then(|slot| Ok((slot, check(shard, slot, &link_id, &content)?)));
    let outcome = match change {
        // Another connection has set the same link meanwhile.
        Ok((slot, Change::Replace)) => set(shard, slot, link_id, content),
        Ok((slot, Change::Create)) => match &reserved {
            Ok(()) => set(shard, slot, link_id, content),
            Err(error) => Err(error.clone().into()),
        },
        Err(error) => Err(error),
    };
    let (lsn, answer) = match outcome {
        Ok(done) => (done.lsn, done.answer),
        Err(error) if reserved.is_ok() => {
            let confirmation = Some(Confirmation {
                session,
                ticket,
                outcome: Err(error),
            });
            shard.release_link(&link_id, None, confirmation, effects);
            return;
        }
        Err(error) => (None, error.into()),
    };
    let reply = Effect::Reply {
        session,
        ticket,
        answer,
    };
    shard.emit(lsn, reply, effects);
}
