//! Giving out what waits, in steps.

use super::Notifications;
use crate::crypto::message::encrypt_notification;
use crate::crypto::smp_box::BoxKey;
use crate::crypto::smp_box::Nonce;
use crate::protocol::Response;
use crate::relay::effect::Effect;
use crate::relay::session_ref::SessionRef;
use crate::relay::shard::Shard;
use crate::store::{Id, Note, NotifierRecord, QueueSlot, Store};
use rand::RngCore;
use std::collections::hash_map::Entry;

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
    pub(in crate::relay) fn notify(
        &mut self,
        slot: QueueSlot,
        notifier_id: Id,
        message_id: Id,
        at: i64,
    ) {
        let note = Note::new(message_id, at);
        let displaced = self.notifications.add(slot, notifier_id, note);
        self.counters.notifications_lost += u64::from(displaced);
    }

    /// Begins the delivery of what waits; [`deliver_notifications`](Self::deliver_notifications)
    /// does it in steps.
    pub fn begin_notification_tick(&mut self) {
        self.notifications.begin_tick();
    }

    /// Delivers notifications of at most `queues` queues, and looks at as many others for services
    /// with a new subscriber; says whether there are more.
    pub fn deliver_notifications(&mut self, queues: usize, effects: &mut Vec<Effect>) -> bool {
        let mut batches = Batches::default();
        for _ in 0..queues {
            let Some(slot) = self.notifications.next_due() else {
                break;
            };
            self.deliver_queue(slot, &mut batches);
        }
        self.send_batches(batches, effects);
        self.scan_services(queues);
        self.notifications.is_ticking()
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
    fn scan_services(&mut self, queues: usize) {
        let Some((service_id, slots)) = self.notifications.scan(queues) else {
            return;
        };
        if let Some(subscriber) = self.services.subscriber(&service_id) {
            for slot in slots {
                let notifier = self.store.queue(slot).notifier;
                let is_of_service = notifier.and_then(|n| n.service_id) == Some(service_id);
                // What waits for the subscriber to take something keeps its place.
                if is_of_service && !self.notifications.waits_for(slot, subscriber) {
                    self.notifications.wake(slot);
                }
            }
        }
        self.notifications.scanned(queues);
    }

    fn deliver_queue(&mut self, slot: QueueSlot, batches: &mut Batches) {
        let Some(notifier) = self.store.queue(slot).notifier else {
            return;
        };
        let Some(session) = self.notification_subscriber(slot, &notifier) else {
            return;
        };
        let key = BoxKey::from(&notifier.dh_secret);
        for note in self.notifications.take(slot, session) {
            let (nonce, boxed) = match note.sealed {
                Some(sealed) => (sealed.nonce, sealed.boxed),
                None => {
                    let mut nonce = Nonce::default();
                    self.rng.fill_bytes(&mut nonce);
                    let boxed = encrypt_notification(&key, &nonce, &note.message_id, note.at);
                    // The metadata always fits its box.
                    let Ok(boxed) = boxed else { continue };
                    (nonce, boxed)
                }
            };
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
            None => self.notifications.subscriber(slot),
        }
    }

    fn send_batches(&mut self, batches: Batches, effects: &mut Vec<Effect>) {
        for (session, notifications) in batches.0 {
            let count = notifications.len() as u64;
            self.counters.notifications_delivered += count;
            self.counters.notification_batches += self.notifications.count_given(session, count);
            effects.push(Effect::Notify {
                session,
                notifications,
            });
        }
    }
}

impl Notifications {
    /// Counts what a session is given within a tick; returns how many batches more that makes.
    fn count_given(&mut self, session: SessionRef, count: u64) -> u64 {
        let batches = |given: u64| given / COUNTED_BATCH + 1;
        match self.tick_given.entry(session) {
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                *entry.get_mut() += count;
                batches(before + count) - batches(before)
            }
            Entry::Vacant(entry) => batches(*entry.insert(count)),
        }
    }
}
