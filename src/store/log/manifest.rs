//! Which directory of logs counts.
//!
//! A mistake here would take all queues for none, or the wrong logs for those that may be removed:
//! what is not certain is refused.

use super::Directory;
use super::control::{Beginning, HEADER_LEN, Header};
use super::disk::Disk;
use super::origin::Origin;
use super::rehome_error::{RehomeError, at, damaged};
use super::supply::file_number;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// File that says which generation counts.
pub(super) const MANIFEST: &str = "manifest.json";
/// Version of the manifest.
const VERSION: u32 = 1;

/// Which directory counts, how many shards it has, and where what is in it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest.
    version: u32,
    /// Number of the directory; every move makes a new one.
    pub generation: u64,
    /// Shards in it.
    pub shards: u16,
    /// Where what is in them comes from.
    #[serde(default, skip_serializing_if = "Origin::is_unknown")]
    pub origin: Origin,
    /// Shards that have records, and so are never without segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<u16>,
    /// CRC-32C of the numbers before, each in eight bytes, of the origin as it is written when there
    /// is one, and of the shards that have records, each in eight bytes; absent when written by
    /// hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    crc: Option<u32>,
}

impl Manifest {
    /// What a store begins with.
    pub(super) fn first(shards: u16) -> Self {
        Self::new(1, shards, Origin::default())
    }

    /// What comes after it, with another number of shards.
    pub(super) fn next(&self, shards: u16) -> Self {
        Self::new(self.generation + 1, shards, self.origin.clone())
    }

    fn new(generation: u64, shards: u16, origin: Origin) -> Self {
        Self {
            version: VERSION,
            generation,
            shards,
            origin,
            begun: Vec::new(),
            crc: None,
        }
    }

    fn checksum(&self) -> Result<u32, serde_json::Error> {
        let origin = match self.origin.is_unknown() {
            true => Vec::new(),
            false => serde_json::to_vec(&self.origin)?,
        };
        let numbers = [self.version.into(), self.generation, self.shards.into()]
            .map(u64::to_le_bytes)
            .iter()
            .fold(0, |crc, bytes| crc32c::crc32c_append(crc, bytes));
        let begun = self
            .begun
            .iter()
            .flat_map(|shard| u64::from(*shard).to_le_bytes());
        let crc = crc32c::crc32c_append(numbers, &origin);
        Ok(crc32c::crc32c_append(crc, &begun.collect::<Vec<u8>>()))
    }

    /// Reads the manifest of a directory of logs; `None` when nothing was ever there.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, RehomeError> {
        let file = path.join(MANIFEST);
        let refuse = |reason: String| damaged(&file, format!("{reason}{}", advice(path)));
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match has_generations(path).map_err(at(path))? {
                    true => Err(refuse("it is missing, but there are logs".to_owned())),
                    false => Ok(None),
                };
            }
            Err(error) => return Err(at(&file)(error)),
        };
        let this: Self = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        if this.version != VERSION {
            let version = this.version;
            return Err(RehomeError::Version { file, version });
        }
        if this.shards == 0 {
            return Err(refuse("it has no shards".to_owned()));
        }
        let checksum = this.checksum().map_err(|e| refuse(e.to_string()))?;
        if this.crc.is_some_and(|crc| crc != checksum) {
            return Err(refuse("its checksum is another".to_owned()));
        }
        let current = generation(path, this.generation);
        match shards_in(&current) {
            Ok(found) if found > usize::from(this.shards) => {
                let reason = format!("there are {found} shards, not {}", this.shards);
                Err(refuse(reason))
            }
            Ok(_) => Ok(Some(this)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!("{} is missing, which it names", current.display());
                Err(refuse(reason))
            }
            Err(error) => Err(at(&current)(error)),
        }
    }

    /// Replaces the manifest of a directory of logs, durably.
    pub(super) fn write(&self, path: &Path) -> Result<(), RehomeError> {
        let file = path.join(MANIFEST);
        let failed = |e: serde_json::Error| damaged(&file, e.to_string());
        let mut this = self.clone();
        this.crc = Some(self.checksum().map_err(failed)?);
        let bytes = serde_json::to_vec(&this).map_err(failed)?;
        let disk = Directory::open(path).map_err(at(path))?;
        disk.replace(MANIFEST, &mut std::iter::once(bytes))
            .map_err(at(&file))
    }
}

/// What can be written by hand when it is certain what counts.
fn advice(path: &Path) -> String {
    let only = match generations(path).as_deref() {
        Ok([only]) => shards_in(&only.1).ok().map(|shards| (only.0, shards)),
        _ => None,
    };
    match only {
        Some((generation, shards)) => format!(
            ". Restore it from a backup; when no shard is missing, it can be \
             {{\"version\":1,\"generation\":{generation},\"shards\":{shards}}}"
        ),
        None => ". Restore it from a backup".to_owned(),
    }
}

/// The directory of a generation.
pub(super) fn generation(path: &Path, number: u64) -> PathBuf {
    path.join(format!("generation-{number}"))
}

/// The directory of a shard.
pub(super) fn shard_of(generation: &Path, shard: u16) -> PathBuf {
    generation.join(format!("shard-{shard:04}"))
}

/// Numbers and directories of generations, none of damaged ones that were kept.
pub(super) fn generations(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("generation-"));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    Ok(found)
}

/// Whether a shard has segments that are or were in use.
pub(super) fn has_records(shard: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(shard)? {
        let entry = entry?;
        if entry.file_name().to_str().and_then(file_number).is_none() {
            continue;
        }
        let mut beginning = Vec::new();
        let file = fs::File::open(entry.path())?;
        file.take(HEADER_LEN as u64).read_to_end(&mut beginning)?;
        if !matches!(Header::decode(&beginning), Beginning::Unused(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Number of shards in the directory of a generation.
fn shards_in(generation: &Path) -> io::Result<usize> {
    let mut shards = 0;
    for entry in fs::read_dir(generation)? {
        let name = entry?.file_name();
        shards += usize::from(name.to_str().is_some_and(|n| n.starts_with("shard-")));
    }
    Ok(shards)
}

/// Whether there are generations with anything in their shards.
fn has_generations(path: &Path) -> io::Result<bool> {
    for (_, generation) in generations(path)? {
        for shard in fs::read_dir(generation)? {
            if fs::read_dir(shard?.path())?.next().is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
