//! What the main thread does while the executors work: it hears from them, from the operator by
//! signals, and tells the service manager.

use super::mesh::MeshAlarm;
use super::server::{Report, RunError};
use super::service_manager::ServiceManager;
use super::shutdown::Shutdown;
use super::sweeps::{SweepTotals, Sweeps};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often every executor is woken from outside: glommio 0.9 was seen to sleep on although a
/// timer or socket was ready, after its thread had been suspended, until something else woke it.
/// As often, signals are looked for.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// When the executors are to be woken next.
struct Heartbeat(Instant);

/// The main thread's end of everything.
pub(super) struct Supervisor {
    /// Number of executors that have been started.
    pub executors: usize,
    /// Number of shards.
    pub shards: usize,
    pub shutdown: Shutdown,
    pub alarm: MeshAlarm,
    pub reports: mpsc::Receiver<Report>,
    pub manager: Option<ServiceManager>,
}

/// The signals that mean something, from now on.
pub(super) fn signals() -> io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP])
}

impl Supervisor {
    /// Waits until every executor listens; false when it was told to stop before.
    pub fn await_listening(&self, signals: &mut Signals) -> Result<bool, RunError> {
        let mut starting = self.executors;
        let mut heartbeat = Heartbeat(Instant::now() + HEARTBEAT);
        while starting > 0 {
            // A port may take a minute to become free. What a reload would read is read anyway.
            if signals.pending().any(|signal| signal != SIGHUP) {
                return Ok(false);
            }
            match self.next_report(&mut heartbeat)? {
                Some(Report::Listening) => starting -= 1,
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Stopped) => return Err(RunError::ExecutorFailed),
                Some(Report::Swept(_) | Report::Alive(_) | Report::Reloaded) | None => {}
            }
        }
        Ok(true)
    }

    /// Watches over the executors, which listen, until they have stopped.
    pub fn watch(&self, signals: &mut Signals) -> Result<(), RunError> {
        self.tell(ServiceManager::ready);
        let mut running = self.executors;
        let mut sweeps = Sweeps::new(self.shards);
        let mut heartbeat = Heartbeat(Instant::now() + HEARTBEAT);
        while running > 0 {
            for signal in signals.pending() {
                self.obey(signal);
            }
            match self.next_report(&mut heartbeat)? {
                Some(Report::Swept(sweep)) => {
                    if let Some(totals) = sweeps.add(sweep) {
                        log_sweep(totals);
                    }
                }
                Some(Report::Alive(status)) => self.tell(|manager| manager.alive(&status)),
                Some(Report::Reloaded) => self.tell(ServiceManager::ready),
                Some(Report::Stopped) if self.shutdown.is_requested() => running -= 1,
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Listening | Report::Stopped) => return Err(RunError::ExecutorFailed),
                None => {}
            }
        }
        Ok(())
    }

    /// The next report; `None` when none has come until the next heartbeat. Reports, however many,
    /// put off no heartbeat.
    fn next_report(&self, heartbeat: &mut Heartbeat) -> Result<Option<Report>, RunError> {
        let now = Instant::now();
        if heartbeat.0 <= now {
            self.alarm.wake_all();
            heartbeat.0 = now + HEARTBEAT;
        }
        match self.reports.recv_timeout(heartbeat.0 - now) {
            Ok(report) => Ok(Some(report)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(RunError::ExecutorFailed),
        }
    }

    fn obey(&self, signal: i32) {
        let name = match signal {
            SIGHUP if self.shutdown.is_requested() => return,
            SIGHUP => {
                tracing::info!("Received SIGHUP, reloading certificates...");
                self.tell(ServiceManager::reloading);
                self.shutdown.request_reload();
                return self.alarm.wake_all();
            }
            SIGINT => "SIGINT",
            _ => "SIGTERM",
        };
        tracing::info!("Received {name}, stopping server...");
        self.tell(ServiceManager::stopping);
        self.shutdown.request();
        self.alarm.wake_all();
    }

    fn tell(&self, say: impl FnOnce(&ServiceManager)) {
        if let Some(manager) = &self.manager {
            say(manager);
        }
    }
}

fn log_sweep(totals: SweepTotals) {
    let SweepTotals {
        stored,
        expired,
        queues,
    } = totals;
    tracing::info!("STORE: messages stored: {stored}, expired: {expired}, queues: {queues}");
}

#[cfg(test)]
mod tests;
