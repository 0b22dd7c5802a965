//! Known answers of the wire specification, for unit tests of any module.

use std::sync::LazyLock;

use dryoc::classic::crypto_xof::crypto_xof_shake256;
use serde_json::Value;

use super::hash::sha256;
use super::keys::{X25519PublicKey, X25519SecretKey};

static FILE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/vectors.json"
    )))
    .unwrap()
});

/// The vector named `id`.
pub(crate) fn get(id: &str) -> Value {
    let all = FILE["vectors"].as_array().unwrap();
    let found = all.iter().find(|v| v["id"] == id);
    found
        .unwrap_or_else(|| panic!("no vector named {id}"))
        .clone()
}

/// Bytes of a hexadecimal value.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap_or_else(|| panic!("{value} not hex"))).unwrap()
}

/// Bytes of a hexadecimal value of a known length.
pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

/// An X25519 private key.
pub(crate) fn x25519_secret(value: &Value) -> X25519SecretKey {
    X25519SecretKey::from_bytes(array(value))
}

/// An X25519 public key.
pub(crate) fn x25519_public(value: &Value) -> X25519PublicKey {
    X25519PublicKey(array(value))
}

/// Compares with a `{len, sha256, first_bytes, last_bytes}` value.
#[track_caller]
pub(crate) fn assert_large(expected: &Value, actual: &[u8]) {
    let first = hex(&expected["first_bytes"]);
    let last = hex(&expected["last_bytes"]);
    assert_eq!(actual.len() as u64, expected["len"].as_u64().unwrap());
    assert!(actual.starts_with(&first), "first bytes differ");
    assert!(actual.ends_with(&last), "last bytes differ");
    assert_eq!(sha256(actual), array(&expected["sha256"]), "hash differs");
}

/// The deterministic bytes named `name`: private keys and the link data of the vectors.
pub(crate) fn derived(name: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    crypto_xof_shake256(&mut out, format!("smp-spec-vector/{name}").as_bytes());
    out
}

#[test]
fn vectors_load_and_derive() {
    let link = get("link_ids");
    // The command ends with the user data and an absent element.
    let command = [derived("ud", 13824), b"0".to_vec()].concat();
    assert!(command.ends_with(&hex(&link["new_messaging_v17"]["last_bytes"])));
}
