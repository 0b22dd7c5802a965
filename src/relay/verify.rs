//! Who may do what to a queue (spec: server §2.4, protocol §7.3).

use super::request::Request;
use super::session_ref::SessionContext;
use super::shard::{Call, Shard};
use crate::crypto::authorization::{Authorization, verify_service};
use crate::crypto::batch::Ed25519Batch;
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::error::CommandError;
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use crate::protocol::{Command, ErrorType};
use crate::store::{Id, IdKind, Location, QueueSlot, Store};
use smallvec::SmallVec;
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
            let Some(key) = shard.key_to_preverify(request) else {
                continue;
            };
            let claim = request.claim(context);
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
    /// The key under which to check the Ed25519 signature of a recipient command ahead; `None` for
    /// commands that are not checked ahead or not executed here.
    ///
    /// One signature that fails makes its whole block slower. So that this does not tell whether a
    /// queue exists or which kind of key it has, the others are checked too, under a key that
    /// nobody can sign with.
    fn key_to_preverify(&self, request: &Request<'_>) -> Option<[u8; 32]> {
        let short = matches!(
            request.command,
            Command::Sub | Command::Ack { .. } | Command::Get | Command::Del | Command::Off
        );
        if !short {
            return None;
        }
        let id = <&Id>::try_from(request.transmission.entity_id).ok();
        let keys = match id.and_then(|id| self.store.find(IdKind::Recipient, id)) {
            Some(Location::Shard(_)) => return None,
            Some(Location::Queue(slot)) => self.store.queue(slot).recipient_keys,
            None => SmallVec::new(),
        };
        let own = keys.iter().find_map(|key| match key {
            PublicAuthKey::Ed25519(key) => Some(*key),
            _ => None,
        });
        Some(own.unwrap_or(self.nobodys_key))
    }

    /// Does the work of a failing check, so that a missing queue takes as long as a wrong key.
    pub(super) fn verify_missing(&mut self, call: &Call<'_>) {
        // The refusal is the same whatever comes out.
        let _ = self.verify_service_signature(call);
        self.verify_nothing(call);
    }

    /// Does the work of a check of the entity's key that fails.
    fn verify_nothing(&mut self, call: &Call<'_>) {
        let claim = call.request.claim(call.context);
        let mut secrets = self.agreements.of(call.session, call.context);
        claim.verify_dummy(&mut secrets, &mut self.scratch);
    }

    /// Whether any of `keys` authorised the command.
    pub(super) fn verify_keys(&mut self, call: &Call<'_>, keys: &[PublicAuthKey]) -> bool {
        let claim = call.request.claim(call.context);
        let mut secrets = self.agreements.of(call.session, call.context);
        claim.verify_any(keys, &mut secrets, &mut self.scratch)
    }

    /// Checks the service part of a command without a queue; the key of `NEW` is checked when it
    /// is executed.
    pub(super) fn verify_service_command(&mut self, call: &Call<'_>) -> Result<(), ErrorType> {
        check_role(call)?;
        self.verify_service_signature(call)?;
        match &call.request.command {
            Command::Subs(_) | Command::NSubs(_) => self.verify_service_itself(call),
            _ => Ok(()),
        }
    }

    /// Commands that make or find queues for a service are signed by its session key too; nothing
    /// else is (spec: protocol §7.4).
    fn verify_service_signature(&mut self, call: &Call<'_>) -> Result<(), ErrorType> {
        let both = matches!(
            call.request.command,
            Command::New(_) | Command::Sub | Command::NSub
        );
        let signature = call.request.transmission.service_signature;
        let valid = match (call.context.service(), signature) {
            (Some(service), Some(signature)) if both => {
                let claim = call.request.claim(call.context);
                let key = &service.session_key;
                verify_service(key, signature, &claim.authorized, &mut self.scratch)
            }
            (Some(_), None) => !both,
            (None, None) => true,
            (_, Some(_)) => false,
        };
        if valid {
            Ok(())
        } else {
            Err(ErrorType::Service)
        }
    }

    /// `SUBS` and `NSUBS` are signed by the service's session key alone.
    fn verify_service_itself(&mut self, call: &Call<'_>) -> Result<(), ErrorType> {
        let service = call.context.service().ok_or(ErrorType::Service)?;
        let Authorization::Ed25519(signature) = call.request.authorization else {
            return Err(ErrorType::Service);
        };
        let claim = call.request.claim(call.context);
        let key = &service.session_key;
        let valid = call.request.transmission.entity_id == service.id
            && verify_service(key, signature, &claim.authorized, &mut self.scratch);
        if valid {
            Ok(())
        } else {
            Err(ErrorType::Service)
        }
    }

    /// Checks that a command on an existing queue is authorised.
    pub(super) fn verify_queue_command(
        &mut self,
        call: &Call<'_>,
        slot: QueueSlot,
        preverified: Option<&[u8; 32]>,
    ) -> Result<(), ErrorType> {
        check_role(call)?;
        self.verify_service_signature(call)?;
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
                known || { self.verify_keys(call, &record.recipient_keys) }
            }
        };
        if authorised {
            Ok(())
        } else {
            Err(ErrorType::Auth)
        }
    }
}

/// A service may only do what its role allows (spec: server §2.4).
fn check_role(call: &Call<'_>) -> Result<(), ErrorType> {
    use Command as C;
    let Some(service) = call.context.service() else {
        return Ok(());
    };
    let role = match &call.request.command {
        C::Ping => return Ok(()),
        C::NSub | C::NSubs(_) => ServiceRole::Notifier,
        C::Rfwd { .. } => ServiceRole::Proxy,
        _ => ServiceRole::Messaging,
    };
    if role == service.role {
        Ok(())
    } else {
        Err(ErrorType::Cmd(CommandError::Prohibited))
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::command::QueueRequest;
    use crate::protocol::{Command, ErrorType, Version};
    use crate::relay::tests::clients::{Client, Key, Queue, ed25519, keys, new_queue};
    use crate::relay::tests::world::World;
    use crate::relay::{Answer, Request, Ticket};

    #[test]
    fn the_signature_of_a_service_is_checked_whatever_queue_it_is_for() {
        let mut world = World::new(1);
        let service = world.ntf_service(1, 1);
        let me = Client::new(2, Version::CURRENT);
        let queue = world.messaging(&me);
        let known = world.notifier(&me, &queue, 1).id;
        // An authenticator is checked without the bytes that signatures need in one piece.
        let [_, _, wrong] = keys(9);
        for id in [known, [9; 24]] {
            world.shards[0].scratch.clear();
            let bytes = service.transmission(Some(&wrong), &id, &Command::NSub);
            world.execute(0, &service, &[bytes]);
            let refused = (service.session, Ticket { batch: 0, index: 0 });
            let (session, ticket, answer) = world.replies.remove(0);
            assert_eq!((session, ticket), refused);
            assert_eq!(answer, Answer::Refused(ErrorType::Auth));
            let checked = &world.shards[0].scratch;
            assert!(checked.windows(id.len()).any(|part| part == id), "{id:?}");
        }
    }

    #[test]
    fn every_signature_of_a_block_is_checked_ahead_whatever_queue_it_is_for() {
        let client = Client::new(1, Version::CURRENT);
        let mut world = World::new(1);
        let mut create = |key: Key| {
            let new = Command::New(new_queue(&key, Some(QueueRequest::Contact(None))));
            let ids = world.ask(&client, Some(&key), &[], &new);
            Queue::from_ids(key, &ids).recipient
        };
        let [a, b, c] = keys(1).map(&mut create);
        let shard = &world.shards[0];
        let key_for = |entity: &[u8], command: &Command<'_>| {
            let bytes = client.transmission(Some(&ed25519(1)), entity, command);
            let ticket = Ticket { batch: 0, index: 0 };
            let id = client.context.session_id();
            let request = Request::parse(&bytes, ticket, Version::CURRENT, id).unwrap();
            shard.key_to_preverify(&request)
        };
        let own = match ed25519(1).public() {
            crate::crypto::keys::PublicAuthKey::Ed25519(key) => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(key_for(&a, &Command::Sub), Some(own));
        // Keys of other kinds, unknown queues, ids that are none.
        for entity in [&b[..], &c, &[9; 24], &[9; 5]] {
            assert_eq!(key_for(entity, &Command::Sub), Some(shard.nobodys_key));
        }
        assert_ne!(own, shard.nobodys_key);
        // Long commands and rare ones are checked one by one.
        assert_eq!(key_for(&a, &Command::Que), None);
    }
}
