//! What signals ask of all executors: a graceful stop, in which there are no new connections, what
//! is in flight is answered and connections are closed; and before that, to read certificates again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Time for answering what is in flight; what takes longer is cut off.
pub const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The stop request and how far it is, shared by all executors.
#[derive(Debug, Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    requested: AtomicBool,
    /// Executors that still have connections: the others keep answering them.
    draining: AtomicUsize,
    /// How often a reload was asked for.
    reloads: AtomicUsize,
}

impl Shutdown {
    /// Not requested; `executors` will drain.
    pub fn new(executors: usize) -> Self {
        let shared = Shared {
            requested: AtomicBool::new(false),
            draining: AtomicUsize::new(executors),
            reloads: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Asks every executor to stop; they must be woken to notice.
    pub fn request(&self) {
        self.shared.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop is requested.
    pub fn is_requested(&self) -> bool {
        self.shared.requested.load(Ordering::SeqCst)
    }

    /// Asks the control executor to read certificates again; it must be woken to notice.
    pub fn request_reload(&self) {
        self.shared.reloads.fetch_add(1, Ordering::SeqCst);
    }

    /// How often a reload was asked for.
    pub fn reloads(&self) -> usize {
        self.shared.reloads.load(Ordering::SeqCst)
    }

    /// One executor has closed its last connection.
    pub fn drained(&self) {
        self.shared.draining.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no executor has connections any more.
    pub fn is_drained(&self) -> bool {
        self.shared.draining.load(Ordering::SeqCst) == 0
    }
}
