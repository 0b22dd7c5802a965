//! Properties of the wire codecs: what is encoded decodes to itself at every version, and no bytes
//! whatever make a decoder panic or keep more than it was given.

mod addresses;
mod batches;
mod bounds;
mod commands;
mod handshakes;
mod mutation;
mod parts;
mod responses;

use smp_server::protocol::Version;

/// Versions that the codecs know.
fn versions() -> impl Iterator<Item = Version> {
    (Version::MIN.0..=Version::NEWEST_KNOWN.0).map(Version)
}
