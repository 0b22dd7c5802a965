//! The text format (version 0.0.4): families and samples.

use super::Kind;
use std::fmt::{Display, Write as _};
use std::time::Duration;

/// Metrics being written.
#[derive(Debug)]
pub struct Text {
    text: String,
    /// What ends each sample.
    stamp: String,
}

/// Durations by upper bound.
#[derive(Debug)]
pub struct Buckets<'a> {
    /// Numbers up to and with each bound; bounds in seconds.
    pub counts: &'a [(f64, u64)],
    /// All of them.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
}

impl Text {
    /// Nothing yet; `stamp` ends each sample.
    pub fn new(stamp: String) -> Self {
        Self {
            text: String::with_capacity(32 << 10),
            stamp,
        }
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.text
    }

    // Writing to a string cannot fail.

    /// A line that is read by people only.
    pub fn comment(&mut self, label: &str, value: &str) {
        let _ = writeln!(self.text, "# {label}: {value}");
    }

    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let _ = writeln!(self.text, "\n# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A value under labels, which may be none.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let stamp = &self.stamp;
        let _ = match labels {
            "" => writeln!(self.text, "{name} {value}{stamp}"),
            _ => writeln!(self.text, "{name}{{{labels}}} {value}{stamp}"),
        };
    }

    /// A value that has no time.
    pub fn constant(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
    }

    /// The samples of a histogram under labels, which may be none.
    pub fn histogram(&mut self, name: &str, labels: &str, buckets: &Buckets<'_>) {
        let separator = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        for (bound, count) in buckets.counts {
            let labels = format!("{labels}{separator}le=\"{bound}\"");
            self.sample(&bucket, &labels, count);
        }
        let labels_of_all = format!("{labels}{separator}le=\"+Inf\"");
        self.sample(&bucket, &labels_of_all, buckets.count);
        let sum = format!("{name}_sum");
        self.sample(&sum, labels, buckets.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, buckets.count);
    }
}

/// A label whose value may be any text.
pub fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}
