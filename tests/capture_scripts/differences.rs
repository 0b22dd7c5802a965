//! Where the relay answers differently on purpose (docs/MIGRATION.md).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// An answer or push that is not what the reference sent.
pub struct Difference {
    /// Number of the recorded block.
    pub block: usize,
    pub connection: String,
    /// Name of the command, or `push`.
    pub question: String,
    /// What the reference sent, with our ids and keys.
    pub expected: String,
    /// What our server sent.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  block #{:03} {:2} {:5} expected {}, not {}",
            self.block, self.connection, self.question, self.expected, self.ours
        )
    }
}

/// A difference that is meant.
pub struct Meant {
    pub question: &'static str,
    pub expected: &'static str,
    pub ours: &'static str,
    pub reason: &'static str,
}

/// All that are meant.
const MEANT: &[Meant] = &[];

/// The differences that are meant, and which of them occurred.
#[derive(Default)]
pub struct Deliberate {
    used: RefCell<BTreeSet<usize>>,
}

impl Deliberate {
    /// Whether a difference is meant.
    pub fn allows(&self, difference: &Difference) -> bool {
        let is = |meant: &Meant| {
            difference.question == meant.question
                && difference.expected == meant.expected
                && difference.ours == meant.ours
        };
        let found = MEANT.iter().position(is);
        self.used.borrow_mut().extend(found);
        found.is_some()
    }

    /// Reasons of those that did not occur.
    pub fn unused(&self) -> Vec<&'static str> {
        let used = self.used.borrow();
        let unused = |(n, meant): (usize, &Meant)| (!used.contains(&n)).then_some(meant.reason);
        MEANT.iter().enumerate().filter_map(unused).collect()
    }
}

/// The beginning of a response, for people.
pub fn describe(response: &[u8]) -> String {
    const SHOWN: usize = 40;
    let mut text = response[..response.len().min(SHOWN)]
        .escape_ascii()
        .to_string();
    if response.len() > SHOWN {
        text.push_str(&format!("… {} bytes", response.len()));
    }
    text
}
