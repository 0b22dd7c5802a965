//! HTTP servers of the control executor.

use crate::transport::http::{HttpStream, serve};
use crate::transport::listener::{ListenError, Listener};
use crate::transport::stream::TlsStream;
use crate::web::{Request, Response};
use futures_lite::future::or;
use glommio::net::TcpStream;
use glommio::spawn_local;
use glommio::timer::sleep;
use rustls::ServerConfig;
use std::cell::Cell;
use std::future::{Future, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Connections that one server has at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 256;

/// Answers the requests of connections, a bounded number of them.
pub struct HttpServer<Answer> {
    answer: Answer,
    connections: Cell<usize>,
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a Cell<usize>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<Answer: AsyncFn(&Request) -> Response + 'static> HttpServer<Answer> {
    /// A server that answers with `answer`.
    pub fn new(answer: Answer) -> Rc<Self> {
        Rc::new(Self {
            answer,
            connections: Cell::new(0),
        })
    }

    /// Accepts connections without TLS until the listener fails.
    pub async fn listen(self: Rc<Self>, listener: Listener) -> ListenError {
        loop {
            match listener.accept().await {
                Ok(tcp) => self.start(ready(Some(HttpStream::Plain(tcp)))),
                Err(error) => return error,
            }
        }
    }

    /// Serves a connection with TLS; its handshake has a time limit.
    pub fn start_tls(self: &Rc<Self>, tcp: TcpStream, config: Arc<ServerConfig>, limit: Duration) {
        self.start(async move {
            let handshake = async { Some(TlsStream::accept_other(tcp, config).await) };
            let timeout = async {
                sleep(limit).await;
                None
            };
            match or(handshake, timeout).await? {
                Ok(tls) => Some(HttpStream::Tls(Box::new(tls))),
                Err(error) => {
                    tracing::debug!("HTTPS: {error}");
                    None
                }
            }
        });
    }

    /// Serves a connection in a task of its own once it is made, if there is room.
    fn start(self: &Rc<Self>, connect: impl Future<Output = Option<HttpStream>> + 'static) {
        let open = self.connections.get();
        if open >= MAX_CONNECTIONS {
            return;
        }
        self.connections.set(open + 1);
        let server = Rc::clone(self);
        spawn_local(async move {
            let _open = Open(&server.connections);
            if let Some(stream) = connect.await
                && let Err(error) = serve(stream, &server.answer).await
            {
                tracing::debug!("HTTP: {error}");
            }
        })
        .detach();
    }
}
