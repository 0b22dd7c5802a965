//! Starting and stopping the executors.

use super::control;
use super::mesh::{self, MeshAlarm};
use super::metrics;
use super::partition_key;
use super::placement;
use super::shard;
use super::shutdown::Shutdown;
use super::storage;
use super::sweeps::{SweepReport, SweepTotals, Sweeps};
use super::web::Web;
use crate::config::settings::Settings;
use crate::protocol::{Version, VersionRange};
use crate::relay::{PARTITIONS, Partitioner};
use crate::session::Identity;
use crate::store::log::{OpenError, RehomeError, StoreDirectory, SyncFailed};
use crate::transport::config::{ServerOptions, server_config};
use crate::transport::credential::{Credential, CredentialError};
use crate::transport::listener::{ListenError, Reservation};
use glommio::GlommioError;
use rustls::ServerConfig;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use thiserror::Error;
use zeroize::Zeroizing;

/// Registered buffers of an executor: only sockets use it, which need none.
pub(super) const IO_MEMORY: usize = 64 << 10;

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
    /// An executor ended although nobody asked for it.
    #[error("an executor stopped unexpectedly, see the messages above")]
    ExecutorFailed,
}

impl From<GlommioError<()>> for RunError {
    fn from(error: GlommioError<()>) -> Self {
        Self::Executor(error.to_string())
    }
}

/// A port that is served.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    /// Whether pages are served there besides SMP.
    pub pages: bool,
}

/// Runs the relay until SIGINT or SIGTERM; `listening` gets the ports once all executors accept
/// connections.
pub fn run(plan: &RelayPlan, listening: impl FnOnce(&[Served])) -> Result<(), RunError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(RunError::Signals)?;
    let relay = Relay::start(plan)?;
    if relay.await_listening(&mut signals)? {
        listening(&relay.served);
        relay.wait(signals)?;
    }
    tracing::info!("Server stopped");
    Ok(())
}

/// What every executor is started with.
pub(super) struct Shared {
    pub settings: Settings,
    pub tls: Arc<ServerConfig>,
    pub identity: Arc<Identity>,
    pub partitioner: Partitioner,
    /// Where queues are kept, if they are.
    pub store_directory: Option<StoreDirectory>,
    /// Secret of the state directory.
    pub key: Zeroizing<[u8; 16]>,
    pub addresses: Vec<SocketAddr>,
    /// Where the control port is, if it is on.
    pub control_port: Option<SocketAddr>,
    /// Where metrics are served, if they are.
    pub metrics: Option<SocketAddr>,
    /// Folder with the state.
    pub state_dir: PathBuf,
    pub shards: u16,
    pub shutdown: Shutdown,
    /// The site, if there is one.
    pub web: Option<Arc<Web>>,
}

/// What an executor reports to the main thread.
pub(super) enum Report {
    Listening,
    Swept(SweepReport),
    Failed(RunError),
    Stopped,
}

struct Relay {
    served: Vec<Served>,
    /// Kept until every executor listens, so that no other process takes the ports meanwhile.
    _reservations: Vec<Reservation>,
    executors: usize,
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
        };
        let cores = placement::allowed_cores();
        let shard_count = shard_count(settings, cores.len());
        let shards = usize::from(shard_count);
        let key = partition_key::load_or_create(&plan.state_dir)
            .map_err(|(file, source)| RunError::PartitionKey { file, source })?;
        raise_descriptor_limit();
        let mut reservations = settings
            .transport
            .port
            .ports
            .iter()
            .map(|port| Reservation::new(settings.relay.address, *port))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<_> = reservations.iter().map(Reservation::address).collect();
        let control_port = settings.transport.control_port;
        let control_port = control_port
            .map(|port| Reservation::new(Some(Ipv4Addr::LOCALHOST.into()), port))
            .transpose()?;
        let control_address = control_port.as_ref().map(Reservation::address);
        reservations.extend(control_port);
        let metrics = metrics::reserve(settings);
        let metrics_address = metrics.as_ref().map(Reservation::address);
        reservations.extend(metrics);
        let (web, web_reservations) = Web::prepare(settings).unzip();
        reservations.extend(web_reservations.into_iter().flatten());
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
            control_port: control_address,
            metrics: metrics_address,
            state_dir: plan.state_dir.clone(),
            shards: shard_count,
            shutdown: shutdown.clone(),
            web: web.clone(),
        });
        // The last end is that of the control executor.
        let (mut meshes, alarm) = mesh::connect(shards + 1);
        let control = meshes.pop();
        let (report, reports) = mpsc::channel();
        for (index, mesh) in (0..shard_count).zip(meshes) {
            let placement = placement::placement(usize::from(index), shards, &cores);
            let shared = Arc::clone(&shared);
            spawn(format!("shard-{index}"), &report, move |report| {
                shard::run(index, placement, &shared, mesh, report)
            })?;
        }
        if let Some(mesh) = control {
            let placement = placement::control_placement(shards, &cores);
            spawn("control".to_owned(), &report, move |report| {
                control::run(placement, &shared, mesh, report)
            })?;
        }
        let served = |(index, address)| Served {
            address,
            pages: web
                .as_ref()
                .is_some_and(|web| web.shares(index) && web.has_credential()),
        };
        Ok(Self {
            served: addresses.into_iter().enumerate().map(served).collect(),
            _reservations: reservations,
            executors: shards + 1,
            shards,
            shutdown,
            alarm,
            reports,
        })
    }

    /// Waits until every executor listens; false when a signal came first.
    fn await_listening(&self, signals: &mut Signals) -> Result<bool, RunError> {
        let mut starting = self.executors;
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
                    return Err(RunError::ExecutorFailed);
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
        let mut running = self.executors;
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
                    return Err(RunError::ExecutorFailed);
                }
            }
        }
        Ok(())
    }
}

/// Starts the thread of an executor, whose end is reported.
fn spawn(
    name: String,
    report: &mpsc::Sender<Report>,
    run: impl FnOnce(&mpsc::Sender<Report>) -> Result<(), RunError> + Send + 'static,
) -> Result<(), RunError> {
    let report = report.clone();
    let executor = move || {
        let last = run(&report).map_or_else(Report::Failed, |()| Report::Stopped);
        // The main thread may have given up already.
        let _ = report.send(last);
    };
    let thread = thread::Builder::new().name(name).spawn(executor);
    thread.map_or_else(|e| Err(RunError::Executor(e.to_string())), |_| Ok(()))
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
