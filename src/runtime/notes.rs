//! Keeps the notes of a shard in their file: a crash loses or repeats the last seconds of them.

use super::core::{Core, now};
use crate::store::log::{NotesBatch, NotesFile};
use futures_lite::future::{or, poll_fn, yield_now};
use glommio::timer::sleep;
use glommio::{Task, spawn_local};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
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

/// Has notes saved at once. One task does so at a time.
pub struct NoteSaver(Rc<Asked>);

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
    pub fn saver(&self) -> NoteSaver {
        NoteSaver(Rc::clone(&self.asked))
    }

    /// Saves for the last time, when nothing else runs any more.
    pub async fn finish(self) {
        self.asked.ask(|asked| &asked.stop);
        self.task.await;
    }
}

impl NoteSaver {
    /// Saves what is not saved yet.
    pub async fn save(&self) -> Result<(), String> {
        let Self(asked) = self;
        asked.ask(|asked| &asked.save);
        poll_fn(|cx| {
            if let Some(result) = asked.saved.take() {
                return Poll::Ready(result);
            }
            *asked.saver.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// What the task is asked for.
#[derive(Default)]
struct Asked {
    /// To end.
    stop: Cell<bool>,
    /// To save now.
    save: Cell<bool>,
    task: RefCell<Option<Waker>>,
    /// How that ended, and who waits for it.
    saved: Cell<Option<Result<(), String>>>,
    saver: RefCell<Option<Waker>>,
}

impl Asked {
    fn ask(&self, what: impl Fn(&Self) -> &Cell<bool>) {
        what(self).set(true);
        if let Some(waker) = self.task.take() {
            waker.wake();
        }
    }

    async fn anything(&self) {
        poll_fn(|cx| {
            if self.stop.get() || self.save.get() {
                return Poll::Ready(());
            }
            *self.task.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn answer(&self, result: Result<(), String>) {
        self.saved.set(Some(result));
        if let Some(waker) = self.saver.take() {
            waker.wake();
        }
    }
}

async fn keep(core: Rc<Core>, file: NotesFile, asked: Rc<Asked>) {
    let mut file = Some(file);
    let is_unsaved = || core.shard().borrow().has_unsaved_notes();
    keep_saved(&asked, is_unsaved, async || {
        let Some(this) = file.take() else {
            return Ok(());
        };
        let result;
        (file, result) = save(&core, this).await;
        result
    })
    .await;
}

/// Saves every now and then and when asked, if anything is unsaved; at the stop once more, also
/// what has changed while it was being saved then.
async fn keep_saved(
    asked: &Asked,
    is_unsaved: impl Fn() -> bool,
    mut save: impl AsyncFnMut() -> io::Result<()>,
) {
    let mut failing = false;
    loop {
        or(asked.anything(), async {
            sleep(INTERVAL).await;
        })
        .await;
        let is_last = asked.stop.get();
        let is_asked = asked.save.take();
        let mut result = Ok(());
        if failing || is_unsaved() {
            result = save().await;
            if is_last && result.is_err() {
                // The next one writes the whole file anew, which may do.
                result = save().await;
            }
        }
        if is_asked {
            asked.answer(result.as_ref().map_err(ToString::to_string).copied());
        }
        if let Err(error) = &result
            && (is_last || !failing)
        {
            tracing::warn!("cannot save notifications: {error}");
        }
        failing = result.is_err();
        if is_last {
            return;
        }
    }
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

#[cfg(test)]
mod tests;
