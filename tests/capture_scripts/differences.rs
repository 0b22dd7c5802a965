//! What the relay sent otherwise, for people.

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
