//! Errors as they travel after `ERR ` (spec: protocol §11).

use super::encoding::{DecodeError, Reader, put_bytes8};
use super::version::Version;

/// What a server answers instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorType {
    /// A block or transmission that cannot be parsed.
    Block,
    /// The session id of a version 6 transmission is not this session's.
    Session,
    /// The command is malformed or not allowed here.
    Cmd(CommandError),
    /// The proxy failed to reach or understand the destination relay.
    Proxy(ProxyError),
    /// No such queue, or not authorised: deliberately the same answer.
    Auth,
    /// The operator blocked the queue.
    Blocked(BlockingInfo),
    /// A service signature is missing, wrong or not allowed.
    Service,
    /// A proxy layer cannot be decrypted.
    Crypto,
    /// The queue is full.
    Quota,
    /// The store failed; the text says how.
    Store(String),
    /// The command arrived too late.
    Expired,
    /// Nothing to acknowledge.
    NoMsg,
    /// The message body is too long.
    LargeMsg,
    /// The server failed.
    Internal,
    /// Name resolution failed (version 20).
    Name(NameError),
}

/// Errors of a command's form and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// The tag is no command.
    Unknown,
    /// The parameters do not parse.
    Syntax,
    /// The command is not allowed in this state.
    Prohibited,
    /// Authorization or entity id is missing.
    NoAuth,
    /// Authorization or entity id must be absent.
    HasAuth,
    /// The entity id is missing.
    NoEntity,
}

/// Errors between a proxy, its client and the destination relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyError {
    /// The destination relay answered with an error.
    Protocol(Box<ErrorType>),
    /// The destination relay could not be used.
    Broker(BrokerError),
    /// The proxy's password is wrong or missing.
    BasicAuth,
    /// There is no such relay session.
    NoSession,
}

/// Failures of the connection to a destination relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerError {
    /// Its response cannot be parsed; at most 255 bytes.
    Response(Vec<u8>),
    /// Its response is of an unexpected type; at most 255 bytes.
    Unexpected(Vec<u8>),
    /// The transport or handshake failed.
    Transport(TransportError),
    /// The network failed, with detail only some servers send.
    Network(Option<NetworkError>),
    /// No response in time.
    Timeout,
    /// No usable host in the address.
    Host,
    /// The relay is not a service this proxy may use.
    NoService,
}

/// Detail of a network failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkError {
    /// The connection was refused or failed; at most 255 bytes of text.
    Connect(Vec<u8>),
    /// TLS failed; at most 255 bytes of text.
    Tls(Vec<u8>),
    /// The identity is not the expected one.
    UnknownCa,
    /// Any other failure.
    Failed,
    /// No connection in time.
    Timeout,
    /// A subscription failed; at most 255 bytes of text.
    Subscribe(Vec<u8>),
}

/// Errors of blocks and handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportError {
    /// A malformed block.
    Block,
    /// No common version.
    Version,
    /// A message too large for a block.
    LargeMsg,
    /// The session id is wrong.
    Session,
    /// The relay has no session key.
    NoAuth,
    /// The handshake failed.
    Handshake(HandshakeError),
}

/// Errors of the SMP handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// A hello cannot be parsed.
    Parse,
    /// The server is not the one addressed.
    Identity,
    /// The session key or service certificate does not verify.
    BadAuth,
    /// The service certificate has another role.
    BadService,
}

/// Why a queue is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockingInfo {
    /// Reason chosen by the operator.
    pub reason: BlockingReason,
    /// Notice for the client.
    pub notice: Option<ClientNotice>,
}

/// Reason of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockingReason {
    /// Unsolicited messages.
    Spam,
    /// Unlawful content.
    Content,
}

/// How long a client should warn, in seconds; `None` is without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientNotice {
    /// Seconds.
    pub ttl: Option<i64>,
}

/// Errors of name resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// This server resolves no names.
    NoResolver,
    /// There is no such name.
    NotFound,
    /// The resolver failed; the text says how.
    Resolver(String),
}

impl ErrorType {
    /// Appends the form for a peer of `version`: `BLOCKED` becomes `AUTH` or loses its notice in
    /// older versions (spec: protocol §11.5). Nested errors are never adjusted.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Blocked(_) if version < Version::BLOCKED_ERROR => out.extend_from_slice(b"AUTH"),
            Self::Blocked(info) if version < Version::BLOCKED_NOTICE => {
                Self::Blocked(BlockingInfo {
                    reason: info.reason,
                    notice: None,
                })
                .encode_as_is(out);
            }
            other => other.encode_as_is(out),
        }
    }

    fn encode_as_is(&self, out: &mut Vec<u8>) {
        match self {
            Self::Block => out.extend_from_slice(b"BLOCK"),
            Self::Session => out.extend_from_slice(b"SESSION"),
            Self::Cmd(e) => {
                out.extend_from_slice(b"CMD ");
                out.extend_from_slice(e.as_bytes());
            }
            Self::Proxy(e) => {
                out.extend_from_slice(b"PROXY ");
                e.encode(out);
            }
            Self::Auth => out.extend_from_slice(b"AUTH"),
            Self::Blocked(info) => {
                out.extend_from_slice(b"BLOCKED ");
                info.encode(out);
            }
            Self::Service => out.extend_from_slice(b"SERVICE"),
            Self::Crypto => out.extend_from_slice(b"CRYPTO"),
            Self::Quota => out.extend_from_slice(b"QUOTA"),
            Self::Store(text) => {
                out.extend_from_slice(b"STORE ");
                out.extend_from_slice(text.as_bytes());
            }
            Self::Expired => out.extend_from_slice(b"EXPIRED"),
            Self::NoMsg => out.extend_from_slice(b"NO_MSG"),
            Self::LargeMsg => out.extend_from_slice(b"LARGE_MSG"),
            Self::Internal => out.extend_from_slice(b"INTERNAL"),
            Self::Name(e) => {
                out.extend_from_slice(b"NAME ");
                match e {
                    NameError::NoResolver => out.extend_from_slice(b"NO_RESOLVER"),
                    NameError::NotFound => out.extend_from_slice(b"NOT_FOUND"),
                    NameError::Resolver(text) => {
                        out.extend_from_slice(b"RESOLVER ");
                        out.extend_from_slice(text.as_bytes());
                    }
                }
            }
        }
    }

    /// Reads what follows `ERR `.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode_nested(r, MAX_NESTING)
    }

    fn decode_nested(r: &mut Reader<'_>, depth: u8) -> Result<Self, DecodeError> {
        Ok(match r.word() {
            b"BLOCK" => Self::Block,
            b"SESSION" => Self::Session,
            b"CMD" => Self::Cmd(CommandError::decode(r.parameters()?)?),
            b"PROXY" if depth > 0 => Self::Proxy(ProxyError::decode(r.parameters()?, depth - 1)?),
            b"AUTH" => Self::Auth,
            b"BLOCKED" => Self::Blocked(BlockingInfo::decode(r.parameters()?)?),
            b"SERVICE" => Self::Service,
            b"CRYPTO" => Self::Crypto,
            b"QUOTA" => Self::Quota,
            b"STORE" => Self::Store(utf8_tail(r.parameters()?)?),
            b"EXPIRED" => Self::Expired,
            b"NO_MSG" => Self::NoMsg,
            b"LARGE_MSG" => Self::LargeMsg,
            b"INTERNAL" => Self::Internal,
            b"NAME" => Self::Name(match r.parameters()?.word() {
                b"NO_RESOLVER" => NameError::NoResolver,
                b"NOT_FOUND" => NameError::NotFound,
                b"RESOLVER" => NameError::Resolver(utf8_tail(r.parameters()?)?),
                _ => return Err(DecodeError::Invalid("name error")),
            }),
            _ => return Err(DecodeError::Invalid("error")),
        })
    }
}

/// A proxy error holds a relay's error, which in theory holds another: one level is ever sent, and
/// a bound keeps hostile nesting off the stack.
const MAX_NESTING: u8 = 4;

fn utf8_tail(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    String::from_utf8(r.tail().to_vec()).map_err(|_| DecodeError::Invalid("text"))
}

impl CommandError {
    fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Unknown => b"UNKNOWN",
            Self::Syntax => b"SYNTAX",
            Self::Prohibited => b"PROHIBITED",
            Self::NoAuth => b"NO_AUTH",
            Self::HasAuth => b"HAS_AUTH",
            Self::NoEntity => b"NO_ENTITY",
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.word() {
            b"UNKNOWN" => Self::Unknown,
            b"SYNTAX" => Self::Syntax,
            b"PROHIBITED" => Self::Prohibited,
            b"NO_AUTH" => Self::NoAuth,
            b"HAS_AUTH" => Self::HasAuth,
            b"NO_ENTITY" | b"NO_QUEUE" => Self::NoEntity,
            _ => return Err(DecodeError::Invalid("command error")),
        })
    }
}

impl ProxyError {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Protocol(e) => {
                out.extend_from_slice(b"PROTOCOL ");
                e.encode_as_is(out);
            }
            Self::Broker(e) => {
                out.extend_from_slice(b"BROKER ");
                e.encode(out);
            }
            Self::BasicAuth => out.extend_from_slice(b"BASIC_AUTH"),
            Self::NoSession => out.extend_from_slice(b"NO_SESSION"),
        }
    }

    fn decode(r: &mut Reader<'_>, depth: u8) -> Result<Self, DecodeError> {
        Ok(match r.word() {
            b"PROTOCOL" => {
                Self::Protocol(Box::new(ErrorType::decode_nested(r.parameters()?, depth)?))
            }
            b"BROKER" => Self::Broker(BrokerError::decode(r.parameters()?)?),
            b"BASIC_AUTH" => Self::BasicAuth,
            b"NO_SESSION" => Self::NoSession,
            _ => return Err(DecodeError::Invalid("proxy error")),
        })
    }
}

fn put_tagged_text(out: &mut Vec<u8>, tag: &[u8], text: &[u8]) {
    out.extend_from_slice(tag);
    put_bytes8(out, text);
}

impl BrokerError {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Response(text) => put_tagged_text(out, b"RESPONSE ", text),
            Self::Unexpected(text) => put_tagged_text(out, b"UNEXPECTED ", text),
            Self::Transport(e) => {
                out.extend_from_slice(b"TRANSPORT ");
                e.encode(out);
            }
            Self::Network(None) => out.extend_from_slice(b"NETWORK"),
            Self::Network(Some(e)) => {
                out.extend_from_slice(b"NETWORK ");
                e.encode(out);
            }
            Self::Timeout => out.extend_from_slice(b"TIMEOUT"),
            Self::Host => out.extend_from_slice(b"HOST"),
            Self::NoService => out.extend_from_slice(b"NO_SERVICE"),
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.word() {
            b"RESPONSE" => Self::Response(r.parameters()?.bytes8()?.to_vec()),
            b"UNEXPECTED" => Self::Unexpected(r.parameters()?.bytes8()?.to_vec()),
            b"TRANSPORT" => Self::Transport(TransportError::decode(r.parameters()?)?),
            b"NETWORK" => Self::Network(NetworkError::decode(r)),
            b"TIMEOUT" => Self::Timeout,
            b"HOST" => Self::Host,
            b"NO_SERVICE" => Self::NoService,
            _ => return Err(DecodeError::Invalid("broker error")),
        })
    }
}

impl NetworkError {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connect(text) => put_tagged_text(out, b"CONNECT ", text),
            Self::Tls(text) => put_tagged_text(out, b"TLS ", text),
            Self::UnknownCa => out.extend_from_slice(b"UNKNOWNCA"),
            Self::Failed => out.extend_from_slice(b"FAILED"),
            Self::Timeout => out.extend_from_slice(b"TIMEOUT"),
            Self::Subscribe(text) => put_tagged_text(out, b"SUBSCRIBE ", text),
        }
    }

    /// Bare is `None`; a detail of a later version that cannot be parsed means `FAILED`.
    fn decode(r: &mut Reader<'_>) -> Option<Self> {
        let detail = r.tail();
        if detail.is_empty() {
            return None;
        }
        Some(Self::decode_detail(detail).unwrap_or(Self::Failed))
    }

    fn decode_detail(detail: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(detail);
        let this = match r.parameters()?.word() {
            b"CONNECT" => Self::Connect(r.parameters()?.bytes8()?.to_vec()),
            b"TLS" => Self::Tls(r.parameters()?.bytes8()?.to_vec()),
            b"UNKNOWNCA" => Self::UnknownCa,
            b"FAILED" => Self::Failed,
            b"TIMEOUT" => Self::Timeout,
            b"SUBSCRIBE" => Self::Subscribe(r.parameters()?.bytes8()?.to_vec()),
            _ => return Err(DecodeError::Invalid("network error")),
        };
        r.finish()?;
        Ok(this)
    }
}

impl TransportError {
    /// Appends the text form.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Block => b"BLOCK",
            Self::Version => b"VERSION",
            Self::LargeMsg => b"LARGE_MSG",
            Self::Session => b"SESSION",
            Self::NoAuth => b"NO_AUTH",
            Self::Handshake(HandshakeError::Parse) => b"HANDSHAKE PARSE",
            Self::Handshake(HandshakeError::Identity) => b"HANDSHAKE IDENTITY",
            Self::Handshake(HandshakeError::BadAuth) => b"HANDSHAKE BAD_AUTH",
            Self::Handshake(HandshakeError::BadService) => b"HANDSHAKE BAD_SERVICE",
        });
    }

    /// Reads the text form.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.word() {
            b"BLOCK" => Self::Block,
            b"VERSION" => Self::Version,
            b"LARGE_MSG" => Self::LargeMsg,
            b"SESSION" => Self::Session,
            b"NO_AUTH" => Self::NoAuth,
            b"HANDSHAKE" => Self::Handshake(match r.parameters()?.word() {
                b"PARSE" => HandshakeError::Parse,
                b"IDENTITY" => HandshakeError::Identity,
                b"BAD_AUTH" => HandshakeError::BadAuth,
                b"BAD_SERVICE" => HandshakeError::BadService,
                _ => return Err(DecodeError::Invalid("handshake error")),
            }),
            _ => return Err(DecodeError::Invalid("transport error")),
        })
    }
}

impl BlockingInfo {
    /// Appends `reason=…[,notice={…}]`, the form of the wire, the control port and the store log.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.reason {
            BlockingReason::Spam => b"reason=spam",
            BlockingReason::Content => b"reason=content",
        });
        match self.notice {
            None => {}
            Some(ClientNotice { ttl: None }) => out.extend_from_slice(b",notice={}"),
            Some(ClientNotice { ttl: Some(ttl) }) => {
                out.extend_from_slice(format!(",notice={{\"ttl\":{ttl}}}").as_bytes());
            }
        }
    }

    /// Reads the form written by [`encode`](Self::encode).
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.literal(b"reason=", "blocking reason")?;
        let reason = if r.literal(b"spam", "").is_ok() {
            BlockingReason::Spam
        } else {
            r.literal(b"content", "blocking reason")?;
            BlockingReason::Content
        };
        let notice = if r.literal(b",notice=", "").is_ok() {
            Some(ClientNotice::from_json(r.tail())?)
        } else {
            None
        };
        Ok(Self { reason, notice })
    }
}

impl ClientNotice {
    /// Reads the JSON object: an optional integer `ttl`, other members ignored.
    fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
        #[derive(serde::Deserialize)]
        struct Notice {
            ttl: Option<i64>,
        }
        serde_json::from_slice::<Notice>(json)
            .map(|n| Self { ttl: n.ttl })
            .map_err(|_| DecodeError::Invalid("notice"))
    }
}
