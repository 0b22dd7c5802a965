//! The text of a fresh configuration file (spec: operations §2.3).
//!
//! Container scripts edit this file with `sed`: the shape of its lines is an interface, their
//! explanations are not.

use crate::config::keys::{Fresh, KEYS, KeyInfo};
use zeroize::Zeroizing;

/// The line of a key where it is not the one of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `key = text`.
    Set(Zeroizing<String>),
    /// `# key = text`.
    Commented(Zeroizing<String>),
}

impl Line {
    /// `key = text`.
    pub fn set(text: impl Into<String>) -> Self {
        Self::Set(Zeroizing::new(text.into()))
    }

    /// `# key = text`.
    pub fn commented(text: impl Into<String>) -> Self {
        Self::Commented(Zeroizing::new(text.into()))
    }
}

/// The text of a fresh file in which `chosen` replaces lines of the table; a later choice for
/// the same key wins. It contains the passwords chosen.
pub fn render(chosen: &[(&KeyInfo, Line)]) -> Zeroizing<String> {
    // Room for the whole text, so that growing leaves no copies of passwords behind.
    let mut out = Zeroizing::new(String::with_capacity(16 * 1024));
    let mut section = "";
    for key in KEYS {
        let choice = chosen
            .iter()
            .rev()
            .find(|(info, _)| (info.section, info.name) == (key.section, key.name));
        let (mark, text) = match (choice, key.fresh) {
            (Some((_, Line::Set(text))), _) => ("", text.as_str()),
            (Some((_, Line::Commented(text))), _) => ("# ", text.as_str()),
            (None, Fresh::Set(text)) => ("", text),
            (None, Fresh::Commented(text)) => ("# ", text),
            (None, Fresh::Unwritten) => continue,
        };
        if key.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = key.section;
            push(&mut out, &[gap, "[", section, "]\n"]);
        } else if !key.note.is_empty() {
            push(&mut out, &["\n"]);
        }
        for line in key.note {
            push(&mut out, &["# ", line, "\n"]);
        }
        let separator = if text.is_empty() { " =" } else { " = " };
        push(&mut out, &[mark, key.name, separator, text, "\n"]);
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ini::IniFile;
    use crate::config::{Settings, keys};
    use std::time::Duration;

    fn settings(text: &str) -> Settings {
        Settings::from_ini(&IniFile::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn a_fresh_file_gives_the_documented_values() {
        let settings = settings(&render(&[]));
        assert_eq!(settings.warnings, []);
        assert!(settings.information.is_none());
        assert!(settings.storage.enable && settings.storage.restore_messages);
        assert!(!settings.storage.expire_messages_on_send && !settings.storage.log_stats);
        assert_eq!(settings.storage.prometheus_interval, None);
        assert!(settings.auth.new_queues && settings.auth.create_password.is_none());
        assert_eq!(settings.transport.port.ports, [5223, 443]);
        assert_eq!(settings.transport.control_port, None);
        let inactive = settings.inactive_clients.unwrap();
        assert_eq!(inactive.ttl, Duration::from_secs(21600));
        assert_eq!(inactive.check_interval, Duration::from_secs(3600));
        assert_eq!(settings.web.https.unwrap().port, 443);
    }

    /// Removing the mark of a comment must not change anything by itself.
    #[test]
    fn commented_defaults_are_the_real_defaults() {
        for key in KEYS {
            if let (Fresh::Commented(text), Some(absent)) = (key.fresh, key.absent) {
                assert_eq!(text, absent, "[{}] {}", key.section, key.name);
            }
        }
        let fresh = render(&[]);
        let uncommented: String = fresh
            .lines()
            .map(|line| {
                let key = line
                    .strip_prefix("# ")
                    .and_then(|rest| rest.split_once(" = "));
                let known = key.and_then(|(name, _)| KEYS.iter().find(|key| key.name == name));
                let line = match known {
                    Some(key) if key.absent.is_some() => line.trim_start_matches("# "),
                    _ => line,
                };
                format!("{line}\n")
            })
            .collect();
        assert_ne!(*fresh, uncommented);
        let (mut fresh, mut uncommented) = (settings(&fresh), settings(&uncommented));
        fresh.warnings.clear();
        uncommented.warnings.clear();
        assert_eq!(format!("{fresh:?}"), format!("{uncommented:?}"));
    }

    #[test]
    fn lines_that_scripts_edit() {
        let text = render(&[]);
        let starting = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(starting("https = 443"), 1);
        assert_eq!(starting("port = 5223,443"), 1);
        assert_eq!(starting("cert = /etc/opt/simplex/web.crt"), 1);
        assert_eq!(starting("key = /etc/opt/simplex/web.key"), 1);
        for key in ["https = ", "cert = ", "key = "] {
            let is_match = |line: &&str| line.split('#').next().is_some_and(|l| l.contains(key));
            assert_eq!(text.lines().filter(is_match).count(), 1, "{key}");
        }
        for line in text.lines() {
            assert_eq!(line, line.trim_end());
            assert!(line.len() <= 130, "{line}");
        }
    }

    #[test]
    fn choices_replace_lines() {
        let text = render(&[
            (&keys::WEB_HTTPS.info, Line::commented("443")),
            (&keys::CREATE_PASSWORD.info, Line::set("secret")),
            (&keys::PORT.info, Line::set("1")),
            (&keys::PORT.info, Line::set("5223")),
        ]);
        assert!(text.contains("\n# https = 443\n"));
        assert!(text.contains("\ncreate_password = secret\n"));
        assert!(text.contains("\nport = 5223\n"));
        let settings = settings(&text);
        assert!(settings.auth.create_password.unwrap().matches(b"secret"));
    }

    /// The file of the reference and ours say the same, apart from what was chosen there.
    #[test]
    fn keys_stand_in_the_order_of_the_reference() {
        let reference = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/reference-6.5.5/etc/smp-server.ini"
        ));
        let shape = |text: &str| {
            let mut names = Vec::new();
            let mut section = String::new();
            for line in text.lines() {
                let line = line.trim_start_matches("# ");
                if line.starts_with('[') {
                    section = line.to_owned();
                }
                let name = line.split(" =").next().unwrap_or("");
                if KEYS.iter().any(|key| key.name == name) && line.contains(" =") {
                    names.push(format!("{section} {name}"));
                }
            }
            names
        };
        let ours: Vec<_> = shape(&render(&[]))
            .into_iter()
            .filter(|name| !name.starts_with("[RELAY]"))
            .collect();
        assert!(ours.len() > 50);
        assert_eq!(ours, shape(reference));
    }
}
