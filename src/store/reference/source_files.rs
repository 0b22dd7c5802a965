//! The files of a state directory that an import reads, as they are at one time: whether a
//! reference server has run since shows in them.

use super::file_names::{JOURNAL, MESSAGES, NOTIFICATIONS, STORE_LOG, STORE_LOG_START};
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, or a directory with all files in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Name in the state directory.
    pub name: String,
    /// Files: 1, or those of the directory.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The last change of any, nanoseconds since the Unix epoch.
    pub modified_ns: i64,
}

impl SourceFile {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            files: 0,
            bytes: 0,
            modified_ns: i64::MIN,
        }
    }

    fn add(&mut self, metadata: &Metadata) {
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        let modified = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        self.files += 1;
        self.bytes += metadata.len();
        self.modified_ns = self.modified_ns.max(modified);
    }
}

/// The files of queues, messages and notifications that are there. Those of statistics say nothing
/// about clients. An error names the file.
pub fn source_files(state: &Path) -> Result<Vec<SourceFile>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    for name in [STORE_LOG, STORE_LOG_START, MESSAGES, NOTIFICATIONS, JOURNAL] {
        let path = state.join(name);
        let mut file = SourceFile::new(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => add_all(&path, &mut file)?,
            Ok(metadata) => file.add(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((path, error)),
        }
        found.push(file);
    }
    Ok(found)
}

/// Adds the files of a directory and those below. What vanishes meanwhile is not there.
fn add_all(directory: &Path, file: &mut SourceFile) -> Result<(), (PathBuf, io::Error)> {
    let at = |error| (directory.to_owned(), error);
    for entry in fs::read_dir(directory).map_err(at)? {
        let entry = entry.map_err(at)?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => add_all(&entry.path(), file)?,
            Ok(metadata) => file.add(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((entry.path(), error)),
        }
    }
    Ok(())
}

/// Names of files that are not as they were before. Files that are gone do not count: they are
/// not read any more.
pub fn changed_files(before: &[SourceFile], now: &[SourceFile]) -> Vec<String> {
    let changed = now.iter().filter(|file| !before.contains(file));
    changed.map(|file| file.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_later_shows() {
        let state = tempfile::tempdir().unwrap();
        let file = |name: &str| state.path().join(name);
        fs::create_dir_all(file("messages/aa/bb")).unwrap();
        for name in [
            STORE_LOG,
            MESSAGES,
            "messages/aa/bb/queue_state.log",
            "other",
        ] {
            fs::write(file(name), "x").unwrap();
        }
        let before = source_files(state.path()).unwrap();
        let names: Vec<_> = before.iter().map(|file| &file.name[..]).collect();
        assert_eq!(names, [STORE_LOG, MESSAGES, JOURNAL]);
        let changed = || changed_files(&before, &source_files(state.path()).unwrap());
        assert!(changed().is_empty());

        fs::write(file("other"), "changed").unwrap();
        fs::remove_file(file(MESSAGES)).unwrap();
        assert!(changed().is_empty());
        // As long, but of another time.
        let log = fs::File::options()
            .write(true)
            .open(file(STORE_LOG))
            .unwrap();
        log.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(changed(), [STORE_LOG]);
        fs::write(file("messages/aa/bb/queue_state.log"), "xx").unwrap();
        fs::write(file(NOTIFICATIONS), "x").unwrap();
        assert_eq!(changed(), [STORE_LOG, NOTIFICATIONS, JOURNAL]);
    }
}
