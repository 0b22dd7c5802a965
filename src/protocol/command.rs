//! What clients send (spec: protocol §9).

use super::address::{ServerAddress, is_valid_wire_password};
use super::encoding::{
    DecodeError, Reader, put_auth_key, put_bool, put_bytes8, put_bytes16, put_dh_key, put_list,
    put_maybe,
};
use super::error::CommandError;
use super::version::Version;
use crate::crypto::keys::{PublicAuthKey, X25519PublicKey};

/// A command with its parameters; bodies borrow from the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// Create a queue.
    New(NewQueue<'a>),
    /// Subscribe to a queue's messages.
    Sub,
    /// Subscribe to all queues of a receiving service.
    Subs(ServiceQueues),
    /// Secure a queue for a sender, by its recipient.
    Key(PublicAuthKey),
    /// Replace the recipient keys, 1 to 255.
    RKey(Vec<PublicAuthKey>),
    /// Set a queue's link data.
    LSet {
        /// Link id.
        link_id: &'a [u8],
        /// Data.
        data: LinkData<'a>,
    },
    /// Delete a queue's link data.
    LDel,
    /// Enable notifications.
    NKey(NotifierCredentials),
    /// Disable notifications.
    NDel,
    /// Get one message without subscribing.
    Get,
    /// Acknowledge a message.
    Ack {
        /// Id of the delivered message; empty matches any and deletes none.
        msg_id: &'a [u8],
    },
    /// Suspend a queue.
    Off,
    /// Delete a queue.
    Del,
    /// Describe a queue.
    Que,
    /// Secure a queue by its sender.
    SKey(PublicAuthKey),
    /// Send a message.
    Send {
        /// Whether the recipient wants to be notified.
        notify: bool,
        /// Message body, opaque.
        body: &'a [u8],
    },
    /// Keep the connection alive.
    Ping,
    /// Secure a queue by its link and read the link data.
    LKey(PublicAuthKey),
    /// Read contact link data.
    LGet,
    /// Subscribe to a queue's notifications.
    NSub,
    /// Subscribe to all notifications of a service.
    NSubs(ServiceQueues),
    /// Ask a proxy for a session with a relay.
    Prxy {
        /// The relay.
        server: ServerAddress,
        /// The proxy's password.
        password: Option<&'a [u8]>,
    },
    /// Ask a proxy to forward a transmission.
    Pfwd {
        /// Version of the forwarded transmission; not checked by the proxy.
        version: Version,
        /// Client's key for this command.
        key: X25519PublicKey,
        /// Encrypted transmission.
        encrypted: &'a [u8],
    },
    /// A transmission forwarded by a proxy.
    Rfwd {
        /// Encrypted transmission.
        encrypted: &'a [u8],
    },
    /// Resolve a name (version 20).
    Rslv {
        /// Domain name, lower case.
        domain: String,
    },
}

/// What a service client expects to be subscribed to; absent before version 19.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceQueues {
    /// Number of queues, −1 when unknown.
    pub count: i64,
    /// XOR of the MD5 sums of the queue ids.
    pub ids_hash: [u8; 16],
}

impl ServiceQueues {
    /// What a client older than version 19 is taken to say.
    pub const UNKNOWN: Self = Self {
        count: -1,
        ids_hash: [0; 16],
    };
}

/// Parameters of `NEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQueue<'a> {
    /// Key of the recipient, which authorises this command too.
    pub auth_key: PublicAuthKey,
    /// Recipient's key for message bodies.
    pub dh_key: X25519PublicKey,
    /// Password for creating queues.
    pub password: Option<&'a [u8]>,
    /// Whether the creating connection subscribes.
    pub subscribe: bool,
    /// Mode and link data; `None` is a queue no sender can secure.
    pub queue: Option<QueueRequest<'a>>,
    /// Notifier credentials (version 17).
    pub notifier: Option<NotifierCredentials>,
}

/// How a queue is used, with its link data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRequest<'a> {
    /// One sender, who secures the queue.
    Messaging(Option<MessagingLink<'a>>),
    /// Many senders.
    Contact(Option<ContactLink<'a>>),
}

/// Link of a messaging queue: the server chooses the link id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagingLink<'a> {
    /// Sender id chosen by the client.
    pub sender_id: &'a [u8],
    /// Data.
    pub data: LinkData<'a>,
}

/// Link of a contact queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactLink<'a> {
    /// Link id chosen by the client.
    pub link_id: &'a [u8],
    /// Sender id chosen by the client.
    pub sender_id: &'a [u8],
    /// Data.
    pub data: LinkData<'a>,
}

/// Data behind a short link, opaque to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkData<'a> {
    /// Immutable part.
    pub fixed: &'a [u8],
    /// Replaceable part.
    pub user: &'a [u8],
}

/// Keys of a queue's notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierCredentials {
    /// Key of the notifier.
    pub auth_key: PublicAuthKey,
    /// Recipient's key for notification metadata.
    pub dh_key: X25519PublicKey,
}

impl<'a> LinkData<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            fixed: r.bytes16()?,
            user: r.bytes16()?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes16(out, self.fixed);
        put_bytes16(out, self.user);
    }
}

impl NotifierCredentials {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            auth_key: r.auth_key()?,
            dh_key: r.dh_key()?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_auth_key(out, &self.auth_key);
        put_dh_key(out, &self.dh_key);
    }
}

fn decode_password<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let password = r.bytes8()?;
    if is_valid_wire_password(password) {
        Ok(password)
    } else {
        Err(DecodeError::Invalid("password"))
    }
}

impl<'a> NewQueue<'a> {
    fn decode(r: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (auth_key, dh_key) = (r.auth_key()?, r.dh_key()?);
        let mut this = Self {
            auth_key,
            dh_key,
            password: None,
            subscribe: false,
            queue: None,
            notifier: None,
        };
        if version < Version::SENDER_KEY {
            if r.rest().first() == Some(&b'A') {
                r.u8()?;
                this.password = Some(decode_password(r)?);
            }
        } else {
            this.password = r.maybe(decode_password)?;
        }
        this.subscribe = match r.u8()? {
            b'S' => true,
            b'C' => false,
            _ => return Err(DecodeError::Invalid("subscription mode")),
        };
        if version >= Version::SHORT_LINKS {
            this.queue = r.maybe(QueueRequest::decode)?;
        } else if version >= Version::SENDER_KEY {
            this.queue = Some(if r.bool()? {
                QueueRequest::Messaging(None)
            } else {
                QueueRequest::Contact(None)
            });
        }
        if version >= Version::NEW_NTF_CREDENTIALS {
            this.notifier = r.maybe(NotifierCredentials::decode)?;
        }
        Ok(this)
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_auth_key(out, &self.auth_key);
        put_dh_key(out, &self.dh_key);
        if version < Version::SENDER_KEY {
            if let Some(password) = self.password {
                out.push(b'A');
                put_bytes8(out, password);
            }
        } else {
            put_maybe(out, self.password, put_bytes8);
        }
        out.push(if self.subscribe { b'S' } else { b'C' });
        if version >= Version::SHORT_LINKS {
            put_maybe(out, self.queue.as_ref(), |out, q| q.encode(out));
        } else if version >= Version::SENDER_KEY {
            put_bool(out, matches!(self.queue, Some(QueueRequest::Messaging(_))));
        }
        if version >= Version::NEW_NTF_CREDENTIALS {
            put_maybe(out, self.notifier.as_ref(), |out, n| n.encode(out));
        }
    }
}

impl<'a> QueueRequest<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match r.u8()? {
            b'M' => Ok(Self::Messaging(r.maybe(|r| {
                Ok(MessagingLink {
                    sender_id: r.bytes8()?,
                    data: LinkData::decode(r)?,
                })
            })?)),
            b'C' => Ok(Self::Contact(r.maybe(|r| {
                Ok(ContactLink {
                    link_id: r.bytes8()?,
                    sender_id: r.bytes8()?,
                    data: LinkData::decode(r)?,
                })
            })?)),
            _ => Err(DecodeError::Invalid("queue mode")),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Messaging(link) => {
                out.push(b'M');
                put_maybe(out, link.as_ref(), |out, l| {
                    put_bytes8(out, l.sender_id);
                    l.data.encode(out);
                });
            }
            Self::Contact(link) => {
                out.push(b'C');
                put_maybe(out, link.as_ref(), |out, l| {
                    put_bytes8(out, l.link_id);
                    put_bytes8(out, l.sender_id);
                    l.data.encode(out);
                });
            }
        }
    }
}

impl ServiceQueues {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = r.i64()?;
        let ids_hash = r
            .bytes8()?
            .try_into()
            .map_err(|_| DecodeError::Invalid("queue ids hash"))?;
        Ok(Self { count, ids_hash })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_be_bytes());
        put_bytes8(out, &self.ids_hash);
    }
}

impl<'a> Command<'a> {
    /// Parses a command of a session of `version`.
    ///
    /// Fails with [`CommandError::Unknown`] when the tag is no command and with
    /// [`CommandError::Syntax`] when the parameters do not parse or leave bytes over. Every known
    /// tag parses at every version: versions change layouts, not vocabularies.
    pub fn decode(bytes: &'a [u8], version: Version) -> Result<Self, CommandError> {
        let tag_len = bytes.iter().position(|&b| b == b' ').unwrap_or(bytes.len());
        let (tag, rest) = bytes.split_at(tag_len);
        // Bare commands allow nothing after the tag, not even the space.
        let bare = |command: Self| match rest {
            [] => Ok(command),
            _ => Err(CommandError::Syntax),
        };
        let with = |parse: &dyn Fn(&mut Reader<'a>) -> Result<Self, DecodeError>| {
            let [b' ', parameters @ ..] = rest else {
                return Err(CommandError::Syntax);
            };
            let mut r = Reader::new(parameters);
            let command = parse(&mut r).map_err(|_| CommandError::Syntax)?;
            r.finish().map_err(|_| CommandError::Syntax)?;
            Ok(command)
        };
        let services = |wrap: fn(ServiceQueues) -> Self| {
            if version >= Version::RECEIVING_SERVICES {
                with(&|r| ServiceQueues::decode(r).map(wrap))
            } else {
                bare(wrap(ServiceQueues::UNKNOWN))
            }
        };
        match tag {
            b"SEND" => with(&|r| {
                let notify = r.bool()?;
                // Flags end at the first space; what follows the first flag is reserved.
                r.word();
                r.parameters()?;
                Ok(Self::Send {
                    notify,
                    body: r.tail(),
                })
            }),
            b"ACK" => with(&|r| {
                Ok(Self::Ack {
                    msg_id: r.bytes8()?,
                })
            }),
            b"SUB" => bare(Self::Sub),
            b"NEW" => with(&|r| NewQueue::decode(r, version).map(Self::New)),
            b"PING" => bare(Self::Ping),
            b"GET" => bare(Self::Get),
            b"KEY" => with(&|r| r.auth_key().map(Self::Key)),
            b"SKEY" => with(&|r| r.auth_key().map(Self::SKey)),
            b"RKEY" => with(&|r| r.list(Reader::auth_key).map(Self::RKey)),
            b"LSET" => with(&|r| {
                Ok(Self::LSet {
                    link_id: r.bytes8()?,
                    data: LinkData::decode(r)?,
                })
            }),
            b"LDEL" => bare(Self::LDel),
            b"LKEY" => with(&|r| r.auth_key().map(Self::LKey)),
            b"LGET" => bare(Self::LGet),
            b"NKEY" => with(&|r| NotifierCredentials::decode(r).map(Self::NKey)),
            b"NDEL" => bare(Self::NDel),
            b"NSUB" => bare(Self::NSub),
            b"NSUBS" => services(Self::NSubs),
            b"SUBS" => services(Self::Subs),
            b"OFF" => bare(Self::Off),
            b"DEL" => bare(Self::Del),
            b"QUE" => bare(Self::Que),
            b"PRXY" => with(&|r| {
                let server = ServerAddress::decode(r)?;
                let password = r.maybe(decode_password)?;
                Ok(Self::Prxy { server, password })
            }),
            b"PFWD" => with(&|r| {
                let (version, key) = (Version(r.u16()?), r.dh_key()?);
                Ok(Self::Pfwd {
                    version,
                    key,
                    encrypted: r.tail(),
                })
            }),
            b"RFWD" => with(&|r| {
                Ok(Self::Rfwd {
                    encrypted: r.tail(),
                })
            }),
            b"RSLV" if version >= Version::NEWEST_KNOWN => {
                with(&|r| decode_domain(r).map(|domain| Self::Rslv { domain }))
            }
            _ => Err(CommandError::Unknown),
        }
    }

    /// Appends the form of `version`.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tag().as_bytes());
        let has_parameters = match self {
            Self::Subs(_) | Self::NSubs(_) => version >= Version::RECEIVING_SERVICES,
            Self::Sub
            | Self::LDel
            | Self::NDel
            | Self::Get
            | Self::Off
            | Self::Del
            | Self::Que
            | Self::Ping
            | Self::LGet
            | Self::NSub => false,
            _ => true,
        };
        if !has_parameters {
            return;
        }
        out.push(b' ');
        match self {
            Self::New(new) => new.encode(version, out),
            Self::Subs(queues) | Self::NSubs(queues) => queues.encode(out),
            Self::Key(key) | Self::SKey(key) | Self::LKey(key) => put_auth_key(out, key),
            Self::RKey(keys) => put_list(out, keys, put_auth_key),
            Self::LSet { link_id, data } => {
                put_bytes8(out, link_id);
                data.encode(out);
            }
            Self::NKey(credentials) => credentials.encode(out),
            Self::Ack { msg_id } => put_bytes8(out, msg_id),
            Self::Send { notify, body } => {
                put_bool(out, *notify);
                out.push(b' ');
                out.extend_from_slice(body);
            }
            Self::Prxy { server, password } => {
                server.encode(out);
                put_maybe(out, *password, put_bytes8);
            }
            Self::Pfwd {
                version,
                key,
                encrypted,
            } => {
                out.extend_from_slice(&version.0.to_be_bytes());
                put_dh_key(out, key);
                out.extend_from_slice(encrypted);
            }
            Self::Rfwd { encrypted } => out.extend_from_slice(encrypted),
            Self::Rslv { domain } => out.extend_from_slice(domain.as_bytes()),
            _ => {}
        }
    }

    /// The command's name on the wire.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::New(_) => "NEW",
            Self::Sub => "SUB",
            Self::Subs(_) => "SUBS",
            Self::Key(_) => "KEY",
            Self::RKey(_) => "RKEY",
            Self::LSet { .. } => "LSET",
            Self::LDel => "LDEL",
            Self::NKey(_) => "NKEY",
            Self::NDel => "NDEL",
            Self::Get => "GET",
            Self::Ack { .. } => "ACK",
            Self::Off => "OFF",
            Self::Del => "DEL",
            Self::Que => "QUE",
            Self::SKey(_) => "SKEY",
            Self::Send { .. } => "SEND",
            Self::Ping => "PING",
            Self::LKey(_) => "LKEY",
            Self::LGet => "LGET",
            Self::NSub => "NSUB",
            Self::NSubs(_) => "NSUBS",
            Self::Prxy { .. } => "PRXY",
            Self::Pfwd { .. } => "PFWD",
            Self::Rfwd { .. } => "RFWD",
            Self::Rslv { .. } => "RSLV",
        }
    }

    /// Checks that authorization and entity id are present or absent as this command requires
    /// (spec: protocol §9.1).
    pub fn check_credentials(&self, has_auth: bool, has_entity: bool) -> Result<(), CommandError> {
        match self {
            Self::New(_) if !has_auth => Err(CommandError::NoAuth),
            Self::New(_) if has_entity => Err(CommandError::HasAuth),
            Self::New(_) => Ok(()),
            Self::Send { .. } if !has_entity => Err(CommandError::NoEntity),
            Self::Send { .. } => Ok(()),
            Self::LGet | Self::Pfwd { .. } if !has_entity => Err(CommandError::NoEntity),
            Self::LGet | Self::Pfwd { .. } if has_auth => Err(CommandError::HasAuth),
            Self::LGet | Self::Pfwd { .. } => Ok(()),
            Self::Ping | Self::Prxy { .. } | Self::Rfwd { .. } | Self::Rslv { .. } => {
                if has_auth || has_entity {
                    Err(CommandError::HasAuth)
                } else {
                    Ok(())
                }
            }
            _ if !has_auth || !has_entity => Err(CommandError::NoAuth),
            _ => Ok(()),
        }
    }
}

/// Reads a domain of at least two labels of letters and digits joined by single hyphens, at most
/// 253 bytes; what follows the first blank is ignored (spec: protocol §20.2).
fn decode_domain(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    const BAD: DecodeError = DecodeError::Invalid("domain name");
    let text = r.tail();
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    let name = str::from_utf8(&text[..end]).map_err(|_| BAD)?;
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .split('-')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    if name.len() > 253 || !name.contains('.') || !name.split('.').all(label_ok) {
        return Err(BAD);
    }
    Ok(name.to_ascii_lowercase())
}
