//! The other end of a session: lines in, lines out.

use crate::control::port::{Line, Lines};
use futures_lite::future::or;
use futures_lite::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use glommio::timer::sleep;
use std::future::Future;
use std::io;
use std::time::Duration;
use zeroize::Zeroizing;

/// Bytes read at a time; most lines are shorter.
const READ_SIZE: usize = 512;
/// Time for the peer to take the last lines.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// A stream of lines.
pub struct Peer<S> {
    stream: S,
    lines: Lines,
    idle_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A peer that is given up when it neither says nor takes anything for `idle_timeout`.
    pub fn new(stream: S, idle_timeout: Duration) -> Self {
        Self {
            stream,
            lines: Lines::default(),
            idle_timeout,
        }
    }

    /// The next line; `None` when the peer has left, or said nothing for too long.
    pub async fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return Ok(Some(line));
            }
            let mut bytes = Zeroizing::new([0; READ_SIZE]);
            let read = self.stream.read(&mut bytes[..]);
            let Some(count) = within(self.idle_timeout, read).await else {
                return Ok(None);
            };
            match bytes.get(..count?) {
                None | Some([]) => return Ok(self.lines.finish()),
                Some(bytes) => self.lines.push(bytes),
            }
        }
    }

    /// Says something, a line or several; waits until the peer takes it.
    pub async fn say(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let text = [text, end].concat();
        let written = self.stream.write_all(text.as_bytes());
        let written = within(self.idle_timeout, written).await;
        written.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the session, and waits a little for the peer to do so too: a socket closed with unread
    /// input is reset, which may destroy what was said last.
    pub async fn close(mut self) {
        let closing = async {
            let mut rest = Zeroizing::new([0; READ_SIZE]);
            if self.stream.close().await.is_ok() {
                while let Ok(1..) = self.stream.read(&mut rest[..]).await {}
            }
        };
        within(CLOSE_TIME, closing).await;
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    or(async { Some(work.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}
