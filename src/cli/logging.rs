//! The log: one line on stderr for each event, as its reader wants it (spec: operations §1.10).

use super::start::LogLevel;
use std::env;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal, stderr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The variable that selects lines more finely than `--log-level`, and before it.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Writes what is logged from now on.
pub fn start(level: LogLevel) {
    let (filter, unusable) = filter(level, env::var(FILTER_VARIABLE).ok().as_deref());
    // Fails only when a subscriber is set already, which then serves as well.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        // Lines that stderr does not take are lost: telling stderr would panic.
        .log_internal_errors(false)
        .event_format(Lines::for_reader())
        .try_init();
    if let Some(error) = unusable {
        tracing::warn!("{FILTER_VARIABLE} is ignored: {error}");
    }
}

/// What is logged, and why it is not what the variable says, if it is not.
fn filter(level: LogLevel, variable: Option<&str>) -> (EnvFilter, Option<ParseError>) {
    let least = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info | LogLevel::Note => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let default = || EnvFilter::default().add_directive(least.into());
    match variable.filter(|text| !text.is_empty()) {
        None => (default(), None),
        Some(text) => match EnvFilter::try_new(text) {
            Ok(filter) => (filter, None),
            Err(error) => (default(), Some(error)),
        },
    }
}

/// How an event becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// With time and level, for a person or a file.
    Plain,
    /// With the number of the level: systemd notes the time itself.
    Journal,
}

impl Lines {
    fn for_reader() -> Self {
        let journal = env::var("JOURNAL_STREAM").ok();
        match journal.zip(identity_of(stderr()).ok()) {
            Some((journal, stderr)) if journal == stderr => Self::Journal,
            _ => Self::Plain,
        }
    }
}

/// A file as systemd names the one that it reads: `<device>:<inode>`.
fn identity_of(file: impl AsFd) -> io::Result<String> {
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let level = *event.metadata().level();
        match self {
            Self::Journal => write!(writer, "<{}>", priority(level))?,
            Self::Plain => {
                let coloured = writer.has_ansi_escapes();
                let (dim, colour, end) = if coloured {
                    ("\x1b[2m", colour(level), "\x1b[0m")
                } else {
                    ("", "", "")
                };
                writer.write_str(dim)?;
                SystemTime.format_time(&mut writer)?;
                write!(writer, "{end} {colour}{level:>5}{end} ")?;
            }
        }
        writeln!(writer, "{}", OneLine(&text))
    }
}

/// The number of a level in syslog (`sd-daemon(3)`).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        _ => "\x1b[35m",
    }
}

/// A text without what would end a line or move a cursor: some of it may come from a peer.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.trim_end().chars() {
            match char {
                '\n' => f.write_str("; ")?,
                char if char.is_control() => write!(f, "{}", char.escape_default())?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_when_it_can_be_read() {
        let shown = |level, variable| filter(level, variable).0.to_string();
        assert_eq!(shown(LogLevel::Note, None), "info");
        assert_eq!(shown(LogLevel::Error, Some("")), "error");
        let variable = Some("warn,smp_server=trace");
        let both = shown(LogLevel::Info, variable);
        assert!(both.contains("warn") && both.contains("smp_server=trace"));
        let (used, error) = filter(LogLevel::Warn, Some("a=b=c"));
        assert_eq!(used.to_string(), "warn");
        assert!(error.is_some());
    }

    #[test]
    fn an_event_is_one_line() {
        let line = |text| OneLine(text).to_string();
        assert_eq!(line("two\nlines\n"), "two; lines");
        assert_eq!(line("a\r\x1b[31mred\t"), "a\\r\\u{1b}[31mred");
        assert_eq!(line("naïve ✓"), "naïve ✓");
    }
}
