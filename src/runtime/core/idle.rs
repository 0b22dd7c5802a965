//! Connections that say nothing and listen to nothing (spec: server §8).

use super::{Core, CoreMessage};
use crate::relay::SessionRef;
use std::time::Duration;

/// A silent session whose shards are asked whether it is subscribed to anything.
#[derive(Debug)]
pub(super) struct IdleCheck {
    /// Shards that have not answered.
    awaited: usize,
    ttl: Duration,
}

impl Core {
    /// Closes connections that were silent for `ttl`, unless they are subscribed to something:
    /// the shards they have used are asked.
    pub fn close_idle(&self, ttl: Duration) {
        let mut answers = Vec::new();
        for (_, (_, connection)) in &self.sessions.borrow().table {
            let session = connection.session.borrow();
            if connection.idle_for() <= ttl || session.holds_service_subscription() {
                continue;
            }
            let reference = session.reference();
            let shards = session.touched_shards();
            let awaited = shards.len().max(1);
            self.idle
                .borrow_mut()
                .insert(reference, IdleCheck { awaited, ttl });
            if shards.is_empty() {
                answers.push((reference, false));
            }
            for shard in shards {
                if *shard == self.index {
                    answers.push((reference, self.shard.borrow().has_subscriptions(reference)));
                } else {
                    self.mesh
                        .send(*shard, CoreMessage::AskSubscribed(reference));
                }
            }
        }
        for (session, subscribed) in answers {
            self.note_subscribed(session, subscribed);
        }
        self.mesh.announce();
    }

    /// A shard has said whether a silent session is subscribed to anything of it.
    pub(super) fn note_subscribed(&self, session: SessionRef, subscribed: bool) {
        let mut idle = self.idle.borrow_mut();
        let Some(check) = idle.get_mut(&session) else {
            return;
        };
        check.awaited -= 1;
        if !subscribed && check.awaited > 0 {
            return;
        }
        let ttl = check.ttl;
        idle.remove(&session);
        // It may have spoken meanwhile.
        if let Some(connection) = self.connection(session)
            && !subscribed
            && connection.idle_for() > ttl
        {
            connection.aborted.set(true);
            connection.wake();
        }
    }
}
