//! `[AUTH]`, `[TRANSPORT]`, `[PROXY]`, `[INACTIVE_CLIENTS]`: connections and who may use them.

use super::SettingsError;
use super::reader::Reader;
use crate::config::keys;
use crate::config::values::{BlockQuota, HostMode, Password, PortList, SocksMode, SocksProxy};
use std::time::Duration;

/// What stands in the address of a server that was not told its host.
pub const HOST_PLACEHOLDER: &str = "<hostnames>";

/// Ports that clients try by themselves, so that an address need not name them.
const DEFAULT_PORTS: [u16; 2] = [5223, 443];

/// Who may do what.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Whether queues may be created at all.
    pub new_queues: bool,
    /// Password for creating queues and forwarding, if one is needed.
    pub create_password: Option<Password>,
    /// Password of the control port's admin role.
    pub control_port_admin_password: Option<Password>,
    /// Password of the control port's user role.
    pub control_port_user_password: Option<Password>,
    /// Queues that may be blocked per day.
    pub daily_block_queue_quota: BlockQuota,
}

impl Auth {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, SettingsError> {
        Ok(Self {
            new_queues: reader.required(&keys::NEW_QUEUES)?,
            create_password: reader.optional(&keys::CREATE_PASSWORD)?,
            control_port_admin_password: reader.optional(&keys::CONTROL_PORT_ADMIN_PASSWORD)?,
            control_port_user_password: reader.optional(&keys::CONTROL_PORT_USER_PASSWORD)?,
            daily_block_queue_quota: reader.required(&keys::DAILY_BLOCK_QUEUE_QUOTA)?,
        })
    }
}

/// Ports and TLS.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Host names for the address, verbatim.
    pub host: Option<String>,
    /// Ports to listen on.
    pub port: PortList,
    /// Whether failed TLS handshakes are logged.
    pub log_tls_errors: bool,
    /// Port of the control port, if on.
    pub control_port: Option<u16>,
    /// Whether clients are asked for a certificate.
    pub accept_service_credentials: bool,
}

impl Transport {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, SettingsError> {
        Ok(Self {
            host: reader.optional(&keys::HOST)?.flatten(),
            port: reader.required(&keys::PORT)?,
            log_tls_errors: reader.required(&keys::LOG_TLS_ERRORS)?,
            control_port: reader.optional(&keys::CONTROL_PORT)?,
            accept_service_credentials: reader.required(&keys::ACCEPT_SERVICE_CREDENTIALS)?,
        })
    }

    /// The host part of the server's address.
    pub fn address_host(&self) -> &str {
        self.host.as_deref().unwrap_or(HOST_PLACEHOLDER)
    }

    /// The port part of the server's address: none when clients find the server without it,
    /// else the first port (spec: operations §1.7).
    pub fn address_port(&self) -> Option<u16> {
        let ports = &self.port.ports;
        if ports.iter().any(|port| DEFAULT_PORTS.contains(port)) {
            None
        } else {
            ports.first().copied()
        }
    }
}

/// Connections to other relays.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Which host of a relay with several is tried first.
    pub host_mode: HostMode,
    /// Whether hosts of the other kind are not tried at all.
    pub required_host_mode: bool,
    /// Domains of the operator's other relays.
    pub own_server_domains: Vec<String>,
    /// SOCKS proxy, if used.
    pub socks_proxy: Option<SocksProxy>,
    /// For which hosts it is used.
    pub socks_mode: SocksMode,
    /// Forwarded commands of one client in work at the same time.
    pub client_concurrency: u32,
}

impl Proxy {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, SettingsError> {
        Ok(Self {
            host_mode: reader.required(&keys::HOST_MODE)?,
            required_host_mode: reader.required(&keys::REQUIRED_HOST_MODE)?,
            own_server_domains: reader.required(&keys::OWN_SERVER_DOMAINS)?,
            socks_proxy: reader.optional(&keys::SOCKS_PROXY)?,
            socks_mode: reader.required(&keys::SOCKS_MODE)?,
            client_concurrency: reader.required(&keys::CLIENT_CONCURRENCY)?,
        })
    }
}

/// When silent connections without subscriptions are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InactiveClients {
    /// Silence after which a connection is closed.
    pub ttl: Duration,
    /// Time between two looks at a connection.
    pub check_interval: Duration,
}

impl InactiveClients {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Option<Self>, SettingsError> {
        if !reader.required(&keys::DISCONNECT)? {
            return Ok(None);
        }
        Ok(Some(Self {
            ttl: reader.required(&keys::INACTIVE_TTL)?,
            check_interval: reader.required(&keys::INACTIVE_CHECK_INTERVAL)?,
        }))
    }
}
