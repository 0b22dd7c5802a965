//! What a relay is, in the simplest words: queues in a list, each with everything that is its own.
//!
//! Nothing here knows of shards beyond the number of a queue's home, by which the mesh says when
//! the end of a session or of a service's connection has come to know there.

use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use crate::relay::{SessionRef, Ticket};
use crate::store::{Id, IdKind};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Number of a queue, deleted ones included.
pub type QueueNo = usize;
/// Number of a message.
pub type MessageNo = usize;

/// A link with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub id: Id,
    pub fixed: Vec<u8>,
    pub user: Vec<u8>,
}

/// Who is told of messages, and of which they have not been told.
#[derive(Debug)]
pub struct Notifier {
    pub id: Id,
    pub key: PublicAuthKey,
    pub secret: SharedSecret,
    pub service: Option<Id>,
    pub subscriber: Option<(SessionRef, Ticket)>,
    pub waiting: VecDeque<MessageNo>,
}

#[derive(Debug)]
pub struct Queue {
    pub home: u16,
    pub recipient: Id,
    pub sender: Id,
    pub keys: Vec<PublicAuthKey>,
    pub sender_key: Option<PublicAuthKey>,
    pub mode: Option<QueueMode>,
    pub link: Option<Link>,
    pub secret: SharedSecret,
    pub notifier: Option<Notifier>,
    pub off: bool,
    pub deleted: bool,
    pub messages: VecDeque<MessageNo>,
    /// With the command that made it one.
    pub subscriber: Option<(SessionRef, Ticket)>,
    pub getters: HashSet<SessionRef>,
    pub delivered: HashMap<SessionRef, MessageNo>,
}

/// A message, or a quota marker when it has no body.
#[derive(Debug)]
pub struct Message {
    pub queue: QueueNo,
    pub id: Option<Id>,
    pub body: Option<Vec<u8>>,
    pub notify: bool,
    /// Seconds since the Unix epoch.
    pub at: i64,
}

/// What a session is owed without asking.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A message, behind the answer to the command that subscribed.
    Message(MessageNo, Ticket),
    End,
    Deld,
    /// With the number of notifiers when nothing changed while they were counted.
    Ends(Option<i64>),
}

/// How often things happened.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct Tally {
    pub created: u64,
    pub deleted: u64,
    pub sent: u64,
    pub received: u64,
    pub messages_expired: u64,
    pub notifications: u64,
    pub notifications_expired: u64,
}

/// A session about to be the subscriber of its service.
#[derive(Debug)]
pub struct Join {
    pub service: Id,
    pub session: SessionRef,
    pub previous: Option<SessionRef>,
    /// Changes to the service's notifiers before it began.
    pub epoch: u64,
}

#[derive(Debug)]
pub struct Reference {
    pub quota: usize,
    pub message_ttl: Option<i64>,
    pub notification_ttl: i64,
    pub expire_on_send: bool,
    pub queues: Vec<Queue>,
    pub messages: Vec<Message>,
    pub message_ids: HashMap<Id, MessageNo>,
    /// Link ids reserved by queues of other homes, from the reservation to its release.
    pub reserved: HashSet<Id>,
    /// How often a link appeared or vanished.
    pub link_epochs: HashMap<Id, u64>,
    pub roles: BTreeMap<Id, ServiceRole>,
    /// The subscriber of a service as a home knows it.
    pub views: HashMap<(u16, Id), SessionRef>,
    pub joins: Vec<Join>,
    /// How often the notifiers of a service changed.
    pub service_epochs: HashMap<Id, u64>,
    /// Homes that know of the end of a session.
    pub closed: HashSet<(SessionRef, u16)>,
    /// Counts what happens.
    pub clock: u64,
    /// Pushes not seen yet, with the time of their cause.
    pub owed: HashMap<(SessionRef, Id), VecDeque<(u64, Event)>>,
    pub tally: Tally,
}

impl Queue {
    pub fn is_secured_messaging(&self) -> bool {
        self.mode != Some(QueueMode::Contact) && self.sender_key.is_some()
    }

    pub fn is_contact(&self) -> bool {
        match self.mode {
            Some(mode) => mode == QueueMode::Contact,
            None => self.sender_key.is_none(),
        }
    }

    /// The id of a kind.
    pub fn id(&self, kind: IdKind) -> Option<Id> {
        match kind {
            IdKind::Recipient => Some(self.recipient),
            IdKind::Sender => Some(self.sender),
            IdKind::Link => self.link.as_ref().map(|link| link.id),
            IdKind::Notifier => self.notifier.as_ref().map(|notifier| notifier.id),
        }
    }
}

impl Reference {
    /// The queue behind an id.
    pub fn find(&self, kind: IdKind, id: &[u8]) -> Option<QueueNo> {
        self.queues.iter().position(|queue| {
            !queue.deleted && queue.id(kind).is_some_and(|other| other[..] == *id)
        })
    }

    /// Queues that exist.
    pub fn live(&self) -> impl Iterator<Item = (QueueNo, &Queue)> {
        let queues = self.queues.iter().enumerate();
        queues.filter(|(_, queue)| !queue.deleted)
    }

    /// Whether nobody else may have a link id now.
    pub fn is_link_taken(&self, id: &Id) -> bool {
        self.reserved.contains(id) || self.find(IdKind::Link, id).is_some()
    }

    pub fn link_epoch(&self, id: &Id) -> u64 {
        self.link_epochs.get(id).copied().unwrap_or(0)
    }

    /// Gives a queue a link, or none.
    pub fn set_link(&mut self, queue: QueueNo, link: Option<Link>) {
        let old = std::mem::replace(&mut self.queues[queue].link, link.clone());
        for id in [old.map(|l| l.id), link.map(|l| l.id)]
            .into_iter()
            .flatten()
        {
            *self.link_epochs.entry(id).or_default() += 1;
        }
    }

    /// Somebody is to be told, unless it is who did it.
    pub fn owe(&mut self, to: Option<SessionRef>, by: SessionRef, entity: Id, event: Event) {
        if let Some(session) = to.filter(|to| *to != by) {
            let owed = self.owed.entry((session, entity)).or_default();
            owed.push_back((self.clock, event));
        }
    }

    /// The oldest message is given to a session.
    pub fn deliver(&mut self, queue: QueueNo, session: SessionRef) -> Option<MessageNo> {
        let queue = &mut self.queues[queue];
        match queue.messages.front() {
            Some(head) => queue.delivered.insert(session, *head),
            None => queue.delivered.remove(&session),
        };
        queue.messages.front().copied()
    }

    /// Removes old messages from the head of a queue.
    pub fn expire_queue(&mut self, queue: QueueNo, now: i64) {
        let Some(ttl) = self.message_ttl else {
            return;
        };
        while let Some(head) = self.queues[queue].messages.front() {
            let message = &self.messages[*head];
            if message.body.is_none() || message.at >= now - ttl {
                return;
            }
            self.queues[queue].messages.pop_front();
            self.tally.messages_expired += 1;
        }
    }

    /// Drops what is too old from the queues of a home.
    pub fn expire(&mut self, home: u16, now: i64) {
        for number in 0..self.queues.len() {
            if self.queues[number].home != home || self.queues[number].deleted {
                continue;
            }
            self.expire_queue(number, now);
            let before = now - self.notification_ttl;
            if let Some(notifier) = &mut self.queues[number].notifier {
                while let Some(oldest) = notifier.waiting.front()
                    && self.messages[*oldest].at < before
                {
                    notifier.waiting.pop_front();
                    self.tally.notifications_expired += 1;
                }
            }
        }
    }

    /// A home knows of the end of a session.
    pub fn session_closed(&mut self, session: SessionRef, home: u16) {
        self.closed.insert((session, home));
        let is = |who: &(SessionRef, Ticket)| who.0 == session;
        for queue in self.queues.iter_mut().filter(|queue| queue.home == home) {
            queue.subscriber = queue.subscriber.filter(|who| !is(who));
            queue.getters.remove(&session);
            queue.delivered.remove(&session);
            if let Some(notifier) = &mut queue.notifier {
                notifier.subscriber = notifier.subscriber.filter(|who| !is(who));
            }
        }
    }

    /// Who gets the notifications of a queue.
    pub fn notified(&self, queue: &Queue) -> Option<SessionRef> {
        let notifier = queue.notifier.as_ref()?;
        match notifier.service {
            Some(service) => self.views.get(&(queue.home, service)).copied(),
            None => notifier.subscriber.map(|(session, _)| session),
        }
    }

    /// A notifier belongs to a service, or to none any more.
    pub fn note_service(&mut self, service: Option<Id>) {
        if let Some(service) = service {
            *self.service_epochs.entry(service).or_default() += 1;
        }
    }

    pub fn service_epoch(&self, service: &Id) -> u64 {
        self.service_epochs.get(service).copied().unwrap_or(0)
    }

    /// Notifiers of a service.
    pub fn service_notifiers(&self, service: &Id) -> i64 {
        let notifiers = self.live().filter_map(|(_, queue)| queue.notifier.as_ref());
        notifiers.filter(|n| n.service == Some(*service)).count() as i64
    }

    /// A session begins to be the subscriber of its service.
    pub fn join_begins(&mut self, home: u16, service: Id, session: SessionRef) {
        let previous = self.views.insert((home, service), session);
        let epoch = self.service_epoch(&service);
        self.joins.push(Join {
            service,
            session,
            previous,
            epoch,
        });
    }

    /// It is; returns the number of notifiers when nothing changed meanwhile.
    pub fn join_ends(&mut self, service: Id, session: SessionRef) -> Option<i64> {
        let is = |join: &Join| (join.service, join.session) == (service, session);
        let at = self.joins.iter().position(is);
        let join = self.joins.remove(at.expect("a join that nobody asked for"));
        let unchanged = join.epoch == self.service_epoch(&service);
        let count = unchanged.then(|| self.service_notifiers(&service));
        self.owe(join.previous, session, service, Event::Ends(count));
        count
    }
}
