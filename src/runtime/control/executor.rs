//! The control executor's life.

use super::{Control, port};
use crate::control::{Statistics, StatisticsConfig};
use crate::runtime::blocking;
use crate::runtime::core::{CoreMessage, now};
use crate::runtime::mesh::Mesh;
use crate::runtime::metrics;
use crate::runtime::server::{IO_MEMORY, Report, RunError, Shared};
use crate::runtime::shard::whole_seconds;
use crate::runtime::shutdown::{DRAIN_TIME, Shutdown};
use crate::runtime::statistics::{self, StatisticsFiles};
use crate::runtime::web;
use futures_lite::future::{or, poll_fn};
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement, spawn_local};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Threads beside the executor, for files.
const BLOCKING_THREADS: usize = 1;
/// How long the shards' last words are waited for after they should have stopped.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the control executor on this thread until the relay stops.
pub fn run(
    placement: Placement,
    shared: &Shared,
    mesh: Mesh<CoreMessage>,
    report: &mpsc::Sender<Report>,
) -> Result<(), RunError> {
    let executor = LocalExecutorBuilder::new(placement)
        .name("control")
        .io_memory(IO_MEMORY)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make()?;
    let settings = &shared.settings;
    let (files, saved) = StatisticsFiles::open(&shared.state_dir, settings);
    let config = StatisticsConfig {
        day_starts_at: whole_seconds(settings.relay.stats_day_starts),
        rows: settings.storage.log_stats,
    };
    let statistics = Statistics::new(config, saved, now().nanos);
    let control = Rc::new(Control::new(shared.partitioner.clone(), mesh, statistics));
    executor.run(serve(control, shared, files, report))
}

async fn serve(
    control: Rc<Control>,
    shared: &Shared,
    files: StatisticsFiles,
    report: &mpsc::Sender<Report>,
) -> Result<(), RunError> {
    let stop = Rc::new(Stop::new(shared.shutdown.clone()));
    let receiving = spawn_local({
        let (control, stop) = (Rc::clone(&control), Rc::clone(&stop));
        async move { control.receive(|_| stop.look()).await }
    });
    let (settings, state_dir) = (&shared.settings, &shared.state_dir);
    let operators = port::open(&control, settings, state_dir, shared.control_port).await?;
    if let Some(site) = &shared.web {
        web::spawn(site);
    }
    metrics::spawn(&control, &stop, settings, shared.metrics, state_dir);
    let keeping = statistics::keep(Rc::clone(&control), files, Rc::clone(&stop));
    let keeping = spawn_local(keeping);
    // The main thread may have given up already.
    let _ = report.send(Report::Listening);
    stop.requested().await;
    let files = keeping.await;
    let last_words = or(async { Some(control.last_words().await) }, async {
        sleep(DRAIN_TIME + GRACE).await;
        None
    })
    .await;
    match last_words {
        Some(shards) => {
            let (saved, row) = control.settle(now().nanos, &shards);
            if let (_, Err(error)) = statistics::save(files, saved, row).await {
                tracing::error!("cannot save statistics: {error}");
            }
        }
        None => tracing::error!("not every shard has stopped in time"),
    }
    operators.close().await;
    receiving.cancel().await;
    blocking::settle(BLOCKING_THREADS).await;
    Ok(())
}

/// The request to stop, which comes with a wake-up of the mesh.
#[derive(Debug)]
pub struct Stop {
    shutdown: Shutdown,
    waiting: RefCell<Vec<Waker>>,
}

impl Stop {
    fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            waiting: RefCell::default(),
        }
    }

    fn look(&self) {
        if self.shutdown.is_requested() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether a stop is requested.
    pub fn is_requested(&self) -> bool {
        self.shutdown.is_requested()
    }

    /// Waits for the request to stop.
    pub async fn requested(&self) {
        poll_fn(|cx| {
            if self.shutdown.is_requested() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
