//! Looking for what waits for a service that has got a subscriber.

use super::Notifications;
use crate::store::{Id, QueueSlot};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ops::Bound;

/// Queues that a tick looks at for services, about: with a million that wait, a service has got
/// everything some ticks later, and connections that take it from each other cost no more.
const SCANNED_PER_TICK: usize = 1 << 16;

/// Services whose queues are being looked for, in turns. A service that gets another subscriber
/// meanwhile is looked at once around from where it was.
#[derive(Debug, Default)]
pub(super) struct Scans {
    turns: VecDeque<Id>,
    scans: HashMap<Id, Scan>,
    /// Queues that the running tick may still look at.
    left: usize,
}

#[derive(Debug, Clone, Copy)]
struct Scan {
    /// The last queue that was looked at.
    after: Option<QueueSlot>,
    rest: Rest,
}

/// What is still to be looked at.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// Up to the last queue.
    ToEnd,
    /// Up to the last queue, then from the first one up to this.
    ToEndAndOn(QueueSlot),
    /// Up to this queue.
    UpTo(QueueSlot),
}

impl Scans {
    /// Services that are being looked for.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.scans.len()
    }
}

impl Notifications {
    /// Looks for queues of a service at the next ticks: it has a new subscriber.
    pub fn wake_service(&mut self, service_id: Id) {
        match self.scans.scans.entry(service_id) {
            Entry::Occupied(mut entry) => {
                let scan = entry.get_mut();
                scan.rest = scan.after.map_or(Rest::ToEnd, Rest::ToEndAndOn);
            }
            Entry::Vacant(entry) => {
                let (after, rest) = (None, Rest::ToEnd);
                entry.insert(Scan { after, rest });
                self.scans.turns.push_back(service_id);
            }
        }
    }

    /// Begins a tick: what is due now is delivered by
    /// [`Shard::deliver_notifications`](crate::relay::Shard::deliver_notifications), and what the
    /// running scans find.
    pub fn begin_tick(&mut self) {
        self.tick_given.clear();
        self.tick_end = self.next_place;
        self.scans.left = match self.scans.turns.len() {
            0 => 0,
            _ => SCANNED_PER_TICK,
        };
    }

    /// Whether the running tick has more to do.
    pub(super) fn is_ticking(&self) -> bool {
        let next = self.due.first_key_value();
        self.scans.left > 0 || next.is_some_and(|(place, _)| *place < self.tick_end)
    }

    /// The service whose turn it is, and at most `queues` queues to look at.
    pub(super) fn scan(&mut self, queues: usize) -> Option<(Id, Vec<QueueSlot>)> {
        if self.scans.left == 0 {
            return None;
        }
        let service_id = self.scans.turns.pop_front()?;
        let scan = self.scans.scans.get_mut(&service_id)?;
        let start = scan.after.map_or(Bound::Unbounded, Bound::Excluded);
        let end = match scan.rest {
            Rest::UpTo(last) => Bound::Included(last),
            Rest::ToEnd | Rest::ToEndAndOn(_) => Bound::Unbounded,
        };
        let range = self.queues.range((start, end)).take(queues);
        let slots: Vec<_> = range.map(|(slot, _)| *slot).collect();
        match (slots.last(), scan.rest) {
            (Some(last), _) if slots.len() == queues => scan.after = Some(*last),
            (_, Rest::ToEndAndOn(last)) => {
                scan.after = None;
                scan.rest = Rest::UpTo(last);
            }
            (_, Rest::ToEnd | Rest::UpTo(_)) => {
                self.scans.scans.remove(&service_id);
            }
        }
        if self.scans.scans.contains_key(&service_id) {
            self.scans.turns.push_back(service_id);
        }
        Some((service_id, slots))
    }

    /// `queues` queues have been looked at. Once the tick has seen as many as it may, it delivers
    /// what was found.
    pub(super) fn scanned(&mut self, queues: usize) {
        let left = self.scans.left.saturating_sub(queues);
        self.scans.left = if self.scans.turns.is_empty() { 0 } else { left };
        if self.scans.left == 0 {
            self.tick_end = self.next_place;
        }
    }
}
