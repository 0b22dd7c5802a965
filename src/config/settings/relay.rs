//! `[RELAY]`: settings that the reference server does not have.

use super::SettingsError;
use super::reader::Reader;
use crate::config::keys::{self, Key};
use crate::config::values::{Durability, QueuePlacement};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Settings of this relay alone; all have defaults. The TTLs of the section are in
/// [`Storage`](super::Storage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Number of shards; none = chosen from the number of cores.
    pub shards: Option<usize>,
    /// What a confirmed change survives.
    pub durability: Durability,
    /// Size of a log segment, bytes.
    pub segment_size: u64,
    /// Where new queues are created, seen from their creator's connection.
    pub queue_placement: QueuePlacement,
    /// The only address to listen on; none = all.
    pub address: Option<IpAddr>,
    /// Messages a queue holds before its sender gets QUOTA.
    pub msg_queue_quota: u32,
    /// Time between deliveries of notifications.
    pub ntf_delivery_interval: Duration,
    /// Time between deliveries of END, DELD and ENDS.
    pub pending_end_interval: Duration,
    /// SMP versions offered; never empty.
    pub versions: RangeInclusive<u16>,
    /// Whether ALPN is negotiated.
    pub alpn: bool,
    /// Whether messages are forwarded to other relays.
    pub smp_proxy: bool,
    /// Time during which a relay that failed is not tried again.
    pub proxy_error_interval: Duration,
    /// Whether X448 is accepted in TLS.
    pub x448: bool,
    /// Most connections at a time; none = what the system allows.
    pub max_connections: Option<usize>,
    /// Time for the TLS handshake.
    pub tls_setup_timeout: Duration,
    /// Time for the SMP handshake.
    pub handshake_timeout: Duration,
    /// Port of `/metrics` over HTTP on the loopback address; none = not served.
    pub metrics_port: Option<u16>,
    /// Whether a new file of daily statistics begins with a line of column names.
    pub stats_header: bool,
    /// When the row of daily statistics is written: time since midnight UTC, less than a day.
    pub stats_day_starts: Duration,
    /// Time after which a silent connection of the control port is closed.
    pub control_idle_timeout: Duration,
}

impl Relay {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, SettingsError> {
        let count = |key: &Key<u32>| -> Result<Option<usize>, SettingsError> {
            let count = reader.optional(key)?;
            Ok(count.map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
        };
        Ok(Self {
            shards: count(&keys::SHARDS)?,
            durability: reader.required(&keys::DURABILITY)?,
            segment_size: u64::from(reader.required(&keys::SEGMENT_MB)?) << 20,
            queue_placement: reader.required(&keys::QUEUE_PLACEMENT)?,
            address: reader.optional(&keys::ADDRESS)?,
            msg_queue_quota: reader.required(&keys::MSG_QUEUE_QUOTA)?,
            ntf_delivery_interval: reader.required(&keys::NTF_DELIVERY_INTERVAL_MS)?,
            pending_end_interval: reader.required(&keys::PENDING_END_INTERVAL_MS)?,
            versions: versions(reader)?,
            alpn: reader.required(&keys::ALPN)?,
            smp_proxy: reader.required(&keys::SMP_PROXY)?,
            proxy_error_interval: reader.required(&keys::PROXY_ERROR_INTERVAL)?,
            x448: reader.required(&keys::X448)?,
            max_connections: count(&keys::MAX_CONNECTIONS)?,
            tls_setup_timeout: reader.required(&keys::TLS_SETUP_TIMEOUT)?,
            handshake_timeout: reader.required(&keys::HANDSHAKE_TIMEOUT)?,
            metrics_port: reader.optional(&keys::METRICS_PORT)?,
            stats_header: reader.required(&keys::STATS_HEADER)?,
            stats_day_starts: reader.required(&keys::STATS_DAY_STARTS)?,
            control_idle_timeout: reader.required(&keys::CONTROL_IDLE_TIMEOUT)?,
        })
    }
}

fn versions(reader: &Reader<'_>) -> Result<RangeInclusive<u16>, SettingsError> {
    let least = reader.required(&keys::MIN_VERSION)?;
    let most = reader.required(&keys::MAX_VERSION)?;
    if least > most {
        return Err(SettingsError::Conflict {
            reason: format!("[RELAY] min_version {least} is above max_version {most}"),
            keys: [&keys::MIN_VERSION.info, &keys::MAX_VERSION.info],
        });
    }
    Ok(least..=most)
}
