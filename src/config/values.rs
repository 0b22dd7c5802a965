//! Types of single settings and their parsers: each gives the value or says what is accepted
//! (spec: operations §2.1, §2.2).

use crate::protocol::address::is_valid_password;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What would have been accepted, in words that follow "accepted: ".
pub type Accepted = String;

/// The default port of a SOCKS proxy.
pub const SOCKS_PORT: u16 = 9050;

/// Oldest version of the protocol that a server can offer.
const OLDEST_VERSION: u16 = 6;
/// Newest version of the protocol that a server can offer.
const NEWEST_VERSION: u16 = 18;

const SECONDS_PER_HOUR: u64 = 3600;
const SECONDS_PER_DAY: u64 = 24 * SECONDS_PER_HOUR;

/// `on` or `off`, exactly.
pub fn on_off(text: &str) -> Result<bool, Accepted> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

/// Any text.
pub fn text(text: &str) -> Result<String, Accepted> {
    Ok(text.to_owned())
}

/// Any text; blank means that the key is absent.
pub fn optional_text(text: &str) -> Result<Option<String>, Accepted> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A path that is not blank.
pub fn path(text: &str) -> Result<PathBuf, Accepted> {
    if text.is_empty() {
        Err("a path".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

fn number<T: FromStr + PartialOrd + fmt::Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, Accepted> {
    match text.parse::<T>() {
        Ok(n) if n >= least && n <= most => Ok(n),
        _ => Err(format!("a whole number from {least} to {most}")),
    }
}

/// A whole number within `LEAST..=MOST`.
pub fn within<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, Accepted> {
    number(text, LEAST, MOST)
}

/// A whole number of seconds, at least one.
pub fn seconds(text: &str) -> Result<Duration, Accepted> {
    number(text, 1, u32::MAX)
        .map(|n| Duration::from_secs(n.into()))
        .map_err(|e| format!("{e} (seconds)"))
}

/// A whole number of milliseconds, at least one.
pub fn milliseconds(text: &str) -> Result<Duration, Accepted> {
    number(text, 1, u32::MAX)
        .map(|n| Duration::from_millis(n.into()))
        .map_err(|e| format!("{e} (milliseconds)"))
}

/// A whole number of milliseconds that may be none.
pub fn milliseconds_or_none(text: &str) -> Result<Duration, Accepted> {
    number(text, 0, u32::MAX)
        .map(|n| Duration::from_millis(n.into()))
        .map_err(|e| format!("{e} (milliseconds)"))
}

/// A whole number of hours.
pub fn hours(text: &str) -> Result<Duration, Accepted> {
    number(text, 0, u32::MAX)
        .map(|n| Duration::from_secs(u64::from(n) * SECONDS_PER_HOUR))
        .map_err(|e| format!("{e} (hours)"))
}

/// A whole number of days.
pub fn days(text: &str) -> Result<Duration, Accepted> {
    number(text, 0, u32::MAX)
        .map(|n| Duration::from_secs(u64::from(n) * SECONDS_PER_DAY))
        .map_err(|e| format!("{e} (days)"))
}

/// A time of the day as `HH:MM`, since midnight.
pub fn time_of_day(text: &str) -> Result<Duration, Accepted> {
    let accepted = || "a time of the day from 00:00 to 23:59".to_owned();
    let two_digits = |text: &str, end: u32| -> Result<u32, Accepted> {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|n| is_number && *n < end);
        number.ok_or_else(accepted)
    };
    let (hour, minute) = text.split_once(':').ok_or_else(accepted)?;
    let minutes = 60 * two_digits(hour, 24)? + two_digits(minute, 60)?;
    Ok(Duration::from_secs(60 * u64::from(minutes)))
}

/// A TCP port; 0 lets the system choose.
pub fn port(text: &str) -> Result<u16, Accepted> {
    number(text, 0, u16::MAX)
}

/// A version of the protocol that a server can offer.
pub fn version(text: &str) -> Result<u16, Accepted> {
    number(text, OLDEST_VERSION, NEWEST_VERSION)
}

/// A country code, upper-cased.
pub fn country(text: &str) -> Result<Option<String>, Accepted> {
    if text.is_empty() {
        return Ok(None);
    }
    country_code(text).map(Some)
}

/// A country code that must be there, upper-cased.
pub fn country_code(text: &str) -> Result<String, Accepted> {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("ISO3166 2-letter code".to_owned())
    }
}

/// Ports to listen on, in order, with the text they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortList {
    /// The ports; at least one, none twice except 0.
    pub ports: Vec<u16>,
    /// The setting verbatim.
    pub text: String,
}

/// A comma-separated list of ports.
pub fn port_list(text: &str) -> Result<PortList, Accepted> {
    let accepted = || "port numbers separated by commas, none twice".to_owned();
    let mut ports = Vec::new();
    for item in text.split(',') {
        let port = port(item.trim()).map_err(|_| accepted())?;
        if port != 0 && ports.contains(&port) {
            return Err(accepted());
        }
        ports.push(port);
    }
    Ok(PortList {
        ports,
        text: text.to_owned(),
    })
}

/// Names separated by commas or blanks.
pub fn words(text: &str) -> Result<Vec<String>, Accepted> {
    let separator = |c: char| c == ',' || c.is_whitespace();
    let words = text.split(separator).filter(|word| !word.is_empty());
    Ok(words.map(str::to_owned).collect())
}

/// An IP address.
pub fn ip_address(text: &str) -> Result<IpAddr, Accepted> {
    text.parse()
        .map_err(|_| "an IPv4 or IPv6 address".to_owned())
}

/// A secret of printable characters, zeroized when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The secret itself, for the address line and the INI file.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `attempt` is this password, in time that depends only on the lengths.
    pub fn matches(&self, attempt: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(attempt).into()
    }
}

impl FromStr for Password {
    type Err = Accepted;

    fn from_str(text: &str) -> Result<Self, Accepted> {
        if is_valid_password(text.as_bytes()) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            let accepted = "printable characters without blanks, '@', ':' and '/'; of others \
                            than ASCII, those whose bytes in UTF-8 are printable in Latin-1";
            Err(accepted.to_owned())
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A password: at least one printable character, none of `@`, `:`, `/` or blank.
pub fn password(text: &str) -> Result<Password, Accepted> {
    text.parse()
}

/// How the relay introduces itself to a SOCKS proxy.
#[derive(Clone)]
pub enum SocksAuth {
    /// A user name chosen per destination, so that Tor separates the circuits (the default).
    Isolate,
    /// No user name at all.
    Anonymous,
    /// A fixed user name and password.
    Credentials {
        /// User name.
        user: String,
        /// Its password.
        password: Zeroizing<String>,
    },
}

impl fmt::Debug for SocksAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Isolate => "Isolate",
            Self::Anonymous => "Anonymous",
            Self::Credentials { .. } => "Credentials(..)",
        })
    }
}

/// A SOCKS proxy for outgoing connections.
#[derive(Debug, Clone)]
pub struct SocksProxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// How to introduce oneself.
    pub auth: SocksAuth,
}

/// `[user:pass@ | @][IPv4 | IPv6 | [IPv6] | localhost][:port]`.
pub fn socks_proxy(text: &str) -> Result<SocksProxy, Accepted> {
    let (auth, address) = match text.rsplit_once('@') {
        None => (SocksAuth::Isolate, text),
        Some(("", address)) => (SocksAuth::Anonymous, address),
        Some((credentials, address)) => match credentials.split_once(':') {
            Some((user, password)) => {
                let credentials = SocksAuth::Credentials {
                    user: user.to_owned(),
                    password: Zeroizing::new(password.to_owned()),
                };
                (credentials, address)
            }
            None => return Err(socks_accepted()),
        },
    };
    Ok(SocksProxy {
        address: socks_address(address)?,
        auth,
    })
}

fn socks_address(text: &str) -> Result<SocketAddr, Accepted> {
    if let Ok(host) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(host, SOCKS_PORT));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((host, port)) => (host, port),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host = match host {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| socks_accepted())?,
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => number(digits, 1, u16::MAX).map_err(|_| socks_accepted())?,
        None if port.is_empty() => SOCKS_PORT,
        None => return Err(socks_accepted()),
    };
    Ok(SocketAddr::new(host, port))
}

fn socks_accepted() -> Accepted {
    "[user:password@][address][:port]; SOCKS5 host should be IPv4 or IPv6 address".to_owned()
}

/// How many queues may be blocked through the control port per day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockQuota {
    /// Blocking is not possible (a negative setting).
    Never,
    /// No limit (0).
    Unlimited,
    /// That many.
    PerDay(u32),
}

/// A quota: negative = never, 0 = unlimited.
pub fn block_quota(text: &str) -> Result<BlockQuota, Accepted> {
    let n = number(text, i64::MIN, u32::MAX.into())
        .map_err(|_| "a whole number, 0 for no limit, -1 for never".to_owned())?;
    Ok(match u32::try_from(n) {
        Err(_) => BlockQuota::Never,
        Ok(0) => BlockQuota::Unlimited,
        Ok(n) => BlockQuota::PerDay(n),
    })
}

/// A SimpleX contact address as a full or short link; blank means that the key is absent.
pub fn contact_link(text: &str) -> Result<Option<String>, Accepted> {
    let link = ["simplex:/", "https://"]
        .iter()
        .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if text.is_empty() || link && !text.contains(char::is_whitespace) {
        optional_text(text)
    } else {
        Err("a SimpleX contact address (simplex:/… or https://…)".to_owned())
    }
}

/// Declares an enumeration whose values are fixed words, and the parser of these words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $parser:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every accepted word.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of the INI file.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = Accepted;

            fn from_str(text: &str) -> Result<Self, Accepted> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Self::WORDS.join(", ")),
                }
            }
        }

        #[doc = concat!("One of the words of [`", stringify!($name), "`].")]
        pub fn $parser(text: &str) -> Result<$name, Accepted> {
            text.parse()
        }
    };
}

choice! {
    /// Where the reference would keep queues.
    QueueStorage, queue_storage {
        /// In memory, with a log.
        Memory = "memory",
        /// In PostgreSQL.
        Database = "database",
    }
}

choice! {
    /// Where the reference would keep messages.
    MessageStorage, message_storage {
        /// In memory.
        Memory = "memory",
        /// In a folder of files.
        Journal = "journal",
        /// In PostgreSQL.
        Database = "database",
    }
}

choice! {
    /// Which host of a relay with several is tried first.
    HostMode, host_mode {
        /// The public one.
        Public = "public",
        /// The onion one.
        Onion = "onion",
    }
}

choice! {
    /// When the SOCKS proxy is used.
    SocksMode, socks_mode {
        /// For onion hosts only.
        Onion = "onion",
        /// For every host.
        Always = "always",
    }
}

choice! {
    /// What kind of machine the relay runs on.
    HostingType, hosting_type {
        /// A virtual machine.
        Virtual = "virtual",
        /// A rented machine.
        Dedicated = "dedicated",
        /// An own machine in somebody's rack.
        Colocation = "colocation",
        /// An own machine at an own place.
        Owned = "owned",
    }
}

choice! {
    /// What a confirmed change survives.
    Durability, durability {
        /// Loss of power.
        Disk = "disk",
        /// Death of the process.
        Process = "process",
    }
}

choice! {
    /// On which shard a new queue is created.
    QueuePlacement, queue_placement {
        /// On the shard that serves the creator's connection.
        Local = "local",
        /// On any shard, evenly.
        Spread = "spread",
        /// On another shard than the creator's.
        Remote = "remote",
    }
}

#[cfg(test)]
mod tests;
