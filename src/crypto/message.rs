//! Boxes made by the server for recipients and notification services
//! (spec: protocol §12, §13).

use thiserror::Error;

use super::pad::{LEN_SIZE, pad_into};
use super::smp_box::{BoxError, BoxKey, Nonce, TAG_LEN};

/// Bytes of a message ID, which is also the nonce of the message's box.
pub const MESSAGE_ID_LEN: usize = 24;
/// Bytes to which a message body is padded.
pub const PADDED_BODY_LEN: usize = 16106;
/// Bytes of a boxed message body, whatever the message.
pub const BOXED_BODY_LEN: usize = TAG_LEN + PADDED_BODY_LEN;
/// Longest body that fits: what is left by the length, the timestamp, the flag and a space.
pub const MAX_BODY_LEN: usize = PADDED_BODY_LEN - LEN_SIZE - 8 - 2;
/// Bytes to which notification metadata is padded.
pub const PADDED_META_LEN: usize = 128;
/// Bytes of boxed notification metadata.
pub const BOXED_META_LEN: usize = TAG_LEN + PADDED_META_LEN;

const QUOTA_PREFIX: &[u8] = b"QUOTA ";

/// Why a message was not encrypted or decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The box does not open, or the body does not fit.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// The opened bytes are not of the expected form.
    #[error("malformed message content")]
    Malformed,
}

/// Appends the boxed body of a message: 16122 bytes (nothing on error). `timestamp` is the time of
/// receipt in seconds since the Unix epoch, `notify` the sender's notification flag.
pub fn encrypt_message(
    key: &BoxKey,
    msg_id: &[u8; MESSAGE_ID_LEN],
    timestamp: i64,
    notify: bool,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BoxError> {
    let flag = if notify { b"T " } else { b"F " };
    let parts: [&[u8]; 3] = [&timestamp.to_be_bytes(), flag, body];
    key.append_padded(msg_id, &parts, PADDED_BODY_LEN, out)
}

/// Appends the boxed marker that the queue was full: 16122 bytes (nothing on error).
pub fn encrypt_quota(
    key: &BoxKey,
    msg_id: &[u8; MESSAGE_ID_LEN],
    timestamp: i64,
    out: &mut Vec<u8>,
) -> Result<(), BoxError> {
    let parts: [&[u8]; 2] = [QUOTA_PREFIX, &timestamp.to_be_bytes()];
    key.append_padded(msg_id, &parts, PADDED_BODY_LEN, out)
}

/// What a recipient finds in a boxed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedBody<'a> {
    /// A message as its sender sent it.
    Message {
        /// Time of receipt by the server, in seconds since the Unix epoch.
        timestamp: i64,
        /// The sender's notification flag.
        notify: bool,
        /// The body.
        body: &'a [u8],
    },
    /// A marker that messages were refused from here on because the queue was full.
    Quota {
        /// Time of the refusal, in seconds since the Unix epoch.
        timestamp: i64,
    },
}

fn split_timestamp(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*head), rest))
}

impl<'a> ReceivedBody<'a> {
    /// Parses the content of an opened and unpadded body.
    pub fn parse(content: &'a [u8]) -> Result<Self, MessageError> {
        Self::parse_optional(content).ok_or(MessageError::Malformed)
    }

    fn parse_optional(content: &'a [u8]) -> Option<Self> {
        if let Some(rest) = content.strip_prefix(QUOTA_PREFIX) {
            return match split_timestamp(rest)? {
                (timestamp, []) => Some(Self::Quota { timestamp }),
                _ => None,
            };
        }
        let (timestamp, flags) = split_timestamp(content)?;
        let notify = match flags.first()? {
            b'T' => true,
            b'F' => false,
            _ => return None,
        };
        // Flags of later versions may follow the first, up to the space.
        let space = flags.iter().position(|&b| b == b' ')?;
        Some(Self::Message {
            timestamp,
            notify,
            body: flags.get(space + 1..)?,
        })
    }
}

/// Decrypts a boxed body in place and parses it.
pub fn decrypt_message<'a>(
    key: &BoxKey,
    msg_id: &[u8; MESSAGE_ID_LEN],
    boxed: &'a mut [u8],
) -> Result<ReceivedBody<'a>, MessageError> {
    ReceivedBody::parse(key.open_padded(msg_id, boxed)?)
}

/// The boxed metadata of a notification: which message came, and when (seconds since the Unix
/// epoch). `nonce` is random and travels in front of it.
pub fn encrypt_notification(
    key: &BoxKey,
    nonce: &Nonce,
    msg_id: &[u8; MESSAGE_ID_LEN],
    timestamp: i64,
) -> Result<[u8; BOXED_META_LEN], BoxError> {
    const ID_AT: usize = LEN_SIZE + 1;
    const TIMESTAMP_AT: usize = ID_AT + MESSAGE_ID_LEN;
    const END: usize = TIMESTAMP_AT + 8;

    let mut boxed = [0; BOXED_META_LEN];
    let plain = &mut boxed[TAG_LEN..];
    plain[LEN_SIZE] = MESSAGE_ID_LEN as u8;
    plain[ID_AT..TIMESTAMP_AT].copy_from_slice(msg_id);
    plain[TIMESTAMP_AT..END].copy_from_slice(&timestamp.to_be_bytes());
    pad_into(END - LEN_SIZE, plain)?;
    key.seal_in_place(nonce, &mut boxed)?;
    Ok(boxed)
}

/// What a notification service's client finds in notification metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationMeta<'a> {
    /// ID of the message (24 bytes from this server).
    pub msg_id: &'a [u8],
    /// Time of its receipt by the server, in seconds since the Unix epoch.
    pub timestamp: i64,
}

/// Decrypts notification metadata in place and parses it; bytes after the timestamp are ignored.
pub fn decrypt_notification<'a>(
    key: &BoxKey,
    nonce: &Nonce,
    boxed: &'a mut [u8],
) -> Result<NotificationMeta<'a>, MessageError> {
    let content = key.open_padded(nonce, boxed)?;
    let parse = || {
        let (len, rest) = content.split_first()?;
        let (msg_id, rest) = rest.split_at_checked(usize::from(*len))?;
        let (timestamp, _) = split_timestamp(rest)?;
        Some(NotificationMeta { msg_id, timestamp })
    };
    parse().ok_or(MessageError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pad::PadError;
    use super::super::vectors;
    use super::*;

    #[test]
    fn known_bodies() {
        let v = vectors::get("msg_body");
        let recipient = vectors::x25519_secret(&v["rcv_dh_private"]);
        let server = vectors::x25519_public(&v["server_queue_public"]);
        let key = BoxKey::from(&recipient.agree(&server));
        let msg_id = vectors::array(&v["msg_id"]);
        let timestamp = v["timestamp"].as_i64().unwrap();
        let body = vectors::hex(&v["body"]);

        let mut out = b"before".to_vec();
        encrypt_message(&key, &msg_id, timestamp, true, &body, &mut out).unwrap();
        let mut boxed = out.strip_prefix(b"before").unwrap().to_vec();
        vectors::assert_large(&v["encrypted"], &boxed);
        let content = key.open_padded(&msg_id, &mut boxed).unwrap();
        assert_eq!(content, vectors::hex(&v["plaintext"]));
        let notify = true;
        assert_eq!(
            decrypt_message(&key, &msg_id, &mut out[6..]).unwrap(),
            ReceivedBody::Message {
                timestamp,
                notify,
                body: &body
            }
        );

        let mut out = Vec::new();
        encrypt_quota(&key, &msg_id, timestamp, &mut out).unwrap();
        vectors::assert_large(&v["quota_encrypted"], &out);
        assert_eq!(
            decrypt_message(&key, &msg_id, &mut out).unwrap(),
            ReceivedBody::Quota { timestamp }
        );
    }

    #[test]
    fn known_notification() {
        let v = vectors::get("nmsg");
        let recipient = vectors::x25519_secret(&v["recipient_ntf_private"]);
        let server = vectors::x25519_public(&v["server_ntf_public"]);
        let key = BoxKey::from(&recipient.agree(&server));
        let nonce = vectors::array(&v["nonce"]);
        let meta = vectors::hex(&v["meta"]);
        let (msg_id, timestamp) = meta[1..].split_at(MESSAGE_ID_LEN);
        let timestamp = i64::from_be_bytes(timestamp.try_into().unwrap());

        let mut boxed =
            encrypt_notification(&key, &nonce, msg_id.try_into().unwrap(), timestamp).unwrap();
        assert_eq!(boxed[..], vectors::hex(&v["encrypted"]));
        assert_eq!(
            decrypt_notification(&key, &nonce, &mut boxed).unwrap(),
            NotificationMeta { msg_id, timestamp }
        );
    }

    #[test]
    fn parses_as_recipients_do() {
        let parse = ReceivedBody::parse;
        let message = |notify, body| {
            Ok(ReceivedBody::Message {
                timestamp: 1,
                notify,
                body,
            })
        };
        assert_eq!(parse(b"\0\0\0\0\0\0\0\x01T "), message(true, b""));
        assert_eq!(parse(b"\0\0\0\0\0\0\0\x01Fxyz  a"), message(false, b" a"));
        for malformed in [
            &b""[..],
            b"\0\0\0\0\0\0\0\x01",
            b"\0\0\0\0\0\0\0\x01T",
            b"\0\0\0\0\0\0\0\x01X ",
            b"QUOTA \0\0\0\0\0\0\0",
            b"QUOTA \0\0\0\0\0\0\0\x01 ",
        ] {
            assert_eq!(parse(malformed), Err(MessageError::Malformed));
        }
    }

    #[test]
    fn longest_body() {
        let key = BoxKey::new(&[1; 32]);
        let body = vec![5; MAX_BODY_LEN + 1];
        let mut out = vec![1];
        let fits = &body[..MAX_BODY_LEN];
        encrypt_message(&key, &[0; 24], -1, false, fits, &mut out).unwrap();
        assert_eq!(out.len(), 1 + BOXED_BODY_LEN);
        assert_eq!(
            decrypt_message(&key, &[0; 24], &mut out[1..]).unwrap(),
            ReceivedBody::Message {
                timestamp: -1,
                notify: false,
                body: fits
            }
        );
        let mut out = vec![1];
        assert_eq!(
            encrypt_message(&key, &[0; 24], 0, false, &body, &mut out),
            Err(BoxError::Padding(PadError::TooLarge))
        );
        assert_eq!(out, [1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn round_trip_and_tamper(
            key: [u8; 32],
            msg_id: [u8; 24],
            timestamp in 0..i64::from(u32::MAX),
            notify: bool,
            body in proptest::collection::vec(any::<u8>(), 0..MAX_BODY_LEN),
            flip in 0..BOXED_BODY_LEN,
        ) {
            let key = BoxKey::new(&key);
            let mut out = Vec::new();
            encrypt_message(&key, &msg_id, timestamp, notify, &body, &mut out).unwrap();
            prop_assert_eq!(out.len(), BOXED_BODY_LEN);
            let mut tampered = out.clone();
            tampered[flip] ^= 1;
            prop_assert!(decrypt_message(&key, &msg_id, &mut tampered).is_err());
            let expected = ReceivedBody::Message { timestamp, notify, body: &body };
            prop_assert_eq!(decrypt_message(&key, &msg_id, &mut out).unwrap(), expected);
        }

        #[test]
        fn any_content_parses_without_panic(content in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ReceivedBody::parse(&content);
            let key = BoxKey::new(&[1; 32]);
            let mut boxed = key.seal_padded(&[0; 24], &content, 128).unwrap();
            let _ = decrypt_notification(&key, &[0; 24], &mut boxed);
        }
    }
}
