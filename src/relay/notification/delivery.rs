//! Giving out what waits, in steps.

use super::Progress;
use crate::crypto::message::encrypt_notification;
use crate::crypto::smp_box::BoxKey;
use crate::protocol::Response;
use crate::relay::effect::Effect;
use crate::relay::session_ref::SessionRef;
use crate::relay::shard::Shard;
use crate::store::{Id, NotifierRecord, QueueSlot, Store};
use rand::RngCore;
use std::ops::Bound;

/// Notifications in what the reference counts as one batch.
const COUNTED_BATCH: u64 = 80;

/// What a step of delivery found.
#[derive(Debug, Default)]
struct Batches(Vec<(SessionRef, Vec<(Id, Response<'static>)>)>);

impl Batches {
    fn of(&mut self, session: SessionRef) -> &mut Vec<(Id, Response<'static>)> {
        let at = match self.0.iter().position(|(s, _)| *s == session) {
            Some(at) => at,
            None => {
                self.0.push((session, Vec::new()));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }
}

impl<S: Store> Shard<S> {
    /// Notes that a message with the notification flag has come.
    pub(in crate::relay) fn notify(&mut self, slot: QueueSlot, message_id: Id, at: i64) {
        let displaced = self.notifications.add(slot, message_id, at);
        self.counters.notifications_lost += u64::from(displaced);
    }

    /// Begins the delivery of what waits; [`deliver_notifications`](Self::deliver_notifications)
    /// does it in steps.
    pub fn begin_notification_tick(&mut self) {
        self.notifications.begin_tick();
    }

    /// Delivers notifications of at most `queues` queues; says whether there are more.
    pub fn deliver_notifications(&mut self, queues: usize, effects: &mut Vec<Effect>) -> bool {
        let more = self.scan_services(queues);
        let mut batches = Batches::default();
        for _ in 0..queues.min(self.notifications.in_tick) {
            self.notifications.in_tick -= 1;
            let Some(slot) = self.notifications.due.pop_front() else {
                break;
            };
            // Otherwise the queue is gone, or was dealt with already.
            if self.notifications.progress(slot) == Some(Progress::Due) {
                self.notifications.set_progress(slot, Progress::Idle);
                self.deliver_queue(slot, &mut batches);
            }
        }
        self.send_batches(batches, effects);
        more || self.notifications.in_tick > 0
    }

    /// A session has taken `count` notifications: it can be given as many more.
    pub fn notifications_taken(
        &mut self,
        session: SessionRef,
        count: u32,
        effects: &mut Vec<Effect>,
    ) {
        let Some(window) = self.notifications.windows.get_mut(&session) else {
            return;
        };
        window.given = window.given.saturating_sub(count as usize);
        let mut batches = Batches::default();
        while let Some(slot) = self.notifications.next_blocked(session) {
            self.deliver_queue(slot, &mut batches);
        }
        self.send_batches(batches, effects);
        self.notifications.drop_empty_window(session);
    }

    /// Looks for waiting notifications of services that got a subscriber.
    fn scan_services(&mut self, queues: usize) -> bool {
        let Some((service_id, after)) = self.notifications.scans.pop_front() else {
            return false;
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let slots: Vec<_> = self
            .notifications
            .queues
            .range((start, Bound::Unbounded))
            .take(queues)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in &slots {
            let notifier = self.store.queue(*slot).notifier;
            if notifier.and_then(|n| n.service_id) == Some(service_id) {
                self.notifications.wake(*slot);
            }
        }
        match slots.last() {
            Some(last) if slots.len() == queues => {
                self.notifications
                    .scans
                    .push_back((service_id, Some(*last)));
            }
            // What it found is delivered in this tick.
            _ => self.notifications.in_tick = self.notifications.due.len(),
        }
        true
    }

    fn deliver_queue(&mut self, slot: QueueSlot, batches: &mut Batches) {
        let Some(notifier) = self.store.queue(slot).notifier else {
            return;
        };
        let Some(session) = self.notification_subscriber(slot, &notifier) else {
            return;
        };
        let key = BoxKey::from(&notifier.dh_secret);
        for notification in self.notifications.take(slot, session) {
            let mut nonce = [0; 24];
            self.rng.fill_bytes(&mut nonce);
            let boxed =
                encrypt_notification(&key, &nonce, &notification.message_id, notification.at);
            // The metadata always fits its box.
            let Ok(boxed) = boxed else { continue };
            let event = Response::NMsg {
                nonce,
                boxed: boxed.to_vec().into(),
            };
            batches.of(session).push((notifier.notifier_id, event));
        }
    }

    /// Who is told of a queue's messages.
    pub(in crate::relay) fn notification_subscriber(
        &self,
        slot: QueueSlot,
        notifier: &NotifierRecord,
    ) -> Option<SessionRef> {
        match notifier.service_id {
            Some(service_id) => self.services.subscriber(&service_id),
            None => self.notifications.subscribers.get(&slot).copied(),
        }
    }

    fn send_batches(&mut self, batches: Batches, effects: &mut Vec<Effect>) {
        for (session, notifications) in batches.0 {
            let count = notifications.len() as u64;
            self.counters.notifications_delivered += count;
            self.counters.notification_batches += count / COUNTED_BATCH + 1;
            effects.push(Effect::Notify {
                session,
                notifications,
            });
        }
    }
}
