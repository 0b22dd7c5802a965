//! Bringing a backup back.
//!
//! Everything is written beside what is there and made durable; a rename then decides. What comes
//! after it, moving old things aside and new ones into place, is done again by whoever next takes
//! the lock of the state directory, if it was interrupted.

use super::configuration::restore_configuration;
use super::copy::create;
use super::error::{RestoreError, restoring};
use super::files::{
    Owner, exists, has_directory, make_owned, make_parents, open_file, remove_all, sync_directory,
};
use super::manifest::BackupFile;
use super::stopped::read_only;
use super::{Archive, BackupManifest, CONFIGURATION, Places, STATE, STATE_ENTRIES};
use crate::relay::Partitioner;
use crate::runtime::partition_key;
use crate::store::Totals;
use crate::store::log::{Partitions, STORE_FOLDER, StoreDirectory};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;

/// What is being written, in the state directory.
const UNFINISHED: &str = "smp-server-restore.new";
/// What counts as soon as it is there.
const DECIDED: &str = "smp-server-restore";
/// File in it that says what is to be done.
const PLAN: &str = "plan.json";
/// Begins the name of the folder with the state before.
const ASIDE: &str = "smp-server-state.before-restore-";

/// What to restore.
#[derive(Debug)]
pub struct RestorePlan<'a> {
    /// The backup.
    pub archive: &'a Archive,
    /// Its directory, for messages.
    pub from: &'a Path,
    /// Where to.
    pub places: &'a Places,
    /// Whether the configuration is wanted too.
    pub configuration: bool,
    /// Whether to move aside what is there.
    pub overwrite: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct RestoreReport {
    /// Where the state is that was there before.
    pub old_state: Option<PathBuf>,
    /// Where those files of the configuration are that were there before.
    pub old_configuration: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    /// Folder for what is replaced.
    aside: String,
    /// What is to be moved into place.
    entries: Vec<String>,
}

impl Plan {
    /// Reads the plan of a restore; `None` when there is none. Whoever reads it may be `root` and
    /// does what it says, so it must say nothing about other directories.
    fn read(decided: &Path) -> io::Result<Option<Self>> {
        if !has_directory(decided)? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        match open_file(&decided.join(PLAN)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?.read_to_end(&mut bytes)?,
        };
        let plan: Self = serde_json::from_slice(&bytes)?;
        if !plan.aside.starts_with(ASIDE) || plan.aside.contains('/') {
            let what = format!(
                "the folder for the old state is no name that begins with {ASIDE}: this is no plan \
                 of smp-server, find out who wrote it"
            );
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        Ok(Some(plan))
    }
}

/// Restores a backup that was verified. The caller holds the lock of the state directory.
pub fn restore(plan: &RestorePlan<'_>) -> Result<RestoreReport, RestoreError> {
    let manifest = plan.archive.manifest();
    let (state, config) = (&plan.places.state, &plan.places.configuration);
    let time = compact_moment(OffsetDateTime::now_utc());
    let aside = unused(state, &format!("{ASIDE}{time}"));
    let aside_config = unused(config, &format!("configuration.before-restore-{time}"));
    if plan.configuration && !manifest.configuration {
        return Err(RestoreError::NoConfiguration(plan.from.to_owned()));
    }
    let old_state = exists(&state.join(STORE_FOLDER))?;
    if old_state && !plan.overwrite {
        return Err(RestoreError::Exists {
            directory: state.clone(),
            what: "queues",
            aside,
        });
    }
    let files = |folder| manifest.files_of(folder).collect::<Vec<_>>();
    let configuration = if plan.configuration {
        files(CONFIGURATION)
    } else {
        Vec::new()
    };
    let mut old_configuration = false;
    for (_, path) in &configuration {
        old_configuration |= exists(&config.join(path))?;
    }
    if old_configuration && !plan.overwrite {
        return Err(RestoreError::Exists {
            directory: config.clone(),
            what: "a configuration",
            aside: aside_config,
        });
    }
    let unfinished = state.join(UNFINISHED);
    let prepare = || {
        stage(plan.archive, state, &files(STATE), &aside)?;
        check_staged(&unfinished, manifest)?;
        hand_staged_over(state)?;
        // Interrupted behind this, the old state is there, and the restore can be made again.
        restore_configuration(plan.archive, config, &configuration, &aside_config)?;
        settle(state)
    };
    prepare().inspect_err(|_| {
        // The error that is told is the first one; what stays is removed by whoever comes next.
        let _ = remove_all(&unfinished);
    })?;
    // From here on the new state counts, whatever happens.
    let durable = sync_directory(state).map_err(|error| (state.clone(), error));
    durable
        .and_then(|()| complete(state))
        .map_err(|(file, source)| RestoreError::NotEnded { file, source })?;
    let aside = state.join(aside);
    Ok(RestoreReport {
        old_state: aside.is_dir().then_some(aside),
        old_configuration: old_configuration.then(|| config.join(aside_config)),
    })
}

/// Makes what was written count.
fn settle(state: &Path) -> Result<(), RestoreError> {
    let decided = state.join(DECIDED);
    fs::rename(state.join(UNFINISHED), &decided).map_err(restoring(&decided))
}

/// Writes the new state beside the old one, as files of this process: nobody else may change them.
fn stage(
    archive: &Archive,
    state: &Path,
    files: &[(&BackupFile, &Path)],
    aside: &str,
) -> Result<(), RestoreError> {
    let owner = Owner::current();
    let unfinished = state.join(UNFINISHED);
    remove_all(&unfinished).map_err(restoring(&unfinished))?;
    make_owned(&unfinished, owner).map_err(restoring(&unfinished))?;
    let mut directories: BTreeSet<PathBuf> = [unfinished.clone()].into();
    for (file, path) in files {
        let target = unfinished.join(path);
        make_parents(&target, owner, &mut directories)?;
        archive.extract(file, &target)?;
    }
    if let Some(store) = StoreDirectory::find(&unfinished)? {
        for shard in 0..store.shards() {
            // A shard that has no files yet has a directory all the same.
            make_parents(&store.shard(shard).join(PLAN), owner, &mut directories)?;
        }
    }
    let entries = STATE_ENTRIES.into_iter();
    let entries = entries.filter(|entry| unfinished.join(entry).exists());
    let plan = Plan {
        aside: aside.to_owned(),
        entries: entries.map(str::to_owned).collect(),
    };
    let file = unfinished.join(PLAN);
    let write = || -> io::Result<()> {
        let mut new = create(&file)?;
        new.write_all(&serde_json::to_vec(&plan)?)?;
        new.sync_all()
    };
    write().map_err(restoring(&file))?;
    for directory in directories.iter().rev() {
        sync_directory(directory).map_err(restoring(directory))?;
    }
    Ok(())
}

/// Gives what was written to the owner of the state.
fn hand_staged_over(state: &Path) -> Result<(), RestoreError> {
    let unfinished = state.join(UNFINISHED);
    Owner::of(state)
        .and_then(|owner| owner.take_all(&unfinished))
        .map_err(restoring(&unfinished))
}

/// Opens what was written, to see that it is what was backed up.
fn check_staged(unfinished: &Path, manifest: &BackupManifest) -> Result<(), RestoreError> {
    let store = StoreDirectory::find(unfinished)?;
    let totals = match store {
        Some(store) => {
            let key = partition_key::of_store(unfinished, Some(&store))?;
            let homes: Arc<dyn Partitions> = Arc::new(Partitioner::new(&key, store.shards()));
            store.totals(&homes, &read_only())?
        }
        None => Totals::default(),
    };
    let counts = [
        ("queues", totals.queues, manifest.queues),
        ("messages", totals.messages, manifest.messages),
    ];
    for (what, found, expected) in counts {
        if found != expected {
            return Err(RestoreError::Differs {
                what,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Ends a restore that was decided, and removes what is left of one that was not. For whoever has
/// taken the lock of the state directory. Errors name the file.
pub fn complete(state: &Path) -> Result<(), (PathBuf, io::Error)> {
    let at = |file: &Path| {
        let file = file.to_owned();
        move |error| (file, error)
    };
    let unfinished = state.join(UNFINISHED);
    match remove_all(&unfinished) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // `root` was interrupted; it only takes space.
            tracing::warn!(
                "cannot remove {}: {error}. Remove it as root",
                unfinished.display()
            );
        }
        removed => removed.map_err(at(&unfinished))?,
    }
    let decided = state.join(DECIDED);
    let file = decided.join(PLAN);
    let Some(plan) = Plan::read(&decided).map_err(at(&file))? else {
        // The plan is removed when everything is in place.
        return remove_all(&decided).map_err(at(&decided));
    };
    let aside = state.join(&plan.aside);
    for entry in STATE_ENTRIES {
        let (new, present) = (decided.join(entry), state.join(entry));
        let is_new = new.try_exists().map_err(at(&new))?;
        let is_listed = plan.entries.iter().any(|listed| listed == entry);
        // What is listed and no longer here is in its place.
        if is_listed && !is_new {
            continue;
        }
        if present.try_exists().map_err(at(&present))? {
            move_aside(state, &aside, entry).map_err(at(&present))?;
        }
        if is_new {
            fs::rename(&new, &present).map_err(at(&present))?;
        }
    }
    sync_directory(state).map_err(at(state))?;
    fs::remove_file(&file)
        .and_then(|()| sync_directory(&decided))
        .map_err(at(&file))?;
    remove_all(&decided).map_err(at(&decided))
}

fn move_aside(state: &Path, aside: &Path, entry: &str) -> io::Result<()> {
    if !has_directory(aside)? {
        make_owned(aside, Owner::of(state)?)?;
    }
    fs::rename(state.join(entry), aside.join(entry))?;
    sync_directory(aside)?;
    sync_directory(state)
}

/// A name that nothing in a directory has.
fn unused(directory: &Path, name: &str) -> String {
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !directory.join(name).exists());
    free.unwrap_or_else(|| name.to_owned())
}

/// A moment as a part of a name: `20261128T042455Z`.
fn compact_moment(at: OffsetDateTime) -> String {
    super::manifest::moment(at).replace(['-', ':'], "")
}

/// Restores up to the moment after which the old state does not count any more.
#[cfg(test)]
pub(super) fn decide(archive: &Archive, places: &Places, aside: &str) {
    let files: Vec<_> = archive.manifest().files_of(STATE).collect();
    stage(archive, &places.state, &files, aside).unwrap();
    hand_staged_over(&places.state).unwrap();
    settle(&places.state).unwrap();
}
