//! Secrets agreed between session keys and queue keys, kept for the next command.

use super::session_ref::{SessionContext, SessionRef};
use crate::crypto::authorization::SessionSecrets;
use crate::crypto::keys::X25519PublicKey;
use crate::crypto::smp_box::BoxKey;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// Secrets kept per shard; a collision replaces.
const CACHE_ENTRIES: usize = 4096;

/// A bounded cache of agreements: one multiplication (19 µs) saved per authenticated command.
#[derive(Debug, Default)]
pub struct AgreementCache {
    hasher: foldhash::quality::RandomState,
    entries: Vec<Option<Entry>>,
    /// Where each session's secrets are, some of them replaced since.
    places: HashMap<SessionRef, SmallVec<[usize; 2]>, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Entry {
    session: SessionRef,
    peer: X25519PublicKey,
    secret: BoxKey,
}

impl AgreementCache {
    fn place(&self, session: SessionRef, peer: &X25519PublicKey) -> usize {
        let hash = self.hasher.hash_one((session, peer));
        usize::try_from(hash % CACHE_ENTRIES as u64).unwrap_or(0)
    }

    /// Forgets the secrets of a session that has ended.
    pub fn forget(&mut self, session: SessionRef) {
        for place in self.places.remove(&session).unwrap_or_default() {
            let entry = self.entries.get_mut(place);
            if let Some(entry) = entry.filter(|e| e.as_ref().is_some_and(|e| e.session == session))
            {
                *entry = None;
            }
        }
    }

    /// Sessions with secrets.
    #[cfg(test)]
    pub fn sessions(&self) -> usize {
        self.places.len()
    }

    /// The cache as seen by one session.
    pub fn of<'a>(
        &'a mut self,
        session: SessionRef,
        context: &'a SessionContext,
    ) -> SessionAgreements<'a> {
        SessionAgreements {
            cache: self,
            session,
            context,
        }
    }
}

/// The session key of one session with the secrets agreed so far.
#[derive(Debug)]
pub struct SessionAgreements<'a> {
    cache: &'a mut AgreementCache,
    session: SessionRef,
    context: &'a SessionContext,
}

impl SessionSecrets for SessionAgreements<'_> {
    fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey> {
        Some(BoxKey::from(&self.context.secret()?.agree(peer)))
    }

    fn cached(&mut self, peer: &X25519PublicKey) -> Option<&BoxKey> {
        let place = self.cache.place(self.session, peer);
        let entry = self.cache.entries.get(place)?.as_ref()?;
        (entry.session == self.session && entry.peer == *peer).then_some(&entry.secret)
    }

    fn remember(&mut self, peer: &X25519PublicKey, secret: BoxKey) {
        if self.cache.entries.is_empty() {
            self.cache.entries.resize_with(CACHE_ENTRIES, || None);
        }
        let place = self.cache.place(self.session, peer);
        let places = self.cache.places.entry(self.session).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
        self.cache.entries[place] = Some(Entry {
            session: self.session,
            peer: *peer,
            secret,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::X25519SecretKey;
    use crate::protocol::Version;

    #[test]
    fn secrets_end_with_their_session() {
        let own = X25519SecretKey::from_bytes([1; 32]);
        let context = SessionContext::new(Version::CURRENT, &[2; 32], Some(own));
        let peers = [3, 4].map(|n| X25519SecretKey::from_bytes([n; 32]).public_key());
        let session = |slot| SessionRef {
            core: 0,
            slot,
            generation: 1,
        };
        let mut cache = AgreementCache::default();
        for slot in [1, 2] {
            let mut secrets = cache.of(session(slot), &context);
            let secret = secrets.agree(&peers[0]).unwrap();
            assert!(secrets.cached(&peers[0]).is_none());
            secrets.remember(&peers[0], secret);
            assert!(secrets.cached(&peers[1]).is_none());
        }
        cache.forget(session(1));
        assert!(cache.of(session(1), &context).cached(&peers[0]).is_none());
        assert!(cache.places.len() < 2);
        cache.forget(session(2));
        assert!(cache.entries.iter().all(Option::is_none) && cache.places.is_empty());
    }
}
