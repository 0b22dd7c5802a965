//! What executors do by the clock: deliver notifications, drop what is old, close what is idle.

use super::connection::STALL_LIMIT;
use super::core::{Core, FREEZE_LIMIT, IdleProgress};
use super::sweeps::SweepReport;
use crate::config::settings::{Expiration, InactiveClients, Settings};
use crate::control::StepKind::Timer;
use crate::relay::{MessageSweep, NotificationSweep};
use futures_lite::future::yield_now;
use glommio::Task;
use glommio::timer::sleep;
use std::rc::Rc;
use std::time::Duration;

/// Queues looked at before connections get a turn: tens of microseconds when nothing is to be
/// done, about a millisecond when each has many messages to drop.
const QUEUES_PER_STEP: usize = 64;
/// Shortest time between two rounds of anything.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// How often what closed connections have left is forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);
/// How often a shard is looked at that may be frozen for too long.
const FREEZE_CHECK: Duration = Duration::from_millis(250);
/// How often stalled connections are looked for.
const STALL_CHECK: Duration = Duration::from_secs(10);

/// Starts an executor's timers, which run until their tasks are dropped. `swept` gets the result
/// of each sweep of messages.
pub fn spawn(
    core: &Rc<Core>,
    settings: &Settings,
    swept: impl Fn(SweepReport) + 'static,
) -> Vec<Task<()>> {
    let steps = core.steps();
    let core = || Rc::clone(core);
    let (storage, relay) = (&settings.storage, &settings.relay);
    let mut tasks = vec![
        steps.spawn(Timer, check_stalled(core())),
        steps.spawn(Timer, forget_closed(core())),
        steps.spawn(Timer, thaw_overdue(core())),
        steps.spawn(
            Timer,
            deliver_notifications(core(), relay.ntf_delivery_interval),
        ),
        steps.spawn(
            Timer,
            expire_messages(
                core(),
                storage.messages,
                storage.expire_messages_on_start,
                swept,
            ),
        ),
        steps.spawn(Timer, expire_notifications(core(), storage.notifications)),
    ];
    // Without an interval they are told at once.
    if !relay.pending_end_interval.is_zero() {
        let telling = tell_of_ended_subscriptions(core(), relay.pending_end_interval);
        tasks.push(steps.spawn(Timer, telling));
    }
    if let Some(inactive) = settings.inactive_clients {
        tasks.push(steps.spawn(Timer, close_idle(core(), inactive)));
    }
    tasks
}

async fn wait(interval: Duration) {
    sleep(interval.max(MIN_INTERVAL)).await;
}

async fn check_stalled(core: Rc<Core>) {
    loop {
        wait(STALL_CHECK).await;
        core.drop_stalled(STALL_LIMIT);
    }
}

/// Nobody may have thawed the shard.
async fn thaw_overdue(core: Rc<Core>) {
    loop {
        wait(FREEZE_CHECK).await;
        if core.thaw_overdue(FREEZE_LIMIT) {
            tracing::warn!("a backup held shard {} for too long", core.index());
            while core.receive() {
                yield_now().await;
            }
        }
    }
}

async fn forget_closed(core: Rc<Core>) {
    loop {
        wait(FORGET_INTERVAL).await;
        while core.shard().borrow_mut().forget_closed(QUEUES_PER_STEP) {
            yield_now().await;
        }
    }
}

async fn deliver_notifications(core: Rc<Core>, interval: Duration) {
    loop {
        wait(interval).await;
        core.shard().borrow_mut().begin_notification_tick();
        while core.deliver_notifications(QUEUES_PER_STEP) {
            yield_now().await;
        }
    }
}

/// Tells clients together that other connections took over their subscriptions.
async fn tell_of_ended_subscriptions(core: Rc<Core>, interval: Duration) {
    loop {
        wait(interval).await;
        let mut due = core.take_sessions_with_events();
        while !due.is_empty() {
            core.flush_events(&mut due);
            yield_now().await;
        }
    }
}

async fn expire_messages(
    core: Rc<Core>,
    expiration: Expiration,
    at_once: bool,
    swept: impl Fn(SweepReport) + 'static,
) {
    let mut due = at_once;
    loop {
        if !due {
            wait(expiration.check_interval).await;
        }
        due = false;
        if core.index() == 0 {
            tracing::info!("Started expiring messages...");
        }
        let mut sweep = MessageSweep::default();
        while core.expire_messages(&mut sweep) {
            yield_now().await;
        }
        let totals = core.shard().borrow().totals();
        swept(SweepReport {
            shard: core.index(),
            stored: totals.messages,
            expired: sweep.expired,
            queues: totals.queues,
        });
    }
}

async fn expire_notifications(core: Rc<Core>, expiration: Expiration) {
    loop {
        wait(expiration.check_interval).await;
        let mut sweep = NotificationSweep::default();
        while core.expire_notifications(&mut sweep, QUEUES_PER_STEP) {
            yield_now().await;
        }
    }
}

async fn close_idle(core: Rc<Core>, inactive: InactiveClients) {
    loop {
        wait(inactive.check_interval).await;
        core.begin_idle_round(inactive.ttl);
        loop {
            match core.close_idle() {
                IdleProgress::More => yield_now().await,
                IdleProgress::Waiting => wait(MIN_INTERVAL).await,
                IdleProgress::Done => break,
            }
        }
    }
}
