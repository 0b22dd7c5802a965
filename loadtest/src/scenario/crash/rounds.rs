//! The rounds one after the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;

use super::plan::{End, Plan, Round};
use super::server::{Changing, Relay, Settings};
use super::store_files::Compaction;
use super::sweep::{self, Sweep};
use super::{Args, QUOTA};
use crate::cli::Common;
use crate::client::Options;
use crate::persist::access::{Access, Acks, Service};
use crate::persist::book::Book;
use crate::persist::check::{self, Findings, Job};
use crate::persist::writer::{Limit, Load, Writer, Written};
use crate::service::ServiceCredentials;
use crate::target::TlsOptions;

/// A writer that is still running so long after the end of the server has not noticed it.
const WRITER_LIMIT: Duration = Duration::from_secs(40);
/// More deleted queues are not remembered: all are checked, then the older half is forgotten.
const MAX_DELETED: usize = 20_000;
/// The ledger is written anew after as many rounds, so that it stays small.
const COMPACT_EVERY: u32 = 16;

/// What was done in all rounds.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Rounds begun.
    pub rounds: u32,
    /// Time of all.
    pub elapsed: Duration,
    /// Lives that ended by `SIGKILL`.
    pub killed: u32,
    /// Lives that ended in order, without the last one.
    pub stopped: u32,
    /// Starts that were killed.
    pub interrupted: u32,
    /// Starts with another number of shards than before.
    pub moved: u32,
    /// Segments of the server's log that were emptied.
    pub emptied: u64,
    /// Messages that were copied for that.
    pub copied: u64,
    /// Operations sent.
    pub issued: u64,
    /// Operations confirmed.
    pub confirmed: u64,
    /// Bytes of confirmed messages.
    pub bytes: u64,
    /// Queues in doubt after each end of the server.
    pub uncertain: u64,
}

/// Everything the rounds need.
#[derive(Clone)]
pub struct Rounds {
    rng: StdRng,
    settings: Settings,
    plan: Plan,
    load: Load,
    acks: Acks,
    quota: Option<usize>,
    options: Options,
    tls: TlsOptions,
    credentials: ServiceCredentials,
    service_id: Option<Vec<u8>>,
    sums: Sums,
}

impl Rounds {
    /// The service has these credentials in all lives of the server.
    pub fn new(
        rng: StdRng,
        settings: Settings,
        plan: Plan,
        args: &Args,
        credentials: ServiceCredentials,
        common: &Common,
    ) -> Self {
        // Another quota is not known here.
        let is_known = !args.relay.iter().any(|l| l.contains("msg_queue_quota"));
        Self {
            rng,
            settings,
            plan,
            load: Load {
                connections: args.connections as usize,
                in_flight: args.pipeline as usize,
                queues: args.queues as usize,
                quiet: args.quiet(),
            },
            acks: args.acks,
            quota: is_known.then_some(QUOTA),
            options: common.options(),
            tls: common.tls(),
            credentials,
            service_id: None,
            sums: Sums::default(),
        }
    }

    /// Runs them until the first one that finds something wrong.
    pub async fn run(mut self, mut book: Book) -> Result<(Findings, Sums)> {
        let started = Instant::now();
        let (mut findings, mut compaction) = (Findings::default(), Compaction::default());
        let mut sweep = Sweep::new(self.load.quiet);
        self.settings.configure(Changing {
            shards: self.plan.shards,
            expiry: false,
        })?;
        let mut relay = self.settings.start()?;
        findings.add(self.begin(&mut book, &relay).await.context("first life")?);
        let mut shards = self.plan.shards;
        for (number, round) in (1..).zip(self.plan.rounds.clone()) {
            if findings.tally.faults() > 0 {
                break;
            }
            self.sums.rounds = number;
            self.sums.moved += u32::from(shards != round.shards);
            shards = round.shards;
            let outcome = self.round(&round, book, relay, &mut compaction, &mut sweep);
            let outcome = outcome.await.with_context(|| format!("round {number}"));
            let (kept, next, found) = outcome?;
            (book, relay) = (kept, next);
            findings.add(found);
            if number % COMPACT_EVERY == 0 {
                book.compact()?;
                eprintln!("round {number}: {} proved", findings.tally.proved);
            }
        }
        for last in ["check of all", "check of all after a last stop"] {
            if findings.tally.faults() > 0 {
                break;
            }
            let jobs = sweep::everything(&book);
            let checked = self.check(book, &relay, jobs).await.context(last)?;
            book = checked.0;
            findings.add(checked.1);
            relay.stop().context(last)?;
            compaction.look(&self.settings.store())?;
            book.begin_epoch()?;
            relay = self.settings.start()?;
        }
        relay.stop()?;
        self.sums.elapsed = started.elapsed();
        (self.sums.emptied, self.sums.copied) = (compaction.emptied(), compaction.copied());
        Ok((findings, self.sums))
    }

    /// Registers the service and creates the quiet queues.
    async fn begin(&mut self, book: &mut Book, relay: &Relay) -> Result<Findings> {
        let access = self.access(relay)?;
        if let Some(client) = access.connect_service().await? {
            self.service_id = client.service_id().map(<[u8]>::to_vec);
            client.close().await?;
        }
        let limit = Limit {
            operations: Some(u64::from(self.load.quiet)),
            until: None,
        };
        let access = self.access(relay)?;
        let writer = Writer::connect(book, &access, self.load).await?;
        let written = writer.run(limit).await?;
        Ok(self.count(written))
    }

    fn access(&self, relay: &Relay) -> Result<Access> {
        let target = relay.target(self.tls)?;
        Ok(Access {
            acks: self.acks,
            quota: self.quota,
            service: Some(Service {
                target: target.clone().with_service(self.credentials.clone()),
                id: self.service_id.clone(),
            }),
            ..Access::new(target, self.options)
        })
    }

    fn count(&mut self, written: Written) -> Findings {
        self.sums.issued += written.issued;
        self.sums.confirmed += written.confirmed;
        self.sums.bytes += written.bytes;
        self.sums.uncertain += written.uncertain as u64;
        written.findings
    }

    /// A life under load, its end, and the start of the next one with its check.
    async fn round(
        &mut self,
        round: &Round,
        mut book: Book,
        relay: Relay,
        compaction: &mut Compaction,
        sweep: &mut Sweep,
    ) -> Result<(Book, Relay, Findings)> {
        let mut findings = self.live(round, &mut book, relay).await?;
        compaction.look(&self.settings.store())?;
        self.settings.configure(Changing {
            shards: round.shards,
            expiry: round.expiry,
        })?;
        if let Some(life) = round.interrupted {
            self.settings.interrupt_start(life)?;
            self.sums.interrupted += 1;
        }
        let relay = self.settings.start()?;
        if round.check {
            let jobs = sweep.round(&book, &mut self.rng);
            let (checked, found) = self.check(book, &relay, jobs).await?;
            let (kept, more) = self.bound(checked, &relay).await?;
            book = kept;
            findings.add(found);
            findings.add(more);
        }
        Ok((book, relay, findings))
    }

    async fn live(&mut self, round: &Round, book: &mut Book, relay: Relay) -> Result<Findings> {
        let limit = Limit {
            operations: None,
            until: Some(Instant::now() + round.life + WRITER_LIMIT),
        };
        let access = self.access(&relay)?;
        let writer = Writer::connect(book, &access, self.load).await?;
        let ending = relay.end_after(round.life, round.end);
        let written = writer.run(limit).await?;
        ending.wait()?;
        ensure!(
            written.lost.is_some() || !written.findings.faults.is_empty(),
            "the writer did not notice the end of the server"
        );
        match round.end {
            End::Kill => self.sums.killed += 1,
            End::Stop => self.sums.stopped += 1,
        }
        book.begin_epoch()?;
        Ok(self.count(written))
    }

    async fn check(&self, book: Book, relay: &Relay, jobs: Vec<Job>) -> Result<(Book, Findings)> {
        let access = self.access(relay)?;
        check::check(book, &access, 2 * self.load.connections, jobs).await
    }

    /// Deleted queues are remembered, in case they come back, until they are too many.
    async fn bound(&self, book: Book, relay: &Relay) -> Result<(Book, Findings)> {
        let deleted = sweep::deleted(&book);
        if deleted.len() <= MAX_DELETED {
            return Ok((book, Findings::default()));
        }
        let older: Vec<u32> = deleted[..MAX_DELETED / 2]
            .iter()
            .map(|job| job.number)
            .collect();
        let (mut book, findings) = self.check(book, relay, deleted).await?;
        if findings.tally.faults() == 0 {
            for number in older {
                book.forget(number)?;
            }
        }
        Ok((book, findings))
    }
}
