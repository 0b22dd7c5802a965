//! Executors, mesh, timers, signals, shutdown.
