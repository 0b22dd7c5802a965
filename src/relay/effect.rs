//! What a shard wants done after it has handled its input.

use super::operator::{OperatorAnswer, OperatorCall};
use super::release::Confirmation;
use super::service::ServiceMessage;
use super::session_ref::{SessionRef, Ticket};
use crate::protocol::{ErrorType, Response};
use crate::store::{Id, IdKind, StoreError};

/// An output of a shard.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// The answer to a command.
    Reply {
        /// Session that sent the command.
        session: SessionRef,
        /// Which of its commands.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// An unsolicited message to a session.
    Push {
        /// Session that gets it.
        session: SessionRef,
        /// Entity id.
        entity: Id,
        /// The message.
        event: Response<'static>,
    },
    /// A command has taken effect; its answer waits for the disk.
    Executed {
        /// Session that sent the command.
        session: SessionRef,
        /// Which of its commands.
        ticket: Ticket,
    },
    /// Notifications for a session. It says when it has room for more.
    Notify {
        /// Session that gets them.
        session: SessionRef,
        /// Notifier ids and what is sent for each, in order.
        notifications: Vec<(Id, Response<'static>)>,
    },
    /// The answer to a [`ServiceRegistration`](super::ServiceRegistration).
    ServiceRegistered {
        /// Core that asked.
        core: u16,
        /// Its number for the request.
        token: u64,
        /// Id of the service; none when the certificate has another role, or there is no room.
        service_id: Option<Id>,
    },
    /// The answer to an operator's order.
    OperatorAnswered {
        /// Who waits for it.
        call: OperatorCall,
        /// The answer.
        answer: OperatorAnswer,
    },
    /// The session has become the subscriber of its service.
    ServiceJoined {
        /// The session.
        session: SessionRef,
    },
    /// The answer to a request for redelivery when there is no message.
    NothingToRedeliver {
        /// Session that asked.
        session: SessionRef,
    },
    /// A message to another shard.
    Peer {
        /// The shard.
        shard: u16,
        /// The message.
        message: PeerMessage,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A response with the command's ids.
    Response(Response<'static>),
    /// The command was refused before it was executed: such answers precede the others of their
    /// block (spec: server §2.5).
    Refused(ErrorType),
    /// Confirmation of a subscription through a service, to be given once the session is the
    /// subscriber of its service.
    ServiceSubscription {
        /// Confirmation.
        response: Response<'static>,
        /// Whether the notifier did not belong to the service before.
        is_new: bool,
    },
    /// Confirmation of a subscription, and the message that waited in the queue, to be pushed
    /// right after it.
    Subscribed {
        /// Confirmation.
        response: Response<'static>,
        /// The waiting message.
        message: Response<'static>,
    },
    /// The id leads to another shard, which must be asked.
    Redirect {
        /// The shard.
        shard: u16,
        /// The transmission, for that shard.
        transmission: Vec<u8>,
    },
}

impl From<Response<'static>> for Answer {
    fn from(response: Response<'static>) -> Self {
        Self::Response(response)
    }
}

impl From<ErrorType> for Answer {
    fn from(error: ErrorType) -> Self {
        Self::Response(Response::Err(error))
    }
}

/// What shards tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Make an id that lives with the receiver lead to a queue of the sender.
    ReserveAlias {
        /// Sender's number of this request.
        token: u64,
        /// Space of the id.
        kind: IdKind,
        /// The id.
        id: Id,
    },
    /// Answer to [`ReserveAlias`](Self::ReserveAlias).
    AliasReserved {
        /// Number of the request.
        token: u64,
        /// Why it was not made, if so.
        outcome: Result<(), StoreError>,
    },
    /// Undo a reservation: the queue is gone.
    ReleaseAlias {
        /// Space of the id.
        kind: IdKind,
        /// The id.
        id: Id,
        /// What to answer then, if somebody waits for it.
        confirmation: Option<Confirmation>,
    },
    /// Give an id back unless it leads to a queue: whoever reserved it may have ended before the
    /// queue was there, or before it gave the id back.
    CheckAlias {
        /// Space of the id.
        kind: IdKind,
        /// The id.
        id: Id,
    },
    /// About a service.
    Service(ServiceMessage),
}
