//! What the control executor asks of the shards' executors.

use crate::control::ShardSnapshot;
use crate::control::port::ConnectionRow;
use crate::protocol::error::BlockingInfo;
use crate::relay::{Listening, NotesWalk, OperatorAnswer, SessionRef};
use crate::runtime::online_credential::OnlineCredential;
use crate::store::Id;
use crate::store::log::{Cut, DaysWalk, NotesBatch};
use std::sync::Arc;

/// What the control executor asks of a shard's executor.
#[derive(Debug)]
pub enum ControlRequest {
    /// Tell everything about yourself.
    Snapshot,
    /// Do something to the queue with a sender id or link id.
    Order(Id, Order),
    /// Do a part of a backup.
    Backup(BackupStep),
    /// Tell about your connections in the places from this one on: of a bounded number of places.
    Connections(u32),
    /// Tell what these sessions, of any executor, listen to.
    Listening(Arc<[SessionRef]>),
    /// Save everything there is to save.
    Save,
    /// Use this credential for new connections.
    Use(OnlineCredential),
}

/// A shard's part in a backup, in this order.
#[derive(Debug)]
pub enum BackupStep {
    /// Tell when queues were last used, from the beginning or further on.
    Days(DaysWalk),
    /// Tell what notifications wait, from the beginning or further on.
    Notes(Option<NotesWalk>),
    /// Be still, and tell what the store has.
    Freeze,
    /// Go on.
    Thaw,
    /// The files that were told are not needed any more.
    End,
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
    /// To [`BackupStep::Days`]: what was read by now, and whether there is more.
    Days(DaysWalk, bool),
    /// To [`BackupStep::Notes`]: some, and how to go on when there are more.
    Notes(NotesBatch, Option<NotesWalk>),
    /// To [`BackupStep::Freeze`]; none when nothing is kept.
    Frozen(Option<Cut>),
    /// To [`BackupStep::Thaw`]: whether it was still until then.
    Thawed(bool),
    /// To [`BackupStep::End`].
    Ended,
    /// To [`ControlRequest::Connections`].
    Connections(ConnectionPage),
    /// To [`ControlRequest::Listening`], in the order of the sessions.
    Listening(Vec<Listening>),
    /// To [`ControlRequest::Save`]: what failed, if anything did.
    Saved(Result<(), String>),
    /// To [`ControlRequest::Use`].
    Used,
}

/// Connections of one executor.
#[derive(Debug, Default)]
pub struct ConnectionPage {
    /// The connections, without what the shards know of them.
    pub rows: Vec<(SessionRef, ConnectionRow)>,
    /// The place of the next ones, unless these were the last.
    pub next: Option<u32>,
}
