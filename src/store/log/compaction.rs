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
use super::supply::file_name;
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
                    self.free_others(cleaning.log);
                    return false;
                }
            }
        }
        true
    }

    /// Begins to empty the oldest segment of a log, whatever else there is to do.
    pub(super) fn empty_oldest(&mut self, log: LogId) {
        let oldest = self.journal.log(log).segments.front();
        self.cleaning = oldest.map(|file| Cleaning {
            log,
            file: *file,
            offset: HEADER_LEN,
        });
    }

    /// Frees segments without need for copies while there is no room to empty one of a log.
    fn free_others(&mut self, busy: LogId) {
        let others = LogId::ALL.into_iter().filter(|log| *log != busy);
        for log in others {
            // Copies out of a segment of messages, and their acknowledgements, outlive it.
            if (busy, log) == (LogId::Messages, LogId::Leftovers) {
                continue;
            }
            while self.is_oldest_dead(log) {
                if self.journal.free_tail(log).is_err() {
                    return;
                }
            }
        }
    }

    fn is_oldest_dead(&self, log: LogId) -> bool {
        let segments = &self.journal.log(log).segments;
        let oldest = segments.front().filter(|_| segments.len() > 1);
        let oldest = oldest.and_then(|file| self.journal.segment(*file));
        oldest.is_some_and(|segment| segment.live == 0)
    }

    /// The oldest segment of a log with much that is not needed.
    fn next_to_clean(&self) -> Option<Cleaning> {
        let is_short = self.journal.is_short() && self.journal.retired.is_empty();
        let mut best: Option<(usize, LogId)> = None;
        for log in LogId::ALL {
            let closed = self.journal.log(log).segments.len().saturating_sub(1);
            if closed == 0 || self.unreadable[log as usize] {
                continue;
            }
            if self.is_oldest_dead(log) {
                best = Some((usize::MAX, log));
                continue;
            }
            let files = self.journal.log(log).segments.iter().take(closed);
            let segments = files.filter_map(|file| self.journal.segment(*file));
            let (mut live, mut size) = (0, 0);
            for segment in segments {
                live += segment.live;
                size += segment.memory.bytes().len();
            }
            let dead = size.saturating_sub(live);
            let is_wasteful = live * WANTED_PART <= size;
            // When space runs out, whatever gives back a segment in the end is worth it.
            let helps = is_short && dead > self.journal.segment_len;
            if (is_wasteful || helps) && best.is_none_or(|(most, _)| dead > most) {
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
                self.note_unreadable(at);
                return Ok(None);
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

    /// Leaves a log alone in which something that is needed is not found.
    fn note_unreadable(&mut self, at: Cleaning) {
        self.unreadable[at.log as usize] = true;
        if at.log == LogId::Messages {
            // There may be acknowledgements of what is in that segment.
            self.unreadable[LogId::Leftovers as usize] = true;
        }
        tracing::error!(
            "{} cannot be read at byte {} while it is running: nothing of the log of {} is freed \
             any more. Look for errors of the disk (`dmesg`, `smartctl`), make a backup, then start \
             the relay again: it checks everything",
            self.journal.disk.describe(&file_name(at.file)),
            at.offset,
            at.log,
        );
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
