//! The TLS stream: blocks in, blocks out, over a glommio socket.
//!
//! Bytes pass through buffers of the executor. A connection keeps only what cannot wait there:
//! the part of a record or block that has arrived, blocks its owner has not asked for, and bytes
//! the socket would not take. An idle connection keeps none of these.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use super::capture::SessionId;
use super::engine::{Engine, Request};
use super::pending::Pending;
use super::scratch::{Output, Scratch};
use crate::protocol::BLOCK_SIZE;

/// Most blocks encrypted for one system call, and so the most that can wait unsent.
pub const BLOCKS_PER_WRITE: usize = 4;

/// Reads without a complete block after which other tasks get a turn.
const READS_PER_POLL: usize = 8;
/// Header of a TLS record: type, version, 16-bit length.
const RECORD_HEADER_LEN: usize = 5;
/// Least space offered to the socket when the rest of a record is awaited.
const MIN_READ: usize = 1024;
/// Most received bytes kept unprocessed: more than any record or acceptable handshake message.
const MAX_CARRY: usize = 1 << 17;
/// Most bytes kept unsent; exceeded only by a peer that provokes answers and reads none.
const MAX_UNSENT: usize = 1 << 17;

/// Why a TLS connection ended.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The TLS protocol failed; an alert was sent where the protocol has one.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The peer left before the handshake was complete.
    #[error("connection closed during the TLS handshake")]
    HandshakeEof,
    /// The peer left in the middle of a record or block.
    #[error("connection closed inside a block")]
    Truncated,
    /// Writing after the connection was closed.
    #[error("TLS connection is closed")]
    Closed,
    /// The handshake ended without a Finished message being seen.
    #[error("no TLS session identifier")]
    NoSessionId,
    /// The peer sent too much that makes no complete message.
    #[error("too many unprocessed bytes from the TLS peer")]
    InputOverflow,
    /// Answers piled up because the peer does not read them.
    #[error("too many unsent bytes for the TLS peer")]
    OutputOverflow,
    /// The TLS 1.2 key has encrypted as much as it may.
    #[error("TLS key exhausted")]
    KeyExhausted,
}

/// A TLS connection that has completed its handshake.
///
/// All `poll` methods are for one task: the socket remembers one waker for reading and one for
/// writing. Dropping the stream closes the socket at once.
pub struct TlsStream {
    tcp: TcpStream,
    engine: Engine,
    /// Received bytes up to the end of an incomplete record or handshake message.
    carry: Vec<u8>,
    /// Decrypted bytes not yet delivered.
    plain: Pending,
    /// Encrypted bytes the socket would not take, and how many of them it has taken since.
    unsent: Vec<u8>,
    sent: usize,
    close_sent: bool,
    /// Set once nothing more can be received; delivered after the blocks before it.
    end: Option<Result<(), TlsError>>,
}

impl TlsStream {
    /// The server's handshake on an accepted socket. It has no time limit of its own: drop the
    /// future to give up.
    pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Self::accept_other(tcp, config).await?.with_session_id()
    }

    /// [`Self::accept`] for other protocols than SMP, which need no session identifier.
    pub async fn accept_other(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Self::new(tcp, Engine::server(config)?)?.handshake().await
    }

    /// The client's handshake on a connected socket. It has no time limit of its own: drop the
    /// future to give up.
    pub async fn connect(tcp: TcpStream, config: Arc<ClientConfig>) -> Result<Self, TlsError> {
        let handshake = Self::new(tcp, Engine::client(config)?)?.handshake();
        handshake.await?.with_session_id()
    }

    /// The identifier both sides bind their SMP handshake to (spec: protocol §2.7).
    pub fn session_id(&self) -> SessionId {
        self.engine.session_id
    }

    /// Whether a protocol was negotiated; without one only the oldest SMP version may be used
    /// (spec: protocol §2.2).
    pub fn alpn_negotiated(&self) -> bool {
        self.engine.common().alpn_protocol().is_some()
    }

    /// The negotiated protocol.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.engine.common().alpn_protocol()
    }

    /// The chain the peer proved to own, leaf first; `None` for a client that showed none.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.engine.common().peer_certificates()
    }

    /// Whether the client named a server (spec: protocol §2.3); always false as a client.
    pub fn sni(&self) -> bool {
        self.engine.sni
    }

    /// The negotiated protocol version.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.engine.common().protocol_version()
    }

    /// The address of the peer, unless the socket is already dead.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.tcp.peer_addr().ok()
    }

    /// Whether the peer announced the end of its data, rather than just leaving.
    pub fn received_close_notify(&self) -> bool {
        self.engine.peer_closed
    }

    /// Calls `f` with the next block, which it may change in place; `None` when the peer closed
    /// the connection between blocks, with or without a close_notify.
    ///
    /// Reads from the socket only when no complete block is waiting, so not asking for blocks is
    /// back-pressure. Also sends what is still unsent.
    pub fn poll_block<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut [u8; BLOCK_SIZE]) -> R,
    ) -> Poll<Result<Option<R>, TlsError>> {
        self.flush_beside(cx)?;
        if let Some(block) = self.plain.block() {
            let result = f(block);
            self.plain.consume(BLOCK_SIZE);
            return Poll::Ready(Ok(Some(result)));
        }
        Scratch::with(|scratch| {
            for _ in 0..READS_PER_POLL {
                if self.end.is_some() {
                    return Poll::Ready(self.finish().map(|()| None));
                }
                ready!(self.poll_fill(cx, scratch));
                // The common case: the block goes from the executor's buffer to the caller.
                if let Some((block, rest)) = scratch.plain.split_first_chunk_mut() {
                    self.plain.append(rest);
                    return Poll::Ready(Ok(Some(f(block))));
                }
                self.keep(scratch);
                if let Some(block) = self.plain.block() {
                    let result = f(block);
                    self.plain.consume(BLOCK_SIZE);
                    return Poll::Ready(Ok(Some(result)));
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// [`Self::poll_block`] as a future.
    pub async fn read_block<R>(
        &mut self,
        f: impl FnOnce(&mut [u8; BLOCK_SIZE]) -> R,
    ) -> Result<Option<R>, TlsError> {
        let mut f = Some(f);
        let block = poll_fn(|cx| self.poll_block(cx, |block| f.take().map(|f| f(block)))).await?;
        Ok(block.flatten())
    }

    /// Reads bytes without regard to blocks; 0 at the end of the stream. For protocols other than
    /// SMP.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, TlsError>> {
        self.flush_beside(cx)?;
        if self.plain.is_empty() && self.end.is_none() {
            ready!(Scratch::with(|scratch| {
                let polled = self.poll_fill(cx, scratch);
                self.keep(scratch);
                polled
            }));
        }
        let waiting = self.plain.waiting();
        let count = waiting.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), waiting.get(..count)) {
            to.copy_from_slice(from);
        }
        if count > 0 || buffer.is_empty() {
            self.plain.consume(count);
            return Poll::Ready(Ok(count));
        }
        if self.end.is_some() {
            return Poll::Ready(self.finish().map(|()| 0));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Encrypts and sends the blocks `fill` makes, up to [`BLOCKS_PER_WRITE`] with one system
    /// call, and returns how many. `fill` gets an empty vector to build a block in and says whether
    /// it made one.
    ///
    /// Pending, without calling `fill`, while earlier bytes are unsent. Blocks count as made even
    /// when the socket did not take all of them yet: the next call, [`Self::poll_flush`] or
    /// [`Self::poll_block`] sends the rest.
    pub fn poll_write_blocks(
        &mut self,
        cx: &mut Context<'_>,
        mut fill: impl FnMut(&mut Vec<u8>) -> bool,
    ) -> Poll<Result<usize, TlsError>> {
        ready!(self.poll_flush(cx))?;
        Scratch::with(|scratch| {
            let mut count = 0;
            while count < BLOCKS_PER_WRITE {
                // The buffer may hold a block of another connection.
                scratch.block.clear();
                if !fill(&mut scratch.block) {
                    break;
                }
                debug_assert_eq!(scratch.block.len(), BLOCK_SIZE);
                let Scratch { block, output, .. } = scratch;
                self.encrypt(&block[..], output)?;
                count += 1;
            }
            self.transmit(cx, &mut scratch.output)?;
            Poll::Ready(Ok(count))
        })
    }

    /// Encrypts and sends one block, like [`Self::poll_write_blocks`].
    pub fn poll_write_block(
        &mut self,
        cx: &mut Context<'_>,
        block: &[u8; BLOCK_SIZE],
    ) -> Poll<Result<(), TlsError>> {
        self.poll_write(cx, block).map_ok(|_| ())
    }

    /// Sends one block completely.
    pub async fn write_block(&mut self, block: &[u8; BLOCK_SIZE]) -> Result<(), TlsError> {
        poll_fn(|cx| self.poll_write_block(cx, block)).await?;
        self.flush().await
    }

    /// Encrypts and sends bytes without regard to blocks, at most one record of them; returns how
    /// many. Pending while earlier bytes are unsent.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, TlsError>> {
        ready!(self.poll_flush(cx))?;
        let record = bytes.get(..BLOCK_SIZE).unwrap_or(bytes);
        Scratch::with(|scratch| {
            self.encrypt(record, &mut scratch.output)?;
            self.transmit(cx, &mut scratch.output)?;
            Poll::Ready(Ok(record.len()))
        })
    }

    /// Ready once the socket has taken everything written.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        while let Some(rest @ [_, ..]) = self.unsent.get(self.sent..) {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// [`Self::poll_flush`] as a future.
    pub async fn flush(&mut self) -> Result<(), TlsError> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends what is unsent and a close_notify, then closes the sending direction.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        if !self.close_sent {
            self.close_sent = true;
            Scratch::with(|scratch| {
                let Scratch { plain, output, .. } = scratch;
                match self
                    .engine
                    .send(&mut self.carry, plain, output, Request::Close)
                {
                    Ok(()) => self.transmit(cx, output),
                    // An alert has said so already.
                    Err(TlsError::Closed) => Ok(()),
                    Err(error) => Err(error),
                }
            })?;
        }
        ready!(self.poll_flush(cx))?;
        match ready!(Pin::new(&mut self.tcp).poll_close(cx)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result.map_err(TlsError::from)),
        }
    }

    /// [`Self::poll_close`] as a future.
    pub async fn close(&mut self) -> Result<(), TlsError> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    fn new(tcp: TcpStream, engine: Engine) -> Result<Self, TlsError> {
        // Blocks are written whole, so waiting for more data only delays them.
        tcp.set_nodelay(true).map_err(io::Error::from)?;
        let mut stream = Self {
            tcp,
            engine,
            carry: Vec::new(),
            plain: Pending::default(),
            unsent: Vec::new(),
            sent: 0,
            close_sent: false,
            end: None,
        };
        // A client speaks first.
        Scratch::with(|scratch| {
            let Scratch { plain, output, .. } = scratch;
            let (_, result) = stream.engine.receive(&mut [], plain, output);
            stream.unsent.extend_from_slice(output.filled());
            result
        })?;
        Ok(stream)
    }

    async fn handshake(mut self) -> Result<Self, TlsError> {
        poll_fn(|cx| self.poll_handshake(cx)).await?;
        Ok(self)
    }

    fn with_session_id(self) -> Result<Self, TlsError> {
        if self.engine.session_id.as_bytes().is_empty() {
            return Err(TlsError::NoSessionId);
        }
        Ok(self)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        Scratch::with(|scratch| {
            loop {
                ready!(self.poll_flush(cx))?;
                if !self.engine.common().is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                if self.end.is_some() {
                    let ended = self.finish();
                    return Poll::Ready(ended.and(Err(TlsError::HandshakeEof)));
                }
                let polled = self.poll_fill(cx, scratch);
                self.keep(scratch);
                ready!(polled);
            }
        })
    }

    /// Sends what the socket takes on the way to something else.
    fn flush_beside(&mut self, cx: &mut Context<'_>) -> Result<(), TlsError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        if self.poll_flush(cx)?.is_ready() {
            // This task may have been told before that writing is pending, and the socket will
            // not wake it for that any more.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    fn encrypt(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), TlsError> {
        if self.close_sent {
            return Err(TlsError::Closed);
        }
        let plain = self.plain.tail();
        self.engine
            .send(&mut self.carry, plain, output, Request::Send(bytes))
    }

    /// Sends `output` or keeps what the socket does not take.
    fn transmit(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Result<(), TlsError> {
        let mut rest = output.filled();
        while self.unsent.is_empty() && !rest.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Poll::Ready(count) => rest = rest.get(count..).unwrap_or(&[]),
                Poll::Pending => break,
            }
        }
        self.unsent.extend_from_slice(rest);
        output.clear();
        if self.unsent.len() > MAX_UNSENT {
            return Err(TlsError::OutputOverflow);
        }
        Ok(())
    }

    /// Reads once from the socket and decrypts what is complete: into `scratch.plain` when the
    /// connection has no decrypted bytes yet, else behind those. Sets `end` when it is reached.
    fn poll_fill(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let Scratch {
            input,
            plain,
            output,
            ..
        } = scratch;
        let kept = self.carry.len();
        // The rest of a record is read behind its beginning, so no part of it is copied twice.
        let result = if kept == 0 {
            ready!(Pin::new(&mut self.tcp).poll_read(cx, input))
        } else {
            self.carry.resize(kept + missing(&self.carry), 0);
            let space = self.carry.get_mut(kept..).unwrap_or_default();
            let polled = Pin::new(&mut self.tcp).poll_read(cx, space);
            let count = match polled {
                Poll::Ready(Ok(count)) => count,
                _ => 0,
            };
            self.carry.truncate(kept + count);
            ready!(polled)
        };
        let count = match result {
            Ok(0) => {
                self.end = Some(if kept == 0 {
                    Ok(())
                } else {
                    Err(TlsError::Truncated)
                });
                return Poll::Ready(());
            }
            Ok(count) => count,
            Err(error) => {
                self.end = Some(Err(error.into()));
                return Poll::Ready(());
            }
        };

        let plain = if self.plain.is_empty() {
            plain
        } else {
            self.plain.tail()
        };
        let result = if kept == 0 {
            let fresh = input.get_mut(..count).unwrap_or_default();
            let (consumed, result) = self.engine.receive(fresh, plain, output);
            self.carry
                .extend_from_slice(fresh.get(consumed..).unwrap_or(&[]));
            result
        } else {
            let (consumed, result) = self.engine.receive(&mut self.carry, plain, output);
            self.carry.drain(..consumed.min(self.carry.len()));
            if self.carry.is_empty() {
                self.carry = Vec::new();
            }
            result
        };
        let result = match self.transmit(cx, output) {
            _ if result.is_err() => result,
            Ok(()) if self.carry.len() > MAX_CARRY => Err(TlsError::InputOverflow),
            sent => sent,
        };
        if result.is_err() || self.engine.peer_closed {
            self.end = Some(result);
        }
        Poll::Ready(())
    }

    /// Moves decrypted bytes from the executor's buffer to the connection.
    fn keep(&mut self, scratch: &mut Scratch) {
        self.plain.append(&scratch.plain);
        scratch.plain.clear();
    }

    /// The end of the stream, an error at most once.
    fn finish(&mut self) -> Result<(), TlsError> {
        let inside_block = !self.plain.is_empty();
        self.plain = Pending::default();
        match self.end.replace(Ok(())) {
            Some(Err(error)) => Err(error),
            _ if inside_block => Err(TlsError::Truncated),
            _ => Ok(()),
        }
    }
}

/// How many bytes to ask the socket for when `carry` is the beginning of a record.
fn missing(carry: &[u8]) -> usize {
    let record = match carry {
        [_, _, _, high, low, ..] => {
            RECORD_HEADER_LEN + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => 0,
    };
    record.saturating_sub(carry.len()).max(MIN_READ)
}

#[cfg(test)]
mod tests;
