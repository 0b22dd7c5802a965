//! Making space: the oldest segment of a log is emptied, in small steps, and used again.
//!
//! What is still needed is copied to where its log is written, messages to the leftovers, so that
//! a few long-lived messages do not hold up the rest. Segments are freed in order: what says that
//! something is gone always outlives what it speaks of.

use super::control::HEADER_LEN;
use super::disk::{Disk, Memory};
use super::frame::{Frame, Head};
use super::journal::Purpose;
use super::store::LogStore;
use super::{LogId, Place, codec};
use crate::store::{IdKind, StoreError};

/// A log is compacted when less than half of its closed segments is needed.
const WANTED_PART: usize = 2;

/// A segment being emptied.
#[derive(Debug, Clone, Copy)]
pub struct Cleaning {
    log: LogId,
    file: u16,
    offset: usize,
}

impl<D: Disk> LogStore<D> {
    /// Makes space for about `budget` bytes of reading and copying; says whether there is more to
    /// do. To be called from time to time even when there was nothing.
    pub fn maintain(&mut self, budget: usize) -> bool {
        self.journal.retry();
        self.journal.checkpoint();
        let mut left = budget;
        while left > 0 {
            let Some(cleaning) = self.cleaning.take().or_else(|| self.next_to_clean()) else {
                return false;
            };
            match self.clean(cleaning, &mut left) {
                Ok(unfinished) => self.cleaning = unfinished,
                // No room even for that; something must be acknowledged or the disk be freed.
                Err(_) => {
                    self.cleaning = Some(cleaning);
                    return false;
                }
            }
        }
        true
    }

    /// The oldest segment of a log with much that is not needed.
    fn next_to_clean(&self) -> Option<Cleaning> {
        let is_short = self.journal.is_short() && self.journal.retired.is_empty();
        let mut best: Option<(usize, LogId)> = None;
        for log in LogId::ALL {
            let closed = self.journal.log(log).segments.len().saturating_sub(1);
            if closed == 0 {
                continue;
            }
            let files = self.journal.log(log).segments.iter().take(closed);
            let live_of = |file: &u16| self.journal.segment(*file).map_or(0, |s| s.live);
            let oldest = files.clone().next().map_or(0, live_of);
            let live: usize = files.map(live_of).sum();
            let size = closed * self.journal.segment_len;
            let dead = size.saturating_sub(live);
            let is_wasteful = live * WANTED_PART <= size;
            // When space runs out, whatever gives back a segment in the end is worth it.
            let helps = is_short && dead > self.journal.segment_len;
            if oldest == 0 {
                best = Some((usize::MAX, log));
            } else if (is_wasteful || helps) && best.is_none_or(|(most, _)| dead > most) {
                best = Some((dead, log));
            }
        }
        let (_, log) = best?;
        let file = *self.journal.log(log).segments.front()?;
        Some(Cleaning {
            log,
            file,
            offset: HEADER_LEN,
        })
    }

    /// Goes on emptying a segment; `None` when it is done.
    fn clean(
        &mut self,
        mut at: Cleaning,
        budget: &mut usize,
    ) -> Result<Option<Cleaning>, StoreError> {
        while self.journal.segment(at.file).is_some_and(|s| s.live > 0) {
            if *budget == 0 {
                return Ok(Some(at));
            }
            let Some(head) = self.head_at(at) else {
                break;
            };
            let place = Place {
                segment: at.file,
                // Segments are smaller than offsets reach.
                offset: u32::try_from(at.offset).unwrap_or(u32::MAX),
            };
            if let Some(keep) = self.needed(place) {
                self.copy(at.log, place, &head, keep)?;
                *budget = budget.saturating_sub(head.space());
            }
            *budget = budget.saturating_sub(STEP_COST);
            at.offset += head.space();
        }
        self.journal.free_tail(at.log)?;
        Ok(None)
    }

    fn head_at(&self, at: Cleaning) -> Option<Head> {
        Head::read(self.journal.segment(at.file)?.memory.bytes(), at.offset)
    }

    /// Who needs a record, if anybody does.
    fn needed(&self, place: Place) -> Option<Owner> {
        let Frame { head, payload, .. } = self.journal.read(place)?;
        let of_recipient = || self.find_slot(IdKind::Recipient, codec::recipient_of(payload)?);
        match head.kind {
            codec::KIND_QUEUE => {
                let slot = of_recipient()?;
                (self.slots.record(slot) == Some(place)).then_some(Owner::Record(slot))
            }
            codec::KIND_LINK => {
                let slot = of_recipient()?;
                (self.slots.link(slot) == Some(place)).then_some(Owner::Link(slot))
            }
            codec::KIND_ALIAS => {
                let alias = codec::read_alias(payload)?;
                let slot = self.find_slot(alias.kind, &alias.id)?;
                (self.slots.record(slot) == Some(place)).then_some(Owner::Record(slot))
            }
            codec::KIND_SERVICE => {
                let fingerprint = codec::read_service(payload)?.fingerprint;
                let service = self.services.get(&fingerprint)?;
                (service.place == place).then_some(Owner::Service(fingerprint))
            }
            codec::KIND_MESSAGE => {
                let message = codec::read_message(payload)?;
                let slot = of_recipient()?;
                let list = self.slots.messages(slot)?;
                let at = list.binary_search_by_key(&message.seq, |entry| entry.seq);
                let at = at.ok()?;
                (list.get(at)?.place == place).then_some(Owner::Message(slot, at))
            }
            _ => None,
        }
    }

    /// Copies a record to where it is not in the way.
    fn copy(
        &mut self,
        from: LogId,
        place: Place,
        head: &Head,
        owner: Owner,
    ) -> Result<(), StoreError> {
        let log = match from {
            LogId::Queues => LogId::Queues,
            LogId::Messages | LogId::Leftovers => LogId::Leftovers,
        };
        let mut payload = match self.journal.payload(place) {
            Some(payload) => zeroize::Zeroizing::new(payload.to_vec()),
            None => return Ok(()),
        };
        if let Owner::Record(slot) = owner
            && head.kind == codec::KIND_QUEUE
        {
            codec::set_active(&mut payload, self.slots.active(slot));
        }
        let (kind, partition) = (head.kind, head.partition);
        let parts: &[&[u8]] = &[&payload];
        let (new, _) = self
            .journal
            .append(log, kind, partition, parts, Purpose::Copies)?;
        self.journal.kill(place);
        self.journal.enliven(new);
        match owner {
            Owner::Record(slot) => {
                self.slots.set_record(slot, new);
                self.slots
                    .set_recorded_active(slot, self.slots.active(slot));
            }
            Owner::Link(slot) => self.slots.set_link(slot, Some(new)),
            Owner::Service(fingerprint) => {
                if let Some(service) = self.services.get_mut(&fingerprint) {
                    service.place = new;
                }
            }
            Owner::Message(slot, at) => {
                let list = self.slots.messages_mut(slot);
                if let Some(entry) = list.and_then(|list| list.get_mut(at)) {
                    entry.place = new;
                }
            }
        }
        Ok(())
    }
}

/// What looking at a record costs, in bytes of budget.
const STEP_COST: usize = 64;

/// Who needs a record.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Record(u32),
    Link(u32),
    Service([u8; 32]),
    Message(u32, usize),
}
