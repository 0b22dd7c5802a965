//! How far the common numbering of all logs counts.

use super::LogId;
use super::damage::OnDamage;
use super::disk::{Disk, Memory};
use super::recovery::Recovery;
use super::walk::{Piece, Walk, records};

/// Up to where records count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The last record.
    pub records: u64,
    /// The last record that can free segments. Behind it there may be a copy of what is in them
    /// that cannot be read.
    pub tails: u64,
}

/// Pieces of a segment that are read.
pub(super) fn pieces_read(on_damage: OnDamage, walk: &Walk) -> &[Piece] {
    let read = match on_damage {
        OnDamage::Refuse => 1,
        OnDamage::Skip => usize::MAX,
    };
    &walk.pieces[..read.min(walk.pieces.len())]
}

impl<D: Disk> Recovery<D> {
    /// Finds the last number such that none between it and what was durable is missing. When
    /// damage is passed over, numbers may be missing where it is.
    pub fn measure(&mut self) -> Extent {
        let synced = self.journal.synced;
        let mut numbers = Vec::new();
        for (file, walk) in &self.walks {
            let Some(segment) = self.journal.segment(*file) else {
                continue;
            };
            for piece in pieces_read(self.on_damage, walk) {
                if piece.last > synced {
                    let frames = records(segment.memory.bytes(), *piece, u64::MAX);
                    numbers.extend(frames.map(|frame| frame.head.lsn).filter(|n| *n > synced));
                }
            }
        }
        numbers.sort_unstable();
        let mut extent = Extent {
            records: synced,
            tails: synced,
        };
        let mut dropped = 0;
        for number in &numbers {
            if extent.tails + 1 == *number {
                extent.tails = *number;
            }
            let missing = extent.records + 1;
            if *number <= missing || self.may_have_lost(missing, *number) {
                extent.records = *number;
            } else {
                dropped += 1;
            }
        }
        self.report.dropped = dropped;
        extent
    }

    /// Whether damage that is passed over explains that numbers are missing before another.
    fn may_have_lost(&self, missing: u64, before: u64) -> bool {
        if self.on_damage == OnDamage::Refuse {
            return false;
        }
        // A segment without a header may have held anything.
        !self.report.damage.is_empty()
            || LogId::ALL
                .into_iter()
                .flat_map(|log| self.gaps(log))
                .any(|(last, next)| last < missing && before <= next)
    }

    /// Numbers before and behind what cannot be read of a log.
    fn gaps(&self, log: LogId) -> Vec<(u64, u64)> {
        let walks = self.walks.values().filter(|walk| walk.header.log == log);
        let mut walks: Vec<&Walk> = walks.collect();
        walks.sort_unstable_by_key(|walk| walk.header.seq);
        let mut gaps = Vec::new();
        for walk in &walks {
            let pairs = walk.pieces.windows(2);
            gaps.extend(pairs.map(|pair| (pair[0].last, pair[1].first)));
        }
        for pair in walks.windows(2) {
            let last = pair[0].pieces.last().map_or(0, |piece| piece.last);
            let is_followed = pair[0].header.seq + 1 == pair[1].header.seq
                && pair[1]
                    .begin
                    .is_some_and(|(_, _, said)| said[log as usize] == last);
            if let Some(next) = pair[1].pieces.first().filter(|_| !is_followed) {
                gaps.push((last, next.first));
            }
        }
        gaps
    }
}
