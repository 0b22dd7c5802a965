//! Reading INI text by the rules operators' files rely on (spec: operations §2.1).
//!
//! `rust-ini` splits and holds the text, but alone it joins a line without a separator to the
//! next key, takes an indented comment for a key and continues a value after a backslash. So
//! every line is checked first and handed over in a form with one reading; that also gives
//! errors their line numbers.

use ini::{Ini, ParseOption, Properties};
use std::fmt;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// A line that is neither blank, comment, section nor assignment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct IniError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// A parsed file: sections of keys with texts. Some are passwords: texts are zeroized when
/// dropped, as far as the parser's own buffers allow.
pub struct IniFile(Ini);

impl Drop for IniFile {
    fn drop(&mut self) {
        for (_, properties) in self.0.iter_mut() {
            for (_, text) in properties.iter_mut() {
                text.zeroize();
            }
        }
    }
}

impl fmt::Debug for IniFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IniFile(..)")
    }
}

/// Everything after the first separator is the value, as it stands.
const AS_IT_STANDS: ParseOption = ParseOption {
    enabled_quote: false,
    enabled_escape: false,
    enabled_indented_mutiline_value: false,
    enabled_preserve_key_leading_whitespace: false,
};

impl IniFile {
    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Self, IniError> {
        let (file, errors) = Self::parse_most(text);
        errors.into_iter().next().map_or(Ok(file), Err)
    }

    /// Parses the text of a file without the lines that mean nothing, which are told in order.
    pub fn parse_most(text: &str) -> (Self, Vec<IniError>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Room for a line end and a space more per line: it must not move.
        let room = text.len() + 2 * (text.lines().count() + 1);
        let mut checked = Zeroizing::new(String::with_capacity(room));
        let mut errors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let statement = statement(line).unwrap_or_else(|reason| {
                errors.push(IniError {
                    line: index + 1,
                    reason: reason.to_owned(),
                });
                ""
            });
            checked.push_str(statement);
            // A space keeps a final backslash from continuing the line; values are trimmed.
            checked.push_str(if statement.ends_with('\\') {
                " \n"
            } else {
                "\n"
            });
        }
        let ini = Ini::load_from_str_opt(&checked, AS_IT_STANDS).unwrap_or_else(|e| {
            errors.push(IniError {
                line: e.line,
                reason: e.msg.into_owned(),
            });
            Ini::new()
        });
        (Self(ini), errors)
    }

    /// Replaces the text of a key, or takes the key away; whether it was there.
    pub fn replace(&mut self, section: &str, key: &str, text: Option<&str>) -> bool {
        let Some(properties) = self.0.section_all_mut(Some(section)).last() else {
            if let Some(text) = text {
                self.0.with_section(Some(section)).set(key, text);
            }
            return false;
        };
        let old = properties.remove(key);
        if let Some(text) = text {
            properties.insert(key, text);
        }
        old.map(Zeroizing::new).is_some()
    }

    /// The text of a key: its first occurrence in the last section of that name. A key that
    /// is present without a value gives the empty text.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.section(section)?.get(key)
    }

    /// Names of the sections, each once.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.sections().flatten()
    }

    /// Whether a section occurs more than once; only the last one counts.
    pub fn is_repeated(&self, section: &str) -> bool {
        self.0.section_all(Some(section)).count() > 1
    }

    /// Keys of a section with their texts, repeated keys included.
    pub fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.section(section)
            .into_iter()
            .flat_map(|properties| properties.iter())
    }

    /// Keys that stand before the first section and have no effect.
    pub fn homeless_keys(&self) -> impl Iterator<Item = &str> {
        self.0.general_section().iter().map(|(key, _)| key)
    }

    fn section(&self, name: &str) -> Option<&Properties> {
        self.0.section_all(Some(name)).last()
    }
}

/// The part of a line that means something; empty for blank lines and comments.
fn statement(line: &str) -> Result<&str, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok("");
    }
    if line.contains('\r') {
        return Err("carriage return inside the line");
    }
    if let Some(rest) = line.strip_prefix('[') {
        return match rest.strip_suffix(']') {
            Some(name) if is_name(name) => Ok(line),
            _ => Err("expected a section name in brackets, such as [TRANSPORT]"),
        };
    }
    match line.split_once(['=', ':']) {
        Some((key, _)) if is_name(key) => Ok(line),
        Some(_) => Err("expected a key before `=` or `:`"),
        None => Err("expected `key = value`, a [SECTION] or a # comment"),
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains(['[', ']', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(text: &str, section: &str, key: &str) -> Option<String> {
        let file = IniFile::parse(text).unwrap();
        file.get(section, key).map(str::to_owned)
    }

    #[test]
    fn values() {
        for (line, value) in [
            ("port = 5223", "5223"),
            ("port=5223", "5223"),
            ("port: 5223", "5223"),
            ("port:5223", "5223"),
            ("  port\t:\t5223  ", "5223"),
            ("port = 5223\r", "5223"),
            ("port = a:b=c", "a:b=c"),
            ("port: a=b:c", "a=b:c"),
            ("port = on # x", "on # x"),
            ("port = # x", "# x"),
            ("port = ; x", "; x"),
            ("port = \"quoted\"", "\"quoted\""),
            ("port = 'it''s'", "'it''s'"),
            (r"port = C:\new\table", r"C:\new\table"),
            ("port = ends in \\", "ends in \\"),
            ("port = [a]", "[a]"),
            ("port =", ""),
            ("port:", ""),
            ("port = ключ", "ключ"),
        ] {
            let text = format!("[T]\n{line}\nnext = 1\n");
            assert_eq!(get(&text, "T", "port").as_deref(), Some(value), "{line}");
            assert_eq!(get(&text, "T", "next").as_deref(), Some("1"), "{line}");
        }
    }

    #[test]
    fn comments_and_blanks() {
        let text = "\u{feff}# a = 1\n; b = 2\n  # c = 3\n\t; [X]\n\n   \n[T] \n  #d = 4\n e = 5";
        let file = IniFile::parse(text).unwrap();
        assert_eq!(file.sections().collect::<Vec<_>>(), ["T"]);
        assert_eq!(file.entries("T").collect::<Vec<_>>(), [("e", "5")]);
        assert_eq!(file.homeless_keys().count(), 0);
    }

    #[test]
    fn names_are_case_sensitive() {
        let text = "[t]\na = 1\n[T]\nA = 2\n";
        assert_eq!(get(text, "T", "a"), None);
        assert_eq!(get(text, "T", "A").as_deref(), Some("2"));
        assert_eq!(get(text, "t", "a").as_deref(), Some("1"));
    }

    #[test]
    fn first_key_wins_and_last_section_replaces() {
        let text = "k = 0\n[T]\na = 1\nb = 1\n[U]\n[T]\na = 2\na = 3\n";
        assert_eq!(get(text, "T", "a").as_deref(), Some("2"));
        assert_eq!(get(text, "T", "b"), None);
        let file = IniFile::parse(text).unwrap();
        assert_eq!(file.homeless_keys().collect::<Vec<_>>(), ["k"]);
        assert!(file.is_repeated("T") && !file.is_repeated("U"));
        assert_eq!(file.entries("T").count(), 2);
    }

    #[test]
    fn keys_are_replaced_and_taken_away() {
        let mut file = IniFile::parse("[T]\na = 0\n[T]\na = 1\na = 2\nb = 3\n").unwrap();
        assert!(file.replace("T", "a", None));
        assert_eq!(file.get("T", "a"), None);
        assert!(!file.replace("T", "a", Some("4")));
        assert!(file.replace("T", "b", Some("5")));
        assert!(!file.replace("U", "c", Some("6")) && !file.replace("V", "d", None));
        let texts = [("T", "a"), ("T", "b"), ("U", "c")].map(|(s, key)| file.get(s, key));
        assert_eq!(texts, [Some("4"), Some("5"), Some("6")]);
    }

    #[test]
    fn every_broken_line_is_told_and_the_others_are_read() {
        let (file, errors) = IniFile::parse_most("what\n[T]\na = 1\n[U\nb = 2\n");
        let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 4]);
        assert_eq!(file.get("T", "b"), Some("2"));
    }

    #[test]
    fn broken_lines_are_named() {
        for line in [
            "no separator",
            "= value",
            ": value",
            "[UNCLOSED",
            "[]",
            "[A] # comment",
            "[A[B]",
            "key[1] = 2",
            r"key\ = 2",
            "a\rb = 1",
        ] {
            let error = IniFile::parse(&format!("[T]\n\n{line}\nnext = 1\n")).unwrap_err();
            assert_eq!(error.line, 3, "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*|([ \t\r\n#;=:\\[\\]\\\\a]){0,40}") {
            let _ = IniFile::parse(&text);
        }

        #[test]
        fn any_value_is_read_as_written(value in "[!-~]([ -~]{0,30}[!-~])?") {
            for separator in [" = ", "=", ": ", ":"] {
                let text = format!("[T]\nkey{separator}{value}\nnext = 1\n");
                prop_assert_eq!(get(&text, "T", "key"), Some(value.clone()));
                prop_assert_eq!(get(&text, "T", "next"), Some("1".to_owned()));
            }
        }
    }
}
