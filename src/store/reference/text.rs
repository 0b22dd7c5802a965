//! Fields of a line in the reference's text forms (spec: server §11.2).

use crate::crypto::keys::{KEY_25519_LEN, PublicAuthKey, SharedSecret};
use crate::store::Id;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use smallvec::SmallVec;
use std::io;
use thiserror::Error;
use zeroize::Zeroizing;

/// Seconds of a day.
pub(super) const DAY_SECONDS: i64 = 86_400;
/// Nanoseconds of a second.
const SECOND_NANOS: i64 = 1_000_000_000;
/// Room for the longest field of a fixed length, a key.
const FIXED_LEN: usize = 72;
/// Most recipient keys of a queue (spec: server §1.1).
const MAX_RECIPIENT_KEYS: usize = 255;

/// Why a line is not what its place requires. Names what was wrong, never what was there: lines
/// hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// No record begins like this.
    #[error("unknown record")]
    UnknownRecord,
    /// Something else stands where the named part belongs.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The named part has a length it cannot have here.
    #[error("{what} of {len} bytes")]
    Length {
        /// The part.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The record ended before the line.
    #[error("text after the record")]
    Trailing,
    /// The line has more than [`MAX_LINE_LEN`](super::MAX_LINE_LEN) bytes.
    #[error("line too long")]
    TooLong,
}

/// A line that is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct LineError {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: Malformed,
}

/// Why no record could be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read on.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// This line is no record; the next may be one.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Reads fields from the front of a line.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// Consumes `text` if it comes next.
    pub(super) fn skip(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Consumes `text`, which must come next.
    pub(super) fn literal(&mut self, text: &'static str) -> Result<(), Malformed> {
        if self.skip(text) {
            Ok(())
        } else {
            Err(Malformed::Expected(text))
        }
    }

    /// Consumes the blank between two fields; the reference takes any white space for one.
    pub(super) fn blank(&mut self) -> Result<(), Malformed> {
        match self.rest.split_first() {
            Some((b' ' | b'\t' | b'\r' | 0x0b | 0x0c, rest)) => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(Malformed::Expected("a blank")),
        }
    }

    /// Consumes what `wanted` accepts.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|b| !wanted(*b));
        let (taken, rest) = self.rest.split_at(len.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Consumes everything before the last `text`, or all.
    pub(super) fn until_last(&mut self, text: &str) -> &'a [u8] {
        let at = self
            .rest
            .windows(text.len())
            .rposition(|part| part == text.as_bytes());
        let (taken, rest) = self.rest.split_at(at.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Succeeds at the end of the line.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing)
        }
    }

    /// The base64 text that comes next, padding included; perhaps none.
    fn base64_text(&mut self) -> &'a [u8] {
        let all = self.rest;
        let digits = self
            .take_while(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            .len();
        let padding = if digits > 0 {
            self.take_while(|b| b == b'=').len()
        } else {
            0
        };
        &all[..digits + padding]
    }

    /// Opaque bytes, perhaps none: the reference writes what it cannot read back
    /// (spec: server §11.3).
    pub(super) fn bytes_or_none(&mut self, what: &'static str) -> Result<Vec<u8>, Malformed> {
        URL_SAFE
            .decode(self.base64_text())
            .map_err(|_| Malformed::Expected(what))
    }

    /// Opaque bytes, at least one.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<Vec<u8>, Malformed> {
        let bytes = self.bytes_or_none(what)?;
        if bytes.is_empty() {
            Err(Malformed::Expected(what))
        } else {
            Ok(bytes)
        }
    }

    /// Bytes of at most [`FIXED_LEN`], given to `read`.
    fn short<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let text = self.base64_text();
        let mut bytes = Zeroizing::new([0; FIXED_LEN]);
        match URL_SAFE.decode_slice(text, &mut bytes[..]) {
            Ok(len) if len > 0 => read(&bytes[..len]),
            _ => Err(Malformed::Expected(what)),
        }
    }

    /// Exactly `N` bytes, at most [`FIXED_LEN`].
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], Malformed> {
        self.short(what, |bytes| {
            let len = bytes.len();
            bytes
                .try_into()
                .map_err(|_| Malformed::Length { what, len })
        })
    }

    /// An identifier.
    pub(super) fn id(&mut self, what: &'static str) -> Result<Id, Malformed> {
        self.array(what)
    }

    /// A key that authorises commands.
    pub(super) fn auth_key(&mut self, what: &'static str) -> Result<PublicAuthKey, Malformed> {
        self.short(what, |der| {
            PublicAuthKey::from_spki(der).map_err(|_| Malformed::Expected(what))
        })
    }

    /// Keys of a recipient, 1 to 255.
    pub(super) fn auth_keys(&mut self) -> Result<SmallVec<[PublicAuthKey; 1]>, Malformed> {
        const WHAT: &str = "recipient key";
        let mut keys = SmallVec::new();
        loop {
            if keys.len() == MAX_RECIPIENT_KEYS {
                return Err(Malformed::Expected("at most 255 keys"));
            }
            keys.push(self.auth_key(WHAT)?);
            if !self.skip(",") {
                return Ok(keys);
            }
        }
    }

    /// An agreed secret.
    pub(super) fn secret(&mut self, what: &'static str) -> Result<SharedSecret, Malformed> {
        let raw = Zeroizing::new(self.array::<KEY_25519_LEN>(what)?);
        Ok(SharedSecret(*raw))
    }

    /// A decimal number with an optional sign.
    pub(super) fn integer(&mut self, what: &'static str) -> Result<i64, Malformed> {
        let text = self.take_while(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
        str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Malformed::Expected(what))
    }

    /// A decimal number without sign.
    pub(super) fn natural(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let text = self.take_while(|b| b.is_ascii_digit());
        str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Malformed::Expected(what))
    }

    /// Seconds since the Unix epoch as days; what no day can be becomes the nearest that can.
    pub(super) fn day(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let day = self.integer(what)?.div_euclid(DAY_SECONDS);
        Ok(u32::try_from(day.max(0)).unwrap_or(u32::MAX))
    }

    /// Seconds since the Unix epoch as nanoseconds.
    pub(super) fn nanos(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.integer(what)?
            .checked_mul(SECOND_NANOS)
            .ok_or(Malformed::Expected(what))
    }

    /// `T` or `F`.
    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, Malformed> {
        if self.skip("T") {
            Ok(true)
        } else if self.skip("F") {
            Ok(false)
        } else {
            Err(Malformed::Expected(what))
        }
    }

    /// One character.
    pub(super) fn letter(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let (letter, rest) = self.rest.split_first().ok_or(Malformed::Expected(what))?;
        self.rest = rest;
        Ok(*letter)
    }

    /// Consumes everything.
    pub(super) fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Appends text.
pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes as padded base64.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    // Four digits for every three bytes begun.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let len = URL_SAFE
        .encode_slice(bytes, &mut out[start..])
        .unwrap_or_default();
    out.truncate(start + len);
}

/// Appends a decimal number.
pub(super) fn put_integer(out: &mut Vec<u8>, number: impl Into<i128>) {
    put(out, &number.into().to_string());
}

/// Appends a day as seconds since the Unix epoch.
pub(super) fn put_day(out: &mut Vec<u8>, day: u32) {
    put_integer(out, i64::from(day) * DAY_SECONDS);
}

/// Appends nanoseconds since the Unix epoch as seconds.
pub(super) fn put_seconds_of(out: &mut Vec<u8>, nanos: i64) {
    put_integer(out, nanos.div_euclid(SECOND_NANOS));
}

/// Appends a key.
pub(super) fn put_key(out: &mut Vec<u8>, key: &PublicAuthKey) {
    put_base64(out, &key.to_spki());
}

/// Appends `T` or `F`.
pub(super) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(if flag { b'T' } else { b'F' });
}
