//! The way of connections from the shards to the control executor.

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;
use futures_lite::future::poll_fn;
use glommio::net::TcpStream;
use glommio_socket2::{SockRef, Socket};
use std::task::Poll;

/// Connections on their way; more are closed.
const MAX_UNDER_WAY: usize = 128;

/// A queue of sockets between threads. Unlike the mesh it loses what it has no room for: pages are
/// not worth delaying messages.
#[derive(Debug)]
pub struct Handover {
    sockets: ArrayQueue<Socket>,
    receiver: AtomicWaker,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            sockets: ArrayQueue::new(MAX_UNDER_WAY),
            receiver: AtomicWaker::new(),
        }
    }
}

impl Handover {
    /// Gives a connection away; the caller's end is to be dropped.
    ///
    /// A glommio stream belongs to its executor, so what travels is another descriptor of it.
    pub fn give(&self, tcp: &TcpStream) {
        match SockRef::from(tcp).try_clone() {
            Ok(socket) => {
                // Without room it is closed.
                let _ = self.sockets.push(socket);
                self.receiver.wake();
            }
            Err(error) => tracing::warn!("a connection cannot be handed over: {error}"),
        }
    }

    /// The next connection, as one of this executor. One task receives.
    pub async fn take(&self) -> TcpStream {
        poll_fn(|cx| {
            self.receiver.register(cx.waker());
            self.sockets
                .pop()
                .map_or(Poll::Pending, |socket| Poll::Ready(socket.into()))
        })
        .await
    }
}
