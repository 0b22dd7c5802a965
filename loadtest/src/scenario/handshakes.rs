//! Connect, TLS, SMP handshake, close, again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cli::Setup;
use crate::client::Client;
use crate::executors;
use crate::progress::Progress;
use crate::report::{Latency, Report};
use crate::server_process::BothProbes;

/// Options of the scenario.
#[derive(clap::Args, Clone, Copy)]
pub struct Args {
    /// Handshakes at the same time, over all executors
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Seconds to go on
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Let the server answer a PING in each connection
    #[arg(long)]
    ping: bool,
}

#[derive(Default)]
struct Tally {
    latency: Latency,
    last: Option<Instant>,
}

impl Tally {
    fn record(&mut self, latency: Duration, now: Instant) {
        self.latency.record(latency);
        self.last = Some(now);
    }
}

/// Runs the handshakes.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    let lanes = args.concurrency as usize;
    let count = setup.executors_for(lanes);
    let (target, options, args) = (setup.target.clone(), setup.options, *args);
    let mut probe = None;
    let mut started = Instant::now();
    let tallies = executors::run(
        count,
        &Progress::new(None, "handshakes"),
        move |worker| {
            let target = target.clone();
            async move {
                worker.barrier().await?;
                let end = Instant::now() + Duration::from_secs(args.duration);
                let tally = Rc::new(RefCell::new(Tally::default()));
                let mine = worker.share(lanes);
                let (shared, concurrency) = (Rc::clone(&tally), mine.len());
                executors::for_each(mine, concurrency, move |_| {
                    let (tally, target, worker) =
                        (Rc::clone(&shared), target.clone(), worker.clone());
                    async move {
                        while Instant::now() < end {
                            let begun = Instant::now();
                            let mut client = Client::connect(&target, options)
                                .await
                                .context("handshake")?;
                            if args.ping {
                                client.ping().await.context("PING")?;
                            }
                            let now = Instant::now();
                            tally.borrow_mut().record(now - begun, now);
                            worker.advance(1);
                            // A server that closes first makes this fail; the handshake counts.
                            let _ = client.close().await;
                        }
                        Ok(())
                    }
                })
                .await?;
                Ok(tally.take())
            }
        },
        |_| {
            probe = Some(setup.probe()?);
            started = Instant::now();
            Ok(())
        },
    )?;
    let usage = probe.map(BothProbes::finish).transpose()?;

    let mut latency = Latency::default();
    tallies.iter().for_each(|t| latency.merge(&t.latency));
    let last = tallies.iter().filter_map(|t| t.last).max();
    let seconds = last.map_or(0.0, |last| (last - started).as_secs_f64());
    let mut report = Report::new("handshakes");
    report.value("concurrency", lanes, "");
    report.value("handshakes", latency.count(), "");
    report.measured(
        "handshakes per second",
        latency.count() as f64 / seconds,
        "/s",
    );
    report.latency("connect to end of handshake", &latency);
    report.usage(usage, latency.count(), "handshake");
    setup.publish(&report)
}
