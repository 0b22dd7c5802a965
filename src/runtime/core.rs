//! One executor's world: its shard, its sessions, and the way between them.

use super::mesh::Mesh;
use crate::config::values::QueuePlacement;
use crate::crypto::hash;
use crate::protocol::command::QueueRequest;
use crate::protocol::{Command, Response};
use crate::relay::{
    Answer, Effect, Partitioner, PeerMessage, Request, SessionContext, SessionRef, Shard, Ticket,
    Timestamp,
};
use crate::session::{Router, Session};
use crate::store::{Id, MemoryStore};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

/// Time spent on messages of other executors before connections get a turn: what one costs
/// depends on what it asks for.
const RECEIVE_TIME: Duration = Duration::from_millis(1);

/// What executors tell each other.
#[derive(Debug)]
pub enum CoreMessage {
    /// Commands of a session of the sender.
    Commands(Box<RemoteCommands>),
    /// The answer to a command of a session of the receiver.
    Reply(SessionRef, Ticket, Box<Answer>),
    /// An unsolicited message to a session of the receiver.
    Push(SessionRef, Id, Box<Response<'static>>),
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
    /// The executor's main task, which looks at the shutdown flag.
    main: RefCell<Option<Waker>>,
}

impl Core {
    /// The core of executor `index`.
    pub fn new(
        index: u16,
        partitioner: Partitioner,
        queue_placement: QueuePlacement,
        shard: Shard<MemoryStore>,
        mesh: Mesh<CoreMessage>,
        rng: ChaCha20Rng,
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
            main: RefCell::default(),
        }
    }

    /// The queues to other executors.
    pub fn mesh(&self) -> &Mesh<CoreMessage> {
        &self.mesh
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
        });
        entry.insert((generation, Rc::clone(&connection)));
        connection
    }

    /// Removes a session and tells the shards that know it.
    pub fn close_session(&self, connection: &Connection) {
        let session = connection.session.borrow();
        let reference = session.reference();
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

    /// Handles what other executors sent; says whether there may be more.
    pub fn receive(&self) -> bool {
        let start = Instant::now();
        self.run(|router| {
            let more = self.mesh.receive(|from, message| {
                router.take(from, message);
                router.carry_out();
                start.elapsed() < RECEIVE_TIME
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
            CoreMessage::Push(session, entity, event) => {
                self.effects.push(Effect::Push {
                    session,
                    entity,
                    event: *event,
                });
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
                    } => {
                        for (entity, event) in notifications {
                            self.push(session, entity, event);
                        }
                    }
                    Effect::Executed { .. }
                    | Effect::OperatorAnswered { .. }
                    | Effect::ServiceJoined { .. }
                    | Effect::ServiceRegistered { .. } => {}
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
            connection.session.borrow_mut().push(entity, event);
            connection.wake();
        }
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
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp {
        nanos: since_epoch.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests;
