//! Everything a shard does, compared with the model at once.

use super::log::Sent;
use super::reference::Event;
use super::semantics::{Expected, Given, LinkVerdict};
use super::world::World;
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, ErrorType, Response};
use crate::relay::tests::inspect;
use crate::relay::{
    Answer, Effect, PeerMessage, Request, ServiceMessage, SessionContext, SessionRef, Ticket,
};
use crate::store::{Id, IdKind};
use std::collections::VecDeque;
use std::sync::Arc;

pub fn id(bytes: &[u8]) -> Id {
    bytes.try_into().expect("an id")
}

/// The link id that a client chose.
fn wanted_link(command: &Command<'_>) -> Option<Id> {
    match command {
        Command::LSet { link_id, .. } => Some(id(link_id)),
        Command::New(new) => match &new.queue {
            Some(QueueRequest::Contact(Some(link))) => Some(id(link.link_id)),
            _ => None,
        },
        _ => None,
    }
}

impl World {
    /// Looks at what the shard of the working executor has done. `batch` are the commands it was
    /// given.
    pub fn observe(&mut self, batch: &[(SessionRef, Ticket)], effects: &[Effect]) {
        let mut batch: VecDeque<_> = batch.iter().copied().collect();
        for effect in effects {
            match effect {
                Effect::Reply {
                    session,
                    ticket,
                    answer,
                } => {
                    self.see_commands_until(&mut batch, (*session, *ticket));
                    self.see_reply(*session, *ticket, answer);
                }
                Effect::Executed { session, ticket } => {
                    self.see_commands_until(&mut batch, (*session, *ticket));
                    let shard = &self.shards[usize::from(self.core)];
                    let answer = inspect::held_answer(shard, *session, *ticket);
                    let answer = answer.expect("an answer that waits for the disk");
                    self.count("answers that waited for the disk");
                    self.takes_effect_before(*session, *ticket, answer);
                    self.match_pushes();
                }
                Effect::Push {
                    session,
                    entity,
                    event,
                } => self.seen.push((*session, *entity, event.clone())),
                Effect::Notify {
                    session,
                    notifications,
                } => {
                    for (entity, event) in notifications {
                        self.see_notification(*session, entity, event);
                    }
                }
                Effect::ServiceJoined { session } => {
                    let context = Arc::clone(&self.logs[session].context);
                    let service = context.service().expect("a service").id;
                    self.tick();
                    self.reference.join_ends(service, *session);
                    let log = self.logs.get_mut(session).expect("a session");
                    log.has_joined = true;
                    log.is_subscribed(service);
                    self.count("service joins");
                }
                Effect::Peer { message, .. } => self.see_peer(message, &mut batch),
                other => panic!("nobody asked for {other:?}"),
            }
        }
        while let Some((session, ticket)) = batch.pop_front() {
            self.see_silence(session, ticket);
        }
        self.match_pushes();
    }

    /// Commands are carried out in order: those before this one are answered later.
    fn see_commands_until(
        &mut self,
        batch: &mut VecDeque<(SessionRef, Ticket)>,
        command: (SessionRef, Ticket),
    ) {
        if !batch.contains(&command) {
            return;
        }
        while let Some((session, ticket)) = batch.pop_front()
            && (session, ticket) != command
        {
            self.see_silence(session, ticket);
        }
    }

    /// A command was carried out, or accepted, without a word.
    fn see_silence(&mut self, session: SessionRef, ticket: Ticket) {
        let log = self.logs.get_mut(&session).expect("a session");
        let (context, copy) = (Arc::clone(&log.context), log.sent(ticket).copy());
        let request = copy.request(ticket, &context);
        match &request.command {
            // The home of the link id answers, when it has let go.
            Command::Del | Command::LDel => {
                self.takes_effect_before(session, ticket, Response::Ok.into());
                self.count("answers that waited for a release");
            }
            command => {
                let given = self.given(session, ticket, &context, &copy, &request);
                let verified = self.reference.verify(&given);
                assert!(verified.is_ok(), "{copy:?} was accepted");
                if let Some(link) = wanted_link(command) {
                    self.waiting.push_back((self.core, link, session, ticket));
                } else {
                    assert!(
                        matches!(command, Command::NSubs(_)),
                        "no answer to {copy:?}"
                    );
                }
            }
        }
    }

    /// A command has taken effect; its answer comes later.
    fn takes_effect_before(&mut self, session: SessionRef, ticket: Ticket, answer: Answer) {
        let log = self.logs.get_mut(&session).expect("a session");
        if !log.sent(ticket).in_effect {
            self.takes_effect(session, ticket, &answer);
        }
        let log = self.logs.get_mut(&session).expect("a session");
        log.sent(ticket).held = Some(answer);
    }

    fn see_reply(&mut self, session: SessionRef, ticket: Ticket, answer: &Answer) {
        let log = self.logs.get_mut(&session).expect("a session");
        if let Answer::Redirect { transmission, .. } = answer {
            let context = Arc::clone(&log.context);
            let sent = log.sent(ticket);
            assert_eq!(*transmission, sent.bytes);
            assert!(sent.redirected.is_none(), "redirected twice");
            let link = id(sent.request(ticket, &context).transmission.entity_id);
            assert!(
                self.reference.reserved.contains(&link),
                "redirected by what?"
            );
            sent.redirected = Some(self.reference.link_epoch(&link));
            self.count("redirects");
            return;
        }
        match log.sent(ticket).held.take() {
            Some(held) => assert_eq!(*answer, held, "another answer than the one held"),
            None => {
                self.takes_effect(session, ticket, answer);
                // What was pushed so far belongs to this command, or to earlier ones.
                self.match_pushes();
            }
        }
        let log = self.logs.get_mut(&session).expect("a session");
        log.answered(ticket, answer, Some(ticket));
    }

    /// A command takes effect: the model carries it out too, and must answer the same.
    fn takes_effect(&mut self, session: SessionRef, ticket: Ticket, answer: &Answer) {
        let at = self.tick();
        let log = self.logs.get_mut(&session).expect("a session");
        log.check_order(ticket);
        let sent = log.sent(ticket);
        assert!(!sent.in_effect, "{ticket:?} took effect twice");
        sent.in_effect = true;
        let (context, copy) = (Arc::clone(&log.context), log.sent(ticket).copy());
        let request = copy.request(ticket, &context);
        let given = self.given(session, ticket, &context, &copy, &request);
        let entity = request.transmission.entity_id;
        if given.may_miss && *answer == Answer::Refused(ErrorType::Auth) {
            self.count("links that went while they were followed");
            return;
        }
        if matches!(request.command, Command::NSubs(_)) && self.partitioner.shards() == 1 {
            self.see_join_of_one(session, answer);
        }
        let expected = self.reference.apply(&given);
        let (core, tag) = (self.core, request.command.tag());
        self.note(|| {
            let entity = entity.first().copied().unwrap_or(0);
            format!(
                "  {session:?} {ticket:?} {tag} of {entity:02x}.. in effect on {core}: {expected:?}"
            )
        });
        let confirms = matches!(
            expected,
            Expected::Sok(_)
                | Expected::ServiceSok(_)
                | Expected::Subscribed(..)
                | Expected::Soks(_)
        );
        self.compare(&given, expected, answer);
        if confirms {
            self.logs
                .get_mut(&session)
                .expect("a session")
                .confirmed(ticket, at);
        }
    }

    /// What is known of a command.
    fn given<'a>(
        &self,
        session: SessionRef,
        ticket: Ticket,
        context: &'a SessionContext,
        sent: &'a Sent,
        request: &'a Request<'a>,
    ) -> Given<'a> {
        let link = || Id::try_from(request.transmission.entity_id).ok();
        let epoch = |link: Id| self.reference.link_epoch(&link);
        Given {
            session,
            ticket,
            service: context.service(),
            request,
            signer: sent.signer,
            service_signed: sent.service_signed,
            now: self.now.seconds(),
            home: self.core,
            link: self.link_verdict(session, ticket, &request.command),
            verified: self.verdicts.contains_key(&(session, ticket)),
            may_miss: sent.redirected.is_some() && sent.redirected != link().map(epoch),
        }
    }

    /// With one shard a service joins at once.
    fn see_join_of_one(&mut self, session: SessionRef, answer: &Answer) {
        if let Answer::Response(Response::Soks(_)) = answer {
            let context = Arc::clone(&self.logs[&session].context);
            let service = context.service().expect("a service").id;
            self.reference.join_begins(0, service, session);
        }
    }

    fn link_verdict(
        &self,
        session: SessionRef,
        ticket: Ticket,
        command: &Command<'_>,
    ) -> LinkVerdict {
        match wanted_link(command) {
            Some(wanted) if self.partitioner.shard_of(&wanted) != self.core => {}
            _ => return LinkVerdict::Here,
        }
        match self.verdicts.get(&(session, ticket)) {
            Some(true) => LinkVerdict::Reserved,
            Some(false) => LinkVerdict::Denied,
            None => LinkVerdict::Undecided,
        }
    }

    fn see_peer(&mut self, message: &PeerMessage, batch: &mut VecDeque<(SessionRef, Ticket)>) {
        match message {
            PeerMessage::ReserveAlias { token, id, kind } => {
                assert_eq!(*kind, IdKind::Link);
                // One that is being carried out now, or else the first that waited for the disk.
                let now = self.who_wants(id, batch);
                if let Some(command) = now {
                    self.see_commands_until(batch, command);
                    self.see_silence(command.0, command.1);
                }
                let core = self.core;
                let wants = |(of, link, session, ticket): &(u16, Id, SessionRef, Ticket)| match now
                {
                    Some(command) => (*session, *ticket) == command,
                    None => (*of, *link) == (core, *id),
                };
                let at = self.waiting.iter().position(wants);
                let waiting = at.and_then(|at| self.waiting.remove(at));
                let (_, _, session, ticket) = waiting.expect("a link id nobody wants");
                let key = (self.core, *token);
                let before = self.reservations.insert(key, (session, ticket, *id));
                assert!(before.is_none(), "a number used twice");
            }
            PeerMessage::ReleaseAlias {
                confirmation: Some(confirmation),
                ..
            } => {
                let (session, ticket) = (confirmation.session, confirmation.ticket);
                self.see_commands_until(batch, (session, ticket));
                let response = match &confirmation.outcome {
                    Ok(()) => Response::Ok,
                    Err(error) => Response::Err(error.clone()),
                };
                self.takes_effect_before(session, ticket, response.into());
                self.match_pushes();
            }
            PeerMessage::Service(ServiceMessage::Join {
                token,
                service_id,
                session,
            }) if self.joins.insert((self.core, *token)) => {
                // The other shards are told one by one.
                self.reference.join_begins(self.core, *service_id, *session);
            }
            _ => {}
        }
    }

    /// The first command that wants a link id, of those being carried out.
    fn who_wants(
        &mut self,
        id: &Id,
        batch: &VecDeque<(SessionRef, Ticket)>,
    ) -> Option<(SessionRef, Ticket)> {
        batch.iter().copied().find(|(session, ticket)| {
            let log = self.logs.get_mut(session).expect("a session");
            let (context, copy) = (Arc::clone(&log.context), log.sent(*ticket).copy());
            wanted_link(&copy.request(*ticket, &context).command) == Some(*id)
        })
    }

    /// Every push that was seen is owed, in order for each entity.
    fn match_pushes(&mut self) {
        for (session, entity, event) in std::mem::take(&mut self.seen) {
            let owed = self.reference.owed.get_mut(&(session, entity));
            let (at, owed) = owed.and_then(VecDeque::pop_front).unzip();
            self.note(|| {
                let entity = entity[0];
                format!("  push to {session:?} about {entity:02x}..: {owed:?}")
            });
            let behind = match (&owed, &event) {
                (Some(Event::Message(message, behind)), Response::Msg { .. }) => {
                    self.compare_message(*message, &event);
                    self.count("pushed messages");
                    Some(*behind)
                }
                (Some(Event::End), Response::End) => {
                    self.count("END");
                    None
                }
                (Some(Event::Deld), Response::Deld) => {
                    self.count("DELD");
                    None
                }
                (Some(Event::Ends(count)), Response::Ends(given)) => {
                    self.count("ENDS");
                    assert!(count.is_none_or(|count| count == given.count));
                    None
                }
                _ => panic!("{event:?} to {session:?} instead of {owed:?}"),
            };
            let log = self.logs.get_mut(&session).expect("a session");
            log.pushed(entity, &event, behind, at.unwrap_or_default());
        }
    }
}
