//! One connection's task: handshakes, then blocks in and out until either side ends.

use super::core::{Connection, Core};
use super::online_credential::OnlineCredential;
use super::web::Web;
use crate::protocol::BLOCK_SIZE;
use crate::session::{
    ClaimedSession, Established, HandshakeOutcome, Identity, RefusedHandshake, ServerHandshake,
    Session, put_plain_block,
};
use crate::transport::client_hello::names_server;
use crate::transport::stream::{TlsError, TlsStream};
use futures_lite::future::{or, poll_fn};
use glommio::net::TcpStream;
use glommio::timer::sleep;
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;

/// Commands taken from one connection before others get a turn; a block is not divided.
const COMMAND_BURST: usize = 64;
/// Writes to one connection, of a few blocks each, before others get a turn.
const WRITE_BURST: usize = 16;
/// Connections in handshake per executor beyond which new ones are dropped.
const MAX_HANDSHAKES: usize = 16 << 10;
/// How long the end of a connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// How long a peer may take nothing of what is sent to it.
pub const STALL_LIMIT: Duration = Duration::from_secs(180);

/// What every connection of an executor needs.
#[derive(Debug)]
pub struct Acceptor {
    /// The executor.
    pub core: Rc<Core>,
    /// Time for the TLS handshake.
    pub tls_setup_timeout: Duration,
    /// Time for the SMP handshake.
    pub handshake_timeout: Duration,
    /// Connections this executor may have.
    pub max_connections: usize,
    /// Whether failures of TLS are logged.
    pub log_tls_errors: bool,
}

#[derive(Debug, Error)]
enum ConnectionError {
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("SMP handshake: {0}")]
    Handshake(#[from] RefusedHandshake),
    #[error("{0} handshake took too long")]
    Timeout(&'static str),
    #[error("the server hello is larger than a block: the certificate chain is too long")]
    HelloTooLarge,
    #[error("block keys cannot be advanced")]
    BlockKeys,
}

/// Counts a connection in handshake for as long as it lives.
struct InHandshake<'a>(&'a Cell<usize>);

impl<'a> InHandshake<'a> {
    fn enter(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for InHandshake<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Acceptor {
    /// Whether another connection may be served.
    pub fn has_room(&self) -> bool {
        self.core.handshakes().get() < MAX_HANDSHAKES
            && self.core.session_count() + self.core.handshakes().get() < self.max_connections
    }

    /// Serves one connection to its end; with `web` its port is shared with HTTPS.
    pub async fn serve(self: Rc<Self>, tcp: TcpStream, web: Option<Arc<Web>>) {
        let result = match Box::pin(self.handshake(tcp, web)).await {
            Ok(Some((stream, established))) => self.exchange(stream, established).await,
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            match e {
                ConnectionError::Tls(e) if self.log_tls_errors => tracing::error!("TLS: {e}"),
                ConnectionError::HelloTooLarge => tracing::error!("{e}"),
                other => tracing::debug!("connection ended: {other}"),
            }
        }
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        web: Option<Arc<Web>>,
    ) -> Result<Option<(TlsStream, Established)>, ConnectionError> {
        let _counted = InHandshake::enter(self.core.handshakes());
        let Some(OnlineCredential { tls, identity }) = self.core.credential() else {
            return Ok(None);
        };
        let accept = async {
            if let Some(web) = web.filter(|web| web.has_credential())
                && names_server(&tcp).await.map_err(TlsError::from)?
            {
                web.hand_over(&tcp);
                return Ok(None);
            }
            Ok(Some(TlsStream::accept(tcp, tls).await?))
        };
        let accepted = within(self.tls_setup_timeout, "TLS", accept).await?;
        let Some(mut stream) = accepted else {
            return Ok(None);
        };
        let hellos = self.hellos(&identity, &mut stream);
        let established = within(self.handshake_timeout, "SMP", hellos).await?;
        Ok(established.map(|established| (stream, established)))
    }

    /// `None` when the client left, or was told why it is refused.
    async fn hellos(
        &self,
        identity: &Identity,
        stream: &mut TlsStream,
    ) -> Result<Option<Established>, ConnectionError> {
        let mut block = Box::new([0; BLOCK_SIZE]);
        let handshake = ServerHandshake::start(
            identity,
            stream.session_id().as_bytes(),
            stream.alpn_negotiated(),
            &mut *self.core.rng().borrow_mut(),
            &mut block,
        )
        .map_err(|_| ConnectionError::HelloTooLarge)?;
        stream.write_block(&block).await?;
        drop(block);
        // Only service clients show one.
        let chain = stream.peer_certificates().unwrap_or_default().to_vec();
        let outcome = stream
            .read_block(|block| handshake.finish(block, &chain))
            .await?;
        match outcome.transpose()? {
            None => Ok(None),
            Some(HandshakeOutcome::Established(established)) => Ok(Some(established)),
            Some(HandshakeOutcome::Claimed(claimed)) => self.register(stream, *claimed).await,
            Some(HandshakeOutcome::ServiceRefused(content)) => {
                send_last(stream, &content).await?;
                Ok(None)
            }
        }
    }

    /// Asks the registry of services who claims to be one.
    async fn register(
        &self,
        stream: &mut TlsStream,
        claimed: ClaimedSession,
    ) -> Result<Option<Established>, ConnectionError> {
        match self.core.register_service(claimed.claim()).await {
            Some(id) => {
                let (established, content) = claimed.accept(id);
                let mut block = Box::new([0; BLOCK_SIZE]);
                put_plain_block(&content, &mut block)
                    .map_err(|_| ConnectionError::HelloTooLarge)?;
                stream.write_block(&block).await?;
                Ok(Some(established))
            }
            None => {
                send_last(stream, &claimed.refuse()).await?;
                Ok(None)
            }
        }
    }

    async fn exchange(
        &self,
        stream: TlsStream,
        established: Established,
    ) -> Result<(), ConnectionError> {
        let Established { context, chains } = established;
        let connection = self
            .core
            .open_session(|reference| Session::new(reference, context, chains));
        let registered = Registered {
            core: &self.core,
            connection,
        };
        let mut pump = Pump {
            core: &self.core,
            connection: &registered.connection,
            stream,
        };
        let result = poll_fn(|cx| pump.poll(cx)).await;
        let mut stream = pump.stream;
        // A stopping executor ends with its last session: the answers have to be on their way.
        let registered = Some(registered).filter(|_| self.core.is_stopping());
        if result.is_ok() {
            // The peer may be gone already; nothing is owed to it.
            let _ = within(CLOSE_TIME, "closing", close(&mut stream)).await;
        }
        drop(registered);
        result
    }
}

/// Takes the session out of the table, however the task ends.
struct Registered<'a> {
    core: &'a Core,
    connection: Rc<Connection>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.core.close_session(&self.connection);
    }
}

/// Sends a plain block and closes.
async fn send_last(stream: &mut TlsStream, content: &[u8]) -> Result<(), ConnectionError> {
    let mut block = Box::new([0; BLOCK_SIZE]);
    put_plain_block(content, &mut block).map_err(|_| ConnectionError::HelloTooLarge)?;
    stream.write_block(&block).await?;
    Ok(stream.close().await?)
}

/// Closes and waits for the peer to close too.
///
/// A socket closed with unread input is reset, and a reset discards answers that the peer has not
/// got yet.
async fn close(stream: &mut TlsStream) -> Result<(), ConnectionError> {
    stream.close().await?;
    while stream.read_block(|_| ()).await?.is_some() {}
    Ok(())
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    or(work, async {
        sleep(limit).await;
        Err(ConnectionError::Timeout(what))
    })
    .await
}

struct Pump<'a> {
    core: &'a Core,
    connection: &'a Connection,
    stream: TlsStream,
}

impl Pump<'_> {
    /// Reads what has come, answers what can be answered; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.connection.register(cx.waker());
        if self.connection.is_aborted() {
            return Poll::Ready(Ok(()));
        }
        let mut commands = 0;
        // Everything that has arrived is read before anything is sent: answers share blocks.
        let reading = loop {
            if commands >= COMMAND_BURST {
                break Reading::More;
            }
            if !self.may_receive() {
                break Reading::Refused;
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(Some(count))) => commands += count,
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => break Reading::Waiting,
            }
        };
        self.send(cx)?;
        let session = self.connection.session.borrow();
        if self.core.is_stopping() && session.is_settled() && !session.has_output() {
            return self.stream.poll_flush(cx).map_err(Into::into);
        }
        drop(session);
        if reading == Reading::More || (reading == Reading::Refused && self.may_receive()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether another block may be read now.
    fn may_receive(&self) -> bool {
        self.connection.session.borrow().wants_input()
            && !self.core.is_stopping()
            && !self.core.is_congested_for(self.connection)
    }

    /// Handles one block and returns how many commands it had; `None` at the end of the stream.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, ConnectionError>> {
        let (core, connection) = (self.core, self.connection);
        let received = self.stream.poll_block(cx, |block| {
            connection.note_received();
            core.run(|router| connection.session.borrow_mut().receive(block, router))
        })?;
        received.map(|result| result.transpose().map_err(|_| ConnectionError::BlockKeys))
    }

    /// Sends what the socket takes, a bounded amount before others get a turn.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionError> {
        for _ in 0..WRITE_BURST {
            self.ask_for_more();
            let mut broken = false;
            let session = &self.connection.session;
            if !session.borrow().has_output() {
                self.connection
                    .set_stalled(self.stream.poll_flush(cx)?.is_pending());
                return Ok(());
            }
            let written = self.stream.poll_write_blocks(cx, |block| {
                let filled = session.borrow_mut().next_block(block);
                if let Ok(true) = filled {
                    self.connection.note_sent();
                }
                filled.unwrap_or_else(|_| {
                    broken = true;
                    false
                })
            })?;
            if broken {
                return Err(ConnectionError::BlockKeys);
            }
            if written.is_pending() {
                self.connection.set_stalled(true);
                return Ok(());
            }
            self.connection.set_stalled(false);
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Messages and events that found no room are asked for once there is some; notifications that
    /// were sent make room for others.
    fn ask_for_more(&self) {
        let session = &self.connection.session;
        let has_overdue_events = session.borrow().has_overdue_events();
        if has_overdue_events {
            self.core.flush_events_of(self.connection);
        }
        let reference = session.borrow().reference();
        let deferred = || session.borrow_mut().take_deferred();
        while let Some(id) = deferred() {
            self.core
                .run(|router| self.core.redeliver(reference, id, router));
        }
        let credit = || session.borrow_mut().take_credit();
        while let Some((shard, count)) = credit() {
            self.core.run(|router| {
                self.core
                    .notifications_taken(reference, shard, count, router);
            });
        }
    }
}

/// Why reading stopped.
#[derive(PartialEq)]
enum Reading {
    /// Others get a turn; there may be more.
    More,
    /// Nothing has come; the socket wakes the task.
    Waiting,
    /// Too much is in flight, or waits to be sent.
    Refused,
}
