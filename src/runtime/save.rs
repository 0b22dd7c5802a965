//! Saves what is otherwise saved from time to time, when the operator asks.

use super::core::Core;
use super::notes::NoteSaver;
use crate::relay::OperatorCall;
use crate::runtime::control::ControlReply;
use futures_lite::future::{or, poll_fn};
use glommio::timer::sleep;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Time between two saves of the days on which queues were used: a crash loses at most that much.
const DAYS_INTERVAL: Duration = Duration::from_secs(600);

/// Operators that have asked for a save, and the task that does it.
#[derive(Debug, Default)]
pub struct SaveRequests {
    calls: RefCell<Vec<OperatorCall>>,
    task: RefCell<Option<Waker>>,
}

impl SaveRequests {
    /// Has everything saved; the answer follows.
    pub fn add(&self, call: OperatorCall) {
        self.calls.borrow_mut().push(call);
        if let Some(waker) = self.task.take() {
            waker.wake();
        }
    }

    /// Waits for requests.
    async fn next(&self) -> Vec<OperatorCall> {
        poll_fn(|cx| {
            let calls = self.calls.take();
            if !calls.is_empty() {
                return Poll::Ready(calls);
            }
            *self.task.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Saves from time to time when queues were last used, and everything when asked.
pub async fn keep_saving(core: Rc<Core>, notes: Option<NoteSaver>) {
    loop {
        let calls = or(core.save_requests().next(), async {
            sleep(DAYS_INTERVAL).await;
            Vec::new()
        })
        .await;
        let days = core.save_days().await;
        let mut result = days.map_err(|e| format!("cannot save when queues were last used: {e}"));
        if calls.is_empty() {
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
            continue;
        }
        core.until_synced().await;
        if let Some(notes) = &notes {
            let saved = notes.save().await;
            result = result.and(saved.map_err(|e| format!("cannot save notifications: {e}")));
        }
        for call in calls {
            core.reply_to(call, ControlReply::Saved(result.clone()));
        }
        core.mesh().announce();
    }
}
