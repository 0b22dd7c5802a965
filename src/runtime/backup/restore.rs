//! Bringing a backup back.
//!
//! Everything is written beside what is there and made durable; a rename then decides. What comes
//! after it, moving old things aside and new ones into place, is done again by whoever next takes
//! the lock of the state directory, if it was interrupted.

use super::error::{RestoreError, restoring};
use super::files::{Owner, make_directory, parent, sync_directory, with_ending};
use super::manifest::BackupFile;
use super::stopped::read_only;
use super::{Archive, BackupManifest, CONFIGURATION, Places, STATE, STATE_ENTRIES};
use crate::relay::Partitioner;
use crate::runtime::partition_key;
use crate::store::Totals;
use crate::store::log::{Partitions, STORE_FOLDER, StoreDirectory};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;

/// What is being written, in the state directory.
const UNFINISHED: &str = "smp-server-restore.new";
/// What counts as soon as it is there.
const DECIDED: &str = "smp-server-restore";
/// File in it that says what is to be done.
const PLAN: &str = "plan.json";
/// Ending of files of the configuration that are being written.
const NEW: &str = ".new";

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

/// Restores a backup that was verified. The caller holds the lock of the state directory.
pub fn restore(plan: &RestorePlan<'_>) -> Result<RestoreReport, RestoreError> {
    let manifest = plan.archive.manifest();
    let (state, config) = (&plan.places.state, &plan.places.configuration);
    let time = compact_moment(OffsetDateTime::now_utc());
    let aside = unused(state, &format!("smp-server-state.before-restore-{time}"));
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
    let prepare = || {
        stage(plan.archive, state, &files(STATE), &aside)?;
        check_staged(&state.join(UNFINISHED), manifest)?;
        // Interrupted behind this, the old state is there, and the restore can be made again.
        restore_configuration(plan.archive, config, &configuration, &aside_config)?;
        settle(state)
    };
    prepare().inspect_err(|_| {
        // The error that is told is the first one; what stays is removed by whoever comes next.
        let _ = remove_all(&state.join(UNFINISHED));
    })?;
    complete(state).map_err(|(file, source)| RestoreError::Io { file, source })?;
    let aside = state.join(aside);
    Ok(RestoreReport {
        old_state: aside.is_dir().then_some(aside),
        old_configuration: old_configuration.then(|| config.join(aside_config)),
    })
}

/// Makes what was written count, whatever happens from now on.
fn settle(state: &Path) -> Result<(), RestoreError> {
    let decided = state.join(DECIDED);
    fs::rename(state.join(UNFINISHED), &decided)
        .and_then(|()| sync_directory(state))
        .map_err(restoring(&decided))
}

/// Writes the new state beside the old one.
fn stage(
    archive: &Archive,
    state: &Path,
    files: &[(&BackupFile, &Path)],
    aside: &str,
) -> Result<(), RestoreError> {
    let owner = Owner::of(state).map_err(restoring(state))?;
    let unfinished = state.join(UNFINISHED);
    remove_all(&unfinished).map_err(restoring(&unfinished))?;
    make_owned(&unfinished, owner).map_err(restoring(&unfinished))?;
    let mut directories: BTreeSet<PathBuf> = [unfinished.clone()].into();
    for (file, path) in files {
        let target = unfinished.join(path);
        make_parents(&target, owner, &mut directories)?;
        archive.extract(file, &target)?;
        owner.take(&target).map_err(restoring(&target))?;
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
        fs::write(&file, serde_json::to_vec(&plan)?)?;
        fs::File::open(&file)?.sync_all()?;
        owner.take(&file)
    };
    write().map_err(restoring(&file))?;
    for directory in directories.iter().rev() {
        sync_directory(directory).map_err(restoring(directory))?;
    }
    Ok(())
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

/// Replaces files of the configuration one by one; copies of the old ones are made first.
fn restore_configuration(
    archive: &Archive,
    config: &Path,
    files: &[(&BackupFile, &Path)],
    aside: &str,
) -> Result<(), RestoreError> {
    if files.is_empty() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(config).map_err(restoring(config))?;
    let owner = Owner::of(config).map_err(restoring(config))?;
    let aside = config.join(aside);
    let (mut kept, mut directories) = (BTreeSet::new(), [config.to_owned()].into());
    for (file, path) in files {
        let (present, new) = (config.join(path), with_ending(&config.join(path), NEW));
        make_parents(&present, owner, &mut directories)?;
        remove_all(&new).map_err(restoring(&new))?;
        archive.extract(file, &new)?;
        let permissions = fs::Permissions::from_mode(file.mode & 0o777);
        fs::set_permissions(&new, permissions)
            .and_then(|()| owner.take(&new))
            .map_err(restoring(&new))?;
        if exists(&present)? {
            let old = aside.join(path);
            if kept.insert(aside.clone()) {
                make_owned(&aside, owner).map_err(restoring(&aside))?;
            }
            make_parents(&old, owner, &mut kept)?;
            fs::copy(&present, &old)
                .and_then(|_| fs::File::open(&old)?.sync_all())
                .and_then(|()| owner.take(&old))
                .map_err(restoring(&old))?;
        }
    }
    for directory in kept.iter().rev().chain(&directories) {
        sync_directory(directory).map_err(restoring(directory))?;
    }
    for (_, path) in files {
        let present = config.join(path);
        fs::rename(with_ending(&present, NEW), &present).map_err(restoring(&present))?;
    }
    for directory in &directories {
        sync_directory(directory).map_err(restoring(directory))?;
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
    remove_all(&unfinished).map_err(at(&unfinished))?;
    let decided = state.join(DECIDED);
    let file = decided.join(PLAN);
    let plan: Plan = match fs::read(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The plan is removed when everything is in place.
            return remove_all(&decided).map_err(at(&decided));
        }
        read => read
            .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
            .map_err(at(&file))?,
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
    if !aside.try_exists()? {
        make_owned(aside, Owner::of(state)?)?;
    }
    fs::rename(state.join(entry), aside.join(entry))?;
    sync_directory(aside)?;
    sync_directory(state)
}

fn make_owned(directory: &Path, owner: Owner) -> io::Result<()> {
    make_directory(directory)?;
    owner.take(directory)
}

/// Makes the directories of a file below one that was made already.
fn make_parents(
    file: &Path,
    owner: Owner,
    made: &mut BTreeSet<PathBuf>,
) -> Result<(), RestoreError> {
    let mut missing = Vec::new();
    let mut directory = parent(file);
    while !made.contains(directory) {
        missing.push(directory.to_owned());
        directory = parent(directory);
    }
    for directory in missing.into_iter().rev() {
        if !directory.is_dir() {
            make_owned(&directory, owner).map_err(restoring(&directory))?;
        }
        made.insert(directory);
    }
    Ok(())
}

fn exists(path: &Path) -> Result<bool, RestoreError> {
    path.try_exists().map_err(restoring(path))
}

/// A name that nothing in a directory has.
fn unused(directory: &Path, name: &str) -> String {
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !directory.join(name).exists());
    free.unwrap_or_else(|| name.to_owned())
}

/// Removes a file or directory, if it is there.
fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
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
    settle(&places.state).unwrap();
}
