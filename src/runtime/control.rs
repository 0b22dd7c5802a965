//! The control executor: what is not a shard's work. It knows the shards only through the mesh.

mod executor;
mod message;
pub mod port;
mod reload;
pub mod vital_signs;

pub use executor::{Stop, run};
pub use message::{BackupStep, ConnectionPage, ControlReply, ControlRequest, Order};

use super::core::{CoreMessage, now};
use super::mesh::Mesh;
use super::requests::Requests;
use super::saves::Saves;
use crate::control::port::ConnectionRow;
use crate::control::{Overview, SavedStatistics, ShardSnapshot, Statistics};
use crate::relay::{OperatorAnswer, OperatorCall, Partitioner};
use crate::store::Id;
use futures_lite::future::poll_fn;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A shard, and a place in its table of sessions.
type ConnectionPlace = (u16, u32);
/// Connections, and the place of the next ones unless these were the last.
type ConnectionsFrom = (Vec<ConnectionRow>, Option<ConnectionPlace>);

/// The control executor's end of the mesh and what it waits for.
#[derive(Debug)]
pub struct Control {
    /// Its number in the mesh: that of the shard that would come after the last.
    index: u16,
    mesh: Mesh<CoreMessage>,
    partitioner: Partitioner,
    requests: Requests<ControlReply>,
    statistics: RefCell<Statistics>,
    saves: Saves,
    /// What shards told when they stopped.
    last_words: RefCell<BTreeMap<u16, ShardSnapshot>>,
    /// Who waits for them.
    mourner: RefCell<Option<Waker>>,
    /// Whether a backup is being made.
    in_backup: Cell<bool>,
}

/// The right to make a backup, until it is dropped.
#[derive(Debug)]
pub struct BackupTurn<'a>(&'a Cell<bool>);

impl Drop for BackupTurn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Control {
    /// The control executor of so many shards as the partitioner knows.
    pub fn new(partitioner: Partitioner, mesh: Mesh<CoreMessage>, statistics: Statistics) -> Self {
        Self {
            index: partitioner.shards(),
            mesh,
            partitioner,
            requests: Requests::default(),
            statistics: RefCell::new(statistics),
            saves: Saves::default(),
            last_words: RefCell::default(),
            mourner: RefCell::default(),
            in_backup: Cell::new(false),
        }
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.partitioner.shards()
    }

    /// Asks one shard and waits for its answer. A shard that stops answers nothing more: whoever
    /// must not hang gives up at the stop of the relay.
    pub async fn ask(&self, shard: u16, request: ControlRequest) -> ControlReply {
        let pending = self.requests.open();
        self.send(shard, pending.token(), request);
        self.mesh.announce();
        pending.answer().await
    }

    /// Asks every shard the same at once; the answers are in the order of the shards.
    pub async fn ask_all(&self, request: impl Fn() -> ControlRequest) -> Vec<ControlReply> {
        let pending: Vec<_> = (0..self.shards())
            .map(|shard| {
                let pending = self.requests.open();
                self.send(shard, pending.token(), request());
                pending
            })
            .collect();
        self.mesh.announce();
        let mut replies = Vec::with_capacity(pending.len());
        for pending in pending {
            replies.push(pending.answer().await);
        }
        replies
    }

    /// Tells every shard something to which nobody waits for an answer.
    pub fn tell_all(&self, request: impl Fn() -> ControlRequest) {
        for shard in 0..self.shards() {
            // An answer to a request that is not open is dropped.
            let token = self.requests.open().token();
            self.send(shard, token, request());
        }
        self.mesh.announce();
    }

    /// Takes the right to make a backup; `None` while another is made.
    pub fn begin_backup(&self) -> Option<BackupTurn<'_>> {
        (!self.in_backup.replace(true)).then(|| BackupTurn(&self.in_backup))
    }

    /// Everything the shards tell about themselves, in their order.
    pub async fn snapshots(&self) -> Vec<ShardSnapshot> {
        let replies = self.ask_all(|| ControlRequest::Snapshot).await;
        let snapshot = |reply| match reply {
            ControlReply::Snapshot(snapshot) => Some(*snapshot),
            _ => None,
        };
        replies.into_iter().filter_map(snapshot).collect()
    }

    /// Everything that is reported of the relay, now: the shards tell it, nothing is looked up.
    pub async fn overview(&self) -> Overview {
        let shards = self.snapshots().await;
        let mut overview = self.statistics.borrow().overview(now().nanos, shards);
        overview.threads = threads();
        overview
    }

    /// Ends the day if it is over at `now_ns`, given what the shards told then or later. Returns
    /// what must outlive the process, and the row of the day.
    pub fn settle(
        &self,
        now_ns: i64,
        shards: &[ShardSnapshot],
    ) -> (SavedStatistics, Option<String>) {
        let mut statistics = self.statistics.borrow_mut();
        let row = statistics.end_day(now_ns, shards);
        (statistics.saved(shards), row.map(|row| row.row()))
    }

    /// Time to the end of the day.
    pub fn until_next_day(&self) -> Duration {
        self.statistics.borrow().until_next_day(now().nanos)
    }

    /// Requests to save statistics.
    pub fn saves(&self) -> &Saves {
        &self.saves
    }

    /// Gives an order about the queue with a sender id or, when none has it, a link id, and waits
    /// until what it changed is durable.
    pub async fn order(&self, id: Id, order: Order) -> OperatorAnswer {
        let mut shard = self.partitioner.shard_of(&id);
        // An alias leads to the shard of the queue, and no further.
        for _ in 0..2 {
            let request = ControlRequest::Order(id, order.clone());
            match self.ask(shard, request).await {
                ControlReply::Order(OperatorAnswer::Elsewhere(other)) => shard = other,
                ControlReply::Order(answer) => {
                    if matches!(order, Order::Block(_)) {
                        // The quota must not forget it.
                        self.saves.request();
                    }
                    return answer;
                }
                _ => break,
            }
        }
        OperatorAnswer::Unknown
    }

    /// Some connections, from a place on, and the place of the next ones.
    pub async fn connections(&self, from: ConnectionPlace) -> ConnectionsFrom {
        let (shard, slot) = from;
        let request = ControlRequest::Connections(slot);
        let ControlReply::Connections(page) = self.ask(shard, request).await else {
            return (Vec::new(), None);
        };
        let next_shard = (shard + 1 < self.shards()).then_some((shard + 1, 0));
        let next = page.next.map(|slot| (shard, slot)).or(next_shard);
        if page.rows.is_empty() {
            return (Vec::new(), next);
        }
        let (sessions, mut rows): (Vec<_>, Vec<_>) = page.rows.into_iter().unzip();
        let sessions: Arc<[_]> = sessions.into();
        let replies = self.ask_all(|| ControlRequest::Listening(Arc::clone(&sessions)));
        for reply in replies.await {
            if let ControlReply::Listening(listening) = reply {
                for (row, listening) in rows.iter_mut().zip(listening) {
                    row.listening += listening;
                }
            }
        }
        (rows, next)
    }

    /// Saves everything there is to save; says what failed.
    pub async fn save(&self) -> Result<(), String> {
        let replies = self.ask_all(|| ControlRequest::Save).await;
        let saved = |reply| match reply {
            ControlReply::Saved(result) => result,
            _ => Ok(()),
        };
        replies.into_iter().try_for_each(saved)?;
        let statistics = self.saves.save().await;
        statistics.map_err(|error| format!("cannot save statistics: {error}"))
    }

    fn send(&self, shard: u16, token: u64, request: ControlRequest) {
        let call = OperatorCall {
            core: self.index,
            token,
        };
        let message = CoreMessage::Control(call, Box::new(request));
        self.mesh.send(shard, message);
    }

    /// Takes what the shards have sent, for ever.
    pub async fn receive(&self, mut woken: impl FnMut(&mut Context<'_>)) {
        poll_fn::<(), _>(|cx| {
            self.mesh.register(cx.waker());
            woken(cx);
            let more = self.mesh.receive(|_, message| {
                self.take(message);
                true
            });
            self.mesh.flush();
            self.mesh.announce();
            if more {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }

    fn take(&self, message: CoreMessage) {
        match message {
            CoreMessage::ControlReply(token, reply) => self.requests.complete(token, *reply),
            CoreMessage::LastWords(snapshot) => {
                let mut last_words = self.last_words.borrow_mut();
                last_words.insert(snapshot.shard, *snapshot);
                if let Some(waker) = self.mourner.take() {
                    waker.wake();
                }
            }
            // Shards send nothing else to what is no shard.
            other => tracing::error!("unexpected message to the control executor: {other:?}"),
        }
    }

    /// Waits until every shard has stopped; what each told last, in their order.
    pub async fn last_words(&self) -> Vec<ShardSnapshot> {
        poll_fn(|cx| {
            let last_words = self.last_words.borrow();
            if last_words.len() == usize::from(self.shards()) {
                return Poll::Ready(last_words.values().cloned().collect());
            }
            *self.mourner.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Threads of this process.
fn threads() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task");
    tasks.map_or(0, |tasks| tasks.count() as u64)
}
