//! The file that says which generation of a store counts.

use super::Directory;
use super::disk::Disk;
use super::origin::Origin;
use super::rehome_error::{RehomeError, at, damaged};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Its name, in the directory of all logs.
pub(super) const MANIFEST: &str = "manifest.json";
/// Its version.
const VERSION: u32 = 1;

/// Which directory counts, how many shards it has, and where what is in it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the manifest.
    version: u32,
    /// Number of the directory; every move makes a new one.
    pub generation: u64,
    /// Shards in it.
    pub shards: u16,
    /// Where what is in them comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

impl Manifest {
    /// What a store begins with.
    pub(super) fn first(shards: u16) -> Self {
        Self {
            version: VERSION,
            generation: 1,
            shards,
            origin: Origin::default(),
        }
    }

    /// What comes after it, with another number of shards.
    pub(super) fn next(&self, shards: u16) -> Self {
        Self {
            version: VERSION,
            generation: self.generation + 1,
            shards,
            origin: self.origin.clone(),
        }
    }

    /// Reads the file; an error says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if manifest.version != VERSION || manifest.shards == 0 {
            return Err(format!("version {} is not known", manifest.version));
        }
        Ok(manifest)
    }
}

/// Replaces the file, durably.
pub(super) fn write_manifest(
    disk: &Directory,
    file: &Path,
    manifest: &Manifest,
) -> Result<(), RehomeError> {
    let bytes = serde_json::to_vec(manifest).map_err(|e| damaged(file, e.to_string()))?;
    disk.replace(MANIFEST, &mut std::iter::once(bytes))
        .map_err(at(file))
}
