//! What makes a world go on: mail, the clock, ticks, services and notifiers.

use super::clients::{Client, Key, Queue, ed25519, new_queue, recipient_dh, words};
use super::world::World;
use crate::crypto::keys::SharedSecret;
use crate::crypto::message::decrypt_notification;
use crate::crypto::smp_box::BoxKey;
use crate::protocol::command::{NotifierCredentials, QueueRequest, ServiceQueues};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::{Command, Response};
use crate::relay::expiry::{MessageSweep, NotificationSweep};
use crate::relay::{Counters, ServiceRegistration, SessionRef, Shard, Timestamp};
use crate::store::Id;

/// `NSUBS` of today's version.
pub const NSUBS: Command<'static> = Command::NSubs(ServiceQueues::UNKNOWN);

/// A flagged message.
pub const FLAGGED: Command<'static> = Command::Send {
    notify: true,
    body: b"flagged",
};

/// A queue's notifier as who is to be notified knows it.
#[derive(Debug)]
pub struct Notifier {
    pub id: Id,
    pub key: Key,
    secret: SharedSecret,
}

impl Notifier {
    /// The notifier that a `NID` answers for.
    #[track_caller]
    pub fn from_nid(key: Key, response: &Response<'_>) -> Self {
        let Response::Nid {
            notifier_id,
            dh_key,
        } = response
        else {
            panic!("{response:?} instead of NID");
        };
        Self {
            id: notifier_id[..].try_into().unwrap(),
            key,
            secret: recipient_dh().agree(dh_key),
        }
    }

    /// The id and time of the message that an `NMSG` tells of.
    #[track_caller]
    pub fn open(&self, response: &Response<'_>) -> (Id, i64) {
        let Response::NMsg { nonce, boxed } = response else {
            panic!("{response:?} instead of NMSG");
        };
        let mut boxed = boxed.to_vec();
        let meta = decrypt_notification(&BoxKey::from(&self.secret), nonce, &mut boxed).unwrap();
        (meta.msg_id.try_into().unwrap(), meta.timestamp)
    }
}

/// Parameters of `NKEY`.
pub fn credentials(key: &Key) -> NotifierCredentials {
    NotifierCredentials {
        auth_key: key.public(),
        dh_key: recipient_dh().public_key(),
    }
}

impl World {
    /// Delivers mail between shards until there is none.
    pub fn deliver_all(&mut self) {
        while !self.mail.is_empty() {
            self.deliver_mail(0);
        }
    }

    /// The same in an order that `picks` decides; between two shards mail is not reordered.
    pub fn deliver_shuffled(&mut self, mut picks: u64) {
        while !self.mail.is_empty() {
            let at = (picks % self.mail.len() as u64) as usize;
            picks = picks.rotate_right(5);
            let (from, to, _) = self.mail[at];
            let oldest = self.mail.iter().position(|m| (m.0, m.1) == (from, to));
            self.deliver_mail(oldest.unwrap());
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, seconds: i64) {
        self.now = Timestamp {
            nanos: self.now.nanos + seconds * 1_000_000_000,
        };
    }

    /// Delivers notifications on every shard.
    pub fn tick(&mut self) {
        for shard in 0..self.partitioner.shards() {
            self.tick_in_steps(shard, 64);
        }
    }

    /// Delivers notifications on a shard, `queues` at a time; says in how many steps.
    pub fn tick_in_steps(&mut self, shard: u16, queues: usize) -> usize {
        self.shards[usize::from(shard)].begin_notification_tick();
        let mut steps = 0;
        loop {
            steps += 1;
            let mut effects = Vec::new();
            let more = self.shards[usize::from(shard)].deliver_notifications(queues, &mut effects);
            self.collect(shard, effects);
            if !more {
                return steps;
            }
        }
    }

    /// A session has room for notifications of a shard again.
    pub fn taken(&mut self, shard: u16, client: &Client, count: u32) {
        let mut effects = Vec::new();
        self.shards[usize::from(shard)].notifications_taken(client.session, count, &mut effects);
        self.collect(shard, effects);
    }

    /// Drops expired messages on every shard, `queues` queues at a time; says how many.
    pub fn expire_messages(&mut self, queues: usize) -> u64 {
        let expire = |shard: &mut Shard<_>| {
            let mut sweep = MessageSweep::default();
            while shard.expire_messages(self.now, &mut sweep, queues) {}
            sweep.expired
        };
        self.shards.iter_mut().map(expire).sum()
    }

    /// Drops expired notifications on every shard, `queues` queues at a time; says how many.
    pub fn expire_notifications(&mut self, queues: usize) -> u64 {
        let expire = |shard: &mut Shard<_>| {
            let mut sweep = NotificationSweep::default();
            while shard.expire_notifications(self.now, &mut sweep, queues) {}
            sweep.expired
        };
        self.shards.iter_mut().map(expire).sum()
    }

    /// Notifications waiting on all shards.
    pub fn waiting_notifications(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(Shard::waiting_notifications).sum()
    }

    /// What all shards have counted.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum += shard.counters();
        }
        sum
    }

    /// What moved since `before`, by name.
    pub fn counted_since(&self, before: &Counters) -> Vec<(&'static str, u64)> {
        let moved = self.counters();
        let moved = moved.iter().zip(before.iter());
        let moved = moved.map(|((name, now), (_, then))| (name, now - then));
        moved.filter(|(_, count)| *count > 0).collect()
    }

    /// Registers a service by its certificate, or asks for its id again.
    pub fn register(&mut self, role: ServiceRole, certificate: u8) -> Option<Id> {
        let fingerprint = [certificate; 32];
        let home = self.partitioner.shard_of(&[certificate; 24]);
        let registration = ServiceRegistration {
            core: 0,
            token: 0,
            role,
            fingerprint,
            chain: vec![vec![certificate]],
        };
        let mut effects = Vec::new();
        self.shards[usize::from(home)].register_service(self.now, registration, &mut effects);
        self.collect(home, effects);
        self.registered.pop().flatten()
    }

    /// A connection of a service.
    #[track_caller]
    pub fn service(&mut self, slot: u32, role: ServiceRole, certificate: u8) -> Client {
        let id = self.register(role, certificate).unwrap();
        Client::of_service(slot, id, role, [certificate; 32])
    }

    /// A connection of a notification service.
    #[track_caller]
    pub fn ntf_service(&mut self, slot: u32, certificate: u8) -> Client {
        self.service(slot, ServiceRole::Notifier, certificate)
    }

    /// The shard that knows the subscriber of a client's service first.
    pub fn home(&self, client: &Client) -> u16 {
        self.partitioner.shard_of(&client.service_id())
    }

    /// Begins to make a session the subscriber of its service.
    pub fn start_join(&mut self, client: &Client) {
        let home = self.home(client);
        let mut effects = Vec::new();
        self.shards[usize::from(home)].join_service(
            client.session,
            &client.service_id(),
            &mut effects,
        );
        self.collect(home, effects);
    }

    /// Tells the home of a service that a connection of it has ended.
    pub fn leave(&mut self, client: &Client) {
        let home = self.home(client);
        let mut effects = Vec::new();
        self.shards[usize::from(home)].leave_service(
            client.session,
            &client.service_id(),
            &mut effects,
        );
        self.collect(home, effects);
    }

    /// `NSUBS`, answered with the number of queues.
    #[track_caller]
    pub fn nsubs(&mut self, client: &Client) -> String {
        let key = client.service_key.as_ref();
        let answer = self.ask(client, key, &client.service_id(), &NSUBS);
        self.deliver_all();
        words(&answer)
    }

    /// `NSUB`; a service's connection that is not the subscriber of its service becomes it.
    #[track_caller]
    pub fn nsub(&mut self, client: &Client, notifier: &Notifier) -> String {
        let answer = self.ask(client, Some(&notifier.key), &notifier.id, &Command::NSub);
        if client.context.service().is_some() && matches!(answer, Response::Sok(_)) {
            let home = usize::from(self.home(client));
            let subscriber = self.shards[home].services.subscriber(&client.service_id());
            if subscriber != Some(client.session) {
                self.start_join(client);
                self.deliver_all();
            }
        }
        words(&answer)
    }

    /// A messaging queue on a shard.
    #[track_caller]
    pub fn queue_on(&mut self, shard: u16, client: &Client) -> Queue {
        let key = ed25519(0x11);
        let request = Some(QueueRequest::Messaging(None));
        let new = Command::New(new_queue(&key, request));
        let bytes = client.transmission(Some(&key), &[], &new);
        let ids = self.ask_shard(shard, client, bytes);
        Queue::from_ids(key, &ids)
    }

    /// Enables notifications of a queue; `seed` makes the notifier's key.
    #[track_caller]
    pub fn notifier(&mut self, client: &Client, queue: &Queue, seed: u8) -> Notifier {
        let key = ed25519(seed);
        let nkey = Command::NKey(credentials(&key));
        let answer = self.ask(client, Some(&queue.key), &queue.recipient, &nkey);
        Notifier::from_nid(key, &answer)
    }

    /// Sends flagged messages to a queue.
    #[track_caller]
    pub fn flag(&mut self, client: &Client, queue: &Queue, count: usize) {
        for _ in 0..count {
            let answer = self.ask(client, None, &queue.sender, &FLAGGED);
            assert_eq!(words(&answer), "OK");
        }
    }

    /// The pushes so far: to whom, about what, in words.
    pub fn take_events(&mut self) -> Vec<(SessionRef, Id, String)> {
        let pushes = std::mem::take(&mut self.pushes).into_iter();
        let in_words = pushes.map(|(session, id, event)| (session, id, words(&event)));
        in_words.collect()
    }

    /// How many notifications each session was given, in the order of their first.
    pub fn take_notified(&mut self) -> Vec<(SessionRef, usize)> {
        let mut counts: Vec<(SessionRef, usize)> = Vec::new();
        for (session, _, event) in self.take_events() {
            assert_eq!(event, "NMSG");
            match counts.iter_mut().find(|(s, _)| *s == session) {
                Some((_, count)) => *count += 1,
                None => counts.push((session, 1)),
            }
        }
        counts
    }
}
