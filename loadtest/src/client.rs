//! A connection to a server: TLS, SMP handshake, blocks, commands and their answers.
//!
//! Nothing runs in the background: a connection makes progress while one of its futures is
//! polled. Load generators drive it with [`Client::poll_drive`], which lends out what arrives
//! without copying; everybody else uses the futures, which keep what they were not waiting for.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::net::TcpStream;
use glommio::timer::Timer;
use smp_server::crypto::chain::BlockChain;
use smp_server::crypto::pad::{FILLER, LEN_SIZE, prefix, unpad};
use smp_server::protocol::batch::decode_batch;
use smp_server::protocol::encoding::DecodeError;
use smp_server::protocol::transmission::Transmission;
use smp_server::protocol::{BLOCK_SIZE, BLOCK_TAG_SIZE, Command, Response, Version};
use smp_server::transport::{TlsError, TlsStream};

use crate::error::ClientError;
use crate::handshake;
use crate::outbox::{Auth, CorrId, Outbox};
use crate::owned::into_owned;
use crate::service::ServiceSession;
use crate::target::Target;

/// Blocks read before the answers to them are written.
const BLOCKS_PER_TURN: usize = 8;

/// How a client behaves after TLS.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Version to speak; connecting fails when the server does not offer it.
    pub version: Version,
    /// Send a session key, so that blocks are encrypted inside TLS from version 11.
    pub block_encryption: bool,
    /// Longest wait for an answer or push.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::CURRENT,
            block_encryption: true,
            timeout: Duration::from_secs(30),
        }
    }
}

/// What the server sent, borrowed from the block it came in.
#[derive(Debug, Clone)]
pub struct Incoming<'a> {
    /// Correlation id of the command answered; empty for a push.
    pub corr_id: &'a [u8],
    /// Queue, link or service; may be empty.
    pub entity_id: &'a [u8],
    /// The response or push.
    pub response: Response<'a>,
}

/// What the server sent, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Correlation id of the command answered; empty for a push.
    pub corr_id: Vec<u8>,
    /// Queue, link or service; may be empty.
    pub entity_id: Vec<u8>,
    /// The response or push.
    pub response: Response<'static>,
}

/// A connection after the SMP handshake.
pub struct Client {
    stream: TlsStream,
    outbox: Outbox,
    /// Chains of encrypted blocks: from the server, to the server.
    chains: Option<Box<(BlockChain, BlockChain)>>,
    timeout: Duration,
    replies: HashMap<Vec<u8>, Reply>,
    pushes: VecDeque<Reply>,
}

impl Client {
    /// Connects, with TLS and the SMP handshake.
    pub async fn connect(target: &Target, options: Options) -> Result<Self, ClientError> {
        let limit = target.connect_timeout;
        let mut stream = within(limit, async {
            let tcp = TcpStream::connect(target.socket)
                .await
                .map_err(|e| ClientError::Connect(e.to_string()))?;
            // Not fatal: the connection works, only slower.
            let _ = tcp.set_nodelay(true);
            Ok(TlsStream::connect(tcp, Arc::clone(&target.tls)).await?)
        })
        .await?;
        let session = within(
            options.timeout,
            handshake::run(&mut stream, target, options),
        )
        .await?;
        let mut outbox = Outbox::new(options.version, &session.session_id, session.server_key);
        if let Some(service) = session.service {
            outbox.sign_for(Rc::new(service));
        }
        Ok(Self {
            outbox,
            stream,
            chains: session.chains.map(Box::new),
            timeout: options.timeout,
            replies: HashMap::new(),
            pushes: VecDeque::new(),
        })
    }

    /// The TLS stream, for what it tells about the connection.
    pub fn tls(&self) -> &TlsStream {
        &self.stream
    }

    /// Whether blocks are encrypted inside TLS.
    pub fn encrypts_blocks(&self) -> bool {
        self.chains.is_some()
    }

    /// The service this session belongs to.
    pub fn service(&self) -> Option<&Rc<ServiceSession>> {
        self.outbox.service()
    }

    /// Longest wait for an answer or push.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Where commands are staged; they are sent while the client is polled.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Stages a command, see [`Outbox::send`].
    pub fn send(
        &mut self,
        command: &Command<'_>,
        entity: &[u8],
        auth: Auth<'_>,
    ) -> Result<CorrId, ClientError> {
        self.outbox.send(command, entity, auth)
    }

    /// Sends what is staged and calls `handle` with everything that arrives; what it stages is
    /// sent too. Ready after some blocks were handled, pending when there were none.
    pub fn poll_drive(
        &mut self,
        cx: &mut Context<'_>,
        handle: &mut dyn FnMut(Incoming<'_>, &mut Outbox),
    ) -> Poll<Result<(), ClientError>> {
        let _ = self.poll_write(cx)?;
        let mut handled = false;
        for _ in 0..BLOCKS_PER_TURN {
            let Self {
                stream,
                outbox,
                chains,
                ..
            } = self;
            let chain = chains.as_mut().map(|c| &mut c.0);
            match stream.poll_block(cx, |block| dispatch(block, chain, outbox, handle))? {
                Poll::Ready(Some(result)) => result?,
                Poll::Ready(None) => return Poll::Ready(Err(ClientError::Closed)),
                Poll::Pending => break,
            }
            handled = true;
        }
        if handled {
            let _ = self.poll_write(cx)?;
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Ready once everything staged was packed and taken by the socket.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while !self.outbox.is_empty() {
            let Self {
                stream,
                outbox,
                chains,
                ..
            } = self;
            let mut failed = None;
            let polled = stream.poll_write_blocks(cx, |block| {
                let chain = chains.as_mut().map(|c| &mut c.1);
                match fill(block, chain, outbox) {
                    Ok(made) => made,
                    Err(e) => {
                        failed = Some(e);
                        false
                    }
                }
            })?;
            if let Some(e) = failed {
                return Poll::Ready(Err(e));
            }
            if polled.is_pending() {
                return Poll::Pending;
            }
        }
        self.stream.poll_flush(cx).map_err(ClientError::from)
    }

    /// Sends everything staged. Keeps reading meanwhile, because a server may stop reading from a
    /// client that does not.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let limit = self.timeout;
        within(
            limit,
            poll_fn(|cx| {
                if let Poll::Ready(result) = self.poll_write(cx) {
                    return Poll::Ready(result);
                }
                let _ = self.poll_keep(cx)?;
                self.poll_write(cx)
            }),
        )
        .await
    }

    /// Drives the connection and keeps what arrives.
    fn poll_keep(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let mut replies = std::mem::take(&mut self.replies);
        let mut pushes = std::mem::take(&mut self.pushes);
        let polled = self.poll_drive(cx, &mut |incoming, _| {
            let reply = Reply {
                corr_id: incoming.corr_id.to_vec(),
                entity_id: incoming.entity_id.to_vec(),
                response: into_owned(incoming.response),
            };
            if reply.corr_id.is_empty() {
                pushes.push_back(reply);
            } else {
                replies.insert(reply.corr_id.clone(), reply);
            }
        });
        self.replies = replies;
        self.pushes = pushes;
        polled
    }

    /// Waits until `ready` finds what it looks for among what has arrived.
    async fn wait<T>(
        &mut self,
        mut ready: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, ClientError> {
        let limit = self.timeout;
        within(
            limit,
            poll_fn(|cx| {
                loop {
                    if let Some(found) = ready(self) {
                        return Poll::Ready(Ok(found));
                    }
                    if self.poll_keep(cx)?.is_pending() {
                        return Poll::Pending;
                    }
                }
            }),
        )
        .await
    }

    /// The answer to the command with this correlation id.
    pub async fn reply(&mut self, corr_id: &[u8]) -> Result<Reply, ClientError> {
        self.wait(|client| client.replies.remove(corr_id)).await
    }

    /// Sends a command and waits for its answer, which may be an error response.
    pub async fn command(
        &mut self,
        command: &Command<'_>,
        entity: &[u8],
        auth: Auth<'_>,
    ) -> Result<Response<'static>, ClientError> {
        let corr_id = self.send(command, entity, auth)?;
        Ok(self.reply(&corr_id).await?.response)
    }

    /// Sends commands together, in as few blocks as possible, and waits for all answers, which
    /// are returned in the order of the commands.
    pub async fn batch(
        &mut self,
        commands: &[(Command<'_>, &[u8], Auth<'_>)],
    ) -> Result<Vec<Response<'static>>, ClientError> {
        let mut corr_ids = Vec::with_capacity(commands.len());
        for (command, entity, auth) in commands {
            corr_ids.push(self.send(command, entity, *auth)?);
        }
        let mut responses = Vec::with_capacity(commands.len());
        for corr_id in corr_ids {
            responses.push(self.reply(&corr_id).await?.response);
        }
        Ok(responses)
    }

    /// The next push, waiting for it if necessary.
    pub async fn next_push(&mut self) -> Result<Reply, ClientError> {
        self.wait(|client| client.pushes.pop_front()).await
    }

    /// The next push that has arrived already. To know that a push was *not* sent, let the server
    /// answer a `PING` first.
    pub fn buffered_push(&mut self) -> Option<Reply> {
        self.pushes.pop_front()
    }

    /// Checks with a `PING` that the server answers.
    pub async fn ping(&mut self) -> Result<(), ClientError> {
        match self.command(&Command::Ping, &[], Auth::None).await? {
            Response::Pong => Ok(()),
            other => Err(unexpected("PING", &other)),
        }
    }

    /// Sends `content` as one block, as it is. What is staged is sent before.
    pub async fn send_block(&mut self, content: &[u8]) -> Result<(), ClientError> {
        self.flush().await?;
        let mut block = Vec::with_capacity(BLOCK_SIZE);
        let chain = self.chains.as_mut().map(|c| &mut c.1);
        seal(&mut block, chain, |out| out.extend_from_slice(content))?;
        let block = block.first_chunk().ok_or(ClientError::TooLarge)?;
        self.send_bytes(block).await
    }

    /// Sends the 16,384 bytes of a block inside TLS, neither padded nor encrypted.
    pub async fn send_bytes(&mut self, block: &[u8; BLOCK_SIZE]) -> Result<(), ClientError> {
        let limit = self.timeout;
        within(limit, async { Ok(self.stream.write_block(block).await?) }).await
    }

    /// The content of the next block. Do not mix with commands in flight.
    pub async fn recv_block(&mut self) -> Result<Vec<u8>, ClientError> {
        let limit = self.timeout;
        let Self { stream, chains, .. } = self;
        let chain = chains.as_mut().map(|c| &mut c.0);
        within(limit, async {
            let content = stream
                .read_block(|block| open(block, chain).map(<[u8]>::to_vec))
                .await?;
            content.unwrap_or(Err(ClientError::Closed))
        })
        .await
    }

    /// Waits until the server closes the connection; what it sends before is kept.
    pub async fn closed(&mut self) -> Result<(), ClientError> {
        match self.wait(|_| None::<()>).await {
            Err(ClientError::Closed | ClientError::Tls(TlsError::Io(_) | TlsError::Truncated)) => {
                Ok(())
            }
            Err(e) => Err(e),
            Ok(()) => Ok(()),
        }
    }

    /// Closes the connection in good order.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let limit = self.timeout;
        within(limit, async { Ok(self.stream.close().await?) }).await
    }

    /// Gives back all memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        self.outbox.shrink();
        self.replies.shrink_to_fit();
        self.pushes.shrink_to_fit();
    }
}

/// The error for an answer that `command` cannot have; error responses keep their kind.
pub fn unexpected(command: &'static str, response: &Response<'_>) -> ClientError {
    if let Response::Err(e) = response {
        return ClientError::Refused(e.clone());
    }
    let answer = format!("{response:?}").chars().take(80).collect();
    ClientError::Unexpected { command, answer }
}

/// `future`, or a timeout error after `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    futures_lite::future::or(future, async {
        Timer::new(limit).await;
        Err(ClientError::Timeout(limit))
    })
    .await
}

/// Makes the next block from the outbox; false when nothing is staged.
fn fill(
    block: &mut Vec<u8>,
    chain: Option<&mut BlockChain>,
    outbox: &mut Outbox,
) -> Result<bool, ClientError> {
    if outbox.is_empty() {
        return Ok(false);
    }
    seal(block, chain, |out| {
        outbox.pack(out);
    })?;
    Ok(true)
}

/// Appends a block to the empty vector `block`: pads and, with a chain, encrypts the content that
/// `put` appends.
fn seal(
    block: &mut Vec<u8>,
    chain: Option<&mut BlockChain>,
    put: impl FnOnce(&mut Vec<u8>),
) -> Result<(), ClientError> {
    let tag = if chain.is_some() { BLOCK_TAG_SIZE } else { 0 };
    let start = tag + LEN_SIZE;
    block.resize(start, 0);
    put(block);
    let prefix =
        prefix(block.len() - start, BLOCK_SIZE - tag).map_err(|_| ClientError::TooLarge)?;
    block[tag..start].copy_from_slice(&prefix);
    block.resize(BLOCK_SIZE, FILLER);
    if let Some(chain) = chain {
        let block = block.first_chunk_mut().ok_or(ClientError::TooLarge)?;
        chain.seal_block(block)?;
    }
    Ok(())
}

/// Decrypts with a chain and unpads.
fn open<'a>(
    block: &'a mut [u8; BLOCK_SIZE],
    chain: Option<&mut BlockChain>,
) -> Result<&'a [u8], ClientError> {
    match chain {
        Some(chain) => Ok(chain.open_block(block)?),
        None => Ok(unpad(&block[..]).map_err(|_| DecodeError::Truncated)?),
    }
}

fn dispatch(
    block: &mut [u8; BLOCK_SIZE],
    chain: Option<&mut BlockChain>,
    outbox: &mut Outbox,
    handle: &mut dyn FnMut(Incoming<'_>, &mut Outbox),
) -> Result<(), ClientError> {
    let version = outbox.version();
    for bytes in decode_batch(open(block, chain)?)? {
        let transmission = Transmission::decode(bytes, version)?;
        let incoming = Incoming {
            corr_id: transmission.corr_id,
            entity_id: transmission.entity_id,
            response: Response::decode(transmission.command, version)?,
        };
        handle(incoming, outbox);
    }
    Ok(())
}
