//! Cryptography of SMP: pure functions over bytes, no I/O.

pub mod certificate;
pub mod keys;
