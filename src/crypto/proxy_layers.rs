//! The layers of boxes around a proxied command and its response (spec: protocol §15.4–15.6).
//!
//! ```text
//! client ──▶ proxy      inner box   (client secret, n)            PFWD
//!            proxy ──▶ relay        outer box (proxy secret, m)   RFWD
//!            proxy ◀── relay        outer box (proxy secret, reversed m), around the
//! client ◀── proxy      inner box   (client secret, reversed n)   RRES, PRES
//! ```
//!
//! `n` and `m` are the nonces that the correlation IDs of PFWD and RFWD give. The client secret is
//! the agreement of the client's key for this command and the relay's session key, the proxy
//! secret that of the two session keys of the proxy's connection to the relay. The functions take
//! *contents* of batches: the one-transmission batch is the caller's affair.

use thiserror::Error;

use super::keys::X25519PublicKey;
use super::pad;
use super::smp_box::{BoxError, BoxKey, TAG_LEN, nonce_from, reverse_nonce};

/// Bytes to which the batch inside an inner box is padded.
pub const PADDED_INNER_LEN: usize = 16226;
/// Bytes of an inner box.
pub const BOXED_INNER_LEN: usize = TAG_LEN + PADDED_INNER_LEN;

const SPKI_LEN: usize = 44;

/// Why a layer was not built or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LayerError {
    /// A box does not open, or its content does not fit.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// The box opened, its content is not what belongs in it.
    #[error("malformed forwarded transmission")]
    Syntax,
    /// A correlation ID exceeds 255 bytes.
    #[error("correlation id too long")]
    TooLong,
}

fn write_bytes8(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), LayerError> {
    let len = u8::try_from(bytes.len()).map_err(|_| LayerError::TooLong)?;
    out.push(len);
    out.extend_from_slice(bytes);
    Ok(())
}

fn split_bytes8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// Client: appends the inner box of a command, 16242 bytes. `corr_id` is that of PFWD and of the
/// command inside.
pub fn seal_command(
    client_secret: &BoxKey,
    corr_id: &[u8],
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), LayerError> {
    let nonce = nonce_from(corr_id);
    Ok(client_secret.append_padded(&nonce, &[content], PADDED_INNER_LEN, out)?)
}

/// Relay: opens the inner box of a command in place and returns the batch in it.
pub fn open_command<'a>(
    client_secret: &BoxKey,
    corr_id: &[u8],
    boxed: &'a mut [u8],
) -> Result<&'a [u8], LayerError> {
    Ok(client_secret.open_padded(&nonce_from(corr_id), boxed)?)
}

/// Client: opens the inner box of a response in place and returns the batch in it. `corr_id` is
/// that of PFWD.
pub fn open_response<'a>(
    client_secret: &BoxKey,
    corr_id: &[u8],
    boxed: &'a mut [u8],
) -> Result<&'a [u8], LayerError> {
    let nonce = reverse_nonce(&nonce_from(corr_id));
    Ok(client_secret.open_padded(&nonce, boxed)?)
}

/// What the proxy hands to the relay, the content of RFWD's box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardedTransmission<'a> {
    /// Correlation ID of PFWD and of the command inside.
    pub corr_id: &'a [u8],
    /// Version in which the command inside is encoded.
    pub version: u16,
    /// The client's key for this command.
    pub key: X25519PublicKey,
    /// The inner box.
    pub encrypted: &'a [u8],
}

impl<'a> ForwardedTransmission<'a> {
    /// Appends the encoding (16314 bytes with a 24-byte correlation ID).
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), LayerError> {
        write_bytes8(self.corr_id, out)?;
        out.extend_from_slice(&self.version.to_be_bytes());
        write_bytes8(&self.key.to_spki(), out)?;
        out.extend_from_slice(self.encrypted);
        Ok(())
    }

    /// Decodes; the inner box is all that follows the key.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, LayerError> {
        let parse = || {
            let (corr_id, rest) = split_bytes8(bytes)?;
            let (version, rest) = rest.split_first_chunk()?;
            let (spki, encrypted) = split_bytes8(rest)?;
            Some(Self {
                corr_id,
                version: u16::from_be_bytes(*version),
                key: X25519PublicKey::from_spki(spki).ok()?,
                encrypted,
            })
        };
        parse().ok_or(LayerError::Syntax)
    }
}

/// Runs `fill` on `out` behind room for a tag and seals what it appended; on error `out` is as
/// before.
fn append_sealed(
    key: &BoxKey,
    nonce_id: &[u8],
    reversed: bool,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut nonce = nonce_from(nonce_id);
    if reversed {
        nonce = reverse_nonce(&nonce);
    }
    let start = out.len();
    out.extend_from_slice(&[0; TAG_LEN]);
    let result = fill(out).and_then(|()| Ok(key.seal_in_place(&nonce, &mut out[start..])?));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Proxy: appends the content of RFWD (16330 bytes with a 24-byte PFWD correlation ID). `corr_id`
/// is that of RFWD.
pub fn seal_forward(
    proxy_secret: &BoxKey,
    corr_id: &[u8],
    forwarded: &ForwardedTransmission<'_>,
    out: &mut Vec<u8>,
) -> Result<(), LayerError> {
    out.reserve(TAG_LEN + 2 + forwarded.corr_id.len() + 3 + SPKI_LEN + forwarded.encrypted.len());
    append_sealed(proxy_secret, corr_id, false, out, |out| {
        forwarded.encode(out)
    })
}

/// Relay: opens the content of RFWD in place. [`LayerError::Box`] and [`LayerError::Syntax`] are
/// different errors on the wire.
pub fn open_forward<'a>(
    proxy_secret: &BoxKey,
    corr_id: &[u8],
    boxed: &'a mut [u8],
) -> Result<ForwardedView<'a>, LayerError> {
    let content = proxy_secret.open_in_place(&nonce_from(corr_id), boxed)?;
    let decoded = ForwardedTransmission::decode(content)?;
    let (version, key) = (decoded.version, decoded.key);
    let corr_len = decoded.corr_id.len();
    let head = content.len() - decoded.encrypted.len();
    let (head, encrypted) = content
        .split_at_mut_checked(head)
        .ok_or(LayerError::Syntax)?;
    Ok(ForwardedView {
        corr_id: head.get(1..=corr_len).ok_or(LayerError::Syntax)?,
        version,
        key,
        encrypted,
    })
}

/// A [`ForwardedTransmission`] whose inner box can be opened where it lies
/// ([`open_command`]).
#[derive(Debug, PartialEq, Eq)]
pub struct ForwardedView<'a> {
    /// Correlation ID of PFWD and of the command inside.
    pub corr_id: &'a [u8],
    /// Version in which the command inside is encoded.
    pub version: u16,
    /// The client's key for this command.
    pub key: X25519PublicKey,
    /// The inner box.
    pub encrypted: &'a mut [u8],
}

/// Relay: appends the content of RRES (16283 bytes with a 24-byte PFWD correlation ID), both boxes
/// made where they lie. `rfwd_corr_id` and `pfwd_corr_id` are those of the request.
pub fn seal_response(
    proxy_secret: &BoxKey,
    rfwd_corr_id: &[u8],
    client_secret: &BoxKey,
    pfwd_corr_id: &[u8],
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), LayerError> {
    // Checked first so that what follows can only fail before it writes.
    pad::prefix(content.len(), PADDED_INNER_LEN).map_err(BoxError::from)?;
    out.reserve(TAG_LEN + 1 + pfwd_corr_id.len() + BOXED_INNER_LEN);
    append_sealed(proxy_secret, rfwd_corr_id, true, out, |out| {
        write_bytes8(pfwd_corr_id, out)?;
        let nonce = reverse_nonce(&nonce_from(pfwd_corr_id));
        Ok(client_secret.append_padded(&nonce, &[content], PADDED_INNER_LEN, out)?)
    })
}

/// The content of RRES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayResponse<'a> {
    /// Correlation ID of PFWD, as the relay repeats it.
    pub corr_id: &'a [u8],
    /// The inner box, forwarded to the client in PRES.
    pub encrypted: &'a [u8],
}

/// Proxy: opens the content of RRES in place. `corr_id` is that of RFWD.
pub fn open_relay_response<'a>(
    proxy_secret: &BoxKey,
    corr_id: &[u8],
    boxed: &'a mut [u8],
) -> Result<RelayResponse<'a>, LayerError> {
    let nonce = reverse_nonce(&nonce_from(corr_id));
    let content = proxy_secret.open_in_place(&nonce, boxed)?;
    let (corr_id, encrypted) = split_bytes8(content).ok_or(LayerError::Syntax)?;
    Ok(RelayResponse { corr_id, encrypted })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::{pad::PadError, vectors};
    use super::*;

    struct Flow {
        v: Value,
        client_secret: BoxKey,
        proxy_secret: BoxKey,
        client_key: X25519PublicKey,
        n: Vec<u8>,
        m: Vec<u8>,
        relay_session_id: Vec<u8>,
    }

    fn flow() -> Flow {
        let v = vectors::get("proxy_flow");
        let client = vectors::x25519_secret(&v["client_ephemeral_private"]);
        let proxy = vectors::x25519_secret(&v["proxy_session_private"]);
        let relay = vectors::x25519_public(&v["relay_session_public"]);
        let (client_secret, proxy_secret) = (client.agree(&relay), proxy.agree(&relay));
        assert_eq!(client_secret.0, vectors::array(&v["client_secret"]));
        assert_eq!(proxy_secret.0, vectors::array(&v["proxy_secret"]));
        Flow {
            client_secret: BoxKey::from(&client_secret),
            proxy_secret: BoxKey::from(&proxy_secret),
            client_key: client.public_key(),
            n: vectors::hex(&v["pfwd_corr_id"]),
            m: vectors::hex(&v["rfwd_corr_id"]),
            relay_session_id: vectors::hex(&v["relay_session_id"]),
            v,
        }
    }

    /// A server or client transmission without authorization and service signature.
    fn transmission(corr_id: &[u8], entity: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0];
        write_bytes8(corr_id, &mut out).unwrap();
        write_bytes8(entity, &mut out).unwrap();
        out.extend(parts.concat());
        out
    }

    #[test]
    fn request_is_known() {
        let f = flow();
        let content = vectors::hex(&f.v["inner_block_content"]);
        let mut inner = Vec::new();
        seal_command(&f.client_secret, &f.n, &content, &mut inner).unwrap();
        vectors::assert_large(&f.v["enc_transmission"], &inner);

        let version = u16::try_from(f.v["fwd_version"].as_u64().unwrap()).unwrap();
        let spki = f.client_key.to_spki();
        let pfwd: [&[u8]; 5] = [b"PFWD ", &version.to_be_bytes(), &[44], &spki, &inner];
        let pfwd = transmission(&f.n, &f.relay_session_id, &pfwd);
        vectors::assert_large(&f.v["pfwd_transmission"], &pfwd);

        let forwarded = ForwardedTransmission {
            corr_id: &f.n,
            version,
            key: f.client_key,
            encrypted: &inner,
        };
        let mut encoded = Vec::new();
        forwarded.encode(&mut encoded).unwrap();
        vectors::assert_large(&f.v["fwd_transmission"], &encoded);
        assert_eq!(ForwardedTransmission::decode(&encoded), Ok(forwarded));

        let mut outer = Vec::new();
        seal_forward(&f.proxy_secret, &f.m, &forwarded, &mut outer).unwrap();
        let rfwd = transmission(&f.m, &[], &[b"RFWD ", &outer]);
        vectors::assert_large(&f.v["rfwd_transmission"], &rfwd);

        let opened = open_forward(&f.proxy_secret, &f.m, &mut outer).unwrap();
        assert_eq!(opened.corr_id, f.n);
        assert_eq!(opened.version, version);
        assert_eq!(opened.key, f.client_key);
        assert_eq!(
            open_command(&f.client_secret, opened.corr_id, opened.encrypted).unwrap(),
            content
        );
    }

    #[test]
    fn response_is_known() {
        let f = flow();
        let content = vectors::hex(&f.v["inner_response_content"]);
        let mut outer = Vec::new();
        seal_response(
            &f.proxy_secret,
            &f.m,
            &f.client_secret,
            &f.n,
            &content,
            &mut outer,
        )
        .unwrap();
        let rres = transmission(&f.m, &[], &[b"RRES ", &outer]);
        vectors::assert_large(&f.v["rres_transmission"], &rres);

        let response = open_relay_response(&f.proxy_secret, &f.m, &mut outer).unwrap();
        assert_eq!(response.corr_id, f.n);
        vectors::assert_large(&f.v["enc_response"], response.encrypted);
        let pres = [&b"PRES "[..], response.encrypted];
        let pres = transmission(&f.n, &f.relay_session_id, &pres);
        vectors::assert_large(&f.v["pres_transmission"], &pres);
        let mut inner = response.encrypted.to_vec();
        assert_eq!(
            open_response(&f.client_secret, &f.n, &mut inner).unwrap(),
            content
        );
    }

    #[test]
    fn errors_leave_the_output_alone() {
        let key = BoxKey::new(&[1; 32]);
        let mut out = vec![7];
        let long = [0; 256];
        let too_large = vec![0; PADDED_INNER_LEN - 1];
        let expected = Err(LayerError::Box(PadError::TooLarge.into()));
        assert_eq!(seal_command(&key, &[], &too_large, &mut out), expected);
        assert_eq!(
            seal_response(&key, &[], &key, &[], &too_large, &mut out),
            expected
        );
        assert_eq!(
            seal_response(&key, &[], &key, &long, &[], &mut out),
            Err(LayerError::TooLong)
        );
        let forwarded = ForwardedTransmission {
            corr_id: &long,
            version: 8,
            key: X25519PublicKey([9; 32]),
            encrypted: &[],
        };
        assert_eq!(
            seal_forward(&key, &[], &forwarded, &mut out),
            Err(LayerError::TooLong)
        );
        assert_eq!(out, [7]);
    }

    #[test]
    fn a_bad_box_differs_from_bad_content() {
        let key = BoxKey::new(&[1; 32]);
        let mut boxed = [&[0; TAG_LEN][..], b"\x02ab"].concat();
        key.seal_in_place(&nonce_from(b"m"), &mut boxed).unwrap();
        assert_eq!(
            open_forward(&key, b"other", &mut boxed),
            Err(LayerError::Box(BoxError::Authentication))
        );
        assert_eq!(
            open_forward(&key, b"m", &mut boxed),
            Err(LayerError::Syntax)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn round_trip_and_tamper(
            n in proptest::collection::vec(any::<u8>(), 0..255),
            m in proptest::collection::vec(any::<u8>(), 0..255),
            version: u16,
            content in proptest::collection::vec(any::<u8>(), 0..500),
            flip: proptest::sample::Index,
        ) {
            let (cs, ps) = (BoxKey::new(&[1; 32]), BoxKey::new(&[2; 32]));
            let mut inner = Vec::new();
            seal_command(&cs, &n, &content, &mut inner).unwrap();
            let key = X25519PublicKey([9; 32]);
            let forwarded = ForwardedTransmission { corr_id: &n, version, key, encrypted: &inner };
            let mut outer = Vec::new();
            seal_forward(&ps, &m, &forwarded, &mut outer).unwrap();
            let mut tampered = outer.clone();
            tampered[flip.index(outer.len())] ^= 1;
            prop_assert!(open_forward(&ps, &m, &mut tampered).is_err());
            let opened = open_forward(&ps, &m, &mut outer).unwrap();
            prop_assert_eq!(opened.corr_id, &n[..]);
            prop_assert_eq!((opened.version, opened.key), (version, key));
            prop_assert_eq!(open_command(&cs, &n, opened.encrypted).unwrap(), &content[..]);

            let mut outer = Vec::new();
            seal_response(&ps, &m, &cs, &n, &content, &mut outer).unwrap();
            let response = open_relay_response(&ps, &m, &mut outer).unwrap();
            prop_assert_eq!(response.corr_id, &n[..]);
            let mut inner = response.encrypted.to_vec();
            prop_assert_eq!(open_response(&cs, &n, &mut inner).unwrap(), &content[..]);
        }

        #[test]
        fn any_content_opens_without_panic(mut content in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = ForwardedTransmission::decode(&content);
            let key = BoxKey::new(&[1; 32]);
            prop_assert!(open_forward(&key, &[], &mut content.clone()).is_err());
            let mut boxed = [&[0; TAG_LEN][..], &content].concat();
            key.seal_in_place(&nonce_from(&[]), &mut boxed).unwrap();
            let _ = open_forward(&key, &[], &mut boxed);
            let _ = open_relay_response(&key, &[], &mut content);
        }
    }
}
