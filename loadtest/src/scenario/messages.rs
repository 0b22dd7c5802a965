//! Messages from senders to recipients, each one verified.
//!
//! Connections come in pairs, one that receives and one that sends, driven together by one task.
//! A message holds a place in its queue's window from the moment it is staged until the server
//! has confirmed its acknowledgement, so the server never holds more than the window per queue.

mod pair;
mod tally;

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::pair::{Pair, Plan};
use self::tally::Tally;
use crate::body::{MAX_LEN, MIN_LEN};
use crate::cli::Setup;
use crate::executors;
use crate::progress::Progress;
use crate::queue::{KeyPool, SenderAuth};
use crate::report::Report;
use crate::server_process::BothProbes;

/// Options of the scenario.
#[derive(clap::Args, Clone, Copy)]
pub struct Args {
    /// Connections, half of them receive and half send
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    connections: u32,
    /// Queues over all pairs of connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    queues: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 16_000,
          value_parser = clap::value_parser!(u32).range(MIN_LEN as i64..=MAX_LEN as i64))]
    size: u32,
    /// Seconds to send [default: 10]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: Option<u64>,
    /// Messages to send, instead of a duration
    #[arg(long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Messages under way per queue; servers hold at most 128
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    window: u32,
    /// Messages per second in all, sent at even intervals whatever the server does; latency counts
    /// from the time a message should have been sent
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// How senders authorise messages
    #[arg(long, value_enum, default_value_t = SenderAuth::X25519)]
    sender_auth: SenderAuth,
    /// Open only one of 64 received bodies; the others are only counted
    #[arg(long)]
    no_decrypt: bool,
    /// Leave the queues on the server
    #[arg(long)]
    keep_queues: bool,
}

const DEFAULT_DURATION: u64 = 10;

/// Sends, receives and verifies.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    let pairs = (args.connections / 2).min(args.queues) as usize;
    let count = setup.executors_for(pairs);
    let run_id: u64 = rand::random();
    let (target, options, copied) = (setup.target.clone(), setup.options, *args);
    let mut probe = None;
    let mut usage = None;
    let mut started = Instant::now();
    let tallies = executors::run(
        count,
        &Progress::new(args.count, "messages delivered"),
        move |worker| {
            let target = target.clone();
            let args = copied;
            async move {
                let keys = Rc::new(KeyPool::generate(64)?);
                let mine = worker.share(pairs);
                let concurrency = mine.len();
                let prepare = {
                    let worker = worker.clone();
                    move |number: usize| {
                        let (target, keys) = (target.clone(), Rc::clone(&keys));
                        let worker = worker.clone();
                        async move {
                            let plan = plan(&args, run_id, number, pairs);
                            Pair::connect(&target, options, plan, &keys, worker)
                                .await
                                .context("prepare queues")
                        }
                    }
                };
                let prepared = executors::for_each(mine, concurrency, prepare).await?;
                worker.barrier().await?;

                let tasks: Vec<_> = prepared
                    .into_iter()
                    .map(|pair| glommio::spawn_local(pair.run()))
                    .collect();
                let mut ended = Vec::with_capacity(tasks.len());
                for task in tasks {
                    ended.push(task.await?);
                }
                worker.barrier().await?;

                let mut tally = Tally::default();
                for pair in ended {
                    tally.merge(pair.finish(!args.keep_queues).await?);
                }
                Ok(tally)
            }
        },
        |phase| {
            if phase == 0 {
                probe = Some(setup.probe()?);
                started = Instant::now();
            } else {
                usage = probe.take().map(BothProbes::finish).transpose()?;
            }
            Ok(())
        },
    )?;

    let mut tally = Tally::default();
    tallies.into_iter().for_each(|t| tally.merge(t));
    let mut report = Report::new("messages");
    report.value("connections", pairs * 2, "");
    report.value("queues", args.queues, "");
    report.value("body", args.size, "B");
    tally.report(&mut report, started);
    report.usage(usage, tally.delivered, "message");
    setup.publish(&report)?;
    for problem in &tally.problems {
        eprintln!("  {problem}");
    }
    if !tally.is_clean() {
        bail!("verification failed");
    }
    Ok(())
}

/// What the pair `number` of `pairs` does.
fn plan(args: &Args, run_id: u64, number: usize, pairs: usize) -> Plan {
    let count = args.count.map(|count| {
        let (pairs, number) = (pairs as u64, number as u64);
        count / pairs + u64::from(number < count % pairs)
    });
    let interval = args
        .rate
        .map(|rate| Duration::from_secs_f64(pairs as f64 / f64::from(rate)));
    Plan {
        run_id,
        queues: executors::share(args.queues as usize, pairs, number),
        size: args.size as usize,
        count,
        duration: match count {
            Some(_) => None,
            None => Some(Duration::from_secs(
                args.duration.unwrap_or(DEFAULT_DURATION),
            )),
        },
        window: args.window as usize,
        interval,
        // Pairs take turns within an interval.
        offset: interval.map_or(Duration::ZERO, |i| i.mul_f64(number as f64 / pairs as f64)),
        sender_auth: args.sender_auth,
        open_one_of: if args.no_decrypt { 64 } else { 1 },
    }
}
