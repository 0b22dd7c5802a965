//! `import`: takes over the state of a reference server.

use super::progress::Progress;
use super::{CliError, Console, Directories, start};
use crate::config::Settings;
use crate::runtime::lock::StateLock;
use crate::runtime::migration::{self, MigrationError};
use crate::runtime::{Ports, RunError};
use crate::store::reference::{ImportReport, Warnings};
use crate::transport::listener::ListenError;
use anyhow::Context;
use clap::Args;
use std::fmt::Arguments;
use std::io::{Write, stderr};
use std::path::PathBuf;

/// Options of `import`.
#[derive(Debug, Default, Args)]
pub struct ImportOptions {
    /// Read and count everything, and keep nothing; the reference server may run
    #[arg(long)]
    pub check: bool,
    /// Leave out what cannot be taken over
    #[arg(long)]
    pub skip_warnings: bool,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `import`.
pub fn run(
    options: &ImportOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let settings = start::load_settings(directories)?;
    let state = &directories.state;
    let skip_warnings = options.skip_warnings;
    // A closed stderr leaves nobody to tell.
    let warn = |line: Arguments<'_>| drop(writeln!(stderr(), "{line}"));
    let mut line = |text: &str| warn(format_args!("{text}"));
    let mut progress = Progress::new("importing", &mut line);
    let mut show = |done, total| progress.show(done, total);
    let read = if options.check {
        migration::check(&settings, state, skip_warnings, &mut show)
    } else {
        let _lock = StateLock::acquire(state).map_err(anyhow::Error::from)?;
        let _ports = free_ports(&settings)?;
        migration::import(&settings, state, skip_warnings, &mut show)
    };
    progress.end();
    let done = match options.check {
        true => "Nothing is imported yet: this was a check of",
        false => "Imported",
    };
    let mut report = match read {
        Ok(report) => report,
        Err(mut error) => {
            if let MigrationError::Warnings(warnings) = &mut error {
                tell_warnings(warnings, warn);
            }
            return Err(anyhow::Error::from(error))
                .with_context(|| format!("cannot import {}", state.display()))
                .map_err(CliError::from);
        }
    };
    tell_warnings(&mut report.warnings, warn);
    console.line(&format!("{done} {}", state.display()))?;
    for line in summary(&report) {
        console.line(&line)?;
    }
    Ok(())
}

/// Takes the ports, as a reference server that still runs has them. Whether this user may is no
/// matter here.
fn free_ports(settings: &Settings) -> anyhow::Result<Option<Ports>> {
    match Ports::reserve(settings) {
        Ok(ports) => Ok(Some(ports)),
        Err(RunError::Listen(error @ ListenError::InUse(_))) => {
            Err(error).context("stop the reference server first: it would go on without this one")
        }
        Err(_) => Ok(None),
    }
}

/// What was imported, line by line.
pub(super) fn summary(report: &ImportReport) -> Vec<String> {
    let mut lines = vec![
        format!("queues: {}", report.queues),
        format!("services: {}", report.services),
        format!("messages: {}", report.messages),
        format!("notifications: {}", report.notifications),
        format!("skipped: {}", report.warnings.losses()),
    ];
    let notes = report.warnings.count() - report.warnings.losses();
    if notes > 0 {
        lines.push(format!("passed over, of no consequence: {notes}"));
    }
    lines.push(format!("statistics: {}", counters(report.statistics)));
    lines
}

/// What is said about counters.
pub(super) fn counters(are_there: bool) -> &'static str {
    if are_there { "all counters" } else { "none" }
}

/// Tells every warning that was kept, how many there are besides, and where they are.
pub(super) fn tell_warnings(warnings: &mut Warnings, line: impl Fn(Arguments<'_>)) {
    for warning in warnings.list() {
        line(format_args!("{warning}"));
    }
    let more = warnings.count() - warnings.list().len() as u64;
    match warnings.finish_log() {
        Some((path, Ok(()))) => {
            line(format_args!("and {more} more, all in {}", path.display()));
        }
        Some((path, Err(error))) => {
            let path = path.display();
            line(format_args!(
                "and {more} more; cannot write {path}: {error}"
            ));
        }
        None if more > 0 => line(format_args!("and {more} more")),
        None => {}
    }
}
