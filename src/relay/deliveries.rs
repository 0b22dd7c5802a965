//! Messages given to connections and not acknowledged: how many, and for how long (spec:
//! operations §5.3).

use super::session_ref::SessionRef;
use super::session_set::SessionSet;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

type Hasher = foldhash::fast::RandomState;

/// Upper bounds of the periods by which deliveries are counted, seconds; the last has none.
pub const DELIVERY_PERIODS: [i64; 4] = [60, 300, 1_200, 3_600];

/// Messages given and not acknowledged at a moment.
#[derive(Debug, Clone, Default)]
pub struct PendingDeliveries {
    /// All of them.
    pub count: u64,
    /// Connections that have any.
    pub sessions: SessionSet,
    /// By age: below each of [`DELIVERY_PERIODS`] and above the one before, then the rest.
    pub by_age: [u64; DELIVERY_PERIODS.len() + 1],
    /// Age of the oldest, seconds.
    pub longest: u64,
}

impl PendingDeliveries {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sessions.unite(&other.sessions);
        for (own, more) in self.by_age.iter_mut().zip(other.by_age) {
            *own += more;
        }
        self.longest = self.longest.max(other.longest);
    }
}

/// Counts deliveries while they begin and end.
#[derive(Debug, Default)]
pub struct Deliveries {
    count: u64,
    /// Number by the second in which they began.
    begun: BTreeMap<i64, u32>,
    by_session: HashMap<SessionRef, u32, Hasher>,
    sessions: SessionSet,
}

impl Deliveries {
    /// A delivery to an open session began at `at`, seconds since the Unix epoch.
    pub fn begin(&mut self, session: SessionRef, at: i64) {
        self.count += 1;
        *self.begun.entry(at).or_default() += 1;
        *self.by_session.entry(session).or_default() += 1;
        self.sessions.insert(session);
    }

    /// It ended; its session may be closed.
    pub fn end(&mut self, session: SessionRef, at: i64) {
        self.count = self.count.saturating_sub(1);
        if let Some(number) = self.begun.get_mut(&at) {
            *number -= 1;
            if *number == 0 {
                self.begun.remove(&at);
            }
        }
        if let Entry::Occupied(mut entry) = self.by_session.entry(session) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                self.sessions.remove(session);
            }
        }
    }

    /// Forgets who a session is; its deliveries end one by one.
    pub fn close_session(&mut self, session: SessionRef) {
        if self.by_session.remove(&session).is_some() {
            self.sessions.remove(session);
        }
    }

    /// What is pending at `now`, seconds since the Unix epoch: a look at no more seconds than the
    /// longest period has.
    pub fn pending(&self, now: i64) -> PendingDeliveries {
        let mut pending = PendingDeliveries {
            count: self.count,
            sessions: self.sessions.clone(),
            ..PendingDeliveries::default()
        };
        let age = |at: i64| now.saturating_sub(at).max(0);
        if let Some((oldest, _)) = self.begun.first_key_value() {
            pending.longest = age(*oldest).unsigned_abs();
        }
        let longest = DELIVERY_PERIODS[DELIVERY_PERIODS.len() - 1];
        let mut rest = self.count;
        for (at, number) in self.begun.range(now.saturating_sub(longest)..).rev() {
            let period = DELIVERY_PERIODS.iter().position(|end| age(*at) <= *end);
            pending.by_age[period.unwrap_or(DELIVERY_PERIODS.len())] += u64::from(*number);
            rest -= u64::from(*number);
        }
        pending.by_age[DELIVERY_PERIODS.len()] += rest;
        pending
    }

    /// Sizes of the tables, by name.
    #[cfg(test)]
    pub fn sizes(&self) -> [(&'static str, usize); 2] {
        [
            ("deliveries", self.count as usize),
            ("sessions with deliveries", self.by_session.len()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(slot: u32) -> SessionRef {
        SessionRef {
            core: 0,
            slot,
            generation: 1,
        }
    }

    #[test]
    fn deliveries_count_by_their_age() {
        let mut deliveries = Deliveries::default();
        let begun = [9_990, 9_940, 9_939, 9_700, 8_800, 8_799, 6_400, 6_399, 10];
        for (slot, at) in (0..).zip(begun) {
            deliveries.begin(session(slot % 3), at);
        }
        let pending = deliveries.pending(10_000);
        assert_eq!(pending.by_age, [2, 2, 1, 2, 2]);
        assert_eq!((pending.count, pending.longest), (9, 9_990));
        assert_eq!(pending.sessions.len(), 3);
        // A clock set back makes nothing negative.
        assert_eq!(deliveries.pending(0).by_age, [9, 0, 0, 0, 0]);
        assert_eq!(deliveries.pending(0).longest, 0);
    }

    #[test]
    fn nothing_is_left_of_what_has_ended() {
        let mut deliveries = Deliveries::default();
        for at in [5, 5, 7] {
            deliveries.begin(session(1), at);
        }
        deliveries.begin(session(2), 5);
        deliveries.close_session(session(1));
        assert_eq!(deliveries.pending(10).sessions.len(), 1);
        for at in [5, 7, 5] {
            deliveries.end(session(1), at);
        }
        deliveries.end(session(2), 5);
        let pending = deliveries.pending(10);
        assert_eq!((pending.count, pending.longest), (0, 0));
        assert!(pending.sessions.is_empty());
        assert!(deliveries.begun.is_empty());
        assert!(deliveries.sizes().iter().all(|(_, size)| *size == 0));
    }
}
