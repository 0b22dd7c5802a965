//! A `rustls` unbuffered connection in either role, without any I/O.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::ServerName;

use super::capture::{self, SessionId};
use super::scratch::Output;
use super::stream::TlsError;

/// The state of a connection: what `rustls` keeps, and what its hooks told us.
pub(super) struct Engine {
    connection: Connection,
    /// The last Finished value seen: the client's once the handshake is over, empty before.
    pub(super) session_id: SessionId,
    /// The client named a server.
    pub(super) sni: bool,
    /// The peer sent close_notify.
    pub(super) peer_closed: bool,
    /// An error was reported, and its alert made: `rustls` must not see the bad record again.
    failed: bool,
}

/// Boxed because only its owner moves.
enum Connection {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What to do once the connection may send application data.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// Nothing: only process input.
    Receive,
    /// Encrypt these bytes, one record at most.
    Send(&'a [u8]),
    /// Encrypt a close_notify alert.
    Close,
}

/// How a step ended.
enum Progress {
    /// Call again with the rest of the input.
    Again,
    /// All complete records are processed.
    Idle,
    /// The request is encrypted into the output.
    Done,
    /// The peer sent close_notify; call again.
    PeerClosed,
}

/// The result of a step: bytes to drop from the front of the input, and how it ended.
struct Step {
    discard: usize,
    progress: Result<Progress, TlsError>,
}

impl Engine {
    /// A connection accepted from a client.
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self::new(Connection::Server(Box::new(connection))))
    }

    /// A connection to a server. It is known by its key, so any name will do.
    pub(super) fn client(config: Arc<ClientConfig>) -> Result<Self, TlsError> {
        let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(Self::new(Connection::Client(Box::new(connection))))
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            session_id: SessionId::default(),
            sni: false,
            peer_closed: false,
            failed: false,
        }
    }

    pub(super) fn common(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// Processes all complete records of `input`: decrypted bytes go to `plain`, answers to
    /// `output`. Returns how many bytes of `input` are done with; the rest must come again in
    /// front of what is received next.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        output: &mut Output,
    ) -> (usize, Result<(), TlsError>) {
        let mut consumed = 0;
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            let step = self.step(rest, plain, output, Request::Receive);
            consumed = input.len().min(consumed + step.discard);
            match step.progress {
                Ok(Progress::Again) => {}
                Ok(Progress::PeerClosed) => self.peer_closed = true,
                // Bytes after close_notify mean nothing.
                Ok(Progress::Idle | Progress::Done) if self.peer_closed => {
                    return (input.len(), Ok(()));
                }
                Ok(Progress::Idle | Progress::Done) => return (consumed, Ok(())),
                Err(error) => {
                    let rest = input.get_mut(consumed..).unwrap_or_default();
                    self.collect_alert(rest, plain, output);
                    return (consumed, Err(error));
                }
            }
        }
    }

    /// Encrypts what `request` asks for into `output`. `carry` is the rest that
    /// [`Self::receive`] left.
    pub(super) fn send(
        &mut self,
        carry: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        output: &mut Output,
        request: Request<'_>,
    ) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::Closed);
        }
        loop {
            let step = self.step(carry, plain, output, request);
            carry.drain(..carry.len().min(step.discard));
            match step.progress {
                Ok(Progress::Again) => {}
                Ok(Progress::PeerClosed) => self.peer_closed = true,
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Idle) => return Err(TlsError::Closed),
                Err(error) => {
                    self.collect_alert(carry, plain, output);
                    return Err(error);
                }
            }
        }
    }

    /// After an error: moves the alert that announces it into `output`.
    fn collect_alert(&mut self, input: &mut [u8], plain: &mut Vec<u8>, output: &mut Output) {
        self.failed = true;
        // Stepping without something to write would process the bad record again.
        while self.common().wants_write() {
            match self.step(input, plain, output, Request::Receive).progress {
                Ok(Progress::Again) => {}
                _ => break,
            }
        }
    }

    /// `input` must begin with everything not yet discarded, also when nothing new was received:
    /// `rustls` keeps offsets into it while a handshake message is split over records.
    fn step(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        output: &mut Output,
        request: Request<'_>,
    ) -> Step {
        capture::clear();
        let step = match &mut self.connection {
            Connection::Server(c) => handle(c.process_tls_records(input), plain, output, request),
            Connection::Client(c) => handle(c.process_tls_records(input), plain, output, request),
        };
        let seen = capture::take();
        self.sni |= seen.sni;
        self.session_id = seen.finished.unwrap_or(self.session_id);
        step
    }
}

fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Vec<u8>,
    output: &mut Output,
    request: Request<'_>,
) -> Step {
    let UnbufferedStatus { mut discard, state } = status;
    let progress = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                Some(Err(error)) => break Err(error.into()),
                None => break Ok(Progress::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(output.spare()) {
            Ok(written) => {
                output.commit(written);
                Ok(Progress::Again)
            }
            Err(EncodeError::InsufficientSize(_)) => Err(TlsError::OutputOverflow),
            Err(EncodeError::AlreadyEncoded) => Ok(Progress::Again),
        },
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // The bytes are in `output`, which is sent before anything later.
            data.done();
            Ok(Progress::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let written = match request {
                Request::Receive => Ok(None),
                Request::Send(bytes) => traffic.encrypt(bytes, output.spare()).map(Some),
                Request::Close => traffic.queue_close_notify(output.spare()).map(Some),
            };
            match written {
                Ok(None) => Ok(Progress::Idle),
                Ok(Some(written)) => {
                    output.commit(written);
                    Ok(Progress::Done)
                }
                Err(EncryptError::InsufficientSize(_)) => Err(TlsError::OutputOverflow),
                Err(EncryptError::EncryptExhausted) => Err(TlsError::KeyExhausted),
            }
        }
        Ok(ConnectionState::PeerClosed) => Ok(Progress::PeerClosed),
        // Early data is never accepted, so only the blocked and closed states remain.
        Ok(_) => Ok(Progress::Idle),
    };
    Step { discard, progress }
}
