//! Pages are read by a thread beside the executor: disks may be slow, and compressing takes time.

use crate::runtime::wakers::Wakers;
use crate::web::{Request, Response, text};
use glommio::{executor, spawn_local};
use http::StatusCode;
use std::cell::RefCell;
use std::rc::Rc;

/// What answers requests, one after the other. An HTTP server has a bounded number of connections,
/// and each waits for its answer: so many wait at most.
pub struct Pages<R> {
    /// Away while it reads.
    read: RefCell<Option<R>>,
    waiting: Wakers,
}

/// What makes a response to a request, and may take its time.
pub trait Read: FnMut(&Request) -> Response + Send + 'static {}

impl<R: FnMut(&Request) -> Response + Send + 'static> Read for R {}

impl<R: Read> Pages<R> {
    /// Answers with `read`.
    pub fn new(read: R) -> Rc<Self> {
        Rc::new(Self {
            read: RefCell::new(Some(read)),
            waiting: Wakers::default(),
        })
    }

    /// The response to a request.
    pub async fn answer(self: &Rc<Self>, request: &Request) -> Response {
        let (this, request) = (Rc::clone(self), request.clone());
        // A task of its own, as a client that leaves must not take away what reads.
        let answer = spawn_local(async move { this.answer_in_turn(request).await }).detach();
        let gone = || text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error");
        answer.await.unwrap_or_else(gone)
    }

    async fn answer_in_turn(&self, request: Request) -> Response {
        let mut read = self.waiting.until(|| self.read.take()).await;
        let (read, response) = executor()
            .spawn_blocking(move || {
                let response = read(&request);
                (read, response)
            })
            .await;
        self.read.replace(Some(read));
        self.waiting.wake();
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{poll_once, yield_now, zip};
    use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
    use http::Uri;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::mpsc;

    fn run<T>(work: impl Future<Output = T>) -> T {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .make()
            .unwrap();
        executor.run(work)
    }

    fn request(path: &'static str) -> Request {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static(path);
        request
    }

    #[test]
    fn the_executor_goes_on_while_pages_are_read() {
        let (go_on, told_to_go_on) = mpsc::channel();
        let pages = Pages::new(move |request: &Request| {
            told_to_go_on.recv().unwrap();
            Response::new(request.uri().path().to_owned().into())
        });
        run(async {
            let (first, second) = (request("/a"), request("/b"));
            let asked = zip(pages.answer(&first), pages.answer(&second));
            // What lets the reading end runs on this executor.
            let going_on = async {
                for _ in 0..2 {
                    yield_now().await;
                    go_on.send(()).unwrap();
                }
            };
            let ((first, second), ()) = zip(asked, going_on).await;
            assert_eq!(
                (&first.body()[..], &second.body()[..]),
                (&b"/a"[..], &b"/b"[..])
            );
        });
    }

    #[test]
    fn a_client_that_leaves_takes_nothing_away() {
        let (go_on, told_to_go_on) = mpsc::channel();
        let pages = Pages::new(move |_: &Request| {
            told_to_go_on.recv().unwrap();
            Response::default()
        });
        run(async {
            let first = request("/a");
            {
                let mut answer = pin!(pages.answer(&first));
                while pages.read.borrow().is_some() {
                    assert!(poll_once(answer.as_mut()).await.is_none());
                    yield_now().await;
                }
            }
            go_on.send(()).unwrap();
            go_on.send(()).unwrap();
            assert_eq!(pages.answer(&first).await.status(), StatusCode::OK);
        });
    }
}
