//! Binary primitives (spec: protocol §1.1): a borrowing reader and appending writers.

use crate::crypto::keys::{KeyError, PublicAuthKey, X25519PublicKey};
use thiserror::Error;

/// Bytes that are not what their place requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The unit ended too early.
    #[error("unexpected end of data")]
    Truncated,
    /// A value that is not allowed; the text names what was expected.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Bytes remained after a complete unit.
    #[error("trailing bytes")]
    Trailing,
}

impl From<KeyError> for DecodeError {
    fn from(_: KeyError) -> Self {
        Self::Invalid("key")
    }
}

/// Reads primitives from the front of a slice; a failed read leaves the position undefined.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Big-endian 16 bits.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(*self.array()?))
    }

    /// Big-endian signed 64 bits.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(*self.array()?))
    }

    /// `T` or `F`.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            b'T' => Ok(true),
            b'F' => Ok(false),
            _ => Err(DecodeError::Invalid("boolean")),
        }
    }

    /// One length byte, then that many bytes.
    pub fn bytes8(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.u8()?;
        self.take(usize::from(n))
    }

    /// Two length bytes, then that many bytes.
    pub fn bytes16(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }

    /// Everything that is left.
    pub fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// `0`, or `1` and a value.
    pub fn maybe<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            b'0' => Ok(None),
            b'1' => value(self).map(Some),
            _ => Err(DecodeError::Invalid("optional value")),
        }
    }

    /// A count byte of 1 to 255, then that many values.
    pub fn list<T>(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        match self.u8()? {
            0 => Err(DecodeError::Invalid("empty list")),
            n => (0..n).map(|_| value(self)).collect(),
        }
    }

    /// A key that authorises commands.
    pub fn auth_key(&mut self) -> Result<PublicAuthKey, DecodeError> {
        Ok(PublicAuthKey::from_spki(self.bytes8()?)?)
    }

    /// An X25519 key.
    pub fn dh_key(&mut self) -> Result<X25519PublicKey, DecodeError> {
        Ok(X25519PublicKey::from_spki(self.bytes8()?)?)
    }

    /// The literal `text`, or an error naming `what`.
    pub fn literal(&mut self, text: &[u8], what: &'static str) -> Result<(), DecodeError> {
        self.rest = self
            .rest
            .strip_prefix(text)
            .ok_or(DecodeError::Invalid(what))?;
        Ok(())
    }

    /// Bytes up to the next space, which is left, or to the end.
    pub fn word(&mut self) -> &'a [u8] {
        let len = self.rest.iter().position(|&b| b == b' ');
        let (word, rest) = self.rest.split_at(len.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// Consumes the space between a word and its parameters, and returns the reader.
    pub fn parameters(&mut self) -> Result<&mut Self, DecodeError> {
        self.literal(b" ", "word")?;
        Ok(self)
    }

    /// Succeeds when nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

/// Appends one length byte and the bytes.
///
/// Callers hold the length below 256: every such field is an identifier, a key or a checked text.
pub fn put_bytes8(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= 255);
    let len = bytes.len().min(255);
    #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
    out.push(len as u8);
    out.extend_from_slice(&bytes[..len]);
}

/// Appends two length bytes and the bytes; callers hold the length below 65,536.
pub fn put_bytes16(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= 65535);
    let len = bytes.len().min(65535);
    #[expect(clippy::cast_possible_truncation, reason = "at most 65,535")]
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(&bytes[..len]);
}

/// Appends `T` or `F`.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { b'T' } else { b'F' });
}

/// Appends `0`, or `1` and what `put` writes.
pub fn put_maybe<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(b'0'),
        Some(v) => {
            out.push(b'1');
            put(out, v);
        }
    }
}

/// Appends a count byte and what `put` writes for each value.
///
/// Callers pass 1 to 255 values: the protocol has no longer and no empty list.
pub fn put_list<T>(out: &mut Vec<u8>, values: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    debug_assert!((1..=255).contains(&values.len()));
    let n = values.len().min(255);
    #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
    out.push(n as u8);
    for v in &values[..n] {
        put(out, v);
    }
}

/// Appends a key that authorises commands.
pub fn put_auth_key(out: &mut Vec<u8>, key: &PublicAuthKey) {
    put_bytes8(out, &key.to_spki());
}

/// Appends an X25519 key.
pub fn put_dh_key(out: &mut Vec<u8>, key: &X25519PublicKey) {
    put_bytes8(out, &key.to_spki());
}

/// Base64 of the protocol's text forms: URL alphabet, padded on output, padding optional on input.
pub mod base64url {
    use base64::Engine as _;
    use base64::alphabet::URL_SAFE;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );

    /// Padded text.
    pub fn encode(bytes: &[u8]) -> String {
        ENGINE.encode(bytes)
    }

    /// Bytes of a non-empty text, or `None`.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        if text.is_empty() {
            None
        } else {
            ENGINE.decode(text).ok()
        }
    }
}
