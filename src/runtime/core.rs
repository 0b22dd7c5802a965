//! One executor's world: its shard, its sessions, and the way between them.

mod connection;
mod control;
mod freeze;
mod idle;
mod message;
mod router;
mod sockets;

pub use connection::Connection;
pub use freeze::FREEZE_LIMIT;
pub use idle::IdleProgress;
pub use message::{CoreMessage, RemoteCommands};
pub use router::CoreRouter;
pub use sockets::Sockets;

use freeze::Freeze;
use idle::IdleRound;

use super::mesh::Mesh;
use super::online_credential::OnlineCredential;
use super::registration::Registrations;
use super::save::SaveRequests;
use super::steps::Steps;
use super::storage::StoreWatch;
use crate::config::values::QueuePlacement;
use crate::control::Durations;
use crate::protocol::batch::MAX_BATCH_ITEMS;
use crate::relay::{
    Counters, MessageSweep, NotificationSweep, Partitioner, PeerMessage, ServiceSession,
    SessionRef, Shard, Timestamp, service_home,
};
use crate::session::Session;
use crate::store::{AnyStore, Id, IdKind, Lsn, Store};
use rand_chacha::ChaCha20Rng;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

/// Time spent on messages of other executors, or on events that were due, before connections get
/// a turn: what one costs depends on what it asks for.
const TURN: Duration = Duration::from_millis(1);
/// Queues whose messages may have expired that are looked at between two looks at the clock.
const QUEUES_AT_ONCE: usize = 4;

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
    shard: RefCell<Shard<AnyStore>>,
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
    steps: Rc<Steps>,
    store_watch: StoreWatch,
    save_requests: SaveRequests,
    /// How long it took to make changes durable.
    commits: RefCell<Durations>,
    /// Whether the store could not be given more space.
    disk_full: Cell<bool>,
    /// Silent sessions that may have to be closed.
    idle: RefCell<IdleRound>,
    /// Sockets of each listener.
    sockets: RefCell<Vec<Rc<Sockets>>>,
    /// The executor's main task, which looks at the shutdown flag.
    main: RefCell<Option<Waker>>,
    /// What new connections are shown.
    credential: RefCell<Option<OnlineCredential>>,
    /// Whether the shard is held still, and what waits for it.
    freeze: Freeze,
}

impl Core {
    /// The core of executor `index`; ended subscriptions are told every `event_interval`, at once
    /// when it is zero.
    pub fn new(
        index: u16,
        partitioner: Partitioner,
        queue_placement: QueuePlacement,
        shard: Shard<AnyStore>,
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
            steps: Rc::default(),
            store_watch: StoreWatch::default(),
            save_requests: SaveRequests::default(),
            commits: RefCell::default(),
            disk_full: Cell::new(false),
            idle: RefCell::default(),
            sockets: RefCell::default(),
            main: RefCell::default(),
            credential: RefCell::default(),
            freeze: Freeze::default(),
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
    pub fn shard(&self) -> &RefCell<Shard<AnyStore>> {
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

    /// Shows this credential to new connections.
    pub fn use_credential(&self, credential: OnlineCredential) {
        *self.credential.borrow_mut() = Some(credential);
    }

    /// What a new connection is shown; there is none before the first is set.
    pub fn credential(&self) -> Option<OnlineCredential> {
        self.credential.borrow().clone()
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
        let connection = Rc::new(Connection::new(session));
        entry.insert((generation, Rc::clone(&connection)));
        connection
    }

    /// What this executor's shard and sessions have counted.
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
        self.idle.borrow_mut().forget(reference);
        self.sessions
            .borrow_mut()
            .table
            .try_remove(reference.slot as usize);
        for shard in session.touched_shards() {
            let closed = CoreMessage::SessionClosed(reference);
            if *shard == self.index {
                self.run(|router| router.take(self.index, closed));
            } else {
                self.mesh.send(*shard, closed);
            }
        }
        if let Some(service) = session.service() {
            let (service_id, shard) = (service.id, self.home_of(service));
            let closed = CoreMessage::ServiceClosed(reference, service_id);
            if shard == self.index {
                self.run(|router| router.take(self.index, closed));
            } else {
                self.mesh.send(shard, closed);
            }
        }
        self.mesh.announce();
    }

    /// The shard where the subscriber of a service is decided.
    fn home_of(&self, service: &ServiceSession) -> u16 {
        self.partitioner
            .shard_of(&service_home(&service.fingerprint))
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
        self.store_watch.note(self.shard.borrow().store().last());
        result
    }

    /// How long the steps of this executor take.
    pub fn steps(&self) -> &Rc<Steps> {
        &self.steps
    }

    /// Who is to be told of changes in the store.
    pub fn store_watch(&self) -> &StoreWatch {
        &self.store_watch
    }

    /// Making changes durable took so long.
    pub fn note_commit(&self, duration: Duration) {
        self.commits.borrow_mut().record(duration);
    }

    /// Everything up to a change is durable: lets the answers go that promise it.
    pub fn synced(&self, upto: Lsn) {
        self.run(|router| {
            let mut shard = self.shard.borrow_mut();
            if let Some(store) = shard.store_mut().log() {
                store.synced(upto);
            }
            shard.release_durable(&mut router.effects);
        });
        // Segments may be used again after that.
        self.note_supply();
        self.store_watch.note_sync();
    }

    /// Asks the shards that ids lead to whether they still have a queue for them.
    pub fn check_aliases(&self, aliases: Vec<(IdKind, Id, u16)>) {
        for (kind, id, shard) in aliases {
            let message = CoreMessage::Peer(PeerMessage::CheckAlias { kind, id });
            self.mesh.send(shard, message);
        }
        self.mesh.announce();
    }

    /// Says once that the store gets no more space.
    pub fn note_full_disk(&self, error: &io::Error) {
        if !self.disk_full.replace(true) {
            tracing::error!(
                "no space for the log: {error}. Existing queues are served; new queues and \
                 messages are refused until there is some"
            );
        }
    }

    /// Says that there is space again.
    pub fn note_space(&self) {
        if self.disk_full.replace(false) {
            tracing::info!("there is space for the log again");
        }
    }

    /// Asks the shard of a queue to push its message again.
    pub fn redeliver(&self, session: SessionRef, recipient_id: Id, router: &mut CoreRouter<'_>) {
        let shard = self.partitioner.shard_of(&recipient_id);
        let message = CoreMessage::Redeliver(session, recipient_id);
        if shard == self.index {
            router.take(shard, message);
        } else {
            self.mesh.send(shard, message);
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
        let message = CoreMessage::NotificationsTaken(session, count);
        if from == self.index {
            router.take(from, message);
        } else {
            self.mesh.send(from, message);
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

    /// Drops old messages for a turn; says whether there may be more.
    pub fn expire_messages(&self, sweep: &mut MessageSweep) -> bool {
        let start = Instant::now();
        while self
            .shard
            .borrow_mut()
            .expire_messages(now(), sweep, QUEUES_AT_ONCE)
        {
            if start.elapsed() >= TURN {
                return true;
            }
        }
        false
    }

    /// Drops old notifications of some queues; says whether there are more.
    pub fn expire_notifications(&self, sweep: &mut NotificationSweep, queues: usize) -> bool {
        self.shard
            .borrow_mut()
            .expire_notifications(now(), sweep, queues)
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

    /// Tells the client of a connection of ended subscriptions, as far as there is room.
    pub fn flush_events_of(&self, connection: &Connection) {
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
        let in_turn = || start.elapsed() < TURN;
        self.run(|router| {
            // What was held goes first: otherwise a busy mesh could keep it waiting.
            let released = router.release_held(in_turn);
            // Others wait then, or what is held would never be done with while they send, and own
            // connections would never be read. The control executor is heard: it may thaw.
            let control = self.partitioner.shards();
            let takes_from = |from| from == control || !released && self.freeze.takes_more();
            let mut more = released;
            more |= self.mesh.receive_from(takes_from, |from, message| {
                router.take(from, message);
                router.carry_out();
                in_turn()
            });
            more |= self.freeze.may_release();
            if self.mesh.flush() {
                self.resume_congested();
            }
            more
        })
    }

    /// Whether a connection must not read commands now; it is woken when it may.
    pub fn is_congested_for(&self, connection: &Connection) -> bool {
        let congested = self.mesh.is_congested() || self.freeze.holds();
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
                connection.abort();
            }
        }
    }
}

/// The clock.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp {
        nanos: since_epoch.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests;
