//! Random fields from which commands, responses and hellos are put together.

use proptest::prelude::*;
use smp_server::crypto::keys::{PublicAuthKey, X25519PublicKey};

/// Fields that any message may have.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Short strings, 0 to 255 bytes.
    pub ids: [Vec<u8>; 4],
    /// Long strings and bodies.
    pub large: [Vec<u8>; 2],
    pub auth_keys: Vec<PublicAuthKey>,
    pub dh_keys: [X25519PublicKey; 2],
    pub flags: [bool; 4],
    pub password: Option<String>,
    pub number: i64,
    pub word: u16,
    pub hash: [u8; 16],
    pub nonce: [u8; 24],
    pub domain: String,
}

fn short() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 24),
        1 => prop::collection::vec(any::<u8>(), 0..=255),
        1 => Just(Vec::new()),
        1 => Just(vec![b' '; 255]),
    ]
}

fn large() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..300),
        1 => prop::collection::vec(any::<u8>(), 16_000..16_100),
    ]
}

pub fn auth_key() -> impl Strategy<Value = PublicAuthKey> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(PublicAuthKey::Ed25519),
        any::<[u8; 32]>().prop_map(PublicAuthKey::X25519),
        prop::collection::vec(any::<u8>(), 57).prop_map(|bytes| {
            let mut key = [0; 57];
            key.copy_from_slice(&bytes);
            PublicAuthKey::Ed448(key)
        }),
    ]
}

pub fn dh_key() -> impl Strategy<Value = X25519PublicKey> {
    any::<[u8; 32]>().prop_map(X25519PublicKey)
}

/// Printable ASCII without blanks and separators.
pub fn password() -> impl Strategy<Value = String> {
    "[!-.0-9;-?A-~]{1,255}"
}

prop_compose! {
    pub fn parts()(
        ids in [short(), short(), short(), short()],
        large in [large(), large()],
        auth_keys in prop_oneof![
            4 => prop::collection::vec(auth_key(), 1..4),
            1 => prop::collection::vec(auth_key(), 255),
        ],
        dh_keys in [dh_key(), dh_key()],
        flags in any::<[bool; 4]>(),
        password in prop::option::of(password()),
        (number, word) in any::<(i64, u16)>(),
        (hash, nonce) in any::<([u8; 16], [u8; 24])>(),
        domain in "[a-z0-9]{1,60}(-[a-z0-9]{1,2})?(\\.[a-z0-9]{1,40}){1,4}",
    ) -> Parts {
        Parts {
            ids, large, auth_keys, dh_keys, flags, password, number, word, hash, nonce, domain,
        }
    }
}
