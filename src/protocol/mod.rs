//! Bytes and types of the SMP wire.
