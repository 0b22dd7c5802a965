//! What is kept in memory per queue or alias, and the lists of messages.

use super::Place;
use super::index::MAX_SLOTS;
use crate::store::ActiveDays;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;

/// Slots are kept in chunks, so that growing moves nothing.
const CHUNK: usize = 4096;
const NO_SEGMENT: u16 = u16::MAX;
const NO_LIST: u32 = u32::MAX;

/// What is kept in memory for a queue or alias; the rest is in the log.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Of the newest record; in a free slot the next free one.
    record_offset: u32,
    link_offset: u32,
    list: u32,
    record_segment: u16,
    link_segment: u16,
    active: ActiveDays,
}

const _: () = assert!(size_of::<Slot>() <= 32);

const FREE: Slot = Slot {
    record_offset: u32::MAX,
    link_offset: 0,
    list: NO_LIST,
    record_segment: NO_SEGMENT,
    link_segment: NO_SEGMENT,
    active: ActiveDays {
        message: 0,
        notification: 0,
    },
};

/// A message in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Position in its queue.
    pub seq: u64,
    /// Its newest record.
    pub place: Place,
}

/// All queues and aliases of a shard.
pub struct Slots {
    chunks: Vec<Box<[Slot]>>,
    /// Slots ever used.
    len: u32,
    first_free: u32,
    lists: Slab<VecDeque<Entry>>,
    with_messages: BTreeSet<u32>,
    /// A bit per slot: its days of use are newer than its record.
    new_days: Vec<u64>,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            first_free: u32::MAX,
            lists: Slab::new(),
            with_messages: BTreeSet::new(),
            new_days: Vec::new(),
        }
    }
}

impl Slots {
    fn get(&self, slot: u32) -> &Slot {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn get_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// Slots ever used: all are below this.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is room for another.
    pub fn has_room(&self) -> bool {
        self.first_free != u32::MAX || (self.len as usize) < MAX_SLOTS
    }

    /// Takes a slot for a record.
    pub fn insert(&mut self, place: Place) -> u32 {
        let slot = if self.first_free == u32::MAX {
            if self.len as usize == self.chunks.len() * CHUNK {
                self.chunks.push(vec![FREE; CHUNK].into());
                self.new_days.resize(self.chunks.len() * CHUNK / 64, 0);
            }
            self.len += 1;
            self.len - 1
        } else {
            let slot = self.first_free;
            self.first_free = self.get(slot).record_offset;
            slot
        };
        *self.get_mut(slot) = FREE;
        self.set_record(slot, place);
        slot
    }

    /// Frees a slot and its messages.
    pub fn remove(&mut self, slot: u32) {
        self.drop_list(slot);
        self.mark_days(slot, false);
        let next = self.first_free;
        *self.get_mut(slot) = Slot {
            record_offset: next,
            ..FREE
        };
        self.first_free = slot;
    }

    /// Where the newest record is; `None` for a free slot.
    pub fn record(&self, slot: u32) -> Option<Place> {
        if slot >= self.len {
            return None;
        }
        let slot = self.get(slot);
        (slot.record_segment != NO_SEGMENT).then_some(Place {
            segment: slot.record_segment,
            offset: slot.record_offset,
        })
    }

    /// Notes where the newest record is.
    pub fn set_record(&mut self, slot: u32, place: Place) {
        let slot = self.get_mut(slot);
        slot.record_segment = place.segment;
        slot.record_offset = place.offset;
    }

    /// Where the link data is.
    pub fn link(&self, slot: u32) -> Option<Place> {
        let slot = self.get(slot);
        (slot.link_segment != NO_SEGMENT).then_some(Place {
            segment: slot.link_segment,
            offset: slot.link_offset,
        })
    }

    /// Notes where the link data is.
    pub fn set_link(&mut self, slot: u32, place: Option<Place>) {
        let slot = self.get_mut(slot);
        slot.link_segment = place.map_or(NO_SEGMENT, |place| place.segment);
        slot.link_offset = place.map_or(0, |place| place.offset);
    }

    /// Days of use.
    pub fn active(&self, slot: u32) -> ActiveDays {
        self.get(slot).active
    }

    /// Notes days of use that the record does not tell.
    pub fn set_active(&mut self, slot: u32, days: ActiveDays) {
        self.get_mut(slot).active = days;
        self.mark_days(slot, true);
    }

    /// Notes days of use that the record tells.
    pub fn set_recorded_active(&mut self, slot: u32, days: ActiveDays) {
        self.get_mut(slot).active = days;
        self.mark_days(slot, false);
    }

    fn mark_days(&mut self, slot: u32, is_new: bool) {
        if let Some(bits) = self.new_days.get_mut(slot as usize / 64) {
            let bit = 1 << (slot % 64);
            *bits = if is_new { *bits | bit } else { *bits & !bit };
        }
    }

    /// Of some slots, those whose days of use are newer than their records.
    pub fn with_new_days(&self, slots: Range<u32>) -> impl Iterator<Item = u32> {
        let words = self.new_days.iter().zip(0_u32..);
        let skipped = slots.start as usize / 64;
        let taken = (slots.end as usize).div_ceil(64);
        words
            .take(taken)
            .skip(skipped)
            .filter(|(bits, _)| **bits != 0)
            .flat_map(|(bits, word)| {
                (0..64)
                    .filter(move |bit| bits >> bit & 1 == 1)
                    .map(move |bit| word * 64 + bit)
            })
            .filter(move |slot| slots.contains(slot))
    }

    /// The messages of a queue, oldest first.
    pub fn messages(&self, slot: u32) -> Option<&VecDeque<Entry>> {
        self.lists.get(self.get(slot).list as usize)
    }

    /// The messages of a queue that has some.
    pub fn messages_mut(&mut self, slot: u32) -> Option<&mut VecDeque<Entry>> {
        let list = self.get(slot).list as usize;
        self.lists.get_mut(list)
    }

    /// Appends a message to a queue.
    pub fn push(&mut self, slot: u32, entry: Entry) {
        if let Some(list) = self.messages_mut(slot) {
            list.push_back(entry);
            return;
        }
        let mut list = VecDeque::with_capacity(1);
        list.push_back(entry);
        self.set_messages(slot, list);
    }

    /// Gives a queue that has none messages.
    pub fn set_messages(&mut self, slot: u32, messages: VecDeque<Entry>) {
        let key = self.lists.insert(messages);
        // There are no more lists than slots.
        self.get_mut(slot).list = u32::try_from(key).unwrap_or(NO_LIST);
        self.with_messages.insert(slot);
    }

    /// Removes the oldest message of a queue.
    pub fn pop(&mut self, slot: u32) -> Option<Entry> {
        let list = self.messages_mut(slot)?;
        let entry = list.pop_front();
        if list.is_empty() {
            self.drop_list(slot);
        }
        entry
    }

    fn drop_list(&mut self, slot: u32) {
        let list = std::mem::replace(&mut self.get_mut(slot).list, NO_LIST);
        if list != NO_LIST {
            self.lists.remove(list as usize);
            self.with_messages.remove(&slot);
            if self.lists.is_empty() {
                self.lists.shrink_to_fit();
            }
        }
    }

    /// The first slot with messages after another.
    pub fn next_with_messages(&self, after: Option<u32>) -> Option<u32> {
        let first = after.map_or(Some(0), |slot| slot.checked_add(1))?;
        self.with_messages.range(first..).next().copied()
    }

    /// Bytes on the heap, message lists apart.
    pub fn heap_size(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Slot>() + self.new_days.capacity() * size_of::<u64>()
    }
}
