//! Load generator and verifier for SMP relays.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use loadtest::cli::{Cli, Scenario};
use loadtest::scenario::{
    crash, handshakes, idle, messages, persist, queues, reference_state, resubscribe, smoke,
};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("loadtest: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { common, scenario }: Cli) -> Result<()> {
    match &scenario {
        Scenario::Smoke(args) => smoke::run(&common.prepare()?, args),
        Scenario::Messages(args) => messages::run(&common.prepare()?, args),
        Scenario::Idle(args) => idle::run(&common.prepare()?, args),
        Scenario::Handshakes(args) => handshakes::run(&common.prepare()?, args),
        Scenario::Queues(args) => queues::run(&common.prepare()?, args),
        Scenario::Resubscribe(args) => resubscribe::run(&common.prepare()?, args),
        Scenario::Persist(args) => persist::run(&common.prepare()?, args),
        Scenario::Crash(args) => crash::run(&common, args),
        Scenario::ReferenceState(args) => reference_state::run(args),
    }
}
