//! Saves what is otherwise saved from time to time, when the operator asks.

use super::asked::Saver;
use super::core::Core;
use crate::relay::OperatorCall;
use crate::runtime::control::ControlReply;
use futures_lite::future::poll_fn;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};

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

/// Saves everything when asked.
pub async fn keep_saving(core: Rc<Core>, days: Saver, notes: Option<Saver>) {
    loop {
        let calls = core.save_requests().next().await;
        let saved = days.save().await;
        let mut result = saved.map_err(|e| format!("cannot save when queues were last used: {e}"));
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
