//! Executors, mesh, timers, signals, shutdown.

pub mod lock;
