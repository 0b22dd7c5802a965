//! Saves when queues were last used: a crash loses at most what is newer than the last save.

use super::core::{Core, now};
use super::saves::{Saves, keep_saved};
use super::stop_request::StopRequest;
use crate::control::StepKind;
use crate::store::log::DaysWalk;
use futures_lite::future::yield_now;
use glommio::Task;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Time between two saves.
const INTERVAL: Duration = Duration::from_secs(45);

/// The task that saves.
pub struct DayKeeper {
    task: Task<()>,
    stop: Rc<StopRequest>,
    saves: Rc<Saves>,
}

impl DayKeeper {
    /// Begins to save.
    pub fn begin(core: &Rc<Core>) -> Self {
        let (stop, saves) = (Rc::default(), Rc::default());
        let keeping = keep(Rc::clone(core), Rc::clone(&stop), Rc::clone(&saves));
        let task = core.steps().spawn(StepKind::Maintenance, keeping);
        Self { task, stop, saves }
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

async fn keep(core: Rc<Core>, stop: Rc<StopRequest>, saves: Rc<Saves>) {
    let is_unsaved = || !core.shard().borrow_mut().activity().is_saved();
    let what = "when queues were last used";
    keep_saved(what, INTERVAL, &stop, &saves, is_unsaved, async || {
        save(&core).await
    })
    .await;
}

async fn save(core: &Core) -> io::Result<()> {
    let seconds = now().seconds();
    // What is noted while the parts are read may be saved as well, but is not known to be.
    let saving = core.shard().borrow_mut().activity().before_saving(seconds);
    let mut walk = DaysWalk::default();
    while core.with_log(|store| store.read_days(&mut walk)) == Some(true) {
        yield_now().await;
    }
    let Some(days) = core.with_log(|store| store.save_read_days(walk)) else {
        return Ok(());
    };
    glommio::executor()
        .spawn_blocking(move || days.run())
        .await?;
    core.shard().borrow_mut().activity().saved(saving);
    Ok(())
}
