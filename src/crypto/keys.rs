//! Public and private keys in their DER forms (spec: protocol §1.2).
//!
//! Every key has exactly one encoding on the wire, a fixed prefix followed by the raw key, so
//! decoding is a comparison of the prefix and of the length.

use aws_lc_rs::agreement;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rand::{CryptoRng, RngCore};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of a raw Ed25519 or X25519 key, private or public.
pub const KEY_25519_LEN: usize = 32;
/// Length of a raw Ed448 key, private or public.
pub const KEY_ED448_LEN: usize = 57;
/// Length of an Ed25519 signature.
pub const ED25519_SIGNATURE_LEN: usize = 64;
/// Length of an Ed448 signature.
pub const ED448_SIGNATURE_LEN: usize = 114;
/// Longest SubjectPublicKeyInfo this crate knows (Ed448).
pub const MAX_SPKI_LEN: usize = 12 + KEY_ED448_LEN;

const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
const SPKI_ED448: [u8; 12] = [0x30, 0x43, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 3, 0x3a, 0];
const SPKI_X25519: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0];

const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];
const PKCS8_ED448: [u8; 16] = [
    0x30, 0x47, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 0x3b, 4, 0x39,
];
const PKCS8_X25519: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20,
];

/// A key that does not have the encoding or the algorithm its place requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The bytes are not a key of an algorithm allowed here.
    #[error("not a key of an algorithm allowed here")]
    Unsupported,
    /// The key has the right form but cannot be used (for example, not a point of the curve).
    #[error("malformed key")]
    Malformed,
}

/// The raw key behind `prefix`; borrowed, since it may be a secret.
fn strip<'a, const N: usize>(der: &'a [u8], prefix: &[u8]) -> Option<&'a [u8; N]> {
    der.strip_prefix(prefix)?.try_into().ok()
}

/// A key that authorises commands: the kinds a queue may be created or secured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicAuthKey {
    /// Verifies 64-byte signatures.
    Ed25519([u8; KEY_25519_LEN]),
    /// Verifies 114-byte signatures.
    Ed448([u8; KEY_ED448_LEN]),
    /// Agrees with the session key on a secret that opens 80-byte authenticators.
    X25519([u8; KEY_25519_LEN]),
}

impl PublicAuthKey {
    /// Decodes a SubjectPublicKeyInfo; X448 is refused.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(k) = strip(der, &SPKI_ED25519) {
            Ok(Self::Ed25519(*k))
        } else if let Some(k) = strip(der, &SPKI_X25519) {
            Ok(Self::X25519(*k))
        } else if let Some(k) = strip(der, &SPKI_ED448) {
            Ok(Self::Ed448(*k))
        } else {
            Err(KeyError::Unsupported)
        }
    }

    /// Appends the SubjectPublicKeyInfo (44 or 69 bytes).
    pub fn write_spki(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ed25519(k) => {
                out.extend_from_slice(&SPKI_ED25519);
                out.extend_from_slice(k);
            }
            Self::Ed448(k) => {
                out.extend_from_slice(&SPKI_ED448);
                out.extend_from_slice(k);
            }
            Self::X25519(k) => {
                out.extend_from_slice(&SPKI_X25519);
                out.extend_from_slice(k);
            }
        }
    }

    /// The SubjectPublicKeyInfo as a fresh vector.
    pub fn to_spki(&self) -> Vec<u8> {
        let mut v = Vec::with_capacity(MAX_SPKI_LEN);
        self.write_spki(&mut v);
        v
    }
}

/// An X25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct X25519PublicKey(pub [u8; KEY_25519_LEN]);

impl X25519PublicKey {
    /// Decodes a SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        strip(der, &SPKI_X25519)
            .copied()
            .map(Self)
            .ok_or(KeyError::Unsupported)
    }

    /// The SubjectPublicKeyInfo, 44 bytes.
    pub fn to_spki(&self) -> [u8; 44] {
        let mut der = [0; 44];
        der[..12].copy_from_slice(&SPKI_X25519);
        der[12..].copy_from_slice(&self.0);
        der
    }
}

/// An X25519 private key, zeroized when dropped.
///
/// Holds the prepared form of the library, which knows the public half: making it costs a
/// multiplication, so that it pays from the second use on.
pub struct X25519SecretKey {
    raw: Zeroizing<[u8; KEY_25519_LEN]>,
    prepared: Option<agreement::PrivateKey>,
}

/// The raw 32-byte result of an X25519 agreement, zeroized when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret(pub [u8; KEY_25519_LEN]);

impl X25519SecretKey {
    /// A fresh key.
    pub fn generate<R: RngCore + CryptoRng>(rng: &mut R) -> Self {
        let mut raw = Zeroizing::new([0; KEY_25519_LEN]);
        rng.fill_bytes(&mut raw[..]);
        Self::prepare(raw)
    }

    /// Wraps 32 raw private bytes.
    pub fn from_bytes(raw: [u8; KEY_25519_LEN]) -> Self {
        Self::prepare(Zeroizing::new(raw))
    }

    fn prepare(raw: Zeroizing<[u8; KEY_25519_LEN]>) -> Self {
        // Every 32 bytes are a private key; the library could only run out of memory.
        let prepared = agreement::PrivateKey::from_private_key(&agreement::X25519, &raw[..]).ok();
        Self { raw, prepared }
    }

    /// Decodes a PKCS#8 private key of 48 bytes.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        strip(der, &PKCS8_X25519)
            .map(|raw| Self::prepare(Zeroizing::new(*raw)))
            .ok_or(KeyError::Unsupported)
    }

    /// The PKCS#8 form, 48 bytes.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&PKCS8_X25519[..], &self.raw[..]].concat())
    }

    /// The public half.
    pub fn public_key(&self) -> X25519PublicKey {
        let mut raw = [0; KEY_25519_LEN];
        let public = self
            .prepared
            .as_ref()
            .and_then(|key| key.compute_public_key().ok());
        if let Some(public) = public {
            raw.copy_from_slice(public.as_ref());
        }
        X25519PublicKey(raw)
    }

    /// Agrees on a secret with `peer` (RFC 7748). A peer key of low order gives the all-zero
    /// secret, as in the reference: it is not an error on the wire.
    pub fn agree(&self, peer: &X25519PublicKey) -> SharedSecret {
        let mut secret = SharedSecret([0; KEY_25519_LEN]);
        if let Some(own) = &self.prepared {
            let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, peer.0);
            // An error means an all-zero result, which the zeroed secret already is.
            let _ = agreement::agree(own, peer, (), |s| {
                secret.0.copy_from_slice(s);
                Ok(())
            });
        }
        secret
    }
}

impl std::fmt::Debug for X25519SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("X25519SecretKey(..)")
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// A private key that signs: certificates, session keys, commands.
pub enum SigningKey {
    /// Ed25519 with its expanded key pair.
    Ed25519(Box<Ed25519KeyPair>, Zeroizing<[u8; KEY_25519_LEN]>),
    /// Ed448 seed; the expanded key is derived on each use because its type cannot be zeroized.
    Ed448(Zeroizing<[u8; KEY_ED448_LEN]>),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ed25519(..) => "SigningKey::Ed25519(..)",
            Self::Ed448(..) => "SigningKey::Ed448(..)",
        })
    }
}

impl SigningKey {
    /// A key from a raw Ed25519 seed.
    pub fn ed25519_from_seed(seed: [u8; KEY_25519_LEN]) -> Result<Self, KeyError> {
        Self::ed25519(&Zeroizing::new(seed))
    }

    fn ed25519(seed: &[u8; KEY_25519_LEN]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Malformed)?;
        Ok(Self::Ed25519(Box::new(pair), Zeroizing::new(*seed)))
    }

    /// A key from a raw Ed448 seed.
    pub fn ed448_from_seed(seed: [u8; KEY_ED448_LEN]) -> Self {
        Self::Ed448(Zeroizing::new(seed))
    }

    /// A fresh Ed25519 key.
    pub fn generate_ed25519<R: RngCore + CryptoRng>(rng: &mut R) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_25519_LEN]);
        rng.fill_bytes(&mut seed[..]);
        Self::ed25519(&seed)
    }

    /// A fresh Ed448 key.
    pub fn generate_ed448<R: RngCore + CryptoRng>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; KEY_ED448_LEN]);
        rng.fill_bytes(&mut seed[..]);
        Self::Ed448(seed)
    }

    /// Decodes a PKCS#8 private key (48 or 73 bytes).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(seed) = strip(der, &PKCS8_ED25519) {
            Self::ed25519(seed)
        } else if let Some(seed) = strip(der, &PKCS8_ED448) {
            Ok(Self::Ed448(Zeroizing::new(*seed)))
        } else {
            Err(KeyError::Unsupported)
        }
    }

    /// The PKCS#8 form.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Ed25519(_, seed) => [&PKCS8_ED25519[..], &seed[..]].concat(),
            Self::Ed448(seed) => [&PKCS8_ED448[..], &seed[..]].concat(),
        })
    }

    /// Signs `message` (RFC 8032, pure, empty context): 64 or 114 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(pair, _) => pair.sign(message).as_ref().to_vec(),
            Self::Ed448(seed) => crrl::ed448::PrivateKey::from_seed(&seed[..])
                .sign_raw(message)
                .to_vec(),
        }
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        use aws_lc_rs::signature::KeyPair;
        match self {
            Self::Ed25519(pair, _) => {
                let mut raw = [0; KEY_25519_LEN];
                raw.copy_from_slice(pair.public_key().as_ref());
                VerifyingKey::Ed25519(raw)
            }
            Self::Ed448(seed) => VerifyingKey::Ed448(
                crrl::ed448::PrivateKey::from_seed(&seed[..])
                    .public_key
                    .encode(),
            ),
        }
    }
}

/// A public key that verifies signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VerifyingKey {
    /// Ed25519.
    Ed25519([u8; KEY_25519_LEN]),
    /// Ed448.
    Ed448([u8; KEY_ED448_LEN]),
}

impl VerifyingKey {
    /// Decodes a SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        match PublicAuthKey::from_spki(der)? {
            PublicAuthKey::Ed25519(k) => Ok(Self::Ed25519(k)),
            PublicAuthKey::Ed448(k) => Ok(Self::Ed448(k)),
            PublicAuthKey::X25519(_) => Err(KeyError::Unsupported),
        }
    }

    /// The SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Vec<u8> {
        PublicAuthKey::from(*self).to_spki()
    }

    /// Whether `signature` is this key's signature of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(k) => UnparsedPublicKey::new(&ED25519, k)
                .verify(message, signature)
                .is_ok(),
            Self::Ed448(k) => {
                signature.len() == ED448_SIGNATURE_LEN
                    && crrl::ed448::PublicKey::decode(k)
                        .is_some_and(|k| k.verify_raw(signature, message))
            }
        }
    }
}

impl From<VerifyingKey> for PublicAuthKey {
    fn from(key: VerifyingKey) -> Self {
        match key {
            VerifyingKey::Ed25519(k) => Self::Ed25519(k),
            VerifyingKey::Ed448(k) => Self::Ed448(k),
        }
    }
}
