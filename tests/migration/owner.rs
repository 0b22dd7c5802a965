//! What `root` makes belongs to the user whose state it is.

use crate::state::*;
use crate::support::command;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

const USER: u32 = 12_345;
const GROUP: u32 = 12_346;

/// Files below a directory that do not belong to the user.
fn others(path: &Path) -> Vec<String> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut found = Vec::new();
    if (metadata.uid(), metadata.gid()) != (USER, GROUP) {
        found.push(path.display().to_string());
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(others(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn commands_of_root_leave_files_that_the_servers_user_can_open() {
    let dir = reference_server("2");
    let var = dir.path().join("var");
    let paths = [fs::read_dir(&var).unwrap(), fs::read_dir(&dir).unwrap()];
    let paths = paths
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    for path in paths {
        if chown(&path, Some(USER), Some(GROUP)).is_err() {
            println!("SKIPPED: the owner of files cannot be changed here");
            eprintln!("SKIPPED: the owner of files cannot be changed here");
            return;
        }
    }
    // So many warnings that they are in a file.
    let log = var.join("smp-server-store.log");
    let text = fs::read_to_string(&log).unwrap() + &"nonsense\n".repeat(101);
    fs::write(&log, text).unwrap();
    fails(dir.path(), &["import"]);
    assert_eq!(others(&var), Vec::<String>::new());
    succeeds(dir.path(), &["import", "--skip-warnings"]);
    assert_eq!(others(&var), Vec::<String>::new());
    let to = dir.path().join("exported");
    succeeds(dir.path(), &["export", to.to_str().unwrap()]);
    assert_eq!(others(&to), Vec::<String>::new());
    assert!(to.join("smp-server-store.log").exists());
    // No answer.
    assert!(
        !command(dir.path())
            .arg("delete")
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(others(&var), Vec::<String>::new());
}
