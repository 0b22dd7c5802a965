//! Reading of a file that goes on after an error, to tell all of them at once.

use super::{Settings, SettingsError};
use crate::config::ini::IniFile;
use crate::config::keys::{self, Fresh};
use std::path::Path;

/// Everything that keeps a file from being used, and what it says apart from that.
#[derive(Debug)]
pub struct Examination {
    /// What is wrong, in the order found.
    pub errors: Vec<SettingsError>,
    /// The settings with the defaults for what is wrong, unless too much is.
    pub settings: Option<Settings>,
}

/// Reads a configuration file as [`Settings::load`] does, but tells every error.
pub fn examine(file: &Path) -> Result<Examination, SettingsError> {
    let text = super::read(file)?;
    let (ini, errors) = IniFile::parse_most(&text);
    let syntax = errors.into_iter().map(|source| SettingsError::Syntax {
        file: file.to_owned(),
        source,
    });
    let mut examination = examine_ini(ini);
    examination.errors.splice(..0, syntax);
    Ok(examination)
}

/// Takes what is wrong out of the file, one key after the other, until it can be used.
fn examine_ini(mut ini: IniFile) -> Examination {
    let mut errors = Vec::new();
    let mut taken_out = Vec::new();
    loop {
        let error = match Settings::from_ini(&ini) {
            Ok(settings) => {
                return Examination {
                    errors,
                    settings: Some(settings),
                };
            }
            Err(error) => error,
        };
        // Every round takes out a key that was there or adds one that was not: there is an end.
        let mut take_out = |section, key| {
            taken_out.push((section, key));
            ini.replace(section, key, None)
        };
        let goes_on = match &error {
            SettingsError::Invalid { section, key, .. } => take_out(section, key),
            SettingsError::Conflict { keys, .. } => keys
                .iter()
                .fold(false, |any, key| take_out(key.section, key.name) || any),
            SettingsError::Missing { section, key } => {
                let fresh = keys::find(section, key).map(|info| info.fresh);
                match fresh {
                    Some(Fresh::Set(text)) if ini.get(section, key).is_none() => {
                        ini.replace(section, key, Some(text));
                        true
                    }
                    _ => false,
                }
            }
            SettingsError::Read { .. } | SettingsError::Syntax { .. } => false,
        };
        // A key that is missing only because it was taken out has been told.
        match &error {
            SettingsError::Missing { section, key } if taken_out.contains(&(section, key)) => {}
            _ => errors.push(error),
        }
        if !goes_on {
            return Examination {
                errors,
                settings: None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> (Vec<String>, Option<Settings>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let examination = examine(file.path()).unwrap();
        let name = file.path().display().to_string();
        let texts = examination.errors.iter();
        let texts = texts.map(|error| error.to_string().replace(&name, "FILE"));
        (texts.collect(), examination.settings)
    }

    #[test]
    fn every_error_is_told() {
        let (errors, settings) = errors(
            "[STORE_LOG]\nenable = yes\nstore_queues = database\nstore_messages = memory\nwhat\n\
             [TRANSPORT]\nport = all\nlog_tls_errors = on\n[INACTIVE_CLIENTS]\ndisconnect = on\nttl = 0\n\
             [RELAY]\nmin_version = 10\nmax_version = 9\nshards = 0\n",
        );
        for text in [
            "FILE, line 5: expected `key = value`",
            "[RELAY] min_version 10 is above max_version 9",
            "invalid INI setting enable: yes (section [STORE_LOG], accepted: on or off)",
            "invalid INI setting port: all",
            "Database and memory storage are not compatible.",
            "invalid INI setting ttl: 0",
            "no key check_interval in section INACTIVE_CLIENTS",
            "invalid INI setting shards: 0",
        ] {
            let found = errors.iter().filter(|error| error.starts_with(text));
            assert_eq!(found.count(), 1, "{text}: {errors:?}");
        }
        assert_eq!(errors.len(), 8, "{errors:?}");
        let settings = settings.unwrap();
        assert!(settings.transport.log_tls_errors);
        assert_eq!(settings.transport.port.ports, [5223, 443]);
    }

    #[test]
    fn a_good_file_has_none() {
        let (found, settings) = errors("[TRANSPORT]\nport = 7\n");
        assert!(found.is_empty());
        assert_eq!(settings.unwrap().transport.port.ports, [7]);
        assert_eq!(errors("").0, ["no key port in section TRANSPORT"]);
        assert!(examine(Path::new("/nowhere/smp-server.ini")).is_err());
    }
}
