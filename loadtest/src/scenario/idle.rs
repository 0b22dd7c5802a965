//! Connections that do nothing, and what they cost the server.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::cli::Setup;
use crate::client::Client;
use crate::executors;
use crate::progress::Progress;
use crate::queue::{KeyPool, Queue};
use crate::report::Report;
use crate::server_process::resident_bytes;

/// Descriptors this process needs besides connections.
const SPARE_FILES: u64 = 64;
/// Memory counts as settled when this many samples in a row differ by less than 0.5 %.
const STABLE_SAMPLES: usize = 4;
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
const LONGEST_SETTLING: Duration = Duration::from_secs(60);

/// Options of the scenario.
#[derive(clap::Args, Clone, Copy)]
pub struct Args {
    /// Connections
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Create a queue in each connection and stay subscribed to it
    #[arg(long)]
    subscribe: bool,
    /// Handshakes at the same time, over all executors
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Seconds to hold the connections [default: until the memory of the server is stable]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    hold: Option<u64>,
}

/// Opens the connections and watches the server's memory.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    let total = args.connections as usize;
    raise_file_limit(u64::from(args.connections) + SPARE_FILES)?;
    let count = setup.executors_for(total);
    let (target, options, copied) = (setup.target.clone(), setup.options, *args);
    let resident = || setup.server_pid.map(resident_bytes).transpose();
    let (mut before, mut after) = (None, None);
    let mut started = Instant::now();
    let mut connecting = Duration::ZERO;
    let alive = executors::run(
        count,
        &Progress::new(Some(total as u64), "connections"),
        move |worker| {
            let target = target.clone();
            let args = copied;
            async move {
                let keys = Rc::new(KeyPool::generate(16)?);
                worker.barrier().await?;
                let mine = worker.share(total);
                let limit = worker.share(args.concurrency as usize).len().max(1);
                let connect = {
                    let worker = worker.clone();
                    move |number: usize| {
                        let (target, keys, worker) =
                            (target.clone(), Rc::clone(&keys), worker.clone());
                        async move {
                            worker.check()?;
                            let mut client = Client::connect(&target, options)
                                .await
                                .with_context(|| format!("connection {number}"))?;
                            if args.subscribe {
                                let password = target.password.as_deref();
                                Queue::create(&mut client, keys.get(number), password, true)
                                    .await
                                    .context("NEW")?;
                            } else {
                                // The server answers only after it has taken the hello.
                                client.ping().await.context("PING")?;
                            }
                            client.shrink();
                            worker.advance(1);
                            Ok(client)
                        }
                    }
                };
                let mut clients = executors::for_each(mine, limit, connect).await?;
                worker.barrier().await?;
                // The connections must have survived.
                for client in &mut clients {
                    client.ping().await.context("PING after holding")?;
                }
                Ok(clients.len())
            }
        },
        |phase| {
            if phase == 0 {
                before = resident()?;
                started = Instant::now();
            } else {
                connecting = started.elapsed();
                after = hold(args.hold.map(Duration::from_secs), &resident)?;
            }
            Ok(())
        },
    )?;

    let mut report = Report::new("idle");
    report.value("connections", alive.iter().sum::<usize>(), "");
    report.value("subscribed", args.subscribe, "");
    report.measured("connecting", connecting.as_secs_f64(), "s");
    let mib = |bytes: Option<u64>| bytes.map_or(f64::NAN, |b| b as f64 / f64::from(1 << 20));
    report.measured("server RSS before", mib(before), "MiB");
    report.measured("server RSS after", mib(after), "MiB");
    let each = match (before, after) {
        (Some(before), Some(after)) => (after as f64 - before as f64) / total as f64,
        _ => f64::NAN,
    };
    report.measured("server bytes per connection", each, "B");
    setup.publish(&report)
}

/// Waits for the given time, or until the server's memory does not change any more.
fn hold(time: Option<Duration>, resident: &dyn Fn() -> Result<Option<u64>>) -> Result<Option<u64>> {
    if let Some(time) = time {
        std::thread::sleep(time);
        return resident();
    }
    let mut samples = Vec::new();
    let end = Instant::now() + LONGEST_SETTLING;
    while Instant::now() < end {
        let Some(now) = resident()? else {
            return Ok(None);
        };
        samples.push(now);
        if is_stable(&samples) {
            break;
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
    Ok(samples.last().copied())
}

fn is_stable(samples: &[u64]) -> bool {
    let Some((_, last)) = samples.split_last_chunk::<STABLE_SAMPLES>() else {
        return false;
    };
    let (min, max) = last.iter().fold((u64::MAX, 0), |(min, max), &sample| {
        (min.min(sample), max.max(sample))
    });
    max - min <= max / 200
}

/// Allows `wanted` open files: raises the soft limit to the hard one when needed.
fn raise_file_limit(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum
        && hard < wanted
    {
        bail!("{wanted} open files are needed, the limit is {hard}: see ulimit -Hn");
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_stable_when_the_last_samples_agree() {
        assert!(!is_stable(&[]));
        assert!(!is_stable(&[1000, 1000, 1000]));
        assert!(!is_stable(&[1000, 1000, 1000, 1100]));
        assert!(is_stable(&[500, 1000, 1001, 1002, 1003]));
    }
}
