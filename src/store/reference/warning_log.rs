//! A file with all warnings of an import that met many.

use super::warning::Warning;
use crate::store::hand_over;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file, made when the first warning is written.
#[derive(Debug)]
pub(super) struct WarningLog {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Unused,
    Open(BufWriter<File>),
    /// An import does not end for want of a place for its warnings.
    Failed(io::Error),
}

impl WarningLog {
    pub(super) fn new(path: PathBuf) -> Self {
        let state = State::Unused;
        Self { path, state }
    }

    /// Writes a warning, behind those before it if it is the first.
    pub(super) fn write(&mut self, before: &[Warning], warning: &Warning) {
        let written = match &mut self.state {
            State::Unused => self.begin(before, warning),
            State::Open(file) => writeln!(file, "{warning}"),
            State::Failed(_) => return,
        };
        if let Err(error) = written {
            self.state = State::Failed(error);
        }
    }

    fn begin(&mut self, before: &[Warning], warning: &Warning) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&self.path)?;
        // One that is there already keeps its mode.
        file.set_permissions(Permissions::from_mode(0o600))?;
        if let Some(directory) = self.path.parent() {
            hand_over(directory, &self.path);
        }
        let mut file = BufWriter::new(file);
        for warning in before.iter().chain([warning]) {
            writeln!(file, "{warning}")?;
        }
        self.state = State::Open(file);
        Ok(())
    }

    /// Says where the file is, if there is one, and whether it is complete.
    pub(super) fn finish(&mut self) -> Option<(&Path, io::Result<()>)> {
        let written = match std::mem::replace(&mut self.state, State::Unused) {
            State::Unused => return None,
            State::Open(mut file) => file.flush(),
            State::Failed(error) => Err(error),
        };
        Some((&self.path, written))
    }
}
