//! Starting and stopping the executors.

use super::control::{self, vital_signs};
use super::mesh;
use super::online_credential::OnlineCredential;
use super::partition_key::KeyError;
use super::placement;
use super::ports::Ports;
use super::prepare::{self, Prepared};
use super::probe;
use super::service_manager::ServiceManager;
use super::shard;
use super::shutdown::Shutdown;
use super::supervisor::{self, Supervisor};
use super::sweeps::SweepReport;
use super::web::Web;
use crate::config::settings::Settings;
use crate::relay::{PARTITIONS, Partitioner};
use crate::store::Totals;
use crate::store::log::{OpenError, RehomeError, StoreDirectory, SyncFailed};
use crate::transport::credential::CredentialError;
use crate::transport::listener::{ListenError, Reservation};
use glommio::GlommioError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use thiserror::Error;
use zeroize::Zeroizing;

/// Registered buffers of an executor: only sockets use it, which need none.
pub(super) const IO_MEMORY: usize = 64 << 10;

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
    pub repair: bool,
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
    /// The secret of the state directory is missing, another, or cannot be read or made.
    #[error(transparent)]
    PartitionKey(#[from] KeyError),
    /// An executor could not be started.
    #[error(
        "cannot start an io_uring executor: {0}. The relay needs Linux 5.8 or later, io_uring not \
         disabled (sysctl kernel.io_uring_disabled=0, in containers a seccomp profile that allows \
         io_uring) and at least 512 KiB of locked memory per shard (LimitMEMLOCK= in the systemd \
         unit, `ulimit -l` in a shell)"
    )]
    Executor(String),
    /// The store cannot be opened.
    #[error("{0}{advice}", advice = repair_advice(.0))]
    Store(#[from] OpenError),
    /// The store of the state directory cannot be used.
    #[error("{0}{advice}", advice = move_advice(.0))]
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

impl From<(PathBuf, io::Error)> for RunError {
    fn from(error: (PathBuf, io::Error)) -> Self {
        Self::PartitionKey(error.into())
    }
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
pub fn run(
    plan: &RelayPlan,
    ports: Ports,
    listening: impl FnOnce(&[Served]),
) -> Result<(), RunError> {
    probe::check_io_uring()?;
    let mut signals = supervisor::signals().map_err(RunError::Signals)?;
    let relay = Relay::start(plan, ports)?;
    if relay.supervisor.await_listening(&mut signals)? {
        listening(&relay.served);
        relay.supervisor.watch(&mut signals)?;
    }
    tracing::info!("Server stopped");
    Ok(())
}

/// Does what a start and a stop do with the store, without serving anybody; tells what it holds.
pub fn maintain(plan: &RelayPlan) -> Result<Totals, RunError> {
    raise_descriptor_limit();
    let shards = shard_count(&plan.settings, placement::allowed_cores().len());
    prepare::open_and_close(&plan.settings, &plan.state_dir, shards, plan.repair)
}

/// What every executor is started with.
pub(super) struct Shared {
    pub settings: Settings,
    /// Certificates and keys as they were at the start.
    pub online: OnlineCredential,
    /// Folder with their files.
    pub config_dir: PathBuf,
    /// Folder with the state.
    pub state_dir: PathBuf,
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
    pub shards: u16,
    pub shutdown: Shutdown,
    /// How often the service manager is to be told that all is well, if it wants to know.
    pub vital_signs: Option<Duration>,
    /// The site, if there is one.
    pub web: Option<Arc<Web>>,
}

/// What an executor reports to the main thread.
pub(super) enum Report {
    Listening,
    Swept(SweepReport),
    /// All executors are alive; a line about them for the operator.
    Alive(String),
    /// Certificates have been read again.
    Reloaded,
    Failed(RunError),
    Stopped,
}

struct Relay {
    served: Vec<Served>,
    /// Kept until every executor listens, so that no other process takes the ports meanwhile.
    _reservations: Vec<Reservation>,
    supervisor: Supervisor,
}

impl Relay {
    fn start(plan: &RelayPlan, ports: Ports) -> Result<Self, RunError> {
        let settings = &plan.settings;
        let online = OnlineCredential::load(&plan.config_dir, settings)?;
        let cores = placement::allowed_cores();
        let shard_count = shard_count(settings, cores.len());
        let shards = usize::from(shard_count);
        raise_descriptor_limit();
        let Ports {
            addresses,
            control: control_address,
            metrics,
            web,
            reservations,
        } = ports;
        let shutdown = Shutdown::new(shards);
        let manager = ServiceManager::from_environment();
        let Prepared {
            key,
            partitioner,
            directory: store_directory,
        } = prepare::prepare(settings, &plan.state_dir, shard_count, plan.repair)?;
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            online,
            config_dir: plan.config_dir.clone(),
            state_dir: plan.state_dir.clone(),
            partitioner,
            store_directory,
            key,
            addresses: addresses.clone(),
            control_port: control_address,
            metrics,
            shards: shard_count,
            shutdown: shutdown.clone(),
            vital_signs: manager.is_some().then(vital_signs::interval),
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
                control::run(placement, shared, mesh, report)
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
            supervisor: Supervisor {
                executors: shards + 1,
                shards,
                shutdown,
                alarm,
                reports,
                manager,
            },
        })
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

/// What an operator can do about a damaged store.
fn repair_advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Damaged(_) => {
            ". Bring back a backup, or keep what can be read: `smp-server start --repair`"
        }
        _ => "",
    }
}

/// What an operator can do about a damaged store that is to be moved.
fn move_advice(error: &RehomeError) -> &'static str {
    match error {
        RehomeError::Open(error) => repair_advice(error),
        _ => "",
    }
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
