//! Connections and subscriptions, as `server-info` gives them (spec: operations §3.3).

use super::Role;
use super::connections::{Backlog, ConnectionRow};
use crate::control::Overview;
use crate::relay::Listening;
use std::fmt::Write;

/// What all connections have together.
#[derive(Debug, Clone, Default)]
pub struct ConnectionSums {
    listening: Listening,
    backlog: Backlog,
    /// Connections that are subscribed to queues, and what waits in them.
    subscribed: u64,
    subscribed_backlog: Backlog,
    /// The same of connections that are subscribed to notifications.
    notified: Vec<u64>,
    notified_backlog: Backlog,
}

impl ConnectionSums {
    /// Adds a connection.
    pub fn add(&mut self, row: &ConnectionRow) {
        self.listening += row.listening;
        self.backlog += row.backlog;
        if row.listening.messages > 0 {
            self.subscribed += 1;
            self.subscribed_backlog += row.backlog;
        }
        if row.listening.notifications > 0 || row.service {
            self.notified.push(row.id);
            self.notified_backlog += row.backlog;
        }
    }
}

/// The answer to `server-info`; an admin sees more.
///
/// The reference has queues between the threads of a client: their counterparts are commands that
/// are not answered, what is to be sent, and messages for which there was no room.
pub fn server_info(overview: &Overview, sums: &ConnectionSums, role: Role) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(out, "Threads: {}", overview.threads);
    let _ = writeln!(out, "Clients: {}", overview.sessions);
    if role >= Role::Admin {
        put_connections(&mut out, sums);
    }
    let messages = &overview.message_subscriptions;
    let notifications = &overview.notification_subscriptions;
    let ids: Vec<_> = sums.notified.iter().map(u64::to_string).collect();
    let ids = ids.join(",");
    let _ = write!(
        out,
        "SMP subscriptions: {}\n\
         SMP subscribed clients: {subscribed}\n\
         SMP subscribed clients count 2: {subscribed}\n\
         Ntf subscriptions: {}\n\
         Ntf subscribed clients: {notified} [{ids}]\n\
         Ntf subscribed clients count 2: {notified} fromList [{ids}]\n",
        messages.queues,
        notifications.queues,
        subscribed = messages.sessions.len(),
        notified = notifications.sessions.len(),
    );
    out
}

fn put_connections(out: &mut String, sums: &ConnectionSums) {
    let Listening {
        messages,
        getting,
        notifications,
    } = sums.listening;
    let queues = |backlog: &Backlog| {
        let Backlog {
            commands,
            outgoing,
            deferred,
        } = backlog;
        format!("({commands},{outgoing},{deferred})")
    };
    // Subscriptions whose message waits for room are those that have a thread in the reference.
    let waiting = sums.backlog.deferred.min(messages);
    let _ = write!(
        out,
        "Client queues (rcvQ, sndQ, msgQ): {}\n\
         SMP subscriptions (via clients): {}\n\
         SMP subscriptions (by group: NoSub, SubPending, SubThread, ProhibitSub): \
         ({},0,{waiting},{getting})\n\
         SMP subscribed clients (via clients): {}\n\
         SMP subscribed clients queues (via clients, rcvQ, sndQ, msgQ): {}\n\
         Ntf subscriptions (via clients): {notifications}\n\
         Ntf subscribed clients (via clients): {}\n\
         Ntf subscribed clients queues (via clients, rcvQ, sndQ, msgQ): {}\n",
        queues(&sums.backlog),
        messages + getting,
        messages - waiting,
        sums.subscribed,
        queues(&sums.subscribed_backlog),
        sums.notified.len(),
        queues(&sums.notified_backlog),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, messages: u64, getting: u64, notifications: u64) -> ConnectionRow {
        ConnectionRow {
            id,
            listening: Listening {
                messages,
                getting,
                notifications,
            },
            backlog: Backlog {
                commands: 1,
                outgoing: 10,
                deferred: u64::from(messages > 0),
            },
            ..ConnectionRow::default()
        }
    }

    #[test]
    fn an_admin_sees_what_connections_have_together() {
        let mut sums = ConnectionSums::default();
        sums.add(&row(1, 5, 2, 0));
        sums.add(&row(4, 0, 0, 3));
        sums.add(&ConnectionRow {
            service: true,
            ..row(9, 0, 0, 0)
        });
        let overview = Overview {
            threads: 20,
            sessions: 3,
            ..Overview::default()
        };
        assert_eq!(
            server_info(&overview, &sums, Role::Admin),
            "Threads: 20\n\
             Clients: 3\n\
             Client queues (rcvQ, sndQ, msgQ): (3,30,1)\n\
             SMP subscriptions (via clients): 7\n\
             SMP subscriptions (by group: NoSub, SubPending, SubThread, ProhibitSub): (4,0,1,2)\n\
             SMP subscribed clients (via clients): 1\n\
             SMP subscribed clients queues (via clients, rcvQ, sndQ, msgQ): (1,10,1)\n\
             Ntf subscriptions (via clients): 3\n\
             Ntf subscribed clients (via clients): 2\n\
             Ntf subscribed clients queues (via clients, rcvQ, sndQ, msgQ): (2,20,0)\n\
             SMP subscriptions: 0\n\
             SMP subscribed clients: 0\n\
             SMP subscribed clients count 2: 0\n\
             Ntf subscriptions: 0\n\
             Ntf subscribed clients: 0 [4,9]\n\
             Ntf subscribed clients count 2: 0 fromList [4,9]\n"
        );
        let user = server_info(&overview, &sums, Role::User);
        assert!(user.starts_with("Threads: 20\nClients: 3\nSMP subscriptions: 0\n"));
        assert_eq!(user.lines().count(), 8);
    }
}
