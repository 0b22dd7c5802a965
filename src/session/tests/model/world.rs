//! Shards with the real state machine of commands, the mail between executors, and the model that
//! looks at everything a shard does.

use super::log::Log;
use super::reference::Reference;
use crate::crypto::hash;
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, Response};
use crate::relay::tests::inspect::TestShard;
use crate::relay::{
    Answer, Effect, Partitioner, PeerMessage, Request, SessionContext, SessionRef, Ticket,
    Timestamp,
};
use crate::session::{BatchKind, Router};
use crate::store::Id;
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// What executors tell each other.
#[derive(Debug)]
pub enum Mail {
    Commands(SessionRef, Arc<SessionContext>, Vec<(Ticket, Vec<u8>)>),
    Reply(SessionRef, Ticket, Answer),
    Executed(SessionRef, Ticket),
    Push(SessionRef, Id, Response<'static>),
    Notify(SessionRef, Vec<(Id, Response<'static>)>),
    NotificationsTaken(SessionRef, u32),
    JoinService(SessionRef, Id),
    ServiceJoined(SessionRef),
    ServiceClosed(SessionRef, Id),
    SessionClosed(SessionRef),
    Peer(PeerMessage),
}

/// Everything but the sessions, which call it.
#[derive(Debug)]
pub struct World {
    pub shards: Vec<TestShard>,
    pub partitioner: Partitioner,
    pub now: Timestamp,
    /// Mail by sender and receiver, in order.
    pub mail: BTreeMap<(u16, u16), VecDeque<Mail>>,
    /// The executor that works.
    pub core: u16,
    /// What its shard wants done.
    pub effects: Vec<Effect>,
    pub reference: Reference,
    pub logs: HashMap<SessionRef, Log>,
    /// Pushes of shards that the model has not been asked about.
    pub seen: Vec<(SessionRef, Id, Response<'static>)>,
    /// Commands that want a link id, and have not asked its home: their shard and the id.
    pub waiting: VecDeque<(u16, Id, SessionRef, Ticket)>,
    /// Reservations under way: who asked by its number, for which command, of which link id.
    pub reservations: HashMap<(u16, u64), (SessionRef, Ticket, Id)>,
    /// What the home of a link id decided.
    pub verdicts: HashMap<(SessionRef, Ticket), bool>,
    /// Joins of services under way or done: the asking shard with its number.
    pub joins: HashSet<(u16, u64)>,
    /// Recipient ids and message ids that a client has received.
    pub known: HashSet<Id>,
    pub rng: ChaCha20Rng,
    /// How often what was seen.
    pub coverage: BTreeMap<&'static str, u64>,
    /// Whether to tell what happens.
    pub traced: bool,
}

impl World {
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{}", what());
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    pub fn tick(&mut self) -> u64 {
        self.reference.clock += 1;
        self.reference.clock
    }

    pub fn post(&mut self, to: u16, mail: Mail) {
        let from = self.core;
        assert_ne!(from, to, "mail to oneself");
        self.mail.entry((from, to)).or_default().push_back(mail);
    }

    /// Lets the shard of the working executor do something, and the model look at it.
    pub fn on_shard<R>(
        &mut self,
        batch: &[(SessionRef, Ticket)],
        work: impl FnOnce(&mut TestShard, Timestamp, &mut Vec<Effect>) -> R,
    ) -> R {
        let mut effects = Vec::new();
        let result = work(
            &mut self.shards[usize::from(self.core)],
            self.now,
            &mut effects,
        );
        self.observe(batch, &effects);
        self.effects.extend(effects);
        result
    }

    /// Carries out commands here.
    pub fn execute(
        &mut self,
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) {
        let batch: Vec<_> = requests.iter().map(|r| (session, r.ticket)).collect();
        let core = self.core;
        self.note(|| {
            let commands = requests
                .iter()
                .map(|r| (r.ticket.batch, r.ticket.index, r.command.tag()));
            let commands: Vec<_> = commands.collect();
            format!("shard {core} executes of {session:?} {commands:?}")
        });
        self.on_shard(&batch, |shard, now, effects| {
            shard.execute(now, session, context, requests, effects);
        });
    }

    pub fn join_here(&mut self, session: SessionRef, service: Id) {
        if self.partitioner.shards() == 1 {
            self.reference.join_begins(self.core, service, session);
        }
        self.on_shard(&[], |shard, _, effects| {
            // What it counts is not modelled.
            shard.join_service(session, &service, true, effects);
        });
    }

    fn shard_for_new(&mut self, request: &Request<'_>) -> u16 {
        if let Command::New(new) = &request.command
            && let Some(QueueRequest::Messaging(Some(_)) | QueueRequest::Contact(Some(_))) =
                &new.queue
        {
            let sender = hash::sender_id(request.transmission.corr_id);
            return self.partitioner.shard_of(&sender);
        }
        self.rng.random_range(0..self.partitioner.shards())
    }
}

impl Router for World {
    fn shard_for(&mut self, request: &Request<'_>, _: &SessionContext) -> u16 {
        match <&Id>::try_from(request.transmission.entity_id) {
            Ok(id) => self.partitioner.shard_of(id),
            Err(_) => self.shard_for_new(request),
        }
    }

    fn dispatch(
        &mut self,
        shard: u16,
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) {
        for request in requests {
            let at = self.tick();
            let log = self.logs.get_mut(&session).expect("a session");
            let sent = log.sent(request.ticket);
            match (sent.dispatched, sent.redirected) {
                (None, None) => sent.dispatched = Some((at, shard)),
                (Some(_), Some(_)) if sent.dispatched_again.is_none() => {
                    sent.dispatched_again = Some(at);
                }
                _ => panic!("dispatched again: {sent:?}"),
            }
        }
        if shard == self.core {
            self.execute(session, context, requests);
        } else {
            let commands = requests
                .iter()
                .map(|r| (r.ticket, r.bytes.to_vec()))
                .collect();
            self.post(
                shard,
                Mail::Commands(session, Arc::clone(context), commands),
            );
        }
    }

    fn join_service(
        &mut self,
        session: SessionRef,
        context: &Arc<SessionContext>,
        _: bool,
    ) -> Option<u16> {
        let service = context.service()?.id;
        let home = self.partitioner.shard_of(&service);
        if home == self.core {
            self.join_here(session, service);
        } else {
            self.post(home, Mail::JoinService(session, service));
        }
        Some(home)
    }

    fn count_batch(&mut self, _: BatchKind) {}
}
