//! `NSUBS`: receive the notifications of all queues of a service (spec: server §3.21).

use crate::protocol::ErrorType;
use crate::relay::shard::{Call, Shard};
use crate::store::Store;

/// Makes the session the subscriber of its service; the answer follows once every shard has
/// counted its notifiers.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
) -> Result<(), ErrorType> {
    let Some(service) = call.context.service() else {
        return Err(ErrorType::Service);
    };
    if shard.store.service(&service.fingerprint).is_none() {
        return Err(ErrorType::Auth);
    }
    let ticket = Some(call.request.ticket);
    shard.start_join(call.session, service.id, ticket, call.effects);
    Ok(())
}
