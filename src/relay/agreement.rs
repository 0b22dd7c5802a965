//! Secrets agreed between session keys and queue keys, kept for the next command.

use super::session_ref::{SessionContext, SessionRef};
use crate::crypto::authorization::SessionSecrets;
use crate::crypto::keys::X25519PublicKey;
use crate::crypto::smp_box::BoxKey;
use std::hash::BuildHasher;

/// Secrets kept per shard; a collision replaces.
const CACHE_ENTRIES: usize = 4096;

/// A bounded cache of agreements: one multiplication (19 µs) saved per authenticated command.
#[derive(Debug, Default)]
pub struct AgreementCache {
    hasher: foldhash::quality::RandomState,
    entries: Vec<Option<Entry>>,
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
        self.cache.entries[place] = Some(Entry {
            session: self.session,
            peer: *peer,
            secret,
        });
    }
}
