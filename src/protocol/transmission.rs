//! One command or response with its ids and authorization (spec: protocol §6.2).

use super::encoding::{DecodeError, Reader, put_bytes8};
use super::version::Version;
use crate::crypto::keys::ED25519_SIGNATURE_LEN;

/// A transmission split into its parts, nothing verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission<'a> {
    /// Authorization bytes; empty, a signature or an authenticator.
    pub authorization: &'a [u8],
    /// Signature by a service's session key (version 16).
    pub service_signature: Option<&'a [u8; ED25519_SIGNATURE_LEN]>,
    /// Session id, only sent in version 6.
    pub session_id: Option<&'a [u8]>,
    /// Correlation id, 0 to 255 bytes.
    pub corr_id: &'a [u8],
    /// Queue, link, service or relay session; may be empty.
    pub entity_id: &'a [u8],
    /// Command or response bytes.
    pub command: &'a [u8],
    /// Everything after the authorization: what is authorised, in version 6 including the
    /// session id, later without it.
    pub sent: &'a [u8],
}

impl<'a> Transmission<'a> {
    /// Splits the bytes of one transmission of a session of `version`.
    pub fn decode(bytes: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let authorization = r.bytes8()?;
        let service_signature = if version >= Version::SERVICES && !authorization.is_empty() {
            r.maybe(|r| {
                r.bytes8()?
                    .try_into()
                    .map_err(|_| DecodeError::Invalid("service signature"))
            })?
        } else {
            None
        };
        let sent = r.rest();
        let session_id = if version < Version::AUTH_COMMANDS {
            Some(r.bytes8()?)
        } else {
            None
        };
        let (corr_id, entity_id) = (r.bytes8()?, r.bytes8()?);
        Ok(Self {
            authorization,
            service_signature,
            session_id,
            corr_id,
            entity_id,
            command: r.tail(),
            sent,
        })
    }
}

/// Appends the part that is authorised: ids and command, in version 6 after the session id.
///
/// `command` appends the command itself, so that a body is copied once.
pub fn put_sent(
    out: &mut Vec<u8>,
    version: Version,
    session_id: &[u8],
    corr_id: &[u8],
    entity_id: &[u8],
    command: impl FnOnce(&mut Vec<u8>),
) {
    if version < Version::AUTH_COMMANDS {
        put_bytes8(out, session_id);
    }
    put_bytes8(out, corr_id);
    put_bytes8(out, entity_id);
    command(out);
}

/// Appends a transmission from an authorised part made by [`put_sent`].
pub fn put_transmission(
    out: &mut Vec<u8>,
    version: Version,
    authorization: &[u8],
    service_signature: Option<&[u8; ED25519_SIGNATURE_LEN]>,
    sent: &[u8],
) {
    put_bytes8(out, authorization);
    if version >= Version::SERVICES && !authorization.is_empty() {
        super::encoding::put_maybe(out, service_signature, |out, s| put_bytes8(out, s));
    }
    out.extend_from_slice(sent);
}

/// Appends what precedes the authorised part of a server's transmission: no authorization.
pub fn put_transmission_head(out: &mut Vec<u8>) {
    out.push(0);
}
