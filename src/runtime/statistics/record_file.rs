//! The file of statistics in the state directory.

use crate::control::{RecordError, StatisticsRecord};
use crate::store::hand_over;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The file.
pub const FILE: &str = "smp-server-statistics";
/// Ending of the file while it is written.
const UNFINISHED: &str = ".unfinished";
/// Ending of a file that cannot be used.
const DAMAGED: &str = ".damaged";

/// The file, read and replaced as a whole.
#[derive(Debug, Clone)]
pub struct RecordFile {
    directory: PathBuf,
}

/// Why a file cannot be used.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct RecordFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Content(#[from] RecordError),
}

impl RecordFile {
    /// The file of a state directory.
    pub fn of(state: &Path) -> Self {
        Self {
            directory: state.to_owned(),
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{FILE}{ending}"))
    }

    fn failed<E: Into<Reason>>(&self) -> impl FnOnce(E) -> RecordFileError {
        let path = self.path("");
        |reason| RecordFileError {
            path,
            reason: reason.into(),
        }
    }

    /// Reads the file; `None` when there is none.
    pub fn load(&self) -> Result<Option<StatisticsRecord>, RecordFileError> {
        let file = match fs::read(self.path("")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed()(error)),
        };
        let record = StatisticsRecord::decode(&file).map_err(self.failed())?;
        Ok(Some(record))
    }

    /// Reads the file. One that cannot be used is told, and moved out of the way.
    pub fn load_or_keep_aside(&self) -> Option<StatisticsRecord> {
        self.load().unwrap_or_else(|error| {
            let kept = self.path(DAMAGED);
            match fs::rename(self.path(""), &kept) {
                Ok(()) => tracing::warn!(
                    "statistics begin at zero: {error}. The file is kept as {}",
                    kept.display()
                ),
                Err(other) => tracing::warn!(
                    "statistics begin at zero: {error}. It cannot be kept as {}: {other}",
                    kept.display()
                ),
            }
            None
        })
    }

    /// Replaces the file, atomically and durably.
    pub fn save(&self, record: &StatisticsRecord) -> Result<(), RecordFileError> {
        let content = record.encode().map_err(self.failed())?;
        self.replace(&content).map_err(self.failed())
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let unfinished = self.path(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        hand_over(&self.directory, &unfinished);
        fs::rename(&unfinished, self.path(""))?;
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_returns_and_one_that_cannot_be_used_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecordFile::of(dir.path());
        assert_eq!(file.load_or_keep_aside(), None);
        let mut record = StatisticsRecord::default();
        for count in [3, 4] {
            record.statistics.counters.messages_sent = count;
            file.save(&record).unwrap();
            assert_eq!(file.load().unwrap(), Some(record.clone()));
        }
        fs::write(file.path(""), "nonsense").unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
        assert_eq!(file.load_or_keep_aside(), None);
        let kept = fs::read_to_string(file.path(DAMAGED)).unwrap();
        assert_eq!(kept, "nonsense");
        assert_eq!(file.load().unwrap(), None);
        file.save(&record).unwrap();
        let files = fs::read_dir(dir.path()).unwrap();
        assert_eq!(files.count(), 2);
    }
}
