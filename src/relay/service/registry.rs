//! Who services are, and which one gives way to a new one when there are too many.
//!
//! A service that no queue belongs to and no connection subscribes for can be registered again by
//! whoever has its certificate: it only gets another id. The oldest of these gives way; whether
//! queues of other shards belong to it, these are asked.

use super::{ServiceMessage, ServiceRegistration, service_home};
use crate::relay::Timestamp;
use crate::relay::effect::{Effect, PeerMessage};
use crate::relay::shard::Shard;
use crate::store::{Id, Lsn, ServiceRecord, Store};
use std::collections::{HashMap, HashSet, VecDeque};

/// Services registered per shard: anybody can make a certificate. Tests must be able to get there.
pub const MAX_SERVICES: u64 = if cfg!(test) { 40 } else { 10_000 };
/// Services looked at for one that may give way.
const CANDIDATES: usize = 16;
/// Services of which the other shards are asked before a new one is refused.
const ATTEMPTS: u32 = 4;
/// Bytes of a certificate chain that are kept.
const MAX_CHAIN_BYTES: usize = 8 << 10;
/// Seconds between two lines of the log about services that were refused.
const LOG_INTERVAL: i64 = 60;

/// The registered services in the order in which they give way.
#[derive(Debug, Default)]
pub struct Registry {
    order: VecDeque<Fingerprint>,
    /// Services that have connected since they were last spared, which spares them once more.
    seen: HashSet<Fingerprint>,
    replacements: HashMap<u64, Replacement>,
    logged_at: Option<i64>,
}

type Fingerprint = [u8; 32];

/// A service that may give way to one that is being registered.
#[derive(Debug)]
struct Replacement {
    now: Timestamp,
    registration: ServiceRegistration,
    candidate: Fingerprint,
    candidate_id: Id,
    /// Shards that have not answered.
    awaited: u16,
    in_use: bool,
    attempt: u32,
}

impl Registry {
    /// Services registered before, oldest first.
    pub fn new(services: Vec<Fingerprint>) -> Self {
        Self {
            order: services.into(),
            ..Self::default()
        }
    }

    /// Registrations that wait for other shards.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.replacements.len()
    }

    fn may_log(&mut self, now: Timestamp) -> bool {
        let due = self
            .logged_at
            .is_none_or(|at| (now.seconds() - at).abs() >= LOG_INTERVAL);
        if due {
            self.logged_at = Some(now.seconds());
        }
        due
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
        self.register(now, registration, ATTEMPTS, effects);
    }

    fn register(
        &mut self,
        now: Timestamp,
        registration: ServiceRegistration,
        attempt: u32,
        effects: &mut Vec<Effect>,
    ) {
        if let Some((id, role)) = self.store.service(&registration.fingerprint) {
            self.services.registry.seen.insert(registration.fingerprint);
            let id = Some(id).filter(|_| role == registration.role);
            // It may have been created a moment ago.
            let lsn = Some(self.store.last());
            self.registered(&registration, lsn, id, effects);
        } else if self.store.totals().services() < MAX_SERVICES {
            self.create_service(now, registration, effects);
        } else if attempt > 0
            && let Some((candidate, candidate_id)) = self.unused_service()
        {
            let replacement = Replacement {
                now,
                registration,
                candidate,
                candidate_id,
                awaited: self.config.partitioner.shards() - 1,
                in_use: false,
                attempt,
            };
            self.ask_before_replacing(replacement, effects);
        } else {
            if self.services.registry.may_log(now) {
                tracing::warn!("refused a new service: this shard has {MAX_SERVICES} in use");
            }
            self.registered(&registration, None, None, effects);
        }
    }

    fn create_service(
        &mut self,
        now: Timestamp,
        registration: ServiceRegistration,
        effects: &mut Vec<Effect>,
    ) {
        let id = self.make_service_id(&registration.fingerprint);
        let record = ServiceRecord {
            id,
            role: registration.role,
            fingerprint: registration.fingerprint,
            chain: kept(registration.chain.clone()),
            created_day: now.day(),
        };
        match self.store.create_service(record) {
            Ok(lsn) => {
                let registry = &mut self.services.registry;
                registry.order.push_back(registration.fingerprint);
                self.registered(&registration, Some(lsn), Some(id), effects);
            }
            Err(e) => {
                if self.services.registry.may_log(now) {
                    tracing::error!("refused a new service: {e}");
                }
                self.registered(&registration, None, None, effects);
            }
        }
    }

    fn registered(
        &mut self,
        registration: &ServiceRegistration,
        lsn: Option<Lsn>,
        service_id: Option<Id>,
        effects: &mut Vec<Effect>,
    ) {
        let answer = Effect::ServiceRegistered {
            core: registration.core,
            token: registration.token,
            service_id,
        };
        self.emit(lsn, answer, effects);
    }

    /// An id that lives on the shard of the fingerprint.
    fn make_service_id(&mut self, fingerprint: &Fingerprint) -> Id {
        let home = service_home(fingerprint);
        let partition = self.config.partitioner.partition(&home);
        self.config.partitioner.make_id(partition, &mut self.rng)
    }

    /// Takes the service that is to give way, as far as is known here, out of the order.
    fn unused_service(&mut self) -> Option<(Fingerprint, Id)> {
        for _ in 0..CANDIDATES {
            let candidate = self.services.registry.order.pop_front()?;
            if let Some((id, _)) = self.store.service(&candidate) {
                if self.may_give_way(&candidate, &id) {
                    return Some((candidate, id));
                }
                self.spare_service(candidate);
            }
        }
        None
    }

    fn may_give_way(&self, candidate: &Fingerprint, id: &Id) -> bool {
        !self.services.registry.seen.contains(candidate)
            && self.services.subscriber(id).is_none()
            && !self.service_has_queues(id)
    }

    /// Puts a service behind all others.
    fn spare_service(&mut self, service: Fingerprint) {
        let registry = &mut self.services.registry;
        registry.seen.remove(&service);
        registry.order.push_back(service);
    }

    /// Whether queues or notifiers of this shard belong to a service.
    fn service_has_queues(&self, service_id: &Id) -> bool {
        self.store.service_notifiers(service_id) > 0 || self.store.service_queues(service_id) > 0
    }

    fn ask_before_replacing(&mut self, replacement: Replacement, effects: &mut Vec<Effect>) {
        if replacement.awaited == 0 {
            self.replace_service(replacement, effects);
            return;
        }
        let (token, service_id) = (self.services.next_token(), replacement.candidate_id);
        self.services
            .registry
            .replacements
            .insert(token, replacement);
        let question = PeerMessage::Service(ServiceMessage::AskUse { token, service_id });
        self.tell_other_shards(&question, effects);
    }

    /// A shard asks whether queues of this one belong to a service.
    pub(super) fn answer_use(
        &self,
        from: u16,
        token: u64,
        service_id: &Id,
        effects: &mut Vec<Effect>,
    ) {
        let in_use = self.service_has_queues(service_id);
        effects.push(Effect::Peer {
            shard: from,
            message: PeerMessage::Service(ServiceMessage::InUse { token, in_use }),
        });
    }

    /// A shard has answered.
    pub(super) fn note_use(&mut self, token: u64, in_use: bool, effects: &mut Vec<Effect>) {
        let replacements = &mut self.services.registry.replacements;
        let Some(mut replacement) = replacements.remove(&token) else {
            return;
        };
        replacement.in_use |= in_use;
        replacement.awaited -= 1;
        if replacement.awaited > 0 {
            replacements.insert(token, replacement);
        } else {
            self.replace_service(replacement, effects);
        }
    }

    /// Every shard has answered; much may have happened here since they were asked.
    fn replace_service(&mut self, replacement: Replacement, effects: &mut Vec<Effect>) {
        let Replacement {
            now,
            registration,
            candidate,
            candidate_id,
            in_use,
            attempt,
            ..
        } = replacement;
        let is_new = self.store.service(&registration.fingerprint).is_none();
        let gives_way = !in_use
            && is_new
            && self.store.totals().services() >= MAX_SERVICES
            && self.may_give_way(&candidate, &candidate_id);
        // A full disk keeps the service: nor is there room for the new one.
        if !gives_way || self.store.remove_service(&candidate).is_err() {
            self.spare_service(candidate);
        }
        self.register(now, registration, attempt - 1, effects);
    }
}

/// What is kept of a chain, leaf first: all of it, or the leaf and the identity certificate, or
/// nothing when these are too large. Who the service is says the fingerprint.
fn kept(mut chain: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let fits = |chain: &[Vec<u8>]| chain.iter().map(Vec::len).sum::<usize>() <= MAX_CHAIN_BYTES;
    if !fits(&chain) {
        chain.truncate(2);
    }
    if !fits(&chain) {
        chain.clear();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_are_shortened_to_what_fits() {
        let chain = |sizes: &[usize]| sizes.iter().map(|size| vec![7; *size]).collect::<Vec<_>>();
        let half = MAX_CHAIN_BYTES / 2;
        let cases: [(&[usize], &[usize]); 6] = [
            (&[9], &[9]),
            (&[half, half], &[half, half]),
            (&[half, half - 2, 1, 1], &[half, half - 2, 1, 1]),
            (&[half, half, 1, 1], &[half, half]),
            (&[half, half + 1], &[]),
            (&[MAX_CHAIN_BYTES + 1], &[]),
        ];
        for (given, expected) in cases {
            assert_eq!(kept(chain(given)), chain(expected), "{given:?}");
        }
    }
}
