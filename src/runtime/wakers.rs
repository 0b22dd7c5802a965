//! Futures of one executor that wait for the same thing.

use slab::Slab;
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Who waits. Each future has one waker here, for as long as it exists: glommio counts wakers of a
/// task in 15 bits, and one that is kept keeps the task's memory.
#[derive(Debug, Default)]
pub struct Wakers {
    waiting: RefCell<Slab<Waker>>,
}

impl Wakers {
    /// Waits until `look`, which is called after each [`wake`](Self::wake), has something.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut place = Place {
            wakers: self,
            key: None,
        };
        poll_fn(|cx| match look() {
            Some(found) => Poll::Ready(found),
            None => {
                place.keep(cx.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// Lets everybody look.
    pub fn wake(&self) {
        for (_, waker) in &*self.waiting.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The place of a future.
struct Place<'a> {
    wakers: &'a Wakers,
    key: Option<usize>,
}

impl Place<'_> {
    fn keep(&mut self, waker: &Waker) {
        let mut waiting = self.wakers.waiting.borrow_mut();
        match self.key.and_then(|key| waiting.get_mut(key)) {
            Some(kept) => kept.clone_from(waker),
            None => self.key = Some(waiting.insert(waker.clone())),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.wakers.waiting.borrow_mut().try_remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{or, yield_now};
    use glommio::LocalExecutor;
    use std::cell::Cell;

    /// More than a task of glommio may have wakers.
    const MANY: usize = 40_000;

    #[test]
    fn a_task_that_looks_often_has_one_waker() {
        LocalExecutor::default().run(async {
            let wakers = Wakers::default();
            let mut looks = 0;
            let polled = async {
                for _ in 0..MANY {
                    yield_now().await;
                }
            };
            let waiting = wakers.until(|| {
                looks += 1;
                None
            });
            or(waiting, polled).await;
            assert!(looks > MANY);
            assert!(wakers.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn those_who_gave_up_are_forgotten() {
        LocalExecutor::default().run(async {
            let wakers = Wakers::default();
            for _ in 0..MANY {
                or(wakers.until(|| None::<()>), async {}).await;
            }
            assert!(wakers.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn everybody_is_woken() {
        LocalExecutor::default().run(async {
            let (wakers, is_done) = (Wakers::default(), Cell::new(false));
            let wait = || wakers.until(|| is_done.get().then_some(()));
            let end = async {
                yield_now().await;
                is_done.set(true);
                wakers.wake();
            };
            let both = async { futures_lite::future::zip(wait(), wait()).await };
            futures_lite::future::zip(both, end).await;
        });
    }
}
