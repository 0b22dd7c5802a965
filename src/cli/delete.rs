//! `delete`: removes the configuration and the state (spec: operations §1.12).

use super::{CliError, Console, Directories};
use crate::runtime::lock::StateLock;
use anyhow::{Context, bail};
use clap::Args;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The only answer that deletes.
const CONSENT: &str = "Y";

/// Options of `delete`.
#[derive(Debug, Default, Args)]
pub struct DeleteOptions {
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `delete`.
pub fn run(directories: &Directories, console: &mut Console<'_>) -> Result<(), CliError> {
    let state = &directories.state;
    // Held while the question is open: nobody starts a server on what is about to go.
    let _lock = match state.is_dir() {
        true => Some(StateLock::acquire(state).map_err(anyhow::Error::from)?),
        false => None,
    };
    let answer = console.ask(
        "WARNING: deleting the server will make all queues inaccessible, because the server \
         identity (certificate fingerprint) will change.\n\
         THIS CANNOT BE UNDONE!\n\
         Continue (Y/n): ",
    )?;
    if *answer != CONSENT {
        return Err(CliError::Refused("Server NOT deleted".to_owned()));
    }
    // What is left of one is no reason to leave the other.
    let removed = [&directories.config, state].map(|directory| {
        remove(directory).with_context(|| format!("cannot delete {}", directory.display()))
    });
    removed.into_iter().collect::<Result<(), _>>()?;
    console.line("Deleted configuration and log files")?;
    Ok(())
}

/// Removes a directory with everything in it. There may be none; one that is mounted stays, empty.
fn remove(directory: &Path) -> anyhow::Result<()> {
    let real = match fs::canonicalize(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        real => real?,
    };
    match fs::remove_dir_all(&real) {
        // Something is mounted, here or below.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => empty(&real)?,
        result => result?,
    }
    if directory.is_symlink() {
        fs::remove_file(directory)?;
    }
    Ok(())
}

/// Removes what can be removed from a directory; an error names what is left.
fn empty(directory: &Path) -> anyhow::Result<()> {
    let mut left = Vec::new();
    remove_entries(directory, &mut left);
    if left.is_empty() {
        return Ok(());
    }
    bail!("these are left: {}", left.join(", "))
}

fn remove_entries(directory: &Path, left: &mut Vec<String>) {
    let mut say =
        |path: &Path, error: io::Error| left.push(format!("{} ({error})", path.display()));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return say(directory, error),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return say(directory, error),
        };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            directories.push(entry.path());
        } else if let Err(error) = fs::remove_file(entry.path()) {
            say(&entry.path(), error);
        }
    }
    for directory in directories {
        let before = left.len();
        remove_entries(&directory, left);
        // A directory with something left is not worth a word of its own.
        if left.len() == before
            && let Err(error) = fs::remove_dir(&directory)
        {
            left.push(format!("{} ({error})", directory.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn server() -> (TempDir, Directories) {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories::new(Some(root.path()), |_| None);
        for directory in [&directories.config, &directories.state] {
            fs::create_dir_all(directory.join("sub")).unwrap();
            fs::write(directory.join("sub/file"), "x").unwrap();
        }
        (root, directories)
    }

    fn delete(directories: &Directories, answer: &str) -> (Result<(), CliError>, String) {
        let mut output = Vec::new();
        let mut console = Console {
            input: &mut answer.as_bytes(),
            output: &mut output,
        };
        let result = run(directories, &mut console);
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn asks_and_deletes() {
        let (root, directories) = server();
        fs::write(root.path().join("other"), "x").unwrap();
        let (result, output) = delete(&directories, "Y\n");
        result.unwrap();
        assert_eq!(
            output,
            "WARNING: deleting the server will make all queues inaccessible, because the server \
             identity (certificate fingerprint) will change.\nTHIS CANNOT BE UNDONE!\n\
             Continue (Y/n): Deleted configuration and log files\n"
        );
        assert!(!directories.config.exists() && !directories.state.exists());
        assert!(root.path().join("other").exists());
        // Nothing is there any more, which is what was asked for.
        assert!(delete(&directories, "Y\n").0.is_ok());
    }

    #[test]
    fn any_other_answer_keeps_everything() {
        let (_root, directories) = server();
        for answer in ["\n", "y\n", "n\n", "Yes\n", " Y\n"] {
            match delete(&directories, answer).0 {
                Err(CliError::Refused(text)) => assert_eq!(text, "Server NOT deleted"),
                other => panic!("{answer:?}: {other:?}"),
            }
        }
        assert!(matches!(
            delete(&directories, "").0,
            Err(CliError::Failed(_))
        ));
        assert!(directories.config.join("sub/file").exists());
        assert!(directories.state.join("sub/file").exists());
    }

    #[test]
    fn a_running_server_is_not_deleted() {
        let (_root, directories) = server();
        let _lock = StateLock::acquire(&directories.state).unwrap();
        let (result, output) = delete(&directories, "Y\n");
        let error = result.unwrap_err().to_string();
        assert!(error.contains("another smp-server uses"), "{error}");
        assert_eq!(output, "");
        assert!(directories.config.join("sub/file").exists());
    }

    #[test]
    fn links_to_directories_are_followed() {
        let (root, directories) = server();
        let elsewhere = root.path().join("elsewhere");
        fs::rename(&directories.config, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &directories.config).unwrap();
        delete(&directories, "Y\n").0.unwrap();
        assert!(!elsewhere.exists() && !directories.config.is_symlink());
    }
}
