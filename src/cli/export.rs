//! `export`: writes the state of a stopped server for a reference server.

use super::{CliError, Console, Directories, import, start};
use crate::runtime::lock::StateLock;
use crate::runtime::migration;
use crate::store::hand_over;
use anyhow::Context;
use clap::Args;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Options of `export`.
#[derive(Debug, Default, Args)]
pub struct ExportOptions {
    /// Directory for the files; it must have none of them
    #[arg(value_name = "DIRECTORY")]
    pub to: PathBuf,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `export`.
pub fn run(
    options: &ExportOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let settings = start::load_settings(directories)?;
    let (state, to) = (&directories.state, &options.to);
    let _lock = StateLock::acquire(state).map_err(anyhow::Error::from)?;
    let is_new = !to.exists();
    // The files have secrets.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(to)
        .with_context(|| format!("cannot create {}", to.display()))?;
    if is_new {
        hand_over(state, to);
    }
    let report = migration::export(&settings, state, to)
        .with_context(|| format!("cannot export {}", state.display()))?;
    console.line(&format!("Exported {} to {}", state.display(), to.display()))?;
    console.line(&format!("queues: {}", report.queues))?;
    console.line(&format!("services: {}", report.services))?;
    console.line(&format!("messages: {}", report.messages))?;
    console.line(&format!("notifications: {}", report.notifications))?;
    if report.empty_messages > 0 {
        console.line(&format!(
            "left out: {} messages without body, with which the reference server does not start",
            report.empty_messages
        ))?;
    }
    if report.links_dropped > 0 {
        console.line(&format!(
            "left out: links of {} queues with empty parts, with which the reference server loses \
             the queues",
            report.links_dropped
        ))?;
    }
    let counters = import::counters(report.statistics);
    console.line(&format!("statistics: {counters}"))?;
    Ok(())
}
