//! Load generator and verifier for SMP relays.

use std::process::ExitCode;

use clap::Parser as _;
use loadtest::cli::{Cli, Scenario};
use loadtest::scenario::{handshakes, idle, messages, queues, resubscribe, smoke};

fn main() -> ExitCode {
    let Cli { common, scenario } = Cli::parse();
    let result = common.prepare().and_then(|setup| match scenario {
        Scenario::Smoke(args) => smoke::run(&setup, &args),
        Scenario::Messages(args) => messages::run(&setup, &args),
        Scenario::Idle(args) => idle::run(&setup, &args),
        Scenario::Handshakes(args) => handshakes::run(&setup, &args),
        Scenario::Queues(args) => queues::run(&setup, &args),
        Scenario::Resubscribe(args) => resubscribe::run(&setup, &args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("loadtest: {e:#}");
            ExitCode::FAILURE
        }
    }
}
