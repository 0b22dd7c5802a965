//! Executors: sessions beside their shards, and the delivery of mail in any order that keeps the
//! order of each pair of executors.

use super::log::Sent;
use super::party::Party;
use super::reference::QueueNo;
use super::relay::Relay;
use super::world::Mail;
use crate::crypto::pad;
use crate::protocol::batch::{BatchBuilder, decode_batch};
use crate::protocol::{BLOCK_SIZE, Response, Version};
use crate::relay::tests::inspect;
use crate::relay::{Effect, PeerMessage, Request, ServiceMessage, SessionRef, Timestamp};
use crate::session::Session;
use crate::store::Id;
use rand::Rng;
use std::collections::VecDeque;

impl Relay {
    pub fn session_closed_here(&mut self, session: SessionRef) {
        let world = &mut self.world;
        world.reference.session_closed(session, world.core);
        world.shards[usize::from(world.core)].session_closed(session);
    }

    pub fn leave_here(&mut self, session: SessionRef, service: Id) {
        let world = &mut self.world;
        let views = &mut world.reference.views;
        let key = (world.core, service);
        if views.get(&key) == Some(&session) {
            views.remove(&key);
        }
        world.on_shard(&[], |shard, _, effects| {
            shard.leave_service(session, &service, effects);
        });
    }

    /// A client sends the next block.
    pub fn submit(&mut self, at: usize) {
        let party = &self.parties[at];
        if self.sessions[&party.session].wants_input() {
            let count = self.world.rng.random_range(1..=4);
            let block = self.plan.block(&mut self.world, party, &self.ring, count);
            self.send(at, block);
        }
    }

    fn send(&mut self, at: usize, block: Vec<Sent>) {
        let party = &self.parties[at];
        let session = self.sessions.get_mut(&party.session).expect("open");
        let mut content = Vec::new();
        let mut batch = BatchBuilder::new(&mut content);
        for sent in &block {
            assert!(batch.push(|out| out.extend_from_slice(&sent.bytes)));
        }
        let log = self.world.logs.get_mut(&party.session).expect("open");
        log.begin(block);
        let mut bytes = Box::new([0; BLOCK_SIZE]);
        bytes[2..][..content.len()].copy_from_slice(&content);
        pad::pad_into(content.len(), &mut bytes[..]).expect("fits");
        self.world.core = party.session.core;
        session
            .receive(&mut bytes, &mut self.world)
            .expect("plain blocks never break");
        self.carry_out();
    }

    /// A new client deletes every queue.
    pub fn delete_queues(&mut self) {
        self.open_as(None, Version::CURRENT);
        let party = self.parties.len() - 1;
        // Like others it makes mistakes: then it tries again.
        while let Some(number) = self.any_queue() {
            let own = &self.parties[party];
            let deletion = self.plan.deletion(&mut self.world, own, &self.ring, number);
            self.send(party, vec![deletion]);
            super::run::settle(self);
        }
    }

    fn any_queue(&self) -> Option<QueueNo> {
        let mut live = self.world.reference.live();
        live.next().map(|(number, _)| number)
    }

    /// Delivers the oldest mail between two executors.
    pub fn deliver(&mut self, from: u16, to: u16) {
        let mail = self
            .world
            .mail
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front);
        let Some(mail) = mail else { return };
        if self.world.mail[&(from, to)].is_empty() {
            self.world.mail.remove(&(from, to));
        }
        self.world.core = to;
        self.take(from, mail);
        self.carry_out();
    }

    fn take(&mut self, from: u16, mail: Mail) {
        let world = &mut self.world;
        match mail {
            Mail::Commands(session, context, commands) => {
                let (version, id) = (context.version(), context.session_id());
                let requests: Vec<_> = commands
                    .iter()
                    .map(|(ticket, bytes)| Request::parse(bytes, *ticket, version, id))
                    .collect::<Result<_, _>>()
                    .expect("parsed before");
                world.execute(session, &context, &requests);
            }
            Mail::Reply(session, ticket, answer) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.answer(ticket, answer, world);
                }
            }
            Mail::Executed(session, ticket) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.executed(ticket, world);
                }
            }
            Mail::Push(session, entity, event) => self.push(session, entity, event),
            Mail::Notify(session, notifications) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.notify(from, notifications);
                }
            }
            Mail::NotificationsTaken(session, count) => {
                world.on_shard(&[], |shard, _, effects| {
                    shard.notifications_taken(session, count, effects);
                });
            }
            Mail::JoinService(session, service) => world.join_here(session, service),
            Mail::ServiceJoined(session) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.service_joined();
                }
            }
            Mail::ServiceClosed(session, service) => self.leave_here(session, service),
            Mail::SessionClosed(session) => self.session_closed_here(session),
            Mail::Peer(message) => self.take_peer(from, message),
        }
    }

    /// Mail between shards, which decides about link ids and services.
    fn take_peer(&mut self, from: u16, message: PeerMessage) {
        let world = &mut self.world;
        let mut reserved = None;
        match &message {
            PeerMessage::ReserveAlias { token, id, .. } => {
                let (session, ticket, _) = world.reservations[&(from, *token)];
                let free = !world.reference.is_link_taken(id);
                world.verdicts.insert((session, ticket), free);
                if free {
                    world.reference.reserved.insert(*id);
                }
                world.count(if free {
                    "links reserved"
                } else {
                    "links denied"
                });
                reserved = Some((*id, free));
            }
            PeerMessage::ReleaseAlias { id, .. } => {
                assert!(world.reference.reserved.remove(id), "released by nobody");
                world.count("links released");
            }
            PeerMessage::AliasReserved { token, outcome } => {
                let (session, ticket, _) = world.reservations[&(world.core, *token)];
                assert_eq!(world.verdicts[&(session, ticket)], outcome.is_ok());
            }
            PeerMessage::CheckAlias { .. } => panic!("only a start asks for that"),
            PeerMessage::Service(ServiceMessage::AskUse { .. } | ServiceMessage::InUse { .. }) => {
                panic!("there is room for every service")
            }
            PeerMessage::Service(ServiceMessage::Join {
                service_id,
                session,
                ..
            }) => {
                let view = (world.core, *service_id);
                world.reference.views.insert(view, *session);
            }
            PeerMessage::Service(ServiceMessage::Leave {
                service_id,
                session,
            }) => {
                let view = (world.core, *service_id);
                if world.reference.views.get(&view) == Some(session) {
                    world.reference.views.remove(&view);
                }
            }
            PeerMessage::Service(ServiceMessage::Notifiers { .. }) => {}
        }
        let core = world.core;
        world.note(|| format!("{from} tells {core}: {message:?}"));
        world.on_shard(&[], |shard, _, effects| {
            shard.peer_message(from, message, effects);
        });
        if let Some((id, free)) = reserved {
            let shard = &world.shards[usize::from(world.core)];
            assert!(!free || inspect::has_link(shard, &id));
        }
    }

    fn push(&mut self, session: SessionRef, entity: Id, event: Response<'static>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.push(entity, event);
            if self.plan.tells_ends_at_once {
                session.flush_events();
            }
        }
    }

    /// Carries out what the working executor's shard wants done, until nothing is left.
    pub fn carry_out(&mut self) {
        let core = self.world.core;
        while !self.world.effects.is_empty() {
            for effect in std::mem::take(&mut self.world.effects) {
                let (to, mail) = match effect {
                    Effect::Peer { shard, message } => (shard, Mail::Peer(message)),
                    Effect::Reply {
                        session,
                        ticket,
                        answer,
                    } => (session.core, Mail::Reply(session, ticket, answer)),
                    Effect::Executed { session, ticket } => {
                        (session.core, Mail::Executed(session, ticket))
                    }
                    Effect::Push {
                        session,
                        entity,
                        event,
                    } => (session.core, Mail::Push(session, entity, event)),
                    Effect::Notify {
                        session,
                        notifications,
                    } => (session.core, Mail::Notify(session, notifications)),
                    Effect::ServiceJoined { session } => {
                        (session.core, Mail::ServiceJoined(session))
                    }
                    other => panic!("{other:?}"),
                };
                if to == core {
                    self.take(core, mail);
                } else {
                    self.world.post(to, mail);
                }
            }
        }
    }

    /// A client reads a block; says whether there was one.
    pub fn read(&mut self, at: usize) -> bool {
        let reference = self.parties[at].session;
        let session = self.sessions.get_mut(&reference).expect("open");
        self.world.core = reference.core;
        let mut block = Vec::new();
        let is_block = session
            .next_block(&mut block)
            .expect("plain blocks never break");
        if is_block {
            let content = pad::unpad(&block).expect("padded");
            let log = self.world.logs.get_mut(&reference).expect("open");
            for bytes in decode_batch(content).expect("a batch") {
                let what = log.receive(bytes, &mut self.world.known);
                if self.world.traced {
                    eprintln!("{reference:?} receives {what}");
                }
            }
        }
        assert!(
            session.take_deferred().is_none(),
            "runs stay below the bounds of readers"
        );
        let credits: Vec<_> = std::iter::from_fn(|| session.take_credit()).collect();
        for (shard, count) in credits {
            let taken = Mail::NotificationsTaken(reference, count);
            if shard == reference.core {
                self.take(shard, taken);
            } else {
                self.world.post(shard, taken);
            }
        }
        self.carry_out();
        is_block
    }

    /// The clients of an executor are told of ended subscriptions.
    pub fn flush(&mut self, core: u16) {
        for party in self
            .parties
            .iter()
            .filter(|party| party.session.core == core)
        {
            let session = self.sessions.get_mut(&party.session).expect("open");
            session.flush_events();
        }
    }

    /// A shard does something by the clock.
    pub fn by_clock(
        &mut self,
        shard: u16,
        work: impl FnOnce(&mut inspect::TestShard, Timestamp, &mut Vec<Effect>),
    ) {
        self.world.core = shard;
        self.world.on_shard(&[], work);
        self.carry_out();
    }

    pub fn session(&self, party: &Party) -> &Session {
        &self.sessions[&party.session]
    }
}
