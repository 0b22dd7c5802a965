//! The list of a backup's files: a line of JSON, and its SHA-256.

use super::{CONFIGURATION, STATE};
use crate::crypto::hash;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};
use time::OffsetDateTime;

/// The file; it is written last, so that a backup without it is none.
pub const FILE: &str = "backup.manifest";
/// Version of the format of backups.
pub const VERSION: u64 = 1;

/// What a backup has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Version of the format.
    pub version: u64,
    /// When it was begun: `2026-11-28T04:24:55Z`.
    pub created: String,
    /// Release of the relay that made it.
    pub relay: String,
    /// Number of shards.
    pub shards: u16,
    /// Number of queues.
    pub queues: u64,
    /// Number of messages, quota markers included.
    pub messages: u64,
    /// Whether the configuration is there too.
    pub configuration: bool,
    /// All other files, in the order they were written.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Where it is in the backup.
    pub path: String,
    /// Bytes of it there.
    pub length: u64,
    /// Bytes it is to have when it is restored; those behind `length` are zeros.
    pub size: u64,
    /// Permissions it is to have.
    pub mode: u32,
    /// SHA-256 of what is there, in hexadecimal digits.
    pub sha256: String,
}

/// Why the bytes of a manifest are none.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The checksum says so.
    Damaged(&'static str),
    /// It has another version.
    Version(u64),
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl BackupManifest {
    /// Its form in the file.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        let digest = hexadecimal(&hash::sha256(&bytes));
        bytes.extend_from_slice(digest.as_bytes());
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        const TRUNCATED: Malformed = Malformed::Damaged("it ends too early");
        let line = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(TRUNCATED)?;
        let (json, digest) = bytes.split_at(line + 1);
        if digest != format!("{}\n", hexadecimal(&hash::sha256(json))).as_bytes() {
            return Err(Malformed::Damaged("its checksum is wrong"));
        }
        const NONE: Malformed = Malformed::Damaged("it is no list of files");
        let Versioned { version } = serde_json::from_slice(json).map_err(|_| NONE)?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|_| NONE)?;
        if manifest.files.iter().all(BackupFile::is_inside) {
            Ok(manifest)
        } else {
            Err(Malformed::Damaged(
                "it has a path that leads out of the backup",
            ))
        }
    }

    /// The files of one folder, with their paths in it.
    pub fn files_of<'a>(
        &'a self,
        folder: &str,
    ) -> impl Iterator<Item = (&'a BackupFile, &'a Path)> {
        self.files.iter().filter_map(move |file| {
            let path = Path::new(&file.path).strip_prefix(folder).ok()?;
            Some((file, path))
        })
    }
}

impl BackupFile {
    /// Whether its path is below one of the folders, whoever wrote it.
    fn is_inside(&self) -> bool {
        let mut parts = Path::new(&self.path).components();
        let first = parts.next();
        let is_known = |folder: &str| first == Some(Component::Normal(folder.as_ref()));
        (is_known(STATE) || is_known(CONFIGURATION))
            && parts.clone().next().is_some()
            && parts.all(|part| matches!(part, Component::Normal(_)))
            && self.length <= self.size
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds in ISO 8601: `2026-11-28T04:24:55Z`.
pub fn moment(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
