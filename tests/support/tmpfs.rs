//! A small file system in memory, to run out of space.

use rustix::fs::statvfs;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const MB: usize = 1 << 20;

/// A file system of some megabytes, unmounted when dropped.
pub struct Tmpfs(TempDir);

impl Tmpfs {
    /// Mounts one; `None`, which is said aloud, where that is not permitted.
    pub fn mount(megabytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = size(megabytes);
        match mount("none", dir.path(), "tmpfs", MountFlags::empty(), &*options) {
            Ok(()) => Some(Self(dir)),
            Err(Errno::PERM | Errno::ACCESS | Errno::NODEV) => {
                println!("SKIPPED: mounting a file system is not permitted here");
                eprintln!("SKIPPED: mounting a file system is not permitted here");
                None
            }
            Err(error) => panic!("cannot mount: {error}"),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it another size.
    pub fn resize(&self, megabytes: usize) {
        mount_remount(self.path(), MountFlags::empty(), &*size(megabytes)).unwrap();
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let stat = statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes all space but `left` bytes with a file, which is returned.
    pub fn eat(&self, left: u64) -> PathBuf {
        let path = self.path().join("somebody-elses-file");
        let mut file = File::create(&path).unwrap();
        let chunk = [1; 4096];
        while self.free() > left {
            match file.write_all(&chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What still uses it keeps it until its end.
        if let Err(error) = unmount(self.path(), UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.path().display());
        }
    }
}

fn size(megabytes: usize) -> CString {
    CString::new(format!("size={}", megabytes * MB)).unwrap()
}
