//! `import`: takes over the state of a reference server.

use super::{CliError, Console, Directories, start};
use crate::runtime::lock::StateLock;
use crate::runtime::migration::{self, MigrationError};
use crate::store::reference::{ImportReport, Warnings};
use anyhow::Context;
use clap::Args;
use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;

/// Options of `import`.
#[derive(Debug, Default, Args)]
pub struct ImportOptions {
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
    let _lock = StateLock::acquire(state).map_err(anyhow::Error::from)?;
    let mut progress = Progress::default();
    let imported = migration::import(
        &settings,
        state,
        options.skip_warnings,
        &mut |done, total| {
            progress.show(done, total);
        },
    );
    progress.end();
    let report = match imported {
        Ok(report) => report,
        Err(error) => {
            if let MigrationError::Warnings(warnings) = &error {
                print_warnings(warnings, &mut |line| writeln!(stderr(), "{line}"));
            }
            return Err(anyhow::Error::from(error))
                .with_context(|| format!("cannot import {}", state.display()))
                .map_err(CliError::from);
        }
    };
    print_warnings(&report.warnings, &mut |line| writeln!(stderr(), "{line}"));
    console.line(&format!("Imported {}", state.display()))?;
    for line in summary(&report) {
        console.line(&line)?;
    }
    Ok(())
}

/// What was imported, line by line.
pub(super) fn summary(report: &ImportReport) -> Vec<String> {
    let mut lines = vec![
        format!("queues: {}", report.queues),
        format!("services: {}", report.services),
        format!("messages: {}", report.messages),
        format!("skipped: {}", report.warnings.count()),
    ];
    if report.notifications > 0 {
        lines.push(format!(
            "notifications: {}, not taken over: they are kept in memory only",
            report.notifications
        ));
    }
    if report.statistics {
        lines.push(
            "statistics: only the days of use of queues are taken over, counters begin at zero"
                .to_owned(),
        );
    }
    lines
}

/// Tells every warning that was kept, and how many there are besides.
pub(super) fn print_warnings<E>(
    warnings: &Warnings,
    line: &mut dyn FnMut(std::fmt::Arguments<'_>) -> Result<(), E>,
) {
    for warning in warnings.list() {
        // A closed stderr leaves nobody to tell.
        let _ = line(format_args!("{warning}"));
    }
    let more = warnings.count() - warnings.list().len() as u64;
    if more > 0 {
        let _ = line(format_args!("and {more} more"));
    }
}

/// How far an import is, on one line of a terminal.
#[derive(Debug, Default)]
pub(super) struct Progress {
    shown: Option<u64>,
}

impl Progress {
    /// Shows how many bytes are done; writes only when the percentage changes.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let percent = 100 * done / total.max(1);
        if self.shown == Some(percent) || !stderr().is_terminal() {
            return;
        }
        self.shown = Some(percent);
        // A closed stderr leaves nobody to tell.
        let _ = write!(stderr(), "\rimporting... {percent} %");
    }

    /// Clears the line.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(stderr(), "\r                    \r");
        }
    }
}
