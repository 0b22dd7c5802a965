//! Tasks whose steps are timed.

use crate::control::{StepKind, StepTimes};
use glommio::{Task, spawn_local};
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The steps of an executor.
#[derive(Debug, Default)]
pub struct Steps(RefCell<StepTimes>);

impl Steps {
    /// What they took until now.
    pub fn times(&self) -> StepTimes {
        self.0.borrow().clone()
    }

    /// Starts a task on this executor, each poll of which is a step.
    pub fn spawn<T: 'static>(
        self: &Rc<Self>,
        kind: StepKind,
        task: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        spawn_local(self.watch(kind, task))
    }

    fn watch<F: Future>(self: &Rc<Self>, kind: StepKind, task: F) -> Watched<F> {
        Watched {
            task,
            kind,
            steps: Rc::clone(self),
        }
    }
}

pin_project! {
    /// A task each poll of which is a step.
    struct Watched<F> {
        #[pin]
        task: F,
        kind: StepKind,
        steps: Rc<Steps>,
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let began = Instant::now();
        let result = this.task.poll(cx);
        let mut times = this.steps.0.borrow_mut();
        times.record(*this.kind, began.elapsed());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, yield_now};

    #[test]
    fn every_poll_is_a_step() {
        let steps = Rc::new(Steps::default());
        let task = async {
            yield_now().await;
            yield_now().await;
            7
        };
        assert_eq!(block_on(steps.watch(StepKind::Maintenance, task)), 7);
        assert_eq!(steps.times().count(StepKind::Maintenance), 3);
    }
}
