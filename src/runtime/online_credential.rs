//! The credential that this server shows to its clients, which may be replaced while it runs.

use super::server::RunError;
use crate::config::Settings;
use crate::protocol::{Version, VersionRange};
use crate::session::Identity;
use crate::transport::config::{ServerOptions, server_config};
use crate::transport::credential::Credential;
use rustls::ServerConfig;
use std::path::Path;
use std::sync::Arc;

/// What TLS and what the hello of SMP shows of the same certificates.
#[derive(Debug, Clone)]
pub struct OnlineCredential {
    /// TLS.
    pub tls: Arc<ServerConfig>,
    /// Who this server is.
    pub identity: Arc<Identity>,
}

impl OnlineCredential {
    /// Reads certificates and keys from the configuration folder.
    pub fn load(folder: &Path, settings: &Settings) -> Result<Self, RunError> {
        let credential = Credential::load(folder)?;
        let options = ServerOptions {
            x448: settings.relay.x448,
            ask_client_certificate: settings.transport.accept_service_credentials,
            alpn: settings.relay.alpn,
        };
        let versions = VersionRange::new(
            Version(*settings.relay.versions.start()),
            Version(*settings.relay.versions.end()),
        );
        let identity = Identity {
            key_hash: credential.identity(),
            chain: credential.chain().iter().map(|c| c.to_vec()).collect(),
            key: Arc::clone(credential.signing_key()),
            versions: versions.unwrap_or(VersionRange::SERVER),
        };
        Ok(Self {
            tls: server_config(&credential, options)?,
            identity: Arc::new(identity),
        })
    }
}
