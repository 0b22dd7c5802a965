//! Keeps the notes of a shard in their file: a crash loses or repeats the last seconds of them.

use super::core::{Core, now};
use super::saves::{Saves, keep_saved};
use super::stop_request::StopRequest;
use crate::store::log::{NotesBatch, NotesFile};
use futures_lite::future::yield_now;
use glommio::{Task, spawn_local};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Time between two saves.
const INTERVAL: Duration = Duration::from_secs(2);
/// Queues read before connections get a turn; each has about a hundred notes at most.
const QUEUES_PER_STEP: usize = 64;

/// The task that saves.
pub struct NoteKeeper {
    task: Task<()>,
    stop: Rc<StopRequest>,
    saves: Rc<Saves>,
}

impl NoteKeeper {
    /// Takes over what was saved, unless it is not wanted, and begins to save; `None` when nothing
    /// is to be kept.
    pub fn begin(core: &Rc<Core>, restore: bool) -> Option<Self> {
        if !restore {
            if let Some(Err(error)) = core.with_log(|log| log.drop_notes()) {
                tracing::warn!("cannot remove saved notifications: {error}");
            }
            return None;
        }
        let (file, notes) = core.with_log(|log| (log.notes_file(), log.notes()))?;
        let mut shard = core.shard().borrow_mut();
        shard.restore_notes(now(), notes);
        let waiting = shard.waiting_notifications();
        if waiting > 0 {
            tracing::info!("shard {}: {waiting} notifications", core.index());
        }
        let (stop, saves) = (Rc::default(), Rc::default());
        let keeping = keep(Rc::clone(core), file, Rc::clone(&stop), Rc::clone(&saves));
        let task = spawn_local(keeping);
        Some(Self { task, stop, saves })
    }

    /// For those who cannot wait until they are saved.
    pub fn saves(&self) -> Rc<Saves> {
        Rc::clone(&self.saves)
    }

    /// Saves for the last time, when nothing else runs any more.
    pub async fn finish(self) {
        self.stop.request();
        self.task.await;
    }
}

async fn keep(core: Rc<Core>, file: NotesFile, stop: Rc<StopRequest>, saves: Rc<Saves>) {
    let mut file = Some(file);
    let is_unsaved = || core.shard().borrow().has_unsaved_notes();
    keep_saved(
        "notifications",
        INTERVAL,
        &stop,
        &saves,
        is_unsaved,
        async || {
            let Some(this) = file.take() else {
                return Ok(());
            };
            let result;
            (file, result) = save(&core, this).await;
            result
        },
    )
    .await;
}

/// Saves everything or what has changed; gives the file back.
async fn save(core: &Core, mut file: NotesFile) -> (Option<NotesFile>, io::Result<()>) {
    let all = file.wants_all();
    let mut walk = core.shard().borrow_mut().begin_saving_notes(all);
    let mut batches = Vec::new();
    let mut more = true;
    while more {
        let mut batch = NotesBatch::default();
        more = {
            let mut shard = core.shard().borrow_mut();
            shard.save_notes(&mut walk, QUEUES_PER_STEP, |notifier_id, notes| {
                batch.put(notifier_id, notes);
            })
        };
        batches.push(batch);
        if more {
            yield_now().await;
        }
    }
    glommio::executor()
        .spawn_blocking(move || {
            let result = if all {
                file.replace(batches)
            } else {
                file.append(batches)
            };
            (Some(file), result)
        })
        .await
}
