//! Requests to save at once what is otherwise saved now and then.

use futures_lite::future::poll_fn;
use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// Requests of tasks to another one of the same executor.
#[derive(Debug, Default)]
pub struct Saves {
    requested: Cell<u64>,
    done: Cell<u64>,
    /// What was wrong with the last save.
    failure: RefCell<Option<String>>,
    keeper: RefCell<Option<Waker>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Saves {
    /// Has everything saved soon.
    pub fn request(&self) -> u64 {
        self.requested.set(self.requested.get() + 1);
        if let Some(keeper) = self.keeper.take() {
            keeper.wake();
        }
        self.requested.get()
    }

    /// Has everything saved that was counted until now, and waits for it.
    pub async fn save(&self) -> Result<(), String> {
        let request = self.request();
        poll_fn(|cx| {
            if self.done.get() >= request {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.requested.get()
    }

    /// Waits for a request that is not carried out.
    pub async fn requested(&self) {
        poll_fn(|cx| {
            if self.requested.get() > self.done.get() {
                return Poll::Ready(());
            }
            *self.keeper.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Every request up to one was carried out.
    pub fn finish(&self, request: u64, failure: Option<String>) {
        self.done.set(request);
        *self.failure.borrow_mut() = failure;
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
