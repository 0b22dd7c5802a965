//! Several executors that work in step.
//!
//! Each executor runs one [`Worker`]. At a barrier all workers wait until the main thread has
//! looked at the world between two phases (memory of the server, start of a measurement).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement};

use crate::progress::Progress;

/// How often waiting sides look.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// The arena is for file I/O, of which there is none.
const IO_MEMORY: usize = 64 << 10;

/// Busy tasks leave the sockets unattended no longer than this.
const PREEMPT_AFTER: Duration = Duration::from_millis(2);
/// How often every executor is woken from outside: glommio 0.9 may sleep through its timers when
/// the thread was suspended for longer than the preemption time, until something else wakes it.
const BEAT_EVERY: Duration = Duration::from_millis(20);

/// What the threads of a run share.
struct Team {
    size: usize,
    arrived: AtomicUsize,
    /// Phases released by the main thread.
    released: AtomicUsize,
    finished: AtomicUsize,
    failed: AtomicBool,
    done: AtomicU64,
    /// Of each executor, the waker of a task that does nothing, see [`BEAT_EVERY`].
    beats: Vec<Mutex<Option<Waker>>>,
}

impl Team {
    fn new(size: usize) -> Self {
        Self {
            size,
            arrived: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            done: AtomicU64::new(0),
            beats: (0..size).map(|_| Mutex::default()).collect(),
        }
    }

    fn beat(&self, index: usize) -> MutexGuard<'_, Option<Waker>> {
        self.beats[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        for index in 0..self.size {
            // Under the lock, so that the executor cannot end meanwhile.
            let mut beat = self.beat(index);
            if let Some(waker) = beat.take() {
                waker.wake();
            }
        }
    }
}

/// One executor's part in a run.
#[derive(Clone)]
pub struct Worker {
    /// Number of this executor, from 0.
    pub index: usize,
    /// Number of executors.
    pub count: usize,
    team: Arc<Team>,
    phase: Rc<Cell<usize>>,
}

impl Worker {
    /// This worker's part of `total`, as a range.
    pub fn share(&self, total: usize) -> std::ops::Range<usize> {
        share(total, self.count, self.index)
    }

    /// Reports progress.
    pub fn advance(&self, by: u64) {
        self.team.done.fetch_add(by, Ordering::Relaxed);
    }

    /// Waits for all workers and the main thread. Fails when another worker has failed.
    pub async fn barrier(&self) -> Result<()> {
        let phase = self.phase.get() + 1;
        self.phase.set(phase);
        self.team.arrived.fetch_add(1, Ordering::AcqRel);
        while self.team.released.load(Ordering::Acquire) < phase {
            self.check()?;
            sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    /// Fails when another worker has failed.
    pub fn check(&self) -> Result<()> {
        if self.team.failed.load(Ordering::Relaxed) {
            bail!(OTHER_FAILED);
        }
        Ok(())
    }
}

const OTHER_FAILED: &str = "another executor failed";

/// The part `index` of `parts` nearly equal parts of `0..total`.
pub fn share(total: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    let at = |i: usize| total * i / parts.max(1);
    at(index)..at(index + 1)
}

/// Counts a worker as finished even when it panics, and takes it from the wakers.
struct Finish(Arc<Team>, usize);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.beat(self.1).take();
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Release);
        }
        self.0.finished.fetch_add(1, Ordering::AcqRel);
    }
}

/// Runs `task` on `count` executors and returns their results in order.
///
/// `between` is called on the calling thread with the number of the phase, from 0, each time all
/// workers stand at a barrier.
pub fn run<T, F, Fut>(
    count: usize,
    progress: &Progress,
    task: F,
    mut between: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Fn(Worker) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<T>> + 'static,
{
    let team = Arc::new(Team::new(count.max(1)));
    let mut threads = Vec::with_capacity(team.size);
    for index in 0..team.size {
        let (task, shared) = (task.clone(), Arc::clone(&team));
        let spawned = LocalExecutorBuilder::new(Placement::Unbound)
            .name(&format!("load-{index}"))
            .io_memory(IO_MEMORY)
            .preempt_timer(PREEMPT_AFTER)
            .spawn(move || async move {
                let _finish = Finish(Arc::clone(&shared), index);
                let beating = Arc::clone(&shared);
                // Dropped, and so never polled again, before its waker is taken away.
                let _beat = glommio::spawn_local(poll_fn(move |cx| {
                    *beating.beat(index) = Some(cx.waker().clone());
                    Poll::<()>::Pending
                }));
                let worker = Worker {
                    index,
                    count: shared.size,
                    team: Arc::clone(&shared),
                    phase: Rc::new(Cell::new(0)),
                };
                let result = task(worker).await;
                if result.is_err() {
                    shared.failed.store(true, Ordering::Release);
                }
                result
            });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(e) => {
                team.failed.store(true, Ordering::Release);
                return Err(anyhow!("cannot start an executor: {e}"));
            }
        }
    }

    let mut outcome = Ok(());
    let mut phase = 0;
    let mut woken = Instant::now();
    while team.finished.load(Ordering::Acquire) < team.size {
        if team.arrived.load(Ordering::Acquire) == team.size * (phase + 1) {
            if let Err(e) = between(phase) {
                outcome = Err(e);
                team.failed.store(true, Ordering::Release);
            }
            phase += 1;
            team.released.store(phase, Ordering::Release);
        }
        if woken.elapsed() >= BEAT_EVERY {
            woken = Instant::now();
            team.wake_all();
        }
        progress.set(team.done.load(Ordering::Relaxed));
        std::thread::sleep(POLL_EVERY);
    }

    let mut results = Vec::with_capacity(threads.len());
    for thread in threads {
        match thread.join() {
            Ok(Ok(result)) => results.push(result),
            Ok(Err(e)) => outcome = worse(outcome, e),
            Err(e) => outcome = worse(outcome, anyhow!("an executor failed: {e}")),
        }
    }
    outcome.context("the run was given up")?;
    Ok(results)
}

/// Keeps the cause rather than its echo in the other workers.
fn worse(so_far: Result<()>, new: anyhow::Error) -> Result<()> {
    match so_far {
        Err(old) if old.to_string() != OTHER_FAILED => Err(old),
        _ => Err(new),
    }
}

/// Runs `task` for every number of `range`, at most `limit` at a time, on this executor. Results
/// are in order; after the first failure no further task is started.
pub async fn for_each<T, F, Fut>(
    range: std::ops::Range<usize>,
    limit: usize,
    task: F,
) -> Result<Vec<T>>
where
    T: 'static,
    F: Fn(usize) -> Fut + 'static,
    Fut: Future<Output = Result<T>> + 'static,
{
    let start = range.start;
    let next = Rc::new(Cell::new(start));
    let task = Rc::new(task);
    let mut lanes = Vec::new();
    for _ in 0..limit.clamp(1, range.len().max(1)) {
        let (next, task, end) = (Rc::clone(&next), Rc::clone(&task), range.end);
        lanes.push(glommio::spawn_local(async move {
            let mut results = Vec::new();
            while next.get() < end {
                let number = next.get();
                next.set(number + 1);
                match task(number).await {
                    Ok(result) => results.push((number, result)),
                    Err(e) => {
                        next.set(end);
                        return Err(e);
                    }
                }
            }
            Ok(results)
        }));
    }
    let mut slots: Vec<Option<T>> = range.map(|_| None).collect();
    let mut failed = None;
    for lane in lanes {
        match lane.await {
            Ok(results) => {
                for (number, result) in results {
                    slots[number - start] = Some(result);
                }
            }
            Err(e) => failed = failed.or(Some(e)),
        }
    }
    match failed {
        Some(e) => Err(e),
        None => Ok(slots.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for (total, parts) in [(10, 3), (2, 5), (0, 2), (7, 7)] {
            let all: Vec<_> = (0..parts).flat_map(|i| share(total, parts, i)).collect();
            assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn phases_alternate_with_the_main_thread() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&log);
        let results = run(
            2,
            &Progress::hidden(),
            move |worker| {
                let log = Arc::clone(&note);
                async move {
                    log.lock().unwrap().push("before");
                    worker.barrier().await?;
                    log.lock().unwrap().push("after");
                    worker.barrier().await?;
                    Ok(worker.index)
                }
            },
            |phase| {
                log.lock()
                    .unwrap()
                    .push(if phase == 0 { "main 0" } else { "main 1" });
                Ok(())
            },
        );
        assert_eq!(results.unwrap(), [0, 1]);
        assert_eq!(
            *log.lock().unwrap(),
            ["before", "before", "main 0", "after", "after", "main 1"]
        );
    }

    #[test]
    fn a_failure_frees_the_others_and_is_the_one_reported() {
        let result: Result<Vec<()>> = run(
            3,
            &Progress::hidden(),
            |worker| async move {
                if worker.index == 1 {
                    bail!("broken");
                }
                worker.barrier().await
            },
            |_| Ok(()),
        );
        assert!(format!("{:#}", result.unwrap_err()).contains("broken"));
    }

    #[test]
    fn for_each_keeps_order_and_stops_on_failure() {
        let results = run(
            1,
            &Progress::hidden(),
            |_| async {
                let doubled = for_each(3..8, 2, |n| async move { Ok(n * 2) }).await?;
                let failed = for_each(0..5, 2, |n| async move {
                    if n == 2 { Err(anyhow!("no 2")) } else { Ok(n) }
                });
                Ok((doubled, failed.await.is_err()))
            },
            |_| Ok(()),
        );
        assert_eq!(results.unwrap(), [(vec![6, 8, 10, 12, 14], true)]);
    }
}
