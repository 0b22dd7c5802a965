//! A relay of some shards, and the connections to it.

use super::commands::Plan;
use super::log::Log;
use super::party::{Party, Ring};
use super::reference::{Reference, Tally};
use super::world::{Mail, World};
use crate::protocol::Version;
use crate::protocol::handshake::ServiceRole;
use crate::relay::tests::inspect;
use crate::relay::{
    Effect, Partitioner, ServiceRegistration, ServiceSession, SessionRef, Shard, ShardConfig,
    Timestamp,
};
use crate::session::Session;
use crate::store::Id;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A relay with its clients.
#[derive(Debug)]
pub struct Relay {
    pub world: World,
    pub ring: Ring,
    pub parties: Vec<Party>,
    pub sessions: HashMap<SessionRef, Session>,
    services: Vec<ServiceSession>,
    opened: u64,
    pub plan: Plan,
}

/// Versions of clients, today's most of all.
const VERSIONS: [Version; 8] = [
    Version::CURRENT,
    Version::CURRENT,
    Version::CURRENT,
    Version::CURRENT,
    Version::BLOCKED_NOTICE,
    Version::SHORT_LINKS,
    Version::SENDER_KEY,
    Version::MIN,
];

impl Relay {
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let shards = *[1, 2, 2, 4, 4].choose(&mut rng).expect("not empty");
        let partitioner = Partitioner::new(&[0x5a; 16], shards);
        let lags = rng.random_bool(0.4);
        let reference = Reference {
            quota: rng.random_range(1..6),
            message_ttl: rng.random_bool(0.7).then_some(20),
            notification_ttl: 25,
            expire_on_send: rng.random(),
            queues: Vec::new(),
            messages: Vec::new(),
            message_ids: HashMap::new(),
            reserved: HashSet::new(),
            link_epochs: HashMap::new(),
            roles: BTreeMap::new(),
            views: HashMap::new(),
            joins: Vec::new(),
            service_epochs: HashMap::new(),
            closed: HashSet::new(),
            clock: 0,
            owed: HashMap::new(),
            tally: Tally::default(),
        };
        let shard = |index| {
            let config = ShardConfig {
                index,
                partitioner: partitioner.clone(),
                queue_quota: reference.quota,
                new_queues: true,
                create_password: None,
                message_ttl: reference.message_ttl,
                expire_on_send: reference.expire_on_send,
                notification_ttl: reference.notification_ttl,
                day_starts_at: 0,
            };
            let rng = ChaCha20Rng::seed_from_u64(seed ^ (u64::from(index) << 56));
            Shard::new(config, Default::default(), rng)
        };
        let world = World {
            shards: (0..shards).map(shard).collect(),
            partitioner: partitioner.clone(),
            now: Timestamp {
                nanos: 1_790_000_000_123_456_789,
            },
            mail: BTreeMap::new(),
            core: 0,
            effects: Vec::new(),
            reference,
            logs: HashMap::new(),
            seen: Vec::new(),
            waiting: VecDeque::new(),
            reservations: HashMap::new(),
            verdicts: HashMap::new(),
            joins: HashSet::new(),
            known: HashSet::new(),
            rng,
            coverage: BTreeMap::new(),
            traced,
        };
        let mut relay = Self {
            world,
            ring: Ring::new(),
            parties: Vec::new(),
            sessions: HashMap::new(),
            services: Vec::new(),
            opened: 0,
            plan: Plan::default(),
        };
        relay.plan = Plan::new(&mut relay.world.rng);
        for (role, seed) in [
            (ServiceRole::Notifier, 1),
            (ServiceRole::Notifier, 2),
            (ServiceRole::Messaging, 3),
        ] {
            relay.register(role, [seed; 32]);
        }
        if lags {
            for shard in &mut relay.world.shards {
                inspect::sync(shard, 0);
            }
        }
        relay
    }

    fn register(&mut self, role: ServiceRole, fingerprint: [u8; 32]) {
        let mut home = Id::default();
        home.copy_from_slice(&fingerprint[..24]);
        let home = self.world.partitioner.shard_of(&home);
        let registration = ServiceRegistration {
            core: 0,
            token: 0,
            role,
            fingerprint,
            chain: Vec::new(),
        };
        let mut effects = Vec::new();
        let shard = &mut self.world.shards[usize::from(home)];
        shard.register_service(self.world.now, registration, &mut effects);
        let [Effect::ServiceRegistered { service_id, .. }] = effects[..] else {
            panic!("{effects:?}");
        };
        let id = service_id.expect("a new service");
        assert_eq!(self.world.partitioner.shard_of(&id), home);
        self.world.reference.roles.insert(id, role);
        self.services.push(ServiceSession {
            id,
            role,
            fingerprint,
            session_key: self.ring.service_key(),
        });
    }

    /// A client connects, some as services.
    pub fn open(&mut self) {
        let rng = &mut self.world.rng;
        let service = rng.random_bool(0.35).then(|| self.services.choose(rng));
        let service = service.flatten().cloned();
        let version = match service {
            Some(_) => Version::CURRENT,
            None => *VERSIONS.choose(rng).expect("not empty"),
        };
        self.open_as(service, version);
    }

    pub fn open_as(&mut self, service: Option<ServiceSession>, version: Version) {
        let rng = &mut self.world.rng;
        self.opened += 1;
        // Places are used again.
        let free = (0..).find(|slot| self.parties.iter().all(|p| p.session.slot != *slot));
        let session = SessionRef {
            core: rng.random_range(0..self.world.partitioner.shards()),
            slot: free.unwrap_or_default(),
            generation: self.opened as u32,
        };
        self.world
            .note(|| format!("{session:?} opens at {version}, service {service:?}"));
        let party = Party::new(session, self.opened, version, service);
        let context = Arc::clone(&party.context);
        self.world
            .logs
            .insert(session, Log::new(Arc::clone(&party.context)));
        self.sessions
            .insert(session, Session::new(session, context, None));
        self.parties.push(party);
    }

    /// A connection ends, whatever is under way.
    pub fn close(&mut self, at: usize) {
        let party = self.parties.remove(at);
        let session = self.sessions.remove(&party.session).expect("open");
        let reference = session.reference();
        self.world.note(|| format!("{reference:?} closes"));
        self.world.core = reference.core;
        for shard in session.touched_shards() {
            if *shard == reference.core {
                self.session_closed_here(reference);
            } else {
                self.world.post(*shard, Mail::SessionClosed(reference));
            }
        }
        if let Some(service) = party.service() {
            let home = self.world.partitioner.shard_of(&service.id);
            if home == reference.core {
                self.leave_here(reference, service.id);
            } else {
                self.world
                    .post(home, Mail::ServiceClosed(reference, service.id));
            }
        }
        self.carry_out();
    }
}
