//! What opening a store needs of each record, noted when the record is checked.
//!
//! A record is in the processor's cache then. To come back to millions of them, one by one, takes
//! longer than everything else.

use super::codec::{self, kind_tag};
use super::frame::Frame;
use super::index::{Hash, IdHasher};
use super::store::{KINDS, queue_ids};
use crate::store::{ActiveDays, IdKind};
use smallvec::SmallVec;

/// The record of a queue or an alias.
#[derive(Debug, Clone, Copy)]
pub struct Outline {
    /// Birth of the queue or alias.
    pub birth: u64,
    /// Where it begins in its segment.
    pub offset: u32,
    /// Bytes it takes there.
    pub space: u32,
    /// Its first id among those of the segment.
    pub first_id: u32,
    /// Days of use that it tells.
    pub active: ActiveDays,
    /// Kinds of its ids, one bit each.
    kinds: u8,
    /// What it is.
    pub form: Form,
}

/// What opening a store has to do about a queue or alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An alias.
    Alias,
    /// A queue that the outline says enough of.
    Plain,
    /// The same, with a notifier.
    Notified,
    /// A queue with a link or a service: the record has to be read.
    Rich,
}

impl Outline {
    /// Kinds of its ids, in the order of their hashes.
    pub fn kinds(&self) -> impl Iterator<Item = IdKind> {
        let kinds = self.kinds;
        KINDS
            .into_iter()
            .filter(move |kind| kinds >> kind_tag(*kind) & 1 == 1)
    }
}

/// Of each file that is a segment.
pub type Sketches = Vec<Option<Sketch>>;

/// What the records of a segment are, in their order.
#[derive(Debug, Default)]
pub struct Sketch {
    /// Queues and aliases.
    pub outlines: Vec<Outline>,
    /// Hashes of all their ids.
    pub ids: Vec<Hash>,
    /// Where the other records are, but for those of the log about itself.
    pub others: Vec<u32>,
    /// How many of the outlines and of the others lie before everything unreadable.
    chain: (usize, usize),
}

impl Sketch {
    /// Notes a record of a piece, the first of which has number 0.
    pub fn note(&mut self, hasher: &IdHasher, piece: usize, frame: &Frame<'_>) {
        if (1..codec::KIND_QUEUE).contains(&frame.head.kind) {
            return;
        }
        let noted = match frame.head.kind {
            codec::KIND_QUEUE => self.note_queue(hasher, frame),
            codec::KIND_ALIAS => self.note_alias(hasher, frame),
            _ => None,
        };
        if noted.is_none() {
            // Segments are smaller than offsets reach.
            self.others
                .push(u32::try_from(frame.offset).unwrap_or(u32::MAX));
        }
        if piece == 0 {
            self.chain = (self.outlines.len(), self.others.len());
        }
    }

    /// Forgets what lies behind something unreadable.
    pub fn cut(&mut self) {
        self.outlines.truncate(self.chain.0);
        self.others.truncate(self.chain.1);
    }

    /// Forgets what begins at an offset or behind it.
    pub fn cut_at(&mut self, end: usize) {
        let is_before = |offset: u32| (offset as usize) < end;
        self.outlines.retain(|outline| is_before(outline.offset));
        self.others.retain(|offset| is_before(*offset));
    }

    fn note_queue(&mut self, hasher: &IdHasher, frame: &Frame<'_>) -> Option<()> {
        let queue = codec::read_queue(frame.payload)?;
        let record = &queue.record;
        let notifier = record.notifier.as_ref();
        let has_service =
            record.service_id.is_some() || notifier.is_some_and(|n| n.service_id.is_some());
        let form = match (record.link_id.is_some() || has_service, notifier) {
            (true, _) => Form::Rich,
            (false, Some(_)) => Form::Notified,
            (false, None) => Form::Plain,
        };
        let first_id = self.ids.len();
        // In the order of kinds.
        let ids: SmallVec<[_; 4]> = queue_ids(record).collect();
        let kinds = ids.iter().map(|(kind, _)| 1 << kind_tag(*kind)).sum();
        self.ids.extend(hasher.hash_all(&ids));
        self.push(frame, (first_id, kinds), queue.birth, queue.active, form)
    }

    fn note_alias(&mut self, hasher: &IdHasher, frame: &Frame<'_>) -> Option<()> {
        let alias = codec::read_alias(frame.payload)?;
        let ids = (self.ids.len(), 1 << kind_tag(alias.kind));
        self.ids.push(hasher.hash(alias.kind, &alias.id));
        self.push(frame, ids, alias.birth, ActiveDays::default(), Form::Alias)
    }

    fn push(
        &mut self,
        frame: &Frame<'_>,
        (first_id, kinds): (usize, u8),
        birth: u64,
        active: ActiveDays,
        form: Form,
    ) -> Option<()> {
        self.outlines.push(Outline {
            birth,
            offset: u32::try_from(frame.offset).ok()?,
            space: u32::try_from(frame.head.space()).ok()?,
            first_id: u32::try_from(first_id).ok()?,
            active,
            kinds,
            form,
        });
        Some(())
    }
}
