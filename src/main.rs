//! The relay's program: parses the command line and runs one command.

use smp_server::cli::{self, Command, Console, Directories, export, import, init, serve, start};
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
    cli::finish(match command {
        Command::Init(options) => {
            let directories = Directories::from_environment(options.dir.as_deref());
            init::run(*options, &directories, &mut console)
        }
        Command::Start(options) => {
            let directories = Directories::from_environment(options.dir.as_deref());
            start::run(&options, &directories, &mut console, serve::serve)
        }
        Command::Import(options) => {
            let directories = Directories::from_environment(options.dir.as_deref());
            import::run(&options, &directories, &mut console)
        }
        Command::Export(options) => {
            let directories = Directories::from_environment(options.dir.as_deref());
            export::run(&options, &directories, &mut console)
        }
    })
}
