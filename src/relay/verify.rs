//! Who may do what to a queue (spec: server §2.4, protocol §7.3).

use super::request::Request;
use super::session_ref::SessionContext;
use super::shard::{Call, Shard};
use crate::crypto::authorization::Authorization;
use crate::crypto::batch::Ed25519Batch;
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::response::QueueMode;
use crate::protocol::{Command, ErrorType};
use crate::store::{Id, IdKind, Location, QueueSlot, Store};
use std::slice;

/// From this many signatures on, checking them together pays.
const MIN_BATCH: usize = 4;

/// Keys whose signatures in a block have been found valid before execution.
///
/// Checking many signatures together halves their cost. A key may change between this look and
/// execution, so only the key is noted: execution still compares it with the record of that moment.
#[derive(Debug, Default)]
pub(super) struct Preverified {
    keys: Vec<Option<[u8; 32]>>,
}

impl Preverified {
    /// Checks the Ed25519 signatures of recipient commands together.
    pub fn of<S: Store>(
        shard: &mut Shard<S>,
        context: &SessionContext,
        requests: &[Request<'_>],
    ) -> Self {
        if requests.len() < MIN_BATCH {
            return Self::default();
        }
        let mut batch = Ed25519Batch::new();
        let mut keys = vec![None; requests.len()];
        let mut checked = Vec::with_capacity(requests.len());
        for (i, request) in requests.iter().enumerate() {
            let Authorization::Ed25519(signature) = request.authorization else {
                continue;
            };
            let Some(key) = shard.sole_recipient_key(request) else {
                continue;
            };
            let claim = request.claim(context.version(), context.session_id());
            batch.push(&key, &claim.authorized.parts(), signature);
            checked.push((i, key));
        }
        if checked.len() >= MIN_BATCH {
            for ((i, key), valid) in checked.into_iter().zip(batch.verify()) {
                if valid {
                    keys[i] = Some(key);
                }
            }
        }
        Self { keys }
    }

    /// The key under which the signature of request `i` is known to be valid.
    pub fn key(&self, i: usize) -> Option<&[u8; 32]> {
        self.keys.get(i)?.as_ref()
    }
}

impl<S: Store> Shard<S> {
    /// The one Ed25519 key that may authorise a recipient command.
    fn sole_recipient_key(&self, request: &Request<'_>) -> Option<[u8; 32]> {
        let short = matches!(
            request.command,
            Command::Sub | Command::Ack { .. } | Command::Get | Command::Del | Command::Off
        );
        let id: &Id = request
            .transmission
            .entity_id
            .try_into()
            .ok()
            .filter(|_| short)?;
        let Some(Location::Queue(slot)) = self.store.find(IdKind::Recipient, id) else {
            return None;
        };
        match self.store.queue(slot).recipient_keys.as_slice() {
            [PublicAuthKey::Ed25519(key)] => Some(*key),
            _ => None,
        }
    }

    /// Does the work of a failing check, so that a missing queue takes as long as a wrong key.
    pub(super) fn verify_nothing(&mut self, call: &Call<'_>) {
        let claim = call
            .request
            .claim(call.context.version(), call.context.session_id());
        let mut secrets = self.agreements.of(call.session, call.context);
        claim.verify_dummy(&mut secrets, &mut self.scratch);
    }

    /// Whether any of `keys` authorised the command.
    pub(super) fn verify_keys(&mut self, call: &Call<'_>, keys: &[PublicAuthKey]) -> bool {
        let claim = call
            .request
            .claim(call.context.version(), call.context.session_id());
        let mut secrets = self.agreements.of(call.session, call.context);
        claim.verify_any(keys, &mut secrets, &mut self.scratch)
    }

    /// Checks that a command on an existing queue is authorised.
    pub(super) fn verify_queue_command(
        &mut self,
        call: &Call<'_>,
        slot: QueueSlot,
        preverified: Option<&[u8; 32]>,
    ) -> Result<(), ErrorType> {
        if call.request.transmission.service_signature.is_some() {
            return Err(ErrorType::Service);
        }
        let record = self.store.queue(slot);
        let authorised = match &call.request.command {
            Command::Send { .. } => match record.sender_key {
                Some(key) => self.verify_keys(call, slice::from_ref(&key)),
                // Nobody secured the queue: only unsigned messages are accepted.
                None if call.request.authorization == Authorization::None => true,
                None => {
                    self.verify_nothing(call);
                    false
                }
            },
            Command::SKey(key) | Command::LKey(key) => {
                let may_secure = record.mode == Some(QueueMode::Messaging)
                    && record.sender_key.is_none_or(|current| current == *key);
                if may_secure {
                    self.verify_keys(call, slice::from_ref(key))
                } else {
                    self.verify_nothing(call);
                    false
                }
            }
            Command::LGet => record.is_contact(),
            Command::NSub => match record.notifier.as_ref().map(|n| n.auth_key) {
                Some(key) => self.verify_keys(call, slice::from_ref(&key)),
                None => {
                    self.verify_nothing(call);
                    false
                }
            },
            _ => {
                let known = preverified.is_some_and(|key| {
                    record
                        .recipient_keys
                        .contains(&PublicAuthKey::Ed25519(*key))
                });
                known || {
                    let keys = record.recipient_keys.clone();
                    self.verify_keys(call, &keys)
                }
            }
        };
        if authorised {
            Ok(())
        } else {
            Err(ErrorType::Auth)
        }
    }
}
