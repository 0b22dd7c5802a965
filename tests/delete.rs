//! `delete` says what it could not remove.

mod support;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use support::{Setup, command};

/// A file or directory that is mounted somewhere else, until dropped.
struct Bound(PathBuf);

impl Bound {
    /// `None`, which is said aloud, where that is not permitted.
    fn new(from: &Path, to: &Path) -> Option<Self> {
        if let Err(error) = mount_bind(from, to) {
            println!("SKIPPED: mounting is not permitted here: {error}");
            eprintln!("SKIPPED: mounting is not permitted here: {error}");
            return None;
        }
        Some(Self(to.to_owned()))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

fn delete(dir: &Path) -> Output {
    let mut child = command(dir)
        .arg("delete")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Y\n").unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_mounted_inside_is_named_and_everything_else_removed() {
    let dir = Setup::default().prepare();
    let (etc, var) = (dir.path().join("etc"), dir.path().join("var"));
    let elsewhere = tempfile::tempdir().unwrap();
    let certificate = elsewhere.path().join("web.crt");
    fs::write(&certificate, "mounted").unwrap();
    fs::write(etc.join("web.crt"), "").unwrap();
    fs::create_dir_all(var.join("backups/of")).unwrap();
    fs::write(var.join("backups/of/today"), "x").unwrap();
    let Some(bound) = Bound::new(&certificate, &etc.join("web.crt")) else {
        return;
    };
    let output = delete(dir.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let named = etc.join("web.crt").display().to_string();
    assert!(error.contains(&named), "{error}");
    assert!(!error.contains("server.key"), "{error}");
    assert!(
        !String::from_utf8(output.stdout)
            .unwrap()
            .contains("Deleted")
    );
    let left: Vec<_> = fs::read_dir(&etc)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["web.crt"]);
    assert!(!var.exists());
    drop(bound);
    assert!(delete(dir.path()).status.success());
    assert!(!etc.exists() && certificate.exists());
}

#[test]
fn a_directory_that_is_mounted_itself_is_emptied() {
    let dir = Setup::default().prepare();
    let (etc, elsewhere) = (dir.path().join("etc"), tempfile::tempdir().unwrap());
    fs::write(elsewhere.path().join("smp-server.ini"), "").unwrap();
    fs::create_dir(elsewhere.path().join("sub")).unwrap();
    fs::write(elsewhere.path().join("sub/file"), "").unwrap();
    let Some(_bound) = Bound::new(elsewhere.path(), &etc) else {
        return;
    };
    let output = delete(dir.path());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
