//! Tells a task to come to its end by itself, so that nothing it does is cut off.

use futures_lite::future::poll_fn;
use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// The request of whoever waits for the end, to one task of the same executor.
#[derive(Default)]
pub struct StopRequest {
    requested: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl StopRequest {
    /// Asks.
    pub fn request(&self) {
        self.requested.set(true);
        if let Some(waker) = self.task.take() {
            waker.wake();
        }
    }

    /// Whether it was asked.
    pub fn is_requested(&self) -> bool {
        self.requested.get()
    }

    /// Waits for the request.
    pub async fn requested(&self) {
        poll_fn(|cx| {
            if self.requested.get() {
                return Poll::Ready(());
            }
            *self.task.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
