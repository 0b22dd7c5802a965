//! What a handshake reveals only while `rustls` runs: the client Finished and the SNI.
//!
//! `rustls` calls the hooks synchronously, so a thread-local slot cleared before and drained after
//! every call into a connection belongs to exactly that connection.

use std::cell::Cell;
use std::fmt;

/// Longest Finished value of any cipher suite (SHA-384).
const MAX_LEN: usize = 48;

/// The identifier of a TLS session: verify_data of the client's Finished message, 32 bytes in
/// TLS 1.3 and 12 bytes in TLS 1.2, kept inline (spec: protocol §2.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    len: u8,
    bytes: [u8; MAX_LEN],
}

impl SessionId {
    /// Copies `verify_data`, bytes of a Finished message; `None` when it is empty or longer than 48 bytes.
    pub fn from_bytes(verify_data: &[u8]) -> Option<Self> {
        let len = u8::try_from(verify_data.len()).ok()?;
        let mut bytes = [0; MAX_LEN];
        bytes
            .get_mut(..verify_data.len())?
            .copy_from_slice(verify_data);
        (len > 0).then_some(Self { len, bytes })
    }

    /// The identifier as it appears in the server hello.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// The empty identifier of a connection still in its handshake.
impl Default for SessionId {
    fn default() -> Self {
        Self {
            len: 0,
            bytes: [0; MAX_LEN],
        }
    }
}

impl AsRef<[u8]> for SessionId {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// What the hooks saw during one call into a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Captured {
    /// The last Finished value computed.
    pub(super) finished: Option<SessionId>,
    /// Whether a client hello carried a server name.
    pub(super) sni: bool,
}

thread_local! {
    static CAPTURED: Cell<Captured> = const {
        Cell::new(Captured { finished: None, sni: false })
    };
}

/// Empties the slot: call before entering a connection.
pub(super) fn clear() {
    CAPTURED.set(Captured::default());
}

/// Takes what was seen since [`clear`]: call after leaving a connection.
pub(super) fn take() -> Captured {
    CAPTURED.take()
}

/// Records a Finished value; a later one replaces it, because the client's comes last.
pub(super) fn note_finished(verify_data: &[u8]) {
    let seen = CAPTURED.get();
    CAPTURED.set(Captured {
        finished: SessionId::from_bytes(verify_data),
        ..seen
    });
}

/// Records that the client hello carries a server name.
pub(super) fn note_sni() {
    let seen = CAPTURED.get();
    CAPTURED.set(Captured { sni: true, ..seen });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_finished_wins_and_is_taken_once() {
        clear();
        note_finished(&[1; 32]);
        note_sni();
        note_finished(&[2; 12]);
        let seen = take();
        assert_eq!(seen.finished.unwrap().as_bytes(), [2; 12]);
        assert!(seen.sni);
        assert!(take().finished.is_none());
    }

    #[test]
    fn session_id_lengths() {
        assert!(SessionId::from_bytes(&[]).is_none());
        assert!(SessionId::from_bytes(&[0; 49]).is_none());
        assert_eq!(SessionId::from_bytes(&[7; 48]).unwrap().as_bytes(), [7; 48]);
    }
}
