//! The file in which statistics outlive the process: a line with format, version and checksum, then
//! JSON.

use super::statistics::SavedStatistics;
use serde::{Deserialize, Serialize};
use std::num::ParseIntError;
use thiserror::Error;

/// First word of the file.
const NAME: &str = "smp-statistics";
/// Version written; readers refuse others. New fields need no new version.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatisticsRecord {
    /// Counters.
    pub statistics: SavedStatistics,
    /// Rows of daily statistics that may not be in their file yet.
    pub rows: Option<PendingRows>,
}

/// Rows on their way to the file of daily statistics. They are noted before they are written, with
/// the counters that begin after them: whenever the process ends, each is written once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PendingRows {
    /// Where in the file they belong.
    pub offset: u64,
    /// Whole lines.
    pub text: String,
}

impl PendingRows {
    /// Adds a row.
    pub fn add(&mut self, row: &str) {
        self.text.push_str(row);
        self.text.push('\n');
    }
}

/// Why a file is no record of statistics.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It does not begin as it must.
    #[error("it is no file of statistics")]
    Format,
    /// It was written by a newer server.
    #[error("its version is {0}, this server knows {VERSION}")]
    Version(u32),
    /// It was changed or written in part.
    #[error("its checksum is wrong")]
    Checksum,
    /// It cannot be understood, or written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl From<ParseIntError> for RecordError {
    fn from(_: ParseIntError) -> Self {
        Self::Format
    }
}

impl StatisticsRecord {
    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let json = serde_json::to_vec_pretty(self)?;
        let crc = crc32c::crc32c(&json);
        let mut file = format!("{NAME} {VERSION} {crc:08x}\n").into_bytes();
        file.extend_from_slice(&json);
        Ok(file)
    }

    /// Reads the bytes of a file.
    pub fn decode(file: &[u8]) -> Result<Self, RecordError> {
        let end = file.iter().position(|byte| *byte == b'\n');
        let (head, json) = file.split_at(end.ok_or(RecordError::Format)?);
        let json = json.get(1..).unwrap_or_default();
        let head = str::from_utf8(head).map_err(|_| RecordError::Format)?;
        let mut words = head.split(' ');
        let (Some(NAME), Some(version), Some(crc), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(RecordError::Format);
        };
        match version.parse()? {
            VERSION => {}
            other => return Err(RecordError::Version(other)),
        }
        if u32::from_str_radix(crc, 16)? != crc32c::crc32c(json) {
            return Err(RecordError::Checksum);
        }
        Ok(serde_json::from_slice(json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> StatisticsRecord {
        let mut record = StatisticsRecord {
            rows: Some(PendingRows {
                offset: 7,
                text: "2026-11-22,1\n".to_owned(),
            }),
            ..StatisticsRecord::default()
        };
        record.statistics.from_time_ns = 1;
        record.statistics.counters.messages_sent = u64::MAX;
        record
    }

    #[test]
    fn a_record_returns() {
        for record in [record(), StatisticsRecord::default()] {
            let file = record.encode().unwrap();
            assert_eq!(StatisticsRecord::decode(&file).unwrap(), record);
        }
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let file = record().encode().unwrap();
        for end in 0..file.len() {
            assert!(StatisticsRecord::decode(&file[..end]).is_err(), "{end}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            // Only hexadecimal digits have two forms.
            let read = StatisticsRecord::decode(&changed);
            assert!(read.is_err(), "{at}: {read:?}");
        }
    }

    #[test]
    fn other_versions_are_refused_and_unknown_fields_are_not() {
        let newer = StatisticsRecord::decode(b"smp-statistics 2 00000000\n{}");
        assert!(matches!(newer, Err(RecordError::Version(2))), "{newer:?}");
        let json = br#"{"later": 1, "statistics": {"counters": {"sub_auth": 4, "x": 1}}}"#;
        let mut file = format!("{NAME} 1 {:08x}\n", crc32c::crc32c(json)).into_bytes();
        file.extend_from_slice(json);
        let read = StatisticsRecord::decode(&file).unwrap();
        assert_eq!(read.statistics.counters.sub_auth, 4);
        assert_eq!(read.rows, None);
    }
}
