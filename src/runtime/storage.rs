//! What a durable store needs done that takes time: syncing, making and removing segments. It is
//! done by threads beside the executor, which goes on meanwhile.

use super::core::Core;
use crate::config::settings::Settings;
use crate::config::values::Durability;
use crate::crypto::hash;
use crate::relay::Partitioner;
use crate::store::log::{
    Directory, LogOptions, LogStore, OpenError, PrepareSegment, Promise, RemoveSegment,
    StoreDirectory, SyncFailed,
};
use crate::store::{AnyStore, Lsn, MemoryStore, Store};
use futures_lite::future::{poll_fn, yield_now};
use glommio::timer::sleep;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Threads beside an executor: one syncs, another makes segments, a third reads those that are used
/// soon, a fourth writes what is small.
pub const BLOCKING_THREADS: usize = 4;

/// Time between two looks for space to be had.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(100);
/// Time for making space before connections get a turn.
const MAINTENANCE_TURN: Duration = Duration::from_millis(1);
/// Bytes read or copied for space between two looks at the clock.
const MAINTENANCE_STEP: usize = 8 << 10;
/// Slots looked at for reserved ids before connections get a turn.
const ALIASES_STEP: u32 = 128;
/// Time before a disk that was full is tried again.
const FULL_DISK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between syncs when nobody waits for them.
const LAZY_SYNC_INTERVAL: Duration = Duration::from_millis(500);

/// Tells the tasks of a store that it has changed.
#[derive(Debug, Default)]
pub struct StoreWatch {
    seen: Cell<Lsn>,
    tasks: RefCell<Vec<Waker>>,
    /// Tasks that wait for a sync.
    syncs: RefCell<Vec<Waker>>,
}

impl StoreWatch {
    /// Notes the last change; wakes the tasks when it is another.
    pub fn note(&self, last: Lsn) {
        if self.seen.replace(last) != last {
            self.wake();
        }
    }

    /// Wakes the tasks that wait for a sync: one has ended.
    pub fn note_sync(&self) {
        self.syncs.take().into_iter().for_each(Waker::wake);
    }

    /// Lets the tasks look again.
    pub fn wake(&self) {
        self.tasks.take().into_iter().for_each(Waker::wake);
    }
}

/// Opens the store of a shard.
pub fn open(
    settings: &Settings,
    directory: Option<&StoreDirectory>,
    shard: u16,
    partitioner: &Partitioner,
    key: &[u8; 16],
) -> Result<AnyStore, OpenError> {
    let Some(directory) = directory else {
        return Ok(AnyStore::Memory(Box::new(MemoryStore::new())));
    };
    let began = Instant::now();
    let partitions = Arc::new(partitioner.clone());
    let (store, report) = directory.open_shard(shard, partitions, &options(settings, key))?;
    let totals = store.totals();
    tracing::info!(
        "shard {shard}: {} queues and {} messages from {} records in {} ms",
        totals.queues,
        totals.messages,
        report.records,
        began.elapsed().as_millis(),
    );
    if report.dropped > 0 {
        tracing::info!(
            "shard {shard}: {} records at the end of the log had not been confirmed to anybody \
             and do not count",
            report.dropped,
        );
    }
    let mut store = AnyStore::Log(Box::new(store));
    if !settings.storage.restore_messages {
        drop_messages(&mut store);
    }
    Ok(store)
}

pub(super) fn options(settings: &Settings, key: &[u8; 16]) -> LogOptions {
    LogOptions {
        segment_len: usize::try_from(settings.relay.segment_size).unwrap_or(usize::MAX),
        promise: match settings.relay.durability {
            Durability::Disk => Promise::Disk,
            Durability::Process => Promise::Process,
        },
        index_key: index_key(key),
    }
}

/// Forgets all messages, as an operator may want at each start.
fn drop_messages(store: &mut AnyStore) {
    while let Some(slot) = store.next_with_messages(None) {
        // What cannot be dropped for want of space is kept.
        if store.pop_message(slot).is_err() {
            return;
        }
    }
}

/// Ids in memory are hashed under a key of their own.
fn index_key(key: &[u8; 16]) -> [u8; 16] {
    let input = Zeroizing::new([&b"index of ids"[..], key].concat());
    let hash = hash::sha256(&input);
    let mut index_key = [0; 16];
    index_key.copy_from_slice(&hash[..16]);
    index_key
}

impl Core {
    /// Waits until `look` finds something to do in the durable store.
    async fn store_work<T>(&self, mut look: impl FnMut(&mut LogStore) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut shard = self.shard().borrow_mut();
            match shard.store_mut().log().and_then(&mut look) {
                Some(work) => Poll::Ready(work),
                None => {
                    self.store_watch()
                        .tasks
                        .borrow_mut()
                        .push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until everything that has happened so far is on the disk, whatever is promised.
    pub(super) async fn until_synced(&self) {
        let last = self.shard().borrow().store().last();
        poll_fn(|cx| {
            if self.with_log(|log| log.is_synced(last)) != Some(false) {
                return Poll::Ready(());
            }
            let mut waiting = self.store_watch().syncs.borrow_mut();
            waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Ready when no sync is under way.
    pub(super) fn poll_idle_sync(&self, cx: &Context<'_>) -> Poll<()> {
        if self.with_log(|log| log.is_syncing()) != Some(true) {
            return Poll::Ready(());
        }
        let mut waiting = self.store_watch().syncs.borrow_mut();
        waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// Works with the durable store, if there is one.
    pub(super) fn with_log<T>(&self, work: impl FnOnce(&mut LogStore) -> T) -> Option<T> {
        self.shard().borrow_mut().store_mut().log().map(work)
    }
}

/// Makes changes durable, whatever has come together by then; ends only with a failure, after
/// which nothing may be promised.
pub async fn keep_durable(core: Rc<Core>, promise: Durability) -> SyncFailed {
    loop {
        let request = core.store_work(LogStore::pending_sync).await;
        let began = Instant::now();
        let result = glommio::executor()
            .spawn_blocking(move || request.run())
            .await;
        match result {
            Ok(upto) => {
                core.note_commit(began.elapsed());
                core.synced(upto);
            }
            Err(failure) => return failure,
        }
        if promise == Durability::Process {
            sleep(LAZY_SYNC_INTERVAL).await;
        }
    }
}

enum Chore {
    Prepare(PrepareSegment<Directory>),
    Remove(RemoveSegment<Directory>),
}

/// Has segments made before they are needed, and those removed that are not.
pub async fn keep_space(core: Rc<Core>) {
    loop {
        let chore = core
            .store_work(|store| {
                let prepare = store.wants_segment().map(Chore::Prepare);
                prepare.or_else(|| store.surplus_segment().map(Chore::Remove))
            })
            .await;
        match chore {
            Chore::Prepare(prepare) => {
                let prepared = glommio::executor()
                    .spawn_blocking(move || prepare.run())
                    .await;
                let result = core.with_log(|store| store.segment_ready(prepared));
                // Whoever waits for it is to go on, whether there is one or not.
                core.note_supply();
                if let Some(Err(error)) = result {
                    // Until then what is there suffices.
                    if core.with_log(|store| store.is_short()) == Some(true) {
                        core.note_full_disk(&error);
                    }
                    sleep(FULL_DISK_INTERVAL).await;
                } else {
                    core.note_space();
                }
            }
            Chore::Remove(remove) => {
                let removed = glommio::executor()
                    .spawn_blocking(move || remove.run())
                    .await;
                if let Some(Err(error)) = core.with_log(|store| store.segment_removed(removed)) {
                    tracing::warn!("cannot remove a log segment that is not needed: {error}");
                }
            }
        }
    }
}

/// Has segments read that are used soon and are not in memory.
pub async fn keep_warm(core: Rc<Core>) {
    loop {
        let warm = core.store_work(LogStore::cold_segment).await;
        let result = glommio::executor().spawn_blocking(move || warm.run()).await;
        if let Err(error) = result {
            tracing::warn!("cannot read a log segment that is to be used: {error}");
        }
    }
}

/// Makes space in small steps.
pub async fn maintain(core: Rc<Core>) {
    loop {
        sleep(MAINTENANCE_INTERVAL).await;
        while make_space(&core) {
            core.note_supply();
            yield_now().await;
        }
        // Space made by draining needs no new segments.
        if core.with_log(|store| store.is_short()) == Some(false) {
            core.note_space();
        }
        core.store_watch().wake();
        core.note_supply();
    }
}

/// Makes space for a turn; says whether there is more to do.
fn make_space(core: &Core) -> bool {
    let began = Instant::now();
    while core.with_log(|store| store.maintain(MAINTENANCE_STEP)) == Some(true) {
        if began.elapsed() >= MAINTENANCE_TURN {
            return true;
        }
    }
    false
}

/// Has the ids given back that were reserved for queues which never came to be, or are gone: the
/// process may have ended in between. Those that are reserved later are not looked at.
pub async fn check_aliases(core: Rc<Core>) {
    let mut next = Some(0);
    while let Some(from) = next {
        let found = core.with_log(|store| store.old_aliases(from, ALIASES_STEP));
        let Some((aliases, rest)) = found else {
            return;
        };
        core.check_aliases(aliases);
        next = rest;
        yield_now().await;
    }
}

/// Makes the last changes durable, when nothing else runs any more.
pub fn finish(core: &Core) -> Result<(), SyncFailed> {
    core.with_log(LogStore::finish).unwrap_or(Ok(()))
}

/// [`finish`] for a store that nobody has used.
pub fn close(mut store: AnyStore) -> Result<(), SyncFailed> {
    store.log().map_or(Ok(()), LogStore::finish)
}
