//! `rustls` configurations of both roles (spec: protocol §2.1–§2.3, §2.8).

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, ServerConfig, SupportedProtocolVersion};

use super::credential::{Credential, NotingSni};
use super::provider::provider;
use super::verify::{OptionalClient, PinnedServer};
use crate::crypto::certificate::Fingerprint;

/// Protocols an SMP server accepts; any of them enables the full SMP version range
/// (spec: protocol §2.2).
pub const SERVER_ALPN: [&[u8]; 3] = [b"smp/1", b"h2", b"http/1.1"];
/// The protocol an SMP client offers.
pub const CLIENT_ALPN: &[u8] = b"smp/1";

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What an operator can choose about TLS.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Agree on keys with X448 when the client prefers it.
    pub x448: bool,
    /// Ask clients for a certificate, without requiring one.
    pub ask_client_certificate: bool,
    /// Negotiate a protocol; without it every connection counts as one that offered none.
    pub alpn: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            x448: false,
            ask_client_certificate: true,
            alpn: true,
        }
    }
}

/// The configuration of every connection this server accepts.
///
/// A client that offers protocols without one of [`SERVER_ALPN`] gets the alert
/// `no_application_protocol`. Of several common ones `rustls` selects the first of *our* list,
/// where the reference follows the client's: the name has no effect in SMP, only whether one was
/// negotiated.
pub fn server_config(
    credential: &Credential,
    options: ServerOptions,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider(options.x448))
        .with_protocol_versions(VERSIONS)?;
    let builder = if options.ask_client_certificate {
        builder.with_client_cert_verifier(Arc::new(OptionalClient))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(NotingSni::new(credential)));
    if options.alpn {
        config.alpn_protocols = SERVER_ALPN.map(<[u8]>::to_vec).into();
    }
    // The session identifier assumes full handshakes (spec: protocol §2.7).
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// What a client chooses about TLS.
#[derive(Debug, Clone)]
pub struct ClientOptions<'a> {
    /// Protocols to offer, best first; none at all when empty.
    pub alpn: &'a [&'a [u8]],
    /// The certificate shown to a server that asks (services only).
    pub credential: Option<&'a Credential>,
    /// Send an X448 key share, as the reference client does, instead of an X25519 one.
    pub x448: bool,
}

impl Default for ClientOptions<'_> {
    fn default() -> Self {
        Self {
            alpn: &[CLIENT_ALPN],
            credential: None,
            x448: false,
        }
    }
}

/// The configuration of a connection to the relay whose address carries the key hash `identity`.
pub fn client_config(
    identity: Fingerprint,
    options: &ClientOptions<'_>,
) -> Result<Arc<ClientConfig>, Error> {
    client_config_of(identity, options, VERSIONS)
}

/// [`client_config`] restricted to some protocol versions.
pub(super) fn client_config_of(
    identity: Fingerprint,
    options: &ClientOptions<'_>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider(options.x448))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer::new(identity)));
    let mut config = match options.credential {
        Some(credential) => builder.with_client_cert_resolver(credential.client_resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
