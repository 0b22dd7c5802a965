//! Executors, the mesh between them, timers, signals, shutdown.
//!
//! One executor per shard. An executor's core joins a shard with the connections that the
//! kernel gave to its listeners; everything on it is single-threaded. Executors talk only through
//! the mesh.

mod connection;
mod core;
pub mod lock;
mod mesh;
pub mod migration;
mod partition_key;
mod placement;
mod registration;
mod server;
mod shutdown;
mod steps;
mod storage;
mod sweeps;
mod timers;

pub use server::{RelayPlan, RunError, run};
