//! The words of usage errors that scripts know (spec: operations §1.1).

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error;

/// The text for an error of the parser: help and version as they are, usage errors as message,
/// blank line and usage, newline-terminated.
pub(super) fn text(error: &clap::Error) -> String {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return error.render().to_string();
    }
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => format!("Usage: {} COMMAND [OPTIONS]", super::PROGRAM),
    };
    format!("{}\n\n{}\n", message(error), usage.trim_end())
}

fn message(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // The parser names an option together with its value's name.
    let argument = context(ContextKind::InvalidArg).map(first_word);
    match (error.kind(), argument) {
        (ErrorKind::UnknownArgument, Some(name)) if name.starts_with('-') => {
            format!("Invalid option `{name}'")
        }
        (ErrorKind::UnknownArgument, Some(name)) => format!("Invalid argument `{name}'"),
        (ErrorKind::InvalidSubcommand, _) => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("Invalid argument `{name}'")
        }
        (ErrorKind::ValueValidation, Some(name)) => {
            let why = error.source().map_or_else(String::new, ToString::to_string);
            format!("option {name}: {why}")
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}

fn first_word(text: &str) -> &str {
    let end = text.find([' ', '=', '[']).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}
