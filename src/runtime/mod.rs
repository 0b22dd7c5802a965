//! Executors, the mesh between them, timers, signals, shutdown.
//!
//! One executor per shard, and one for control. A shard's executor joins the shard with the
//! connections that the kernel gave to its listeners; everything on it is single-threaded. The
//! control executor serves operators. Executors talk only through the mesh.

pub mod backup;
mod blocking;
mod connection;
mod control;
mod core;
mod days;
mod http;
pub mod lock;
mod mesh;
mod metrics;
pub mod migration;
mod notes;
mod online_credential;
mod partition_key;
mod placement;
mod ports;
mod prepare;
mod probe;
mod registration;
mod requests;
mod save;
mod saves;
mod server;
mod service_manager;
mod shard;
mod shutdown;
mod statistics;
mod steps;
mod stop_request;
mod storage;
mod supervisor;
mod sweeps;
mod timers;
mod wakers;
mod web;

pub use ports::Ports;
pub use probe::try_executors;
pub use server::{RelayPlan, RunError, Served, maintain, run};
pub use statistics::{DAILY_LOG, METRICS_FILE};
