//! The table of settings: every key with its text in a fresh file, its meaning when absent,
//! its type and its explanation (spec: operations §2.2).
//!
//! The order of the table is the order of the generated file.

use crate::config::values::*;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a key stands in a fresh file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// `key = text`.
    Set(&'static str),
    /// `# key = text`.
    Commented(&'static str),
    /// Not at all.
    Unwritten,
}

/// Whether a setting has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It has.
    Used,
    /// It has none, for this reason; other values than the default are reported.
    Ignored(&'static str),
    /// It has none yet; a key that asks for something is reported.
    Pending,
}

/// What is known about a key apart from its type.
#[derive(Debug)]
pub struct KeyInfo {
    /// Section, without brackets.
    pub section: &'static str,
    /// Key.
    pub name: &'static str,
    /// Its line in a fresh file.
    pub fresh: Fresh,
    /// The text that an absent key stands for, if it stands for one.
    pub absent: Option<&'static str>,
    /// What an absent key means when it stands for no text.
    pub without: &'static str,
    /// Whether the text must not be shown.
    pub secret: bool,
    /// Whether it does anything.
    pub effect: Effect,
    /// Explanation, one comment line each; empty for a key explained by the one above.
    pub note: &'static [&'static str],
    /// Says what is accepted when a text is not.
    pub check: fn(&str) -> Result<(), Accepted>,
}

/// A key whose text gives a `T`.
pub struct Key<T: 'static> {
    /// Its row of the table.
    pub info: KeyInfo,
    /// Reads the text, or says what is accepted.
    pub parse: fn(&str) -> Result<T, Accepted>,
}

/// The row of a key in a section.
pub fn find(section: &str, name: &str) -> Option<&'static KeyInfo> {
    KEYS.iter()
        .copied()
        .find(|key| key.section == section && key.name == name)
}

/// The sections in the order of a fresh file.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections
}

macro_rules! or_default {
    (, $default:expr) => {
        $default
    };
    ($given:expr, $default:expr) => {
        $given
    };
}

macro_rules! keys {
    ($($section:literal {
        $($id:ident: $type:ty = $parse:expr, $name:literal, $fresh:expr, $absent:expr
            $(, effect: $effect:expr)? $(, secret: $secret:expr)? $(, without: $without:expr)?;
            $($note:literal)*)+
    })+) => {
        $($(
            #[doc = concat!("`", $name, "` of section `", $section, "`.", $(" ", $note),*)]
            pub static $id: Key<$type> = Key {
                info: KeyInfo {
                    section: $section,
                    name: $name,
                    fresh: $fresh,
                    absent: $absent,
                    secret: or_default!($($secret)?, false),
                    effect: or_default!($($effect)?, Effect::Used),
                    without: or_default!($($without)?, ""),
                    note: &[$($note),*],
                    check: |text| ($parse)(text).map(|_| ()),
                },
                parse: $parse,
            };
        )+)+

        /// Every key.
        pub static KEYS: &[&KeyInfo] = &[$($(&$id.info),+),+];
    };
}

use Effect::Pending;
use Fresh::{Commented, Set, Unwritten};

const NO_POSTGRES: Effect = Effect::Ignored("this server has no PostgreSQL storage");

keys! {
"INFORMATION" {
    SOURCE_CODE: Option<String> = optional_text, "source_code", Commented("URI"), None, without: "nothing of the section is told";
        "Where the source code of this server is published. Whoever changes the server must"
        "publish the changes (AGPLv3). Without it the rest of this section is not shown."
    USAGE_CONDITIONS: Option<String> = optional_text, "usage_conditions",
        Commented("https://github.com/simplex-chat/simplex-chat/blob/stable/PRIVACY.md"), None, without: "not told";
        "Conditions of use, and your changes to them if there are any."
    CONDITION_AMENDMENTS: Option<String> = optional_text, "condition_amendments", Commented("link"), None, without: "not told";
    SERVER_COUNTRY: Option<String> = country, "server_country", Commented("ISO-3166 2-letter code"), None, without: "not told";
        "Where the server stands, and who operates it."
    OPERATOR: Option<String> = optional_text, "operator", Commented("entity (organization or person name)"), None, without: "not told";
    OPERATOR_COUNTRY: Option<String> = country, "operator_country", Commented("ISO-3166 2-letter code"), None, without: "not told";
    WEBSITE: Option<String> = optional_text, "website", Commented(""), None, without: "not told";
    ADMIN_SIMPLEX: Option<String> = contact_link, "admin_simplex", Commented("SimpleX address"), None, without: "not told";
        "How to reach the administrator."
    ADMIN_EMAIL: Option<String> = optional_text, "admin_email", Commented(""), None, without: "not told";
    ADMIN_PGP: Option<String> = optional_text, "admin_pgp", Commented(""), None, without: "not told";
    ADMIN_PGP_FINGERPRINT: Option<String> = optional_text, "admin_pgp_fingerprint", Commented(""), None, without: "not told";
    COMPLAINTS_SIMPLEX: Option<String> = contact_link, "complaints_simplex", Commented("SimpleX address"), None, without: "not told";
        "Where to send complaints and feedback."
    COMPLAINTS_EMAIL: Option<String> = optional_text, "complaints_email", Commented(""), None, without: "not told";
    COMPLAINTS_PGP: Option<String> = optional_text, "complaints_pgp", Commented(""), None, without: "not told";
    COMPLAINTS_PGP_FINGERPRINT: Option<String> = optional_text, "complaints_pgp_fingerprint", Commented(""), None, without: "not told";
    HOSTING: Option<String> = optional_text, "hosting", Commented("entity (organization or person name)"), None, without: "not told";
        "Who hosts the server."
    HOSTING_COUNTRY: Option<String> = country, "hosting_country", Commented("ISO-3166 2-letter code"), None, without: "not told";
    HOSTING_TYPE: HostingType = hosting_type, "hosting_type", Set("virtual"), None, without: "not told";
        "One of virtual, dedicated, colocation, owned."
}
"STORE_LOG" {
    STORE_ENABLE: bool = on_off, "enable", Set("on"), Some("off");
        "Keep queues in a log, so that they are there again after a restart."
    STORE_QUEUES: QueueStorage = queue_storage, "store_queues", Set("memory"), Some("memory");
        "`memory` is the only storage of queues this server has: its own log."
    DB_CONNECTION: String = text, "db_connection", Commented("postgresql://smp@/smp_server_store"),
        Some("postgresql://smp@/smp_server_store"), effect: NO_POSTGRES, secret: true;
        "PostgreSQL settings of the reference server, without effect here."
    DB_SCHEMA: String = text, "db_schema", Commented("smp_server"), Some("smp_server"), effect: NO_POSTGRES;
    DB_POOL_SIZE: String = text, "db_pool_size", Commented("10"), Some("10"), effect: NO_POSTGRES;
    DB_STORE_LOG: String = text, "db_store_log", Commented("off"), Some("off"), effect: NO_POSTGRES;
    DB_DELETED_TTL: String = text, "db_deleted_ttl", Commented("21"), Some("21"), effect: NO_POSTGRES;
    STORE_MESSAGES: MessageStorage = message_storage, "store_messages", Set("memory"), Some("memory");
        "`memory` here means the log of this server as well."
    RESTORE_MESSAGES: bool = on_off, "restore_messages", Set("on"), None, without: "as `enable`";
        "Keep undelivered messages over a restart. When absent: as `enable`."
    EXPIRE_MESSAGES_DAYS: Duration = days, "expire_messages_days", Set("21"), Some("21");
        "When undelivered messages and notifications are dropped."
    EXPIRE_MESSAGES_ON_START: bool = on_off, "expire_messages_on_start", Set("on"), Some("on");
    EXPIRE_MESSAGES_ON_SEND: bool = on_off, "expire_messages_on_send", Set("off"), Some("on");
    EXPIRE_NTFS_HOURS: Duration = hours, "expire_ntfs_hours", Set("24"), Some("24");
    LOG_STATS: bool = on_off, "log_stats", Set("off"), Some("off");
        "Write a line of statistics per day to smp-server-stats.daily.log."
    PROMETHEUS_INTERVAL: Duration = seconds, "prometheus_interval", Commented("60"), None, without: "no file";
        "Seconds between rewrites of the Prometheus metrics in smp-server-metrics.txt."
}
"AUTH" {
    NEW_QUEUES: bool = on_off, "new_queues", Set("on"), Some("on");
        "`off` forbids new queues to everybody; existing ones keep working, which is the way to"
        "empty a server before it is switched off."
    CREATE_PASSWORD: Password = password, "create_password",
        Commented("password of printable ASCII characters, without blanks, '@', ':' and '/'"), None, secret: true, without: "everybody may";
        "Whoever knows this password may create queues and forward messages to other servers."
        "As part of the address in the client, smp://fingerprint:password@host1,host2, it is known to"
        "your users, but not to their contacts."
    CONTROL_PORT_ADMIN_PASSWORD: Password = password, "control_port_admin_password", Commented(""), None, secret: true, without: "nobody has the role";
        "Passwords of the two roles of the control port."
    CONTROL_PORT_USER_PASSWORD: Password = password, "control_port_user_password", Commented(""), None, secret: true, without: "nobody has the role";
    DAILY_BLOCK_QUEUE_QUOTA: BlockQuota = block_quota, "daily_block_queue_quota", Commented("20"), Some("20");
        "Queues that may be blocked through the control port per UTC day; 0 - any number, -1 - none."
}
"TRANSPORT" {
    HOST: Option<String> = optional_text, "host", Set("<hostnames>"), None, without: "`<hostnames>` is printed";
        "Host names for the address printed at start, separated by commas."
        "The server listens on every port of the list."
    PORT: PortList = port_list, "port", Set("5223,443"), None, without: "an error";
    LOG_TLS_ERRORS: bool = on_off, "log_tls_errors", Set("off"), Some("off");
    WEBSOCKETS: String = text, "websockets", Set("off"), Some("off"),
        effect: Effect::Ignored("this server does not serve WebSockets");
        "Deprecated in the reference server, without effect here."
    CONTROL_PORT: u16 = port, "control_port", Commented("5224"), None, without: "no control port";
    ACCEPT_SERVICE_CREDENTIALS: bool = on_off, "accept_service_credentials", Unwritten, Some("on");
}
"PROXY" {
    HOST_MODE: HostMode = host_mode, "host_mode", Commented("public"), Some("public"), effect: Pending;
        "Connections to other servers, made to forward messages. `public` or `onion` says which"
        "host of a server with several is preferred, and required_host_mode that no other will do."
    REQUIRED_HOST_MODE: bool = on_off, "required_host_mode", Commented("off"), Some("off"), effect: Pending;
    OWN_SERVER_DOMAINS: Vec<String> = words, "own_server_domains", Commented(""), Some(""), effect: Pending;
        "Domains of your other servers, separated by commas or blanks: forwarding to them is counted"
        "apart."
    SOCKS_PROXY: SocksProxy = socks_proxy, "socks_proxy", Commented("localhost:9050"), None, effect: Pending, secret: true, without: "no proxy";
        "SOCKS5 proxy for these connections; not the one that brings clients to this server."
    SOCKS_MODE: SocksMode = socks_mode, "socks_mode", Commented("onion"), Some("onion"), effect: Pending;
        "`onion`: the proxy is used for .onion hosts only. `always`: for every host."
    CLIENT_CONCURRENCY: u32 = within::<1, 65535>, "client_concurrency", Commented("32"), Some("32"), effect: Pending;
        "Forwarded commands of one client that are worked on at the same time."
}
"INACTIVE_CLIENTS" {
    DISCONNECT: bool = on_off, "disconnect", Set("on"), Some("off");
        "Close connections without subscriptions that were silent for `ttl` seconds."
    INACTIVE_TTL: Duration = seconds, "ttl", Set("21600"), None, without: "an error with `disconnect = on`";
    INACTIVE_CHECK_INTERVAL: Duration = seconds, "check_interval", Set("3600"), None, without: "an error with `disconnect = on`";
}
"WEB" {
    STATIC_PATH: PathBuf = path, "static_path", Set("/var/opt/simplex/www"), None, without: "no pages";
        "Folder for the generated pages about this server and its connection links."
    WEB_HTTP: u16 = port, "http", Commented("8000"), None, without: "not served";
        "Serve the pages without TLS on this port, for example as an onion site."
    WEB_HTTPS: u16 = port, "https", Set("443"), None, without: "not served";
        "Serve the pages with TLS; it needs the certificate chain and the key of your domain."
        "The port may be one of [TRANSPORT]."
    WEB_CERT: PathBuf = path, "cert", Set("/etc/opt/simplex/web.crt"), None, without: "no pages with TLS";
    WEB_KEY: PathBuf = path, "key", Set("/etc/opt/simplex/web.key"), None, without: "no pages with TLS";
}
"RELAY" {
    SHARDS: u32 = within::<1, 1024>, "shards", Commented("4"), None, without: "one per core, or one less from four cores on";
        "Settings that the reference server does not have; all may be left out."
        "Threads that serve clients; by default every core, or all but one of four or more."
    DURABILITY: Durability = durability, "durability", Commented("disk"), Some("disk");
        "What a confirmed message or queue survives: `disk` - loss of power, `process` - the"
        "death of the server alone, which is faster."
    SEGMENT_MB: u32 = within::<1, 1024>, "segment_mb", Commented("16"), Some("16");
        "Size of the files of the log, MiB."
    QUEUE_PLACEMENT: QueuePlacement = queue_placement, "queue_placement", Commented("local"), Some("local");
        "Which thread keeps a new queue: `local` - the one of its creator, `spread` - any,"
        "`remote` - another than that of its creator (for measuring)."
    ADDRESS: IpAddr = ip_address, "address", Commented("127.0.0.1"), None, without: "all addresses";
        "Listen on this address only; by default on all."
    MSG_QUEUE_QUOTA: u32 = within::<1, 65535>, "msg_queue_quota", Commented("128"), Some("128");
        "Messages a queue holds before its sender is told to wait."
    MESSAGE_TTL: Duration = seconds, "message_ttl", Commented("1814400"), None, without: "`expire_messages_days`";
        "Seconds; the TTLs replace expire_messages_days and expire_ntfs_hours."
    MESSAGE_CHECK_INTERVAL: Duration = seconds, "message_check_interval", Commented("7200"), Some("7200");
    NTF_TTL: Duration = seconds, "ntf_ttl", Commented("86400"), None, without: "`expire_ntfs_hours`";
    NTF_CHECK_INTERVAL: Duration = seconds, "ntf_check_interval", Commented("3600"), Some("3600");
    NTF_DELIVERY_INTERVAL_MS: Duration = milliseconds, "ntf_delivery_interval_ms", Commented("1500"), Some("1500");
        "Milliseconds between deliveries of notifications."
    PENDING_END_INTERVAL_MS: Duration = milliseconds_or_none, "pending_end_interval_ms", Commented("15000"),
        Some("15000");
        "Milliseconds for which ended subscriptions are gathered before they are told; 0 tells of"
        "them at once."
    MIN_VERSION: u16 = version, "min_version", Commented("6"), Some("6");
        "Protocol versions offered to clients."
    MAX_VERSION: u16 = version, "max_version", Commented("18"), Some("18");
    ALPN: bool = on_off, "alpn", Commented("on"), Some("on");
        "`off` does not negotiate by ALPN, as servers before it existed."
    SMP_PROXY: bool = on_off, "smp_proxy", Commented("on"), Some("on"), effect: Pending;
        "Forward messages to other servers; seconds during which a failed server is not tried again."
    PROXY_ERROR_INTERVAL: Duration = seconds, "proxy_error_interval", Commented("30"), Some("30"), effect: Pending;
    X448: bool = on_off, "x448", Commented("off"), Some("off");
        "Accept X448 in TLS: saves some clients a round trip and costs three times the work."
    MAX_CONNECTIONS: u32 = within::<1, { u32::MAX }>, "max_connections", Commented("100000"), None, without: "as many as the system allows";
        "Connections at the same time; by default as many as the system allows."
    TLS_SETUP_TIMEOUT: Duration = seconds, "tls_setup_timeout", Commented("60"), Some("60");
        "Seconds for the TLS handshake, and for the handshake of the protocol after it."
    HANDSHAKE_TIMEOUT: Duration = seconds, "handshake_timeout", Commented("120"), Some("120");
    METRICS_PORT: u16 = port, "metrics_port", Commented("9100"), None, without: "not served";
        "Serve the metrics over HTTP under /metrics on this port, for this machine only."
    STATS_HEADER: bool = on_off, "stats_header", Commented("off"), Some("off");
        "Begin a new file of daily statistics with a line of column names."
    STATS_DAY_STARTS: Duration = time_of_day, "stats_day_starts", Commented("00:00"), Some("00:00");
        "When the row of daily statistics is written, UTC."
    CONTROL_IDLE_TIMEOUT: Duration = seconds, "control_idle_timeout", Commented("600"), Some("600");
        "Seconds after which a silent connection of the control port is closed."
}
}

#[cfg(test)]
mod tests;
