//! Runs the random mix over several connections, every operation in the book before it is sent.
//!
//! A queue has one operation at a time, or one burst of messages; many queues have theirs in
//! flight together.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::Response;

use super::access::{Access, Acks};
use super::book::Book;
use super::check::Findings;
use super::choice::{self, Live};
use super::command::{Subject, told};
use super::deliverable::acknowledgeable;
use super::materials::Received;
use super::notified::Notified;
use super::service;
use super::state::{Operation, Queue, Step};
use super::verdict::{Fault, Kind};
use crate::client::{Client, within};
use crate::error::ClientError;
use crate::owned::into_owned;

/// One of so many turns is for a quiet queue.
const QUIET_SHARE: u32 = 24;

/// How much is done at a time.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Queues with something in flight.
    pub in_flight: usize,
    /// Queues that exist at a time, besides the quiet ones.
    pub queues: usize,
    /// So many queues, the first ones, are quiet: they stay with a few messages that nobody takes,
    /// and little is done with them.
    pub quiet: u32,
}

/// When the writer stops by itself.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// After as many operations were issued.
    pub operations: Option<u64>,
    /// At this time.
    pub until: Option<Instant>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Written {
    /// Operations sent.
    pub issued: u64,
    /// Operations confirmed.
    pub confirmed: u64,
    /// Queues whose last operations were not confirmed.
    pub uncertain: usize,
    /// Why the connections ended; nothing when the writer closed them.
    pub lost: Option<ClientError>,
    /// Bytes of confirmed messages.
    pub bytes: u64,
    /// Answers, messages and notifications that cannot be right, with the queue.
    pub findings: Findings,
}

impl Written {
    fn fault(&mut self, number: u32, kind: Kind, what: impl Into<String>) {
        self.findings.count(number, [Fault::new(kind, what)]);
    }

    fn is_wrong(&self) -> bool {
        !self.findings.faults.is_empty()
    }
}

/// A queue as the connections know it.
#[derive(Default)]
struct Session {
    /// Connection of the recipient.
    connection: usize,
    subscribed: bool,
    body_key: Option<BoxKey>,
    /// What was delivered and not acknowledged, with the id of the message.
    delivered: Option<(Received, Vec<u8>)>,
    in_flight: usize,
}

/// What came from a connection.
struct Event {
    corr_id: Vec<u8>,
    entity_id: Vec<u8>,
    response: Response<'static>,
}

/// A running mix.
pub struct Writer<'a> {
    book: &'a mut Book,
    access: Access,
    load: Load,
    rng: StdRng,
    /// The last one is that of the service, if there is one.
    clients: Vec<Option<Client>>,
    /// How many of them are not.
    ordinary: usize,
    notified: Notified,
    sessions: BTreeMap<u32, Session>,
    by_recipient_id: HashMap<Vec<u8>, u32>,
    in_flight: HashMap<Vec<u8>, (u32, Step)>,
    busy: usize,
    written: Written,
}

impl<'a> Writer<'a> {
    /// Connects. Queues of the book that are not settled are left alone.
    pub async fn connect(book: &'a mut Book, access: &Access, load: Load) -> Result<Self> {
        let mut clients = Vec::with_capacity(load.connections);
        for _ in 0..load.connections.max(1) {
            clients.push(Some(access.connect().await?));
        }
        let mut writer = Self {
            ordinary: clients.len(),
            notified: Notified::default(),
            rng: StdRng::seed_from_u64(book.seed.wrapping_add(u64::from(book.epoch) << 32)),
            access: access.clone(),
            load,
            clients,
            sessions: BTreeMap::new(),
            by_recipient_id: HashMap::new(),
            in_flight: HashMap::new(),
            busy: 0,
            written: Written::default(),
            book,
        };
        let queues = writer.book.queues().iter();
        let known = queues.filter(|(_, q)| q.is_settled() && q.state.exists);
        let numbers: Vec<u32> = known.map(|(number, _)| *number).collect();
        for number in numbers {
            writer.open_session(number)?;
        }
        writer.connect_service().await?;
        Ok(writer)
    }

    async fn connect_service(&mut self) -> Result<()> {
        let Some(mut client) = self.access.connect_service().await? else {
            return Ok(());
        };
        for (number, queue) in self.book.queues() {
            if queue.association().1 {
                self.notified.know(self.book.materials(), *number, queue);
            }
        }
        let told = service::subscribe(&mut client, service::associations(self.book)).await?;
        self.written.findings.add(told);
        self.clients.push(Some(client));
        Ok(())
    }

    /// Knows the queue from now on.
    fn open_session(&mut self, number: u32) -> Result<()> {
        let session = self.sessions.entry(number).or_default();
        session.connection = number as usize % self.ordinary;
        if let Some(ids) = &self.book.queue(number)?.ids {
            session.body_key = Some(self.book.materials().body_key(number, ids));
            self.by_recipient_id.insert(ids.recipient.clone(), number);
        }
        Ok(())
    }

    /// Works until the limit or until the server is gone, and takes every answer that came.
    pub async fn run(mut self, limit: Limit) -> Result<Written> {
        let longest = self.clients.iter().flatten().map(Client::timeout).max();
        let longest = longest.context("no connection")?;
        let is_over = |w: &Self| {
            limit
                .operations
                .is_some_and(|most| w.written.issued >= most)
                || limit.until.is_some_and(|until| Instant::now() >= until)
                || w.written.is_wrong()
        };
        loop {
            let over = is_over(&self);
            if !over && self.written.lost.is_none() {
                self.fill()?;
            }
            if self.clients.iter().all(Option::is_none) || (over && self.in_flight.is_empty()) {
                break;
            }
            let events = within(longest, self.events()).await?;
            for event in events {
                self.take(event)?;
                if self.written.is_wrong() {
                    // What follows from it would only hide it.
                    return Ok(self.written);
                }
            }
        }
        for client in self.clients.into_iter().flatten() {
            // Everything was answered; a server that goes now has done its part.
            let _ = client.close().await;
        }
        let pending = self.book.queues().values().filter(|q| !q.is_settled());
        self.written.uncertain = pending.count();
        Ok(self.written)
    }

    /// Gives something to do to as many queues as may be busy.
    fn fill(&mut self) -> Result<()> {
        while self.busy < self.load.in_flight {
            if self.book.next_number() < self.load.quiet {
                self.create()?;
                continue;
            }
            if self.rng.random_ratio(1, QUIET_SHARE) && self.load.quiet > 0 {
                let number = self.rng.random_range(0..self.load.quiet);
                if self.sessions.get(&number).is_some_and(|s| s.in_flight == 0) {
                    self.go_on(number)?;
                }
            }
            let active = || self.sessions.range(self.load.quiet..);
            let idle = active().filter(|(_, s)| s.in_flight == 0);
            let idle: Vec<u32> = idle.map(|(number, _)| *number).collect();
            let room = active().count() < self.load.queues;
            let create = room && (idle.is_empty() || self.rng.random_ratio(1, 4));
            if create {
                self.create()?;
            } else if let Some(number) = idle.get(self.rng.random_range(0..idle.len().max(1))) {
                self.go_on(*number)?;
            } else {
                break;
            }
            if self.written.is_wrong() {
                break;
            }
        }
        Ok(())
    }

    fn create(&mut self) -> Result<()> {
        let number = self.book.next_number();
        let operation =
            choice::creation(&mut choice::rng(self.book.seed, number, &Queue::default()));
        let step = self.book.issue(number, operation)?;
        self.open_session(number)?;
        self.send(number, step, operation)
    }

    /// The next operation of a queue.
    fn go_on(&mut self, number: u32) -> Result<()> {
        let queue = self.book.queue(number)?;
        let session = self.sessions.entry(number).or_default();
        let delivered = match &session.delivered {
            None => None,
            Some((received, _)) => match acknowledgeable(queue, received, self.access.acks) {
                Ok(sequence) => Some(sequence),
                Err(fault) => {
                    self.written.findings.count(number, [fault]);
                    return Ok(());
                }
            },
        };
        let live = Live {
            subscribed: session.subscribed,
            delivered,
            // The number of messages in a queue must be known.
            quota: self
                .access
                .quota
                .filter(|_| self.access.acks == Acks::Strict),
            service: self.clients.len() > self.ordinary,
            quiet: number < self.load.quiet,
        };
        let mut rng = choice::rng(self.book.seed, number, queue);
        for operation in choice::next(&mut rng, queue, live) {
            let step = self.book.issue(number, operation)?;
            self.send(number, step, operation)?;
        }
        Ok(())
    }

    fn send(&mut self, number: u32, step: Step, operation: Operation) -> Result<()> {
        let session = self.sessions.entry(number).or_default();
        let count = self.ordinary;
        // What is sent together goes the same way, so that it keeps its order.
        let connection = match operation {
            Operation::Send(_) | Operation::Secure(_) => (session.connection + 1) % count,
            Operation::Associate => count,
            _ => session.connection,
        };
        let delivered = match operation {
            Operation::Acknowledge(_) => session.delivered.take(),
            _ => None,
        };
        let subject = Subject {
            materials: self.book.materials(),
            password: self.access.target.password.as_deref(),
            number,
            queue: self.book.queue(number)?,
            delivered: delivered.as_ref().map_or(&[][..], |(_, id)| id),
        };
        if operation == Operation::Associate {
            let queue = self.book.queue(number)?;
            self.notified.know(self.book.materials(), number, queue);
        }
        self.written.issued += 1;
        if session.in_flight == 0 {
            self.busy += 1;
        }
        session.in_flight += 1;
        if let Some(client) = &mut self.clients[connection] {
            let corr_id = subject.stage(client.outbox(), step, operation)?;
            self.in_flight.insert(corr_id.to_vec(), (number, step));
        }
        Ok(())
    }

    /// Waits until something comes; connections that end are dropped.
    async fn events(&mut self) -> Result<Vec<Event>, ClientError> {
        let (clients, lost) = (&mut self.clients, &mut self.written.lost);
        poll_fn(|cx| {
            let mut events = Vec::new();
            let mut progress = false;
            for slot in clients.iter_mut() {
                let Some(client) = slot else { continue };
                let polled = client.poll_drive(cx, &mut |incoming, _| {
                    events.push(Event {
                        corr_id: incoming.corr_id.to_vec(),
                        entity_id: incoming.entity_id.to_vec(),
                        response: into_owned(incoming.response),
                    });
                });
                progress |= polled.is_ready();
                if let Poll::Ready(Err(e)) = polled {
                    *lost = Some(e);
                    *slot = None;
                }
            }
            if progress {
                Poll::Ready(Ok(events))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    fn take(&mut self, event: Event) -> Result<()> {
        if event.corr_id.is_empty() {
            return self.push(event);
        }
        let Some((number, step)) = self.in_flight.remove(&event.corr_id) else {
            return Ok(());
        };
        let pending = &self.book.queue(number)?.pending;
        let operation = pending.iter().find(|p| p.0 == step).map(|p| p.1);
        let operation = operation.context("an answer to nothing")?;
        let session = self.sessions.entry(number).or_default();
        session.in_flight -= 1;
        if session.in_flight == 0 {
            self.busy -= 1;
        }
        let Some(told) = told(operation, &event.response) else {
            let answer = match &event.response {
                Response::Err(e) => format!("{e:?}"),
                other => format!("{other:?}").chars().take(80).collect(),
            };
            let what = format!("operation {step}, {operation:?}, was answered {answer}");
            self.written.fault(number, Kind::Lost, what);
            return Ok(());
        };
        match operation {
            Operation::Subscribe => session.subscribed = true,
            Operation::Create { subscribe, .. } => session.subscribed = subscribe,
            _ => {}
        }
        self.book.confirm(number, step, told)?;
        self.written.confirmed += 1;
        if let Operation::Send(message) = operation {
            self.written.bytes += u64::from(message.size);
        }
        match operation {
            Operation::Create { .. } => self.open_session(number)?,
            Operation::Delete => {
                self.sessions.remove(&number);
                if let Some(ids) = &self.book.queue(number)?.ids {
                    self.by_recipient_id.remove(&ids.recipient);
                }
            }
            _ => {}
        }
        match event.response {
            Response::Msg { msg_id, boxed } => self.deliver(number, &msg_id, boxed.into_owned()),
            _ => Ok(()),
        }
    }

    /// Messages concern their queue; ends of subscriptions and the like nobody here.
    fn push(&mut self, event: Event) -> Result<()> {
        if matches!(event.response, Response::NMsg { .. }) {
            let findings = &mut self.written.findings;
            self.notified
                .take(&event.entity_id, event.response, findings);
            return Ok(());
        }
        let Some(&number) = self.by_recipient_id.get(&event.entity_id) else {
            return Ok(());
        };
        match event.response {
            Response::Msg { msg_id, boxed } => self.deliver(number, &msg_id, boxed.into_owned()),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, number: u32, msg_id: &[u8], mut boxed: Vec<u8>) -> Result<()> {
        let session = self.sessions.entry(number).or_default();
        let key = session.body_key.as_ref().context("a queue without a key")?;
        match self.book.materials().open(number, key, msg_id, &mut boxed) {
            Ok(received) => session.delivered = Some((received, msg_id.to_vec())),
            Err(e) => {
                let what = format!("a message does not open: {e}");
                self.written.fault(number, Kind::Corrupted, what);
            }
        }
        Ok(())
    }
}
