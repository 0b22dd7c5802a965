//! One executor's world: its shard, its sessions, and the way between them.

use super::mesh::Mesh;
use super::registration::Registrations;
use crate::config::values::QueuePlacement;
use crate::crypto::hash;
use crate::protocol::batch::MAX_BATCH_ITEMS;
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, Response};
use crate::relay::{
    Answer, Counters, Effect, MessageSweep, NotificationSweep, Partitioner, PeerMessage, Request,
    ServiceRegistration, SessionContext, SessionRef, Shard, Ticket, Timestamp, service_home,
};
use crate::session::{BatchKind, FlushDue, Router, Session};
use crate::store::{Id, MemoryStore};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

/// Time spent on messages of other executors, or on events that were due, before connections get
/// a turn: what one costs depends on what it asks for.
const TURN: Duration = Duration::from_millis(1);

/// What executors tell each other.
#[derive(Debug)]
pub enum CoreMessage {
    /// Commands of a session of the sender.
    Commands(Box<RemoteCommands>),
    /// The answer to a command of a session of the receiver.
    Reply(SessionRef, Ticket, Box<Answer>),
    /// A command of a session of the receiver has taken effect; its answer follows.
    Executed(SessionRef, Ticket),
    /// An unsolicited message to a session of the receiver.
    Push(SessionRef, Id, Box<Response<'static>>),
    /// Notifications for a session of the receiver.
    Notify(SessionRef, Vec<(Id, Response<'static>)>),
    /// A session of the sender has room for as many notifications again.
    NotificationsTaken(SessionRef, u32),
    /// Make a session of the sender the subscriber of its service.
    JoinService(SessionRef, Id),
    /// The answer to it.
    ServiceJoined(SessionRef),
    /// A service's session of the sender ended.
    ServiceClosed(SessionRef, Id),
    /// Who is the service in a handshake of the sender.
    RegisterService(Box<ServiceRegistration>),
    /// The answer to the sender's request of this number.
    ServiceRegistered(u64, Option<Id>),
    /// Does a silent session of the sender have subscriptions?
    AskSubscribed(SessionRef),
    /// The answer to it.
    Subscribed(SessionRef, bool),
    /// Between shards.
    Peer(PeerMessage),
    /// A session of the sender ended.
    SessionClosed(SessionRef),
    /// A session of the sender has room for the message of a queue again.
    Redeliver(SessionRef, Id),
    /// The answer to it when there is no message.
    NothingToRedeliver(SessionRef),
}

/// Commands on their way to another executor, as the bytes they came in.
#[derive(Debug)]
pub struct RemoteCommands {
    session: SessionRef,
    context: Arc<SessionContext>,
    commands: Vec<(Ticket, Range<usize>)>,
    bytes: Vec<u8>,
}

impl RemoteCommands {
    fn new(session: SessionRef, context: &Arc<SessionContext>, requests: &[Request<'_>]) -> Self {
        let mut bytes = Vec::with_capacity(requests.iter().map(|r| r.bytes.len()).sum());
        let commands = requests
            .iter()
            .map(|request| {
                let start = bytes.len();
                bytes.extend_from_slice(request.bytes);
                (request.ticket, start..bytes.len())
            })
            .collect();
        Self {
            session,
            context: Arc::clone(context),
            commands,
            bytes,
        }
    }

    fn requests(&self) -> Vec<Request<'_>> {
        let (version, id) = (self.context.version(), self.context.session_id());
        // They parsed where they came from.
        self.commands
            .iter()
            .filter_map(|(ticket, range)| {
                Request::parse(self.bytes.get(range.clone())?, *ticket, version, id).ok()
            })
            .collect()
    }
}

/// A connection as the rest of its executor sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its state; borrowed only within a poll.
    pub session: RefCell<Session>,
    waker: RefCell<Option<Waker>>,
    stalled_at: Cell<Option<Instant>>,
    aborted: Cell<bool>,
    /// Whether it waits for the mesh to clear.
    awaits_mesh: Cell<bool>,
    /// When a block was last received or sent.
    last_active: Cell<Instant>,
}

impl Connection {
    /// Notes the task to wake when there is something to send.
    pub fn register(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// Notes whether the peer takes what is sent to it.
    pub fn set_stalled(&self, stalled: bool) {
        match (stalled, self.stalled_at.get()) {
            (true, None) => self.stalled_at.set(Some(Instant::now())),
            (false, Some(_)) => self.stalled_at.set(None),
            _ => {}
        }
    }

    /// Notes that a block was received or sent.
    pub fn note_activity(&self) {
        self.last_active.set(Instant::now());
    }

    /// How long no block has been received or sent.
    pub fn idle_for(&self) -> Duration {
        self.last_active.get().elapsed()
    }

    /// Whether the connection is to be dropped without further ado.
    pub fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

#[derive(Debug, Default)]
struct Sessions {
    table: Slab<(u32, Rc<Connection>)>,
    generation: u32,
}

/// A silent session whose shards are asked whether it is subscribed to anything.
#[derive(Debug)]
struct IdleCheck {
    /// Shards that have not answered.
    awaited: usize,
    ttl: Duration,
}

/// One executor's shard and sessions.
#[derive(Debug)]
pub struct Core {
    index: u16,
    partitioner: Partitioner,
    queue_placement: QueuePlacement,
    shard: RefCell<Shard<MemoryStore>>,
    sessions: RefCell<Sessions>,
    mesh: Mesh<CoreMessage>,
    rng: RefCell<ChaCha20Rng>,
    stopping: Cell<bool>,
    /// Connections in the TLS or SMP handshake.
    handshakes: Cell<usize>,
    /// Sessions to wake once the mesh is no longer congested.
    congested: RefCell<Vec<SessionRef>>,
    /// Time between deliveries of ended subscriptions.
    event_interval: Duration,
    /// Sessions with ended subscriptions that their clients do not know of.
    with_events: RefCell<BTreeSet<SessionRef>>,
    counters: RefCell<Counters>,
    registrations: Registrations,
    /// Silent sessions that may have to be closed.
    idle: RefCell<HashMap<SessionRef, IdleCheck>>,
    /// The executor's main task, which looks at the shutdown flag.
    main: RefCell<Option<Waker>>,
}

impl Core {
    /// The core of executor `index`; ended subscriptions are told every `event_interval`, at once
    /// when it is zero.
    pub fn new(
        index: u16,
        partitioner: Partitioner,
        queue_placement: QueuePlacement,
        shard: Shard<MemoryStore>,
        mesh: Mesh<CoreMessage>,
        rng: ChaCha20Rng,
        event_interval: Duration,
    ) -> Self {
        Self {
            index,
            partitioner,
            queue_placement,
            shard: RefCell::new(shard),
            sessions: RefCell::default(),
            mesh,
            rng: RefCell::new(rng),
            stopping: Cell::new(false),
            handshakes: Cell::new(0),
            congested: RefCell::default(),
            event_interval,
            with_events: RefCell::default(),
            counters: RefCell::default(),
            registrations: Registrations::default(),
            idle: RefCell::default(),
            main: RefCell::default(),
        }
    }

    /// The queues to other executors.
    pub fn mesh(&self) -> &Mesh<CoreMessage> {
        &self.mesh
    }

    /// Number of this executor.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The shard; borrowed only within a poll.
    pub fn shard(&self) -> &RefCell<Shard<MemoryStore>> {
        &self.shard
    }

    /// Handshakes that wait for the registry of services.
    pub fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// Random numbers of this executor.
    pub fn rng(&self) -> &RefCell<ChaCha20Rng> {
        &self.rng
    }

    /// Connections in the TLS or SMP handshake.
    pub fn handshakes(&self) -> &Cell<usize> {
        &self.handshakes
    }

    /// Number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.borrow().table.len()
    }

    /// Whether connections are to be closed once they are settled.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Makes every connection close once what it has in flight is answered.
    pub fn stop(&self) {
        self.stopping.set(true);
        for (_, (_, connection)) in &self.sessions.borrow().table {
            connection.wake();
        }
    }

    /// Remembers the executor's main task.
    pub fn wake_on_alarm(&self, waker: &Waker) {
        *self.main.borrow_mut() = Some(waker.clone());
    }

    /// Lets the executor's main task look at the shutdown flag.
    pub fn note_alarm(&self) {
        if let Some(waker) = self.main.take() {
            waker.wake();
        }
    }

    /// Enters a session into the table; `make` gets its reference.
    pub fn open_session(&self, make: impl FnOnce(SessionRef) -> Session) -> Rc<Connection> {
        let mut sessions = self.sessions.borrow_mut();
        sessions.generation = sessions.generation.wrapping_add(1);
        let generation = sessions.generation;
        let entry = sessions.table.vacant_entry();
        // Descriptors run out long before the table has 2³² places.
        let slot = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let session = make(SessionRef {
            core: self.index,
            slot,
            generation,
        });
        let connection = Rc::new(Connection {
            session: RefCell::new(session),
            waker: RefCell::default(),
            stalled_at: Cell::new(None),
            aborted: Cell::new(false),
            awaits_mesh: Cell::new(false),
            last_active: Cell::new(Instant::now()),
        });
        entry.insert((generation, Rc::clone(&connection)));
        connection
    }

    /// What this executor's shard and sessions have counted.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "statistics are not reported yet")
    )]
    pub fn counters(&self) -> Counters {
        let mut counters = *self.shard.borrow().counters();
        counters += &self.counters.borrow();
        counters
    }

    /// Removes a session and tells the shards that know it.
    pub fn close_session(&self, connection: &Connection) {
        let session = connection.session.borrow();
        let reference = session.reference();
        self.with_events.borrow_mut().remove(&reference);
        self.idle.borrow_mut().remove(&reference);
        self.sessions
            .borrow_mut()
            .table
            .try_remove(reference.slot as usize);
        for shard in session.touched_shards() {
            if *shard == self.index {
                self.shard.borrow_mut().session_closed(reference);
            } else {
                self.mesh
                    .send(*shard, CoreMessage::SessionClosed(reference));
            }
        }
        if let Some(service_id) = session.service_id() {
            let shard = self.partitioner.shard_of(&service_id);
            if shard == self.index {
                self.run(|router| router.leave_service(reference, &service_id));
            } else {
                self.mesh
                    .send(shard, CoreMessage::ServiceClosed(reference, service_id));
            }
        }
        self.mesh.announce();
    }

    fn connection(&self, session: SessionRef) -> Option<Rc<Connection>> {
        let sessions = self.sessions.borrow();
        let (generation, connection) = sessions.table.get(session.slot as usize)?;
        (*generation == session.generation).then(|| Rc::clone(connection))
    }

    /// Lets a session work with the shards, then carries out what follows from it.
    pub fn run<R>(&self, work: impl FnOnce(&mut CoreRouter<'_>) -> R) -> R {
        let mut router = CoreRouter {
            core: self,
            now: now(),
            effects: Vec::new(),
        };
        let result = work(&mut router);
        router.carry_out();
        self.mesh.announce();
        result
    }

    /// Asks the shard of a queue to push its message again.
    pub fn redeliver(&self, session: SessionRef, recipient_id: Id, router: &mut CoreRouter<'_>) {
        let shard = self.partitioner.shard_of(&recipient_id);
        if shard == self.index {
            self.shard.borrow_mut().redeliver(
                router.now,
                session,
                &recipient_id,
                &mut router.effects,
            );
        } else {
            self.mesh
                .send(shard, CoreMessage::Redeliver(session, recipient_id));
        }
    }

    /// Tells the shard `from` that a session has sent as many of its notifications.
    pub fn notifications_taken(
        &self,
        session: SessionRef,
        from: u16,
        count: u32,
        router: &mut CoreRouter<'_>,
    ) {
        if from == self.index {
            self.shard
                .borrow_mut()
                .notifications_taken(session, count, &mut router.effects);
        } else {
            self.mesh
                .send(from, CoreMessage::NotificationsTaken(session, count));
        }
    }

    /// Delivers notifications of some queues; says whether there are more.
    pub fn deliver_notifications(&self, queues: usize) -> bool {
        self.run(|router| {
            self.shard
                .borrow_mut()
                .deliver_notifications(queues, &mut router.effects)
        })
    }

    /// Drops old messages of some queues; says whether there are more.
    pub fn expire_messages(&self, sweep: &mut MessageSweep, queues: usize) -> bool {
        self.shard
            .borrow_mut()
            .expire_messages(now(), sweep, queues)
    }

    /// Drops old notifications of some queues; says whether there are more.
    pub fn expire_notifications(&self, sweep: &mut NotificationSweep, queues: usize) -> bool {
        self.shard
            .borrow_mut()
            .expire_notifications(now(), sweep, queues)
    }

    /// Closes connections that were silent for `ttl`, unless they are subscribed to something:
    /// the shards they have used are asked.
    pub fn close_idle(&self, ttl: Duration) {
        let mut answers = Vec::new();
        for (_, (_, connection)) in &self.sessions.borrow().table {
            let session = connection.session.borrow();
            if connection.idle_for() <= ttl || session.holds_service_subscription() {
                continue;
            }
            let reference = session.reference();
            let shards = session.touched_shards();
            let awaited = shards.len().max(1);
            self.idle
                .borrow_mut()
                .insert(reference, IdleCheck { awaited, ttl });
            if shards.is_empty() {
                answers.push((reference, false));
            }
            for shard in shards {
                if *shard == self.index {
                    answers.push((reference, self.shard.borrow().has_subscriptions(reference)));
                } else {
                    self.mesh
                        .send(*shard, CoreMessage::AskSubscribed(reference));
                }
            }
        }
        for (session, subscribed) in answers {
            self.note_subscribed(session, subscribed);
        }
        self.mesh.announce();
    }

    /// A shard has said whether a silent session is subscribed to anything of it.
    fn note_subscribed(&self, session: SessionRef, subscribed: bool) {
        let mut idle = self.idle.borrow_mut();
        let Some(check) = idle.get_mut(&session) else {
            return;
        };
        check.awaited -= 1;
        if !subscribed && check.awaited > 0 {
            return;
        }
        let ttl = check.ttl;
        idle.remove(&session);
        // It may have spoken meanwhile.
        if let Some(connection) = self.connection(session)
            && !subscribed
            && connection.idle_for() > ttl
        {
            connection.aborted.set(true);
            connection.wake();
        }
    }

    /// The sessions whose clients are to be told of ended subscriptions now.
    pub fn take_sessions_with_events(&self) -> BTreeSet<SessionRef> {
        self.with_events.take()
    }

    /// Tells the clients of `due` of ended subscriptions; what is left of `due` waits for another
    /// turn.
    pub fn flush_events(&self, due: &mut BTreeSet<SessionRef>) {
        let start = Instant::now();
        while start.elapsed() < TURN
            && let Some(session) = due.pop_first()
        {
            if let Some(connection) = self.connection(session) {
                self.flush_events_of(&connection);
            }
        }
    }

    fn flush_events_of(&self, connection: &Connection) {
        let count = connection.session.borrow_mut().flush_events() as u64;
        if count > 0 {
            let mut counters = self.counters.borrow_mut();
            counters.sub_ended += count;
            // As the reference counts them (spec: server §4).
            counters.sub_ended_batches += count / MAX_BATCH_ITEMS as u64 + 1;
            connection.wake();
        }
    }

    /// Handles what other executors sent; says whether there may be more.
    pub fn receive(&self) -> bool {
        let start = Instant::now();
        self.run(|router| {
            let more = self.mesh.receive(|from, message| {
                router.take(from, message);
                router.carry_out();
                start.elapsed() < TURN
            });
            if self.mesh.flush() {
                self.resume_congested();
            }
            more
        })
    }

    /// Whether a connection must not read commands now; it is woken when it may.
    pub fn is_congested_for(&self, connection: &Connection) -> bool {
        let congested = self.mesh.is_congested();
        if congested && !connection.awaits_mesh.replace(true) {
            let reference = connection.session.borrow().reference();
            self.congested.borrow_mut().push(reference);
        }
        congested
    }

    fn resume_congested(&self) {
        for session in self.congested.take() {
            if let Some(connection) = self.connection(session) {
                connection.awaits_mesh.set(false);
                connection.wake();
            }
        }
    }

    /// Drops connections whose peer has taken nothing for longer than `limit`.
    pub fn drop_stalled(&self, limit: Duration) {
        for (_, (_, connection)) in &self.sessions.borrow().table {
            let stalled_at = connection.stalled_at.get();
            if stalled_at.is_some_and(|at| at.elapsed() > limit) {
                connection.aborted.set(true);
                connection.wake();
            }
        }
    }
}

/// Carries commands to shards and answers to sessions during one step of an executor.
#[derive(Debug)]
pub struct CoreRouter<'a> {
    core: &'a Core,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl CoreRouter<'_> {
    fn take(&mut self, from: u16, message: CoreMessage) {
        let core = self.core;
        match message {
            CoreMessage::Commands(commands) => {
                let requests = commands.requests();
                core.shard.borrow_mut().execute(
                    self.now,
                    commands.session,
                    &commands.context,
                    &requests,
                    &mut self.effects,
                );
            }
            CoreMessage::Reply(session, ticket, answer) => {
                self.effects.push(Effect::Reply {
                    session,
                    ticket,
                    answer: *answer,
                });
            }
            CoreMessage::Executed(session, ticket) => self.executed(session, ticket),
            CoreMessage::Push(session, entity, event) => {
                self.effects.push(Effect::Push {
                    session,
                    entity,
                    event: *event,
                });
            }
            CoreMessage::Notify(session, notifications) => {
                self.notify(from, session, notifications);
            }
            CoreMessage::NotificationsTaken(session, count) => {
                core.shard
                    .borrow_mut()
                    .notifications_taken(session, count, &mut self.effects);
            }
            CoreMessage::JoinService(session, service_id) => {
                core.shard
                    .borrow_mut()
                    .join_service(session, &service_id, &mut self.effects);
            }
            CoreMessage::ServiceJoined(session) => self.service_joined(session),
            CoreMessage::ServiceClosed(session, service_id) => {
                self.leave_service(session, &service_id);
            }
            CoreMessage::RegisterService(registration) => self.register_service_here(*registration),
            CoreMessage::ServiceRegistered(token, service_id) => {
                core.registrations.complete(token, service_id);
            }
            CoreMessage::AskSubscribed(session) => {
                let subscribed = core.shard.borrow().has_subscriptions(session);
                core.mesh
                    .send(from, CoreMessage::Subscribed(session, subscribed));
            }
            CoreMessage::Subscribed(session, subscribed) => {
                core.note_subscribed(session, subscribed);
            }
            CoreMessage::Peer(message) => {
                core.shard
                    .borrow_mut()
                    .peer_message(from, message, &mut self.effects);
            }
            CoreMessage::SessionClosed(session) => {
                core.shard.borrow_mut().session_closed(session);
            }
            CoreMessage::NothingToRedeliver(session) => {
                self.effects.push(Effect::NothingToRedeliver { session });
            }
            CoreMessage::Redeliver(session, id) => {
                core.shard
                    .borrow_mut()
                    .redeliver(self.now, session, &id, &mut self.effects);
            }
        }
    }

    /// Carries out effects until none is left: an answer may redirect a command, which has effects
    /// of its own.
    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Reply {
                        session,
                        ticket,
                        answer,
                    } => {
                        self.reply(session, ticket, answer);
                    }
                    Effect::Push {
                        session,
                        entity,
                        event,
                    } => self.push(session, entity, event),
                    Effect::Notify {
                        session,
                        notifications,
                    } => self.notify(self.core.index, session, notifications),
                    Effect::Executed { session, ticket } => self.executed(session, ticket),
                    // Nobody gives orders yet.
                    Effect::OperatorAnswered { .. } => {}
                    Effect::ServiceJoined { session } => self.service_joined(session),
                    Effect::ServiceRegistered {
                        core,
                        token,
                        service_id,
                    } => self.service_registered(core, token, service_id),
                    Effect::NothingToRedeliver { session } => self.nothing_to_redeliver(session),
                    Effect::Peer { shard, message } => {
                        self.core.mesh.send(shard, CoreMessage::Peer(message));
                    }
                }
            }
        }
    }

    fn reply(&mut self, session: SessionRef, ticket: Ticket, answer: Answer) {
        if session.core != self.core.index {
            let message = CoreMessage::Reply(session, ticket, Box::new(answer));
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().answer(ticket, answer, self);
            connection.wake();
        }
    }

    fn push(&mut self, session: SessionRef, entity: Id, event: Response<'static>) {
        if session.core != self.core.index {
            let message = CoreMessage::Push(session, entity, Box::new(event));
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            let due = connection.session.borrow_mut().push(entity, event);
            match due {
                FlushDue::Unchanged => connection.wake(),
                FlushDue::Later if !self.core.event_interval.is_zero() => {
                    self.core.with_events.borrow_mut().insert(session);
                }
                FlushDue::Later | FlushDue::Now => self.core.flush_events_of(&connection),
            }
        }
    }

    fn executed(&mut self, session: SessionRef, ticket: Ticket) {
        if session.core != self.core.index {
            let message = CoreMessage::Executed(session, ticket);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().executed(ticket, self);
        }
    }

    fn notify(&mut self, from: u16, session: SessionRef, events: Vec<(Id, Response<'static>)>) {
        if session.core != self.core.index {
            let message = CoreMessage::Notify(session, events);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().notify(from, events);
            connection.wake();
        }
    }

    fn service_joined(&mut self, session: SessionRef) {
        if session.core != self.core.index {
            let message = CoreMessage::ServiceJoined(session);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().service_joined();
            connection.wake();
        }
    }

    /// Asks the shard of a certificate who the service is.
    pub fn register_service(&mut self, registration: ServiceRegistration) {
        let shard = self
            .core
            .partitioner
            .shard_of(&service_home(&registration.fingerprint));
        if shard == self.core.index {
            self.register_service_here(registration);
        } else {
            let message = CoreMessage::RegisterService(Box::new(registration));
            self.core.mesh.send(shard, message);
        }
    }

    fn register_service_here(&mut self, registration: ServiceRegistration) {
        self.core
            .shard
            .borrow_mut()
            .register_service(self.now, registration, &mut self.effects);
    }

    fn service_registered(&self, core: u16, token: u64, service_id: Option<Id>) {
        if core == self.core.index {
            self.core.registrations.complete(token, service_id);
        } else {
            let message = CoreMessage::ServiceRegistered(token, service_id);
            self.core.mesh.send(core, message);
        }
    }

    fn leave_service(&mut self, session: SessionRef, service_id: &Id) {
        self.core
            .shard
            .borrow_mut()
            .leave_service(session, service_id, &mut self.effects);
    }

    fn nothing_to_redeliver(&mut self, session: SessionRef) {
        if session.core != self.core.index {
            let message = CoreMessage::NothingToRedeliver(session);
            self.core.mesh.send(session.core, message);
        } else if let Some(connection) = self.core.connection(session) {
            connection.session.borrow_mut().nothing_deferred();
            connection.wake();
        }
    }

    /// Where a queue is created: with its sender id when the client chose it, else as configured.
    fn shard_for_new(&mut self, request: &Request<'_>) -> u16 {
        let own = self.core.index;
        let shards = self.core.partitioner.shards();
        if let Command::New(new) = &request.command
            && let Some(QueueRequest::Messaging(Some(_)) | QueueRequest::Contact(Some(_))) =
                &new.queue
        {
            // What the client should have chosen; a wrong choice is refused by any shard.
            let sender_id = hash::sender_id(request.transmission.corr_id);
            return self.core.partitioner.shard_of(&sender_id);
        }
        match self.core.queue_placement {
            QueuePlacement::Local => own,
            QueuePlacement::Spread => self.core.rng.borrow_mut().random_range(0..shards),
            QueuePlacement::Remote if shards == 1 => own,
            QueuePlacement::Remote => {
                let step = self.core.rng.borrow_mut().random_range(1..shards);
                (own + step) % shards
            }
        }
    }
}

impl Router for CoreRouter<'_> {
    fn shard_for(&mut self, request: &Request<'_>) -> u16 {
        match <&Id>::try_from(request.transmission.entity_id) {
            Ok(id) => self.core.partitioner.shard_of(id),
            Err(_) if matches!(request.command, Command::New(_)) => self.shard_for_new(request),
            // No queue has such an id; the refusal takes as long anywhere.
            Err(_) => self.core.index,
        }
    }

    fn dispatch(
        &mut self,
        shard: u16,
        session: SessionRef,
        context: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) {
        if shard == self.core.index {
            self.core.shard.borrow_mut().execute(
                self.now,
                session,
                context,
                requests,
                &mut self.effects,
            );
        } else {
            let commands = RemoteCommands::new(session, context, requests);
            self.core
                .mesh
                .send(shard, CoreMessage::Commands(Box::new(commands)));
        }
    }

    fn join_service(&mut self, session: SessionRef, context: &Arc<SessionContext>) -> Option<u16> {
        let service_id = context.service()?.id;
        let shard = self.core.partitioner.shard_of(&service_id);
        if shard == self.core.index {
            self.core
                .shard
                .borrow_mut()
                .join_service(session, &service_id, &mut self.effects);
        } else {
            self.core
                .mesh
                .send(shard, CoreMessage::JoinService(session, service_id));
        }
        Some(shard)
    }

    fn count_batch(&mut self, kind: BatchKind) {
        let mut counters = self.core.counters.borrow_mut();
        *match kind {
            BatchKind::Sub => &mut counters.sub_all_batches,
            BatchKind::Del => &mut counters.deleted_all_batches,
            BatchKind::NDel => &mut counters.ntf_deleted_batches,
            BatchKind::NSub => &mut counters.ntf_sub_batches,
        } += 1;
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp {
        nanos: since_epoch.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests;
