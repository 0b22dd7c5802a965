//! The table of connections that `clients` gives (spec: operations §3.3).

use crate::relay::Listening;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::ops::AddAssign;

/// Its first line.
pub const CONNECTIONS_HEADER: &str =
    "clientId,sessionId,connected,createdAt,rcvActiveAt,sndActiveAt,age,subscriptions";

/// A connection after its handshake. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionRow {
    /// Number, not given again as long as it matters.
    pub id: u64,
    /// Id of its TLS session.
    pub session_id: Vec<u8>,
    /// When its handshake was finished.
    pub created: i64,
    /// When a block was last received.
    pub received: i64,
    /// When a block was last sent.
    pub sent: i64,
    /// What it is subscribed to.
    pub listening: Listening,
    /// Whether it subscribed to all notifications of a service.
    pub service: bool,
    /// What waits in it.
    pub backlog: Backlog,
}

/// What waits in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Commands that are not answered.
    pub commands: u64,
    /// Answers and messages to be sent.
    pub outgoing: u64,
    /// Messages that stay in their queues until there is room.
    pub deferred: u64,
}

impl AddAssign for Backlog {
    fn add_assign(&mut self, other: Self) {
        self.commands += other.commands;
        self.outgoing += other.outgoing;
        self.deferred += other.deferred;
    }
}

/// One line of the table.
pub fn connection_line(row: &ConnectionRow, now: i64) -> String {
    let ConnectionRow {
        id,
        session_id,
        created,
        received,
        sent,
        listening,
        ..
    } = row;
    let session_id = STANDARD.encode(session_id);
    let age = now.saturating_sub(*created).max(0);
    let subscriptions = listening.messages + listening.getting;
    format!("{id},{session_id},True,{created},{received},{sent},{age},{subscriptions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_columns_of_the_header() {
        let row = ConnectionRow {
            id: 7,
            session_id: vec![0xfb; 12],
            created: 1000,
            received: 1010,
            sent: 1020,
            listening: Listening {
                messages: 3,
                getting: 1,
                notifications: 8,
            },
            ..ConnectionRow::default()
        };
        let line = connection_line(&row, 1030);
        assert_eq!(line, "7,+/v7+/v7+/v7+/v7,True,1000,1010,1020,30,4");
        let columns = |line: &str| line.split(',').count();
        assert_eq!(columns(&line), columns(CONNECTIONS_HEADER));
    }
}
