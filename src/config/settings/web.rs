//! `[WEB]`: generated pages and where they are served.

use super::SettingsError;
use super::reader::Reader;
use crate::config::keys;
use std::path::PathBuf;

/// Web pages (spec: operations §2.2, §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Folder of the generated pages; none = no pages.
    pub static_path: Option<PathBuf>,
    /// Port of the server without TLS.
    pub http: Option<u16>,
    /// Port and credentials of the server with TLS.
    pub https: Option<Https>,
}

/// Serving of pages with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Https {
    /// Port; may be one of the SMP ports.
    pub port: u16,
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

impl Web {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, SettingsError> {
        let cert = reader.optional(&keys::WEB_CERT)?;
        let key = reader.optional(&keys::WEB_KEY)?;
        let https = match (reader.lenient(&keys::WEB_HTTPS), cert, key) {
            (Some(port), Some(cert), Some(key)) => Some(Https { port, cert, key }),
            (Some(_), _, _) => {
                let reason = "https needs `cert` and `key`".to_owned();
                reader.ignore(&keys::WEB_HTTPS.info, reason);
                None
            }
            (None, _, _) => None,
        };
        Ok(Self {
            static_path: reader.optional(&keys::STATIC_PATH)?,
            http: reader.lenient(&keys::WEB_HTTP),
            https,
        })
    }
}
