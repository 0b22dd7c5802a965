//! `backup`: copies the state, and the configuration when asked to, of a running server or a
//! stopped one.

use super::{CliError, Console, Directories, local_socket};
use crate::control::port::{BACKED_UP, BackupRequest, ERROR};
use crate::runtime::backup::{Archive, BackupError, BackupManifest, Places, back_up_stopped};
use crate::runtime::lock::{LockError, StateLock};
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};

/// How the system says that permissions forbid it.
const PERMISSION_DENIED: &str = "Permission denied";
/// How it says that the file system forbids it, or the unit of the server (`ProtectSystem=`).
const READ_ONLY: &str = "Read-only file system";

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
    let manifest = match StateLock::acquire(state) {
        Ok(_lock) => {
            let places = places(directories);
            back_up_stopped(&places, &to, options.with_configuration).with_context(failed)?
        }
        Err(LockError::Busy { .. }) => {
            let configuration = options.with_configuration;
            ask_server(state, &to, configuration).with_context(failed)?
        }
        Err(error) => return Err(anyhow::Error::from(error).into()),
    };
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

/// Has the running server make the backup.
fn ask_server(state: &Path, to: &Path, configuration: bool) -> anyhow::Result<BackupManifest> {
    let request = BackupRequest {
        directory: to.to_owned(),
        configuration,
    };
    let line = request.line();
    let line = line.with_context(|| format!("{}: the name cannot be told", to.display()))?;
    let mut last = String::new();
    for line in local_socket::ask(state, &line)? {
        last = line?;
    }
    match last.strip_prefix(ERROR) {
        Some(error) => bail!("{}", with_hint(error)),
        None if last == BACKED_UP => Ok(Archive::open(to)?.manifest().clone()),
        // It begins, stops or is killed.
        None => bail!("the server has not made it, see its log"),
    }
}

/// An error of the server, with what to do where it may not write.
fn with_hint(error: &str) -> String {
    let hint = if error.contains(PERMISSION_DENIED) {
        ". The server itself writes there, as the user it runs as"
    } else if error.contains(READ_ONLY) {
        ". The server itself writes there, where its systemd unit lets it: a directory outside of \
         the state needs a ReadWritePaths= there"
    } else {
        ""
    };
    format!("{error}{hint}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::io;

    #[test]
    fn a_server_that_may_not_write_says_who_may() {
        let hint = |errno: Errno| {
            let error = format!("/backup.partial: {}", io::Error::from(errno));
            let told = with_hint(&error);
            told.strip_prefix(&error).unwrap().to_owned()
        };
        assert!(hint(Errno::ACCESS).contains("as the user it runs as"));
        assert!(hint(Errno::ROFS).contains("ReadWritePaths="));
        assert_eq!(hint(Errno::NOSPC), "");
    }
}
