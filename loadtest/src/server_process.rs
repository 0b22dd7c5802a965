//! What the server under test and this process use, read from `/proc`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_resident(&status).with_context(|| format!("no VmRSS in {path}"))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// CPU time of a process so far, user and system.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = parse_ticks(&stat).with_context(|| format!("{path} is not understood"))?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// utime + stime; the command name before them may hold anything, closed by the last `)`.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// What a server used during a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time, all cores together.
    pub cpu: Duration,
    /// Length of the measurement.
    pub elapsed: Duration,
    /// Most resident memory seen, in bytes.
    pub peak_resident: u64,
}

impl Usage {
    /// How many cores were busy on average.
    pub fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// A running measurement.
pub struct Probe {
    pid: u32,
    started: Instant,
    cpu_before: Duration,
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    sampler: Option<JoinHandle<()>>,
}

impl Probe {
    /// Starts measuring the process `pid`.
    pub fn start(pid: u32) -> Result<Self> {
        let cpu_before = cpu_time(pid)?;
        let stop = Arc::new(AtomicBool::new(false));
        let peak = Arc::new(AtomicU64::new(resident_bytes(pid)?));
        let sampler = {
            let (stop, peak) = (Arc::clone(&stop), Arc::clone(&peak));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(SAMPLE_EVERY);
                    if let Ok(now) = resident_bytes(pid) {
                        peak.fetch_max(now, Ordering::Relaxed);
                    }
                }
            })
        };
        Ok(Self {
            pid,
            started: Instant::now(),
            cpu_before,
            stop,
            peak,
            sampler: Some(sampler),
        })
    }

    /// Ends the measurement.
    pub fn finish(mut self) -> Result<Usage> {
        let elapsed = self.started.elapsed();
        let cpu = cpu_time(self.pid)?.saturating_sub(self.cpu_before);
        self.end_sampling();
        Ok(Usage {
            cpu,
            elapsed,
            peak_resident: self.peak.load(Ordering::Relaxed),
        })
    }

    fn end_sampling(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sampler) = self.sampler.take() {
            sampler.thread().unpark();
            // It cannot panic, and a lost sample would not matter.
            let _ = sampler.join();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end_sampling();
    }
}

/// What both ends used during a measurement.
#[derive(Debug, Clone, Copy)]
pub struct BothUsages {
    /// The server, when its process is known.
    pub server: Option<Usage>,
    /// This process: near the number of its executors it is the bottleneck.
    pub own: Usage,
}

/// A running measurement of both ends.
pub struct BothProbes {
    server: Option<Probe>,
    own: Probe,
}

impl BothProbes {
    /// Starts measuring this process and, when given, the server's.
    pub fn start(server: Option<u32>) -> Result<Self> {
        Ok(Self {
            server: server.map(Probe::start).transpose()?,
            own: Probe::start(std::process::id())?,
        })
    }

    /// Ends the measurement.
    pub fn finish(self) -> Result<BothUsages> {
        Ok(BothUsages {
            server: self.server.map(Probe::finish).transpose()?,
            own: self.own.finish()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_of_proc() {
        let stat = "42 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 120 34 0 0 20 0 3 0 5 6 7";
        assert_eq!(parse_ticks(stat), Some(154));
        assert_eq!(parse_ticks("garbage"), None);
        let status = "Name:\tx\nVmPeak:\t  10 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(parse_resident(status), Some(2 << 20));
        assert_eq!(parse_resident("Name: x"), None);
    }

    #[test]
    fn measures_this_process() {
        let probe = Probe::start(std::process::id()).unwrap();
        let usage = probe.finish().unwrap();
        assert!(usage.peak_resident > 0);
        assert!(Probe::start(u32::MAX).is_err());
    }
}
