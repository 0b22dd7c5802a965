//! Several shards, a clock, and the mail between them.

use super::clients::{Client, Key, Queue, ed25519, new_queue};
use super::disk::TestStore;
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, Response, Version};
use crate::relay::subscription::Mode;
use crate::relay::{
    Answer, Effect, OperatorAnswer, Partitioner, PeerMessage, Request, SessionRef, Shard,
    ShardConfig, Ticket, Timestamp,
};
use crate::store::{Id, IdKind, Location, QueueRecord, QueueSlot, Store};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// A small quota, so that tests reach it.
pub const QUOTA: usize = 4;

/// How a session listens to a queue (spec: server §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Not at all.
    N,
    /// Subscribed, nothing delivered.
    I,
    /// Subscribed, a message delivered.
    D,
    /// Used GET, nothing delivered.
    G,
    /// Used GET, a message delivered.
    GD,
}

/// Shards and what has left them.
#[derive(Debug)]
pub struct World {
    pub shards: Vec<Shard<TestStore>>,
    pub partitioner: Partitioner,
    pub now: Timestamp,
    /// Pushes since they were last taken.
    pub pushes: Vec<(SessionRef, Id, Response<'static>)>,
    /// Answers since they were last taken.
    pub replies: Vec<(SessionRef, Ticket, Answer)>,
    /// Mail between shards: from, to, what.
    pub mail: Vec<(u16, u16, PeerMessage)>,
    /// Sessions that asked for a message that is not there.
    pub nothing: Vec<SessionRef>,
    /// Commands whose answers wait for the disk.
    pub executed: Vec<(SessionRef, Ticket)>,
    /// Answers to services that registered.
    pub registered: Vec<Option<Id>>,
    /// Sessions that became subscribers of their service.
    pub joined: Vec<SessionRef>,
    /// Answers to the operator.
    pub operator: Vec<OperatorAnswer>,
}

impl World {
    /// `shards` empty shards with seeded random numbers, on a day in 2026.
    pub fn new(shards: u16) -> Self {
        Self::configured(shards, |_| {})
    }

    /// Like [`new`](Self::new), with changes to the configuration.
    pub fn configured(shards: u16, change: impl Fn(&mut ShardConfig)) -> Self {
        let partitioner = Partitioner::new(&[0x5a; 16], shards);
        let shard = |index| {
            let mut config = ShardConfig {
                index,
                partitioner: partitioner.clone(),
                queue_quota: QUOTA,
                new_queues: true,
                create_password: None,
                message_ttl: None,
                expire_on_send: false,
                notification_ttl: 86_400,
                day_starts_at: 0,
            };
            change(&mut config);
            let rng = ChaCha20Rng::seed_from_u64(u64::from(index));
            Shard::new(config, TestStore::default(), rng)
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            partitioner: partitioner.clone(),
            now: Timestamp {
                nanos: 1_790_000_000_123_456_789,
            },
            pushes: Vec::new(),
            replies: Vec::new(),
            mail: Vec::new(),
            nothing: Vec::new(),
            executed: Vec::new(),
            joined: Vec::new(),
            registered: Vec::new(),
            operator: Vec::new(),
        }
    }

    /// Sorts what a shard wants done.
    pub fn collect(&mut self, from: u16, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply {
                    session,
                    ticket,
                    answer,
                } => self.replies.push((session, ticket, answer)),
                Effect::Push {
                    session,
                    entity,
                    event,
                } => self.pushes.push((session, entity, event)),
                Effect::NothingToRedeliver { session } => self.nothing.push(session),
                Effect::Executed { session, ticket } => self.executed.push((session, ticket)),
                Effect::ServiceRegistered { service_id, .. } => self.registered.push(service_id),
                Effect::OperatorAnswered { answer, .. } => self.operator.push(answer),
                Effect::ServiceJoined { session } => self.joined.push(session),
                Effect::Notify {
                    session,
                    notifications,
                } => {
                    let notify = |(id, event)| (session, id, event);
                    self.pushes.extend(notifications.into_iter().map(notify));
                }
                Effect::Peer { shard, message } => self.mail.push((from, shard, message)),
            }
        }
    }

    /// Executes a block of transmissions on a shard; tickets count from 0.
    #[track_caller]
    pub fn execute(&mut self, shard: u16, client: &Client, block: &[Vec<u8>]) {
        let (version, id) = (client.context.version(), client.context.session_id());
        let requests: Vec<_> = (0..)
            .zip(block)
            .map(|(index, bytes)| {
                Request::parse(bytes, Ticket { batch: 0, index }, version, id).unwrap()
            })
            .collect();
        let mut effects = Vec::new();
        self.shards[usize::from(shard)].execute(
            self.now,
            client.session,
            &client.context,
            &requests,
            &mut effects,
        );
        self.collect(shard, effects);
    }

    /// The one answer that has come; a message behind a subscription joins the pushes.
    #[track_caller]
    pub fn take_reply(&mut self) -> Response<'static> {
        assert_eq!(self.replies.len(), 1, "{:?}", self.replies);
        let (session, _, answer) = self.replies.remove(0);
        match answer {
            Answer::Response(response) | Answer::ServiceSubscription(response) => response,
            Answer::Refused(error) => Response::Err(error),
            Answer::Subscribed { response, message } => {
                // Which queue it belongs to is what the client asked for.
                self.pushes.push((session, Id::default(), message));
                response
            }
            Answer::Redirect { .. } => panic!("a redirect to {answer:?}"),
        }
    }

    /// Sends one command to the shard of its entity, shard 0 for none, and returns the answer,
    /// which may need other shards.
    #[track_caller]
    pub fn ask(
        &mut self,
        client: &Client,
        key: Option<&Key>,
        entity: &[u8],
        command: &Command<'_>,
    ) -> Response<'static> {
        let shard = Id::try_from(entity).map_or(0, |id| self.partitioner.shard_of(&id));
        let bytes = client.transmission(key, entity, command);
        self.ask_shard(shard, client, bytes)
    }

    /// Sends a transmission to a shard, follows it where it is redirected and delivers mail until
    /// there is an answer.
    #[track_caller]
    pub fn ask_shard(&mut self, shard: u16, client: &Client, bytes: Vec<u8>) -> Response<'static> {
        self.execute(shard, client, &[bytes]);
        while self.replies.is_empty() && !self.mail.is_empty() {
            self.deliver_mail(0);
        }
        if let [
            (
                ..,
                Answer::Redirect {
                    shard,
                    transmission,
                },
            ),
        ] = self.replies.as_mut_slice()
        {
            let (shard, bytes) = (*shard, std::mem::take(transmission));
            self.replies.clear();
            return self.ask_shard(shard, client, bytes);
        }
        self.take_reply()
    }

    /// Sends a command of the queue's recipient.
    #[track_caller]
    pub fn own(&mut self, client: &Client, queue: &Queue, command: &Command<'_>) -> String {
        let response = self.ask(client, Some(&queue.key), &queue.recipient, command);
        queue.words(&response)
    }

    /// Sends an unsigned message.
    #[track_caller]
    pub fn send(&mut self, client: &Client, queue: &Queue, body: &str) -> String {
        let command = Command::Send {
            notify: false,
            body: body.as_bytes(),
        };
        queue.words(&self.ask(client, None, &queue.sender, &command))
    }

    /// A queue of today's kind with an Ed25519 recipient key, nobody subscribed.
    #[track_caller]
    pub fn queue(&mut self, client: &Client, request: Option<QueueRequest<'static>>) -> Queue {
        let key = ed25519(0x11);
        let new = Command::New(new_queue(&key, request));
        let ids = self.ask(client, Some(&key), &[], &new);
        Queue::from_ids(key, &ids)
    }

    /// A messaging queue.
    #[track_caller]
    pub fn messaging(&mut self, client: &Client) -> Queue {
        self.queue(client, Some(QueueRequest::Messaging(None)))
    }

    /// A contact queue.
    #[track_caller]
    pub fn contact(&mut self, client: &Client) -> Queue {
        self.queue(client, Some(QueueRequest::Contact(None)))
    }

    /// The pushes so far, in words, with the session that gets each.
    pub fn take_pushes(&mut self, queue: &Queue) -> Vec<(SessionRef, String)> {
        std::mem::take(&mut self.pushes)
            .into_iter()
            .map(|(session, _, event)| (session, queue.words(&event)))
            .collect()
    }

    /// The store's place of a queue, with its shard.
    #[track_caller]
    pub fn slot(&self, queue: &Queue) -> (usize, QueueSlot) {
        let shard = usize::from(self.partitioner.shard_of(&queue.recipient));
        match self.shards[shard]
            .store
            .find(IdKind::Recipient, &queue.recipient)
        {
            Some(Location::Queue(slot)) => (shard, slot),
            other => panic!("the queue is at {other:?}"),
        }
    }

    /// The record of a queue.
    #[track_caller]
    pub fn record(&self, queue: &Queue) -> QueueRecord {
        let (shard, slot) = self.slot(queue);
        self.shards[shard].store.queue(slot)
    }

    /// How a session listens to a queue.
    #[track_caller]
    pub fn listening(&self, queue: &Queue, session: SessionRef) -> Listening {
        let (shard, slot) = self.slot(queue);
        match self.shards[shard].subscriptions.of(slot, session) {
            None => Listening::N,
            Some((Mode::Subscribed, None)) => Listening::I,
            Some((Mode::Subscribed, Some(_))) => Listening::D,
            Some((Mode::Getting, None)) => Listening::G,
            Some((Mode::Getting, Some(_))) => Listening::GD,
        }
    }

    /// Hands one piece of mail to its shard.
    pub fn deliver_mail(&mut self, at: usize) {
        let (from, to, message) = self.mail.remove(at);
        let mut effects = Vec::new();
        self.shards[usize::from(to)].peer_message(from, message, &mut effects);
        self.collect(to, effects);
    }

    /// Makes everything durable on a shard and lets the answers go.
    pub fn sync(&mut self, shard: u16) {
        let durable = &mut self.shards[usize::from(shard)];
        durable.store.synced = Some(durable.store.last());
        let mut effects = Vec::new();
        durable.release_durable(&mut effects);
        self.collect(shard, effects);
    }

    /// Tells every shard that a session has ended, and the home of its service.
    pub fn close(&mut self, client: &Client) {
        for shard in &mut self.shards {
            shard.session_closed(client.session);
        }
        if client.context.service().is_some() {
            self.leave(client);
        }
    }
}

/// Two connections of today's version.
pub fn two_clients() -> (Client, Client) {
    (
        Client::new(1, Version::CURRENT),
        Client::new(2, Version::CURRENT),
    )
}
