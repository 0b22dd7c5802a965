//! Days of use that the records do not tell yet.
//!
//! A queue's record carries the days known when it was written. What came later is in a small file
//! of its own, written when the process stops and now and then before: a crash loses at most what
//! is newer than both.

use super::disk::Disk;
use super::slots::Slots;
use super::store::LogStore;
use crate::store::ActiveDays;
use std::io;

/// The file, beside the segments.
pub const FILE: &str = "active-days";
/// First bytes of the file; the last one is the version.
const MAGIC: [u8; 8] = *b"smp-day\x01";
/// Slots looked at in one step.
const SLOTS_AT_ONCE: u32 = 4096;
/// Records of queues read in one step: each may have to come from the disk.
const RECORDS_AT_ONCE: usize = 256;
/// Bytes of a queue: its birth and two days.
const ENTRY_LEN: usize = 12;

/// The file about to be written; that takes time and is meant for a thread of its own.
#[derive(Debug)]
pub struct SaveDays<D> {
    disk: D,
    content: Vec<u8>,
}

impl<D: Disk> SaveDays<D> {
    /// Replaces the file.
    pub fn run(self) -> io::Result<()> {
        self.disk.replace(FILE, &mut std::iter::once(self.content))
    }
}

/// Days of use being collected, a part at a time: what changes meanwhile is told as it is when its
/// part is read.
#[derive(Debug)]
pub struct DaysWalk {
    content: Vec<u8>,
    /// Slot to go on with.
    next: u32,
}

impl Default for DaysWalk {
    fn default() -> Self {
        Self {
            content: MAGIC.to_vec(),
            next: 0,
        }
    }
}

impl DaysWalk {
    /// What a file with everything that was read contains.
    pub fn into_content(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.content);
        self.content.extend_from_slice(&crc.to_le_bytes());
        self.content
    }
}

impl<D: Disk> LogStore<D> {
    /// Reads the days of the next slots; says whether there are more.
    pub fn read_days(&self, walk: &mut DaysWalk) -> bool {
        let mut end = walk
            .next
            .saturating_add(SLOTS_AT_ONCE)
            .min(self.slots.len());
        for (slot, read) in self.slots.with_new_days(walk.next..end).zip(0..) {
            if read == RECORDS_AT_ONCE {
                end = slot;
                break;
            }
            if let Some(birth) = self.birth(slot) {
                let days = self.slots.active(slot);
                let content = &mut walk.content;
                content.extend_from_slice(&birth.to_le_bytes());
                content.extend_from_slice(&days.message.to_le_bytes());
                content.extend_from_slice(&days.notification.to_le_bytes());
            }
        }
        walk.next = end;
        end < self.slots.len()
    }

    /// What was read, to be saved.
    pub fn save_read_days(&self, walk: DaysWalk) -> SaveDays<D> {
        SaveDays {
            disk: self.journal.disk.clone(),
            content: walk.into_content(),
        }
    }

    /// All days of use, to be saved. Costs a look at every queue used since its record was written.
    pub fn save_days(&self) -> SaveDays<D> {
        let mut walk = DaysWalk::default();
        while self.read_days(&mut walk) {}
        self.save_read_days(walk)
    }
}

/// Takes over what a file says of the queues there still are; `None` when it is damaged.
pub(super) fn load(
    file: &[u8],
    slots: &mut Slots,
    mut slot_of: impl FnMut(u64) -> Option<u32>,
) -> Option<()> {
    let (content, crc) = file.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let entries = content.strip_prefix(&MAGIC)?.chunks_exact(ENTRY_LEN);
    for entry in entries {
        let (birth, days) = entry.split_first_chunk::<8>()?;
        let Some(slot) = slot_of(u64::from_le_bytes(*birth)) else {
            continue;
        };
        let known = slots.active(slot);
        let newer = ActiveDays {
            message: known.message.max(u16::from_le_bytes([days[0], days[1]])),
            notification: known
                .notification
                .max(u16::from_le_bytes([days[2], days[3]])),
        };
        slots.set_active(slot, newer);
    }
    Some(())
}
