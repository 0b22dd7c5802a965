//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use smp_server::protocol::Version;

use crate::client::Options;
use crate::report::Report;
use crate::scenario::{
    crash, handshakes, idle, messages, persist, queues, reference_state, resubscribe, smoke,
};
use crate::server_process::BothProbes;
use crate::target::{Target, TlsOptions, TlsVersion};

/// Load generator and verifier for SMP relays, speaking only the wire protocol.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// Options of every scenario.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// What to do.
#[derive(Subcommand)]
pub enum Scenario {
    /// Exchange one message step by step, and say what works
    Smoke(smoke::Args),
    /// Send and receive messages, check that none is lost, repeated, reordered or changed
    Messages(messages::Args),
    /// Hold connections open and see how much memory the server needs for them: start the server
    /// anew for it, memory that it freed earlier hides the growth
    Idle(idle::Args),
    /// Connect and close as fast as possible
    Handshakes(handshakes::Args),
    /// Create queues
    Queues(queues::Args),
    /// Reconnect all clients at once and subscribe to all their queues
    Resubscribe(resubscribe::Args),
    /// Write operations, and after a restart of the server prove that it kept what it confirmed
    Persist(persist::Args),
    /// Start a server of its own, kill it again and again under load and prove each time that it
    /// kept what it confirmed; needs no --address
    Crash(crash::Args),
    /// Write the files of a reference server of some size, always the same, for an import; needs no
    /// --address
    ReferenceState(reference_state::Args),
}

/// TLS version on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsChoice {
    /// TLS 1.2.
    #[value(name = "1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    V13,
}

/// Options of every scenario.
#[derive(Args)]
pub struct Common {
    /// smp://FINGERPRINT[:PASSWORD]@HOST[:PORT]; the port is 5223 unless given
    #[arg(
        short,
        long,
        global = true,
        env = "SMP_ADDRESS",
        hide_env_values = true
    )]
    address: Option<String>,
    /// Threads that make load [default: number of cores]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    executors: Option<u16>,
    /// Protocol version to speak
    #[arg(long, global = true, default_value_t = Version::CURRENT.0,
          value_parser = clap::value_parser!(u16).range(6..=20))]
    smp_version: u16,
    /// Do not encrypt blocks inside TLS
    #[arg(long, global = true)]
    no_block_encryption: bool,
    /// Only this version of TLS
    #[arg(long, global = true, value_enum)]
    tls: Option<TlsChoice>,
    /// Send an X448 key share first, as official clients do
    #[arg(long, global = true)]
    x448_first: bool,
    /// Longest wait for an answer, in seconds
    #[arg(long, global = true, default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Process id of the server on this machine: report its CPU time and memory
    #[arg(long, global = true)]
    server_pid: Option<u32>,
    /// Append the results to this file
    #[arg(long, global = true)]
    csv: Option<PathBuf>,
    /// Yes, load a server that is not on this machine
    #[arg(long, global = true)]
    yes_remote: bool,
}

/// Everything a scenario needs besides its own options.
pub struct Setup {
    /// The server.
    pub target: Target,
    /// How clients behave.
    pub options: Options,
    /// Number of executors.
    pub executors: usize,
    /// The server's process id.
    pub server_pid: Option<u32>,
    csv: Option<PathBuf>,
}

impl Common {
    /// How to speak TLS.
    pub fn tls(&self) -> TlsOptions {
        TlsOptions {
            version: match self.tls {
                None => TlsVersion::Any,
                Some(TlsChoice::V12) => TlsVersion::V12,
                Some(TlsChoice::V13) => TlsVersion::V13,
            },
            x448: self.x448_first,
            alpn: true,
        }
    }

    /// How clients behave.
    pub fn options(&self) -> Options {
        Options {
            version: Version(self.smp_version),
            block_encryption: !self.no_block_encryption,
            timeout: Duration::from_secs(self.timeout),
        }
    }

    /// Prints the report and appends it to the CSV file.
    pub fn publish(&self, report: &Report) -> Result<()> {
        publish(report, self.csv.as_deref())
    }

    /// Checks the options, resolves the address and says what will be loaded.
    pub fn prepare(&self) -> Result<Setup> {
        let Some(address) = &self.address else {
            bail!("no server: give --address smp://FINGERPRINT[:PASSWORD]@HOST[:PORT]");
        };
        let mut target = Target::parse(address, self.tls())?;
        target.connect_timeout = Duration::from_secs(self.timeout);
        eprintln!("target: {}", target.socket);
        if !target.is_loopback() && !self.yes_remote {
            bail!(
                "{} is not this machine: add --yes-remote if you may load it",
                target.socket
            );
        }
        Ok(Setup {
            target,
            options: self.options(),
            executors: self.executors.map_or_else(cores, usize::from),
            server_pid: self.server_pid,
            csv: self.csv.clone(),
        })
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Setup {
    /// Executors for `tasks` independent tasks: no more than there are tasks.
    pub fn executors_for(&self, tasks: usize) -> usize {
        self.executors.min(tasks).max(1)
    }

    /// Starts to measure what this process and, if its id is known, the server use.
    pub fn probe(&self) -> Result<BothProbes> {
        BothProbes::start(self.server_pid)
    }

    /// Prints the report and appends it to the CSV file.
    pub fn publish(&self, report: &Report) -> Result<()> {
        publish(report, self.csv.as_deref())
    }
}

fn publish(report: &Report, csv: Option<&Path>) -> Result<()> {
    print!("{}", report.table());
    match csv {
        Some(path) => report.append_csv(path, &command_line()),
        None => Ok(()),
    }
}

/// The arguments of this process without the address, which may hold a password.
fn command_line() -> String {
    let arguments = std::env::args().skip(1);
    without_addresses(arguments).join(" ")
}

fn without_addresses(arguments: impl Iterator<Item = String>) -> Vec<String> {
    arguments.filter(|a| !a.contains("smp://")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_scenario() {
        let address = "smp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@127.0.0.1:1";
        for arguments in [
            ["loadtest", "-a", address, "--tls", "1.2", "smoke"],
            ["loadtest", "smoke", "--tls", "1.2", "-a", address],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert!(cli.common.prepare().is_ok());
        }
    }

    #[test]
    fn remote_servers_need_consent() {
        let address = "smp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@192.0.2.7";
        let prepare = |extra: &[&str]| {
            let arguments = ["loadtest", "smoke", "-a", address];
            Cli::try_parse_from(arguments.iter().chain(extra))
                .unwrap()
                .common
                .prepare()
        };
        assert!(prepare(&[]).is_err());
        assert!(prepare(&["--yes-remote"]).is_ok());
    }

    #[test]
    fn passwords_stay_out_of_the_results() {
        let arguments = [
            "smoke",
            "-a",
            "smp://x:secret@h",
            "--address=smp://x:secret@h",
        ];
        let kept = without_addresses(arguments.map(str::to_owned).into_iter());
        assert_eq!(kept, ["smoke", "-a"]);
    }
}
