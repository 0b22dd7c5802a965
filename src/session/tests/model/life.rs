//! How queues and links begin and end in the model (spec: server §3.1, §3.11, §3.16).

use super::reference::{Event, Link, Notifier, Queue, QueueNo, Reference};
use super::semantics::{AUTH, Created, Expected, Given, LinkVerdict, PROHIBITED, service_of};
use crate::crypto::hash;
use crate::crypto::keys::SharedSecret;
use crate::protocol::command::{LinkData, NewQueue, NotifierCredentials, QueueRequest};
use crate::protocol::response::QueueMode;
use crate::relay::SessionRef;
use crate::store::{Id, IdKind};
use std::collections::{HashMap, HashSet, VecDeque};

impl Reference {
    pub fn lset(
        &mut self,
        given: &Given<'_>,
        number: QueueNo,
        link_id: &[u8],
        data: &LinkData<'_>,
    ) -> Expected {
        let Ok(id) = Id::try_from(link_id) else {
            return Expected::Failed(PROHIBITED);
        };
        let link = Link {
            id,
            fixed: data.fixed.to_vec(),
            user: data.user.to_vec(),
        };
        let queue = &self.queues[number];
        let may = match &queue.link {
            _ if queue.is_secured_messaging() => false,
            Some(current) => (current.id, &current.fixed) == (link.id, &link.fixed),
            None => self.may_have_link(given, &id),
        };
        if may {
            self.set_link(number, Some(link));
            Expected::Ok
        } else {
            Expected::Failed(AUTH)
        }
    }

    fn may_have_link(&self, given: &Given<'_>, id: &Id) -> bool {
        match given.link {
            LinkVerdict::Here => !self.is_link_taken(id),
            LinkVerdict::Denied => false,
            LinkVerdict::Reserved => {
                assert!(self.find(IdKind::Link, id).is_none(), "reserved and used");
                true
            }
            LinkVerdict::Undecided => panic!("answered before the home of the link id"),
        }
    }

    pub fn create(&mut self, given: &Given<'_>, new: &NewQueue<'_>) -> Expected {
        if given.service.is_some() && !new.subscribe {
            return Expected::Failed(PROHIBITED);
        }
        let own = |data: &LinkData<'_>| (data.fixed.to_vec(), data.user.to_vec());
        let (mode, sender, link) = match &new.queue {
            None => (None, None, None),
            Some(QueueRequest::Messaging(link)) => {
                let sender = link.as_ref().map(|l| l.sender_id);
                let link = link.as_ref().map(|l| (None, own(&l.data)));
                (Some(QueueMode::Messaging), sender, link)
            }
            Some(QueueRequest::Contact(link)) => {
                let sender = link.as_ref().map(|l| l.sender_id);
                let link = link.as_ref().map(|l| (Some(l.link_id), own(&l.data)));
                (Some(QueueMode::Contact), sender, link)
            }
        };
        let chosen = hash::sender_id(given.request.transmission.corr_id);
        if sender.is_some_and(|id| id != chosen) {
            return Expected::Failed(PROHIBITED);
        }
        let sender = sender.map(|_| chosen);
        let wanted = link.as_ref().and_then(|(id, _)| *id);
        let wanted = wanted.map(|id| Id::try_from(id).expect("24 bytes"));
        if wanted.is_some_and(|id| !self.may_have_link(given, &id))
            || sender.is_some_and(|id| self.find(IdKind::Sender, &id).is_some())
        {
            return Expected::Failed(AUTH);
        }
        let listens = new.subscribe
            && given.service.is_none()
            && !self.closed.contains(&(given.session, given.home));
        Expected::Ids(Box::new(Created {
            keys: vec![new.auth_key],
            mode,
            sender,
            link: link.map(|(_, (fixed, user))| (wanted, fixed, user)),
            notifier: new
                .notifier
                .as_ref()
                .map(|n: &NotifierCredentials| n.auth_key),
            service: service_of(given),
            subscriber: listens.then_some((given.session, given.ticket)),
        }))
    }

    /// A queue exists, under the ids of the answer.
    pub fn created(
        &mut self,
        created: Created,
        ids: (Id, Id, Option<Id>),
        secret: SharedSecret,
        notifier: Option<Notifier>,
        home: u16,
    ) {
        let (recipient, sender, link) = ids;
        self.tally.created += 1;
        self.queues.push(Queue {
            home,
            recipient,
            sender,
            keys: created.keys,
            sender_key: None,
            mode: created.mode,
            link: None,
            secret,
            notifier,
            off: false,
            deleted: false,
            messages: VecDeque::new(),
            subscriber: created.subscriber,
            getters: HashSet::new(),
            delivered: HashMap::new(),
        });
        if let Some(((_, fixed, user), id)) = created.link.zip(link) {
            self.set_link(self.queues.len() - 1, Some(Link { id, fixed, user }));
        }
    }

    pub fn delete(&mut self, session: SessionRef, number: QueueNo) -> Expected {
        let (subscriber, entity) = (
            self.queues[number].subscriber,
            self.queues[number].recipient,
        );
        self.owe(subscriber.map(|(who, _)| who), session, entity, Event::Deld);
        self.end_notifier(session, number);
        self.set_link(number, None);
        self.queues[number].deleted = true;
        self.tally.deleted += 1;
        Expected::Ok
    }

    pub fn end_notifier(&mut self, by: SessionRef, number: QueueNo) {
        let notified = self.notified(&self.queues[number]);
        if let Some(notifier) = self.queues[number].notifier.take() {
            self.owe(notified, by, notifier.id, Event::Deld);
            self.note_service(notifier.service);
        }
    }
}
