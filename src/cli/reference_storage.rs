//! `journal` and `database`: commands for storages that this server does not have
//! (spec: operations §1.13, §1.14). They are understood, and answered with what to use here.

use super::{CliError, Directories, start};
use crate::config::settings::POSTGRESQL_REFUSAL;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Options of `journal`.
#[derive(Debug, Args)]
pub struct JournalOptions {
    /// What to do with the messages.
    #[command(subcommand)]
    pub action: JournalAction,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
}

/// What the reference does with its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum JournalAction {
    /// Tells what to use instead: `smp-server import`
    Import,
    /// Tells what to use instead: `smp-server export`
    Export,
    /// Tells what to do instead
    Delete,
}

/// Options of `database`.
#[derive(Debug, Args)]
pub struct DatabaseOptions {
    /// What to do with the database.
    #[command(subcommand)]
    pub action: DatabaseAction,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
}

/// What the reference does with its database.
#[derive(Debug, Subcommand)]
pub enum DatabaseAction {
    /// Refused: this server has no PostgreSQL storage
    Import(DatabaseArguments),
    /// Refused: this server has no PostgreSQL storage
    Export(DatabaseArguments),
    /// Refused: this server has no PostgreSQL storage
    Delete(DatabaseArguments),
}

/// Accepted for compatibility.
#[derive(Debug, Args)]
pub struct DatabaseArguments {
    /// Which tables
    #[arg(long, value_enum, default_value = "all")]
    pub table: Table,
    /// PostgreSQL connection
    #[arg(short = 'd', long, value_name = "DB_CONN")]
    pub database: Option<String>,
    /// PostgreSQL schema
    #[arg(long, value_name = "DB_SCHEMA")]
    pub schema: Option<String>,
    /// PostgreSQL pool size
    #[arg(long, value_name = "POOL_SIZE")]
    pub pool_size: Option<u32>,
}

/// Tables of the reference's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// Queues and services.
    Queues,
    /// Messages.
    Messages,
    /// Both.
    All,
}

/// Runs `journal`, which always ends in a refusal.
pub fn journal(options: &JournalOptions, directories: &Directories) -> Result<(), CliError> {
    start::require_initialized(directories)?;
    let state = directories.state.display();
    let advice = match options.action {
        JournalAction::Import => {
            "Run `smp-server import` to take over queues and messages of a reference server; \
             the first `smp-server start` does that by itself."
                .to_owned()
        }
        JournalAction::Export => "Run `smp-server export DIRECTORY` to write queues and messages \
                                  for a reference server with `store_messages = memory`."
            .to_owned(),
        JournalAction::Delete => format!(
            "{state}/messages is only read, by an import. Once it is imported and the server \
             runs, it can be moved away."
        ),
    };
    Err(CliError::Refused(format!(
        "Error: this server keeps messages in its own log, not in a journal.\n{advice}"
    )))
}

/// Runs `database`, which always ends in a refusal, whether or not there is a configuration.
pub fn database() -> Result<(), CliError> {
    Err(CliError::Refused(format!(
        "{POSTGRESQL_REFUSAL}\n\
         To move here from a database, run `smp-server database export` of the reference server, \
         then `smp-server import` of this one."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::INI_FILE;

    fn refusal(result: Result<(), CliError>) -> String {
        match result {
            Err(CliError::Refused(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_action_says_what_to_use() {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories::new(Some(root.path()), |_| None);
        let journal =
            |action| refusal(journal(&JournalOptions { action, dir: None }, &directories));
        assert!(journal(JournalAction::Import).starts_with("Error: server is not initialized ("));
        let text = "Error: server binary is compiled without support for PostgreSQL database.\n";
        assert!(refusal(database()).starts_with(text));

        std::fs::create_dir(&directories.config).unwrap();
        std::fs::write(directories.config.join(INI_FILE), "").unwrap();
        assert!(journal(JournalAction::Import).contains("`smp-server import`"));
        assert!(journal(JournalAction::Export).contains("`smp-server export DIRECTORY`"));
        assert!(journal(JournalAction::Delete).contains("var/messages"));
    }
}
