//! Whether anything that was durable is missing.

use super::control::Header;
use super::damage::{OnDamage, OpenError};
use super::disk::{Disk, Memory};
use super::frame::Head;
use super::recovery::Recovery;
use super::supply::file_name;
use super::walk::{Walk, records};
use super::{LOGS, LogId};

impl<D: Disk> Recovery<D> {
    /// Whether something durable lies behind what cannot be read.
    pub(super) fn check_holes(&mut self) -> Result<(), OpenError> {
        let durable = match self.on_damage {
            OnDamage::Refuse => self.journal.synced,
            OnDamage::Skip => self.upto,
        };
        let mut holes = Vec::new();
        for log in &self.journal.logs {
            for file in &log.segments {
                let pieces = self.walks.get(file).map(|walk| &walk.pieces[..]);
                for pair in pieces.unwrap_or_default().windows(2) {
                    if pair[1].first <= durable {
                        holes.push((*file, pair[0].end, pair[1].start, pair[1].first));
                    }
                }
            }
        }
        for (file, offset, next, lsn) in holes {
            let what = format!("cannot be read up to byte {next}, where record {lsn} begins");
            self.damaged(file, offset, what)?;
        }
        Ok(())
    }

    /// Whether every log reaches as far as the beginnings of segments say.
    pub(super) fn check_ends(&mut self) -> Result<(), OpenError> {
        let mut short = Vec::new();
        for log in LogId::ALL {
            let files = &self.journal.log(log).segments;
            for (file, next) in files.iter().zip(files.iter().skip(1)) {
                let end = self.walks.get(file).map(Walk::chain);
                let begin = self.walks.get(next).and_then(|walk| walk.begin);
                if let (Some(end), Some((_, _, last))) = (end, begin)
                    && end.last != last[log as usize]
                {
                    short.push((*file, end.end, last[log as usize]));
                }
            }
        }
        let begins = self.walks.values().filter_map(|walk| walk.begin);
        let mut said = [0; LOGS];
        for (_, _, last) in begins.filter(|(lsn, ..)| *lsn <= self.upto) {
            for (said, last) in said.iter_mut().zip(last) {
                *said = last.max(*said);
            }
        }
        for (log, said) in LogId::ALL.into_iter().zip(said) {
            let state = self.journal.log(log);
            if state.last < said {
                let file = state.segments.back().or(self.walks.keys().next()).copied();
                short.push((file.unwrap_or_default(), state.end, said));
            }
        }
        for (file, offset, lsn) in short {
            let what = format!("what follows up to record {lsn} cannot be read");
            self.damaged(file, offset, what)?;
        }
        Ok(())
    }

    /// Whether every number is there from the youngest beginning of a log on.
    pub(super) fn check_numbers(&mut self) -> Result<(), OpenError> {
        if self.on_damage == OnDamage::Skip {
            return Ok(());
        }
        let synced = self.journal.synced;
        let oldest = self.journal.logs.iter().filter_map(|log| {
            let walk = self.walks.get(log.segments.front()?)?;
            walk.begin.map(|(lsn, ..)| lsn)
        });
        let Some(first) = oldest.max().or((synced > 0).then_some(1)) else {
            return Ok(());
        };
        if first > synced {
            return Ok(());
        }
        let mut found = 0;
        for file in self.journal.logs.iter().flat_map(|log| &log.segments) {
            let Some((walk, segment)) = self.walks.get(file).zip(self.journal.segment(*file))
            else {
                continue;
            };
            let chain = walk.chain();
            if chain.first >= first && chain.last <= synced {
                found += chain.count;
            } else if chain.last >= first {
                let frames = records(segment.memory.bytes(), chain, synced);
                found += frames.filter(|frame| frame.head.lsn >= first).count() as u64;
            }
        }
        let missing = (synced - first + 1).saturating_sub(found);
        if missing == 0 {
            return Ok(());
        }
        let what = format!(
            "{missing} durable records are missing; this is the likeliest place of those that \
             can be told"
        );
        let (file, offset) = self.suspect();
        self.damaged(file, offset, what)
    }

    /// Where something unreadable is, if it cannot be told for sure.
    fn suspect(&self) -> (u16, usize) {
        let ends = self.journal.logs.iter().filter_map(|log| {
            let file = *log.segments.back()?;
            let bytes = self.journal.segment(file)?.memory.bytes();
            let head = Head::read(bytes, log.end);
            // The number that is missing may still be readable where it should be.
            let score = match head {
                Some(head) if head.lsn > log.last && head.lsn <= self.journal.synced => 2,
                _ if bytes[log.end..].iter().take(8).any(|byte| *byte != 0) => 1,
                _ => 0,
            };
            Some((score, (file, log.end)))
        });
        ends.max_by_key(|(score, _)| *score)
            .map_or((0, 0), |(_, place)| place)
    }
}

/// Why a segment does not belong where it was found.
pub(super) fn mismatch(header: &Header, file: u16, shard: u16, len: usize) -> Option<String> {
    if header.file != file {
        Some(format!("was written as {}", file_name(header.file)))
    } else if header.shard != shard {
        Some(format!("belongs to shard {}", header.shard))
    } else if header.size != len as u64 {
        Some(format!("has {len} bytes of {}", header.size))
    } else {
        None
    }
}
