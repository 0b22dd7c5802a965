//! Bytes of a session, cut into lines of bounded length.

use zeroize::{Zeroize, Zeroizing};

/// Longest line, bytes: commands are far shorter.
pub const MAX_LINE: usize = 4096;

/// Received bytes that are not handled yet. They may be passwords.
#[derive(Debug, Default)]
pub struct Lines {
    received: Zeroizing<Vec<u8>>,
    /// Whether the rest of a line that was too long is being skipped.
    skipping: bool,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// One that may be a command.
    Text(Zeroizing<Vec<u8>>),
    /// One longer than [`MAX_LINE`].
    TooLong,
}

impl Lines {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        // Growing in place would leave copies of a password behind.
        let mut all = Vec::with_capacity(self.received.len() + bytes.len());
        all.extend_from_slice(&self.received);
        all.extend_from_slice(bytes);
        self.received = Zeroizing::new(all);
    }

    /// The next line, once it is complete or too long.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let end = self.received.iter().position(|byte| *byte == b'\n');
            let too_long = end.unwrap_or(self.received.len()) > MAX_LINE;
            let Some(end) = end else {
                if !self.skipping && !too_long {
                    return None;
                }
                self.received.zeroize();
                let told = std::mem::replace(&mut self.skipping, true);
                return (!told).then_some(Line::TooLong);
            };
            let line = self.cut(end);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(if too_long {
                Line::TooLong
            } else {
                Line::Text(line)
            });
        }
    }

    /// What is left when nothing more will come: a line too.
    pub fn finish(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.received);
        (!rest.is_empty() && !self.skipping).then(|| Line::Text(without_cr(rest)))
    }

    fn cut(&mut self, end: usize) -> Zeroizing<Vec<u8>> {
        let line = Zeroizing::new(self.received[..end].to_vec());
        let rest = self.received[end + 1..].to_vec();
        self.received = Zeroizing::new(rest);
        without_cr(line)
    }
}

fn without_cr(mut line: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(line: &str) -> Option<Line> {
        Some(Line::Text(Zeroizing::new(line.into())))
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_may_come_in_pieces() {
        let mut lines = Lines::default();
        lines.push(b"sta");
        assert_eq!(lines.next_line(), None);
        lines.push(b"ts\r\n\nhelp\nqu");
        assert_eq!(lines.next_line(), text("stats"));
        assert_eq!(lines.next_line(), text(""));
        assert_eq!(lines.next_line(), text("help"));
        assert_eq!(lines.next_line(), None);
        lines.push(b"it");
        assert_eq!(lines.finish(), text("quit"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_not_kept() {
        let mut lines = Lines::default();
        lines.push(&[b'x'; MAX_LINE]);
        assert_eq!(lines.next_line(), None);
        lines.push(b"x");
        assert_eq!(lines.next_line(), Some(Line::TooLong));
        for _ in 0..9 {
            lines.push(&[b'x'; MAX_LINE]);
            assert_eq!(lines.next_line(), None);
            assert!(lines.received.is_empty());
        }
        lines.push(b"x\nhelp\n");
        assert_eq!(lines.next_line(), text("help"));
        lines.push(&[b'x'; MAX_LINE + 1]);
        lines.push(b"\nhelp\n");
        assert_eq!(lines.next_line(), Some(Line::TooLong));
        assert_eq!(lines.next_line(), text("help"));
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_lines_as_the_whole(
            text in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..64),
            at in 0_usize..64,
        ) {
            let all = |pieces: &[&[u8]]| {
                let (mut lines, mut found) = (Lines::default(), Vec::new());
                for piece in pieces {
                    lines.push(piece);
                    while let Some(line) = lines.next_line() {
                        found.push(line);
                    }
                }
                found.extend(lines.finish());
                found
            };
            let (a, b) = text.split_at(at.min(text.len()));
            prop_assert_eq!(all(&[a, b]), all(&[&text]));
        }
    }
}
