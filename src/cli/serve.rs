//! The relay behind `start`: logging, the lock on its state, and the executors.

use super::import;
use super::logging;
use super::progress::Progress;
use super::start::StartPlan;
use super::start_lines;
use super::version::BUILD;
use crate::config::Settings;
use crate::runtime::lock::StateLock;
use crate::runtime::migration::{self, MigrationError};
use crate::runtime::{self, Ports, RelayPlan, Served};
use crate::web::site;
use anyhow::Context;
use std::fmt::Arguments;
use std::io::{Write, stdout};
use std::{panic, process};

/// Runs the relay until it is told to stop.
pub fn serve(plan: StartPlan) -> anyhow::Result<()> {
    logging::start(plan.log_level);
    abort_on_panic();
    for warning in &plan.settings.warnings {
        tracing::warn!("{warning}");
    }
    for advice in &plan.advice {
        tracing::warn!("{advice}");
    }
    let state = &plan.state_dir;
    std::fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
    let _lock = StateLock::acquire(state)?;
    let imports = migration::is_due(&plan.settings, state)?;
    // A server that still runs there keeps its clients, and what it has is not imported yet.
    let ports = match imports || !plan.maintenance {
        true => Some(Ports::reserve(&plan.settings)?),
        false => None,
    };
    if imports {
        take_over(&plan)?;
    }
    if !plan.settings.storage.enable {
        tracing::warn!(
            "queues and messages are lost when the relay stops: [STORE_LOG] enable = off"
        );
    }
    write_site(&plan.settings);
    let relay = RelayPlan {
        settings: plan.settings,
        config_dir: plan.config_dir,
        state_dir: plan.state_dir,
        repair: plan.repair,
    };
    let Some(ports) = ports.filter(|_| !plan.maintenance) else {
        return maintain(&relay);
    };
    runtime::run(&relay, ports, |served| {
        let mut out = stdout().lock();
        for Served { address, pages } in served {
            // A closed stdout is no reason to stop serving.
            let _ = writeln!(out, "{}", start_lines::serving(address.port()));
            if *pages {
                let _ = writeln!(out, "{}", start_lines::serving_pages(address.port()));
            }
        }
        let _ = out.flush();
    })?;
    Ok(())
}

/// Opens and closes the store without serving anybody.
fn maintain(relay: &RelayPlan) -> anyhow::Result<()> {
    let totals = runtime::maintain(relay)?;
    if relay.settings.storage.enable {
        tracing::info!(
            "the store is in order: queues: {}, services: {}, messages: {}",
            totals.queues,
            totals.services(),
            totals.messages
        );
    }
    let line = "Server started in 'maintenance' mode, exiting";
    // A closed stdout leaves nobody to tell.
    let _ = writeln!(stdout(), "{line}");
    Ok(())
}

/// Writes the pages, whether or not they are served from here. Messages do without them.
fn write_site(settings: &Settings) {
    let Some(root) = &settings.web.static_path else {
        tracing::warn!("No server static path set");
        return;
    };
    match site::generate(root, settings, BUILD) {
        Ok(()) => tracing::info!("Generated static site contents at {root:?}"),
        Err(error) => tracing::error!("{error}"),
    }
}

/// A relay without one of its shards is worse than a restart.
fn abort_on_panic() {
    panic::set_hook(Box::new(|info| {
        tracing::error!("stopping after an internal error: {info}");
        process::abort();
    }));
}

/// Imports the state of a reference server before the first start: without it, its clients would be
/// answered that their queues do not exist.
fn take_over(plan: &StartPlan) -> anyhow::Result<()> {
    let (settings, state) = (&plan.settings, &plan.state_dir);
    tracing::info!("importing {}...", state.display());
    let mut line = |text: &str| tracing::info!("{text}");
    let mut progress = Progress::new("importing", &mut line);
    let imported = migration::import(settings, state, plan.skip_warnings, &mut |done, total| {
        progress.show(done, total);
    });
    progress.end();
    let warn = |line: Arguments<'_>| tracing::warn!("{line}");
    let mut report = imported
        .map_err(|mut error| {
            if let MigrationError::Warnings(warnings) = &mut error {
                import::tell_warnings(warnings, warn);
            }
            error
        })
        .with_context(|| format!("cannot import {}", state.display()))?;
    import::tell_warnings(&mut report.warnings, warn);
    for line in import::summary(&report) {
        tracing::info!("imported {line}");
    }
    Ok(())
}
