//! Everything a shard does, compared with the model at once.

use super::log::Sent;
use super::reference::{Event, MessageNo, Notifier, QueueNo};
use super::semantics::{Created, Expected, Given, LinkVerdict};
use super::world::World;
use crate::crypto::message::{ReceivedBody, decrypt_message, decrypt_notification};
use crate::crypto::smp_box::BoxKey;
use crate::protocol::command::QueueRequest;
use crate::protocol::response::QueueIds;
use crate::protocol::{Command, ErrorType, Response};
use crate::relay::tests::clients::recipient_dh;
use crate::relay::tests::inspect;
use crate::relay::{
    Answer, Effect, PeerMessage, Request, ServiceMessage, SessionContext, SessionRef, Ticket,
};
use crate::store::{Id, IdKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use std::sync::Arc;

fn id(bytes: &[u8]) -> Id {
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

    fn see_notification(&mut self, session: SessionRef, entity: &Id, event: &Response<'static>) {
        let number = self.reference.find(IdKind::Notifier, entity);
        let number = number.expect("a notification of a notifier that is no more");
        let queue = &self.reference.queues[number];
        assert_eq!(
            self.reference.notified(queue),
            Some(session),
            "notified another"
        );
        let notifier = self.reference.queues[number]
            .notifier
            .as_mut()
            .expect("found");
        let behind = notifier.subscriber.map(|(_, ticket)| ticket);
        let message = notifier
            .waiting
            .pop_front()
            .expect("a notification too many");
        let key = BoxKey::from(&notifier.secret);
        let Response::NMsg { nonce, boxed } = event else {
            panic!("{event:?} is no notification");
        };
        let mut boxed = boxed.to_vec();
        let meta = decrypt_notification(&key, nonce, &mut boxed).expect("boxed for the notifier");
        assert_eq!(meta.timestamp, self.reference.messages[message].at);
        self.see_message_id(message, &id(meta.msg_id));
        self.reference.tally.notifications += 1;
        self.count("notifications");
        self.note(|| {
            let entity = entity[0];
            format!("  notification {message} to {session:?} about {entity:02x}..")
        });
        let log = self.logs.get_mut(&session).expect("a session");
        log.pushed(*entity, event, behind, 0);
    }

    /// A message has one id, which is no other's.
    fn see_message_id(&mut self, message: MessageNo, id: &Id) {
        let known = self.reference.messages[message].id.get_or_insert(*id);
        assert_eq!(known, id, "another id than before, or another message");
        let of = self.reference.message_ids.entry(*id).or_insert(message);
        assert_eq!(*of, message, "the id of another message");
    }

    fn compare_message(&mut self, number: MessageNo, response: &Response<'_>) {
        let Response::Msg { msg_id, boxed } = response else {
            panic!("{response:?} instead of message {number}");
        };
        let msg_id = id(msg_id);
        self.see_message_id(number, &msg_id);
        self.note(|| format!("  message {number} is {}", hex::encode(&msg_id[..8])));
        let message = &self.reference.messages[number];
        let key = BoxKey::from(&self.reference.queues[message.queue].secret);
        let mut boxed = boxed.to_vec();
        let body = decrypt_message(&key, &msg_id, &mut boxed).expect("boxed for the recipient");
        let expected = match &message.body {
            Some(body) => ReceivedBody::Message {
                timestamp: message.at,
                notify: message.notify,
                body,
            },
            None => ReceivedBody::Quota {
                timestamp: message.at,
            },
        };
        assert_eq!(body, expected);
    }

    fn compare(&mut self, given: &Given<'_>, expected: Expected, answer: &Answer) {
        let (session, ticket) = (given.session, given.ticket);
        let what = || format!("{:?} {ticket:?} of {session:?}", given.request.command);
        let fail = |expected: &dyn std::fmt::Debug| -> ! {
            panic!("{} was answered {answer:?} instead of {expected:?}", what())
        };
        let bytes = |id: Option<Id>| id.map(|id| id.to_vec().into());
        match (&expected, answer) {
            (Expected::Refused(error), Answer::Refused(other)) if error == other => {
                self.count("refusals");
            }
            (Expected::Failed(error), Answer::Response(Response::Err(other))) if error == other => {
                self.count(match error {
                    ErrorType::Quota => "QUOTA",
                    ErrorType::NoMsg => "NO_MSG",
                    _ => "failures",
                });
            }
            (Expected::Ok, Answer::Response(Response::Ok)) => self.count("OK"),
            (Expected::Sok(service), Answer::Response(Response::Sok(other)))
                if bytes(*service) == *other =>
            {
                self.count("SOK");
            }
            (Expected::ServiceSok(service), Answer::ServiceSubscription(Response::Sok(other)))
                if bytes(Some(*service)) == *other =>
            {
                self.count("SOK of services");
            }
            (
                Expected::Subscribed(service, number),
                Answer::Subscribed {
                    response: Response::Sok(other),
                    message,
                },
            ) if bytes(*service) == *other => {
                self.compare_message(*number, message);
                self.count("SOK with a message");
            }
            (Expected::Message(number), Answer::Response(response @ Response::Msg { .. })) => {
                self.compare_message(*number, response);
                self.count("answers with a message");
            }
            (Expected::Link(queue), Answer::Response(Response::Lnk(other))) => {
                let queue = &self.reference.queues[*queue];
                let link = queue.link.as_ref().expect("found by it");
                assert_eq!(other.sender_id[..], queue.sender);
                assert_eq!(other.fixed[..], link.fixed);
                assert_eq!(other.user[..], link.user, "old data of a link");
                self.count("LNK");
            }
            (Expected::Info(queue), Answer::Response(Response::Info(json))) => {
                self.compare_info(*queue, session, json);
            }
            (Expected::Soks(service), Answer::Response(Response::Soks(given))) => {
                let count = self.reference.join_ends(*service, session);
                assert!(
                    count.is_none_or(|count| count == given.count),
                    "{count:?} {given:?}"
                );
                self.logs.get_mut(&session).expect("a session").has_joined = true;
                self.count("SOKS");
            }
            (
                Expected::Nid(queue, key),
                Answer::Response(Response::Nid {
                    notifier_id,
                    dh_key,
                }),
            ) => {
                let notifier = self.new_notifier(notifier_id, *key, dh_key);
                self.reference.queues[*queue].notifier = Some(notifier);
                self.count("NID");
            }
            (Expected::Ids(_), Answer::Response(Response::Ids(ids))) => {
                if let Expected::Ids(created) = expected {
                    self.see_ids(*created, ids);
                }
            }
            _ => fail(&expected),
        }
    }

    fn new_notifier(
        &mut self,
        notifier_id: &[u8],
        key: crate::crypto::keys::PublicAuthKey,
        dh_key: &crate::crypto::keys::X25519PublicKey,
    ) -> Notifier {
        let notifier_id = self.new_id(IdKind::Notifier, notifier_id);
        Notifier {
            id: notifier_id,
            key,
            secret: recipient_dh().agree(dh_key),
            service: None,
            subscriber: None,
            waiting: VecDeque::new(),
        }
    }

    /// An id that the server made: new, and of the shard that made it.
    fn new_id(&self, kind: IdKind, bytes: &[u8]) -> Id {
        let id = id(bytes);
        assert!(self.reference.find(kind, &id).is_none(), "an id used twice");
        assert_eq!(
            self.partitioner.shard_of(&id),
            self.core,
            "an id of another shard"
        );
        id
    }

    fn see_ids(&mut self, created: Created, ids: &QueueIds<'_>) {
        let recipient = self.new_id(IdKind::Recipient, &ids.recipient_id);
        let sender = self.new_id(IdKind::Sender, &ids.sender_id);
        assert!(created.sender.is_none_or(|chosen| chosen == sender));
        assert_eq!(ids.mode, created.mode);
        assert_eq!(
            ids.service_id.as_deref(),
            created.service.as_ref().map(|id| &id[..])
        );
        let link = match (&created.link, ids.link_id.as_deref()) {
            (None, None) => None,
            (Some((Some(chosen), ..)), Some(link)) if chosen[..] == *link => Some(*chosen),
            (Some((None, ..)), Some(link)) => Some(self.new_id(IdKind::Link, link)),
            other => panic!("{other:?}"),
        };
        let notifier = match (created.notifier, &ids.notifier) {
            (None, None) => None,
            (Some(key), Some((id, dh_key))) => Some(self.new_notifier(id, key, dh_key)),
            other => panic!("{other:?}"),
        };
        let secret = recipient_dh().agree(&ids.dh_key);
        self.count(match (&created.link, created.subscriber) {
            (Some((Some(_), ..)), _) => "IDS with a client's link",
            (_, Some(_)) => "IDS with a subscription",
            _ => "IDS",
        });
        let home = self.core;
        self.reference
            .created(created, (recipient, sender, link), secret, notifier, home);
    }

    fn compare_info(&mut self, queue: QueueNo, session: SessionRef, json: &[u8]) {
        let queue = &self.reference.queues[queue];
        let id_of = |message: &MessageNo| self.reference.messages[*message].id;
        let info: serde_json::Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(info["qiSnd"], queue.sender_key.is_some());
        assert_eq!(info["qiNtf"], queue.notifier.is_some());
        assert_eq!(info["qiSize"], queue.messages.len());
        let is_subscriber = queue.subscriber.is_some_and(|(who, _)| who == session);
        let mode = match (is_subscriber, queue.getters.contains(&session)) {
            (true, _) => Some("noSub"),
            (_, true) => Some("prohibitSub"),
            _ => None,
        };
        assert_eq!(info["qiSub"]["qSubThread"].as_str(), mode);
        let delivered = queue.delivered.get(&session).and_then(id_of);
        let delivered = delivered.map(|id| STANDARD.encode(id));
        assert_eq!(info["qiSub"]["qDelivered"].as_str(), delivered.as_deref());
        let head = queue.messages.front();
        let kind = head.map(|head| match self.reference.messages[*head].body {
            Some(_) => "message",
            None => "quota",
        });
        assert_eq!(info["qiMsg"]["msgType"].as_str(), kind);
        if let (Some(id), Some(shown)) = (head.and_then(id_of), info["qiMsg"]["msgId"].as_str()) {
            assert_eq!(STANDARD.encode(id), shown);
        }
        self.count("INFO");
    }
}
