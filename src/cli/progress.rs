//! How far something is that takes long: one line of a terminal that changes, or a line every few seconds.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Time between two changes of the line on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// Time between two lines elsewhere.
const NEXT_LINE: Duration = Duration::from_secs(5);

/// Shows how far something is.
pub(super) struct Progress<'a> {
    /// What is being done: `importing`.
    what: &'static str,
    began: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
    /// Takes the lines where there is no terminal.
    line: &'a mut dyn FnMut(&str),
}

impl<'a> Progress<'a> {
    /// Begins on stderr; where that is no terminal, `line` takes lines.
    pub(super) fn new(what: &'static str, line: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            what,
            began: Instant::now(),
            shown: None,
            is_terminal: stderr().is_terminal(),
            line,
        }
    }

    /// Shows how many bytes are done, not too often.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let interval = if self.is_terminal { REDRAW } else { NEXT_LINE };
        if self.shown.unwrap_or(self.began).elapsed() < interval {
            return;
        }
        self.shown = Some(Instant::now());
        let text = text(self.what, done, total, self.began.elapsed());
        if self.is_terminal {
            // A closed stderr leaves nobody to tell.
            let _ = write!(stderr(), "\r\x1b[K{text}");
        } else {
            (self.line)(&text);
        }
    }

    /// Clears the line of a terminal.
    pub(super) fn end(&mut self) {
        if self.is_terminal && self.shown.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn text(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(1);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let left = total.saturating_sub(done) as f64 / rate.max(1.0);
    format!(
        "{what}... {} %, {:.1} MB/s, {} left",
        100 * done.min(total) / total,
        rate / 1e6,
        span(left.ceil() as u64)
    )
}

/// A number of seconds for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let text = |done, total, seconds| {
            let elapsed = Duration::from_secs(seconds);
            text("importing", done, total, elapsed)
        };
        let expected = "importing... 25 %, 5.0 MB/s, 30 s left";
        assert_eq!(text(50_000_000, 200_000_000, 10), expected);
        let expected = "importing... 1 %, 1.0 MB/s, 16 min 30 s left";
        assert_eq!(text(10_000_000, 1_000_000_000, 10), expected);
        let expected = "importing... 0 %, 0.0 MB/s, 27 h 46 min left";
        assert_eq!(text(100, 1_000_100, 10), expected);
        // A file may grow meanwhile.
        assert!(text(3, 2, 1).starts_with("importing... 100 %"));
        assert!(text(0, 0, 0).starts_with("importing... 0 %"));
    }
}
