//! Saves what is otherwise saved from time to time, when the operator asks.

use super::core::Core;
use super::saves::Saves;
use super::wakers::Wakers;
use crate::relay::OperatorCall;
use crate::runtime::control::ControlReply;
use std::cell::RefCell;
use std::rc::Rc;

/// Operators that have asked for a save, and the task that does it.
#[derive(Debug, Default)]
pub struct SaveRequests {
    calls: RefCell<Vec<OperatorCall>>,
    task: Wakers,
}

impl SaveRequests {
    /// Has everything saved; the answer follows.
    pub fn add(&self, call: OperatorCall) {
        self.calls.borrow_mut().push(call);
        self.task.wake();
    }

    /// Waits for requests.
    async fn next(&self) -> Vec<OperatorCall> {
        let look = || Some(self.calls.take()).filter(|calls| !calls.is_empty());
        self.task.until(look).await
    }
}

/// What is saved by other tasks, and their names for it.
pub type Keepers = Vec<(&'static str, Rc<Saves>)>;

/// Has everything saved when asked: the log, and what these tasks keep.
pub async fn save_on_request(core: Rc<Core>, keepers: Keepers) {
    loop {
        let calls = core.save_requests().next().await;
        core.until_synced().await;
        let mut result = Ok(());
        for (what, saves) in &keepers {
            let saved = saves.save().await;
            result = result.and(saved.map_err(|error| format!("cannot save {what}: {error}")));
        }
        for call in calls {
            core.reply_to(call, ControlReply::Saved(result.clone()));
        }
        core.mesh().announce();
    }
}
