//! Backups of the state, of a running relay too, and their way back (docs/STORAGE.md).

mod archive;
mod configuration;
mod copy;
mod error;
mod files;
mod live;
mod manifest;
mod restore;
mod stopped;
#[cfg(test)]
mod tests;
mod writer;

pub use archive::Archive;
pub use error::{BackupError, RestoreError};
#[cfg(test)]
pub(super) use live::hold_still;
pub(super) use live::{BackupSource, back_up};
pub use manifest::BackupManifest;
pub use restore::{RestorePlan, RestoreReport, complete, restore};
pub use stopped::back_up_stopped;

use super::partition_key;
use super::statistics::{DAILY_LOG, RECORD_FILE};
use crate::store::log::{STORE_FOLDER, StoreDirectory};
use std::path::{Path, PathBuf};

/// Folder of a backup with what comes from the state directory.
const STATE: &str = "state";
/// Folder of a backup with what comes from the configuration directory.
const CONFIGURATION: &str = "configuration";
/// What counts in a state directory.
const STATE_ENTRIES: [&str; 4] = [
    STORE_FOLDER,
    partition_key::FILE,
    STATISTICS_FILES[0],
    STATISTICS_FILES[1],
];
/// Statistics: counters with the rows that may be missing in the second file, and that file.
const STATISTICS_FILES: [&str; 2] = [RECORD_FILE, DAILY_LOG];

/// Where everything is that a backup may take.
#[derive(Debug, Clone)]
pub struct Places {
    /// The state directory.
    pub state: PathBuf,
    /// The configuration directory.
    pub configuration: PathBuf,
}

impl Places {
    /// Directories that are copied.
    fn sources<'a>(&'a self, store: &'a StoreDirectory, configuration: bool) -> Vec<&'a Path> {
        let configuration = configuration.then_some(&*self.configuration);
        configuration.into_iter().chain([store.root()]).collect()
    }
}

/// The path in a backup of a file of the state directory.
fn in_state(name: &str) -> String {
    format!("{STATE}/{name}")
}

/// How a path of the store is written in a backup; `None` for one that is not below the state.
fn state_path(state: &Path, file: &Path) -> Option<String> {
    let relative = file.strip_prefix(state).ok()?.to_str()?;
    Some(in_state(relative))
}
