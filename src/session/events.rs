//! News of subscriptions that ended, told together (spec: server §4).

use crate::protocol::Response;
use crate::protocol::command::ServiceQueues;
use crate::store::Id;
use std::collections::{HashMap, VecDeque};

/// Events that wait in a session; with this many they are sent without waiting for their time, when
/// the client takes what is sent.
pub const MAX_PENDING_EVENTS: usize = 4096;

/// Subscriptions that began anew, noted before the events are looked through for their ends.
const MIN_RENEWED: usize = 64;

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

/// `END`, `DELD` and `ENDS` in the order in which they happened. As many may wait as there were
/// subscriptions, so they are kept small.
#[derive(Debug, Default)]
pub struct PendingEvents {
    events: VecDeque<(Id, Event)>,
    /// Events that have left at the front.
    taken: u64,
    /// Of these entities the ends among the first so many events are stale.
    renewed: HashMap<Id, u64, foldhash::fast::RandomState>,
}

#[derive(Debug)]
enum Event {
    End,
    Deld,
    Ends(Box<ServiceQueues>),
}

/// Whether an event says that a subscription passed to another session.
pub fn is_end(event: &Response<'_>) -> bool {
    matches!(event, Response::End | Response::Ends(_))
}

impl Event {
    fn is_end(&self) -> bool {
        !matches!(self, Self::Deld)
    }
}

impl From<Event> for Response<'static> {
    fn from(event: Event) -> Self {
        match event {
            Event::End => Self::End,
            Event::Deld => Self::Deld,
            Event::Ends(queues) => Self::Ends(*queues),
        }
    }
}

impl PendingEvents {
    /// Adds an event, or gives it back when it is none that waits.
    pub fn push(
        &mut self,
        entity: Id,
        event: Response<'static>,
    ) -> Result<FlushDue, Response<'static>> {
        let event = match event {
            Response::End => Event::End,
            Response::Deld => Event::Deld,
            Response::Ends(queues) => Event::Ends(Box::new(queues)),
            other => return Err(other),
        };
        self.events.push_back((entity, event));
        Ok(if self.events.len() < MAX_PENDING_EVENTS {
            FlushDue::Later
        } else {
            FlushDue::Now
        })
    }

    /// Drops what says that the subscription to `entity` ended: there is a new one.
    pub fn forget_end(&mut self, entity: &Id) {
        if self.events.is_empty() {
            return;
        }
        let so_far = self.taken + self.events.len() as u64;
        self.renewed.insert(*entity, so_far);
        // As often as events are looked through, as many subscriptions have begun.
        if self.renewed.len() > self.events.len().max(MIN_RENEWED) {
            let (renewed, mut number) = (std::mem::take(&mut self.renewed), self.taken);
            self.events.retain(|(entity, event)| {
                number += 1;
                !is_stale(&renewed, number, entity, event)
            });
        }
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<(Id, Response<'static>)> {
        while let Some((entity, event)) = self.events.pop_front() {
            self.taken += 1;
            if !is_stale(&self.renewed, self.taken, &entity, &event) {
                return Some((entity, event.into()));
            }
        }
        // Idle connections hold no memory for what once waited.
        *self = Self::default();
        None
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Whether event `number`, counted from 1, is the end of a subscription that began anew.
fn is_stale(
    renewed: &HashMap<Id, u64, foldhash::fast::RandomState>,
    number: u64,
    entity: &Id,
    event: &Event,
) -> bool {
    event.is_end() && renewed.get(entity).is_some_and(|upto| number <= *upto)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> Id {
        [n; 24]
    }

    fn all(events: &mut PendingEvents) -> Vec<(u8, bool)> {
        std::iter::from_fn(|| events.pop())
            .map(|(entity, event)| (entity[0], is_end(&event)))
            .collect()
    }

    proptest! {
        /// Against a list that is looked through each time.
        #[test]
        fn ends_of_what_began_anew_are_dropped_and_nothing_else(
            steps in prop::collection::vec((0u8..4, 0u8..100), 0..400),
        ) {
            let mut events = PendingEvents::default();
            let mut expected: VecDeque<(u8, bool)> = VecDeque::new();
            for (step, n) in steps {
                match step {
                    0 | 1 => {
                        let event = if step == 0 { Response::End } else { Response::Deld };
                        events.push(id(n), event).unwrap();
                        expected.push_back((n, step == 0));
                    }
                    2 => {
                        events.forget_end(&id(n));
                        expected.retain(|event| *event != (n, true));
                    }
                    _ => {
                        let next = events.pop().map(|(id, event)| (id[0], is_end(&event)));
                        prop_assert_eq!(next, expected.pop_front());
                    }
                }
            }
            prop_assert_eq!(all(&mut events), Vec::from(expected));
            prop_assert!(events.renewed.is_empty());
        }
    }

    #[test]
    fn no_more_renewed_subscriptions_are_noted_than_events() {
        let mut events = PendingEvents::default();
        for n in 0..200 {
            events.push(id(n), Response::End).unwrap();
        }
        for _ in 0..3 {
            for n in 0..=250 {
                events.forget_end(&id(n));
                assert!(events.renewed.len() <= events.events.len().max(MIN_RENEWED));
            }
        }
        assert_eq!(all(&mut events), []);
    }
}
