//! The table of connections that `clients` gives (spec: operations §3.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Its first line.
pub const CONNECTIONS_HEADER: &str =
    "clientId,sessionId,connected,createdAt,rcvActiveAt,sndActiveAt,age,subscriptions";

/// A connection after its handshake. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Number, never given again.
    pub id: u64,
    /// Id of its TLS session.
    pub session_id: Vec<u8>,
    /// When its handshake was finished.
    pub created: i64,
    /// When a block was last received.
    pub received: i64,
    /// When a block was last sent.
    pub sent: i64,
    /// Queues it is subscribed to or fetches from.
    pub subscriptions: usize,
}

/// One line of the table.
pub fn connection_line(row: &ConnectionRow, now: i64) -> String {
    let ConnectionRow {
        id,
        session_id,
        created,
        received,
        sent,
        subscriptions,
    } = row;
    let session_id = STANDARD.encode(session_id);
    let age = now.saturating_sub(*created).max(0);
    format!("{id},{session_id},True,{created},{received},{sent},{age},{subscriptions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_field_for_each_title() {
        let row = ConnectionRow {
            id: 7,
            session_id: vec![0xfb; 3],
            created: 1_000,
            received: 1_010,
            sent: 1_020,
            subscriptions: 3,
        };
        let line = connection_line(&row, 1_060);
        assert_eq!(line, "7,+/v7,True,1000,1010,1020,60,3");
        let fields = |line: &str| line.split(',').count();
        assert_eq!(fields(&line), fields(CONNECTIONS_HEADER));
    }
}
