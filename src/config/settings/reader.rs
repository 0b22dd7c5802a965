//! Reads keys of the table from a file and collects what has no effect.

use super::SettingsError;
use crate::config::ini::IniFile;
use crate::config::keys::{self, Effect, Key, KeyInfo};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// Something in the file that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// No section of that name is known.
    UnknownSection(String),
    /// A section that is there twice; only the last counts.
    RepeatedSection(String),
    /// No key of that name is known in the section.
    UnknownKey {
        /// Section.
        section: String,
        /// Key.
        key: String,
    },
    /// A key that is there twice; only the first counts.
    RepeatedKey {
        /// Section.
        section: String,
        /// Key.
        key: String,
    },
    /// A key before the first section.
    HomelessKey(String),
    /// A key that this server has no use for.
    Ignored {
        /// Section.
        section: &'static str,
        /// Key.
        key: &'static str,
        /// Why it is ignored.
        reason: String,
    },
    /// Keys of a section that this server does not heed yet.
    Pending {
        /// Section.
        section: &'static str,
        /// Keys, in the order of the file.
        keys: Vec<&'static str>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSection(section) => write!(f, "unknown section [{section}]"),
            Self::RepeatedSection(section) => {
                write!(f, "section [{section}] is repeated, the last one is used")
            }
            Self::UnknownKey { section, key } => write!(f, "unknown key {key} in [{section}]"),
            Self::RepeatedKey { section, key } => {
                write!(f, "key {key} in [{section}] is repeated, the first is used")
            }
            Self::HomelessKey(key) => write!(f, "key {key} before the first section is ignored"),
            Self::Ignored {
                section,
                key,
                reason,
            } => write!(f, "key {key} in [{section}] is ignored: {reason}"),
            Self::Pending { section, keys } => {
                write!(f, "in [{section}] has no effect yet: {}", keys.join(", "))
            }
        }
    }
}

/// A file seen through the table of keys.
pub(super) struct Reader<'a> {
    ini: &'a IniFile,
    warnings: RefCell<Vec<Warning>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(ini: &'a IniFile) -> Self {
        let warnings = RefCell::new(without_effect(ini));
        Self { ini, warnings }
    }

    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings.into_inner()
    }

    /// The value of a key, or that of its default; `None` when it is absent without default.
    pub(super) fn optional<T>(&self, key: &Key<T>) -> Result<Option<T>, SettingsError> {
        let text = self.text(&key.info).or(key.info.absent);
        text.map(|text| (key.parse)(text).map_err(|accepted| invalid(&key.info, text, accepted)))
            .transpose()
    }

    /// The value of a key that must be there or have a default.
    pub(super) fn required<T>(&self, key: &Key<T>) -> Result<T, SettingsError> {
        self.optional(key)?.ok_or(SettingsError::Missing {
            section: key.info.section,
            key: key.info.name,
        })
    }

    /// The value of a key that counts as absent when it cannot be read.
    pub(super) fn lenient<T>(&self, key: &Key<T>) -> Option<T> {
        self.optional(key).unwrap_or_else(|error| {
            self.ignore(&key.info, error.to_string());
            None
        })
    }

    /// Reports that a key has no effect.
    pub(super) fn ignore(&self, key: &KeyInfo, reason: String) {
        self.warnings.borrow_mut().push(Warning::Ignored {
            section: key.section,
            key: key.name,
            reason,
        });
    }

    /// The text of a key as it stands in the file.
    fn text(&self, key: &KeyInfo) -> Option<&'a str> {
        self.ini.get(key.section, key.name)
    }
}

fn invalid(key: &KeyInfo, text: &str, accepted: String) -> SettingsError {
    SettingsError::Invalid {
        section: key.section,
        key: key.name,
        value: if key.secret { "<hidden>" } else { text }.to_owned(),
        accepted,
    }
}

/// Whether nobody misses the effect of a key.
fn asks_for_nothing(key: &KeyInfo, text: &str) -> bool {
    text == "off" || text.is_empty() && key.absent == Some(text)
}

fn without_effect(ini: &IniFile) -> Vec<Warning> {
    let mut warnings: Vec<_> = ini
        .homeless_keys()
        .map(|key| Warning::HomelessKey(key.to_owned()))
        .collect();
    let known = keys::sections();
    for section in ini.sections() {
        if !known.contains(&section) {
            warnings.push(Warning::UnknownSection(section.to_owned()));
            continue;
        }
        if ini.is_repeated(section) {
            warnings.push(Warning::RepeatedSection(section.to_owned()));
        }
        let mut seen = HashSet::new();
        let mut pending = None;
        for (name, text) in ini.entries(section) {
            let (owned_section, key) = (section.to_owned(), name.to_owned());
            let first = seen.insert(name);
            match keys::find(section, name) {
                None => warnings.push(Warning::UnknownKey {
                    section: owned_section,
                    key,
                }),
                Some(_) if !first => warnings.push(Warning::RepeatedKey {
                    section: owned_section,
                    key,
                }),
                Some(info) => match info.effect {
                    Effect::Ignored(reason) if info.absent != Some(text) => {
                        warnings.push(Warning::Ignored {
                            section: info.section,
                            key: info.name,
                            reason: reason.to_owned(),
                        });
                    }
                    Effect::Pending if !asks_for_nothing(info, text) => {
                        let (_, keys) = pending.get_or_insert((info.section, Vec::new()));
                        keys.push(info.name);
                    }
                    Effect::Ignored(_) | Effect::Pending | Effect::Used => {}
                },
            }
        }
        if let Some((section, keys)) = pending {
            warnings.push(Warning::Pending { section, keys });
        }
    }
    warnings
}
