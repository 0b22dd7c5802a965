//! All queues of a run and the ledger file behind them.
//!
//! The file has one JSON object per line, each written before what depends on it happens: an
//! operation before it is sent, its confirmation before the queue's next operation. Reading it
//! again gives the same book; a line cut off at the end is ignored.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::materials::Materials;
use super::state::{Operation, Queue, Step, Told};

/// A line of the ledger.
#[derive(Serialize, Deserialize)]
enum Line {
    /// The first line.
    Run {
        /// Random number of the run.
        run: u64,
        /// What decides the operations.
        seed: u64,
        /// Life of the server.
        epoch: u32,
        /// Number of the next queue.
        next: u32,
    },
    /// The server was started again.
    Epoch(u32),
    /// The state of a queue, whatever was said of it before.
    Queue(u32, Box<Queue>),
    /// The queue plays no part any more.
    Forgotten(u32),
    /// About to be sent.
    Issued(u32, Operation),
    /// Confirmed.
    Confirmed(u32, Step, Told),
}

/// The queues of a run.
pub struct Book {
    /// What decides the operations.
    pub seed: u64,
    /// Life of the server, from 0, as far as it was told.
    pub epoch: u32,
    run: u64,
    queues: BTreeMap<u32, Queue>,
    next: u32,
    path: PathBuf,
    file: BufWriter<File>,
}

impl Book {
    /// A book without queues whose ledger does not exist yet.
    pub fn create(path: &Path, seed: u64) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        let mut book = Self {
            seed,
            epoch: 0,
            run: rand::random(),
            queues: BTreeMap::new(),
            next: 0,
            path: path.to_owned(),
            file: BufWriter::new(file),
        };
        book.write(&book.first_line())?;
        Ok(book)
    }

    /// The book of an existing ledger, which is continued.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = || format!("cannot read {}", path.display());
        let file = OpenOptions::new().read(true).append(true).open(path);
        let mut file = file.with_context(failed)?;
        let mut reader = BufReader::new(&file);
        let mut book: Option<Self> = None;
        let (mut text, mut number, mut whole) = (Vec::new(), 0, 0);
        while reader.read_until(b'\n', &mut text).with_context(failed)? > 0 {
            number += 1;
            if text.last() != Some(&b'\n') {
                break;
            }
            whole += text.len() as u64;
            let bad = || format!("{}: line {number}", path.display());
            let line = serde_json::from_slice(&text).with_context(bad)?;
            text.clear();
            match (&mut book, line) {
                (Some(book), line) => book.read(line).with_context(bad)?,
                (
                    None,
                    Line::Run {
                        run,
                        seed,
                        epoch,
                        next,
                    },
                ) => {
                    book = Some(Self {
                        seed,
                        epoch,
                        run,
                        queues: BTreeMap::new(),
                        next,
                        path: path.to_owned(),
                        file: BufWriter::new(file.try_clone()?),
                    });
                }
                (None, _) => bail!("{} is no ledger", path.display()),
            }
        }
        // A line that was cut off must not become the beginning of the next.
        file.flush()?;
        file.set_len(whole).with_context(failed)?;
        book.with_context(|| format!("{} is empty", path.display()))
    }

    fn first_line(&self) -> Line {
        Line::Run {
            run: self.run,
            seed: self.seed,
            epoch: self.epoch,
            next: self.next,
        }
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        write_line(&mut self.file, line)?;
        self.file.flush().context("cannot write the ledger")
    }

    fn read(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Run { .. } => bail!("another run begins"),
            Line::Epoch(epoch) => self.epoch = epoch,
            Line::Queue(number, queue) => {
                self.queues.insert(number, *queue);
            }
            Line::Forgotten(number) => {
                self.queues.remove(&number);
            }
            Line::Issued(number, operation) => {
                self.next = self.next.max(number + 1);
                self.queues.entry(number).or_default().issue(operation);
            }
            Line::Confirmed(number, step, told) => {
                self.settle(number, step, told)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, number: u32, step: Step, told: Told) -> Result<Operation> {
        let epoch = self.epoch;
        let queue = self.queues.get_mut(&number).context("no such queue")?;
        queue
            .confirm(step, told, epoch)
            .with_context(|| format!("queue {number}, operation {step} is confirmed out of turn"))
    }

    /// Derives everything that belongs to this run.
    pub fn materials(&self) -> Materials {
        Materials::new(self.run)
    }

    /// Numbers and queues.
    pub fn queues(&self) -> &BTreeMap<u32, Queue> {
        &self.queues
    }

    /// The queue with this number.
    pub fn queue(&self, number: u32) -> Result<&Queue> {
        let queue = self.queues.get(&number);
        queue.with_context(|| format!("queue {number} is not in the book"))
    }

    /// The number for a queue that is about to be created.
    pub fn next_number(&self) -> u32 {
        self.next
    }

    /// Notes an operation that is about to be sent; returns its number.
    pub fn issue(&mut self, number: u32, operation: Operation) -> Result<Step> {
        self.write(&Line::Issued(number, operation))?;
        self.next = self.next.max(number + 1);
        Ok(self.queues.entry(number).or_default().issue(operation))
    }

    /// Notes a confirmation; operations of a queue are confirmed in their order.
    pub fn confirm(&mut self, number: u32, step: Step, told: Told) -> Result<Operation> {
        self.write(&Line::Confirmed(number, step, told.clone()))?;
        self.settle(number, step, told)
    }

    /// Notes what a queue turned out to be.
    pub fn replace(&mut self, number: u32, queue: Queue) -> Result<()> {
        self.write(&Line::Queue(number, Box::new(queue.clone())))?;
        self.queues.insert(number, queue);
        Ok(())
    }

    /// Drops a queue.
    pub fn forget(&mut self, number: u32) -> Result<()> {
        self.write(&Line::Forgotten(number))?;
        self.queues.remove(&number);
        Ok(())
    }

    /// Notes that the server was started again.
    pub fn begin_epoch(&mut self) -> Result<()> {
        self.epoch += 1;
        self.write(&Line::Epoch(self.epoch))
    }

    /// Writes the ledger anew with nothing but the queues as they are.
    pub fn compact(&mut self) -> Result<()> {
        let path = self.path.with_extension("new");
        let failed = || format!("cannot write {}", path.display());
        let mut file = BufWriter::new(File::create(&path).with_context(failed)?);
        write_line(&mut file, &self.first_line())?;
        for (number, queue) in &self.queues {
            write_line(&mut file, &Line::Queue(*number, Box::new(queue.clone())))?;
        }
        file.flush().with_context(failed)?;
        fs::rename(&path, &self.path).with_context(failed)?;
        self.file = file;
        Ok(())
    }
}

fn write_line(file: &mut BufWriter<File>, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *file, line).context("cannot write the ledger")?;
    file.write_all(b"\n").context("cannot write the ledger")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::state::{Ids, KeyNumber, Message, SecuredBy, ToldNotifier};

    const CREATE: Operation = Operation::Create {
        contact: false,
        link: None,
        notifier: true,
        subscribe: false,
    };

    fn send(sequence: u32) -> Operation {
        Operation::Send(Message {
            sequence,
            size: 10,
            notify: true,
            marker: false,
        })
    }

    fn told() -> Told {
        Told::Ids(Box::new(Ids {
            recipient: vec![1; 24],
            sender: vec![2; 24],
            server_dh: [3; 32],
            link: None,
            notifier: Some(ToldNotifier {
                id: vec![4; 24],
                server_dh: [5; 32],
            }),
        }))
    }

    fn filled(path: &Path) -> Book {
        let mut book = Book::create(path, 5).unwrap();
        for number in 0..3 {
            assert_eq!(book.next_number(), number);
            assert_eq!(book.issue(number, CREATE).unwrap(), 0);
            book.confirm(number, 0, told()).unwrap();
            book.issue(number, send(0)).unwrap();
        }
        book.confirm(1, 1, Told::Nothing).unwrap();
        book.begin_epoch().unwrap();
        book.issue(1, Operation::Acknowledge(0)).unwrap();
        book.confirm(1, 2, Told::Nothing).unwrap();
        book.issue(1, Operation::Secure(SecuredBy::Recipient))
            .unwrap();
        book.forget(2).unwrap();
        book
    }

    #[test]
    fn a_ledger_gives_back_the_book() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let book = filled(&path);
        let state = &book.queue(1).unwrap().state;
        assert_eq!((state.waiting.len(), state.acknowledged.len()), (0, 1));
        assert_eq!(state.acknowledged[0].epoch, 1);
        assert_eq!(state.sender_key, None);
        assert_eq!(book.queue(0).unwrap().pending, [(1, send(0))]);

        let again = Book::open(&path).unwrap();
        assert_eq!(again.queues, book.queues);
        let facts = |b: &Book| (b.run, b.seed, b.epoch, b.next);
        assert_eq!(facts(&again), facts(&book));
        assert_eq!(facts(&book).3, 3);
    }

    #[test]
    fn a_compacted_ledger_gives_back_the_book_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut book = filled(&path);
        book.compact().unwrap();
        book.confirm(1, 3, Told::Nothing).unwrap();
        let again = Book::open(&path).unwrap();
        assert_eq!(again.queues, book.queues);
        assert_eq!((again.epoch, again.next), (1, 3));
        let state = &again.queue(1).unwrap().state;
        assert_eq!(state.sender_key, Some(KeyNumber::of(3)));
    }

    #[test]
    fn a_line_cut_off_is_ignored_and_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let book = filled(&path);
        let whole = fs::read(&path).unwrap();
        let mut cut = whole.clone();
        cut.extend_from_slice(b"{\"Issued\":[1,{\"Se");
        fs::write(&path, cut).unwrap();
        let mut again = Book::open(&path).unwrap();
        assert_eq!(again.queues, book.queues);
        assert_eq!(fs::read(&path).unwrap(), whole);
        again.confirm(0, 1, Told::Nothing).unwrap();
        assert_eq!(Book::open(&path).unwrap().queues, again.queues);
    }

    #[test]
    fn what_is_no_ledger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        for text in ["", "x\n", "{\"Epoch\":1}\n"] {
            fs::write(&path, text).unwrap();
            assert!(Book::open(&path).is_err(), "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(Book::open(&path).is_err());
        drop(filled(&path));
        assert!(
            Book::create(&path, 1).is_err(),
            "a ledger is never replaced"
        );
    }

    #[test]
    fn confirmations_out_of_turn_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = filled(&dir.path().join("ledger"));
        book.issue(0, send(1)).unwrap();
        assert!(book.confirm(0, 2, Told::Nothing).is_err());
        assert!(book.confirm(9, 0, Told::Nothing).is_err());
    }
}
