//! HTTP/1.1 over a socket, with or without TLS: `hyper` on top of glommio.

use super::stream::{TlsError, TlsStream};
use crate::web::{Request, Response};
use bytes::Bytes;
use futures_lite::future::or;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::sleep;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Longest head of a request.
const MAX_HEAD: usize = 16 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Bytes read from the socket at a time.
const READ_SIZE: usize = 4 << 10;
/// Time for the first request, and between the end of one and that of the next head.
const REQUEST_TIME: Duration = Duration::from_secs(20);
/// Bytes per second that a client must take of a response at least.
const SLOWEST_RATE: u64 = 16 << 10;

/// A connection that HTTP is spoken on.
pub enum HttpStream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream>),
}

/// Answers requests with `answer` until the client leaves, breaks the protocol or takes too long.
pub async fn serve(
    stream: HttpStream,
    answer: &impl AsyncFn(&Request) -> Response,
) -> Result<(), hyper::Error> {
    let deadline = Deadline::default();
    let service = service_fn(async |request: hyper::Request<Incoming>| {
        let request = request.map(|_| ());
        let response = answer(&request).await;
        let seconds = response.body().len() as u64 / SLOWEST_RATE;
        deadline.extend(Duration::from_secs(seconds));
        Ok::<_, Infallible>(response.map(Full::<Bytes>::new))
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, service);
    or(connection, async {
        deadline.passed().await;
        Ok(())
    })
    .await
}

/// When the connection is given up.
struct Deadline(Cell<Instant>);

impl Default for Deadline {
    fn default() -> Self {
        Self(Cell::new(Instant::now() + REQUEST_TIME))
    }
}

impl Deadline {
    /// A request has come, whose response may take some time.
    fn extend(&self, time: Duration) {
        self.0.set(Instant::now() + REQUEST_TIME + time);
    }

    async fn passed(&self) {
        loop {
            let left = self.0.get().saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl HttpStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => tls.poll_read(cx, buffer).map_err(into_io),
        }
    }
}

fn into_io(error: TlsError) -> io::Error {
    match error {
        TlsError::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl Read for HttpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = [0; READ_SIZE];
        let room = READ_SIZE.min(to.remaining());
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let count = ready!(Self::poll_read(self.get_mut(), cx, buffer))?;
        to.put_slice(buffer.get(..count).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_write(cx, bytes).map_err(into_io),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => tls.poll_flush(cx).map_err(into_io),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_close(cx),
            Self::Tls(tls) => tls.poll_close(cx).map_err(into_io),
        }
    }
}
