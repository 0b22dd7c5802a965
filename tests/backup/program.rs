//! The program's commands.

use super::support::command;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn run_in(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = command(dir);
    command.args(arguments).current_dir(dir).output().unwrap()
}

/// What a command in a directory tells.
#[track_caller]
fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = run_in(dir, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Why a command in a directory fails.
#[track_caller]
pub fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = run_in(dir, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Makes a backup with the configuration, in the server's directory.
#[track_caller]
pub fn back_up(dir: &Path, name: &str) -> String {
    succeeds(dir, &["backup", name, "--with-configuration"])
}

/// Restores a backup.
#[track_caller]
pub fn restore(dir: &Path, arguments: &[&str]) -> String {
    succeeds(dir, &[&["restore"], arguments].concat())
}

/// A fresh directory with what a backup has.
#[track_caller]
pub fn restored(backup: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = fs::canonicalize(backup).unwrap();
    restore(
        dir.path(),
        &[from.to_str().unwrap(), "--with-configuration"],
    );
    dir
}
