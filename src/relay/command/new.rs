//! `NEW`: create a queue (spec: server §3.1, protocol §9.2).

use super::sub::too_many;
use crate::crypto::hash;
use crate::crypto::keys::{SharedSecret, X25519PublicKey, X25519SecretKey};
use crate::protocol::command::{LinkData, NewQueue, QueueRequest};
use crate::protocol::error::CommandError;
use crate::protocol::response::{QueueIds, QueueMode};
use crate::protocol::{ErrorType, Response};
use crate::relay::effect::{Answer, Effect};
use crate::relay::partition::Partition;
use crate::relay::pending::PendingChange;
use crate::relay::release::Confirmation;
use crate::relay::session_ref::{SessionRef, Ticket};
use crate::relay::shard::{Call, Done, Failure, Shard};
use crate::store::{
    Id, LinkContent, Lsn, NotifierRecord, QueueRecord, QueueStatus, Store, StoreError,
};
use std::slice;

/// Attempts with fresh ids after a collision of random ids.
pub(super) const ATTEMPTS: usize = 3;

/// Public halves of the server's keys for one queue, told once in the answer.
#[derive(Debug, Clone, Copy)]
struct AnswerKeys {
    /// For message bodies.
    body: X25519PublicKey,
    /// For notification metadata.
    notifier: Option<X25519PublicKey>,
}

/// A queue whose link id another shard is asked to reserve.
#[derive(Debug)]
pub struct PendingQueue {
    /// Creator.
    pub session: SessionRef,
    ticket: Ticket,
    pub(in crate::relay) record: QueueRecord,
    link: Option<LinkContent>,
    keys: AnswerKeys,
    /// Whether the creator subscribes; cleared when it closes meanwhile.
    pub subscribe: bool,
}

/// Ids a client chose.
struct ClientIds {
    sender_id: Id,
    /// Contact links only.
    link_id: Option<Id>,
}

/// Creates the queue, or starts to: `None` means that the answer follows when the shard of a
/// client's link id has decided.
pub(in crate::relay) fn execute<S: Store>(
    shard: &mut Shard<S>,
    call: &mut Call<'_>,
    new: &NewQueue<'_>,
) -> Result<Option<Done>, Failure> {
    if !shard.verify_keys(call, slice::from_ref(&new.auth_key)) {
        return Err(Failure::Refused(ErrorType::Auth));
    }
    if !is_admitted(shard, new) {
        return Err(ErrorType::Auth.into());
    }
    // A service's queues are subscribed through the service.
    let subscribe = match call.context.service() {
        Some(_) if !new.subscribe => return Err(ErrorType::Cmd(CommandError::Prohibited).into()),
        Some(_) => false,
        None => new.subscribe,
    };
    if subscribe && shard.subscriptions.is_full(call.session) {
        return Err(too_many().into());
    }
    let chosen = client_ids(new, call.request.transmission.corr_id)?;
    let attempts = if chosen.is_some() { 1 } else { ATTEMPTS };
    let (mut record, link, keys) = new_record(shard, call, new, chosen.as_ref());
    let own_link = chosen.as_ref().and_then(|ids| ids.link_id);
    let partitioner = &shard.config.partitioner;
    let is_foreign = |id: &Id| partitioner.shard_of(id) != shard.config.index;
    if let Some(id) = own_link.filter(is_foreign) {
        let queue = PendingQueue {
            session: call.session,
            ticket: call.request.ticket,
            record,
            link,
            keys,
            subscribe,
        };
        let token = shard.pending.insert(PendingChange::Queue(Box::new(queue)));
        shard.reserve_link(token, id, call.effects);
        return Ok(None);
    }
    for _ in 0..attempts {
        match create(shard, call.session, &record, link.clone(), &keys, subscribe) {
            Ok((lsn, answer)) => return Ok(Some(Done::after(lsn, answer)?)),
            Err(StoreError::Duplicate) if chosen.is_some() => return Err(ErrorType::Auth.into()),
            Err(StoreError::Duplicate) => {
                let partition = shard.config.partitioner.partition(&record.recipient_id);
                give_fresh_ids(shard, &mut record, partition);
            }
            Err(e) => return Err(ErrorType::from(e).into()),
        }
    }
    Err(ErrorType::Internal.into())
}

/// Finishes a creation once the shard of its link id has answered.
pub(in crate::relay) fn resume<S: Store>(
    shard: &mut Shard<S>,
    queue: PendingQueue,
    reserved: Result<(), StoreError>,
    effects: &mut Vec<Effect>,
) {
    let PendingQueue {
        session,
        ticket,
        record,
        link,
        keys,
        subscribe,
    } = queue;
    let granted = reserved.is_ok();
    let created = reserved.and_then(|()| create(shard, session, &record, link, &keys, subscribe));
    let (lsn, answer) = match (created, record.link_id.filter(|_| granted)) {
        (Ok((lsn, answer)), _) => (Some(lsn), answer),
        (Err(error), Some(link_id)) => {
            let confirmation = Some(Confirmation {
                session,
                ticket,
                outcome: Err(error.into()),
            });
            shard.release_link(&link_id, None, confirmation, effects);
            return;
        }
        (Err(error), None) => (None, ErrorType::from(error).into()),
    };
    let reply = Effect::Reply {
        session,
        ticket,
        answer,
    };
    shard.emit(lsn, reply, effects);
}

fn is_admitted<S: Store>(shard: &Shard<S>, new: &NewQueue<'_>) -> bool {
    let password_ok = match &shard.config.create_password {
        None => true,
        Some(password) => new.password.is_some_and(|given| password.matches(given)),
    };
    shard.config.new_queues && password_ok
}

/// Ids the client supplied with link data. The sender id must follow from the correlation id
/// (spec: protocol §16.2).
fn client_ids(new: &NewQueue<'_>, corr_id: &[u8]) -> Result<Option<ClientIds>, ErrorType> {
    let (sender_id, link_id) = match &new.queue {
        Some(QueueRequest::Messaging(Some(link))) => (link.sender_id, None),
        Some(QueueRequest::Contact(Some(link))) => (link.sender_id, Some(link.link_id)),
        _ => return Ok(None),
    };
    let expected = hash::sender_id(corr_id);
    if sender_id != expected {
        return Err(ErrorType::Cmd(CommandError::Prohibited));
    }
    let link_id = match link_id {
        None => None,
        // Clients derive 24 bytes; nothing else can be found again.
        Some(id) => Some(Id::try_from(id).map_err(|_| ErrorType::Cmd(CommandError::Prohibited))?),
    };
    Ok(Some(ClientIds {
        sender_id: expected,
        link_id,
    }))
}

fn new_record<S: Store>(
    shard: &mut Shard<S>,
    call: &Call<'_>,
    new: &NewQueue<'_>,
    chosen: Option<&ClientIds>,
) -> (QueueRecord, Option<LinkContent>, AnswerKeys) {
    let partition = match chosen {
        Some(ids) => shard.config.partitioner.partition(&ids.sender_id),
        None => shard
            .config
            .partitioner
            .random_partition(shard.config.index, &mut shard.rng),
    };
    let (body, rcv_dh_secret) = agree_fresh(shard, &new.dh_key);
    let notifier = new.notifier.as_ref().map(|credentials| {
        let (public, dh_secret) = agree_fresh(shard, &credentials.dh_key);
        let record = NotifierRecord {
            notifier_id: Id::default(),
            auth_key: credentials.auth_key,
            dh_secret,
            service_id: None,
        };
        (public, record)
    });
    let keys = AnswerKeys {
        body,
        notifier: notifier.as_ref().map(|(public, _)| *public),
    };
    let (mode, data) = match &new.queue {
        None => (None, None),
        Some(QueueRequest::Messaging(link)) => {
            (Some(QueueMode::Messaging), link.as_ref().map(|l| l.data))
        }
        Some(QueueRequest::Contact(link)) => {
            (Some(QueueMode::Contact), link.as_ref().map(|l| l.data))
        }
    };
    let mut record = QueueRecord {
        recipient_id: Id::default(),
        recipient_keys: [new.auth_key].into_iter().collect(),
        rcv_dh_secret,
        sender_id: Id::default(),
        sender_key: None,
        mode,
        // Made below.
        link_id: data.is_some().then(Id::default),
        notifier: notifier.map(|(_, record)| record),
        status: QueueStatus::Active,
        updated_day: call.now.day(),
        service_id: call.context.service().map(|s| s.id),
    };
    give_fresh_ids(shard, &mut record, partition);
    if let Some(ids) = chosen {
        record.sender_id = ids.sender_id;
        record.link_id = ids.link_id.or(record.link_id);
    }
    (record, data.map(link_content), keys)
}

pub(super) fn link_content(data: LinkData<'_>) -> LinkContent {
    LinkContent {
        fixed: data.fixed.into(),
        user: data.user.into(),
    }
}

/// A fresh server key and what it agrees with the client's; the private half is not kept.
pub(super) fn agree_fresh<S: Store>(
    shard: &mut Shard<S>,
    client: &X25519PublicKey,
) -> (X25519PublicKey, SharedSecret) {
    let secret = X25519SecretKey::generate(&mut shard.rng);
    (secret.public_key(), secret.agree(client))
}

/// Makes every id anew, all in one partition, so that no look-up ever crosses shards.
fn give_fresh_ids<S: Store>(shard: &mut Shard<S>, record: &mut QueueRecord, partition: Partition) {
    let mut fresh = || shard.config.partitioner.make_id(partition, &mut shard.rng);
    record.recipient_id = fresh();
    record.sender_id = fresh();
    if let Some(link_id) = &mut record.link_id {
        *link_id = fresh();
    }
    if let Some(notifier) = &mut record.notifier {
        notifier.notifier_id = fresh();
    }
}

/// Stores the queue, subscribes its creator and makes the answer.
fn create<S: Store>(
    shard: &mut Shard<S>,
    session: SessionRef,
    record: &QueueRecord,
    link: Option<LinkContent>,
    keys: &AnswerKeys,
    subscribe: bool,
) -> Result<(Lsn, Answer), StoreError> {
    let ids = QueueIds {
        recipient_id: record.recipient_id.to_vec().into(),
        sender_id: record.sender_id.to_vec().into(),
        dh_key: keys.body,
        mode: record.mode,
        link_id: record.link_id.map(|id| id.to_vec().into()),
        service_id: record.service_id.map(|id| id.to_vec().into()),
        notifier: record
            .notifier
            .as_ref()
            .zip(keys.notifier)
            .map(|(n, key)| (n.notifier_id.to_vec().into(), key)),
    };
    let (slot, lsn) = shard.store.create(record, link)?;
    shard.counters.queues_created += 1;
    shard.counters.notifiers_new_created += u64::from(record.notifier.is_some());
    if subscribe {
        shard.subscriptions.subscribe(slot, session);
    }
    Ok((lsn, Response::Ids(Box::new(ids)).into()))
}
