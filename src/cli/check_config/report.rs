//! What was found, in order.

use std::fmt::Display;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// In order.
    Ok,
    /// The server starts, but something is not as it should be.
    Warning,
    /// The server does not start.
    Error,
}

/// Findings, one line each.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<(Weight, String)>);

impl Report {
    /// Something is in order.
    pub(super) fn ok(&mut self, text: impl Display) {
        self.add(Weight::Ok, &text);
    }

    /// Something should be changed.
    pub(super) fn warning(&mut self, text: impl Display) {
        self.add(Weight::Warning, &text);
    }

    /// Something keeps the server from starting.
    pub(super) fn error(&mut self, text: impl Display) {
        self.add(Weight::Error, &text);
    }

    fn add(&mut self, weight: Weight, text: &dyn Display) {
        let lines = text.to_string();
        let words: Vec<_> = lines.split('\n').map(str::trim).collect();
        let line = words.join(" ").trim_start_matches("Error: ").to_owned();
        self.0.push((weight, line));
    }

    /// Number of findings that keep the server from starting.
    pub(super) fn errors(&self) -> usize {
        let errors = self.0.iter().filter(|(weight, _)| *weight == Weight::Error);
        errors.count()
    }

    /// The findings as lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(weight, text)| {
            let word = match weight {
                Weight::Ok => "ok",
                Weight::Warning => "warning",
                Weight::Error => "error",
            };
            format!("{word}: {text}")
        })
    }
}
