//! The threads beside an executor, at its end.

use glommio::spawn_local;
use std::sync::{Arc, Barrier};

/// Waits until all `threads` beside this executor are done, also with what was asked for by tasks
/// that are cancelled: glommio's threads panic when the executor is gone before they have answered.
pub async fn settle(threads: usize) {
    let barrier = Arc::new(Barrier::new(threads));
    // Each thread takes one and keeps it until the others have theirs.
    let jobs: Vec<_> = (0..threads)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            let job = move || drop(barrier.wait());
            spawn_local(async move { glommio::executor().spawn_blocking(job).await })
        })
        .collect();
    for job in jobs {
        job.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, PoolPlacement};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn what_cancelled_tasks_have_asked_for_is_waited_for() {
        const THREADS: usize = 3;
        let executor = LocalExecutorBuilder::default()
            .io_memory(64 << 10)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(THREADS))
            .make()
            .unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicUsize::new(0));
        executor.run(async {
            let tasks: Vec<_> = (0..THREADS + 2)
                .map(|_| {
                    let (done, asked) = (Arc::clone(&done), Arc::clone(&asked));
                    spawn_local(async move {
                        asked.fetch_add(1, Ordering::SeqCst);
                        let job = move || {
                            thread::sleep(Duration::from_millis(20));
                            done.fetch_add(1, Ordering::SeqCst);
                        };
                        glommio::executor().spawn_blocking(job).await;
                    })
                })
                .collect();
            while asked.load(Ordering::SeqCst) < THREADS + 2 {
                glommio::yield_if_needed().await;
                futures_lite::future::yield_now().await;
            }
            for task in tasks {
                task.cancel().await;
            }
            settle(THREADS).await;
            assert_eq!(done.load(Ordering::SeqCst), THREADS + 2);
        });
    }
}
