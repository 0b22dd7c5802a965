//! Kill the server at random moments and see that nothing confirmed is lost.
//!
//! A round writes to the server, kills it, starts it again on what is left and checks every queue
//! that was in doubt and some others. In the end all queues are checked. Some starts are killed
//! too.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};

use self::server::{Relay, Settings};
use super::persist::{add_tally, print_faults, require_version, verdict, with_book};
use crate::cli::Common;
use crate::client::Options;
use crate::persist::book::Book;
use crate::persist::check::{self, Findings, Job};
use crate::persist::writer::{Limit, Load, Writer};
use crate::report::Report;

/// How long the server lives under load.
const LIFE_MS: std::ops::RangeInclusive<u64> = 50..=800;
/// One of so many starts is interrupted first.
const INTERRUPTED_STARTS: u32 = 8;
/// How long the server lives when its start is interrupted.
const INTERRUPTED_START_MS: std::ops::RangeInclusive<u64> = 0..=60;
/// A writer that is still running so long after the end of the server has not noticed it.
const WRITER_LIMIT: Duration = Duration::from_secs(20);
/// Queues, beyond those in doubt, that are checked in a round.
const SAMPLE: usize = 16;
/// Deleted queues that are remembered to be looked for again.
const MAX_DELETED: usize = 1000;
/// The ledger is written anew after as many rounds, so that it stays small.
const COMPACT_EVERY: u32 = 16;

/// What a confirmed operation should survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Durability {
    /// Loss of power; here only the death of the process is tested.
    Disk,
    /// The death of the process.
    Process,
}

/// Options of the scenario.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// The server binary
    #[arg(long)]
    server: PathBuf,
    /// Lives and deaths of the server
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// The server's setting
    #[arg(long, value_enum, default_value_t = Durability::Disk)]
    durability: Durability,
    /// The server's threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    shards: u32,
    /// Decides lives, samples and the operations of each queue, not their timing [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the server's configuration, state and log and the ledger here [default: a directory
    /// that is removed when all went well]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// KEY=VALUE for the section [RELAY] of the server's configuration
    #[arg(long, value_name = "KEY=VALUE")]
    relay: Vec<String>,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Queues with an operation in flight
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Queues that exist at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queues: u32,
}

/// Runs all rounds.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let options = common.options();
    require_version(options)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let name = format!("smp-crash-{}", std::process::id());
    let dir = args.dir.clone();
    let dir = dir.unwrap_or_else(|| std::env::temp_dir().join(name));
    println!("seed {seed}, state in {}", dir.display());
    let settings = Settings {
        binary: args.server.clone(),
        dir: dir.clone(),
        relay: relay_settings(args),
    };
    settings.initialise()?;
    let ledger = dir.join("ledger");
    if ledger.exists() {
        fs::rename(&ledger, dir.join("ledger.old")).context("keep the old ledger")?;
    }
    let book = Book::create(&ledger, seed)?;
    let (copied, tls) = (args.clone(), common.tls());
    let outcome = with_book(book, move |book| {
        let rounds = Rounds {
            rng: StdRng::seed_from_u64(seed),
            settings: settings.clone(),
            args: copied.clone(),
            options,
            tls,
            sums: Sums::default(),
        };
        rounds.run(book)
    });
    let kept = || format!("seed {seed}; state is kept in {}", dir.display());
    let (findings, sums) = outcome.with_context(kept)?;
    let mut report = Report::new("crash");
    report.value("rounds", sums.rounds, "");
    report.measured(
        "seconds per round",
        sums.elapsed.as_secs_f64() / f64::from(sums.rounds.max(1)),
        "s",
    );
    report.value("operations sent", sums.issued, "");
    report.value("operations confirmed", sums.confirmed, "");
    report.value("queues in doubt", sums.uncertain, "");
    add_tally(&mut report, &findings.tally);
    common.publish(&report)?;
    print_faults(&findings.faults);
    verdict(&findings).with_context(|| format!("round {}, {}", sums.rounds, kept()))?;
    if args.dir.is_none() {
        remove(&dir);
    }
    Ok(())
}

fn relay_settings(args: &Args) -> Vec<String> {
    let durability = match args.durability {
        Durability::Disk => "disk",
        Durability::Process => "process",
    };
    let mut settings = vec![
        "address = 127.0.0.1".to_owned(),
        format!("durability = {durability}"),
        format!("shards = {}", args.shards),
        // So that commands cross shards.
        "queue_placement = spread".to_owned(),
    ];
    settings.extend(args.relay.iter().cloned());
    settings
}

fn remove(dir: &Path) {
    if let Err(e) = fs::remove_dir_all(dir) {
        eprintln!("cannot remove {}: {e}", dir.display());
    }
}

/// What was done in all rounds.
#[derive(Default)]
struct Sums {
    rounds: u32,
    elapsed: Duration,
    issued: u64,
    confirmed: u64,
    uncertain: u64,
}

struct Rounds {
    rng: StdRng,
    settings: Settings,
    args: Args,
    options: Options,
    tls: crate::target::TlsOptions,
    sums: Sums,
}

impl Rounds {
    async fn run(mut self, mut book: Book) -> Result<(Findings, Sums)> {
        let started = Instant::now();
        let mut findings = Findings::default();
        let mut relay = self.settings.start()?;
        for round in 1..=self.args.rounds {
            self.sums.rounds = round;
            let outcome = self.round(book, relay).await;
            let (kept, next, found) = outcome.with_context(|| format!("round {round}"))?;
            (book, relay) = (kept, next);
            findings.add(found);
            if findings.tally.faults() > 0 {
                break;
            }
            if round % COMPACT_EVERY == 0 {
                book.compact()?;
                eprintln!("round {round}: {} proved", findings.tally.proved);
            }
        }
        if findings.tally.faults() == 0 {
            let jobs = self.jobs(&book, usize::MAX);
            let checked = self.check(book, &relay, jobs).await;
            findings.add(checked.context("last check")?.1);
        }
        relay.stop()?;
        self.sums.elapsed = started.elapsed();
        Ok((findings, self.sums))
    }

    /// A life under load, its end, and the check of the next life.
    async fn round(&mut self, mut book: Book, relay: Relay) -> Result<(Book, Relay, Findings)> {
        let mut findings = Findings::default();
        let life = Duration::from_millis(self.rng.random_range(LIFE_MS));
        {
            let load = Load {
                connections: self.args.connections as usize,
                in_flight: self.args.pipeline as usize,
                queues: self.args.queues as usize,
            };
            let limit = Limit {
                operations: None,
                until: Some(Instant::now() + life + WRITER_LIMIT),
            };
            let target = relay.target(self.tls)?;
            let writer = Writer::connect(&mut book, &target, self.options, load).await?;
            let killer = relay.kill_after(life);
            let written = writer.run(limit).await?;
            killer.wait()?;
            ensure!(
                written.lost.is_some() || !written.faults.is_empty(),
                "the writer did not notice the end of the server"
            );
            self.sums.issued += written.issued;
            self.sums.confirmed += written.confirmed;
            self.sums.uncertain += written.uncertain as u64;
            for (number, fault) in written.faults {
                findings.count(number, [fault]);
            }
            book.begin_epoch()?;
        }
        if self.rng.random_ratio(1, INTERRUPTED_STARTS) {
            let life = Duration::from_millis(self.rng.random_range(INTERRUPTED_START_MS));
            self.settings.interrupt_start(life)?;
        }
        let relay = self.settings.start()?;
        let jobs = self.jobs(&book, SAMPLE);
        let (mut book, found) = self.check(book, &relay, jobs).await?;
        findings.add(found);
        forget_deleted(&mut book)?;
        Ok((book, relay, findings))
    }

    async fn check(&self, book: Book, relay: &Relay, jobs: Vec<Job>) -> Result<(Book, Findings)> {
        let connections = 2 * self.args.connections as usize;
        let target = relay.target(self.tls)?;
        check::check(book, &target, self.options, connections, jobs).await
    }

    /// Everything in doubt and a sample of the rest, of which some queues have lived enough.
    fn jobs(&mut self, book: &Book, sample: usize) -> Vec<Job> {
        let queues = book.queues().iter();
        let (certain, doubtful): (Vec<_>, Vec<_>) = queues.partition(|(_, q)| q.is_settled());
        let sample = sample.min(certain.len());
        let chosen = certain.into_iter().choose_multiple(&mut self.rng, sample);
        let numbers = doubtful
            .into_iter()
            .chain(chosen)
            .map(|(number, _)| *number);
        let rng = &mut self.rng;
        numbers
            .map(|number| Job {
                number,
                delete: rng.random_ratio(1, 4),
            })
            .collect()
    }
}

/// Deleted queues are remembered for a while, in case they come back.
fn forget_deleted(book: &mut Book) -> Result<()> {
    let queues = book.queues().iter();
    let deleted = queues.filter(|(_, q)| q.is_settled() && !q.state.exists);
    let deleted: Vec<u32> = deleted.map(|(number, _)| *number).collect();
    let many = deleted.len().saturating_sub(MAX_DELETED);
    for number in &deleted[..many] {
        book.forget(*number)?;
    }
    Ok(())
}
