//! The executor of a shard.

use super::blocking;
use super::connection::Acceptor;
use super::core::{Core, CoreMessage, Sockets};
use super::days::DayKeeper;
use super::mesh::Mesh;
use super::notes::NoteKeeper;
use super::save;
use super::server::{IO_MEMORY, Report, RunError, Shared};
use super::shutdown::{DRAIN_TIME, Shutdown};
use super::storage;
use super::timers;
use super::web::Web;
use crate::control::StepKind::{Connection, Maintenance, Mesh as FromMesh};
use crate::relay::{Shard, ShardConfig};
use crate::store::AnyStore;
use crate::transport::listener::Listener;
use futures_lite::future::poll_fn;
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement, spawn_local};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How often a draining executor looks whether the others have drained.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// Runs the executor of a shard on this thread until it stops.
pub fn run(
    index: u16,
    placement: Placement,
    shared: &Shared,
    mesh: Mesh<CoreMessage>,
    report: &mpsc::Sender<Report>,
) -> Result<(), RunError> {
    let (settings, partitioner) = (&shared.settings, &shared.partitioner);
    let directory = shared.store_directory.as_ref();
    let store = storage::open(settings, directory, index, partitioner, &shared.key)?;
    let executor = LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{index}"))
        .io_memory(IO_MEMORY)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(storage::BLOCKING_THREADS))
        .make()?;
    let work = run_executor(index, shared, store, mesh, report);
    executor.run(blocking::finishing(storage::BLOCKING_THREADS, work))
}

/// Seconds without their fraction.
pub(super) fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

async fn run_executor(
    index: u16,
    shared: &Shared,
    store: AnyStore,
    mesh: Mesh<CoreMessage>,
    report: &mpsc::Sender<Report>,
) -> Result<(), RunError> {
    let settings = &shared.settings;
    let shard = Shard::new(
        ShardConfig {
            index,
            partitioner: shared.partitioner.clone(),
            queue_quota: settings.relay.msg_queue_quota as usize,
            new_queues: settings.auth.new_queues,
            create_password: settings.auth.create_password.clone(),
            message_ttl: Some(whole_seconds(settings.storage.messages.ttl)),
            expire_on_send: settings.storage.expire_messages_on_send,
            notification_ttl: whole_seconds(settings.storage.notifications.ttl),
            day_starts_at: whole_seconds(settings.relay.stats_day_starts),
        },
        store,
        ChaCha20Rng::from_os_rng(),
    );
    let core = Rc::new(Core::new(
        index,
        shared.partitioner.clone(),
        settings.relay.queue_placement,
        shard,
        mesh,
        ChaCha20Rng::from_os_rng(),
        settings.relay.pending_end_interval,
    ));
    core.use_credential(shared.online.clone());
    let days = DayKeeper::begin(&core);
    let notes = NoteKeeper::begin(&core, settings.storage.restore_messages);
    let acceptor = Rc::new(Acceptor {
        core: Rc::clone(&core),
        tls_setup_timeout: settings.relay.tls_setup_timeout,
        handshake_timeout: settings.relay.handshake_timeout,
        max_connections: settings
            .relay
            .max_connections
            .map_or(usize::MAX, |max| max.div_ceil(usize::from(shared.shards))),
        log_tls_errors: settings.transport.log_tls_errors,
    });
    let mut listeners = Vec::with_capacity(shared.addresses.len());
    for (index, address) in shared.addresses.iter().enumerate() {
        let sockets = core.count_sockets(address.port());
        let web = shared.web.clone().filter(|web| web.shares(index));
        listeners.push((Listener::bind(*address).await?, sockets, web));
    }
    let failure = Rc::new(Failure::default());
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|(listener, sockets, web)| {
            let (acceptor, failure) = (Rc::clone(&acceptor), Rc::clone(&failure));
            spawn_local(accept(acceptor, listener, sockets, web, failure))
        })
        .collect();
    let steps = core.steps();
    let receiving = receive_from_mesh(Rc::clone(&core), shared.shutdown.clone());
    let receiving = steps.spawn(FromMesh, receiving);
    let swept = report.clone();
    let timers = timers::spawn(&core, settings, move |sweep| {
        // The main thread may have given up already.
        let _ = swept.send(Report::Swept(sweep));
    });
    let durability = settings.relay.durability;
    let keeping = [
        steps.spawn(Maintenance, storage::keep_space(Rc::clone(&core))),
        steps.spawn(Maintenance, storage::keep_warm(Rc::clone(&core))),
        steps.spawn(Maintenance, storage::maintain(Rc::clone(&core))),
        steps.spawn(Maintenance, {
            let mut keepers = vec![("when queues were last used", days.saves())];
            keepers.extend(notes.iter().map(|notes| ("notifications", notes.saves())));
            save::save_on_request(Rc::clone(&core), keepers)
        }),
        steps.spawn(Maintenance, storage::check_aliases(Rc::clone(&core))),
    ];
    let syncing = steps.spawn(Maintenance, {
        let (core, failure) = (Rc::clone(&core), Rc::clone(&failure));
        async move { failure.set(storage::keep_durable(core, durability).await) }
    });
    // The main thread may have given up already.
    let _ = report.send(Report::Listening);

    let result = failure.or_stop(&shared.shutdown, &core).await;
    for task in accepting {
        task.cancel().await;
    }
    // After a failed sync nothing can be answered any more that somebody waits for.
    if !matches!(result, Err(RunError::Sync(_))) {
        drain(&core, &shared.shutdown).await;
    }
    receiving.cancel().await;
    for task in timers.into_iter().chain(keeping) {
        task.cancel().await;
    }
    if let Some(notes) = notes {
        notes.finish().await;
    }
    days.finish().await;
    tracing::debug!("steps of shard {index}: {}", core.steps().times());
    let finished = match result {
        Err(error @ RunError::Sync(_)) => Err(error),
        result => {
            let synced = failure.or_synced(&core).await;
            let finished = synced.and_then(|()| Ok(storage::finish(&core)?));
            result.and(finished)
        }
    };
    syncing.cancel().await;
    core.say_last_words();
    finished
}

/// What fails and ends the executor, and the task that waits for it.
#[derive(Default)]
struct Failure {
    error: Cell<Option<RunError>>,
    waiting: RefCell<Option<Waker>>,
}

impl Failure {
    fn set(&self, error: impl Into<RunError>) {
        self.error.set(Some(error.into()));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Ready when no sync is under way any more; tells whether the last one failed.
    async fn or_synced(&self, core: &Core) -> Result<(), RunError> {
        poll_fn(|cx| {
            if let Some(error) = self.error.take() {
                return Poll::Ready(Err(error));
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            core.poll_idle_sync(cx).map(Ok)
        })
        .await
    }

    /// Ready when a listener has failed or a stop is requested.
    async fn or_stop(&self, shutdown: &Shutdown, core: &Core) -> Result<(), RunError> {
        poll_fn(|cx| {
            if let Some(error) = self.error.take() {
                return Poll::Ready(Err(error));
            }
            if shutdown.is_requested() {
                return Poll::Ready(Ok(()));
            }
            core.wake_on_alarm(cx.waker());
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

async fn accept(
    acceptor: Rc<Acceptor>,
    listener: Listener,
    sockets: Rc<Sockets>,
    web: Option<Arc<Web>>,
    failure: Rc<Failure>,
) {
    loop {
        match listener.accept().await {
            Ok(tcp) => {
                let open = sockets.open();
                // Dropping it tells the client to try again later.
                if acceptor.has_room() {
                    let serving = Rc::clone(&acceptor).serve(tcp, web.clone());
                    let steps = acceptor.core.steps();
                    let serving = steps.spawn(Connection, async move {
                        serving.await;
                        drop(open);
                    });
                    serving.detach();
                }
            }
            Err(error) => {
                failure.set(error);
                return;
            }
        }
    }
}

/// The one task that receives what other executors send.
async fn receive_from_mesh(core: Rc<Core>, shutdown: Shutdown) {
    poll_fn::<(), _>(|cx| {
        core.mesh().register(cx.waker());
        if core.receive() {
            cx.waker().wake_by_ref();
        }
        if shutdown.is_requested() {
            core.note_alarm();
        }
        Poll::Pending
    })
    .await;
}

/// Answers what is in flight, here and for the others, then closes.
async fn drain(core: &Core, shutdown: &Shutdown) {
    core.stop();
    let deadline = Instant::now() + DRAIN_TIME;
    let mut drained = false;
    while Instant::now() < deadline {
        if !drained && core.session_count() == 0 {
            drained = true;
            shutdown.drained();
        }
        if shutdown.is_drained() {
            return;
        }
        sleep(DRAIN_POLL).await;
    }
}
