//! Observes, judges and settles many queues.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use smp_server::protocol::Response;

use super::book::Book;
use super::command::{Subject, told};
use super::observe::Observer;
use super::state::{Operation, Queue};
use super::verdict::{Fault, Judgement, Kind, Tally, judge, judge_newborn};
use crate::client::{Client, Options};
use crate::executors;
use crate::target::Target;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// In numbers.
    pub tally: Tally,
    /// Everything wrong, with the number of the queue.
    pub faults: Vec<(u32, Fault)>,
}

impl Findings {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.tally += other.tally;
        self.faults.extend(other.faults);
    }

    /// Adds faults of a queue.
    pub fn count(&mut self, number: u32, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.tally.count(fault.kind);
            self.faults.push((number, fault));
        }
    }
}

/// A queue to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub number: u32,
    /// Delete it afterwards.
    pub delete: bool,
}

/// Checks the queues over as many connections. What was checked is settled in the book; what is
/// wrong or was never confirmed is forgotten.
pub async fn check(
    book: Book,
    target: &Target,
    options: Options,
    connections: usize,
    jobs: Vec<Job>,
) -> Result<(Book, Findings)> {
    let book = Rc::new(RefCell::new(book));
    let lanes = connections.clamp(1, jobs.len().max(1));
    let (next, jobs) = (Rc::new(Cell::new(0)), Rc::new(jobs));
    let (shared, target) = (Rc::clone(&book), target.clone());
    let run = move |_| {
        let checker = Checker {
            book: Rc::clone(&shared),
            password: target.password.clone(),
        };
        let (next, jobs, target) = (Rc::clone(&next), Rc::clone(&jobs), target.clone());
        async move {
            let mut findings = Findings::default();
            if jobs.is_empty() {
                return Ok(findings);
            }
            let mut client = Client::connect(&target, options).await.context("connect")?;
            while let Some(job) = jobs.get(next.replace(next.get() + 1)) {
                let found = checker.check(&mut client, *job).await;
                let found = found.with_context(|| format!("check queue {}", job.number))?;
                findings.add(found);
            }
            client.close().await.context("close")?;
            Ok(findings)
        }
    };
    let mut all = Findings::default();
    for findings in executors::for_each(0..lanes, lanes, run).await? {
        all.add(findings);
    }
    let book = Rc::into_inner(book).context("the book is still in use")?;
    Ok((book.into_inner(), all))
}

struct Checker {
    book: Rc<RefCell<Book>>,
    password: Option<String>,
}

impl Checker {
    async fn check(&self, client: &mut Client, job: Job) -> Result<Findings> {
        let number = job.number;
        let (queue, materials, epoch) = {
            let book = self.book.borrow();
            (book.queue(number)?.clone(), book.materials(), book.epoch)
        };
        let observer = Observer {
            client,
            materials,
            number,
            queue: &queue,
        };
        if queue.ids.is_none() {
            let creation = queue.pending.front().map(|(_, creation)| *creation);
            let creation = creation.context("a queue without creation")?;
            let mut findings = Findings::default();
            if let Some(seen) = observer.observe_newborn(creation).await? {
                let (faults, tally) = judge_newborn(seen.link, seen.accepts);
                findings.tally = tally;
                findings.faults = faults.into_iter().map(|f| (number, f)).collect();
            }
            self.book.borrow_mut().forget(number)?;
            return Ok(findings);
        }
        let seen = observer.observe().await?;
        let Judgement {
            faults,
            tally,
            queue,
        } = judge(&queue, &seen, epoch);
        let wrong = !faults.is_empty();
        let mut findings = Findings {
            tally,
            faults: faults.into_iter().map(|f| (number, f)).collect(),
        };
        if wrong {
            // Said once is enough.
            self.book.borrow_mut().forget(number)?;
            return Ok(findings);
        }
        let exists = queue.state.exists;
        self.book.borrow_mut().replace(number, queue)?;
        if exists && job.delete {
            findings.count(number, self.delete(client, number).await?);
        }
        Ok(findings)
    }

    async fn delete(&self, client: &mut Client, number: u32) -> Result<Option<Fault>> {
        let operation = Operation::Delete;
        let (step, corr_id) = {
            let mut book = self.book.borrow_mut();
            let step = book.issue(number, operation)?;
            let queue: &Queue = book.queue(number)?;
            let subject = Subject {
                materials: book.materials(),
                password: self.password.as_deref(),
                number,
                queue,
                delivered: &[],
            };
            (step, subject.stage(client.outbox(), step, operation)?)
        };
        let response: Response<'_> = client.reply(&corr_id).await?.response;
        let Some(told) = told(operation, &response) else {
            let what = format!("DEL was answered {response:?}");
            return Ok(Some(Fault::new(Kind::Lost, what)));
        };
        self.book.borrow_mut().confirm(number, step, told)?;
        Ok(None)
    }
}
