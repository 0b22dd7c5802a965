//! The control executor's life.

use super::reload::reload_on_request;
use super::{Control, port, vital_signs};
use crate::control::{Statistics, StatisticsConfig};
use crate::runtime::backup::{BackupSource, Places};
use crate::runtime::blocking;
use crate::runtime::core::{CoreMessage, now};
use crate::runtime::mesh::Mesh;
use crate::runtime::metrics;
use crate::runtime::server::{IO_MEMORY, Report, RunError, Shared};
use crate::runtime::shard::whole_seconds;
use crate::runtime::shutdown::{DRAIN_TIME, Shutdown};
use crate::runtime::statistics::{self, StatisticsFiles};
use crate::runtime::wakers::Wakers;
use crate::runtime::web;
use futures_lite::future::or;
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement, spawn_local};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Threads beside the executor, for files: one for pages and statistics while a backup keeps the
/// other busy.
const BLOCKING_THREADS: usize = 2;
/// How long the shards' last words are waited for after they should have stopped.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the control executor on this thread until the relay stops.
pub fn run(
    placement: Placement,
    shared: Arc<Shared>,
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
    let work = serve(control, &shared, files, report);
    executor.run(blocking::finishing(BLOCKING_THREADS, work))
}

async fn serve(
    control: Rc<Control>,
    shared: &Arc<Shared>,
    files: StatisticsFiles,
    report: &mpsc::Sender<Report>,
) -> Result<(), RunError> {
    let stop = Rc::new(Stop::new(shared.shutdown.clone()));
    let receiving = spawn_local({
        let (control, stop) = (Rc::clone(&control), Rc::clone(&stop));
        async move { control.receive(|_| stop.look()).await }
    });
    let (settings, state_dir) = (&shared.settings, &shared.state_dir);
    let source = BackupSource {
        places: Places {
            state: state_dir.clone(),
            configuration: shared.config_dir.clone(),
        },
        store: shared.store_directory.clone(),
        stop: Rc::clone(&stop),
    };
    let operators = port::open(&control, settings, state_dir, shared.control_port, source).await?;
    if let Some(site) = &shared.web {
        web::start(site).await;
    }
    let reloading = reload_on_request(
        Rc::clone(&control),
        Arc::clone(shared),
        Rc::clone(&stop),
        report.clone(),
    );
    let mut tasks = vec![spawn_local(reloading)];
    if let Some(interval) = shared.vital_signs {
        let showing = vital_signs::show(Rc::clone(&control), interval, report.clone());
        tasks.push(spawn_local(showing));
    }
    metrics::start(&control, &stop, settings, shared.metrics, state_dir).await;
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
    for task in tasks {
        task.cancel().await;
    }
    operators.close().await;
    receiving.cancel().await;
    Ok(())
}

/// What signals ask for, which comes with a wake-up of the mesh.
#[derive(Debug)]
pub struct Stop {
    shutdown: Shutdown,
    /// Reloads that were noticed.
    reloads: Cell<usize>,
    waiting: Wakers,
}

impl Stop {
    fn new(shutdown: Shutdown) -> Self {
        Self {
            reloads: Cell::new(shutdown.reloads()),
            shutdown,
            waiting: Wakers::default(),
        }
    }

    fn look(&self) {
        let reloads = self.shutdown.reloads();
        if self.shutdown.is_requested() || self.reloads.replace(reloads) != reloads {
            self.waiting.wake();
        }
    }

    /// Whether a stop is requested.
    pub fn is_requested(&self) -> bool {
        self.shutdown.is_requested()
    }

    /// Waits until more than so many reloads were asked for; how many there were then.
    pub async fn reloads_beyond(&self, seen: usize) -> usize {
        let look = || Some(self.shutdown.reloads()).filter(|reloads| *reloads > seen);
        self.waiting.until(look).await
    }

    /// Waits for the request to stop.
    pub async fn requested(&self) {
        let look = || self.shutdown.is_requested().then_some(());
        self.waiting.until(look).await;
    }
}
