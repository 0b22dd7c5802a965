//! What the control executor asks of the shards' executors.

use crate::control::ShardSnapshot;
use crate::protocol::error::BlockingInfo;
use crate::relay::{NotesWalk, OperatorAnswer};
use crate::store::Id;
use crate::store::log::{Cut, NotesBatch};

/// What the control executor asks of a shard's executor.
#[derive(Debug)]
pub enum ControlRequest {
    /// Tell everything about yourself.
    Snapshot,
    /// Do something to the queue with a sender id or link id.
    Order(Id, Order),
    /// Do a part of a backup.
    Backup(BackupStep),
}

/// A shard's part in a backup, in this order.
#[derive(Debug)]
pub enum BackupStep {
    /// Tell when queues were last used.
    Days,
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
}

/// The answer to a [`ControlRequest`].
#[derive(Debug)]
pub enum ControlReply {
    /// To [`ControlRequest::Snapshot`].
    Snapshot(Box<ShardSnapshot>),
    /// To [`ControlRequest::Order`].
    Order(OperatorAnswer),
    /// To [`BackupStep::Days`]: the content of the file; none when nothing is kept.
    Days(Option<Vec<u8>>),
    /// To [`BackupStep::Notes`]: some, and how to go on when there are more.
    Notes(NotesBatch, Option<NotesWalk>),
    /// To [`BackupStep::Freeze`]; none when nothing is kept.
    Frozen(Option<Cut>),
    /// To [`BackupStep::Thaw`]: whether it was still until then.
    Thawed(bool),
    /// To [`BackupStep::End`].
    Ended,
}
