//! What the control executor asks of the shards' executors.

use crate::control::ShardSnapshot;
use crate::protocol::error::BlockingInfo;
use crate::relay::OperatorAnswer;
use crate::store::Id;

/// What the control executor asks of a shard's executor.
#[derive(Debug)]
pub enum ControlRequest {
    /// Tell everything about yourself.
    Snapshot,
    /// Do something to the queue with a sender id or link id.
    Order(Id, Order),
}

/// What an operator does to a queue.
#[derive(Debug, Clone)]
pub enum Order {
    /// Block it.
    Block(BlockingInfo),
    /// Unblock it.
    Unblock,
}

/// The answer to a [`ControlRequest`].
#[derive(Debug)]
pub enum ControlReply {
    /// To [`ControlRequest::Snapshot`].
    Snapshot(Box<ShardSnapshot>),
    /// To [`ControlRequest::Order`].
    Order(OperatorAnswer),
}
