//! Create queues, pipelined.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context as _, Result};
use smp_server::protocol::Response;

use crate::cli::Setup;
use crate::client::{Client, unexpected, within};
use crate::error::ClientError;
use crate::executors;
use crate::outbox::CorrId;
use crate::progress::Progress;
use crate::queue::KeyPool;
use crate::report::{Latency, Report};
use crate::server_process::BothProbes;

/// Options of the scenario.
#[derive(clap::Args, Clone, Copy)]
pub struct Args {
    /// Queues to create
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    queues: u32,
    /// Connections that create them
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Commands in flight per connection
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Different key pairs per executor; queues share them in turn
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Only create, do not subscribe
    #[arg(long)]
    no_subscribe: bool,
}

/// Creates the queues.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    let (total, connections) = (args.queues as usize, args.connections as usize);
    let count = setup.executors_for(connections);
    let (target, options, copied) = (setup.target.clone(), setup.options, *args);
    let mut probe = None;
    let mut started = Instant::now();
    let results = executors::run(
        count,
        &Progress::new(Some(total as u64), "queues"),
        move |worker| {
            let target = target.clone();
            let args = copied;
            async move {
                let keys = Rc::new(KeyPool::generate(args.keys as usize)?);
                let mine = worker.share(connections);
                let lanes = mine.len();
                let connect = {
                    let target = target.clone();
                    move |_| {
                        let target = target.clone();
                        async move { Ok(Client::connect(&target, options).await?) }
                    }
                };
                let clients = executors::for_each(mine.clone(), lanes, connect).await?;
                worker.barrier().await?;

                let clients = RefCell::new(clients.into_iter().map(Some).collect::<Vec<_>>());
                let first = mine.start;
                let latencies = executors::for_each(mine, lanes, move |number| {
                    let client = clients.borrow_mut()[number - first].take();
                    let (keys, worker) = (Rc::clone(&keys), worker.clone());
                    let password = target.password.clone();
                    async move {
                        let client = client.context("a connection is used twice")?;
                        let range = executors::share(total, connections, number);
                        let create = Create {
                            client,
                            keys,
                            password,
                            subscribe: !args.no_subscribe,
                            pipeline: args.pipeline as usize,
                        };
                        create.run(range, |done| worker.advance(done)).await
                    }
                })
                .await?;
                let mut latency = Latency::default();
                latencies.iter().for_each(|l| latency.merge(l));
                Ok((latency, Instant::now()))
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
    results.iter().for_each(|r| latency.merge(&r.0));
    let last = results.iter().map(|r| r.1).max().unwrap_or(started);
    let mut report = Report::new("queues");
    report.value("connections", connections, "");
    report.value("queues", latency.count(), "");
    let seconds = (last - started).as_secs_f64();
    report.measured("queues per second", latency.count() as f64 / seconds, "/s");
    report.latency("NEW to IDS", &latency);
    report.usage(usage, latency.count(), "queue");
    setup.publish(&report)
}

/// Creation of many queues on one connection.
struct Create {
    client: Client,
    keys: Rc<KeyPool>,
    password: Option<String>,
    subscribe: bool,
    pipeline: usize,
}

impl Create {
    async fn run(
        mut self,
        range: std::ops::Range<usize>,
        progress: impl Fn(u64),
    ) -> Result<Latency> {
        let mut latency = Latency::default();
        let mut in_flight: HashMap<CorrId, Instant> = HashMap::new();
        let mut left = range;
        loop {
            // Refill only when half is answered, so that blocks are well filled.
            if in_flight.len() <= self.pipeline / 2 {
                let now = Instant::now();
                for number in left.by_ref().take(self.pipeline - in_flight.len()) {
                    let keys = self.keys.get(number);
                    let command = keys.new_queue(self.password.as_deref(), self.subscribe);
                    let corr_id = self.client.send(&command, &[], keys.sign())?;
                    in_flight.insert(corr_id, now);
                }
            }
            if in_flight.is_empty() {
                return Ok(latency);
            }
            let before = in_flight.len();
            self.receive(&mut in_flight, &mut latency).await?;
            progress((before - in_flight.len()) as u64);
        }
    }

    async fn receive(
        &mut self,
        in_flight: &mut HashMap<CorrId, Instant>,
        latency: &mut Latency,
    ) -> Result<(), ClientError> {
        let limit = self.client.timeout();
        let client = &mut self.client;
        within(
            limit,
            poll_fn(|cx| {
                let mut failed = None;
                let polled = client.poll_drive(cx, &mut |incoming, _| {
                    let sent = CorrId::try_from(incoming.corr_id)
                        .ok()
                        .and_then(|id| in_flight.remove(&id));
                    match (sent, &incoming.response) {
                        (Some(sent), Response::Ids(_)) => latency.record(sent.elapsed()),
                        (_, other) => failed = Some(unexpected("NEW", other)),
                    }
                });
                match failed {
                    Some(e) => Poll::Ready(Err(e)),
                    None => polled,
                }
            }),
        )
        .await
    }
}
