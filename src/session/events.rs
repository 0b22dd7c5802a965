//! News of subscriptions that ended, told together (spec: server §4).

use crate::protocol::Response;
use crate::store::Id;

/// Events that wait in a session; with this many they are sent without waiting for their time.
pub const MAX_PENDING_EVENTS: usize = 4096;

/// When the events that wait in a session are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushDue {
    /// Nothing new waits.
    Unchanged,
    /// With those of the other sessions.
    Later,
    /// At once: as many wait as may.
    Now,
}

/// `END`, `DELD` and `ENDS` in the order in which they happened.
#[derive(Debug, Default)]
pub struct PendingEvents {
    events: Vec<(Id, Response<'static>)>,
}

/// Whether an event waits for others of its kind.
pub fn is_delayed(event: &Response<'_>) -> bool {
    matches!(event, Response::End | Response::Deld | Response::Ends(_))
}

/// Whether an event says that a subscription passed to another session.
pub fn is_end(event: &Response<'_>) -> bool {
    matches!(event, Response::End | Response::Ends(_))
}

impl PendingEvents {
    /// Adds an event.
    pub fn push(&mut self, entity: Id, event: Response<'static>) -> FlushDue {
        self.events.push((entity, event));
        if self.events.len() < MAX_PENDING_EVENTS {
            FlushDue::Later
        } else {
            FlushDue::Now
        }
    }

    /// Drops what says that the subscription to `entity` ended: there is a new one.
    pub fn forget_end(&mut self, entity: &Id) {
        self.events
            .retain(|(of, event)| of != entity || !is_end(event));
    }

    /// Takes everything.
    pub fn take(&mut self) -> Vec<(Id, Response<'static>)> {
        std::mem::take(&mut self.events)
    }
}
