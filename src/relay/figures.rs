//! What a shard tells about itself: numbers that are kept while things happen.

use super::activity::Activity;
use super::counters::{AckTimes, Counters};
use super::deliveries::PendingDeliveries;
use super::session_ref::SessionRef;
use super::session_set::SessionSet;
use super::shard::Shard;
use crate::store::{Store, Totals};
use std::ops::AddAssign;

/// Subscriptions of one kind.
#[derive(Debug, Clone, Default)]
pub struct Subscribed {
    /// Queues or notifiers subscribed individually; those of closed connections count until they
    /// are forgotten.
    pub queues: u64,
    /// Connections that subscribed them, or a service.
    pub sessions: SessionSet,
    /// Services with a subscriber; every shard knows all of them.
    pub services: u64,
}

impl Subscribed {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        self.queues += other.queues;
        self.sessions.unite(&other.sessions);
        self.services = self.services.max(other.services);
    }
}

/// What a session listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listening {
    /// Queues it is subscribed to.
    pub messages: u64,
    /// Queues it fetches from.
    pub getting: u64,
    /// Notifiers it is subscribed to by itself.
    pub notifications: u64,
}

impl AddAssign for Listening {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.getting += other.getting;
        self.notifications += other.notifications;
    }
}

impl<S: Store> Shard<S> {
    /// What has happened here.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Seconds from delivery to acknowledgement.
    pub fn ack_times(&self) -> &AckTimes {
        &self.ack_times
    }

    /// Queues in use.
    pub fn activity(&mut self) -> &mut Activity {
        &mut self.activity
    }

    /// Notifications waiting.
    pub fn waiting_notifications(&self) -> u64 {
        self.notifications.count()
    }

    /// What is held altogether.
    pub fn totals(&self) -> Totals {
        self.store.totals()
    }

    /// Who receives messages.
    pub fn message_subscriptions(&self) -> Subscribed {
        Subscribed {
            queues: self.subscriptions.subscribed_queues(),
            sessions: self.subscriptions.subscribed_sessions().clone(),
            services: 0,
        }
    }

    /// Who gets notifications.
    pub fn notification_subscriptions(&self) -> Subscribed {
        let mut sessions = self.notifications.subscribed_sessions().clone();
        let services = self.services.subscribers();
        let count = services.len() as u64;
        services.for_each(|session| sessions.insert(session));
        Subscribed {
            queues: self.notifications.subscribed(),
            sessions,
            services: count,
        }
    }

    /// Pairs of queues and sessions that fetch from them.
    pub fn getting_queues(&self) -> u64 {
        self.subscriptions.getting_queues()
    }

    /// What was given and not acknowledged at `now`, seconds since the Unix epoch.
    pub fn pending_deliveries(&self, now: i64) -> PendingDeliveries {
        self.subscriptions.pending_deliveries(now)
    }

    /// What a session listens to on this shard.
    pub fn listening(&self, session: SessionRef) -> Listening {
        let (messages, getting) = self.subscriptions.counts_of(session);
        Listening {
            messages: messages as u64,
            getting: getting as u64,
            notifications: self.notifications.subscriptions_of(session) as u64,
        }
    }

    /// Number of queues somebody listens to, and of sessions that listen.
    pub fn subscription_counts(&self) -> (usize, usize) {
        self.subscriptions.counts()
    }
}
