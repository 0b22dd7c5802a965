//! `check-config`: everything that a start needs, looked at without starting.

mod credentials;
mod ports;
mod report;
mod system;
mod web;

use super::{CliError, Console, Directories, start};
use crate::config::Settings;
use crate::config::settings::{self, SettingsError};
use crate::runtime::lock;
use clap::Args;
use report::Report;
use std::path::PathBuf;
use time::OffsetDateTime;

/// Options of `check-config`.
#[derive(Debug, Default, Args)]
pub struct CheckOptions {
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `check-config`: a line for every finding; refuses when a start would fail.
pub fn run(directories: &Directories, console: &mut Console<'_>) -> Result<(), CliError> {
    start::require_initialized(directories)?;
    let now = OffsetDateTime::now_utc();
    let mut report = Report::default();
    let running = lock::is_held(&directories.state);
    if running {
        report.ok("a server is running on this state folder");
    }
    let settings = configuration(directories, &mut report);
    let fingerprint = credentials::check(&directories.config, now, &mut report);
    if let Some(settings) = &settings {
        if let Some(fingerprint) = &fingerprint {
            credentials::check_address(settings, fingerprint, &mut report);
        }
        web::check(&settings.web, now, &mut report);
        ports::check(settings, running, &mut report);
        system::check_executors(settings, &mut report);
        system::check_store(settings, &directories.state, &mut report);
    }
    system::check_state(&directories.state, &mut report);
    for line in report.lines() {
        console.line(&line)?;
    }
    match report.errors() {
        0 => Ok(console.line("The server would start.")?),
        1 => Err(CliError::Refused(
            "The server would not start: 1 error".to_owned(),
        )),
        n => Err(CliError::Refused(format!(
            "The server would not start: {n} errors"
        ))),
    }
}

/// Reads the configuration file and tells what is wrong with it; gives what else is in it.
fn configuration(directories: &Directories, report: &mut Report) -> Option<Settings> {
    let file = directories.ini_file();
    let examination = match settings::examine(&file) {
        Ok(examination) => examination,
        Err(error) => {
            report.error(error);
            return None;
        }
    };
    if examination.errors.is_empty() {
        report.ok(format!("{} can be read", file.display()));
    }
    let mut settings = examination.settings;
    for error in examination.errors {
        // What stands in for these ports is nobody's wish.
        if let (true, Some(settings)) = (is_about_ports(&error), &mut settings) {
            settings.transport.port.ports.clear();
        }
        report.error(error);
    }
    for warning in settings.iter().flat_map(|settings| &settings.warnings) {
        report.warning(warning);
    }
    settings
}

fn is_about_ports(error: &SettingsError) -> bool {
    matches!(
        error,
        SettingsError::Invalid {
            section: "TRANSPORT",
            key: "port",
            ..
        } | SettingsError::Missing {
            section: "TRANSPORT",
            key: "port"
        }
    )
}

#[cfg(test)]
mod tests;
