//! Keeps the notes of a shard in their file: a crash loses or repeats the last seconds of them.

use super::asked::{Asked, Saver};
use super::core::{Core, now};
use crate::store::log::{NotesBatch, NotesFile};
use futures_lite::future::{or, yield_now};
use glommio::timer::sleep;
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
    asked: Rc<Asked>,
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
        let asked = Rc::default();
        let task = spawn_local(keep(Rc::clone(core), file, Rc::clone(&asked)));
        Some(Self { task, asked })
    }

    /// For those who cannot wait until they are saved.
    pub fn saver(&self) -> Saver {
        Saver::of(&self.asked)
    }

    /// Saves for the last time, when nothing else runs any more.
    pub async fn finish(self) {
        self.asked.stop();
        self.task.await;
    }
}

async fn keep(core: Rc<Core>, mut file: NotesFile, asked: Rc<Asked>) {
    let mut failing = false;
    while !asked.is_stopping() {
        or(asked.anything(), async {
            sleep(INTERVAL).await;
        })
        .await;
        let is_asked = asked.take_save();
        if !failing && !core.shard().borrow().has_unsaved_notes() {
            if is_asked {
                asked.answer(Ok(()));
            }
            continue;
        }
        let result;
        (file, result) = save(&core, file).await;
        if is_asked {
            asked.answer(result.as_ref().map_err(ToString::to_string).copied());
        }
        match result {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!("cannot save notifications: {error}");
                }
                failing = true;
            }
        }
    }
}

/// Saves everything or what has changed; gives the file back.
async fn save(core: &Core, mut file: NotesFile) -> (NotesFile, io::Result<()>) {
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
            (file, result)
        })
        .await
}
