//! What the machine must allow.

use super::report::Report;
use crate::config::Settings;
use crate::runtime::{self, migration};
use rustix::fs::{Access, access};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether io_uring can be used, with enough locked memory.
pub(super) fn check_executors(settings: &Settings, report: &mut Report) {
    match runtime::try_executors(settings) {
        Ok(1) => report.ok("io_uring can be used by 1 shard"),
        Ok(shards) => report.ok(format!("io_uring can be used by {shards} shards")),
        Err(error) => report.error(error),
    }
}

/// Whether a start would use the store that is there.
pub(super) fn check_store(settings: &Settings, state: &Path, report: &mut Report) {
    if let Err(error) = migration::check_store(settings, state) {
        report.error(error);
    }
}

/// Whether the state folder can be written, or made.
pub(super) fn check_state(state: &Path, report: &mut Report) {
    let name = state.display();
    // What does not exist is made in the nearest folder that does.
    let existing = state.ancestors().find(|folder| folder.exists());
    let existing = existing.unwrap_or(Path::new("."));
    if !existing.is_dir() {
        report.error(format!("{} is not a folder", existing.display()));
        return;
    }
    let folder = existing.display();
    if let Err(error) = access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        report.error(format!(
            "the state folder {name} cannot be written: {folder}: {error}"
        ));
        return;
    }
    let owner = fs::metadata(existing).map_or(0, |folder| folder.uid());
    if geteuid().is_root() && owner != 0 {
        report.warning(format!(
            "{folder} belongs to user {owner}: run this check as the user that runs the server"
        ));
    } else {
        report.ok(format!("the state folder {name} can be written"));
    }
}
