//! The hour after a restart: all clients reconnect at once and subscribe to all their queues.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context as _, Result};
use smp_server::protocol::{Command, Response};

use crate::body::{Bodies, MAX_LEN, MIN_LEN, Stamp};
use crate::cli::Setup;
use crate::client::{Client, Incoming, Options, unexpected, within};
use crate::error::ClientError;
use crate::executors::{self, Worker};
use crate::outbox::{Auth, CorrId, Outbox};
use crate::progress::Progress;
use crate::queue::KeyPool;
use crate::report::{Latency, Report};
use crate::server_process::BothProbes;
use crate::target::Target;

/// Options of the scenario.
#[derive(clap::Args, Clone, Copy)]
pub struct Args {
    /// Clients
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Queues of each client
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    queues: u32,
    /// Let one message wait in each queue, and acknowledge it
    #[arg(long)]
    pending: bool,
    /// Bytes of a waiting message
    #[arg(long, default_value_t = MAX_LEN as u32,
          value_parser = clap::value_parser!(u32).range(MIN_LEN as i64..=MAX_LEN as i64))]
    size: u32,
    /// SUBs in flight per client; official clients send 1,360 at a time
    #[arg(long, default_value_t = 1360, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pipeline: u32,
    /// Clients that connect at the same time, over all executors
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
}

/// What a client keeps of its queues while it is away.
struct Stored {
    /// Recipient ids, in the order of creation.
    recipient_ids: Vec<Box<[u8]>>,
    /// Number of the client's first queue, which tells the keys.
    first: usize,
}

/// Times and counts of one client.
struct Outcome {
    connected: Instant,
    last_sok: Instant,
    last_ack: Option<Instant>,
    subscribed: u64,
    acknowledged: u64,
    latency: Latency,
}

/// Creates the queues, disconnects, reconnects and subscribes.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    let (clients, queues) = (args.clients as usize, args.queues as usize);
    let count = setup.executors_for(clients);
    let (target, options, copied) = (setup.target.clone(), setup.options, *args);
    let mut probe = None;
    let mut started = Instant::now();
    let total = (clients * queues) as u64;
    let outcomes = executors::run(
        count,
        &Progress::new(Some(total * 2), "queues created and subscribed"),
        move |worker| {
            let job = Job {
                target: target.clone(),
                options,
                args: copied,
                worker,
            };
            async move { job.run().await }
        },
        |_| {
            probe = Some(setup.probe()?);
            started = Instant::now();
            Ok(())
        },
    )?;
    let usage = probe.map(BothProbes::finish).transpose()?;

    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    let since =
        |last: Option<Instant>| last.map_or(f64::NAN, |last| (last - started).as_secs_f64());
    let mut latency = Latency::default();
    outcomes.iter().for_each(|o| latency.merge(&o.latency));
    let subscribed: u64 = outcomes.iter().map(|o| o.subscribed).sum();
    let acknowledged: u64 = outcomes.iter().map(|o| o.acknowledged).sum();
    let last_sok = since(outcomes.iter().map(|o| o.last_sok).max());
    let last_ack = since(outcomes.iter().filter_map(|o| o.last_ack).max());

    let mut report = Report::new("resubscribe");
    report.value("clients", clients, "");
    report.value("subscribed", subscribed, "");
    let connected = since(outcomes.iter().map(|o| o.connected).max());
    report.measured("last connected after", connected, "s");
    report.measured("last SOK after", last_sok, "s");
    report.measured("SUBs per second", subscribed as f64 / last_sok, "/s");
    report.latency("SUB to SOK", &latency);
    report.value("messages acknowledged", acknowledged, "");
    report.measured("last ACK confirmed after", last_ack, "s");
    report.usage(usage, subscribed, "subscription");
    setup.publish(&report)
}

struct Job {
    target: Target,
    options: Options,
    args: Args,
    worker: Worker,
}

impl Job {
    async fn run(self) -> Result<Vec<Outcome>> {
        let args = self.args;
        let keys = Rc::new(KeyPool::generate(64)?);
        let mine = self.worker.share(args.clients as usize);
        let limit = self.worker.share(args.concurrency as usize).len().max(1);
        let job = Rc::new(self);

        let create = {
            let (job, keys) = (Rc::clone(&job), Rc::clone(&keys));
            move |number| {
                let (job, keys) = (Rc::clone(&job), Rc::clone(&keys));
                async move { job.create(number, &keys).await.context("create queues") }
            }
        };
        let stored = executors::for_each(mine.clone(), limit, create).await?;
        job.worker.barrier().await?;

        let stored = RefCell::new(stored.into_iter().map(Some).collect::<Vec<_>>());
        let start = mine.start;
        let everyone = mine.len();
        let resubscribe = {
            let job = Rc::clone(&job);
            // Connecting is limited, being connected is not.
            let gate = Rc::new(glommio::sync::Semaphore::new(limit as u64));
            move |number: usize| {
                let (job, keys, gate) = (Rc::clone(&job), Rc::clone(&keys), Rc::clone(&gate));
                let stored = stored.borrow_mut()[number - start].take();
                async move {
                    let stored = stored.context("a client is used twice")?;
                    let client = {
                        let _permit = gate.acquire_permit(1).await;
                        Client::connect(&job.target, job.options)
                            .await
                            .context("reconnect")?
                    };
                    Resubscription::new(client, stored, keys, &job)
                        .run()
                        .await
                        .context("resubscribe")
                }
            }
        };
        executors::for_each(mine, everyone, resubscribe).await
    }

    /// Creates the queues of a client without subscribing, and fills them if wanted.
    async fn create(&self, number: usize, keys: &KeyPool) -> Result<Stored> {
        self.worker.check()?;
        let queues = self.args.queues as usize;
        let first = number * queues;
        let password = self.target.password.as_deref();
        let mut client = Client::connect(&self.target, self.options).await?;
        let mut stored = Stored {
            recipient_ids: Vec::with_capacity(queues),
            first,
        };
        let mut bodies = Bodies::new(0, self.args.size as usize);
        // As many as fit a few blocks at a time.
        for begin in (0..queues).step_by(256) {
            let end = queues.min(begin + 256);
            let mut corr_ids = Vec::with_capacity(end - begin);
            for queue in begin..end {
                let keys = keys.get(first + queue);
                let command = keys.new_queue(password, false);
                corr_ids.push(client.send(&command, &[], keys.sign())?);
            }
            let mut sends = Vec::new();
            for (queue, corr_id) in (begin..end).zip(corr_ids) {
                let ids = match client.reply(&corr_id).await?.response {
                    Response::Ids(ids) => ids,
                    other => return Err(unexpected("NEW", &other).into()),
                };
                stored.recipient_ids.push(ids.recipient_id.as_ref().into());
                if self.args.pending {
                    let body = bodies.make(Stamp {
                        queue: u32::try_from(first + queue)?,
                        sequence: 0,
                        time: 0,
                    });
                    let command = Command::Send {
                        notify: false,
                        body,
                    };
                    sends.push(client.send(&command, &ids.sender_id, Auth::None)?);
                }
            }
            for corr_id in sends {
                match client.reply(&corr_id).await?.response {
                    Response::Ok => {}
                    other => return Err(unexpected("SEND", &other).into()),
                }
            }
            self.worker.advance((end - begin) as u64);
        }
        client.close().await?;
        Ok(stored)
    }
}

/// A reconnected client on its way to full subscription.
struct Resubscription {
    client: Client,
    stored: Stored,
    worker: Worker,
    pipeline: usize,
    state: State,
}

/// What the answers change.
struct State {
    keys: Rc<KeyPool>,
    /// Queue numbers by recipient id.
    numbers: HashMap<Box<[u8]>, usize>,
    subs: HashMap<CorrId, Instant>,
    acks: HashSet<CorrId>,
    /// Queues whose message was not acknowledged yet; nothing when none is expected.
    waiting: usize,
    outcome: Outcome,
    failed: Option<ClientError>,
}

impl Resubscription {
    fn new(client: Client, stored: Stored, keys: Rc<KeyPool>, job: &Job) -> Self {
        let now = Instant::now();
        let numbers = stored.recipient_ids.iter().cloned();
        Self {
            state: State {
                keys,
                numbers: numbers.zip(stored.first..).collect(),
                subs: HashMap::new(),
                acks: HashSet::new(),
                waiting: if job.args.pending {
                    stored.recipient_ids.len()
                } else {
                    0
                },
                outcome: Outcome {
                    connected: now,
                    last_sok: now,
                    last_ack: None,
                    subscribed: 0,
                    acknowledged: 0,
                    latency: Latency::default(),
                },
                failed: None,
            },
            client,
            stored,
            worker: job.worker.clone(),
            pipeline: job.args.pipeline as usize,
        }
    }

    async fn run(mut self) -> Result<Outcome> {
        let mut next = 0;
        let total = self.stored.recipient_ids.len();
        let limit = self.client.timeout();
        loop {
            // Refill only when half is answered, so that blocks are well filled.
            if self.state.subs.len() <= self.pipeline / 2 {
                let now = Instant::now();
                while next < total && self.state.subs.len() < self.pipeline {
                    let id = &self.stored.recipient_ids[next];
                    let keys = self.state.keys.get(self.stored.first + next);
                    let corr_id = self.client.send(&Command::Sub, id, keys.sign())?;
                    self.state.subs.insert(corr_id, now);
                    next += 1;
                }
            }
            let state = &mut self.state;
            if state.subs.is_empty() && state.waiting == 0 {
                return Ok(self.state.outcome);
            }
            let before = state.outcome.subscribed;
            let client = &mut self.client;
            within(
                limit,
                poll_fn(|cx| {
                    let polled =
                        client.poll_drive(cx, &mut |incoming, outbox| state.take(incoming, outbox));
                    match state.failed.take() {
                        Some(e) => Poll::Ready(Err(e)),
                        None => polled,
                    }
                }),
            )
            .await?;
            self.worker.advance(self.state.outcome.subscribed - before);
            self.worker.check()?;
        }
    }
}

impl State {
    fn take(&mut self, incoming: Incoming<'_>, outbox: &mut Outbox) {
        if let Err(e) = self.handle(&incoming, outbox) {
            self.failed = Some(e);
        }
    }

    fn handle(&mut self, incoming: &Incoming<'_>, outbox: &mut Outbox) -> Result<(), ClientError> {
        let corr_id = CorrId::try_from(incoming.corr_id).ok();
        if let Some(sent) = corr_id.and_then(|id| self.subs.remove(&id)) {
            let now = Instant::now();
            self.outcome.latency.record(now - sent);
            self.outcome.last_sok = now;
            self.outcome.subscribed += 1;
            return match &incoming.response {
                Response::Sok(_) | Response::Ok => Ok(()),
                // Old servers answer with the message.
                Response::Msg { msg_id, .. } => self.acknowledge(incoming, msg_id, outbox),
                other => Err(unexpected("SUB", other)),
            };
        }
        if corr_id.is_some_and(|id| self.acks.remove(&id)) {
            return match &incoming.response {
                Response::Ok => {
                    self.waiting = self.waiting.saturating_sub(1);
                    self.outcome.acknowledged += 1;
                    self.outcome.last_ack = Some(Instant::now());
                    Ok(())
                }
                other => Err(unexpected("ACK", other)),
            };
        }
        match &incoming.response {
            Response::Msg { msg_id, .. } => self.acknowledge(incoming, msg_id, outbox),
            other => Err(unexpected("SUB", other)),
        }
    }

    fn acknowledge(
        &mut self,
        incoming: &Incoming<'_>,
        msg_id: &[u8],
        outbox: &mut Outbox,
    ) -> Result<(), ClientError> {
        let Some(&number) = self.numbers.get(incoming.entity_id) else {
            return Err(unexpected("SUB", &incoming.response));
        };
        let auth = self.keys.get(number).sign();
        let command = Command::Ack { msg_id };
        let corr_id = outbox.send(&command, incoming.entity_id, auth)?;
        self.acks.insert(corr_id);
        Ok(())
    }
}
