//! What servers send (spec: protocol §10).

use super::command::{LinkData, ServiceQueues};
use super::encoding::{DecodeError, Reader, put_bool, put_bytes8, put_dh_key, put_maybe};
use super::error::ErrorType;
use super::handshake::CertChainKey;
use super::version::{Version, VersionRange};
use crate::crypto::keys::X25519PublicKey;
use std::borrow::Cow;

/// Bytes that a decoder borrows and a server owns.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// In `MSG`, in every version (spec: protocol §12).
pub use crate::crypto::message::BOXED_BODY_LEN as BOXED_MESSAGE_LEN;

const _: () = assert!(BOXED_MESSAGE_LEN == 16122);

/// A response or an unsolicited message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response<'a> {
    /// A queue was created.
    Ids(Box<QueueIds<'a>>),
    /// Data behind a short link.
    Lnk(Box<LinkAnswer<'a>>),
    /// Subscribed; sent as `OK` before version 16.
    Sok(Option<Bytes<'a>>),
    /// Subscribed to a service's queues.
    Soks(ServiceQueues),
    /// A message.
    Msg {
        /// Message id, also the nonce of the box.
        msg_id: Bytes<'a>,
        /// Boxed body, [`BOXED_MESSAGE_LEN`] bytes.
        boxed: Bytes<'a>,
    },
    /// Notifications are enabled.
    Nid {
        /// Notifier id.
        notifier_id: Bytes<'a>,
        /// Server's key for notification metadata.
        dh_key: X25519PublicKey,
    },
    /// A notification.
    NMsg {
        /// Nonce of the box.
        nonce: [u8; 24],
        /// Boxed metadata, 144 bytes.
        boxed: Bytes<'a>,
    },
    /// A session with a relay, of a proxy.
    Pkey(Box<RelaySession<'a>>),
    /// A relay's answer, forwarded by a proxy.
    Pres(Bytes<'a>),
    /// Answer to a proxy.
    Rres(Bytes<'a>),
    /// The subscription ended: another connection subscribed.
    End,
    /// The service subscription ended.
    Ends(ServiceQueues),
    /// The queue or notifier was deleted; sent as `END` before version 10.
    Deld,
    /// All messages waiting in a service's queues were sent (version 19).
    Alls,
    /// Description of a queue, JSON.
    Info(Bytes<'a>),
    /// Done.
    Ok,
    /// Refused or failed.
    Err(ErrorType),
    /// Alive.
    Pong,
    /// A resolved name, JSON (version 20).
    Rname(Bytes<'a>),
}

/// Parameters of `IDS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueIds<'a> {
    /// Recipient id.
    pub recipient_id: Bytes<'a>,
    /// Sender id.
    pub sender_id: Bytes<'a>,
    /// Server's key for message bodies.
    pub dh_key: X25519PublicKey,
    /// Mode; versions 9 to 14 only tell messaging from others.
    pub mode: Option<QueueMode>,
    /// Link id.
    pub link_id: Option<Bytes<'a>>,
    /// Service the queue belongs to.
    pub service_id: Option<Bytes<'a>>,
    /// Notifier id and the server's key for notification metadata.
    pub notifier: Option<(Bytes<'a>, X25519PublicKey)>,
}

/// How a queue is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueMode {
    /// One sender, who secures the queue.
    Messaging,
    /// Many senders.
    Contact,
}

/// Parameters of `LNK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkAnswer<'a> {
    /// Sender id of the queue.
    pub sender_id: Bytes<'a>,
    /// Immutable data.
    pub fixed: Bytes<'a>,
    /// Replaceable data.
    pub user: Bytes<'a>,
}

/// Parameters of `PKEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySession<'a> {
    /// Session id of the connection between proxy and relay.
    pub session_id: Bytes<'a>,
    /// Versions a client may forward.
    pub versions: VersionRange,
    /// The relay's certificates and signed session key, as in its hello.
    pub key: CertChainKey<'a>,
}

impl QueueMode {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8()? {
            b'M' => Ok(Self::Messaging),
            b'C' => Ok(Self::Contact),
            _ => Err(DecodeError::Invalid("queue mode")),
        }
    }

    /// The letter on the wire and in the store log.
    pub fn letter(self) -> u8 {
        match self {
            Self::Messaging => b'M',
            Self::Contact => b'C',
        }
    }
}

fn borrowed<'a>(bytes: &'a [u8]) -> Bytes<'a> {
    Cow::Borrowed(bytes)
}

impl<'a> QueueIds<'a> {
    fn decode(r: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut this = Self {
            recipient_id: borrowed(r.bytes8()?),
            sender_id: borrowed(r.bytes8()?),
            dh_key: r.dh_key()?,
            mode: None,
            link_id: None,
            service_id: None,
            notifier: None,
        };
        if version >= Version::SHORT_LINKS {
            this.mode = r.maybe(QueueMode::decode)?;
            this.link_id = r.maybe(Reader::bytes8)?.map(borrowed);
        } else if version >= Version::SENDER_KEY {
            this.mode = Some(if r.bool()? {
                QueueMode::Messaging
            } else {
                QueueMode::Contact
            });
        }
        if version >= Version::SERVICES {
            this.service_id = r.maybe(Reader::bytes8)?.map(borrowed);
        }
        if version >= Version::NEW_NTF_CREDENTIALS {
            this.notifier = r.maybe(|r| Ok((borrowed(r.bytes8()?), r.dh_key()?)))?;
        }
        Ok(this)
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_bytes8(out, &self.recipient_id);
        put_bytes8(out, &self.sender_id);
        put_dh_key(out, &self.dh_key);
        if version >= Version::SHORT_LINKS {
            put_maybe(out, self.mode, |out, m| out.push(m.letter()));
            put_maybe(out, self.link_id.as_deref(), put_bytes8);
        } else if version >= Version::SENDER_KEY {
            put_bool(out, self.mode == Some(QueueMode::Messaging));
        }
        if version >= Version::SERVICES {
            put_maybe(out, self.service_id.as_deref(), put_bytes8);
        }
        if version >= Version::NEW_NTF_CREDENTIALS {
            put_maybe(out, self.notifier.as_ref(), |out, (id, key)| {
                put_bytes8(out, id);
                put_dh_key(out, key);
            });
        }
    }
}

impl<'a> Response<'a> {
    /// Parses a response of a session of `version`.
    ///
    /// Where an older version spells a response differently the spelling is returned as it stands:
    /// `OK` for a subscription before version 16, `END` for a deletion before version 10.
    pub fn decode(bytes: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let this = match r.word() {
            b"OK" => Self::Ok,
            b"MSG" => Self::Msg {
                msg_id: borrowed(r.parameters()?.bytes8()?),
                boxed: borrowed(r.tail()),
            },
            b"SOK" => Self::Sok(r.parameters()?.maybe(Reader::bytes8)?.map(borrowed)),
            b"ERR" => Self::Err(ErrorType::decode(r.parameters()?)?),
            b"IDS" => Self::Ids(Box::new(QueueIds::decode(r.parameters()?, version)?)),
            b"LNK" => {
                let sender_id = borrowed(r.parameters()?.bytes8()?);
                let data = LinkData::decode(&mut r)?;
                Self::Lnk(Box::new(LinkAnswer {
                    sender_id,
                    fixed: borrowed(data.fixed),
                    user: borrowed(data.user),
                }))
            }
            b"SOKS" => Self::Soks(decode_counts(r.parameters()?, version)?),
            b"ENDS" => Self::Ends(decode_counts(r.parameters()?, version)?),
            b"NID" => Self::Nid {
                notifier_id: borrowed(r.parameters()?.bytes8()?),
                dh_key: r.dh_key()?,
            },
            b"NMSG" => Self::NMsg {
                nonce: *r.parameters()?.array()?,
                boxed: borrowed(r.bytes8()?),
            },
            b"PKEY" => Self::Pkey(Box::new(RelaySession {
                session_id: borrowed(r.parameters()?.bytes8()?),
                versions: VersionRange::decode(&mut r)?,
                key: CertChainKey::decode(&mut r)?,
            })),
            b"PRES" => Self::Pres(borrowed(r.parameters()?.tail())),
            b"RRES" => Self::Rres(borrowed(r.parameters()?.tail())),
            b"END" => Self::End,
            b"DELD" => Self::Deld,
            b"ALLS" => Self::Alls,
            b"INFO" => Self::Info(borrowed(r.parameters()?.tail())),
            b"PONG" => Self::Pong,
            b"RNAME" => Self::Rname(borrowed(r.parameters()?.tail())),
            _ => return Err(DecodeError::Invalid("response")),
        };
        r.finish()?;
        Ok(this)
    }

    /// Appends the form of `version`.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Ok => out.extend_from_slice(b"OK"),
            Self::Msg { msg_id, boxed } => {
                out.extend_from_slice(b"MSG ");
                put_bytes8(out, msg_id);
                out.extend_from_slice(boxed);
            }
            Self::Sok(_) if version < Version::SERVICES => out.extend_from_slice(b"OK"),
            Self::Sok(service_id) => {
                out.extend_from_slice(b"SOK ");
                put_maybe(out, service_id.as_deref(), put_bytes8);
            }
            Self::Err(e) => {
                out.extend_from_slice(b"ERR ");
                e.encode(version, out);
            }
            Self::Ids(ids) => {
                out.extend_from_slice(b"IDS ");
                ids.encode(version, out);
            }
            Self::Lnk(link) => {
                out.extend_from_slice(b"LNK ");
                put_bytes8(out, &link.sender_id);
                LinkData {
                    fixed: &link.fixed,
                    user: &link.user,
                }
                .encode(out);
            }
            Self::Soks(counts) => {
                out.extend_from_slice(b"SOKS ");
                encode_counts(counts, version, out);
            }
            Self::Ends(counts) => {
                out.extend_from_slice(b"ENDS ");
                encode_counts(counts, version, out);
            }
            Self::Nid {
                notifier_id,
                dh_key,
            } => {
                out.extend_from_slice(b"NID ");
                put_bytes8(out, notifier_id);
                put_dh_key(out, dh_key);
            }
            Self::NMsg { nonce, boxed } => {
                out.extend_from_slice(b"NMSG ");
                out.extend_from_slice(nonce);
                put_bytes8(out, boxed);
            }
            Self::Pkey(session) => {
                out.extend_from_slice(b"PKEY ");
                put_bytes8(out, &session.session_id);
                session.versions.encode(out);
                session.key.encode(out);
            }
            Self::Pres(bytes) => {
                out.extend_from_slice(b"PRES ");
                out.extend_from_slice(bytes);
            }
            Self::Rres(bytes) => {
                out.extend_from_slice(b"RRES ");
                out.extend_from_slice(bytes);
            }
            Self::Deld if version < Version::DELETED_EVENT => out.extend_from_slice(b"END"),
            Self::End => out.extend_from_slice(b"END"),
            Self::Deld => out.extend_from_slice(b"DELD"),
            Self::Alls => out.extend_from_slice(b"ALLS"),
            Self::Info(json) => {
                out.extend_from_slice(b"INFO ");
                out.extend_from_slice(json);
            }
            Self::Pong => out.extend_from_slice(b"PONG"),
            Self::Rname(json) => {
                out.extend_from_slice(b"RNAME ");
                out.extend_from_slice(json);
            }
        }
    }
}

fn decode_counts(r: &mut Reader<'_>, version: Version) -> Result<ServiceQueues, DecodeError> {
    if version >= Version::RECEIVING_SERVICES {
        ServiceQueues::decode(r)
    } else {
        Ok(ServiceQueues {
            count: r.i64()?,
            ids_hash: [0; 16],
        })
    }
}

fn encode_counts(counts: &ServiceQueues, version: Version, out: &mut Vec<u8>) {
    if version >= Version::RECEIVING_SERVICES {
        counts.encode(out);
    } else {
        out.extend_from_slice(&counts.count.to_be_bytes());
    }
}
