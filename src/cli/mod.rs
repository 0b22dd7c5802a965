//! The command line (spec: operations §1).
//!
//! [`parse`] turns arguments into a [`Command`]; each command is a module with a `run`.
//! Refusals meant for the operator go to stdout, as scripts expect; everything else that fails
//! goes to stderr after the program's name.

pub mod arguments;
mod credentials;
pub mod directories;
pub mod export;
pub mod import;
pub mod init;
mod progress;
mod prompt;
pub mod serve;
pub mod start;
pub mod start_lines;
mod usage_error;
pub mod version;

pub use arguments::{Command, parse};
pub use directories::Directories;

use std::io::{BufRead, Write};
use std::process::ExitCode;
use thiserror::Error;

/// Name of the program in its messages.
pub const PROGRAM: &str = "smp-server";

/// Why a command ended early.
#[derive(Debug, Error)]
pub enum CliError {
    /// A deliberate refusal, printed on stdout as it stands.
    #[error("{0}")]
    Refused(String),
    /// Something failed, printed on stderr.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Where a command reads answers and writes its lines.
pub struct Console<'a> {
    /// Answers, line by line.
    pub input: &'a mut dyn BufRead,
    /// Stdout.
    pub output: &'a mut dyn Write,
}

impl Console<'_> {
    /// Writes a line.
    pub fn line(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.output, "{text}")
    }
}

/// Reports the outcome of a command and gives the exit status: 0, or 1 for every error.
pub fn finish(result: Result<(), CliError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    // A closed stdout or stderr leaves nobody to tell.
    let _ = match error {
        CliError::Refused(text) => writeln!(std::io::stdout(), "{text}"),
        CliError::Failed(error) => writeln!(std::io::stderr(), "{PROGRAM}: {error:#}"),
    };
    ExitCode::FAILURE
}
