//! The control port and the local socket: operators' sessions (spec: operations §3).
//!
//! What is said is in [`control::port`](crate::control::port); here are the sockets, the clock and
//! the questions to the shards.

mod commands;
mod listen;
mod local;
mod peer;
pub mod process;
mod session;

pub use listen::open;

use super::Control;
use crate::config::Settings;
use crate::config::values::BlockQuota;
use crate::control::port::{Passwords, Throttle};
use crate::runtime::backup::BackupSource;
use glommio::sync::Semaphore;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What all sessions share.
struct ControlPort {
    control: Rc<Control>,
    passwords: Passwords,
    throttle: RefCell<Throttle>,
    quota: BlockQuota,
    /// Held from the look at the quota until a queue is blocked.
    blocking: Semaphore,
    /// Silence after which a session ends.
    idle_timeout: Duration,
    started: Instant,
    /// What a backup has.
    source: BackupSource,
}

impl ControlPort {
    fn new(control: Rc<Control>, settings: &Settings, source: BackupSource) -> Self {
        Self {
            control,
            passwords: Passwords::new(&settings.auth),
            throttle: RefCell::default(),
            quota: settings.auth.daily_block_queue_quota,
            blocking: Semaphore::new(1),
            idle_timeout: settings.relay.control_idle_timeout,
            started: Instant::now(),
            source,
        }
    }
}
