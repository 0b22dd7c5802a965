//! The server under test: where it is and how TLS is spoken to it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use smp_server::crypto::certificate::Fingerprint;
use smp_server::protocol::address::{AddressWithPassword, TransportHost};
use smp_server::transport::config::CLIENT_ALPN;
use smp_server::transport::provider::provider;
use thiserror::Error;

use crate::pinned::RememberingVerifier;
use crate::service::ServiceCredentials;

/// Why an address cannot be used.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Not an address, or one whose fingerprint or port is impossible.
    #[error("{0}")]
    Address(String),
    /// The host has no address.
    #[error("cannot resolve {host}: {reason}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// TLS refuses the settings.
    #[error("TLS settings: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS versions to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.3, and 1.2 for servers that know no better.
    #[default]
    Any,
    /// Only 1.2.
    V12,
    /// Only 1.3.
    V13,
}

/// How to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsOptions {
    /// Versions to offer.
    pub version: TlsVersion,
    /// Send an X448 key share first, as the reference client does.
    pub x448: bool,
    /// Offer the protocol `smp/1`; without it servers speak only SMP version 6.
    pub alpn: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            version: TlsVersion::Any,
            x448: false,
            alpn: true,
        }
    }
}

/// A server address, resolved, with its TLS configuration. Cheap to clone.
#[derive(Clone)]
pub struct Target {
    /// Where to connect.
    pub socket: SocketAddr,
    /// Fingerprint of the server's identity certificate.
    pub identity: [u8; 32],
    /// Password for creating queues.
    pub password: Option<String>,
    /// TLS configuration.
    pub tls: Arc<ClientConfig>,
    /// Service credentials for the hello; those of TLS are in `tls`.
    pub service: Option<ServiceCredentials>,
    /// Time limit of a TCP connection together with TLS.
    pub connect_timeout: Duration,
}

impl Target {
    /// Parses `smp://fingerprint[:password]@host[:port]`, resolves the first host and prepares TLS.
    pub fn parse(address: &str, tls: TlsOptions) -> Result<Self, TargetError> {
        let address: AddressWithPassword = address
            .parse()
            .map_err(|e| TargetError::Address(format!("{e}")))?;
        Self::new(&address, tls)
    }

    /// Resolves the first host of `address` and prepares TLS. Without a port: 5223.
    pub fn new(address: &AddressWithPassword, tls: TlsOptions) -> Result<Self, TargetError> {
        let server = &address.server;
        let identity = <[u8; 32]>::try_from(&server.key_hash[..]).map_err(|_| {
            TargetError::Address("the fingerprint of the address is not 32 bytes".to_owned())
        })?;
        let port = server
            .port_number()
            .ok_or_else(|| TargetError::Address(format!("{} is not a port number", server.port)))?;
        let Some(host) = server.hosts.first() else {
            return Err(TargetError::Address("the address has no host".to_owned()));
        };
        Ok(Self {
            socket: resolve(host, port)?,
            identity,
            password: address.password.clone(),
            tls: client_config(Fingerprint(identity), tls)?,
            service: None,
            connect_timeout: Duration::from_secs(15),
        })
    }

    /// The same server for a service: its certificate is shown in TLS and, from version 16, again
    /// in the hello.
    #[must_use]
    pub fn with_service(self, credentials: ServiceCredentials) -> Self {
        let mut tls = (*self.tls).clone();
        tls.client_auth_cert_resolver = credentials.credential.client_resolver();
        Self {
            tls: Arc::new(tls),
            service: Some(credentials),
            ..self
        }
    }

    /// Whether the server is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.socket.ip().to_canonical().is_loopback()
    }
}

fn resolve(host: &TransportHost, port: u16) -> Result<SocketAddr, TargetError> {
    let name = match host {
        TransportHost::Ipv4(octets) => return Ok((*octets, port).into()),
        TransportHost::Ipv6(ip) => return Ok((*ip, port).into()),
        TransportHost::Onion(name) | TransportHost::Domain(name) => name,
    };
    let failed = |reason: String| TargetError::Resolve {
        host: name.clone(),
        reason,
    };
    let mut found = (name.as_str(), port)
        .to_socket_addrs()
        .map_err(|e| failed(e.to_string()))?;
    found.next().ok_or_else(|| failed("no address".to_owned()))
}

fn client_config(
    identity: Fingerprint,
    options: TlsOptions,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match options.version {
        TlsVersion::Any => &[&TLS13, &TLS12],
        TlsVersion::V12 => &[&TLS12],
        TlsVersion::V13 => &[&TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(provider(options.x448))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(RememberingVerifier::new(identity)))
        .with_no_client_auth();
    if options.alpn {
        config.alpn_protocols = vec![CLIENT_ALPN.to_vec()];
    }
    // Servers take a name for a web client, and the session id assumes full handshakes.
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=";

    #[test]
    fn reads_addresses() {
        let text = format!("smp://{HASH}:secret@127.0.0.1:7001");
        let target = Target::parse(&text, TlsOptions::default()).unwrap();
        assert_eq!(target.socket, ([127, 0, 0, 1], 7001).into());
        assert_eq!(target.password.as_deref(), Some("secret"));
        assert!(target.is_loopback());

        let target = Target::parse(&format!("smp://{HASH}@[::1]"), TlsOptions::default()).unwrap();
        assert_eq!(target.socket.port(), 5223);
        assert!(target.is_loopback());

        let target = Target::parse(&format!("smp://{HASH}@192.0.2.1"), TlsOptions::default());
        assert!(!target.unwrap().is_loopback());
    }

    #[test]
    fn refuses_bad_addresses() {
        for bad in ["", "smp://x", "smp://YWJj@127.0.0.1"] {
            assert!(matches!(
                Target::parse(bad, TlsOptions::default()),
                Err(TargetError::Address(_))
            ));
        }
    }
}
