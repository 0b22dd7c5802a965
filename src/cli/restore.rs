//! `restore`: brings a backup back.

use super::backup::{absolute, places, summary};
use super::progress::Progress;
use super::{CliError, Console, Directories};
use crate::runtime::backup::{Archive, RestorePlan, restore};
use crate::runtime::lock::StateLock;
use anyhow::Context;
use clap::Args;
use std::fs::DirBuilder;
use std::io::{Write, stderr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Options of `restore`.
#[derive(Debug, Default, Args)]
pub struct RestoreOptions {
    /// The backup
    #[arg(value_name = "DIRECTORY")]
    pub from: PathBuf,
    /// Restore the configuration directory too, with certificates and private keys
    #[arg(long)]
    pub with_configuration: bool,
    /// Move aside what is there already
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `restore`.
pub fn run(
    options: &RestoreOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let from = absolute(&options.from)?;
    let failed = || format!("cannot restore {}", from.display());
    let state = &directories.state;
    // Before the backup is read, which may take long.
    let mut lock = None;
    if state.is_dir() {
        lock = Some(StateLock::acquire(state).map_err(anyhow::Error::from)?);
    }
    let archive = Archive::open(&from).with_context(failed)?;
    verify(&archive).with_context(failed)?;
    if lock.is_none() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let made = builder.create(state);
        made.with_context(|| format!("cannot create {}", state.display()))?;
        lock = Some(StateLock::acquire(state).map_err(anyhow::Error::from)?);
    }
    let report = restore(&RestorePlan {
        archive: &archive,
        from: &from,
        places: &places(directories),
        configuration: options.with_configuration,
        overwrite: options.yes,
    })
    .with_context(failed)?;
    drop(lock);
    let manifest = archive.manifest();
    console.line(&format!(
        "Restored {} to {}",
        from.display(),
        state.display()
    ))?;
    console.line(&format!("made: {}", manifest.created))?;
    for line in summary(manifest) {
        console.line(&line)?;
    }
    if let Some(old) = report.old_state {
        console.line(&format!("the state before is in {}", old.display()))?;
    }
    if let Some(old) = report.old_configuration {
        console.line(&format!("the configuration before is in {}", old.display()))?;
    }
    if manifest.configuration && !options.with_configuration {
        console.line("not restored: the configuration (--with-configuration)")?;
    }
    Ok(())
}

fn verify(archive: &Archive) -> anyhow::Result<()> {
    // A closed stderr leaves nobody to tell.
    let mut line = |text: &str| drop(writeln!(stderr(), "{text}"));
    let mut progress = Progress::new("verifying", &mut line);
    let verified = archive.verify(&mut |done, total| progress.show(done, total));
    progress.end();
    Ok(verified?)
}
