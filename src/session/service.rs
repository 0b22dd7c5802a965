//! Whether a session is the subscriber of its service (spec: server §3.20, §4).

use crate::protocol::Response;
use crate::relay::Ticket;

/// How far a session is with becoming the subscriber of its service.
#[derive(Debug, Default)]
pub enum ServiceSubscription {
    /// It is not.
    #[default]
    NotJoined,
    /// It has asked; these confirmations wait, at most as many as commands are in flight.
    Joining(Vec<(Ticket, Response<'static>)>),
    /// It is.
    Joined,
}

impl ServiceSubscription {
    /// Takes a confirmation to be given when the session is the subscriber, or gives it back when
    /// it is. Says whether the service must be asked.
    pub fn confirm(
        &mut self,
        ticket: Ticket,
        response: Response<'static>,
    ) -> Result<bool, Response<'static>> {
        match self {
            Self::Joined => Err(response),
            Self::Joining(waiting) => {
                waiting.push((ticket, response));
                Ok(false)
            }
            Self::NotJoined => {
                *self = Self::Joining(vec![(ticket, response)]);
                Ok(true)
            }
        }
    }

    /// The session has become the subscriber; gives the confirmations that waited.
    pub fn joined(&mut self) -> Vec<(Ticket, Response<'static>)> {
        match std::mem::replace(self, Self::Joined) {
            Self::Joining(waiting) => waiting,
            Self::NotJoined | Self::Joined => Vec::new(),
        }
    }

    /// The session subscribed to all queues of the service.
    pub fn subscribed(&mut self) {
        if let Self::NotJoined = self {
            *self = Self::Joined;
        }
    }

    /// Another session has become the subscriber.
    pub fn ended(&mut self) {
        if let Self::Joined = self {
            *self = Self::NotJoined;
        }
    }

    /// Whether the session is the subscriber.
    pub fn is_joined(&self) -> bool {
        matches!(self, Self::Joined)
    }
}
