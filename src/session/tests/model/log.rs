//! What one connection sent and is owed, compared with what it receives.

use crate::crypto::keys::PublicAuthKey;
use crate::protocol::command::QueueRequest;
use crate::protocol::handshake::ServiceRole;
use crate::protocol::transmission::Transmission;
use crate::protocol::{Command, Response, Version};
use crate::relay::{Answer, Request, ServiceSession, SessionContext, Ticket};
use crate::store::Id;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A command on its way.
#[derive(Debug)]
pub struct Sent {
    pub corr_id: Id,
    pub bytes: Vec<u8>,
    /// The key that really authorised it.
    pub signer: Option<PublicAuthKey>,
    pub service_signed: bool,
    /// None for what the session answers by itself.
    pub order: Option<Order>,
    /// When and to which home it was sent first.
    pub dispatched: Option<(u64, u16)>,
    /// The epoch of its link when it turned out to belong elsewhere.
    pub redirected: Option<u64>,
    /// When it was sent there.
    pub dispatched_again: Option<u64>,
    pub in_effect: bool,
    /// The answer that waits for the disk.
    pub held: Option<Answer>,
    /// Refused before execution, and the bytes of the answer.
    pub answer: Option<(bool, Vec<u8>)>,
    pub received: bool,
}

/// How the effects of commands relate to those of others of the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Read,
    Commuting,
    Ordered,
    Exclusive,
}

/// A push that a home gave to the session.
#[derive(Debug)]
struct Given {
    bytes: Vec<u8>,
    /// Behind the answer to this command.
    behind: Option<Ticket>,
}

/// An end of a subscription that a home gave to the session.
#[derive(Debug)]
struct GivenEnd {
    bytes: Vec<u8>,
    at: u64,
    is_end: bool,
    /// There was a newer subscription later: it need not arrive.
    stale: bool,
}

#[derive(Debug, Default)]
struct Pushes {
    messages: VecDeque<Given>,
    ends: Vec<GivenEnd>,
    received_ends: Vec<Vec<u8>>,
    /// When the newest confirmation that the client has received took effect.
    confirmed: Option<u64>,
}

#[derive(Debug)]
pub struct Log {
    pub context: Arc<SessionContext>,
    pub blocks: Vec<Vec<Sent>>,
    /// Blocks whose answers have begun to arrive.
    begun: usize,
    /// Answers of the last one begun that have not arrived.
    due: VecDeque<Ticket>,
    pushes: HashMap<Id, Pushes>,
    /// Whether the session has ever been the subscriber of its service.
    pub has_joined: bool,
    /// When subscriptions of entities took effect, by command.
    confirmations: HashMap<Ticket, (Id, u64)>,
}

impl Order {
    pub fn of(command: &Command<'_>) -> Self {
        use Command as C;
        match command {
            C::Sub | C::Get | C::Que => Self::Read,
            C::Ack { .. } | C::NSub | C::LGet => Self::Commuting,
            C::LSet { .. } | C::NSubs(_) => Self::Exclusive,
            C::New(new) => match new.queue {
                Some(QueueRequest::Contact(Some(_))) => Self::Exclusive,
                _ => Self::Ordered,
            },
            _ => Self::Ordered,
        }
    }

    /// Whether a later command must not take effect before this one, wherever they are executed.
    fn precedes(self, later: Self) -> bool {
        match self {
            Self::Read => false,
            Self::Commuting => matches!(later, Self::Ordered | Self::Exclusive),
            Self::Ordered | Self::Exclusive => true,
        }
    }
}

impl Sent {
    /// What was sent, without what became of it.
    pub fn copy(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            held: None,
            answer: None,
            ..*self
        }
    }

    pub fn request<'a>(&'a self, ticket: Ticket, context: &'a SessionContext) -> Request<'a> {
        let (version, id) = (context.version(), context.session_id());
        Request::parse(&self.bytes, ticket, version, id).expect("well-formed")
    }
}

fn encoded(response: &Response<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(version, &mut out);
    out
}

impl Log {
    pub fn new(context: Arc<SessionContext>) -> Self {
        Self {
            context,
            blocks: Vec::new(),
            begun: 0,
            due: VecDeque::new(),
            pushes: HashMap::new(),
            has_joined: false,
            confirmations: HashMap::new(),
        }
    }

    pub fn sent(&mut self, ticket: Ticket) -> &mut Sent {
        &mut self.blocks[ticket.batch as usize][usize::from(ticket.index)]
    }

    /// Commands in the order sent.
    pub fn all(&self) -> impl Iterator<Item = (Ticket, &Sent)> {
        let blocks = (0..).zip(&self.blocks);
        blocks.flat_map(|(batch, block)| {
            let ticket = move |index| Ticket { batch, index };
            (0..).map(ticket).zip(block)
        })
    }

    /// Whatever must precede a command has taken effect. What was under way already when an
    /// earlier command turned out to belong elsewhere could not wait for it.
    pub fn check_order(&self, ticket: Ticket) {
        let at = |sent: &Sent| sent.dispatched.map(|(at, _)| at);
        let place = |sent: &Sent| sent.dispatched.filter(|_| sent.redirected.is_none());
        let (_, command) = self.all().find(|(t, _)| *t == ticket).expect("sent");
        for (_, earlier) in self.all().take_while(|(t, _)| *t != ticket) {
            let (Some(first), Some(then)) = (earlier.order, command.order) else {
                continue;
            };
            let too_late = earlier.redirected.is_some()
                && earlier
                    .dispatched_again
                    .is_none_or(|again| at(command) < Some(again));
            let same_home = place(earlier)
                .zip(place(command))
                .is_some_and(|(a, b)| a.1 == b.1);
            if (first.precedes(then) && !too_late) || same_home {
                assert!(
                    earlier.in_effect,
                    "{earlier:?} was overtaken by {command:?}"
                );
            }
        }
    }

    /// A home has answered a command.
    pub fn answered(&mut self, ticket: Ticket, answer: &Answer, message_behind: Option<Ticket>) {
        let version = self.context.version();
        let (refused, bytes) = match answer {
            Answer::Response(r) | Answer::ServiceSubscription { response: r, .. } => {
                (false, encoded(r, version))
            }
            Answer::Subscribed { response, .. } => (false, encoded(response, version)),
            Answer::Refused(error) => (true, encoded(&Response::Err(error.clone()), version)),
            Answer::Redirect { .. } => panic!("a redirect is no answer"),
        };
        let sent = self.sent(ticket);
        assert!(sent.answer.is_none(), "{ticket:?} was answered twice");
        sent.answer = Some((refused, bytes));
        if let Answer::Subscribed { message, .. } = answer {
            let entity = self.entity(ticket).expect("the id of a queue");
            self.pushed(entity, message, message_behind, 0);
        }
    }

    fn entity(&mut self, ticket: Ticket) -> Option<Id> {
        let context = Arc::clone(&self.context);
        let request = self.sent(ticket).request(ticket, &context);
        Id::try_from(request.transmission.entity_id).ok()
    }

    /// A home has given the session something that nobody asked for.
    pub fn pushed(&mut self, entity: Id, event: &Response<'_>, behind: Option<Ticket>, at: u64) {
        let bytes = encoded(event, self.context.version());
        let pushes = self.pushes.entry(entity).or_default();
        match event {
            Response::End | Response::Deld | Response::Ends(_) => pushes.ends.push(GivenEnd {
                bytes,
                at,
                is_end: !matches!(event, Response::Deld),
                stale: false,
            }),
            _ => pushes.messages.push_back(Given { bytes, behind }),
        }
    }

    /// A subscription has taken effect: earlier ends of it are of no interest any more.
    pub fn confirmed(&mut self, ticket: Ticket, at: u64) {
        let Some(entity) = self.entity(ticket) else {
            return;
        };
        self.confirmations.insert(ticket, (entity, at));
        self.is_subscribed(entity);
    }

    /// Earlier ends of a subscription are of no interest any more.
    pub fn is_subscribed(&mut self, entity: Id) {
        for end in &mut self.pushes.entry(entity).or_default().ends {
            end.stale |= end.is_end;
        }
    }

    /// The client has received a transmission; says what it is. It can use the ids in it.
    pub fn receive(&mut self, bytes: &[u8], known: &mut HashSet<Id>) -> String {
        let version = self.context.version();
        let t = Transmission::decode(bytes, version).expect("a transmission");
        assert!(t.authorization.is_empty());
        match Response::decode(t.command, version).expect("a response") {
            Response::Msg { msg_id, .. } => known.extend(Id::try_from(&msg_id[..])),
            Response::Ids(ids) => known.extend(Id::try_from(&ids.recipient_id[..])),
            _ => {}
        }
        if t.corr_id.is_empty() {
            let entity = Id::try_from(t.entity_id).expect("an id");
            self.receive_push(entity, t.command);
            let tag = t.command.split(|b| *b == b' ').next().unwrap_or_default();
            return format!("{} about {:02x}..", String::from_utf8_lossy(tag), entity[0]);
        }
        let ticket = self.next_due();
        let context = Arc::clone(&self.context);
        let sent = self.sent(ticket);
        assert_eq!(t.corr_id, sent.corr_id, "the answer to another command");
        let (_, answer) = sent.answer.as_ref().expect("answered");
        assert!(t.command == &answer[..], "another answer to {ticket:?}");
        let own = Transmission::decode(&sent.bytes, context.version()).expect("well-formed");
        assert_eq!(t.entity_id, own.entity_id);
        sent.received = true;
        let notifies = |s: &ServiceSession| s.role == ServiceRole::Notifier;
        let by_service = t.command.starts_with(b"SOK ") && context.service().is_some_and(notifies);
        assert!(
            self.has_joined || !by_service,
            "{ticket:?} was confirmed before the session stood for its service"
        );
        if let Some((entity, at)) = self.confirmations.get(&ticket) {
            self.pushes.entry(*entity).or_default().confirmed = Some(*at);
        }
        format!("the answer to {ticket:?}")
    }

    /// Answers come in the order of the blocks, of a block refusals first.
    fn next_due(&mut self) -> Ticket {
        if self.due.is_empty() {
            let block = self
                .blocks
                .get(self.begun)
                .expect("an answer nobody asked for");
            let batch = self.begun as u32;
            let refused = |sent: &Sent| sent.answer.as_ref().expect("incomplete block").0;
            let mut tickets: Vec<_> = (0..).zip(block).collect();
            tickets.sort_by_key(|(_, sent)| !refused(sent));
            let tickets = tickets
                .into_iter()
                .map(|(index, _)| Ticket { batch, index });
            self.due.extend(tickets);
            self.begun += 1;
        }
        self.due.pop_front().expect("no block is empty")
    }

    fn receive_push(&mut self, entity: Id, bytes: &[u8]) {
        let pushes = self
            .pushes
            .get_mut(&entity)
            .expect("a push for another entity");
        let is_end = [&b"END"[..], b"DELD"].contains(&bytes) || bytes.starts_with(b"ENDS ");
        if is_end {
            let since = pushes.confirmed;
            let fits = |end: &GivenEnd| end.bytes == bytes && since.is_none_or(|at| end.at > at);
            assert!(
                bytes == b"DELD" || pushes.ends.iter().any(fits),
                "{:?} about {:02x}.. ends what was replaced at {since:?} by a confirmed one: {:?}",
                String::from_utf8_lossy(bytes),
                entity[0],
                pushes.ends,
            );
            pushes.received_ends.push(bytes.to_vec());
            return;
        }
        let given = pushes.messages.pop_front().expect("a message nobody gave");
        assert!(
            given.bytes == bytes,
            "{} about {:02x}.. instead of {}",
            hex::encode(&bytes[..bytes.len().min(16)]),
            entity[0],
            hex::encode(&given.bytes[..given.bytes.len().min(16)]),
        );
        if let Some(ticket) = given.behind {
            assert!(
                self.sent(ticket).received,
                "a message before its subscription"
            );
        }
    }

    /// Everything sent is answered, and everything owed has arrived.
    pub fn check_settled(&self) {
        for (ticket, sent) in self.all() {
            assert!(sent.received, "no answer to {ticket:?}: {sent:?}");
        }
        for (entity, pushes) in &self.pushes {
            assert!(pushes.messages.is_empty(), "lost messages of {entity:?}");
            assert!(
                is_told(&pushes.ends, &pushes.received_ends),
                "{:?} given, {:?} received",
                pushes.ends,
                pushes.received_ends
            );
        }
    }

    /// A block is sent. What no shard will answer is answered by the session.
    pub fn begin(&mut self, block: Vec<Sent>) {
        let batch = self.blocks.len() as u32;
        let (context, count) = (Arc::clone(&self.context), block.len());
        self.blocks.push(block);
        for index in 0..count as u8 {
            let ticket = Ticket { batch, index };
            let sent = self.sent(ticket);
            let (version, id) = (context.version(), context.session_id());
            let answer: Answer = match Request::parse(&sent.bytes, ticket, version, id) {
                Err(refusal) => Answer::Refused(refusal.error),
                Ok(request) if matches!(request.command, Command::Ping) => Response::Pong.into(),
                Ok(_) => continue,
            };
            assert!(sent.order.is_none(), "a malformed command: {answer:?}");
            sent.in_effect = true;
            self.answered(ticket, &answer, None);
        }
    }
}

/// Whether what was received is what was given, perhaps without what was stale.
fn is_told(given: &[GivenEnd], received: &[Vec<u8>]) -> bool {
    let Some((first, rest)) = given.split_first() else {
        return received.is_empty();
    };
    let taken = received
        .split_first()
        .is_some_and(|(bytes, others)| *bytes == first.bytes && is_told(rest, others));
    taken || (first.stale && is_told(rest, received))
}
