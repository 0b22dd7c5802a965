//! Tells a task to come to its end by itself, so that nothing it does is cut off.

use super::wakers::Wakers;
use std::cell::Cell;

/// The request of whoever waits for the end, to one task of the same executor.
#[derive(Default)]
pub struct StopRequest {
    requested: Cell<bool>,
    waiting: Wakers,
}

impl StopRequest {
    /// Asks.
    pub fn request(&self) {
        self.requested.set(true);
        self.waiting.wake();
    }

    /// Whether it was asked.
    pub fn is_requested(&self) -> bool {
        self.requested.get()
    }

    /// Waits for the request.
    pub async fn requested(&self) {
        let look = || self.requested.get().then_some(());
        self.waiting.until(look).await;
    }
}
