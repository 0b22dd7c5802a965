//! The command line (spec: operations §1).
//!
//! [`parse`] turns arguments into a [`Command`]; each command is a module with a `run`.
//! Refusals meant for the operator go to stdout, as scripts expect; everything else that fails
//! goes to stderr after the program's name.

pub mod address;
pub mod arguments;
pub mod backup;
pub mod cert;
pub mod check_config;
mod credentials;
pub mod delete;
pub mod directories;
pub mod documents;
pub mod export;
mod files;
pub mod import;
pub mod init;
pub mod local_socket;
mod logging;
mod progress;
mod prompt;
pub mod reference_storage;
mod renewal;
pub mod restore;
pub mod serve;
pub mod start;
pub mod start_lines;
mod usage_error;
pub mod version;

pub use arguments::{Command, parse};
pub use directories::Directories;

use std::io::{BufRead, ErrorKind, Write};
use std::process::ExitCode;
use thiserror::Error;
use zeroize::Zeroizing;

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

    /// Writes a question without a newline and reads the answer.
    pub fn ask(&mut self, question: &str) -> std::io::Result<Zeroizing<String>> {
        self.output.write_all(question.as_bytes())?;
        self.output.flush()?;
        self.answer()
    }

    /// A line of input without its end; an error at the end of input.
    pub fn answer(&mut self) -> std::io::Result<Zeroizing<String>> {
        let mut line = Zeroizing::new(String::new());
        if self.input.read_line(&mut line)? == 0 {
            return Err(std::io::Error::new(
                ErrorKind::UnexpectedEof,
                "end of input",
            ));
        }
        let end = line.trim_end_matches(['\n', '\r']).len();
        line.truncate(end);
        Ok(line)
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
        CliError::Failed(error) => writeln!(std::io::stderr(), "{PROGRAM}: {}", in_full(&error)),
    };
    ExitCode::FAILURE
}

/// An error with its causes, of which many messages name theirs already.
fn in_full(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    causes
        .reduce(|told, cause| match told.contains(&cause) {
            true => told,
            false => format!("{told}: {cause}"),
        })
        .unwrap_or_default()
}
