//! Hashes of SMP (spec: protocol §3.4).

use aws_lc_rs::digest::{Algorithm, Context, SHA3_384, SHA256, SHA512, digest};

fn fixed<const N: usize>(algorithm: &'static Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let whole = match parts {
        [one] => digest(algorithm, one),
        many => {
            let mut context = Context::new(algorithm);
            for part in many {
                context.update(part);
            }
            context.finish()
        }
    };
    for (byte, hashed) in out.iter_mut().zip(whole.as_ref()) {
        *byte = *hashed;
    }
    out
}

/// SHA-256: certificate fingerprints.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    fixed(&SHA256, &[data])
}

/// SHA-256 of what comes in parts.
pub struct Sha256(Context);

impl Sha256 {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds a part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// Of all parts.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-512.
pub fn sha512(data: &[u8]) -> [u8; 64] {
    fixed(&SHA512, &[data])
}

/// SHA-512 of the concatenation of `parts`, which is never built.
pub fn sha512_parts(parts: &[&[u8]]) -> [u8; 64] {
    fixed(&SHA512, parts)
}

/// Sender ID that a client chooses by its correlation ID: the first 24 bytes of SHA3-384
/// (spec: protocol §16.2).
pub fn sender_id(corr_id: &[u8]) -> [u8; 24] {
    fixed(&SHA3_384, &[corr_id])
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn certificate_fingerprint() {
        let v = vectors::get("cert_fingerprint");
        assert_eq!(
            sha256(&vectors::hex(&v["ca_der"])),
            vectors::array(&v["key_hash"])
        );
    }

    #[test]
    fn parts_hash_as_their_concatenation() {
        let v = vectors::get("cb_authenticator");
        let whole = vectors::hex(&v["authorized"]);
        let expected = vectors::array(&v["sha512"]);
        assert_eq!(sha512(&whole), expected);
        assert_eq!(sha512_parts(&[&whole]), expected);
        let (a, b) = whole.split_at(33);
        assert_eq!(sha512_parts(&[&[], a, &[], b]), expected);
        assert_eq!(sha512_parts(&[]), sha512(b""));
        let mut in_parts = Sha256::new();
        in_parts.update(a);
        in_parts.update(b);
        assert_eq!(in_parts.finish(), sha256(&whole));
    }

    #[test]
    fn sender_id_is_known() {
        let v = vectors::get("link_ids");
        let corr_id = vectors::hex(&v["corr_id"]);
        assert_eq!(sender_id(&corr_id), vectors::array(&v["sender_id"]));
    }
}
