//! Old messages and notifications (spec: server §5.4, §6).
//!
//! Everything is looked through in small steps: whoever drives the shard decides how much time is
//! spent between other work.

use super::Timestamp;
use super::shard::Shard;
use crate::store::{MessageKind, QueueSlot, Store};

/// Messages removed from one queue at a time: each may have to be read from the disk.
const MESSAGES_PER_STEP: u64 = 16;
/// Messages removed before another is taken; few queues hold more.
const MESSAGES_PER_QUEUE: u64 = 256;

/// A walk over the queues with messages.
#[derive(Debug, Default)]
pub struct MessageSweep {
    after: Option<QueueSlot>,
    /// Messages removed so far.
    pub expired: u64,
}

/// A walk over the queues with waiting notifications.
#[derive(Debug, Default)]
pub struct NotificationSweep {
    after: Option<QueueSlot>,
    /// Notifications removed so far.
    pub expired: u64,
}

impl<S: Store> Shard<S> {
    /// Removes expired messages of at most `queues` queues; says whether there are more queues.
    pub fn expire_messages(
        &mut self,
        now: Timestamp,
        sweep: &mut MessageSweep,
        queues: usize,
    ) -> bool {
        for _ in 0..queues {
            let Some(slot) = self.store.next_with_messages(sweep.after) else {
                return false;
            };
            let expired = self.expire_head(now, slot, MESSAGES_PER_STEP);
            sweep.expired += expired;
            // Longer queues take several steps.
            if expired < MESSAGES_PER_STEP {
                sweep.after = Some(slot);
            }
        }
        true
    }

    /// Removes expired notifications of at most `queues` queues; says whether there are more.
    pub fn expire_notifications(
        &mut self,
        now: Timestamp,
        sweep: &mut NotificationSweep,
        queues: usize,
    ) -> bool {
        let before = now.seconds().saturating_sub(self.config.notification_ttl);
        let (last, expired) = self.notifications.expire(before, sweep.after, queues);
        sweep.after = last;
        sweep.expired += expired;
        self.counters.notifications_expired += expired;
        last.is_some()
    }

    /// Removes expired messages from the head of a queue, up to a younger one or a quota marker.
    pub(super) fn expire_queue(&mut self, now: Timestamp, slot: QueueSlot) {
        self.expire_head(now, slot, MESSAGES_PER_QUEUE);
    }

    fn expire_head(&mut self, now: Timestamp, slot: QueueSlot, most: u64) -> u64 {
        let Some(ttl) = self.config.message_ttl else {
            return 0;
        };
        let before = now.seconds().saturating_sub(ttl);
        let mut expired = 0;
        for _ in 0..most {
            let is_old = self.store.head(slot).is_some_and(|head| {
                let at = Timestamp {
                    nanos: head.time_ns,
                };
                head.kind != MessageKind::Quota && at.seconds() < before
            });
            // A full disk keeps old messages a little longer.
            if !is_old || self.store.pop_message(slot).is_err() {
                break;
            }
            expired += 1;
        }
        self.counters.messages_expired += expired;
        expired
    }
}
