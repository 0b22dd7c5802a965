//! The questions of `init` (spec: operations §1.3).

use crate::cli::init::InitOptions;
use crate::cli::{CliError, Console, Directories};
use crate::config::values;
use anyhow::anyhow;
use std::io::{self, ErrorKind};
use zeroize::Zeroizing;

/// Asks for what matters and writes the answers into the options.
pub(super) fn ask(
    options: &mut InitOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    console.line("Use `smp-server init -h` for available options.")?;
    options.check()?;
    let asked = "SMP server will be initialized (press Enter)";
    question(asked, console)?;
    let asked = "Enable store log to restore queues and messages on server restart";
    options.disable_store_log = !yes_or_no(asked, true, console)?;
    options.daily_stats = yes_or_no("Enable logging daily statistics", false, console)?;
    password(options, console)?;

    let host = options.certificate_host();
    let asked = format!("Enter server FQDN or IP address for certificate ({host}): ");
    let answer = question(&asked, console)?;
    if !answer.is_empty() {
        options.fqdn = Some(answer.to_string());
    }
    options.source_code = Some(source_code(options, console)?);
    let pages = options.pages(directories);
    let asked =
        format!("Enter path to store generated server pages to show connection links ({pages}): ");
    let answer = question(&asked, console)?;
    if !answer.is_empty() {
        options.web_path = Some(answer.to_string());
    }
    Ok(())
}

fn password(options: &mut InitOptions, console: &mut Console<'_>) -> Result<(), CliError> {
    console.line("Require a password to create new messaging queues?")?;
    let mut answer = question(
        "'r' for random (default), 'n' - no password (recommended for public servers), \
         or enter password: ",
        console,
    )?;
    loop {
        (options.no_password, options.password) = match answer.as_str() {
            "" | "r" => (false, None),
            "n" => (true, None),
            text => match values::password(text) {
                Ok(password) => (false, Some(password)),
                Err(_) => {
                    console.line(
                        "Invalid password. Only latin letters, digits and symbols other than \
                         '@' and ':' are allowed",
                    )?;
                    answer = read(console)?;
                    continue;
                }
            },
        };
        return Ok(());
    }
}

fn source_code(options: &InitOptions, console: &mut Console<'_>) -> Result<String, CliError> {
    let offered = options.offered_source_code();
    let asked = format!("Enter server source code URI ({offered}): ");
    let mut answer = question(&asked, console)?;
    loop {
        if answer.is_empty() {
            return Ok(offered.to_owned());
        }
        if answer.starts_with("https://") || answer.starts_with("http://") {
            return Ok(answer.to_string());
        }
        console.line("Invalid source code. URI should start from http:// or https://")?;
        answer = read(console)?;
    }
}

fn yes_or_no(asked: &str, default: bool, console: &mut Console<'_>) -> Result<bool, CliError> {
    let choices = if default { "Yn" } else { "yN" };
    loop {
        let answer = question(&format!("{asked} ({choices}): "), console)?;
        match answer.as_str() {
            "" => return Ok(default),
            "y" | "Y" => return Ok(true),
            "n" | "N" => return Ok(false),
            _ => console.line("Invalid input, please enter 'y' or 'n'")?,
        }
    }
}

fn question(asked: &str, console: &mut Console<'_>) -> Result<Zeroizing<String>, CliError> {
    console.ask(asked).map_err(unanswered)
}

fn read(console: &mut Console<'_>) -> Result<Zeroizing<String>, CliError> {
    console.answer().map_err(unanswered)
}

fn unanswered(error: io::Error) -> CliError {
    match error.kind() {
        ErrorKind::UnexpectedEof => anyhow!("{error}, use option -y to ask no questions").into(),
        _ => error.into(),
    }
}
