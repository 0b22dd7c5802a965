//! Bytes that are almost right, and bytes that are not at all.

use proptest::prelude::*;
use proptest::sample::Index;

/// A small damage.
#[derive(Debug, Clone)]
pub enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Truncate(Index),
    Append(Vec<u8>),
}

pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // Bytes with a meaning somewhere do more harm than others.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b" 01TFMCSNPAER\x00\x01\x2c\x45\xff".to_vec())
    ];
    let one = prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Truncate),
        prop::collection::vec(byte, 1..20).prop_map(Mutation::Append),
    ];
    prop::collection::vec(one, 1..4)
}

/// Damages `bytes`.
pub fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let len = bytes.len();
        match mutation {
            Mutation::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            Mutation::Append(more) => bytes.extend_from_slice(more),
            _ if len == 0 => {}
            Mutation::Replace(at, byte) => bytes[at.index(len)] = *byte,
            Mutation::Remove(at) => {
                bytes.remove(at.index(len));
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(len)),
        }
    }
}

/// Any bytes, half of them behind a word that a decoder knows.
pub fn bytes(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(any::<u8>(), 0..600);
    (prop::option::of(prop::sample::select(words)), tail).prop_map(|(word, tail)| match word {
        Some(word) => [word.as_bytes(), b" ", &tail].concat(),
        None => tail,
    })
}
