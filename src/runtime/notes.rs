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

async fn keep(core: Rc<Core>, mut file: NotesFile, asked: Rc<Asked>) {
    let mut failing = false;
    while !asked.stop.get() {
        or(asked.anything(), async {
            sleep(INTERVAL).await;
        })
        .await;
        let is_asked = asked.save.take();
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
