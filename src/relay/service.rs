//! Services: who they are, and which connection stands for each (spec: server §7).
//!
//! A service lives on the shard of its certificate's fingerprint, and its id is made for that
//! shard, unless it was imported: there it is registered, and there it is decided which of its connections is its
//! subscriber. The other shards are told, in order, and answer how many notifiers of theirs belong
//! to the service.

use super::Timestamp;
use super::effect::{Effect, PeerMessage};
use super::session_ref::{SessionRef, Ticket};
use super::shard::Shard;
use crate::protocol::Response;
use crate::protocol::command::ServiceQueues;
use crate::protocol::handshake::ServiceRole;
use crate::store::{Id, ServiceRecord, Store};
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

/// Services registered per shard. Anybody can make a certificate; beyond, new ones are refused.
pub const MAX_SERVICES: u64 = 10_000;

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
    next: u64,
}

impl Services {
    /// The connection that gets a service's notifications.
    pub fn subscriber(&self, service_id: &Id) -> Option<SessionRef> {
        self.subscribers.get(service_id).copied()
    }

    /// Sizes of the tables, by name.
    #[cfg(test)]
    pub fn sizes(&self) -> [(&'static str, usize); 2] {
        [
            ("service subscribers", self.subscribers.len()),
            ("service joins", self.joins.len()),
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
    /// Registers a service or finds it; the answer leaves once the record is durable.
    pub fn register_service(
        &mut self,
        now: Timestamp,
        registration: ServiceRegistration,
        effects: &mut Vec<Effect>,
    ) {
        let ServiceRegistration {
            core,
            token,
            role,
            fingerprint,
            chain,
        } = registration;
        let (lsn, service_id) = match self.store.service(&fingerprint) {
            // It may have been created a moment ago.
            Some((id, known)) => (Some(self.store.last()), (known == role).then_some(id)),
            None => {
                let id = self.make_service_id(&fingerprint);
                let created_day = now.day();
                let record = ServiceRecord {
                    id,
                    role,
                    fingerprint,
                    chain,
                    created_day,
                };
                match self.create_service(record) {
                    Some(lsn) => (Some(lsn), Some(id)),
                    None => (None, None),
                }
            }
        };
        let answer = Effect::ServiceRegistered {
            core,
            token,
            service_id,
        };
        self.emit(lsn, answer, effects);
    }

    fn create_service(&mut self, record: ServiceRecord) -> Option<crate::store::Lsn> {
        if self.store.totals().services() >= MAX_SERVICES {
            tracing::warn!("refused a new service: this shard has {MAX_SERVICES}");
            return None;
        }
        match self.store.create_service(record) {
            Ok(lsn) => Some(lsn),
            Err(e) => {
                tracing::error!("refused a new service: {e}");
                None
            }
        }
    }

    /// An id that lives on the shard of the fingerprint.
    fn make_service_id(&mut self, fingerprint: &[u8; 32]) -> Id {
        let home = service_home(fingerprint);
        let partition = self.config.partitioner.partition(&home);
        self.config.partitioner.make_id(partition, &mut self.rng)
    }

    /// Makes a session the subscriber of its service; [`Effect::ServiceJoined`] tells it when every
    /// shard knows.
    pub fn join_service(
        &mut self,
        session: SessionRef,
        service_id: &Id,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.ntf_service_subscribed += 1;
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
        self.services.next += 1;
        let token = self.services.next;
        self.services.joins.insert(token, join);
        for shard in (0..shards).filter(|shard| *shard != self.config.index) {
            let message = PeerMessage::Service(ServiceMessage::Join {
                token,
                service_id,
                session,
            });
            effects.push(Effect::Peer { shard, message });
        }
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
            let others =
                (0..self.config.partitioner.shards()).filter(|shard| *shard != self.config.index);
            effects.extend(others.map(|shard| Effect::Peer {
                shard,
                message: PeerMessage::Service(ServiceMessage::Leave {
                    service_id,
                    session,
                }),
            }));
        }
    }
}
