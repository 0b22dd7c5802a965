//! The SMP box: XSalsa20-Poly1305, tag first (spec: protocol §3.1).
//!
//! Every key, symmetric or agreed, first passes through HSalsa20 with a zero nonce. For an X25519
//! result this makes NaCl's `crypto_box`; for a symmetric key the result is *not* NaCl's
//! `crypto_secretbox`.

use dryoc::classic::crypto_box::{
    crypto_box_detached_afternm_inplace, crypto_box_open_detached_afternm_inplace,
};
use dryoc::classic::crypto_core::crypto_core_hsalsa20;
use dryoc::classic::crypto_secretbox::{crypto_secretbox_detached, crypto_secretbox_open_detached};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::keys::SharedSecret;
use super::pad::{self, PadError};

/// Bytes of the authentication tag in front of the ciphertext.
pub const TAG_LEN: usize = 16;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 24;

/// The nonce of a box.
pub type Nonce = [u8; NONCE_LEN];
/// The authentication tag of a box.
pub type Tag = [u8; TAG_LEN];

/// Why a box was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BoxError {
    /// A buffer is too short for what it must hold.
    #[error("buffer too short for a box")]
    TooShort,
    /// The tag does not authenticate the ciphertext under this key and nonce.
    #[error("box failed authentication")]
    Authentication,
    /// The content does not fit its padded size, or the opened bytes are not padded content.
    #[error(transparent)]
    Padding(#[from] PadError),
}

/// The nonce made of a correlation ID of any length: cut to 24 bytes or filled up with zeros
/// (spec: protocol §3.2).
pub fn nonce_from(corr_id: &[u8]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    for (to, from) in nonce.iter_mut().zip(corr_id) {
        *to = *from;
    }
    nonce
}

/// The nonce of a proxied response: the bytes of the request's nonce in reverse order
/// (spec: protocol §3.2).
pub fn reverse_nonce(nonce: &Nonce) -> Nonce {
    let mut reversed = *nonce;
    reversed.reverse();
    reversed
}

/// A key ready for boxes (HSalsa20 already applied), zeroized when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BoxKey([u8; 32]);

impl std::fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxKey(..)")
    }
}

impl From<&SharedSecret> for BoxKey {
    fn from(secret: &SharedSecret) -> Self {
        Self::new(&secret.0)
    }
}

impl BoxKey {
    /// Prepares a symmetric key or a raw X25519 result.
    pub fn new(key: &[u8; 32]) -> Self {
        let mut prepared = Self([0; 32]);
        crypto_core_hsalsa20(&mut prepared.0, &[0; 16], key, None);
        prepared
    }

    /// Encrypts `plain` into the first `plain.len()` bytes of `cipher_out` and returns the tag.
    pub fn seal_detached(
        &self,
        nonce: &Nonce,
        plain: &[u8],
        cipher_out: &mut [u8],
    ) -> Result<Tag, BoxError> {
        let mut tag = [0; TAG_LEN];
        crypto_secretbox_detached(cipher_out, &mut tag, plain, nonce, &self.0)
            .map_err(|_| BoxError::TooShort)?;
        Ok(tag)
    }

    /// Decrypts `cipher` into the first `cipher.len()` bytes of `plain_out`, which is not touched
    /// when authentication fails.
    pub fn open_detached(
        &self,
        nonce: &Nonce,
        tag: &Tag,
        cipher: &[u8],
        plain_out: &mut [u8],
    ) -> Result<(), BoxError> {
        if plain_out.len() < cipher.len() {
            return Err(BoxError::TooShort);
        }
        crypto_secretbox_open_detached(plain_out, cipher, tag, nonce, &self.0)
            .map_err(|_| BoxError::Authentication)
    }

    /// Turns `buf` = 16 bytes of room and the plaintext into tag and ciphertext.
    pub fn seal_in_place(&self, nonce: &Nonce, buf: &mut [u8]) -> Result<(), BoxError> {
        let (tag, data) = buf
            .split_first_chunk_mut::<TAG_LEN>()
            .ok_or(BoxError::TooShort)?;
        crypto_box_detached_afternm_inplace(data, tag, nonce, &self.0);
        Ok(())
    }

    /// Decrypts `buf` = tag and ciphertext, and returns the plaintext inside it. `buf` keeps its
    /// bytes when authentication fails.
    pub fn open_in_place<'a>(
        &self,
        nonce: &Nonce,
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], BoxError> {
        let (tag, data) = buf
            .split_first_chunk_mut::<TAG_LEN>()
            .ok_or(BoxError::TooShort)?;
        crypto_box_open_detached_afternm_inplace(data, tag, nonce, &self.0)
            .map_err(|_| BoxError::Authentication)?;
        Ok(data)
    }

    /// Appends the box of the concatenation of `parts` padded to `padded_len`: 16 + `padded_len`
    /// bytes, each written once and encrypted where it lies. Nothing is appended on error.
    pub fn append_padded(
        &self,
        nonce: &Nonce,
        parts: &[&[u8]],
        padded_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let content_len = parts.iter().map(|p| p.len()).sum();
        let prefix = pad::prefix(content_len, padded_len)?;
        let start = out.len();
        let end = start + TAG_LEN + padded_len;
        out.reserve(end - start);
        out.extend_from_slice(&[0; TAG_LEN]);
        out.extend_from_slice(&prefix);
        for part in parts {
            out.extend_from_slice(part);
        }
        out.resize(end, pad::FILLER);
        self.seal_in_place(nonce, &mut out[start..])
    }

    /// The box of `plain` padded to `padded_len`: 16 + `padded_len` bytes.
    pub fn seal_padded(
        &self,
        nonce: &Nonce,
        plain: &[u8],
        padded_len: usize,
    ) -> Result<Vec<u8>, BoxError> {
        let mut out = Vec::new();
        self.append_padded(nonce, &[plain], padded_len, &mut out)?;
        Ok(out)
    }

    /// Decrypts a box of padded content in place and returns the content.
    pub fn open_padded<'a>(
        &self,
        nonce: &Nonce,
        boxed: &'a mut [u8],
    ) -> Result<&'a [u8], BoxError> {
        Ok(pad::unpad(self.open_in_place(nonce, boxed)?)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::vectors;
    use super::*;

    fn check_box(key: &BoxKey, v: &Value) {
        let nonce = vectors::array(&v["nonce"]);
        let plain = vectors::hex(&v["plaintext"]);
        let boxed = vectors::hex(&v["box"]);

        let mut buf = [&[0; TAG_LEN][..], &plain].concat();
        key.seal_in_place(&nonce, &mut buf).unwrap();
        assert_eq!(buf, boxed);
        assert_eq!(key.open_in_place(&nonce, &mut buf).unwrap(), plain);

        let mut cipher = vec![0; plain.len() + 3];
        let tag = key.seal_detached(&nonce, &plain, &mut cipher).unwrap();
        cipher.truncate(plain.len());
        assert_eq!([&tag[..], &cipher].concat(), boxed);
        let mut opened = vec![0; plain.len()];
        key.open_detached(&nonce, &tag, &cipher, &mut opened)
            .unwrap();
        assert_eq!(opened, plain);
    }

    #[test]
    fn symmetric_box_is_not_plain_secretbox() {
        let v = vectors::get("smp_secretbox");
        let key = BoxKey::new(&vectors::array(&v["key"]));
        assert_eq!(key.0, vectors::array(&v["hsalsa20_key_zero"]));
        check_box(&key, &v);
        assert_ne!(v["box"], v["plain_nacl_secretbox_must_not_match"]);

        let nonce = vectors::array(&v["nonce"]);
        let plain = vectors::hex(&v["plaintext"]);
        let mut boxed = key.seal_padded(&nonce, &plain, 64).unwrap();
        assert_eq!(boxed, vectors::hex(&v["padded_to_64_then_boxed"]));
        assert_eq!(key.open_padded(&nonce, &mut boxed).unwrap(), plain);
    }

    #[test]
    fn agreed_box_is_nacl_box() {
        let v = vectors::get("crypto_box");
        let a = vectors::x25519_secret(&v["a_private"]);
        let secret = a.agree(&vectors::x25519_public(&v["b_public"]));
        assert_eq!(secret.0, vectors::array(&v["dh"]));
        let key = BoxKey::from(&secret);
        assert_eq!(key.0, vectors::array(&v["beforenm"]));
        check_box(&key, &v);
    }

    #[test]
    fn nonces() {
        for case in vectors::get("cb_nonce")["cases"].as_array().unwrap() {
            let nonce = nonce_from(&vectors::hex(&case["corr_id"]));
            assert_eq!(nonce, vectors::array(&case["nonce"]));
        }
        let v = vectors::get("proxy_flow");
        let request = vectors::array(&v["pfwd_corr_id"]);
        assert_eq!(
            reverse_nonce(&request),
            vectors::array(&v["response_nonce"])
        );
        let request = vectors::array(&v["rfwd_corr_id"]);
        assert_eq!(reverse_nonce(&request), vectors::array(&v["rres_nonce"]));
    }

    #[test]
    fn refuses_short_buffers() {
        let key = BoxKey::new(&[1; 32]);
        let nonce = [0; NONCE_LEN];
        let mut short = [0; TAG_LEN - 1];
        assert_eq!(
            key.seal_in_place(&nonce, &mut short),
            Err(BoxError::TooShort)
        );
        assert_eq!(
            key.open_in_place(&nonce, &mut short),
            Err(BoxError::TooShort)
        );
        assert_eq!(
            key.seal_detached(&nonce, &[1, 2], &mut [0]),
            Err(BoxError::TooShort)
        );
        assert_eq!(
            key.open_detached(&nonce, &[0; 16], &[1, 2], &mut [0]),
            Err(BoxError::TooShort)
        );
        assert_eq!(
            key.seal_padded(&nonce, b"abc", 4),
            Err(BoxError::Padding(PadError::TooLarge))
        );
        let mut empty = [0; TAG_LEN];
        key.seal_in_place(&nonce, &mut empty).unwrap();
        assert!(key.open_in_place(&nonce, &mut empty.clone()).is_ok());
        assert_eq!(
            key.open_padded(&nonce, &mut empty),
            Err(BoxError::Padding(PadError::Truncated))
        );
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", BoxKey::new(&[1; 32])), "BoxKey(..)");
    }

    proptest! {
        #[test]
        fn round_trip_and_tamper(
            key: [u8; 32],
            nonce: [u8; 24],
            plain in proptest::collection::vec(any::<u8>(), 0..600),
            extra in 0..40usize,
            flip: proptest::sample::Index,
            bit in 0..8u8,
        ) {
            let key = BoxKey::new(&key);
            let boxed = key.seal_padded(&nonce, &plain, plain.len() + 2 + extra).unwrap();
            prop_assert_eq!(boxed.len(), TAG_LEN + 2 + plain.len() + extra);
            let mut opened = boxed.clone();
            prop_assert_eq!(key.open_padded(&nonce, &mut opened).unwrap(), &plain[..]);

            let mut tampered = boxed.clone();
            tampered[flip.index(boxed.len())] ^= 1 << bit;
            let before = tampered.clone();
            prop_assert_eq!(key.open_in_place(&nonce, &mut tampered), Err(BoxError::Authentication));
            prop_assert_eq!(tampered, before);
        }

        #[test]
        fn any_bytes_open_without_panic(
            key: [u8; 32],
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(BoxKey::new(&key).open_padded(&[0; 24], &mut bytes).is_err());
        }
    }
}
