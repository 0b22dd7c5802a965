//! Queues while a store log is read: in the compact form of this relay's own log, since all of them
//! are in memory then.

use super::store_log::QueueEntry;
use crate::store::log::codec::{read_queue, write_queue};
use crate::store::{ActiveDays, Id, LinkContent};
use std::ops::{Deref, DerefMut};
use zeroize::Zeroizing;

/// Birth and recipient id, which are known otherwise.
const LEFT_OUT: usize = 8 + size_of::<Id>();

/// A queue in less than half of the memory of its entry.
#[derive(Debug)]
pub(super) struct PackedQueue {
    record: Zeroizing<Box<[u8]>>,
    link: Option<Box<LinkContent>>,
}

impl PackedQueue {
    /// Packs a queue; takes its link data.
    pub(super) fn pack(entry: &mut QueueEntry) -> Self {
        let mut payload = Zeroizing::new(Vec::new());
        write_queue(0, &entry.record, ActiveDays::default(), &mut payload);
        Self {
            record: Zeroizing::new(payload.get(LEFT_OUT..).unwrap_or_default().into()),
            link: entry.link.take().map(Box::new),
        }
    }

    /// The queue as it was packed; gives back its link data. Never is `None`.
    pub(super) fn unpack(&mut self, recipient_id: &Id) -> Option<QueueEntry> {
        let mut payload = Zeroizing::new(Vec::with_capacity(LEFT_OUT + self.record.len()));
        payload.extend_from_slice(&[0; 8]);
        payload.extend_from_slice(recipient_id);
        payload.extend_from_slice(&self.record);
        Some(QueueEntry {
            record: read_queue(&payload)?.record,
            link: self.link.take().map(|link| *link),
            unusable_link: false,
        })
    }

    /// Unpacks a queue to be changed.
    pub(super) fn change(&mut self, recipient_id: &Id) -> Option<Unpacked<'_>> {
        let entry = self.unpack(recipient_id)?;
        Some(Unpacked {
            packed: self,
            entry,
        })
    }
}

/// A queue that is packed again when it is dropped.
pub(super) struct Unpacked<'a> {
    packed: &'a mut PackedQueue,
    entry: QueueEntry,
}

impl Deref for Unpacked<'_> {
    type Target = QueueEntry;

    fn deref(&self) -> &QueueEntry {
        &self.entry
    }
}

impl DerefMut for Unpacked<'_> {
    fn deref_mut(&mut self) -> &mut QueueEntry {
        &mut self.entry
    }
}

impl Drop for Unpacked<'_> {
    fn drop(&mut self) {
        *self.packed = PackedQueue::pack(&mut self.entry);
    }
}
