//! Where the commands of sessions go.

use super::batch_kind::BatchKind;
use crate::relay::{Request, SessionContext, SessionRef};
use std::sync::Arc;

/// Where commands go.
pub trait Router {
    /// The shard that executes a command. Asked once for each: new queues may go anywhere.
    fn shard_for(&mut self, request: &Request<'_>, context: &SessionContext) -> u16;

    /// Hands commands of one session to a shard, in order.
    fn dispatch(
        &mut self,
        shard: u16,
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    );

    /// Asks for the session to become the subscriber of its service, and says which shard was
    /// asked; `None` when it belongs to no service. `by_new` says that a notifier made it join that
    /// did not belong to the service before.
    fn join_service(
        &mut self,
        session: SessionRef,
        context: &Arc<SessionContext>,
        by_new: bool,
    ) -> Option<u16>;

    /// Counts a received block.
    fn count_batch(&mut self, kind: BatchKind);
}
