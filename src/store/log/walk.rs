//! Reading a segment from its beginning, as far as it can be believed.

use super::control::{Control, HEADER_LEN, Header};
use super::frame::{self, Frame, Seed};
use super::{LOGS, LogId};

/// Records that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where the first one begins.
    pub start: usize,
    /// Where the last one ends.
    pub end: usize,
    /// Number of the first record.
    pub first: u64,
    /// Number of the last record.
    pub last: u64,
    /// Run that wrote the last record.
    pub run: u32,
    /// Number of records.
    pub count: u64,
}

/// What a segment holds.
#[derive(Debug)]
pub struct Walk {
    /// What the segment is.
    pub header: Header,
    /// First record: its number, the tails and the last numbers then.
    pub begin: Option<(u64, [u64; LOGS], [u64; LOGS])>,
    /// Records. All but the first piece lie behind something that cannot be read.
    pub pieces: Vec<Piece>,
    /// What was durable, by the word of any record.
    pub synced: u64,
    /// Number of a record, a log, and its oldest segment according to it.
    pub tails: Vec<(u64, LogId, u64)>,
    /// The last run that wrote here.
    pub run: u32,
}

impl Walk {
    /// Reads a segment. `runs` are tried behind what cannot be read, besides the one before. `each`
    /// gets all records and the numbers of their pieces.
    pub fn new(
        bytes: &[u8],
        header: Header,
        runs: u32,
        mut each: impl FnMut(usize, &Frame<'_>),
    ) -> Self {
        let mut walk = Self {
            header,
            begin: None,
            pieces: Vec::new(),
            synced: 0,
            tails: Vec::new(),
            run: header.run,
        };
        let (mut start, mut run, mut last) = (HEADER_LEN, header.run, 0);
        loop {
            let piece = walk.piece(bytes, (start, run, last), &mut each);
            (run, last) = (piece.run, piece.last.max(last));
            if piece.end > piece.start || walk.pieces.is_empty() {
                walk.pieces.push(piece);
            }
            let next = (run..=run.max(runs)).find_map(|run| {
                let seed = walk.seed(run);
                frame::scan(bytes, piece.end, seed, last).map(|frame| (frame.offset, run))
            });
            match next {
                Some((offset, found)) => (start, run) = (offset, found),
                None => return walk,
            }
        }
    }

    fn seed(&self, run: u32) -> Seed {
        let Header { file, log, seq, .. } = self.header;
        Seed::new(file, log.tag(), seq, run)
    }

    /// Reads from an offset on, with the run and the number of the last record before.
    fn piece(
        &mut self,
        bytes: &[u8],
        (start, run, last): (usize, u32, u64),
        each: &mut impl FnMut(usize, &Frame<'_>),
    ) -> Piece {
        let number = self.pieces.len();
        let mut piece = Piece {
            start,
            end: start,
            first: 0,
            last,
            run,
            count: 0,
        };
        while let Some(frame) = frame::read(bytes, piece.end, self.seed(piece.run)) {
            let head = frame.head;
            if head.lsn <= piece.last {
                break;
            }
            match Control::decode(&head, frame.payload) {
                Some(Control::Begin { tails, last }) => {
                    if start == HEADER_LEN && piece.end == start {
                        self.begin = Some((head.lsn, tails, last));
                    }
                    let tails = LogId::ALL.into_iter().zip(tails);
                    self.tails
                        .extend(tails.map(|(log, tail)| (head.lsn, log, tail)));
                }
                Some(Control::Freed { tail }) => {
                    self.tails.push((head.lsn, self.header.log, tail));
                }
                Some(Control::Resume { run }) => piece.run = run,
                Some(Control::Checkpoint) | None => {}
            }
            if piece.first == 0 {
                piece.first = head.lsn;
            }
            each(number, &frame);
            piece.count += 1;
            piece.last = head.lsn;
            piece.end += head.space();
            self.synced = self.synced.max(head.synced);
            self.run = self.run.max(piece.run);
        }
        piece
    }

    /// The piece that is reached from the beginning.
    pub fn chain(&self) -> Piece {
        self.pieces.first().copied().unwrap_or(Piece {
            start: HEADER_LEN,
            end: HEADER_LEN,
            first: 0,
            last: 0,
            run: self.header.run,
            count: 0,
        })
    }
}

/// The records of a piece up to a number; they were checked before.
pub fn records(bytes: &[u8], piece: Piece, upto: u64) -> impl Iterator<Item = Frame<'_>> {
    let mut offset = piece.start;
    std::iter::from_fn(move || {
        if offset >= piece.end {
            return None;
        }
        let head = frame::Head::read(bytes, offset).filter(|head| head.lsn <= upto)?;
        let frame = Frame {
            offset,
            head,
            payload: frame::payload(bytes, offset, &head),
        };
        offset += head.space();
        Some(frame)
    })
}
