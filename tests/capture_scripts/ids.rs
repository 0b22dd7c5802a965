//! Which of our ids stand for recorded ones.

use anyhow::{Result, ensure};
use std::collections::{HashMap, HashSet};

/// Ids of queues, links, messages and services: recorded and ours, one to one.
#[derive(Default)]
pub struct Ids {
    ours: HashMap<Vec<u8>, Vec<u8>>,
    taken: HashSet<Vec<u8>>,
}

impl Ids {
    /// What stands for a recorded id; itself when no server issued it.
    pub fn ours<'a>(&'a self, recorded: &'a [u8]) -> &'a [u8] {
        self.ours.get(recorded).map_or(recorded, Vec::as_slice)
    }

    /// Whether an id of ours stands for a recorded one.
    pub fn is_ours(&self, id: &[u8]) -> bool {
        self.taken.contains(id)
    }

    /// Takes `ours` for `recorded`. Fails when one of them already stands with another.
    pub fn learn(&mut self, recorded: &[u8], ours: &[u8]) -> Result<()> {
        if let Some(known) = self.ours.get(recorded) {
            ensure!(
                known == ours,
                "id {} was {} before",
                hex::encode(ours),
                hex::encode(known)
            );
            return Ok(());
        }
        ensure!(
            recorded.len() == ours.len(),
            "id {} of another length",
            hex::encode(ours)
        );
        ensure!(
            self.taken.insert(ours.to_vec()),
            "id {} given twice",
            hex::encode(ours)
        );
        self.ours.insert(recorded.to_vec(), ours.to_vec());
        Ok(())
    }
}
