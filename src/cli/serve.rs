//! The relay behind `start`: logging, the lock on its state, and the executors.

use super::start::{LogLevel, StartPlan};
use super::start_lines;
use crate::runtime::lock::StateLock;
use crate::runtime::{self, RelayPlan};
use anyhow::{Context, bail};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::{panic, process};
use tracing::level_filters::LevelFilter;

/// Files of the reference server whose queues and messages this version cannot take over.
const FOREIGN_STATE: [&str; 3] = [
    "smp-server-store.log",
    "smp-server-messages.log",
    "messages",
];

/// Runs the relay until it is told to stop.
pub fn serve(plan: StartPlan) -> anyhow::Result<()> {
    start_logging(plan.log_level);
    abort_on_panic();
    for warning in &plan.settings.warnings {
        tracing::warn!("{warning}");
    }
    let state = &plan.state_dir;
    std::fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
    let _lock = StateLock::acquire(state)?;
    refuse_foreign_state(state)?;
    if !plan.settings.storage.enable {
        tracing::warn!(
            "queues and messages are lost when the relay stops: [STORE_LOG] enable = off"
        );
    }
    if plan.maintenance {
        let line = "Server started in 'maintenance' mode, exiting";
        let _ = writeln!(stdout(), "{line}");
        return Ok(());
    }
    let relay = RelayPlan {
        settings: plan.settings,
        config_dir: plan.config_dir,
        state_dir: plan.state_dir,
        skip_warnings: plan.skip_warnings,
    };
    runtime::run(&relay, |addresses| {
        let mut out = stdout().lock();
        for address in addresses {
            // A closed stdout is no reason to stop serving.
            let _ = writeln!(out, "{}", start_lines::serving(address.port()));
        }
        let _ = out.flush();
    })?;
    Ok(())
}

/// Lines on stderr, coloured only for a person.
fn start_logging(level: LogLevel) {
    let filter = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info | LogLevel::Note => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // Fails only when a subscriber is set already, which then serves as well.
    let _ = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_target(false)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        // Lines that stderr does not take are lost: telling stderr would panic.
        .log_internal_errors(false)
        .try_init();
}

/// A relay without one of its shards is worse than a restart.
fn abort_on_panic() {
    panic::set_hook(Box::new(|info| {
        tracing::error!("stopping after an internal error: {info}");
        process::abort();
    }));
}

/// Starting beside the state of the reference server would answer its clients that their queues do
/// not exist.
fn refuse_foreign_state(state: &Path) -> anyhow::Result<()> {
    for name in FOREIGN_STATE {
        let file = state.join(name);
        let has_content = file.metadata().is_ok_and(|m| m.is_dir() || m.len() > 0);
        if has_content {
            bail!(
                "{} holds queues or messages of another server, which this version cannot take \
                 over yet: set SMP_SERVER_LOG_PATH to an empty directory to start without them",
                file.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_the_reference_server_is_not_ignored() {
        for name in FOREIGN_STATE {
            let dir = tempfile::tempdir().unwrap();
            assert!(refuse_foreign_state(dir.path()).is_ok());
            std::fs::write(dir.path().join(name), "CREATE …\n").unwrap();
            assert!(refuse_foreign_state(dir.path()).is_err(), "{name}");
        }
    }
}
