//! A session key signed like an X.509 object (spec: protocol §1.3).
//!
//! ```text
//! SEQUENCE { SEQUENCE { SubjectPublicKeyInfo }, SEQUENCE { OID }, BIT STRING }
//! ```
//!
//! The SEQUENCE around the SubjectPublicKeyInfo is one more than X.509 would have, and is part of
//! what is signed. All lengths are fixed by the two algorithms, so decoding compares prefixes.

use thiserror::Error;

use super::keys::{
    ED448_SIGNATURE_LEN, ED25519_SIGNATURE_LEN, KEY_25519_LEN, PublicAuthKey, SigningKey,
    VerifyingKey, X25519PublicKey,
};

const SPKI_LEN: usize = 44;
const TBS_PREFIX: [u8; 2] = [0x30, 0x2c];
const TBS_LEN: usize = TBS_PREFIX.len() + SPKI_LEN;

const PREFIX_ED25519: [u8; 2] = [0x30, 0x78];
const PREFIX_ED448: [u8; 3] = [0x30, 0x81, 0xaa];
// The algorithm, then the header of the BIT STRING with no unused bits.
const SIGNATURE_ED25519: [u8; 10] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x41, 0];
const SIGNATURE_ED448: [u8; 10] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 3, 0x73, 0];

// The lengths in the prefixes are those of what follows.
const _: () = assert!(TBS_LEN + SIGNATURE_ED25519.len() + ED25519_SIGNATURE_LEN == 0x78);
const _: () = assert!(TBS_LEN + SIGNATURE_ED448.len() + ED448_SIGNATURE_LEN == 0xaa);

/// Why a signed key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignedKeyError {
    /// Not the structure, or not one of its algorithms.
    #[error("malformed signed key")]
    Malformed,
    /// The signature is not that of the given key.
    #[error("signed key has a wrong signature")]
    Signature,
    /// The key is not of the algorithm its place requires.
    #[error("signed key of a wrong algorithm")]
    Algorithm,
}

fn sign(spki: &[u8], signer: &SigningKey) -> Vec<u8> {
    let tbs = [&TBS_PREFIX[..], spki].concat();
    let (prefix, middle) = match signer {
        SigningKey::Ed25519(..) => (&PREFIX_ED25519[..], &SIGNATURE_ED25519),
        SigningKey::Ed448(..) => (&PREFIX_ED448[..], &SIGNATURE_ED448),
    };
    [prefix, &tbs, middle, &signer.sign(&tbs)].concat()
}

/// Signs a transport session key: 122 or 173 bytes of DER.
pub fn sign_x25519(key: &X25519PublicKey, signer: &SigningKey) -> Vec<u8> {
    sign(&key.to_spki(), signer)
}

/// Signs a service session key: 122 or 173 bytes of DER.
pub fn sign_ed25519(key: &[u8; KEY_25519_LEN], signer: &SigningKey) -> Vec<u8> {
    sign(&PublicAuthKey::Ed25519(*key).to_spki(), signer)
}

/// A decoded signed key. The key comes out only together with the check of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedKey<'a> {
    tbs: &'a [u8],
    key: PublicAuthKey,
    signature: &'a [u8],
}

impl<'a> SignedKey<'a> {
    /// Decodes the DER; anything but the one valid encoding is refused.
    pub fn decode(der: &'a [u8]) -> Result<Self, SignedKeyError> {
        Self::strip(der).ok_or(SignedKeyError::Malformed)
    }

    fn strip(der: &'a [u8]) -> Option<Self> {
        let (rest, middle, signature_len) = if let Some(rest) = der.strip_prefix(&PREFIX_ED25519) {
            (rest, &SIGNATURE_ED25519, ED25519_SIGNATURE_LEN)
        } else {
            let rest = der.strip_prefix(&PREFIX_ED448)?;
            (rest, &SIGNATURE_ED448, ED448_SIGNATURE_LEN)
        };
        let (tbs, rest) = rest.split_at_checked(TBS_LEN)?;
        let signature = rest.strip_prefix(middle)?;
        let spki = tbs.strip_prefix(&TBS_PREFIX)?;
        (signature.len() == signature_len).then_some(Self {
            tbs,
            key: PublicAuthKey::from_spki(spki).ok()?,
            signature,
        })
    }

    fn verify(&self, signer: &VerifyingKey) -> Result<PublicAuthKey, SignedKeyError> {
        // A signature of the other algorithm has another length, which the key refuses.
        if signer.verify(self.tbs, self.signature) {
            Ok(self.key)
        } else {
            Err(SignedKeyError::Signature)
        }
    }

    /// The transport session key, when `signer` signed it and it is one.
    pub fn verify_x25519(&self, signer: &VerifyingKey) -> Result<X25519PublicKey, SignedKeyError> {
        match self.verify(signer)? {
            PublicAuthKey::X25519(key) => Ok(X25519PublicKey(key)),
            _ => Err(SignedKeyError::Algorithm),
        }
    }

    /// The raw service session key, when `signer` signed it and it is one.
    pub fn verify_ed25519(
        &self,
        signer: &VerifyingKey,
    ) -> Result<[u8; KEY_25519_LEN], SignedKeyError> {
        match self.verify(signer)? {
            PublicAuthKey::Ed25519(key) => Ok(key),
            _ => Err(SignedKeyError::Algorithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors;
    use super::*;

    fn signers() -> [SigningKey; 2] {
        [
            SigningKey::ed25519_from_seed([1; 32]).unwrap(),
            SigningKey::ed448_from_seed([2; 57]),
        ]
    }

    #[test]
    fn known_answers() {
        let v = vectors::get("signed_session_key");
        let key = vectors::x25519_public(&v["session_public"]);
        let certificates = vectors::get("cert_fingerprint");
        let seed = vectors::array(&certificates["server_private_seed"]);
        let ed25519 = SigningKey::ed25519_from_seed(seed).unwrap();
        let ed448 = SigningKey::ed448_from_seed(vectors::array(&v["ed448"]["signer_seed"]));
        for (signer, name, len) in [(ed25519, "ed25519", 122), (ed448, "ed448", 173)] {
            let v = &v[name];
            let der = vectors::hex(&v["der"]);
            let public = signer.verifying_key();
            assert!(
                public
                    .to_spki()
                    .ends_with(&vectors::hex(&v["signer_public"]))
            );
            assert_eq!(der.len(), len);
            assert_eq!(sign_x25519(&key, &signer), der);
            let decoded = SignedKey::decode(&der).unwrap();
            assert_eq!(decoded.verify_x25519(&public), Ok(key));
            assert_eq!(
                decoded.verify_ed25519(&public),
                Err(SignedKeyError::Algorithm)
            );
        }
    }

    #[test]
    fn service_keys_and_wrong_signers() {
        let [a, b] = signers();
        for (signer, other) in [(&a, &b), (&b, &a)] {
            let der = sign_ed25519(&[7; 32], signer);
            let decoded = SignedKey::decode(&der).unwrap();
            let key = signer.verifying_key();
            assert_eq!(decoded.verify_ed25519(&key), Ok([7; 32]));
            assert_eq!(decoded.verify_x25519(&key), Err(SignedKeyError::Algorithm));
            assert_eq!(
                decoded.verify_ed25519(&other.verifying_key()),
                Err(SignedKeyError::Signature)
            );
        }
    }

    #[test]
    fn single_wrapped_key_is_refused() {
        let [signer, _] = signers();
        let spki = X25519PublicKey([9; 32]).to_spki();
        let signature = signer.sign(&spki);
        let der = [&[0x30, 0x76], &spki[..], &SIGNATURE_ED25519, &signature].concat();
        assert_eq!(SignedKey::decode(&der), Err(SignedKeyError::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_byte_counts(ed448: bool, flip: proptest::sample::Index, bit in 0..8u8) {
            let signer = &signers()[usize::from(ed448)];
            let der = sign_x25519(&X25519PublicKey([9; 32]), signer);
            let mut tampered = der.clone();
            tampered[flip.index(der.len())] ^= 1 << bit;
            let key = signer.verifying_key();
            let result = SignedKey::decode(&tampered).and_then(|k| k.verify_x25519(&key));
            prop_assert!(result.is_err());
            let cut = &der[..flip.index(der.len())];
            prop_assert_eq!(SignedKey::decode(cut), Err(SignedKeyError::Malformed));
            let longer = [&der[..], &[0]].concat();
            prop_assert_eq!(SignedKey::decode(&longer), Err(SignedKeyError::Malformed));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SignedKey::decode(&bytes);
        }
    }
}
