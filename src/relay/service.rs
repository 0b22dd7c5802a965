//! Services: who they are, and which connection stands for each (spec: server §7).
//!
//! A service lives on the shard of its certificate's fingerprint, and its id is made for that
//! shard, unless it was imported: there it is registered, and there it is decided which of its connections is its
//! subscriber. The other shards are told, in order, and answer how many notifiers of theirs belong
//! to the service.

mod registry;

use super::effect::{Effect, PeerMessage};
use super::session_ref::{SessionRef, Ticket};
use super::shard::Shard;
use crate::protocol::Response;
use crate::protocol::command::ServiceQueues;
use crate::protocol::handshake::ServiceRole;
use crate::store::{Id, Store};
#[cfg(test)]
pub(super) use registry::MAX_SERVICES;
use registry::Registry;
use std::collections::HashMap;

type Hasher = foldhash::fast::RandomState;

/// What stands for the fingerprint of a service where an id is needed: a service lives where this
/// id would.
pub fn service_home(fingerprint: &[u8; 32]) -> Id {
    let mut home = Id::default();
    let len = home.len();
    home.copy_from_slice(&fingerprint[..len]);
    home
}

/// What a service client proved in its handshake, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRegistration {
    /// Core with the connection.
    pub core: u16,
    /// Its number for this request.
    pub token: u64,
    /// Claimed role.
    pub role: ServiceRole,
    /// SHA-256 of the identity certificate.
    pub fingerprint: [u8; 32],
    /// TLS chain, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
}

/// What shards tell each other of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceMessage {
    /// A session is the subscriber of a service.
    Join {
        /// Sender's number of this request.
        token: u64,
        /// The service.
        service_id: Id,
        /// Its connection.
        session: SessionRef,
    },
    /// Answer to [`Join`](Self::Join).
    Notifiers {
        /// Number of the request.
        token: u64,
        /// Notifiers of this shard that belong to the service.
        count: u64,
    },
    /// Do queues or notifiers of the receiver belong to a service?
    AskUse {
        /// Sender's number of this request.
        token: u64,
        /// The service.
        service_id: Id,
    },
    /// Answer to [`AskUse`](Self::AskUse).
    InUse {
        /// Number of the request.
        token: u64,
        /// Whether any do.
        in_use: bool,
    },
    /// The connection of a service has ended.
    Leave {
        /// The service.
        service_id: Id,
        /// Its connection.
        session: SessionRef,
    },
}

/// A service about to get a subscriber.
#[derive(Debug)]
struct Join {
    service_id: Id,
    session: SessionRef,
    /// The `NSUBS` to answer; `None` when `NSUB` made the session subscribe.
    ticket: Option<Ticket>,
    previous: Option<SessionRef>,
    /// Shards that have not answered.
    awaited: u16,
    notifiers: u64,
}

/// Subscribers of services, as far as one shard knows them.
#[derive(Debug, Default)]
pub struct Services {
    subscribers: HashMap<Id, SessionRef, Hasher>,
    joins: HashMap<u64, Join>,
    registry: Registry,
    next: u64,
}

impl Services {
    /// `registered` are the fingerprints of services registered before, oldest first.
    pub fn new(registered: Vec<[u8; 32]>) -> Self {
        Self {
            registry: Registry::new(registered),
            ..Self::default()
        }
    }

    fn next_token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The connection that gets a service's notifications.
    pub fn subscriber(&self, service_id: &Id) -> Option<SessionRef> {
        self.subscribers.get(service_id).copied()
    }

    /// Connections that get the notifications of a service, all that there are.
    pub fn subscribers(&self) -> impl ExactSizeIterator<Item = SessionRef> {
        self.subscribers.values().copied()
    }

    /// Sizes of the tables, by name.
    #[cfg(test)]
    pub fn sizes(&self) -> [(&'static str, usize); 3] {
        [
            ("service subscribers", self.subscribers.len()),
            ("service joins", self.joins.len()),
            ("service registrations", self.registry.waiting()),
        ]
    }

    /// Whether a session is about to become a subscriber.
    #[cfg(test)]
    pub fn is_joining(&self) -> bool {
        !self.joins.is_empty()
    }

    fn subscribe(&mut self, service_id: Id, session: SessionRef) -> Option<SessionRef> {
        self.subscribers.insert(service_id, session)
    }

    fn leave(&mut self, service_id: &Id, session: SessionRef) -> bool {
        let is_subscriber = self.subscriber(service_id) == Some(session);
        if is_subscriber {
            self.subscribers.remove(service_id);
        }
        is_subscriber
    }
}

impl<S: Store> Shard<S> {
    /// Makes a session the subscriber of its service; [`Effect::ServiceJoined`] tells it when every
    /// shard knows. `by_new` says that a notifier made it join that did not belong to the service
    /// before, and is counted already.
    pub fn join_service(
        &mut self,
        session: SessionRef,
        service_id: &Id,
        by_new: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.ntf_service_subscribed += 1;
        self.counters.ntf_service_queues += u64::from(!by_new);
        self.start_join(session, *service_id, None, effects);
    }

    /// The same for `NSUBS`, which is answered with the number of notifiers.
    pub(super) fn start_join(
        &mut self,
        session: SessionRef,
        service_id: Id,
        ticket: Option<Ticket>,
        effects: &mut Vec<Effect>,
    ) {
        let notifiers = self.subscribe_service(service_id, session);
        let shards = self.config.partitioner.shards();
        let join = Join {
            service_id,
            session,
            ticket,
            previous: notifiers.1,
            awaited: shards - 1,
            notifiers: notifiers.0,
        };
        if join.awaited == 0 {
            self.finish_join(join, effects);
            return;
        }
        let token = self.services.next_token();
        self.services.joins.insert(token, join);
        let message = PeerMessage::Service(ServiceMessage::Join {
            token,
            service_id,
            session,
        });
        self.tell_other_shards(&message, effects);
    }

    fn tell_other_shards(&self, message: &PeerMessage, effects: &mut Vec<Effect>) {
        let shards = 0..self.config.partitioner.shards();
        let others = shards.filter(|shard| *shard != self.config.index);
        effects.extend(others.map(|shard| Effect::Peer {
            shard,
            message: message.clone(),
        }));
    }

    /// Notes the subscriber of a service; returns the number of its notifiers here, and the
    /// subscriber before.
    fn subscribe_service(
        &mut self,
        service_id: Id,
        session: SessionRef,
    ) -> (u64, Option<SessionRef>) {
        let previous = self.services.subscribe(service_id, session);
        let notifiers = self.store.service_notifiers(&service_id);
        if let Some(previous) = previous.filter(|p| *p != session) {
            self.notifications.close_window(previous);
        }
        if previous != Some(session) && notifiers > 0 {
            self.notifications.wake_service(service_id);
        }
        (notifiers, previous)
    }

    fn finish_join(&mut self, join: Join, effects: &mut Vec<Effect>) {
        let count = i64::try_from(join.notifiers).unwrap_or(i64::MAX);
        let queues = ServiceQueues {
            count,
            ..ServiceQueues::UNKNOWN
        };
        let (session, service_id) = (join.session, join.service_id);
        if let Some(session) = join.previous.filter(|p| *p != session) {
            effects.push(Effect::Push {
                session,
                entity: service_id,
                event: Response::Ends(queues),
            });
        }
        effects.push(match join.ticket {
            Some(ticket) => Effect::Reply {
                session,
                ticket,
                answer: Response::Soks(queues).into(),
            },
            None => Effect::ServiceJoined { session },
        });
    }

    /// Handles a message about a service.
    pub(super) fn service_message(
        &mut self,
        from: u16,
        message: ServiceMessage,
        effects: &mut Vec<Effect>,
    ) {
        match message {
            ServiceMessage::Join {
                token,
                service_id,
                session,
            } => {
                let (count, _) = self.subscribe_service(service_id, session);
                let message = PeerMessage::Service(ServiceMessage::Notifiers { token, count });
                effects.push(Effect::Peer {
                    shard: from,
                    message,
                });
            }
            ServiceMessage::Notifiers { token, count } => {
                if let Some(mut join) = self.services.joins.remove(&token) {
                    join.notifiers += count;
                    join.awaited -= 1;
                    if join.awaited == 0 {
                        self.finish_join(join, effects);
                    } else {
                        self.services.joins.insert(token, join);
                    }
                }
            }
            ServiceMessage::AskUse { token, service_id } => {
                self.answer_use(from, token, &service_id, effects);
            }
            ServiceMessage::InUse { token, in_use } => self.note_use(token, in_use, effects),
            ServiceMessage::Leave {
                service_id,
                session,
            } => {
                self.services.leave(&service_id, session);
                self.notifications.close_window(session);
            }
        }
    }

    /// A service's connection has ended: tells everybody when it was the subscriber.
    pub fn leave_service(
        &mut self,
        session: SessionRef,
        service_id: &Id,
        effects: &mut Vec<Effect>,
    ) {
        self.notifications.close_window(session);
        if self.services.leave(service_id, session) {
            let service_id = *service_id;
            let message = PeerMessage::Service(ServiceMessage::Leave {
                service_id,
                session,
            });
            self.tell_other_shards(&message, effects);
        }
    }
}
