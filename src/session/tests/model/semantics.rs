//! What each command does to the [`Reference`], and what it must answer (spec: server §3).

use super::reference::{Event, Message, MessageNo, QueueNo, Reference};
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::error::CommandError;
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use crate::protocol::{Command, ErrorType};
use crate::relay::{Request, ServiceSession, SessionRef, Ticket};
use crate::store::{Id, IdKind};

/// A command that takes effect now.
pub struct Given<'a> {
    pub session: SessionRef,
    pub ticket: Ticket,
    pub service: Option<&'a ServiceSession>,
    pub request: &'a Request<'a>,
    /// The key that really authorised it.
    pub signer: Option<PublicAuthKey>,
    /// Whether it carries the service's signature, or what looks like one.
    pub service_signed: bool,
    /// Seconds since the Unix epoch.
    pub now: i64,
    /// The home that carries it out.
    pub home: u16,
    pub link: LinkVerdict,
    /// It was verified when it came, before it waited for the home of a link id.
    pub verified: bool,
    /// The link that led here may have become another while the command was on its way.
    pub may_miss: bool,
}

/// What is known of the link id a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkVerdict {
    /// It lives where the command is carried out.
    Here,
    Reserved,
    Denied,
    Undecided,
}

/// A queue that was created; only the answer names its ids.
#[derive(Debug)]
pub struct Created {
    pub keys: Vec<PublicAuthKey>,
    pub mode: Option<QueueMode>,
    pub sender: Option<Id>,
    /// The id is the server's choice when there is none.
    pub link: Option<(Option<Id>, Vec<u8>, Vec<u8>)>,
    pub notifier: Option<PublicAuthKey>,
    pub service: Option<Id>,
    pub subscriber: Option<(SessionRef, Ticket)>,
}

/// The answer that must come.
#[derive(Debug)]
pub enum Expected {
    Refused(ErrorType),
    Failed(ErrorType),
    Ok,
    Sok(Option<Id>),
    ServiceSok(Id),
    Subscribed(Option<Id>, MessageNo),
    Message(MessageNo),
    Link(QueueNo),
    Info(QueueNo),
    Ids(Box<Created>),
    Nid(QueueNo, PublicAuthKey),
    Soks(Id),
}

pub const AUTH: ErrorType = ErrorType::Auth;
pub const PROHIBITED: ErrorType = ErrorType::Cmd(CommandError::Prohibited);

/// The space of a command's entity; none for those without a queue.
pub fn entity_kind(command: &Command<'_>) -> Option<IdKind> {
    use Command as C;
    match command {
        C::New(_) | C::Ping | C::NSubs(_) | C::Subs(_) => None,
        C::Send { .. } | C::SKey(_) => Some(IdKind::Sender),
        C::LKey(_) | C::LGet => Some(IdKind::Link),
        C::NSub => Some(IdKind::Notifier),
        _ => Some(IdKind::Recipient),
    }
}

fn role_of(command: &Command<'_>) -> ServiceRole {
    match command {
        Command::NSub | Command::NSubs(_) => ServiceRole::Notifier,
        _ => ServiceRole::Messaging,
    }
}

impl Reference {
    /// Whether a command may be carried out, and on which queue.
    pub fn verify(&self, given: &Given<'_>) -> Result<Option<QueueNo>, ErrorType> {
        let command = &given.request.command;
        let entity = given.request.transmission.entity_id;
        let queue = match entity_kind(command) {
            None => None,
            Some(kind) => Some(self.find(kind, entity).ok_or(AUTH)?),
        };
        if given.service.is_some_and(|s| s.role != role_of(command)) {
            return Err(PROHIBITED);
        }
        let twice = matches!(command, Command::New(_) | Command::Sub | Command::NSub);
        if given.service_signed != (given.service.is_some() && twice) {
            return Err(ErrorType::Service);
        }
        match (command, queue) {
            (Command::NSubs(_), _) => self.verify_nsubs(given)?,
            (Command::New(new), _) if given.signer != Some(new.auth_key) => return Err(AUTH),
            (_, Some(queue)) if !self.is_authorised(given, queue) => return Err(AUTH),
            _ => {}
        }
        Ok(queue)
    }

    /// Carries out a command and says what must be answered.
    pub fn apply(&mut self, given: &Given<'_>) -> Expected {
        let queue = if given.verified {
            // The queue may be gone since.
            let kind = entity_kind(&given.request.command);
            kind.map(|kind| {
                self.find(kind, given.request.transmission.entity_id)
                    .ok_or(AUTH)
            })
            .transpose()
            .map_err(Expected::Failed)
        } else {
            self.verify(given).map_err(Expected::Refused)
        };
        match (&given.request.command, queue) {
            (_, Err(error)) => error,
            (Command::NSubs(_), Ok(_)) => Expected::Soks(service_of(given).expect("verified")),
            (Command::New(new), Ok(_)) => self.create(given, new),
            (_, Ok(Some(queue))) => self.on_queue(given, queue),
            (other, Ok(None)) => panic!("nobody sends {other:?}"),
        }
    }

    fn is_authorised(&self, given: &Given<'_>, queue: QueueNo) -> bool {
        let queue = &self.queues[queue];
        match &given.request.command {
            Command::Send { .. } => given.signer == queue.sender_key,
            Command::SKey(key) | Command::LKey(key) => {
                queue.mode == Some(QueueMode::Messaging)
                    && queue.sender_key.is_none_or(|current| current == *key)
                    && given.signer == Some(*key)
            }
            Command::LGet => queue.is_contact(),
            Command::NSub => given.signer == queue.notifier.as_ref().map(|n| n.key),
            _ => given.signer.is_some_and(|key| queue.keys.contains(&key)),
        }
    }

    fn on_queue(&mut self, given: &Given<'_>, queue: QueueNo) -> Expected {
        let session = given.session;
        match &given.request.command {
            Command::Send { notify, body } => self.send(given, queue, *notify, body),
            Command::Sub => self.sub(given, queue),
            Command::Get => self.get(session, queue),
            Command::Ack { msg_id } => self.ack(session, queue, msg_id),
            Command::Key(key) | Command::SKey(key) => self.secure(queue, key),
            Command::LKey(key) => match self.secure(queue, key) {
                Expected::Ok => Expected::Link(queue),
                other => other,
            },
            Command::LGet => Expected::Link(queue),
            Command::LSet { link_id, data } => self.lset(given, queue, link_id, data),
            Command::LDel => {
                self.set_link(queue, None);
                Expected::Ok
            }
            Command::RKey(keys) if self.queues[queue].mode == Some(QueueMode::Contact) => {
                self.queues[queue].keys = keys.clone();
                Expected::Ok
            }
            Command::RKey(_) => Expected::Failed(AUTH),
            Command::NKey(credentials) => {
                self.end_notifier(session, queue);
                Expected::Nid(queue, credentials.auth_key)
            }
            Command::NDel => {
                self.end_notifier(session, queue);
                Expected::Ok
            }
            Command::NSub => self.nsub(given, queue),
            Command::Off => {
                self.queues[queue].off = true;
                Expected::Ok
            }
            Command::Del => self.delete(session, queue),
            Command::Que => Expected::Info(queue),
            other => panic!("nobody sends {other:?}"),
        }
    }

    fn send(&mut self, given: &Given<'_>, number: QueueNo, notify: bool, body: &[u8]) -> Expected {
        if self.queues[number].off {
            return Expected::Failed(AUTH);
        }
        if self.queues[number].is_secured_messaging() {
            self.set_link(number, None);
        }
        if self.expire_on_send {
            self.expire_queue(number, given.now);
        }
        let newest = self.queues[number].messages.back();
        let is_empty = newest.is_none();
        if newest.is_some_and(|newest| self.messages[*newest].body.is_none()) {
            return Expected::Failed(ErrorType::Quota);
        }
        let is_full = self.queues[number].messages.len() >= self.quota;
        let message = self.messages.len();
        self.messages.push(Message {
            queue: number,
            id: None,
            body: (!is_full).then(|| body.to_vec()),
            notify,
            at: given.now,
        });
        self.queues[number].messages.push_back(message);
        if is_full {
            return Expected::Failed(ErrorType::Quota);
        }
        self.tally.sent += 1;
        let queue = &self.queues[number];
        if let Some((session, ticket)) = queue.subscriber
            && is_empty
            && !queue.delivered.contains_key(&session)
        {
            let entity = queue.recipient;
            self.deliver(number, session);
            let owed = self.owed.entry((session, entity)).or_default();
            owed.push_back((self.clock, Event::Message(message, ticket)));
        }
        if let Some(notifier) = self.queues[number].notifier.as_mut().filter(|_| notify) {
            notifier.waiting.push_back(message);
        }
        Expected::Ok
    }

    fn sub(&mut self, given: &Given<'_>, number: QueueNo) -> Expected {
        let session = given.session;
        let queue = &mut self.queues[number];
        if queue.getters.contains(&session) {
            return Expected::Failed(PROHIBITED);
        }
        let previous = queue.subscriber.replace((session, given.ticket));
        let previous = previous.map(|(previous, _)| previous);
        if let Some(previous) = previous {
            queue.delivered.remove(&previous);
        }
        let entity = queue.recipient;
        self.owe(previous, session, entity, Event::End);
        let service = service_of(given);
        match self.deliver(number, session) {
            Some(message) => Expected::Subscribed(service, message),
            None => Expected::Sok(service),
        }
    }

    fn get(&mut self, session: SessionRef, number: QueueNo) -> Expected {
        let queue = &mut self.queues[number];
        if queue.subscriber.is_some_and(|(who, _)| who == session) {
            return Expected::Failed(PROHIBITED);
        }
        queue.getters.insert(session);
        self.deliver(number, session)
            .map_or(Expected::Ok, Expected::Message)
    }

    fn ack(&mut self, session: SessionRef, number: QueueNo, msg_id: &[u8]) -> Expected {
        let Some(delivered) = self.queues[number].delivered.get(&session).copied() else {
            return Expected::Failed(ErrorType::NoMsg);
        };
        let id = self.messages[delivered].id.expect("delivered, so seen");
        if !msg_id.is_empty() && msg_id != id {
            return Expected::Failed(ErrorType::NoMsg);
        }
        let queue = &mut self.queues[number];
        queue.delivered.remove(&session);
        if !msg_id.is_empty() && queue.messages.front() == Some(&delivered) {
            queue.messages.pop_front();
            self.tally.received += u64::from(self.messages[delivered].body.is_some());
        }
        let is_subscriber = queue.subscriber.is_some_and(|(who, _)| who == session);
        let next = is_subscriber
            .then(|| self.deliver(number, session))
            .flatten();
        next.map_or(Expected::Ok, Expected::Message)
    }

    fn secure(&mut self, queue: QueueNo, key: &PublicAuthKey) -> Expected {
        match &mut self.queues[queue].sender_key {
            Some(current) if current != key => Expected::Failed(AUTH),
            current => {
                *current = Some(*key);
                Expected::Ok
            }
        }
    }

    fn nsub(&mut self, given: &Given<'_>, number: QueueNo) -> Expected {
        let queue = &self.queues[number];
        let notifier = queue.notifier.as_ref().expect("found by it");
        let (entity, before) = (notifier.id, notifier.service);
        let previous = self.notified(queue);
        let service = service_of(given);
        if before != service || service.is_none() {
            self.owe(previous, given.session, entity, Event::End);
        }
        if before != service {
            self.note_service(before);
            self.note_service(service);
        }
        if let Some(notifier) = &mut self.queues[number].notifier {
            notifier.service = service;
            notifier.subscriber = match service {
                None => Some((given.session, given.ticket)),
                Some(_) => None,
            };
        }
        service.map_or(Expected::Sok(None), Expected::ServiceSok)
    }

    fn verify_nsubs(&self, given: &Given<'_>) -> Result<(), ErrorType> {
        let entity = given.request.transmission.entity_id;
        let own = given.service.filter(|service| service.id == entity);
        let is_signed = own.is_some_and(|service| {
            given.signer == Some(PublicAuthKey::Ed25519(service.session_key))
        });
        is_signed.then_some(()).ok_or(ErrorType::Service)
    }
}

pub fn service_of(given: &Given<'_>) -> Option<Id> {
    given.service.map(|service| service.id)
}
