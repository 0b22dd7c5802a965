//! Known answers and the examples of the wire specification.

mod addresses;
mod batches;
mod errors;
mod handshakes;
mod known_answers;
mod syntax;

use super::{Command, Response, Version};

/// Compares both ways: `bytes` decode to `command`, and `command` encodes to `bytes`.
#[track_caller]
fn assert_command(version: u16, bytes: &[u8], command: &Command<'_>) {
    let version = Version(version);
    assert_eq!(Command::decode(bytes, version).as_ref(), Ok(command));
    let mut out = Vec::new();
    command.encode(version, &mut out);
    assert_eq!(hex::encode(&out), hex::encode(bytes));
}

/// Compares both ways: `bytes` decode to `response`, and `response` encodes to `bytes`.
#[track_caller]
fn assert_response(version: u16, bytes: &[u8], response: &Response<'_>) {
    let version = Version(version);
    assert_eq!(Response::decode(bytes, version).as_ref(), Ok(response));
    assert_encodes(version.0, response, bytes);
}

/// Compares one way: an older version spells `response` differently.
#[track_caller]
fn assert_encodes(version: u16, response: &Response<'_>, bytes: &[u8]) {
    let mut out = Vec::new();
    response.encode(Version(version), &mut out);
    assert_eq!(hex::encode(&out), hex::encode(bytes));
}
