//! A backup of a running relay, made by its control executor.
//!
//! All shards are held still for the time of a question and its answer, so that what they have
//! belongs together: a queue and its link on another shard. Their files are copied afterwards,
//! while they go on.

use super::error::BackupError;
use super::stopped::{copy_configuration, copy_rest};
use super::writer::{BackupWriter, Facts, SECRET};
use super::{BackupManifest, Places, state_path};
use crate::control::port::BackupRequest;
use crate::relay::NotesWalk;
use crate::runtime::control::{BackupStep, Control, ControlReply, ControlRequest, Stop};
use crate::store::Totals;
use crate::store::log::{
    Cut, DAYS_FILE, DaysWalk, NOTES_FILE, NOTES_MAGIC, NotesBatch, StoreDirectory,
};
use futures_lite::future::or;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// How often all shards are held still until they are at the same time.
const ATTEMPTS: usize = 3;

/// What a running relay may back up.
#[derive(Debug)]
pub struct BackupSource {
    /// The directories.
    pub places: Places,
    /// Where queues are kept, if they are.
    pub store: Option<StoreDirectory>,
    /// Ends a backup that is being made.
    pub stop: Rc<Stop>,
}

/// Makes a backup of what was confirmed before this call, and perhaps more. Dropping the future
/// gives it up. There is one at a time.
pub async fn back_up(
    control: &Control,
    source: &BackupSource,
    request: BackupRequest,
) -> Result<BackupManifest, BackupError> {
    or(make(control, source, request), async {
        // Shards that have stopped answer nothing more.
        source.stop.requested().await;
        Err(BackupError::Stopping)
    })
    .await
}

async fn make(
    control: &Control,
    source: &BackupSource,
    request: BackupRequest,
) -> Result<BackupManifest, BackupError> {
    let BackupSource { places, store, .. } = source;
    let store = store.as_ref().ok_or(BackupError::Disabled)?;
    let BackupRequest {
        directory: target,
        configuration,
    } = request;
    let _turn = control.begin_backup().ok_or(BackupError::AnotherRuns)?;
    let mut writer = beside({
        let (places, store) = (places.clone(), store.clone());
        move || BackupWriter::begin(&target, &places.sources(&store, configuration))
    })
    .await?;
    for shard in 0..control.shards() {
        // Before the shards are still: what comes later is of no queue or message in the backup.
        let path = |name| state_path(&places.state, &store.shard(shard).join(name));
        let (days, notes) = (path(DAYS_FILE), path(NOTES_FILE));
        let (Some(days), Some(notes)) = (days, notes) else {
            return Err(BackupError::Name(store.shard(shard)));
        };
        let read = days_of(control, shard).await;
        let batches = notes_of(control, shard).await;
        writer = beside(move || {
            writer.put(days, [read.into_content()])?;
            let parts = batches.into_iter().map(NotesBatch::finish);
            writer.put(notes, std::iter::once(NOTES_MAGIC.to_vec()).chain(parts))?;
            Ok(writer)
        })
        .await?;
    }
    let (_pins, cuts) = hold_still(control).await?;
    let totals = cuts.iter().map(|cut| cut.totals);
    let totals = totals.fold(Totals::default(), |mut sum, totals| {
        sum += totals;
        sum
    });
    for segment in cuts.iter().flat_map(|cut| &cut.segments) {
        writer.plan(segment.len);
    }
    for (shard, cut) in (0..control.shards()).zip(cuts) {
        for segment in cut.segments {
            let source = store.shard(shard).join(&segment.name);
            let path = path_of(&places.state, &source)?;
            writer = beside(move || {
                let extent = Some((segment.len, segment.size));
                writer.copy(&source, path, SECRET, extent)?;
                Ok(writer)
            })
            .await?;
        }
    }
    let (places, store) = (places.clone(), store.clone());
    let facts = Facts {
        shards: control.shards(),
        queues: totals.queues,
        messages: totals.messages,
        configuration,
    };
    beside(move || {
        copy_rest(&mut writer, &places, &store)?;
        if configuration {
            copy_configuration(&mut writer, &places)?;
        }
        writer.finish(facts)
    })
    .await
}

/// Works with files on a thread beside the executor.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    glommio::executor().spawn_blocking(work).await
}

fn path_of(state: &Path, file: &Path) -> Result<String, BackupError> {
    state_path(state, file).ok_or_else(|| BackupError::Name(file.to_owned()))
}

async fn ask(control: &Control, shard: u16, step: BackupStep) -> ControlReply {
    control.ask(shard, ControlRequest::Backup(step)).await
}

async fn days_of(control: &Control, shard: u16) -> DaysWalk {
    let (mut walk, mut more) = (DaysWalk::default(), true);
    while more {
        let step = BackupStep::Days(std::mem::take(&mut walk));
        let ControlReply::Days(read, rest) = ask(control, shard, step).await else {
            break;
        };
        (walk, more) = (read, rest);
    }
    walk
}

async fn notes_of(control: &Control, shard: u16) -> Vec<NotesBatch> {
    let mut batches = Vec::new();
    let mut walk: Option<NotesWalk> = None;
    while let ControlReply::Notes(batch, rest) = ask(control, shard, BackupStep::Notes(walk)).await
    {
        batches.push(batch);
        if rest.is_none() {
            break;
        }
        walk = rest;
    }
    batches
}

/// The files of the shards at one moment, kept as they are until the guard is dropped.
pub async fn hold_still(control: &Control) -> Result<(Pins<'_>, Vec<Cut>), BackupError> {
    for _ in 0..ATTEMPTS {
        let pins = Pins(control);
        let began = Instant::now();
        let replies = control
            .ask_all(|| ControlRequest::Backup(BackupStep::Freeze))
            .await;
        let cuts: Option<Vec<_>> = replies
            .into_iter()
            .map(|reply| match reply {
                ControlReply::Frozen(cut) => cut,
                _ => None,
            })
            .collect();
        let cuts = cuts.ok_or(BackupError::Disabled)?;
        // By now all are still, unless one has waited for too long.
        let replies = control
            .ask_all(|| ControlRequest::Backup(BackupStep::Thaw))
            .await;
        let were_still = |reply| matches!(reply, ControlReply::Thawed(true));
        if replies.into_iter().all(were_still) {
            let pause = began.elapsed();
            tracing::info!("a backup held all shards for {pause:?} at most");
            return Ok((pins, cuts));
        }
    }
    Err(BackupError::NotStill)
}

/// Keeps the files of a cut as they are.
#[must_use]
pub struct Pins<'a>(&'a Control);

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        self.0.tell_all(|| ControlRequest::Backup(BackupStep::End));
    }
}
