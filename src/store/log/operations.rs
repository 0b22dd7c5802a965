//! The changes a shard makes, and what it reads.

use super::codec::{self, AckPayload, AliasPayload};
use super::disk::Disk;
use super::frame::{Head, space};
use super::journal::Purpose;
use super::slots::Entry;
use super::store::{LogStore, Service, notifier_service, queue_ids};
use super::{LogId, Place, Promise};
use crate::crypto::keys::SharedSecret;
use crate::protocol::handshake::ServiceRole;
use crate::store::{
    ActiveDays, Id, IdKind, LinkContent, Location, Lsn, Message, QueueChange, QueueRecord,
    QueueSlot, QueueStatus, ServiceRecord, Store, StoreError, StoredMessage, Totals,
};
use smallvec::SmallVec;
use std::collections::VecDeque;
use zeroize::Zeroize;

/// Longest payload of a queue with as many recipient keys as can be set.
const MAX_QUEUE_PAYLOAD: usize = 256 + 16 * 58 + 2 * 58 + 32 + 2 * 24;

fn link_space(content: &LinkContent) -> usize {
    space(8 + 2 * size_of::<Id>() + 8 + content.fixed.len() + content.user.len())
}

impl<D: Disk> LogStore<D> {
    /// Fills the scratch and appends it as a record.
    fn append(
        &mut self,
        kind: u8,
        id: &Id,
        purpose: Purpose,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(Place, Lsn), StoreError> {
        let partition = self.partitions.partition(id);
        fill(&mut self.scratch);
        let payload: &[&[u8]] = &[&self.scratch];
        let written = self
            .journal
            .append(LogId::Queues, kind, partition, payload, purpose);
        self.scratch.zeroize();
        written
    }

    /// Appends the record of a queue as it is now.
    fn append_queue(
        &mut self,
        birth: u64,
        record: &QueueRecord,
        active: ActiveDays,
        purpose: Purpose,
    ) -> Result<(Place, Lsn), StoreError> {
        self.append(codec::KIND_QUEUE, &record.recipient_id, purpose, |out| {
            codec::write_queue(birth, record, active, out);
        })
    }

    fn append_link(
        &mut self,
        birth: u64,
        recipient_id: &Id,
        link_id: &Id,
        content: &LinkContent,
        purpose: Purpose,
    ) -> Result<Place, StoreError> {
        // The queue's record follows: both fit or neither is written.
        let room = space(MAX_QUEUE_PAYLOAD) + link_space(content);
        self.journal.reserve(LogId::Queues, room, purpose)?;
        let written = self.append(codec::KIND_LINK, recipient_id, purpose, |out| {
            codec::write_link(birth, recipient_id, link_id, content, out);
        })?;
        Ok(written.0)
    }

    /// Replaces the link data of a slot in memory.
    fn set_link(&mut self, slot: u32, place: Option<Place>) {
        if let Some(old) = self.slots.link(slot) {
            self.journal.kill(old);
        }
        if let Some(new) = place {
            self.journal.enliven(new);
        }
        self.slots.set_link(slot, place);
    }

    /// Replaces the record of a slot in memory.
    fn set_record(&mut self, slot: u32, place: Place) {
        if let Some(old) = self.slots.record(slot) {
            self.journal.kill(old);
        }
        self.journal.enliven(place);
        self.slots.set_record(slot, place);
    }

    /// Adds a queue that was used before: its record tells when.
    pub(super) fn create_used(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
        active: ActiveDays,
    ) -> Result<(QueueSlot, Lsn), StoreError> {
        if queue_ids(record).any(|(kind, id)| self.is_taken(kind, Some(&id))) {
            return Err(StoreError::Duplicate);
        }
        if !self.slots.has_room() {
            return Err(StoreError::Full);
        }
        let mut link_place = None;
        // Room for both records first, so that the birth is the number of the next one.
        let room = space(MAX_QUEUE_PAYLOAD) + link.as_ref().map_or(0, link_space);
        self.journal.reserve(LogId::Queues, room, Purpose::Fills)?;
        let birth = self.journal.last + 1;
        if let (Some(link_id), Some(content)) = (&record.link_id, &link) {
            let id = &record.recipient_id;
            link_place = Some(self.append_link(birth, id, link_id, content, Purpose::Fills)?);
        }
        let (place, lsn) = self.append_queue(birth, record, active, Purpose::Fills)?;
        let slot = self.slots.insert(place);
        self.slots.set_recorded_active(slot, active);
        self.journal.enliven(place);
        self.set_link(slot, link_place);
        for (kind, id) in queue_ids(record) {
            self.index_id(kind, &id, slot);
        }
        self.count_queue(record);
        Ok((QueueSlot(slot), lsn))
    }

    fn is_taken(&self, kind: IdKind, id: Option<&Id>) -> bool {
        id.is_some_and(|id| self.find_slot(kind, id).is_some())
    }
}

/// What a change does to the space there is.
fn purpose_of(change: &QueueChange) -> Purpose {
    match change {
        // Of every queue that is used, once a day: with little space they would take all of it.
        QueueChange::Day(_) => Purpose::Fills,
        QueueChange::Link(None) | QueueChange::Notifier(None) => Purpose::Frees,
        _ => Purpose::Changes,
    }
}

/// A queue nobody may do anything with: what a slot shows that has none.
fn nobodys_queue() -> QueueRecord {
    QueueRecord {
        recipient_id: Id::default(),
        recipient_keys: SmallVec::new(),
        rcv_dh_secret: SharedSecret([0; 32]),
        sender_id: Id::default(),
        sender_key: None,
        mode: None,
        link_id: None,
        notifier: None,
        status: QueueStatus::Off,
        updated_day: 0,
        service_id: None,
    }
}

impl<D: Disk> Store for LogStore<D> {
    fn find(&self, kind: IdKind, id: &Id) -> Option<Location> {
        let slot = self.find_slot(kind, id)?;
        match self.alias(slot) {
            Some(alias) => Some(Location::Shard(alias.shard)),
            None => Some(Location::Queue(QueueSlot(slot))),
        }
    }

    fn queue(&self, slot: QueueSlot) -> QueueRecord {
        self.queue_payload(slot.0)
            .and_then(codec::read_queue)
            .map_or_else(nobodys_queue, |queue| queue.record)
    }

    fn link(&self, slot: QueueSlot) -> Option<LinkContent> {
        let payload = self.journal.payload(self.slots.link(slot.0)?)?;
        codec::read_link(payload).map(|link| link.content)
    }

    fn create(
        &mut self,
        record: &QueueRecord,
        link: Option<LinkContent>,
    ) -> Result<(QueueSlot, Lsn), StoreError> {
        self.create_used(record, link, ActiveDays::default())
    }

    fn update(&mut self, slot: QueueSlot, change: QueueChange) -> Result<Lsn, StoreError> {
        let slot = slot.0;
        let queue = self.queue_payload(slot).and_then(codec::read_queue);
        let Some(mut queue) = queue else {
            return Err(StoreError::Full);
        };
        let record = &mut queue.record;
        let (old_link, old_notifier) = (
            record.link_id,
            record.notifier.as_ref().map(|n| n.notifier_id),
        );
        let old_service = notifier_service(record);
        let mut content = None;
        let purpose = purpose_of(&change);
        match change {
            QueueChange::SenderKey(key) => record.sender_key = Some(key),
            QueueChange::RecipientKeys(keys) => record.recipient_keys = keys,
            QueueChange::Status(status) => record.status = status,
            QueueChange::Day(day) => record.updated_day = day,
            QueueChange::Link(link) => {
                record.link_id = link.as_ref().map(|(id, _)| *id);
                content = link.map(|(_, content)| content);
            }
            QueueChange::Notifier(notifier) => record.notifier = notifier,
            QueueChange::NotifierService(service_id) => {
                if let Some(notifier) = &mut record.notifier {
                    notifier.service_id = service_id;
                }
            }
        }
        let new_notifier = record.notifier.as_ref().map(|n| n.notifier_id);
        let moved = [
            (IdKind::Link, old_link, record.link_id),
            (IdKind::Notifier, old_notifier, new_notifier),
        ];
        for (kind, old, new) in &moved {
            if old != new && self.is_taken(*kind, new.as_ref()) {
                return Err(StoreError::Duplicate);
            }
        }
        let mut link = None;
        if let (Some(link_id), Some(content)) = (&record.link_id, &content) {
            let id = &record.recipient_id;
            link = Some(self.append_link(queue.birth, id, link_id, content, Purpose::Fills)?);
        }
        let active = self.slots.active(slot);
        let (place, lsn) = self.append_queue(queue.birth, &queue.record, active, purpose)?;
        // The index asks the records for their ids: first it forgets the old ones.
        for (kind, old, new) in &moved {
            if let Some(id) = old.filter(|_| old != new) {
                self.unindex_id(*kind, &id, slot);
            }
        }
        self.set_record(slot, place);
        self.slots.set_recorded_active(slot, active);
        for (kind, old, new) in &moved {
            if let Some(id) = new.filter(|_| old != new) {
                self.index_id(*kind, &id, slot);
            }
        }
        if link.is_some() || queue.record.link_id.is_none() {
            self.set_link(slot, link);
        }
        self.totals.notifiers += u64::from(new_notifier.is_some());
        self.totals.notifiers -= u64::from(old_notifier.is_some());
        self.count_association(old_service, notifier_service(&queue.record));
        Ok(lsn)
    }

    fn delete(&mut self, slot: QueueSlot) -> Result<(QueueRecord, Lsn), StoreError> {
        let number = slot.0;
        let queue = self.queue_payload(number).and_then(codec::read_queue);
        let Some(queue) = queue else {
            return Err(StoreError::Full);
        };
        let id = &queue.record.recipient_id;
        let (_, lsn) = self.append(codec::KIND_GONE, id, Purpose::Frees, |out| {
            out.extend_from_slice(&queue.birth.to_le_bytes());
        })?;
        for (kind, id) in queue_ids(&queue.record) {
            self.unindex_id(kind, &id, number);
        }
        if let Some(place) = self.slots.record(number) {
            self.journal.kill(place);
        }
        self.set_link(number, None);
        let count = self.message_count(slot);
        for i in 0..count {
            let entry = self.slots.messages(number).and_then(|list| list.get(i));
            if let Some(place) = entry.map(|entry| entry.place) {
                self.journal.kill(place);
            }
        }
        self.slots.remove(number);
        self.discount_queue(&queue.record, count);
        Ok((queue.record, lsn))
    }

    fn reserve_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        if self.is_taken(kind, Some(id)) {
            return Err(StoreError::Duplicate);
        }
        if !self.slots.has_room() {
            return Err(StoreError::Full);
        }
        let room = space(size_of::<AliasPayload>());
        self.journal.reserve(LogId::Queues, room, Purpose::Fills)?;
        let alias = AliasPayload {
            birth: self.journal.last + 1,
            id: *id,
            kind,
            shard,
        };
        let (place, lsn) = self.append(codec::KIND_ALIAS, id, Purpose::Fills, |out| {
            codec::write_alias(&alias, out);
        })?;
        let slot = self.slots.insert(place);
        self.journal.enliven(place);
        self.index_id(kind, id, slot);
        Ok(lsn)
    }

    fn release_alias(&mut self, kind: IdKind, id: &Id, shard: u16) -> Result<Lsn, StoreError> {
        let slot = self.find_slot(kind, id);
        let found = slot
            .and_then(|slot| Some((slot, self.alias(slot)?)))
            .filter(|(_, alias)| alias.shard == shard);
        let Some((slot, alias)) = found else {
            return Ok(self.last());
        };
        let (_, lsn) = self.append(codec::KIND_GONE, id, Purpose::Frees, |out| {
            out.extend_from_slice(&alias.birth.to_le_bytes());
        })?;
        self.unindex_id(kind, id, slot);
        if let Some(place) = self.slots.record(slot) {
            self.journal.kill(place);
        }
        self.slots.remove(slot);
        Ok(lsn)
    }

    fn push_message(&mut self, slot: QueueSlot, message: Message<'_>) -> Result<Lsn, StoreError> {
        let Some(payload) = self.queue_payload(slot.0) else {
            return Err(StoreError::Full);
        };
        let ids = codec::birth_of(payload).zip(codec::recipient_of(payload).copied());
        let Some((birth, recipient_id)) = ids else {
            return Err(StoreError::Full);
        };
        let len = codec::MESSAGE_HEAD_LEN + message.body.len();
        let room = Head::new(codec::KIND_MESSAGE, 0, len).ok_or(StoreError::Full)?;
        self.journal
            .reserve(LogId::Messages, room.space(), Purpose::Fills)?;
        let seq = self.journal.last + 1;
        let head = codec::message_head(birth, &recipient_id, seq, &message);
        let (place, lsn) = self.journal.append(
            LogId::Messages,
            codec::KIND_MESSAGE,
            self.partitions.partition(&recipient_id),
            &[&head, message.body],
            Purpose::Fills,
        )?;
        self.journal.enliven(place);
        self.slots.push(slot.0, Entry { seq, place });
        self.totals.messages += 1;
        Ok(lsn)
    }

    fn head(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.message(self.slots.messages(slot.0)?.front()?)
    }

    fn newest(&self, slot: QueueSlot) -> Option<StoredMessage<'_>> {
        self.message(self.slots.messages(slot.0)?.back()?)
    }

    fn pop_message(&mut self, slot: QueueSlot) -> Result<Lsn, StoreError> {
        let head = self.slots.messages(slot.0).and_then(|list| list.front());
        let Some(Entry { seq, place }) = head.copied() else {
            return Ok(self.last());
        };
        // The acknowledgement is freed after the message: it lies in the same log, behind.
        let log = self.journal.log_of(place).unwrap_or(LogId::Messages);
        let ids = self.queue_payload(slot.0).and_then(|payload| {
            let id = codec::recipient_of(payload)?;
            Some((codec::birth_of(payload)?, self.partitions.partition(id)))
        });
        let (birth, partition) = ids.ok_or(StoreError::Full)?;
        let ack = codec::write_ack(AckPayload { birth, seq });
        let (_, lsn) =
            self.journal
                .append(log, codec::KIND_ACK, partition, &[&ack], Purpose::Frees)?;
        self.slots.pop(slot.0);
        self.journal.kill(place);
        self.totals.messages -= 1;
        Ok(lsn)
    }

    fn message_count(&self, slot: QueueSlot) -> usize {
        self.slots.messages(slot.0).map_or(0, VecDeque::len)
    }

    fn next_with_messages(&self, after: Option<QueueSlot>) -> Option<QueueSlot> {
        let after = after.map(|slot| slot.0);
        self.slots.next_with_messages(after).map(QueueSlot)
    }

    fn active_days(&self, slot: QueueSlot) -> ActiveDays {
        self.slots.active(slot.0)
    }

    fn set_active_days(&mut self, slot: QueueSlot, days: ActiveDays) {
        self.slots.set_active(slot.0, days);
    }

    fn service(&self, fingerprint: &[u8; 32]) -> Option<(Id, ServiceRole)> {
        let service = self.services.get(fingerprint)?;
        Some((service.id, service.role))
    }

    fn create_service(&mut self, service: ServiceRecord) -> Result<Lsn, StoreError> {
        let (place, lsn) =
            self.append(codec::KIND_SERVICE, &service.id, Purpose::Fills, |out| {
                codec::write_service(&service, out);
            })?;
        self.journal.enliven(place);
        self.count_service(service.role);
        let (id, role) = (service.id, service.role);
        let known = Service { id, role, place };
        self.services.insert(service.fingerprint, known);
        Ok(lsn)
    }

    fn remove_service(&mut self, fingerprint: &[u8; 32]) -> Result<Lsn, StoreError> {
        let Some(service) = self.services.get(fingerprint).copied() else {
            return Ok(self.last());
        };
        let kind = codec::KIND_SERVICE_GONE;
        let (_, lsn) = self.append(kind, &service.id, Purpose::Frees, |out| {
            out.extend_from_slice(fingerprint);
        })?;
        self.journal.kill(service.place);
        self.services.remove(fingerprint);
        self.discount_service(service.role);
        Ok(lsn)
    }

    fn service_fingerprints(&self) -> Vec<[u8; 32]> {
        let day_of = |service: &Service| {
            let payload = self.journal.payload(service.place)?;
            Some(codec::read_service(payload)?.created_day)
        };
        let mut services: Vec<_> = self
            .services
            .iter()
            .map(|(fingerprint, service)| (day_of(service), *fingerprint))
            .collect();
        services.sort_unstable();
        services.into_iter().map(|(_, f)| f).collect()
    }

    fn service_queues(&self, service_id: &Id) -> u64 {
        self.service_queues.get(service_id).copied().unwrap_or(0)
    }

    fn service_notifiers(&self, service_id: &Id) -> u64 {
        self.service_notifiers.get(service_id).copied().unwrap_or(0)
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn last(&self) -> Lsn {
        Lsn(self.journal.last)
    }

    fn durable(&self) -> Lsn {
        match self.promise {
            Promise::Disk => Lsn(self.journal.synced),
            Promise::Process => self.last(),
        }
    }
}
