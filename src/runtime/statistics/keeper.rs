//! Saves statistics now and then, and ends days.

use super::daily_log::{DAILY_LOG, DailyLog};
use super::record_file::{RecordFile, RecordFileError};
use crate::config::Settings;
use crate::control::{PendingRows, SavedStatistics, StatisticsRecord};
use crate::runtime::control::{Control, Stop};
use crate::runtime::core::now;
use futures_lite::future::or;
use glommio::timer::sleep;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// Time between two saves: a crash loses at most what was counted since the last one.
const INTERVAL: Duration = Duration::from_secs(10);

/// The files that statistics are kept in. Its methods wait for the disk.
#[derive(Debug)]
pub struct StatisticsFiles {
    record: RecordFile,
    daily_log: DailyLog,
    /// What was saved last.
    saved: Option<SavedStatistics>,
    /// Rows that may not be written yet.
    rows: Option<PendingRows>,
}

/// Why statistics are not saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// Their file cannot be written.
    #[error(transparent)]
    Record(#[from] RecordFileError),
    /// The file of daily statistics cannot be written.
    #[error("{DAILY_LOG}: {0}")]
    DailyLog(#[from] io::Error),
}

impl StatisticsFiles {
    /// Reads what there is; writes rows that a crash has left unwritten.
    pub fn open(state: &Path, settings: &Settings) -> (Self, Option<SavedStatistics>) {
        let record = RecordFile::of(state);
        let (saved, rows) = match record.load_or_keep_aside() {
            Some(StatisticsRecord { statistics, rows }) => (Some(statistics), rows),
            None => (None, None),
        };
        let mut files = Self {
            record,
            daily_log: DailyLog::of(state, settings.relay.stats_header),
            saved,
            rows,
        };
        if let Err(error) = files.write_rows() {
            tracing::warn!("cannot write daily statistics, trying again: {error}");
        }
        (files, saved)
    }

    /// Saves what has changed, and adds a row if a day has ended.
    pub fn save(&mut self, saved: SavedStatistics, row: Option<&str>) -> Result<(), SaveError> {
        if let Some(row) = row {
            let mut rows = match self.rows.take() {
                Some(rows) => rows,
                // A file that cannot be read is an error when it is written.
                None => self.daily_log.end().unwrap_or_default(),
            };
            rows.add(row);
            self.rows = Some(rows);
        }
        if self.saved != Some(saved) || row.is_some() {
            self.write_record(saved)?;
        }
        self.write_rows()
    }

    fn write_rows(&mut self) -> Result<(), SaveError> {
        let Some(rows) = &self.rows else {
            return Ok(());
        };
        self.daily_log.write(rows)?;
        self.rows = None;
        // Now they need not be looked for any more.
        self.saved.map_or(Ok(()), |saved| self.write_record(saved))
    }

    fn write_record(&mut self, saved: SavedStatistics) -> Result<(), SaveError> {
        let record = StatisticsRecord {
            statistics: saved,
            rows: self.rows.clone(),
        };
        self.saved = None;
        self.record.save(&record)?;
        self.saved = Some(saved);
        Ok(())
    }
}

/// Saves until a stop is requested; gives the files back for the last time.
pub async fn keep(
    control: Rc<Control>,
    mut files: StatisticsFiles,
    stop: Rc<Stop>,
) -> StatisticsFiles {
    let mut failing = false;
    while !stop.is_requested() {
        let request = control.saves().count();
        let now_ns = now().nanos;
        let snapshots = async { Some(control.snapshots().await) };
        let stopped = async {
            stop.requested().await;
            None
        };
        let Some(shards) = or(stopped, snapshots).await else {
            break;
        };
        let (saved, row) = control.settle(now_ns, &shards);
        let result;
        (files, result) = save(files, saved, row).await;
        let failure = result.err().map(|error| error.to_string());
        if let (Some(error), false) = (&failure, failing) {
            tracing::warn!("cannot save statistics, trying again: {error}");
        }
        failing = failure.is_some();
        control.saves().finish(request, failure);
        let wait = control.until_next_day().min(INTERVAL);
        let timer = async {
            sleep(wait).await;
        };
        or(stop.requested(), or(control.saves().requested(), timer)).await;
    }
    files
}

/// Saves in a thread beside the executor.
pub async fn save(
    mut files: StatisticsFiles,
    saved: SavedStatistics,
    row: Option<String>,
) -> (StatisticsFiles, Result<(), SaveError>) {
    let work = move || {
        let result = files.save(saved, row.as_deref());
        (files, result)
    };
    glommio::executor().spawn_blocking(work).await
}

#[cfg(test)]
mod tests;
