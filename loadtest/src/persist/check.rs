//! Observes, judges and settles many queues.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use smp_server::protocol::Response;

use super::access::Access;
use super::book::Book;
use super::command::{Subject, told};
use super::notified::Notified;
use super::observe::Observer;
use super::service;
use super::state::{Operation, Queue};
use super::verdict::{Fault, Judgement, Kind, Tally, judge, judge_newborn};
use crate::client::Client;
use crate::executors;

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
///
/// Queues whose notifiers may belong to the service of the run are checked by its own connection,
/// the others by those of clients: so the notifiers stay where they are.
pub async fn check(
    book: Book,
    access: &Access,
    connections: usize,
    jobs: Vec<Job>,
) -> Result<(Book, Findings)> {
    let by_service = |job: &Job| {
        let queue = book.queue(job.number);
        access.service.is_some() && queue.is_ok_and(|queue| queue.association().1)
    };
    let (of_service, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(by_service);
    let book = Rc::new(RefCell::new(book));
    let lanes = connections.clamp(1, others.len().max(1));
    let (of_service, others) = (Rc::new(Jobs::new(of_service)), Rc::new(Jobs::new(others)));
    let (shared, access) = (Rc::clone(&book), access.clone());
    let run = move |lane| {
        let checker = Checker {
            book: Rc::clone(&shared),
            access: access.clone(),
            notified: Notified::default(),
            findings: Findings::default(),
            deletions: Vec::new(),
        };
        let jobs = Rc::clone(if lane == 0 { &of_service } else { &others });
        async move { checker.run(&jobs, lane == 0).await }
    };
    let mut all = Findings::default();
    for findings in executors::for_each(0..lanes + 1, lanes + 1, run).await? {
        all.add(findings);
    }
    let book = Rc::into_inner(book).context("the book is still in use")?;
    Ok((book.into_inner(), all))
}

/// What is left to do for the connections that share it.
struct Jobs {
    all: Vec<Job>,
    next: Cell<usize>,
}

impl Jobs {
    fn new(all: Vec<Job>) -> Self {
        let next = Cell::new(0);
        Self { all, next }
    }

    fn next(&self) -> Option<Job> {
        let next = self.next.get();
        self.next.set(next + 1);
        self.all.get(next).copied()
    }
}

/// One connection that checks.
struct Checker {
    book: Rc<RefCell<Book>>,
    access: Access,
    notified: Notified,
    findings: Findings,
    /// Queues to delete once their notifications have come.
    deletions: Vec<u32>,
}

impl Checker {
    async fn run(mut self, jobs: &Jobs, by_service: bool) -> Result<Findings> {
        let mut service = match by_service {
            true => self.access.connect_service().await?,
            false => None,
        };
        if let Some(service) = &mut service {
            self.begin_service(service).await?;
        }
        if !jobs.all.is_empty() {
            let mut client = self.access.connect().await?;
            while let Some(job) = jobs.next() {
                let checked = self.check(&mut client, service.as_mut(), job).await;
                checked.with_context(|| format!("check queue {}", job.number))?;
                let notified = service.as_mut().unwrap_or(&mut client);
                self.notified.take_all(notified, &mut self.findings);
            }
            let notified = service.as_mut().unwrap_or(&mut client);
            self.notified.wait(notified, &mut self.findings).await?;
            for number in std::mem::take(&mut self.deletions) {
                let fault = self.delete(&mut client, number).await?;
                self.findings.count(number, fault);
            }
            client.close().await.context("close")?;
        }
        if let Some(service) = service {
            service.close().await.context("close")?;
        }
        Ok(self.findings)
    }

    async fn begin_service(&mut self, client: &mut Client) -> Result<()> {
        let book = Rc::clone(&self.book);
        let subscribing = {
            let book = book.borrow();
            for (number, queue) in book.queues() {
                if queue.association().1 {
                    self.notified.know(book.materials(), *number, queue);
                }
            }
            service::associations(&book)
        };
        self.findings
            .add(service::subscribe(client, subscribing).await?);
        Ok(())
    }

    async fn check(
        &mut self,
        client: &mut Client,
        service: Option<&mut Client>,
        job: Job,
    ) -> Result<()> {
        let number = job.number;
        let (queue, materials, epoch) = {
            let book = self.book.borrow();
            (book.queue(number)?.clone(), book.materials(), book.epoch)
        };
        self.notified.know(materials, number, &queue);
        let observer = Observer {
            client,
            service,
            materials,
            number,
            queue: &queue,
        };
        if queue.ids.is_none() {
            let creation = queue.pending.front().map(|(_, creation)| *creation);
            let creation = creation.context("a queue without creation")?;
            if let Some(seen) = observer.observe_newborn(creation).await? {
                let (faults, tally) = judge_newborn(seen.link, seen.accepts);
                self.judged(number, faults, tally);
            }
            return self.book.borrow_mut().forget(number);
        }
        let (seen, expected) = observer.observe().await?;
        let Judgement {
            faults,
            tally,
            queue,
        } = judge(&queue, &seen, epoch, self.access.acks);
        let wrong = !faults.is_empty();
        self.judged(number, faults, tally);
        if wrong {
            // Said once is enough.
            return self.book.borrow_mut().forget(number);
        }
        if let Some(expected) = expected {
            self.notified.expect(expected);
        }
        if queue.state.exists && job.delete {
            self.deletions.push(number);
        }
        self.book.borrow_mut().replace(number, queue)
    }

    /// Adds a judgement whose tally counts its faults already.
    fn judged(&mut self, number: u32, faults: Vec<Fault>, tally: Tally) {
        self.findings.add(Findings {
            tally,
            faults: faults.into_iter().map(|f| (number, f)).collect(),
        });
    }

    async fn delete(&self, client: &mut Client, number: u32) -> Result<Option<Fault>> {
        let operation = Operation::Delete;
        let (step, corr_id) = {
            let mut book = self.book.borrow_mut();
            let step = book.issue(number, operation)?;
            let queue: &Queue = book.queue(number)?;
            let subject = Subject {
                materials: book.materials(),
                password: self.access.target.password.as_deref(),
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
