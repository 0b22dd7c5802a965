//! The hellos before the first transmission (spec: protocol §5).
//!
//! Each message fills one plain block; bytes after what a version knows are ignored.

use super::encoding::{
    DecodeError, Reader, put_bool, put_bytes8, put_bytes16, put_dh_key, put_list, put_maybe,
};
use super::error::TransportError;
use super::version::{Version, VersionRange};
use crate::crypto::keys::X25519PublicKey;
use std::borrow::Cow;

/// A certificate chain, leaf first, and a session key signed with the leaf's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertChainKey<'a> {
    /// 1 to 255 DER certificates.
    pub chain: Vec<Cow<'a, [u8]>>,
    /// DER of the signed key (spec: protocol §1.3).
    pub signed_key: Cow<'a, [u8]>,
}

impl<'a> CertChainKey<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            chain: r.list(|r| r.bytes16().map(Cow::Borrowed))?,
            signed_key: Cow::Borrowed(r.bytes16()?),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.chain, |out, cert| put_bytes16(out, cert));
        put_bytes16(out, &self.signed_key);
    }
}

/// First message, server to client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// Versions offered.
    pub versions: VersionRange,
    /// The client Finished of the TLS handshake, 12, 32 or 48 bytes.
    pub session_id: Cow<'a, [u8]>,
    /// Present when a version from 7 is offered.
    pub key: Option<CertChainKey<'a>>,
}

impl<'a> ServerHello<'a> {
    /// Reads a hello; bytes after it are ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let versions = VersionRange::decode(&mut r)?;
        let session_id = Cow::Borrowed(r.bytes8()?);
        let key = if versions.max() >= Version::AUTH_COMMANDS {
            // A server without session key writes nothing here.
            let mut rest = r.clone();
            CertChainKey::decode(&mut rest).ok()
        } else {
            None
        };
        Ok(Self {
            versions,
            session_id,
            key,
        })
    }

    /// Appends the hello; the key is written only when the range reaches version 7.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.versions.encode(out);
        put_bytes8(out, &self.session_id);
        if let Some(key) = &self.key
            && self.versions.max() >= Version::AUTH_COMMANDS
        {
            key.encode(out);
        }
    }
}

/// Role of a service (spec: protocol §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceRole {
    /// Receives messages for many queues.
    Messaging,
    /// Sends push notifications.
    Notifier,
    /// Forwards commands.
    Proxy,
}

impl ServiceRole {
    /// The letter on the wire and in the store log.
    pub fn letter(self) -> u8 {
        match self {
            Self::Messaging => b'M',
            Self::Notifier => b'N',
            Self::Proxy => b'P',
        }
    }

    /// The role of a letter.
    pub fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'M' => Some(Self::Messaging),
            b'N' => Some(Self::Notifier),
            b'P' => Some(Self::Proxy),
            _ => None,
        }
    }
}

/// Credentials of a service client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientService<'a> {
    /// Claimed role.
    pub role: ServiceRole,
    /// The TLS client chain again, and an Ed25519 session key signed with its leaf.
    pub key: CertChainKey<'a>,
}

/// Second message, client to server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// Chosen version.
    pub version: Version,
    /// SHA-256 of the identity certificate the client expects.
    pub key_hash: &'a [u8],
    /// Client's session key; without it blocks are not encrypted.
    pub session_key: Option<X25519PublicKey>,
    /// Whether the client is a proxy (version 14); switches block encryption off.
    pub proxy: bool,
    /// Service credentials (version 16).
    pub service: Option<ClientService<'a>>,
}

impl<'a> ClientHello<'a> {
    /// Reads a hello; bytes after it are ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = Version(r.u16()?);
        let key_hash = r.bytes8()?;
        let mut this = Self {
            version,
            key_hash,
            session_key: None,
            proxy: false,
            service: None,
        };
        if version >= Version::AUTH_COMMANDS {
            // The key has no presence marker: what does not parse as a key is the next field.
            let mut attempt = r.clone();
            if let Ok(key) = attempt.dh_key() {
                this.session_key = Some(key);
                r = attempt;
            }
        }
        if version >= Version::PROXY_FLAG {
            this.proxy = r.bool()?;
        }
        if version >= Version::SERVICES {
            this.service = r.maybe(|r| {
                let role = ServiceRole::from_letter(r.u8()?)
                    .ok_or(DecodeError::Invalid("service role"))?;
                Ok(ClientService {
                    role,
                    key: CertChainKey::decode(r)?,
                })
            })?;
        }
        Ok(this)
    }

    /// Appends the hello with the fields its version has.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.0.to_be_bytes());
        put_bytes8(out, self.key_hash);
        if let Some(key) = &self.session_key
            && self.version >= Version::AUTH_COMMANDS
        {
            put_dh_key(out, key);
        }
        if self.version >= Version::PROXY_FLAG {
            put_bool(out, self.proxy);
        }
        if self.version >= Version::SERVICES {
            put_maybe(out, self.service.as_ref(), |out, service| {
                out.push(service.role.letter());
                service.key.encode(out);
            });
        }
    }

    /// Whether blocks after the handshake are encrypted, given that the server sent its key
    /// (spec: protocol §4.3).
    pub fn encrypts_blocks(&self) -> bool {
        self.version >= Version::ENCRYPTED_BLOCKS && !self.proxy && self.session_key.is_some()
    }
}

/// Third message, only to a client with service credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceResponse<'a> {
    /// Accepted; the id is stable for the certificate.
    Accepted(Cow<'a, [u8]>),
    /// Refused; the server closes.
    Refused(TransportError),
}

impl<'a> ServiceResponse<'a> {
    /// Reads a response; bytes after it are ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        match r.u8()? {
            b'R' => Ok(Self::Accepted(Cow::Borrowed(r.bytes8()?))),
            b'E' => Ok(Self::Refused(TransportError::decode(&mut r)?)),
            _ => Err(DecodeError::Invalid("service response")),
        }
    }

    /// Appends the response.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted(id) => {
                out.push(b'R');
                put_bytes8(out, id);
            }
            Self::Refused(e) => {
                out.push(b'E');
                e.encode(out);
            }
        }
    }
}
