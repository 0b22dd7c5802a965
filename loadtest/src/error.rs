//! What can go wrong for a client.

use std::time::Duration;

use smp_server::crypto::chain::ChainError;
use smp_server::protocol::encoding::DecodeError;
use smp_server::protocol::error::{ErrorType, TransportError};
use smp_server::protocol::{Version, VersionRange};
use smp_server::transport::TlsError;
use thiserror::Error;

/// A failure of a connection or of a command.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The TCP connection could not be made.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// TLS or the socket failed.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server's hello breaks the protocol.
    #[error("server hello: {0}")]
    Hello(&'static str),
    /// The server does not offer the wanted version.
    #[error("the server offers versions {} to {}, not {wanted}", .offered.min(), .offered.max())]
    Version {
        /// What was asked for.
        wanted: Version,
        /// What the server offers.
        offered: VersionRange,
    },
    /// The server refuses the service credentials.
    #[error("the server refuses the service: {0:?}")]
    ServiceRefused(TransportError),
    /// The command is one of services, and this session is none's.
    #[error("not a session of a service")]
    NoService,
    /// Service session keys are Ed25519.
    #[error("a service signature needs an Ed25519 key")]
    ServiceKey,
    /// An authenticator needs the server's key, which version 6 lacks.
    #[error("no server key: X25519 authorization needs version 7")]
    NoServerKey,
    /// A transmission that no block holds.
    #[error("transmission too large for a block")]
    TooLarge,
    /// A block that cannot be sealed or opened.
    #[error("block encryption: {0}")]
    Block(#[from] ChainError),
    /// Bytes that are no batch, transmission or response.
    #[error("malformed block: {0}")]
    Decode(#[from] DecodeError),
    /// The server answered with an error.
    #[error("the server answered ERR {0:?}")]
    Refused(ErrorType),
    /// The server answered something else than the command allows.
    #[error("unexpected answer to {command}: {answer}")]
    Unexpected {
        /// Name of the command.
        command: &'static str,
        /// The answer, shortened.
        answer: String,
    },
    /// The message body does not open.
    #[error("a message body does not open with the queue's key")]
    Body,
    /// The metadata of a notification does not open.
    #[error("a notification does not open with the notifier's key")]
    Notification,
}
