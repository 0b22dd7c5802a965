//! What is saved now and then, at once when that is asked for, and at the stop.

use super::stop_request::StopRequest;
use super::wakers::Wakers;
use futures_lite::future::or;
use glommio::timer::sleep;
use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

/// Requests of tasks to another one of the same executor.
#[derive(Debug, Default)]
pub struct Saves {
    requested: Cell<u64>,
    done: Cell<u64>,
    /// What was wrong with the last save.
    failure: RefCell<Option<String>>,
    keeper: Wakers,
    waiting: Wakers,
}

impl Saves {
    /// Has everything saved soon.
    pub fn request(&self) -> u64 {
        self.requested.set(self.requested.get() + 1);
        self.keeper.wake();
        self.requested.get()
    }

    /// Has everything saved that was counted until now, and waits for it.
    pub async fn save(&self) -> Result<(), String> {
        let request = self.request();
        let look = || (self.done.get() >= request).then_some(());
        self.waiting.until(look).await;
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.requested.get()
    }

    /// Waits for a request that is not carried out.
    pub async fn requested(&self) {
        let look = || (self.requested.get() > self.done.get()).then_some(());
        self.keeper.until(look).await;
    }

    /// Every request up to one was carried out.
    pub fn finish(&self, request: u64, failure: Option<String>) {
        self.done.set(request);
        *self.failure.borrow_mut() = failure;
        self.waiting.wake();
    }
}

/// Saves now and then and when asked, if anything is unsaved, until the stop; then once more, also
/// what has changed while it was being saved. `what` is named in the log when that fails.
pub async fn keep_saved(
    what: &str,
    interval: Duration,
    stop: &StopRequest,
    saves: &Saves,
    is_unsaved: impl Fn() -> bool,
    mut save: impl AsyncFnMut() -> io::Result<()>,
) {
    let mut failing = false;
    loop {
        let timer = async {
            sleep(interval).await;
        };
        or(stop.requested(), or(saves.requested(), timer)).await;
        // Read before the save: what changes meanwhile is for the next one.
        let is_last = stop.is_requested();
        let request = saves.count();
        let mut result = Ok(());
        if failing || is_unsaved() {
            result = save().await;
            if is_last && result.is_err() {
                // Another try writes the whole file anew, which may do.
                result = save().await;
            }
        }
        saves.finish(request, result.as_ref().err().map(ToString::to_string));
        if let Err(error) = &result
            && (is_last || !failing)
        {
            tracing::warn!("cannot save {what}: {error}");
        }
        failing = result.is_err();
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
