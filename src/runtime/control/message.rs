//! What the control executor asks of the shards' executors.

use crate::control::ShardSnapshot;
use crate::control::port::ConnectionRow;
use crate::protocol::error::BlockingInfo;
use crate::relay::{Listening, OperatorAnswer, SessionRef};
use crate::store::Id;
use std::sync::Arc;

/// What the control executor asks of a shard's executor.
#[derive(Debug)]
pub enum ControlRequest {
    /// Tell everything about yourself.
    Snapshot,
    /// Do something to the queue with a sender id or link id.
    Order(Id, Order),
    /// Tell about your connections in the places from this one on: of a bounded number of places.
    Connections(u32),
    /// Tell what these sessions, of any executor, listen to.
    Listening(Arc<[SessionRef]>),
    /// Save everything there is to save.
    Save,
}

/// What an operator does to a queue.
#[derive(Debug, Clone)]
pub enum Order {
    /// Block it.
    Block(BlockingInfo),
    /// Unblock it.
    Unblock,
    /// Delete it with its messages.
    Delete,
    /// Leave it and tell what it is.
    Status,
}

/// The answer to a [`ControlRequest`].
#[derive(Debug)]
pub enum ControlReply {
    /// To [`ControlRequest::Snapshot`].
    Snapshot(Box<ShardSnapshot>),
    /// To [`ControlRequest::Order`].
    Order(OperatorAnswer),
    /// To [`ControlRequest::Connections`].
    Connections(ConnectionPage),
    /// To [`ControlRequest::Listening`], in the order of the sessions.
    Listening(Vec<Listening>),
    /// To [`ControlRequest::Save`]: what failed, if anything did.
    Saved(Result<(), String>),
}

/// Connections of one executor.
#[derive(Debug, Default)]
pub struct ConnectionPage {
    /// The connections, without what the shards know of them.
    pub rows: Vec<(SessionRef, ConnectionRow)>,
    /// The place of the next ones, unless these were the last.
    pub next: Option<u32>,
}
