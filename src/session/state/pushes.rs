//! What a session sends without being asked.

use super::Session;
use crate::protocol::Response;
use crate::session::batch::{Confirms, Outgoing, PendingBatch};
use crate::session::events::FlushDue;
use crate::session::{MAX_REDELIVERIES, OUTBOX_LOW_WATER, OUTBOX_PUSH_LIMIT};
use crate::store::Id;
use std::collections::{HashMap, VecDeque};

/// Where the newest confirmations of subscriptions are that have not left.
#[derive(Debug, Default)]
struct Unconfirmed {
    of: HashMap<Id, Place, foldhash::fast::RandomState>,
    of_any: Option<Place>,
}

/// A batch in flight, and a command of it.
type Place = (usize, usize);

impl Unconfirmed {
    fn of(in_flight: &VecDeque<PendingBatch>) -> Self {
        let mut unconfirmed = Self::default();
        for (batch, pending) in in_flight.iter().enumerate() {
            for (index, confirms) in pending.confirmations() {
                let place = (batch, index);
                match confirms {
                    Confirms::Any => unconfirmed.of_any = Some(place),
                    Confirms::Entity(entity) => {
                        if let Ok(entity) = Id::try_from(entity) {
                            unconfirmed.of.insert(entity, place);
                        }
                    }
                }
            }
        }
        unconfirmed
    }

    fn place(&self, entity: &Id) -> Option<Place> {
        self.of.get(entity).copied().max(self.of_any)
    }
}

impl Session {
    /// Takes what nobody asked for. The end of a subscription waits for
    /// [`flush_events`](Self::flush_events); the result says when that is due.
    ///
    /// A message for a reader that is too slow is not kept: its queue has it, and is asked again
    /// once there is room (see [`take_deferred`](Self::take_deferred)).
    pub fn push(&mut self, entity: Id, event: Response<'static>) -> FlushDue {
        if let Response::Ends(_) = event {
            self.service.ended();
        }
        let event = match self.events.push(entity, event) {
            Ok(due) => return due,
            Err(event) => event,
        };
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
        let unconfirmed = Unconfirmed::of(&self.in_flight);
        for (entity, event) in notifications {
            self.send_behind(&unconfirmed, entity, event);
        }
    }

    /// Sends the ends of subscriptions that wait, as many as there is room for, and says how many
    /// they were. The others are sent when there is room again (see
    /// [`has_overdue_events`](Self::has_overdue_events)).
    pub fn flush_events(&mut self) -> usize {
        let mut count = 0;
        let has_room = |session: &Self| session.waiting_bytes() < OUTBOX_PUSH_LIMIT;
        if has_room(self) && !self.events.is_empty() {
            let unconfirmed = Unconfirmed::of(&self.in_flight);
            while has_room(self)
                && let Some((entity, event)) = self.events.pop()
            {
                self.send_behind(&unconfirmed, entity, event);
                count += 1;
            }
        }
        self.events_overdue = !self.events.is_empty();
        count
    }

    /// Whether ends of subscriptions should have been sent and there is room for them now.
    pub fn has_overdue_events(&self) -> bool {
        self.events_overdue && self.waiting_bytes() <= OUTBOX_LOW_WATER
    }

    /// Sends one of many events, behind the confirmation that makes sense of it when that has not
    /// left.
    fn send_behind(&mut self, unconfirmed: &Unconfirmed, entity: Id, event: Response<'static>) {
        let place = unconfirmed.place(&entity);
        match place.and_then(|(batch, index)| Some((self.in_flight.get_mut(batch)?, index))) {
            Some((batch, index)) => batch.keep_back(index, entity, event),
            None => self.outbox.push(Outgoing::push(&entity, event)),
        }
    }

    /// Sends one event, behind the confirmation that makes sense of it when that has not left.
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
