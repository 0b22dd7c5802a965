//! The threads beside an executor, which do what would block it.

use glommio::{executor, spawn_local};
use std::future::Future;
use std::sync::{Arc, Barrier};

/// Does `work`, and then waits until the `threads` beside this executor have done what they were
/// given: glommio panics in a thread that finds its executor gone.
pub async fn finishing<T>(threads: usize, work: impl Future<Output = T>) -> T {
    let result = work.await;
    finish(threads).await;
    result
}

/// Every thread has to come to the barrier, and has answered everything before that.
async fn finish(threads: usize) {
    let barrier = Arc::new(Barrier::new(threads));
    let arrivals: Vec<_> = (0..threads)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            spawn_local(async move {
                executor().spawn_blocking(move || barrier.wait()).await;
            })
        })
        .collect();
    for arrival in arrivals {
        arrival.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::yield_now;
    use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    const THREADS: usize = 2;
    /// How long an executor is given to end too early.
    const PATIENCE: Duration = Duration::from_millis(200);

    #[test]
    fn work_of_cancelled_tasks_is_waited_for() {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(THREADS))
            .make()
            .unwrap();
        let (tell_started, started) = mpsc::channel();
        let (go_on, told_to_go_on) = mpsc::channel();
        let (tell_done, done) = mpsc::channel();
        let (tell_ended, ended) = mpsc::channel();
        let release = thread::spawn(move || {
            let ended_early = ended.recv_timeout(PATIENCE).is_ok();
            go_on.send(()).unwrap();
            ended_early
        });
        executor.run(finishing(THREADS, async move {
            let task = spawn_local(async move {
                let work = move || {
                    tell_started.send(()).unwrap();
                    told_to_go_on.recv().unwrap();
                    tell_done.send(()).unwrap();
                };
                glommio::executor().spawn_blocking(work).await;
            });
            while started.try_recv().is_err() {
                yield_now().await;
            }
            task.cancel().await;
        }));
        // It may be heard or not.
        let _ = tell_ended.send(());
        assert!(done.try_recv().is_ok());
        assert!(!release.join().unwrap());
    }
}
