//! What a store log amounts to (spec: server §11.3).

use super::file_names::STORE_LOG;
use super::packed::{PackedQueue, Unpacked};
use super::store_log::{LogRecord, QueueEntry, Records};
use super::text::ReadError;
use super::warning::{Reason, Warnings};
use crate::store::{Id, LinkContent, NotifierRecord, ServiceRecord};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead};
use thiserror::Error;

/// Ids are of clients' choosing: hashed with a random seed.
type Hasher = foldhash::quality::RandomState;
type Ids = HashSet<Id, Hasher>;

/// Why a record changes nothing: the rules of run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// One of the new queue's ids is in use.
    #[error("duplicate queue")]
    DuplicateQueue,
    /// There is no such queue.
    #[error("the queue does not exist")]
    UnknownQueue,
    /// The queue was deleted before.
    #[error("the queue is deleted already")]
    DeletedQueue,
    /// The queue is secured with another key.
    #[error("the queue is secured with another key")]
    OtherSenderKey,
    /// The queue has another link id or other fixed data.
    #[error("the queue has another link")]
    OtherLink,
    /// The link id is another queue's.
    #[error("link id in use")]
    LinkInUse,
    /// The notifier id is in use.
    #[error("notifier id in use")]
    NotifierInUse,
    /// The queue has no notifier to associate.
    #[error("the queue has no notifier")]
    NoNotifier,
    /// The service id belongs to another certificate.
    #[error("service id in use")]
    ServiceInUse,
    /// The certificate is known under another service id.
    #[error("the service has another id")]
    OtherServiceId,
    /// The certificate is known in another role.
    #[error("the service has another role")]
    OtherServiceRole,
}

/// Queues and services as far as the log has been read.
#[derive(Debug, Default)]
pub struct Replay {
    /// By recipient id; `None` for a deleted queue, whose id the log does not use again.
    queues: BTreeMap<Id, Option<PackedQueue>>,
    deleted: usize,
    senders: Ids,
    links: Ids,
    notifiers: Ids,
    services: BTreeMap<Id, ServiceRecord>,
    fingerprints: HashMap<[u8; 32], Id, Hasher>,
}

/// What a whole log amounts to.
#[derive(Debug, Default)]
pub struct Replayed {
    queues: BTreeMap<Id, Option<PackedQueue>>,
    deleted: usize,
    /// Services in the order of their ids.
    pub services: Vec<ServiceRecord>,
    /// Lines read.
    pub lines: u64,
    /// What could not be used.
    pub warnings: Warnings,
}

impl Replayed {
    /// Number of queues that are not deleted.
    pub fn queue_count(&self) -> usize {
        self.queues.len() - self.deleted
    }

    /// The queues in the order of their recipient ids; what has been taken is freed.
    pub fn into_queues(self) -> impl Iterator<Item = QueueEntry> {
        let queues = self.queues.into_iter();
        queues.filter_map(|(id, packed)| packed?.unpack(&id))
    }
}

/// Reads a store log to its end.
pub fn replay(reader: impl BufRead) -> io::Result<Replayed> {
    let mut warnings = Warnings::default();
    let replayed = replay_file(reader, STORE_LOG, &mut warnings, &mut |_| {})?;
    Ok(Replayed {
        warnings,
        ..replayed
    })
}

/// [`replay`] with warnings elsewhere, which name the file; reports how many bytes it has read.
pub(super) fn replay_file(
    reader: impl BufRead,
    file: &str,
    warnings: &mut Warnings,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Replayed> {
    let mut records = Records::new(reader);
    let mut replay = Replay::default();
    while let Some(record) = records.next() {
        let line = records.line();
        progress(records.bytes());
        match record {
            Ok(record) => {
                if matches!(&record, LogRecord::Create(entry) if entry.unusable_link) {
                    warnings.add(file, Some(line), Reason::UnusableLink);
                }
                if let Err(refusal) = replay.apply(record) {
                    warnings.add(file, Some(line), refusal);
                }
            }
            Err(ReadError::Line(e)) => warnings.add(file, Some(line), e.reason),
            Err(ReadError::Io(e)) => return Err(e),
        }
    }
    Ok(Replayed {
        queues: replay.queues,
        deleted: replay.deleted,
        services: replay.services.into_values().collect(),
        lines: records.line(),
        warnings: Warnings::default(),
    })
}

impl Replay {
    /// Takes one record, or refuses it and changes nothing.
    pub fn apply(&mut self, record: LogRecord) -> Result<(), Refusal> {
        match record {
            LogRecord::Create(entry) => self.create(entry),
            LogRecord::Service(service) => self.create_service(*service),
            LogRecord::Delete(id) => self.delete(&id),
            LogRecord::Link(id, link_id, content) => self.set_link(&id, link_id, content),
            LogRecord::DeleteLink(id) => {
                let mut entry = find(&mut self.queues, &id)?;
                if let Some(link_id) = entry.record.link_id.take() {
                    self.links.remove(&link_id);
                }
                entry.link = None;
                Ok(())
            }
            LogRecord::Secure(id, key) => {
                let mut entry = find(&mut self.queues, &id)?;
                if *entry.record.sender_key.get_or_insert(key) == key {
                    Ok(())
                } else {
                    Err(Refusal::OtherSenderKey)
                }
            }
            LogRecord::Notifier(id, notifier) => self.set_notifier(&id, *notifier),
            LogRecord::DeleteNotifier(id) => {
                let mut entry = find(&mut self.queues, &id)?;
                if let Some(notifier) = entry.record.notifier.take() {
                    self.notifiers.remove(&notifier.notifier_id);
                }
                Ok(())
            }
            LogRecord::NotifierService(id, service_id) => {
                let mut entry = find(&mut self.queues, &id)?;
                let notifier = entry.record.notifier.as_mut();
                let notifier = notifier.ok_or(Refusal::NoNotifier)?;
                notifier.service_id = service_id;
                Ok(())
            }
            LogRecord::Keys(id, keys) => {
                find(&mut self.queues, &id)?.record.recipient_keys = keys;
                Ok(())
            }
            LogRecord::Status(id, status) => {
                find(&mut self.queues, &id)?.record.status = status;
                Ok(())
            }
            LogRecord::Day(id, day) => {
                find(&mut self.queues, &id)?.record.updated_day = day;
                Ok(())
            }
            LogRecord::QueueService(id, service_id) => {
                find(&mut self.queues, &id)?.record.service_id = service_id;
                Ok(())
            }
        }
    }

    fn create(&mut self, mut entry: Box<QueueEntry>) -> Result<(), Refusal> {
        let record = &entry.record;
        let notifier_id = record.notifier.as_ref().map(|n| n.notifier_id);
        if self.queues.contains_key(&record.recipient_id)
            || self.senders.contains(&record.sender_id)
            || notifier_id.is_some_and(|id| self.notifiers.contains(&id))
            || record.link_id.is_some_and(|id| self.links.contains(&id))
        {
            return Err(Refusal::DuplicateQueue);
        }
        self.senders.insert(record.sender_id);
        self.notifiers.extend(notifier_id);
        self.links.extend(record.link_id);
        let id = record.recipient_id;
        self.queues.insert(id, Some(PackedQueue::pack(&mut entry)));
        Ok(())
    }

    /// Frees all ids but the recipient id (spec: server §14.9).
    fn delete(&mut self, id: &Id) -> Result<(), Refusal> {
        let entry = find(&mut self.queues, id)?;
        let record = &entry.record;
        self.senders.remove(&record.sender_id);
        if let Some(link_id) = &record.link_id {
            self.links.remove(link_id);
        }
        if let Some(notifier) = &record.notifier {
            self.notifiers.remove(&notifier.notifier_id);
        }
        drop(entry);
        self.queues.insert(*id, None);
        self.deleted += 1;
        Ok(())
    }

    /// Unlike the reference, leaves other queues their links (spec: server §14.6).
    fn set_link(&mut self, id: &Id, link_id: Id, content: LinkContent) -> Result<(), Refusal> {
        let mut entry = find(&mut self.queues, id)?;
        match (&entry.record.link_id, &entry.link) {
            (None, _) if self.links.contains(&link_id) => return Err(Refusal::LinkInUse),
            (None, _) => {}
            (Some(old_id), Some(old)) if *old_id == link_id && old.fixed == content.fixed => {}
            _ => return Err(Refusal::OtherLink),
        }
        self.links.insert(link_id);
        entry.record.link_id = Some(link_id);
        entry.link = Some(content);
        Ok(())
    }

    fn set_notifier(&mut self, id: &Id, notifier: NotifierRecord) -> Result<(), Refusal> {
        let mut entry = find(&mut self.queues, id)?;
        if !self.notifiers.insert(notifier.notifier_id) {
            return Err(Refusal::NotifierInUse);
        }
        if let Some(old) = entry.record.notifier.replace(notifier) {
            self.notifiers.remove(&old.notifier_id);
        }
        Ok(())
    }

    fn create_service(&mut self, service: ServiceRecord) -> Result<(), Refusal> {
        let known = self.fingerprints.get(&service.fingerprint);
        match known.and_then(|id| self.services.get(id)) {
            Some(known) if known.role != service.role => Err(Refusal::OtherServiceRole),
            Some(known) if known.id != service.id => Err(Refusal::OtherServiceId),
            Some(_) => Ok(()),
            None if self.services.contains_key(&service.id) => Err(Refusal::ServiceInUse),
            None => {
                self.fingerprints.insert(service.fingerprint, service.id);
                self.services.insert(service.id, service);
                Ok(())
            }
        }
    }
}

fn find<'a>(
    queues: &'a mut BTreeMap<Id, Option<PackedQueue>>,
    id: &Id,
) -> Result<Unpacked<'a>, Refusal> {
    match queues.get_mut(id) {
        Some(Some(packed)) => packed.change(id).ok_or(Refusal::UnknownQueue),
        Some(None) => Err(Refusal::DeletedQueue),
        None => Err(Refusal::UnknownQueue),
    }
}
