//! Write, restart the server by whatever means, check.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use smp_server::protocol::Version;

use crate::cli::Setup;
use crate::client::Options;
use crate::executors;
use crate::persist::access::{Access, Acks};
use crate::persist::book::Book;
use crate::persist::check::{self, Findings, Job};
use crate::persist::service::SERVICE;
use crate::persist::verdict::{Fault, Tally};
use crate::persist::writer::{Limit, Load, Writer, Written};
use crate::progress::Progress;
use crate::report::Report;

/// Queues whose faults are printed.
const MAX_PRINTED_QUEUES: usize = 20;
/// Faults of a queue that are printed one by one.
const MAX_PRINTED_FAULTS: usize = 5;

/// Options of the scenario.
#[derive(clap::Args, Clone)]
pub struct Args {
    #[command(subcommand)]
    phase: Phase,
}

/// Half of a proof.
#[derive(clap::Subcommand, Clone)]
enum Phase {
    /// Run a random mix of operations and write down what was asked and what was confirmed. The
    /// server may be killed meanwhile. An existing ledger is continued with the queues whose state
    /// is certain
    Write(WriteArgs),
    /// Compare every queue of the ledger with what was confirmed. Messages are received by that,
    /// and the ledger says so afterwards; a check that was interrupted cannot be repeated
    Check(CheckArgs),
}

/// Options of the write phase.
#[derive(clap::Args, Clone)]
struct WriteArgs {
    /// The file to write
    #[arg(long)]
    ledger: PathBuf,
    /// Operations
    #[arg(long, default_value_t = 5000)]
    operations: u64,
    /// Seconds, if that is over earlier
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: Option<u64>,
    /// Queues that exist at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queues: u32,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Queues with an operation in flight
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Decides the operations of each queue [default: random]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    promises: Promises,
}

/// What the server promises.
#[derive(clap::Args, Clone, Copy)]
struct Promises {
    /// Whether confirmed acknowledgements may be lost
    #[arg(long, value_enum, default_value_t = Acks::Allowed)]
    acks: Acks,
}

impl Promises {
    fn of(self, setup: &Setup) -> Access {
        Access {
            acks: self.acks,
            ..Access::new(setup.target.clone(), setup.options)
        }
    }
}

/// Options of the check phase.
#[derive(clap::Args, Clone)]
struct CheckArgs {
    /// The file that the write phase wrote
    #[arg(long)]
    ledger: PathBuf,
    /// Connections
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    #[command(flatten)]
    promises: Promises,
}

/// Runs one half.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    require_version(setup.options)?;
    match &args.phase {
        Phase::Write(args) => write(setup, args),
        Phase::Check(args) => check(setup, args),
    }
}

/// Older versions lack links, or notifiers of new queues.
pub(super) fn require_version(options: Options) -> Result<()> {
    const LEAST: Version = Version(17);
    ensure!(options.version >= LEAST, "needs --smp-version {LEAST}");
    Ok(())
}

/// Runs a task with a book on an executor of its own.
pub(super) fn with_book<T, Fut>(
    book: Book,
    task: impl Fn(Book) -> Fut + Clone + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    Fut: Future<Output = Result<T>> + 'static,
{
    let book = Arc::new(Mutex::new(Some(book)));
    let run = move |_| {
        let book = book.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = task.clone();
        async move {
            let book = book.context("the book is in use")?;
            task(book).await
        }
    };
    let results = executors::run(1, &Progress::hidden(), run, |_| Ok(()))?;
    results.into_iter().next().context("no result")
}

fn write(setup: &Setup, args: &WriteArgs) -> Result<()> {
    let book = if args.ledger.exists() {
        Book::open(&args.ledger)?
    } else {
        Book::create(&args.ledger, args.seed.unwrap_or_else(rand::random))?
    };
    eprintln!("seed: {}", book.seed);
    let load = Load {
        connections: args.connections as usize,
        in_flight: args.pipeline as usize,
        queues: args.queues as usize,
        quiet: 0,
    };
    let until = args
        .duration
        .map(|s| Instant::now() + Duration::from_secs(s));
    let limit = Limit {
        operations: Some(args.operations),
        until,
    };
    let access = args.promises.of(setup);
    let written = with_book(book, move |mut book| {
        let access = access.clone();
        async move {
            let writer = Writer::connect(&mut book, &access, load).await?;
            writer.run(limit).await
        }
    })?;
    publish_written(setup, &written)
}

fn publish_written(setup: &Setup, written: &Written) -> Result<()> {
    let mut report = Report::new("persist write");
    report.value("operations sent", written.issued, "");
    report.value("operations confirmed", written.confirmed, "");
    report.value("queues in doubt", written.uncertain, "");
    setup.publish(&report)?;
    if let Some(error) = &written.lost {
        println!("the server went away: {error}");
    }
    print_faults(&written.findings.faults);
    ensure!(
        written.findings.faults.is_empty(),
        "the server broke a promise while it lived"
    );
    Ok(())
}

fn check(setup: &Setup, args: &CheckArgs) -> Result<()> {
    let book = Book::open(&args.ledger)?;
    let numbers: Vec<u32> = book.queues().keys().copied().collect();
    ensure!(!numbers.is_empty(), "{} has no queues", show(&args.ledger));
    let access = args.promises.of(setup);
    let connections = args.connections as usize;
    let findings = with_book(book, move |book| {
        let (access, numbers) = (access.clone(), numbers.clone());
        async move {
            let jobs = numbers.into_iter().map(|number| Job {
                number,
                delete: false,
            });
            let checked = check::check(book, &access, connections, jobs.collect());
            Ok(checked.await?.1)
        }
    })?;
    let mut report = Report::new("persist check");
    add_tally(&mut report, &findings.tally);
    setup.publish(&report)?;
    print_faults(&findings.faults);
    verdict(&findings)
}

fn show(path: &Path) -> std::path::Display<'_> {
    path.display()
}

/// Adds every count of a tally.
pub(super) fn add_tally(report: &mut Report, tally: &Tally) {
    report.value("queues checked", tally.queues, "");
    report.value("proved", tally.proved, "");
    report.value("lost", tally.lost, "");
    report.value("corrupted", tally.corrupted, "");
    report.value("reordered", tally.reordered, "");
    report.value("repeated", tally.repeated, "");
    report.value("half done", tally.half, "");
    report.value("notifications opened", tally.notified, "");
    report.value("reappeared (allowed)", tally.reappeared, "");
    report.value("in doubt, happened", tally.happened, "");
    report.value("in doubt, did not happen", tally.did_not_happen, "");
}

/// Says what is wrong, shortened when it is much.
pub(super) fn print_faults(faults: &[(u32, Fault)]) {
    let of_queues = faults.chunk_by(|a, b| a.0 == b.0);
    for of_queue in of_queues.clone().take(MAX_PRINTED_QUEUES) {
        for (number, fault) in of_queue.iter().take(MAX_PRINTED_FAULTS) {
            match *number {
                SERVICE => println!("service: {fault}"),
                number => println!("queue {number}: {fault}"),
            }
        }
        if of_queue.len() > MAX_PRINTED_FAULTS {
            println!("  and {} more", of_queue.len() - MAX_PRINTED_FAULTS);
        }
    }
    let queues = of_queues.count();
    if queues > MAX_PRINTED_QUEUES {
        println!("and {} more queues", queues - MAX_PRINTED_QUEUES);
    }
}

/// Fails on any fault, and when nothing was proved.
pub(super) fn verdict(findings: &Findings) -> Result<()> {
    let tally = &findings.tally;
    if tally.faults() > 0 {
        bail!(
            "{} of {} facts are wrong",
            tally.faults(),
            tally.faults() + tally.proved
        );
    }
    ensure!(tally.proved > 0, "nothing was proved");
    Ok(())
}
