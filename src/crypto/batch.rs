//! Ed25519 signatures verified together, at about half the cost of one by one.
//!
//! # What a batch accepts
//!
//! A batch that fails is verified again one by one, so a batch only ever adds to what the single
//! check ([`VerifyingKey::verify`]) accepts. What it can add: the single check compares the
//! encoding of R in the cofactorless equation and wants canonical points; the batch takes a
//! non-canonical R or key, and an equation that is off by a point of small order may cancel out
//! (how often depends on the other signatures). All of these satisfy RFC 8032's equation
//! multiplied by the cofactor, which only the holder of the private key can bring about (or
//! anybody when the public key itself is of small order, which is its owner's doing). Nothing is
//! decided by agreement on which signatures are valid, so this is harmless here; do not use a
//! batch where everybody must come to the same verdict.

use std::ops::Range;

use ed25519_dalek::{Signature, VerifyingKey as DalekKey, verify_batch};

use super::keys::{ED25519_SIGNATURE_LEN, KEY_25519_LEN, VerifyingKey};

/// Fewest signatures for which a batch is faster than single checks.
const MIN_BATCH: usize = 3;
/// Signatures verified together after a larger batch has failed.
const PART: usize = 16;

struct Item {
    key: [u8; KEY_25519_LEN],
    signature: [u8; ED25519_SIGNATURE_LEN],
    message: Range<usize>,
}

/// Collects signatures to verify together; reusable, keeps its memory.
#[derive(Default)]
pub struct Ed25519Batch {
    items: Vec<Item>,
    messages: Vec<u8>,
}

impl Ed25519Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of signatures collected.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is collected.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds the claim that `signature` is that of `key` over the concatenation of `parts`.
    pub fn push(
        &mut self,
        key: &[u8; KEY_25519_LEN],
        parts: &[&[u8]],
        signature: &[u8; ED25519_SIGNATURE_LEN],
    ) {
        let start = self.messages.len();
        for part in parts {
            self.messages.extend_from_slice(part);
        }
        self.items.push(Item {
            key: *key,
            signature: *signature,
            message: start..self.messages.len(),
        });
    }

    /// Verifies and forgets everything collected; one verdict per signature, in order of
    /// [`push`](Self::push).
    ///
    /// One wrong signature makes a batch fail. It is then verified in parts, and only the parts
    /// that fail one by one: a single wrong signature costs little, nothing but wrong ones about
    /// twice as much as single checks.
    pub fn verify(&mut self) -> Vec<bool> {
        let mut verdicts = Vec::with_capacity(self.items.len());
        if self.verify_together(&self.items) {
            verdicts.resize(self.items.len(), true);
        } else {
            for part in self.items.chunks(PART) {
                if part.len() < self.items.len() && self.verify_together(part) {
                    verdicts.resize(verdicts.len() + part.len(), true);
                } else {
                    verdicts.extend(part.iter().map(|item| {
                        VerifyingKey::Ed25519(item.key).verify(self.message(item), &item.signature)
                    }));
                }
            }
        }
        self.items.clear();
        self.messages.clear();
        verdicts
    }

    fn message(&self, item: &Item) -> &[u8] {
        self.messages.get(item.message.clone()).unwrap_or_default()
    }

    /// Whether all of `items` are valid; false also when there are too few to gain from it.
    fn verify_together(&self, items: &[Item]) -> bool {
        if items.len() < MIN_BATCH {
            return false;
        }
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            // Not a point: no signature of it is valid, only the single checks can tell the rest.
            let Ok(key) = DalekKey::from_bytes(&item.key) else {
                return false;
            };
            keys.push(key);
        }
        let messages: Vec<_> = items.iter().map(|item| self.message(item)).collect();
        let signatures: Vec<_> = items
            .iter()
            .map(|item| Signature::from_bytes(&item.signature))
            .collect();
        verify_batch(&messages, &signatures, &keys).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys::SigningKey;
    use super::*;

    fn signed(seed: u8, message: &[u8]) -> ([u8; 32], [u8; 64]) {
        let key = SigningKey::ed25519_from_seed([seed; 32]).unwrap();
        let VerifyingKey::Ed25519(public) = key.verifying_key() else {
            panic!("not Ed25519");
        };
        (public, key.sign(message).try_into().unwrap())
    }

    #[test]
    fn empty_batch_has_no_verdicts() {
        assert!(Ed25519Batch::new().verify().is_empty());
    }

    #[test]
    fn a_key_that_is_no_point_fails_alone() {
        let mut batch = Ed25519Batch::new();
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(DalekKey::from_bytes(&no_point).is_err());
        for seed in 0..4 {
            let (key, signature) = signed(seed, b"message");
            batch.push(&key, &[b"mess", b"age"], &signature);
            batch.push(&no_point, &[b"message"], &signature);
        }
        assert_eq!(batch.verify(), [true, false].repeat(4));
    }

    #[test]
    fn an_unreduced_scalar_fails_alone() {
        let mut batch = Ed25519Batch::new();
        for seed in 0..4 {
            let (key, mut signature) = signed(seed, b"message");
            if seed == 1 {
                signature[63] |= 0x80;
            }
            batch.push(&key, &[b"message"], &signature);
        }
        assert_eq!(batch.verify(), [true, false, true, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn verdicts_are_those_of_single_checks(
            mut items in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..80), proptest::option::weighted(0.1, 0..64usize)),
                0..20,
            ),
            all_good: bool,
        ) {
            let mut batch = Ed25519Batch::new();
            let mut expected = Vec::new();
            for (i, (message, tamper)) in items.iter_mut().enumerate() {
                let (key, mut signature) = signed(i as u8, message);
                if let Some(at) = tamper.filter(|_| !all_good) {
                    signature[at] ^= 1;
                }
                let (a, b) = message.split_at(message.len() / 2);
                batch.push(&key, &[a, b], &signature);
                expected.push(VerifyingKey::Ed25519(key).verify(message, &signature));
            }
            prop_assert_eq!(batch.len(), expected.len());
            prop_assert_eq!(batch.verify(), expected);
            prop_assert!(batch.is_empty());
        }
    }
}
