//! Requests to other executors whose answers somebody waits for.

use futures_lite::future::poll_fn;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Poll, Waker};

/// Requests of one executor that are not answered yet. Whoever opens them bounds their number.
#[derive(Debug)]
pub struct Requests<T> {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waiting<T>>>,
}

#[derive(Debug)]
enum Waiting<T> {
    Asked(Option<Waker>),
    Answered(T),
}

/// One request; forgotten when nobody waits for it any more.
#[derive(Debug)]
pub struct PendingRequest<'a, T> {
    requests: &'a Requests<T>,
    token: u64,
}

impl<T> Default for Requests<T> {
    fn default() -> Self {
        Self {
            next: Cell::default(),
            waiting: RefCell::default(),
        }
    }
}

impl<T> Requests<T> {
    /// Opens a request.
    pub fn open(&self) -> PendingRequest<'_, T> {
        let token = self.next.get();
        self.next.set(token.wrapping_add(1));
        self.waiting
            .borrow_mut()
            .insert(token, Waiting::Asked(None));
        PendingRequest {
            requests: self,
            token,
        }
    }

    /// Takes the answer to a request.
    pub fn complete(&self, token: u64, answer: T) {
        if let Some(waiting) = self.waiting.borrow_mut().get_mut(&token)
            && let Waiting::Asked(waker) = std::mem::replace(waiting, Waiting::Answered(answer))
            && let Some(waker) = waker
        {
            waker.wake();
        }
    }
}

impl<T> PendingRequest<'_, T> {
    /// Its number.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Waits for the answer.
    pub async fn answer(self) -> T {
        poll_fn(|cx| {
            let mut waiting = self.requests.waiting.borrow_mut();
            match waiting.remove(&self.token) {
                Some(Waiting::Answered(answer)) => Poll::Ready(answer),
                _ => {
                    let asked = Waiting::Asked(Some(cx.waker().clone()));
                    waiting.insert(self.token, asked);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<T> Drop for PendingRequest<'_, T> {
    fn drop(&mut self) {
        self.requests.waiting.borrow_mut().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    #[test]
    fn an_answer_reaches_its_request_alone() {
        let requests = Requests::default();
        let (a, b) = (requests.open(), requests.open());
        let a_token = a.token();
        requests.complete(b.token(), 7);
        assert_eq!(block_on(b.answer()), 7);
        let mut a = pin!(a.answer());
        assert_eq!(block_on(poll_once(&mut a)), None);
        requests.complete(a_token, 8);
        assert_eq!(block_on(a), 8);
    }

    #[test]
    fn a_request_given_up_leaves_nothing() {
        let requests = Requests::default();
        let token = requests.open().token();
        requests.complete(token, ());
        assert!(requests.waiting.borrow().is_empty());
    }
}
