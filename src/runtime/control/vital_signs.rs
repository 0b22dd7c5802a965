//! Whether all executors are alive, told to the service manager.

use super::Control;
use crate::runtime::server::Report;
use crate::runtime::service_manager::watchdog_limit;
use glommio::timer::sleep;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Time between two lines about the relay.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How often the service manager is told: as often as it shows, and twice in the time within which
/// it wants a sign of life.
pub fn interval() -> Duration {
    let limit = watchdog_limit().unwrap_or(Duration::MAX);
    STATUS_INTERVAL.min(limit / 2)
}

/// Tells what the shards have answered, for as long as all of them answer: while one does not, there
/// is no sign of life.
pub async fn show(control: Rc<Control>, interval: Duration, report: mpsc::Sender<Report>) {
    let mut before: Option<(Instant, u64)> = None;
    loop {
        let overview = control.overview().await;
        let (now, sent) = (Instant::now(), overview.since_start.messages_sent);
        let rate = before.map_or(0.0, |(at, before)| {
            sent.saturating_sub(before) as f64 / now.duration_since(at).as_secs_f64()
        });
        before = Some((now, sent));
        let connections = overview.sessions;
        let status = format!("{connections} connections, {rate:.1} messages/s");
        if report.send(Report::Alive(status)).is_err() {
            return;
        }
        sleep(interval).await;
    }
}
