use super::*;
use crate::runtime::mesh;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;

/// Reports after each of which the next one follows at once: they take many heartbeats.
const REPORTS: usize = 500_000;

/// Counts how often an executor is woken.
#[derive(Default)]
struct Sleeper(AtomicUsize);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn executors_are_woken_however_many_reports_come() {
    let (meshes, alarm) = mesh::connect::<()>(1);
    // A report is sent when the one before is taken.
    let (report, reports) = mpsc::sync_channel(0);
    let shutdown = Shutdown::new(1);
    let supervisor = Supervisor {
        executors: 1,
        shards: 1,
        shutdown: shutdown.clone(),
        alarm,
        reports,
        manager: None,
    };
    let executor = thread::spawn(move || {
        let sleeper = Arc::new(Sleeper::default());
        for woken in 0..3 {
            meshes[0].register(&Waker::from(Arc::clone(&sleeper)));
            let mut left = REPORTS;
            while sleeper.0.load(Ordering::SeqCst) == woken && left > 0 {
                report.send(Report::Reloaded).unwrap();
                left -= 1;
            }
        }
        shutdown.request();
        report.send(Report::Stopped).unwrap();
        sleeper.0.load(Ordering::SeqCst)
    });
    let mut signals = Signals::new([0_i32; 0]).unwrap();
    supervisor.watch(&mut signals).unwrap();
    assert_eq!(executor.join().unwrap(), 3);
}
