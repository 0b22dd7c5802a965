//! What executors tell each other.

use crate::control::ShardSnapshot;
use crate::protocol::Response;
use crate::relay::{
    Answer, OperatorCall, PeerMessage, Request, ServiceRegistration, SessionContext, SessionRef,
    Ticket,
};
use crate::runtime::control::{ControlReply, ControlRequest};
use crate::store::Id;
use std::ops::Range;
use std::sync::Arc;

/// What executors tell each other.
#[derive(Debug)]
pub enum CoreMessage {
    /// Commands of a session of the sender.
    Commands(Box<RemoteCommands>),
    /// The answer to a command of a session of the receiver.
    Reply(SessionRef, Ticket, Box<Answer>),
    /// A command of a session of the receiver has taken effect; its answer follows.
    Executed(SessionRef, Ticket),
    /// An unsolicited message to a session of the receiver.
    Push(SessionRef, Id, Box<Response<'static>>),
    /// Notifications for a session of the receiver.
    Notify(SessionRef, Vec<(Id, Response<'static>)>),
    /// A session of the sender has room for as many notifications again.
    NotificationsTaken(SessionRef, u32),
    /// Make a session of the sender the subscriber of its service; whether a notifier made it join
    /// that did not belong to the service before.
    JoinService(SessionRef, Id, bool),
    /// The answer to it.
    ServiceJoined(SessionRef),
    /// A service's session of the sender ended.
    ServiceClosed(SessionRef, Id),
    /// Who is the service in a handshake of the sender.
    RegisterService(Box<ServiceRegistration>),
    /// The answer to the sender's request of this number.
    ServiceRegistered(u64, Option<Id>),
    /// Does a silent session of the sender have subscriptions? With the number of its round.
    AskSubscribed(SessionRef, u32),
    /// The answer to it.
    Subscribed(SessionRef, u32, bool),
    /// Between shards.
    Peer(PeerMessage),
    /// A session of the sender ended.
    SessionClosed(SessionRef),
    /// A session of the sender has room for the message of a queue again.
    Redeliver(SessionRef, Id),
    /// The answer to it when there is no message.
    NothingToRedeliver(SessionRef),
    /// The control executor asks something.
    Control(OperatorCall, Box<ControlRequest>),
    /// The answer to its request of this number.
    ControlReply(u64, Box<ControlReply>),
    /// The sender's shard has stopped, and says so to the control executor.
    LastWords(Box<ShardSnapshot>),
}

/// Commands on their way to another executor, as the bytes they came in.
#[derive(Debug)]
pub struct RemoteCommands {
    pub(super) session: SessionRef,
    pub(super) context: Arc<SessionContext>,
    commands: Vec<(Ticket, Range<usize>)>,
    bytes: Vec<u8>,
}

impl RemoteCommands {
    pub(super) fn new(
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) -> Self {
        let mut bytes = Vec::with_capacity(requests.iter().map(|r| r.bytes.len()).sum());
        let commands = requests
            .iter()
            .map(|request| {
                let start = bytes.len();
                bytes.extend_from_slice(request.bytes);
                (request.ticket, start..bytes.len())
            })
            .collect();
        Self {
            session,
            context: Arc::clone(context),
            commands,
            bytes,
        }
    }

    /// The commands, parsed again.
    pub(super) fn requests(&self) -> Vec<Request<'_>> {
        let (version, id) = (self.context.version(), self.context.session_id());
        // They parsed where they came from.
        self.commands
            .iter()
            .filter_map(|(ticket, range)| {
                Request::parse(self.bytes.get(range.clone())?, *ticket, version, id).ok()
            })
            .collect()
    }
}
