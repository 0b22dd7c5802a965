//! What a session sends without being asked.

use super::Session;
use crate::protocol::Response;
use crate::session::batch::Outgoing;
use crate::session::events::{FlushDue, is_delayed};
use crate::session::{MAX_REDELIVERIES, OUTBOX_LOW_WATER, OUTBOX_PUSH_LIMIT};
use crate::store::Id;

impl Session {
    /// Takes what nobody asked for. The end of a subscription waits for
    /// [`flush_events`](Self::flush_events); the result says when that is due.
    ///
    /// A message for a reader that is too slow is not kept: its queue has it, and is asked again
    /// once there is room (see [`take_deferred`](Self::take_deferred)).
    pub fn push(&mut self, entity: Id, event: Response<'static>) -> FlushDue {
        if is_delayed(&event) {
            if let Response::Ends(_) = event {
                self.service.ended();
            }
            return self.events.push(entity, event);
        }
        if matches!(event, Response::Msg { .. }) {
            // One that nobody asked for counts too: the window opens a little early.
            self.awaited = self.awaited.saturating_sub(1);
            if self.waiting_bytes() >= OUTBOX_PUSH_LIMIT {
                self.deferred.push_back(entity);
                return FlushDue::Unchanged;
            }
        }
        self.send_event(entity, event);
        FlushDue::Unchanged
    }

    /// Takes notifications from a shard, which is told when they have left (see
    /// [`take_credit`](Self::take_credit)).
    pub fn notify(&mut self, shard: u16, notifications: Vec<(Id, Response<'static>)>) {
        let count = u32::try_from(notifications.len()).unwrap_or(u32::MAX);
        match self.credits.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, taken)) => *taken = taken.saturating_add(count),
            None => self.credits.push((shard, count)),
        }
        for (entity, event) in notifications {
            self.send_event(entity, event);
        }
    }

    /// Sends the ends of subscriptions that wait, and says how many they were.
    pub fn flush_events(&mut self) -> usize {
        let events = self.events.take();
        let count = events.len();
        for (entity, event) in events {
            self.send_event(entity, event);
        }
        count
    }

    /// Sends an event, behind the confirmation that makes sense of it when that has not left.
    fn send_event(&mut self, entity: Id, event: Response<'static>) {
        let mut event = event;
        // The newest confirmation: it precedes the event wherever it comes from.
        for batch in self.in_flight.iter_mut().rev() {
            match batch.hold_back(&entity, event) {
                Some(free) => event = free,
                None => return,
            }
        }
        self.outbox.push(Outgoing::push(&entity, event));
    }

    /// A queue whose message was not taken, once there is room for it again.
    pub fn take_deferred(&mut self) -> Option<Id> {
        if self.waiting_bytes() > OUTBOX_LOW_WATER || self.awaited >= MAX_REDELIVERIES {
            return None;
        }
        let id = self.deferred.pop_front()?;
        self.awaited += 1;
        Some(id)
    }

    /// A queue that was asked again has nothing for this session.
    pub fn nothing_deferred(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// A shard and how many of its notifications were taken, once there is room for more.
    pub fn take_credit(&mut self) -> Option<(u16, u32)> {
        if self.credits.is_empty() || self.waiting_bytes() > OUTBOX_LOW_WATER {
            return None;
        }
        self.credits.pop()
    }
}
