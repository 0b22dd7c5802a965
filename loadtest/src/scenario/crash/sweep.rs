//! Which queues are checked in a round: all in doubt, some at random, and all in turn, so that
//! nothing that was confirmed is forgotten.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;

use crate::persist::book::Book;
use crate::persist::check::Job;
use crate::persist::state::Queue;

/// Queues that exist, beyond those in doubt, that are checked in a round.
const SAMPLE: usize = 16;
/// Queues that are checked in a round because it is their turn.
const IN_TURN: usize = 48;
/// One of so many queues is deleted after a check.
const DELETED: u32 = 4;
/// The same of quiet queues.
const DELETED_QUIET: u32 = 64;

/// Chooses queues.
pub struct Sweep {
    /// The first queues are quiet.
    quiet: u32,
    /// Whose turn it is.
    next: u32,
}

impl Sweep {
    /// Of a book whose first queues are `quiet`.
    pub fn new(quiet: u32) -> Self {
        Self { quiet, next: 0 }
    }

    /// What to check in a round.
    pub fn round(&mut self, book: &Book, rng: &mut StdRng) -> Vec<Job> {
        let queues = book.queues().iter();
        let (certain, doubtful): (Vec<_>, Vec<_>) = queues.partition(|(_, q)| q.is_settled());
        let there = certain.iter().filter(|(_, queue)| queue.state.exists);
        let mut numbers = there
            .map(|(number, _)| **number)
            .choose_multiple(rng, SAMPLE);
        numbers.extend(doubtful.into_iter().map(|(number, _)| *number));
        numbers.extend(self.in_turn(book));
        numbers.sort_unstable();
        numbers.dedup();
        let job = |number| Job {
            number,
            delete: rng.random_ratio(1, self.of_deleted(number)),
        };
        numbers.into_iter().map(job).collect()
    }

    fn of_deleted(&self, number: u32) -> u32 {
        if number < self.quiet {
            DELETED_QUIET
        } else {
            DELETED
        }
    }

    fn in_turn(&mut self, book: &Book) -> Vec<u32> {
        let queues = book.queues();
        let following = queues.range(self.next..).chain(queues.range(..self.next));
        let numbers = following.map(|(number, _)| *number);
        let chosen: Vec<u32> = numbers.take(IN_TURN).collect();
        if let Some(last) = chosen.last() {
            self.next = last + 1;
        }
        chosen
    }
}

/// Every queue there is.
pub fn everything(book: &Book) -> Vec<Job> {
    those(book, |_| true)
}

/// Every deleted queue.
pub fn deleted(book: &Book) -> Vec<Job> {
    those(book, |queue| queue.is_settled() && !queue.state.exists)
}

fn those(book: &Book, which: impl Fn(&Queue) -> bool) -> Vec<Job> {
    let queues = book.queues().iter().filter(|(_, queue)| which(queue));
    let job = |number: &u32| Job {
        number: *number,
        delete: false,
    };
    queues.map(|(number, _)| job(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::state::{Ids, Operation, Told};
    use rand::SeedableRng as _;
    use std::collections::BTreeSet;

    fn create() -> Operation {
        Operation::Create {
            contact: false,
            link: None,
            notifier: false,
            subscribe: false,
        }
    }

    fn ids() -> Told {
        Told::Ids(Box::new(Ids {
            recipient: vec![1; 24],
            sender: vec![2; 24],
            server_dh: [3; 32],
            link: None,
            notifier: None,
        }))
    }

    /// Every third queue is deleted, every seventh in doubt.
    fn book(dir: &tempfile::TempDir, queues: u32) -> Book {
        let mut book = Book::create(&dir.path().join("ledger"), 1).unwrap();
        for number in 0..queues {
            book.issue(number, create()).unwrap();
            book.confirm(number, 0, ids()).unwrap();
            if number % 3 == 0 {
                book.issue(number, Operation::Delete).unwrap();
                book.confirm(number, 1, Told::Nothing).unwrap();
            } else if number % 7 == 0 {
                book.issue(number, Operation::Suspend).unwrap();
            }
        }
        book
    }

    #[test]
    fn every_queue_has_its_turn_also_the_deleted_ones() {
        let dir = tempfile::tempdir().unwrap();
        let book = book(&dir, 210);
        let mut sweep = Sweep::new(0);
        let rng = &mut StdRng::seed_from_u64(1);
        let (mut seen, mut rounds) = (BTreeSet::new(), 0);
        while seen.len() < 210 {
            let jobs = sweep.round(&book, rng);
            let numbers: BTreeSet<u32> = jobs.iter().map(|job| job.number).collect();
            assert_eq!(numbers.len(), jobs.len(), "none twice");
            let doubtful = book.queues().iter().filter(|(_, q)| !q.is_settled());
            for (number, _) in doubtful {
                assert!(numbers.contains(number), "in doubt, always");
            }
            seen.extend(numbers);
            rounds += 1;
            assert!(rounds <= 210_usize.div_ceil(IN_TURN));
        }
        assert_eq!(everything(&book).len(), 210);
        assert_eq!(deleted(&book).len(), 70);
    }
}
