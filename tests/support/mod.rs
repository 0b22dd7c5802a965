//! What the end-to-end tests share: real server processes, clients, and the wire by hand.
// Every test file compiles this for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

mod events;
mod links;
mod notifier;
mod notify;
mod operator;
mod party;
mod raw;
mod server;
mod services;
mod terminal;
mod tmpfs;
mod web;
pub mod wire;

pub use events::{await_event, expect_error, expect_event};
pub use links::{Link, expect_link, get_link, secure_link};
pub use notifier::{Notifier, NotifierKeys, flagged};
pub use notify::NotifySocket;
pub use operator::Operator;
pub use party::{
    Key, Recipient, ask, ask_as, expect_ok, full_body, new_queue, send, send_notifying,
    sender_id_for, unknown_id,
};
pub use raw::{Hello, RawSession};
pub use server::{Server, Setup, command, start_fails};
pub use services::{expect_subscribed, service_credentials, subscribe_service};
pub use terminal::Terminal;
pub use tmpfs::Tmpfs;
pub use web::{Page, Site, get, read_page, tcp, tls};

use futures_lite::future::{Future, or};
use glommio::LocalExecutorBuilder;
use glommio::timer::Timer;
use std::time::Duration;

/// Longest time any scenario may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// Number of shards, and where queues live.
const PLACEMENTS: [(&str, &str); 2] = [("1", "local"), ("4", "remote")];

/// Runs a future on an executor of its own.
pub fn run<T>(scenario: impl Future<Output = T>) -> T {
    let executor = LocalExecutorBuilder::default()
        .io_memory(64 << 10)
        .make()
        .unwrap();
    executor.run(or(scenario, async {
        Timer::new(PATIENCE).await;
        panic!("the scenario hangs");
    }))
}

/// Runs a scenario against a server with one shard, then against one with four in which every
/// queue lives on another shard than the connection that creates it.
pub fn every_placement(setup: &Setup, scenario: impl AsyncFn(&Server)) {
    for (shards, placement) in PLACEMENTS {
        let server = setup.clone().placed(shards, placement).start();
        eprintln!("{shards} shards, placement {placement}");
        run(scenario(&server));
    }
}

/// [`every_placement`] with the servers side by side, for scenarios that wait for time to pass.
pub fn every_placement_at_once(setup: &Setup, scenario: impl AsyncFn(&Server) + Sync) {
    std::thread::scope(|scope| {
        for (shards, placement) in PLACEMENTS {
            let (setup, scenario) = (setup.clone().placed(shards, placement), &scenario);
            scope.spawn(move || run(scenario(&setup.start())));
        }
    });
}
