//! The relay's program: parses the command line and runs one command.

use smp_server::cli::{self, Command, Console, Directories, serve};
use smp_server::cli::{
    address, backup, cert, check_config, delete, documents, export, import, init,
};
use smp_server::cli::{reference_storage, restore, start};
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(exit) => return exit.print(),
    };
    let mut console = Console {
        input: &mut std::io::stdin().lock(),
        output: &mut std::io::stdout(),
    };
    let console = &mut console;
    let directories = Directories::from_environment(command.dir());
    cli::finish(match command {
        Command::Init(options) => init::run(*options, &directories, console),
        Command::Cert(options) => cert::run(&options, &directories, console),
        Command::Start(options) => start::run(&options, &directories, console, serve::serve),
        Command::Delete(_) => delete::run(&directories, console),
        Command::Journal(options) => reference_storage::journal(&options, &directories),
        Command::Database(_) => reference_storage::database(),
        Command::Import(options) => import::run(&options, &directories, console),
        Command::Export(options) => export::run(&options, &directories, console),
        Command::Backup(options) => backup::run(&options, &directories, console),
        Command::Restore(options) => restore::run(&options, &directories, console),
        Command::CheckConfig(_) => check_config::run(&directories, console),
        Command::Address(options) => address::run(&options, &directories, console),
        Command::Completions(options) => documents::completions(&options, console),
        Command::Man(options) => documents::man(&options, console),
    })
}
