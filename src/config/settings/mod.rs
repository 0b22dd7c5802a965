//! Typed settings, one type per section of the INI file (spec: operations §2.2).

mod examination;
mod information;
mod reader;
mod relay;
mod storage;
mod transport;
mod web;

pub use examination::{Examination, examine};
pub use information::{Conditions, Contact, Entity, Information, Pgp};
pub use reader::Warning;
pub use relay::Relay;
pub use storage::{Expiration, POSTGRESQL_REFUSAL, Storage};
pub use transport::{Auth, HOST_PLACEHOLDER, InactiveClients, Proxy, Transport};
pub use web::{Https, Web};

use crate::config::ini::{IniError, IniFile};
use crate::config::keys::KeyInfo;
use reader::Reader;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Everything the configuration file says, with defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the operator tells about the server; absent without `source_code`.
    pub information: Option<Information>,
    /// Storage and expiry.
    pub storage: Storage,
    /// Who may do what.
    pub auth: Auth,
    /// Ports and TLS.
    pub transport: Transport,
    /// Connections to other relays.
    pub proxy: Proxy,
    /// Closing of silent connections, if on.
    pub inactive_clients: Option<InactiveClients>,
    /// Web pages.
    pub web: Web,
    /// Settings of this relay alone.
    pub relay: Relay,
    /// What in the file has no effect, to be logged at start.
    pub warnings: Vec<Warning>,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not an INI file.
    #[error("{}, {source}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: IniError,
    },
    /// A required key is absent.
    #[error("no key {key} in section {section}")]
    Missing {
        /// Section, without brackets.
        section: &'static str,
        /// Key.
        key: &'static str,
    },
    /// A value is not one of those accepted.
    #[error("invalid INI setting {key}: {value} (section [{section}], accepted: {accepted})")]
    Invalid {
        /// Section, without brackets.
        section: &'static str,
        /// Key.
        key: &'static str,
        /// The text, or a placeholder when it is a secret.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// Values that exclude each other.
    #[error("{reason}")]
    Conflict {
        /// What to say.
        reason: String,
        /// The keys.
        keys: [&'static KeyInfo; 2],
    },
}

impl Settings {
    /// Reads a configuration file.
    pub fn load(file: &Path) -> Result<Self, SettingsError> {
        let text = read(file)?;
        let ini = IniFile::parse(&text).map_err(|source| SettingsError::Syntax {
            file: file.to_owned(),
            source,
        })?;
        Self::from_ini(&ini)
    }

    /// Reads a parsed file.
    pub fn from_ini(ini: &IniFile) -> Result<Self, SettingsError> {
        let reader = Reader::new(ini);
        let relay = Relay::read(&reader)?;
        Ok(Self {
            information: Information::read(&reader)?,
            storage: Storage::read(&reader)?,
            auth: Auth::read(&reader)?,
            transport: Transport::read(&reader)?,
            proxy: Proxy::read(&reader)?,
            inactive_clients: InactiveClients::read(&reader)?,
            web: Web::read(&reader)?,
            relay,
            warnings: reader.into_warnings(),
        })
    }
}

/// The text of a configuration file, which contains passwords.
fn read(file: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    text.map_err(|source| SettingsError::Read {
        file: file.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
