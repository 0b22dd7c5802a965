//! Starting and stopping the executors.

use super::connection::Acceptor;
use super::core::{Core, CoreMessage};
use super::mesh::{self, Mesh, MeshAlarm};
use super::partition_key;
use super::placement;
use super::shutdown::{DRAIN_TIME, Shutdown};
use super::steps::StepKind;
use super::storage;
use super::sweeps::{SweepReport, SweepTotals, Sweeps};
use super::timers;
use crate::config::settings::Settings;
use crate::protocol::{Version, VersionRange};
use crate::relay::{PARTITIONS, Partitioner, Shard, ShardConfig};
use crate::session::Identity;
use crate::store::AnyStore;
use crate::store::log::{OpenError, RehomeError, StoreDirectory, SyncFailed};
use crate::transport::config::{ServerOptions, server_config};
use crate::transport::credential::{Credential, CredentialError};
use crate::transport::listener::{ListenError, Listener, Reservation};
use futures_lite::future::poll_fn;
use glommio::timer::sleep;
use glommio::{GlommioError, LocalExecutorBuilder, Placement, PoolPlacement, spawn_local};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rustls::ServerConfig;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;
use zeroize::Zeroizing;

/// Registered buffers of an executor: only sockets use it, which need none.
const IO_MEMORY: usize = 64 << 10;
/// How often a draining executor looks whether the others have drained.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// How often every executor is woken from outside: glommio 0.9 was seen to sleep on although a
/// timer or socket was ready, after its thread had been suspended, until something else woke it.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Debug)]
pub struct RelayPlan {
    /// The configuration.
    pub settings: Settings,
    /// Folder with certificates and keys.
    pub config_dir: PathBuf,
    /// Folder with the state, locked by the caller.
    pub state_dir: PathBuf,
    /// Whether to keep what can be read of a damaged store.
    pub skip_warnings: bool,
}

/// Why the relay did not start or stopped by itself.
#[derive(Debug, Error)]
pub enum RunError {
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// TLS cannot be configured.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    /// A port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The secret of the state directory cannot be read or made.
    #[error("{}: {source}", file.display())]
    PartitionKey {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An executor could not be started.
    #[error(
        "cannot start an io_uring executor: {0}. The relay needs Linux 5.8 or later, io_uring not \
         disabled (sysctl kernel.io_uring_disabled=0, in containers a seccomp profile that allows \
         io_uring) and at least 512 KiB of locked memory per shard (LimitMEMLOCK= in the systemd \
         unit, `ulimit -l` in a shell)"
    )]
    Executor(String),
    /// The store cannot be opened.
    #[error("{0}{advice}", advice = salvage_advice(.0))]
    Store(#[from] OpenError),
    /// The store of the state directory cannot be used.
    #[error(transparent)]
    Directory(#[from] RehomeError),
    /// What was received cannot be kept.
    #[error(transparent)]
    Sync(#[from] SyncFailed),
    /// Signals cannot be received.
    #[error("signal handlers: {0}")]
    Signals(io::Error),
    /// A shard ended although nobody asked for it.
    #[error("a shard stopped unexpectedly, see the messages above")]
    ShardFailed,
}

impl From<GlommioError<()>> for RunError {
    fn from(error: GlommioError<()>) -> Self {
        Self::Executor(error.to_string())
    }
}

/// Runs the relay until SIGINT or SIGTERM; `listening` gets the addresses once all executors
/// accept connections.
pub fn run(plan: &RelayPlan, listening: impl FnOnce(&[SocketAddr])) -> Result<(), RunError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(RunError::Signals)?;
    let relay = Relay::start(plan)?;
    if relay.await_listening(&mut signals)? {
        listening(&relay.addresses);
        relay.wait(signals)?;
    }
    tracing::info!("Server stopped");
    Ok(())
}

/// What every executor is started with.
struct Shared {
    settings: Settings,
    tls: Arc<ServerConfig>,
    identity: Arc<Identity>,
    partitioner: Partitioner,
    /// Where queues are kept, if they are.
    store_directory: Option<StoreDirectory>,
    /// Secret of the state directory.
    key: Zeroizing<[u8; 16]>,
    addresses: Vec<SocketAddr>,
    shards: u16,
    shutdown: Shutdown,
}

/// What an executor reports to the main thread.
enum Report {
    Listening,
    Swept(SweepReport),
    Failed(RunError),
    Stopped,
}

struct Relay {
    addresses: Vec<SocketAddr>,
    shards: usize,
    shutdown: Shutdown,
    alarm: MeshAlarm,
    reports: mpsc::Receiver<Report>,
}

impl Relay {
    fn start(plan: &RelayPlan) -> Result<Self, RunError> {
        let settings = &plan.settings;
        let credential = Credential::load(&plan.config_dir)?;
        let options = ServerOptions {
            x448: settings.relay.x448,
            ask_client_certificate: settings.transport.accept_service_credentials,
            alpn: settings.relay.alpn,
            web: None,
        };
        let cores = placement::allowed_cores();
        let shard_count = shard_count(settings, cores.len());
        let shards = usize::from(shard_count);
        let key = partition_key::load_or_create(&plan.state_dir)
            .map_err(|(file, source)| RunError::PartitionKey { file, source })?;
        raise_descriptor_limit();
        // Kept until every executor listens, so that no other process takes the ports meanwhile.
        let reservations = settings
            .transport
            .port
            .ports
            .iter()
            .map(|port| Reservation::new(settings.relay.address, *port))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<_> = reservations.iter().map(Reservation::address).collect();
        let shutdown = Shutdown::new(shards);
        let partitioner = Partitioner::new(&key, shard_count);
        let store_directory = storage::prepare(
            settings,
            &plan.state_dir,
            &partitioner,
            &key,
            plan.skip_warnings,
        )?;
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            tls: server_config(&credential, options)?,
            identity: Arc::new(identity(&credential, settings)?),
            partitioner,
            store_directory,
            key,
            addresses: addresses.clone(),
            shards: shard_count,
            shutdown: shutdown.clone(),
        });
        let (meshes, alarm) = mesh::connect(shards);
        let (report, reports) = mpsc::channel();
        for (index, mesh) in (0..shard_count).zip(meshes) {
            let placement = placement::placement(usize::from(index), shards, &cores);
            let (shared, report) = (Arc::clone(&shared), report.clone());
            let shard = move || {
                let result = run_shard(index, placement, &shared, mesh, &report);
                let last = result.map_or_else(Report::Failed, |()| Report::Stopped);
                // The main thread may have given up already.
                let _ = report.send(last);
            };
            thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(shard)
                .map_err(|e| RunError::Executor(e.to_string()))?;
        }
        drop(report);
        Ok(Self {
            addresses,
            shards,
            shutdown,
            alarm,
            reports,
        })
    }

    /// Waits until every executor listens; false when a signal came first.
    fn await_listening(&self, signals: &mut Signals) -> Result<bool, RunError> {
        let mut starting = self.shards;
        while starting > 0 {
            match self.reports.recv_timeout(HEARTBEAT) {
                Ok(Report::Listening) => starting -= 1,
                Ok(Report::Swept(_)) => {}
                Ok(Report::Failed(error)) => return Err(error),
                // A port may take a minute to become free.
                Err(mpsc::RecvTimeoutError::Timeout) if signals.pending().next().is_some() => {
                    return Ok(false);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => self.alarm.wake_all(),
                Ok(Report::Stopped) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(RunError::ShardFailed);
                }
            }
        }
        Ok(true)
    }

    fn wait(self, mut signals: Signals) -> Result<(), RunError> {
        let (shutdown, alarm) = (self.shutdown.clone(), self.alarm.clone());
        thread::spawn(move || {
            for signal in signals.forever() {
                let name = if signal == SIGINT {
                    "SIGINT"
                } else {
                    "SIGTERM"
                };
                tracing::info!("Received {name}, stopping server...");
                shutdown.request();
                alarm.wake_all();
            }
        });
        let mut running = self.shards;
        let mut sweeps = Sweeps::new(self.shards);
        while running > 0 {
            match self.reports.recv_timeout(HEARTBEAT) {
                Ok(Report::Swept(sweep)) => {
                    if let Some(totals) = sweeps.add(sweep) {
                        log_sweep(totals);
                    }
                }
                Ok(Report::Stopped) if self.shutdown.is_requested() => running -= 1,
                Ok(Report::Failed(error)) => return Err(error),
                Err(mpsc::RecvTimeoutError::Timeout) => self.alarm.wake_all(),
                Ok(_) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(RunError::ShardFailed);
                }
            }
        }
        Ok(())
    }
}

fn identity(credential: &Credential, settings: &Settings) -> Result<Identity, RunError> {
    let versions = VersionRange::new(
        Version(*settings.relay.versions.start()),
        Version(*settings.relay.versions.end()),
    );
    Ok(Identity {
        key_hash: credential.identity(),
        chain: credential.chain().iter().map(|c| c.to_vec()).collect(),
        key: Arc::clone(credential.signing_key()),
        versions: versions.unwrap_or(VersionRange::SERVER),
    })
}

/// What an operator can do about a damaged store.
fn salvage_advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Damaged(_) => {
            ". Restore a backup, or keep what can be read: `smp-server start --skip-warnings`"
        }
        _ => "",
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

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// As many shards as are set, or as suit the cores.
pub(super) fn shard_count(settings: &Settings, cores: usize) -> u16 {
    let shards = settings.relay.shards;
    let shards = shards.unwrap_or_else(|| placement::default_shards(cores));
    u16::try_from(shards)
        .unwrap_or(PARTITIONS)
        .clamp(1, PARTITIONS)
}

/// Every connection is a descriptor: takes as many as the system lets this process have.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {e}", limit.current);
    }
}

/// Runs the executor of a shard on this thread until it stops.
fn run_shard(
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
    executor.run(run_executor(index, shared, store, mesh, report))
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
            day_starts_at: 0,
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
    let acceptor = Rc::new(Acceptor {
        core: Rc::clone(&core),
        tls: Arc::clone(&shared.tls),
        identity: Arc::clone(&shared.identity),
        tls_setup_timeout: settings.relay.tls_setup_timeout,
        handshake_timeout: settings.relay.handshake_timeout,
        max_connections: settings
            .relay
            .max_connections
            .map_or(usize::MAX, |max| max.div_ceil(usize::from(shared.shards))),
        log_tls_errors: settings.transport.log_tls_errors,
    });
    let mut listeners = Vec::with_capacity(shared.addresses.len());
    for address in &shared.addresses {
        listeners.push(Listener::bind(*address).await?);
    }
    let failure = Rc::new(Failure::default());
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| spawn_local(accept(Rc::clone(&acceptor), listener, Rc::clone(&failure))))
        .collect();
    let receiving = receive_from_mesh(Rc::clone(&core), shared.shutdown.clone());
    let steps = core.steps();
    let receiving = steps.spawn(StepKind::Mesh, receiving);
    let swept = report.clone();
    let timers = timers::spawn(&core, settings, move |sweep| {
        // The main thread may have given up already.
        let _ = swept.send(Report::Swept(sweep));
    });
    let durability = settings.relay.durability;
    let keeping = [
        steps.spawn(StepKind::Maintenance, storage::keep_space(Rc::clone(&core))),
        steps.spawn(StepKind::Maintenance, storage::maintain(Rc::clone(&core))),
        steps.spawn(StepKind::Maintenance, storage::save_days(Rc::clone(&core))),
        steps.spawn(
            StepKind::Maintenance,
            storage::check_aliases(Rc::clone(&core)),
        ),
        steps.spawn(StepKind::Maintenance, {
            let (core, failure) = (Rc::clone(&core), Rc::clone(&failure));
            async move { failure.set(storage::keep_durable(core, durability).await) }
        }),
    ];
    // The main thread may have given up already.
    let _ = report.send(Report::Listening);

    let result = failure.or_stop(&shared.shutdown, &core).await;
    for task in accepting {
        task.cancel().await;
    }
    drain(&core, &shared.shutdown).await;
    receiving.cancel().await;
    for task in timers.into_iter().chain(keeping) {
        task.cancel().await;
    }
    tracing::debug!("steps of shard {index}: {}", core.steps().times());
    storage::finish(&core)?;
    result
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

async fn accept(acceptor: Rc<Acceptor>, listener: Listener, failure: Rc<Failure>) {
    loop {
        match listener.accept().await {
            Ok(tcp) if acceptor.has_room() => {
                let serving = Rc::clone(&acceptor).serve(tcp);
                let steps = acceptor.core.steps();
                steps.spawn(StepKind::Connection, serving).detach();
            }
            // Dropping it tells the client to try again later.
            Ok(tcp) => drop(tcp),
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
