//! Executors, the mesh between them, timers, signals, shutdown.
//!
//! One executor per shard, and one for control. A shard's executor joins the shard with the
//! connections that the kernel gave to its listeners; everything on it is single-threaded. The
//! control executor serves operators. Executors talk only through the mesh.

mod asked;
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
mod partition_key;
mod placement;
mod probe;
mod registration;
mod requests;
mod save;
mod server;
mod shard;
mod shutdown;
mod statistics;
mod steps;
mod storage;
mod sweeps;
mod timers;
mod web;

pub use probe::try_executors;
pub use server::{RelayPlan, RunError, Served, run};
pub use statistics::{DAILY_LOG, METRICS_FILE};
