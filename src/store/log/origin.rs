//! Where a store comes from: the partition key that its ids were placed by, and the files of a
//! reference server that it was filled from. Kept in the manifest.

use super::rehome::StoreDirectory;
use super::rehome_error::{RehomeError, at};
use super::{LogOptions, Partitions, RehomeReport};
use crate::store::reference::SourceFile;
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

/// What a manifest says besides which generation counts. Manifests of early releases have none of
/// this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Tells the partition key from others, without giving it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_check: Option<String>,
    /// The files that were imported, as they were then; empty when none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Vec<SourceFile>>,
}

impl Origin {
    /// Whether nothing is known.
    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

impl StoreDirectory {
    /// Where the store comes from, as far as it is known.
    pub fn origin(&self) -> &Origin {
        &self.manifest.origin
    }

    /// Notes where the store comes from, durably.
    pub fn set_origin(&mut self, origin: Origin) -> Result<(), RehomeError> {
        let mut manifest = self.manifest.clone();
        manifest.origin = origin;
        manifest.write(&self.path)?;
        self.manifest = manifest;
        Ok(())
    }

    /// When the manifest was written.
    pub fn written_at(&self) -> Result<SystemTime, RehomeError> {
        let file = self.manifest_file();
        let metadata = fs::metadata(&file).map_err(at(&file))?;
        metadata.modified().map_err(at(&file))
    }

    /// Moves everything to where another partition key puts it, on the same number of shards.
    pub fn rekey(
        &mut self,
        key_check: String,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<RehomeReport, RehomeError> {
        let before = self.manifest.origin.key_check.replace(key_check);
        let moved = self.rehome(self.shards(), partitions, options);
        if moved.is_err() {
            self.manifest.origin.key_check = before;
        }
        moved
    }
}
