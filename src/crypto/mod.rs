//! Cryptography of SMP: pure functions over bytes, no I/O.

pub mod authorization;
pub mod batch;
pub mod certificate;
pub mod chain;
pub mod hash;
pub mod keys;
pub mod message;
pub mod pad;
pub mod proxy_layers;
pub mod signed_key;
pub mod smp_box;

#[cfg(test)]
pub(crate) mod vectors;
