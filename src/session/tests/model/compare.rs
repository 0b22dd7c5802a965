//! Answers, messages and notifications, compared with what the model expects.

use super::observe::id;
use super::reference::{MessageNo, Notifier, QueueNo};
use super::semantics::{Created, Expected, Given};
use super::world::World;
use crate::crypto::keys::{PublicAuthKey, X25519PublicKey};
use crate::crypto::message::{ReceivedBody, decrypt_message, decrypt_notification};
use crate::crypto::smp_box::BoxKey;
use crate::protocol::response::QueueIds;
use crate::protocol::{ErrorType, Response};
use crate::relay::tests::clients::recipient_dh;
use crate::relay::{Answer, SessionRef};
use crate::store::{Id, IdKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;

impl World {
    pub fn see_notification(
        &mut self,
        session: SessionRef,
        entity: &Id,
        event: &Response<'static>,
    ) {
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
    pub fn see_message_id(&mut self, message: MessageNo, id: &Id) {
        let known = self.reference.messages[message].id.get_or_insert(*id);
        assert_eq!(known, id, "another id than before, or another message");
        let of = self.reference.message_ids.entry(*id).or_insert(message);
        assert_eq!(*of, message, "the id of another message");
    }

    pub fn compare_message(&mut self, number: MessageNo, response: &Response<'_>) {
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

    pub fn compare(&mut self, given: &Given<'_>, expected: Expected, answer: &Answer) {
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
            (
                Expected::ServiceSok(service),
                Answer::ServiceSubscription {
                    response: Response::Sok(other),
                    ..
                },
            ) if bytes(Some(*service)) == *other => {
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
        key: PublicAuthKey,
        dh_key: &X25519PublicKey,
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
