//! Kill or stop the server at random moments and see that nothing confirmed is lost.
//!
//! A round writes to the server, ends it, starts it again on what is left, perhaps with another
//! number of shards, and checks every queue that was in doubt and some others. In the end all
//! queues are checked, before and after a stop in order. Some starts are killed too.

mod plan;
mod rounds;
mod server;
mod store_files;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use smp_server::protocol::handshake::ServiceRole;

use self::plan::Plan;
use self::rounds::{Rounds, Sums};
use self::server::Settings;
use super::persist::{add_tally, print_faults, require_version, verdict, with_book};
use crate::cli::Common;
use crate::persist::access::Acks;
use crate::persist::book::Book;
use crate::persist::check::Findings;
use crate::report::Report;
use crate::service::ServiceCredentials;

/// Messages a queue holds.
const QUOTA: usize = 16;
/// Quiet queues for each shard: with fewer than 512 its walks end in their first step.
const QUIET_PER_SHARD: u32 = 600;
/// Compaction must have happened when so many segments were filled for each shard.
const ENOUGH_SEGMENTS: u64 = 12;
/// The smallest size of a segment, in bytes.
const SEGMENT: u64 = 1 << 20;

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
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// The server's setting
    #[arg(long, value_enum, default_value_t = Durability::Disk)]
    durability: Durability,
    /// The server's threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    shards: u32,
    /// Change the number of threads at one of so many starts; 0 = never
    #[arg(long, default_value_t = 8)]
    reshard: u32,
    /// Whether confirmed acknowledgements may be lost
    #[arg(long, value_enum, default_value_t = Acks::Strict)]
    acks: Acks,
    /// Decides schedule, samples and the operations of each queue, not their timing
    /// [default: random]
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
    /// Queues that exist at a time and are much used
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queues: u32,
    /// Queues beside them that keep a few messages which nobody takes [default: 600 per shard]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    quiet: Option<u32>,
}

impl Args {
    fn quiet(&self) -> u32 {
        let default = self.shards.saturating_mul(QUIET_PER_SHARD);
        self.quiet.unwrap_or(default)
    }
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
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = Plan::new(&mut rng, args.rounds, args.shards, args.reshard);
    println!("{plan}");
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
    let credentials = ServiceCredentials::generate(ServiceRole::Notifier)?;
    let rounds = Rounds::new(rng, settings, plan.clone(), args, credentials, common);
    let outcome = with_book(book, move |book| rounds.clone().run(book));
    let kept = || format!("seed {seed}; state is kept in {}", dir.display());
    let (findings, sums) = outcome.with_context(kept)?;
    publish(common, &findings, &sums)?;
    print_faults(&findings.faults);
    println!("{}", summary(&findings, &sums));
    verdict(&findings).with_context(|| format!("round {}, {}", sums.rounds, kept()))?;
    demand_compaction(args, &plan, &sums).with_context(kept)?;
    if args.dir.is_none() {
        remove(&dir);
    }
    Ok(())
}

fn publish(common: &Common, findings: &Findings, sums: &Sums) -> Result<()> {
    let mut report = Report::new("crash");
    report.value("rounds", sums.rounds, "");
    report.measured(
        "seconds per round",
        sums.elapsed.as_secs_f64() / f64::from(sums.rounds.max(1)),
        "s",
    );
    report.value("killed", sums.killed, "");
    report.value("stopped", sums.stopped, "");
    report.value("starts interrupted", sums.interrupted, "");
    report.value("shards changed", sums.moved, "");
    report.value("segments emptied", sums.emptied, "");
    report.value("messages copied", sums.copied, "");
    report.value("operations sent", sums.issued, "");
    report.value("operations confirmed", sums.confirmed, "");
    report.value("queues in doubt", sums.uncertain, "");
    add_tally(&mut report, &findings.tally);
    common.publish(&report)
}

/// The result in one line.
fn summary(findings: &Findings, sums: &Sums) -> String {
    let tally = &findings.tally;
    format!(
        "crash: {} rounds ({} killed, {} stopped, {} starts interrupted, {} changes of shards), \
         {} operations confirmed, {} facts proved, {} violations",
        sums.rounds,
        sums.killed,
        sums.stopped,
        sums.interrupted,
        sums.moved,
        sums.confirmed,
        tally.proved,
        tally.faults(),
    )
}

/// A run that never made the server empty a segment and copy messages has not tested that.
fn demand_compaction(args: &Args, plan: &Plan, sums: &Sums) -> Result<()> {
    let enough = ENOUGH_SEGMENTS * SEGMENT * u64::from(plan.most_shards());
    if args.relay.iter().any(|line| line.contains("segment_mb")) || sums.bytes < enough {
        println!("too little was written for compaction to be sure: it is not demanded");
        return Ok(());
    }
    ensure!(sums.emptied > 0, "no segment of the log was ever emptied");
    ensure!(
        sums.copied > 0 || args.quiet() == 0,
        "no message was ever copied to the leftovers"
    );
    Ok(())
}

fn relay_settings(args: &Args) -> Vec<String> {
    let durability = match args.durability {
        Durability::Disk => "disk",
        Durability::Process => "process",
    };
    // Of a key that is there twice the first counts.
    let mut settings = args.relay.clone();
    settings.extend([
        "address = 127.0.0.1".to_owned(),
        format!("durability = {durability}"),
        format!("segment_mb = {}", SEGMENT >> 20),
        format!("msg_queue_quota = {QUOTA}"),
        "ntf_delivery_interval_ms = 10".to_owned(),
        // So that commands cross shards.
        "queue_placement = spread".to_owned(),
    ]);
    settings
}

fn remove(dir: &Path) {
    if let Err(e) = fs::remove_dir_all(dir) {
        eprintln!("cannot remove {}: {e}", dir.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Scenario};
    use clap::Parser as _;
    use std::time::Duration;

    fn args(line: &str) -> Args {
        let line = format!("loadtest crash --server x {line}");
        match Cli::parse_from(line.split_whitespace()).scenario {
            Scenario::Crash(args) => args,
            _ => panic!("another scenario"),
        }
    }

    fn demanded(args: &Args, sums: &Sums) -> bool {
        let plan = Plan::new(&mut StdRng::seed_from_u64(1), 5, args.shards, 0);
        demand_compaction(args, &plan, sums).is_err()
    }

    #[test]
    fn a_run_without_compaction_fails_when_enough_was_written() {
        let written = |bytes, emptied, copied| Sums {
            bytes,
            emptied,
            copied,
            ..Sums::default()
        };
        let one = args("");
        assert!(demanded(&one, &written(12 << 20, 0, 0)));
        assert!(demanded(&one, &written(12 << 20, 5, 0)));
        assert!(!demanded(&one, &written(12 << 20, 5, 1)));
        assert!(!demanded(&one, &written(11 << 20, 0, 0)), "too little");
        assert!(!demanded(&args("--shards 2"), &written(12 << 20, 0, 0)));
        let large = args("--relay segment_mb=16");
        assert!(!demanded(&large, &written(12 << 20, 0, 0)));
    }

    #[test]
    fn own_settings_count_before_those_of_the_scenario() {
        let settings = relay_settings(&args("--relay msg_queue_quota=5"));
        assert_eq!(settings[0], "msg_queue_quota=5");
        assert!(settings.contains(&"durability = disk".to_owned()));
    }

    #[test]
    fn the_last_line_has_the_sums() {
        let mut findings = Findings::default();
        findings.tally.proved = 9;
        findings.tally.lost = 2;
        let sums = Sums {
            rounds: 4,
            killed: 3,
            stopped: 1,
            elapsed: Duration::from_secs(1),
            ..Sums::default()
        };
        let line = summary(&findings, &sums);
        assert!(
            line.starts_with("crash: 4 rounds (3 killed, 1 stopped"),
            "{line}"
        );
        assert!(line.ends_with("9 facts proved, 2 violations"), "{line}");
    }
}
