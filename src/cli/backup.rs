//! `backup`: copies the state, and the configuration when asked to, of a running server or a
//! stopped one.

use super::{CliError, Console, Directories};
use crate::runtime::backup::{BackupError, BackupManifest, Places, back_up_stopped};
use crate::runtime::lock::StateLock;
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// Options of `backup`.
#[derive(Debug, Default, Args)]
pub struct BackupOptions {
    /// Directory for the backup; it must not exist yet, or be empty
    #[arg(value_name = "DIRECTORY")]
    pub to: PathBuf,
    /// Copy the configuration directory too, with certificates and private keys
    #[arg(long)]
    pub with_configuration: bool,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `backup`.
pub fn run(
    options: &BackupOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let state = &directories.state;
    let failed = || format!("cannot back up {}", state.display());
    let to = absolute(&options.to)?;
    if !state.is_dir() {
        let error = BackupError::NoStore(state.clone());
        return Err(anyhow::Error::from(error).context(failed()).into());
    }
    let _lock = StateLock::acquire(state).map_err(anyhow::Error::from)?;
    let places = places(directories);
    let manifest = back_up_stopped(&places, &to, options.with_configuration);
    let manifest = manifest.with_context(failed)?;
    console.line(&format!(
        "Backed up {} to {}",
        state.display(),
        to.display()
    ))?;
    for line in summary(&manifest) {
        console.line(&line)?;
    }
    Ok(())
}

/// A path that means the same wherever it is read.
pub(super) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| path.display().to_string())?;
    // Without what `DIRECTORY/` or `.` leave behind: names are put beside it.
    Ok(absolute.components().collect())
}

pub(super) fn places(directories: &Directories) -> Places {
    Places {
        state: directories.state.clone(),
        configuration: directories.config.clone(),
    }
}

/// What a backup has, line by line.
pub(super) fn summary(manifest: &BackupManifest) -> Vec<String> {
    let bytes: u64 = manifest.files.iter().map(|file| file.length).sum();
    vec![
        format!("queues: {}", manifest.queues),
        format!("messages: {}", manifest.messages),
        format!("files: {} with {bytes} bytes", manifest.files.len()),
        match manifest.configuration {
            true => "configuration: with its private keys".to_owned(),
            false => "configuration: not included".to_owned(),
        },
    ]
}
