//! What is asked of a task that saves from time to time: to save at once, and to come to its end by
//! itself, so that nothing it does is cut off.

use futures_lite::future::poll_fn;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What the task is asked for.
#[derive(Default)]
pub struct Asked {
    stop: Cell<bool>,
    save: Cell<bool>,
    task: RefCell<Option<Waker>>,
    /// How a save ended, and who waits for it.
    saved: Cell<Option<Result<(), String>>>,
    saver: RefCell<Option<Waker>>,
}

/// Has the task save at once. One task at a time does so.
pub struct Saver(Rc<Asked>);

impl Saver {
    /// Asks a task.
    pub fn of(asked: &Rc<Asked>) -> Self {
        Self(Rc::clone(asked))
    }

    /// Saves what is not saved yet.
    pub async fn save(&self) -> Result<(), String> {
        let Self(asked) = self;
        asked.ask(&asked.save);
        poll_fn(|cx| {
            if let Some(result) = asked.saved.take() {
                return Poll::Ready(result);
            }
            *asked.saver.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Asked {
    /// Has the task save for the last time.
    pub fn stop(&self) {
        self.ask(&self.stop);
    }

    fn ask(&self, what: &Cell<bool>) {
        what.set(true);
        if let Some(waker) = self.task.take() {
            waker.wake();
        }
    }

    /// Waits until the task is asked for anything.
    pub async fn anything(&self) {
        poll_fn(|cx| {
            if self.stop.get() || self.save.get() {
                return Poll::Ready(());
            }
            *self.task.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether the task is to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.get()
    }

    /// Whether somebody waits for a save; that is answered.
    pub fn take_save(&self) -> bool {
        self.save.take()
    }

    /// Tells how it ended.
    pub fn answer(&self, result: Result<(), String>) {
        self.saved.set(Some(result));
        if let Some(waker) = self.saver.take() {
            waker.wake();
        }
    }
}
