//! Server addresses, as text and as bytes (spec: protocol §1.4).

use super::encoding::{DecodeError, Reader, base64url, put_bytes8, put_list};
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use thiserror::Error;

/// Port of an address that names none.
pub const DEFAULT_PORT: u16 = 5223;

/// Longest host name and longest key hash: what a length byte can say.
const MAX_FIELD_LEN: usize = 255;

/// A text that is not a server address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a server address: expected smp://<fingerprint>[:<password>]@<host>[,<host>][:<port>]")]
pub struct AddressError;

/// One host of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TransportHost {
    /// Four octets.
    Ipv4([u8; 4]),
    /// Sixteen octets.
    Ipv6(Ipv6Addr),
    /// A Tor onion service, the whole name.
    Onion(String),
    /// Any other name.
    Domain(String),
}

impl FromStr for TransportHost {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(octets) = parse_ipv4(text) {
            return Ok(Self::Ipv4(octets));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self::Ipv6(ip));
        }
        if let Some(name) = text.strip_suffix(".onion") {
            let plain = name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            return if plain && text.len() <= MAX_FIELD_LEN {
                Ok(Self::Onion(text.to_owned()))
            } else {
                Err(AddressError)
            };
        }
        let forbidden = |c| matches!(c, ':' | '#' | ',' | ';' | '/' | ' ' | '\n' | '\r' | '\t');
        if text.is_empty() || text.len() > MAX_FIELD_LEN || text.contains(forbidden) {
            return Err(AddressError);
        }
        Ok(Self::Domain(text.to_owned()))
    }
}

/// Four decimal octets; anything else (`192.256.0.1`, `192.168.1`) is taken for a name.
fn parse_ipv4(text: &str) -> Option<[u8; 4]> {
    let mut parts = text.split('.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(octets)
}

impl fmt::Display for TransportHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4([a, b, c, d]) => write!(f, "{a}.{b}.{c}.{d}"),
            Self::Ipv6(ip) => ip.fmt(f),
            Self::Onion(name) | Self::Domain(name) => f.write_str(name),
        }
    }
}

/// A server without password: what `PRXY` names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// 1 to 255 hosts, in order of preference.
    pub hosts: Vec<TransportHost>,
    /// Decimal text, empty for the default port.
    pub port: String,
    /// SHA-256 of the identity certificate; other lengths parse but never match.
    pub key_hash: Vec<u8>,
}

impl ServerAddress {
    /// Appends the binary form: list of hosts, port, key hash.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.hosts, |out, h| {
            put_bytes8(out, h.to_string().as_bytes())
        });
        put_bytes8(out, self.port.as_bytes());
        put_bytes8(out, &self.key_hash);
    }

    /// Reads the binary form.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let hosts = r.list(|r| {
            let text = str::from_utf8(r.bytes8()?).map_err(|_| DecodeError::Invalid("host"))?;
            text.parse().map_err(|_| DecodeError::Invalid("host"))
        })?;
        let port = str::from_utf8(r.bytes8()?).map_err(|_| DecodeError::Invalid("port"))?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DecodeError::Invalid("port"));
        }
        let key_hash = r.bytes8()?.to_vec();
        Ok(Self {
            hosts,
            port: port.to_owned(),
            key_hash,
        })
    }

    /// The port number; `None` when the text is no 16-bit number.
    pub fn port_number(&self) -> Option<u16> {
        if self.port.is_empty() {
            Some(DEFAULT_PORT)
        } else {
            self.port.parse().ok()
        }
    }
}

/// Whether `text` may stand as a password in addresses and settings: at least one character of
/// [`is_valid_wire_password`]. Bytes count, so UTF-8 passes if all of its bytes do: `é`, not `à`.
pub fn is_valid_password(text: &[u8]) -> bool {
    !text.is_empty() && is_valid_wire_password(text)
}

/// Whether `text` may stand as a password in commands: bytes that are printable in Latin-1, but no
/// blanks, `@`, `:` and `/`; perhaps nothing at all. The reference tells a wrong password from a
/// malformed one.
pub fn is_valid_wire_password(text: &[u8]) -> bool {
    // 0xA0 is a blank, 0xAD an invisible hyphen.
    text.iter()
        .all(|b| is_password_character(*b) || matches!(b, 0xa1..=0xac | 0xae..=0xff))
}

fn is_password_character(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'@' | b':' | b'/')
}

/// A server with the password for creating queues: the form operators publish.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressWithPassword {
    /// The server.
    pub server: ServerAddress,
    /// Password for creating queues.
    pub password: Option<String>,
}

impl fmt::Debug for AddressWithPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressWithPassword")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl FromStr for AddressWithPassword {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("smp://").ok_or(AddressError)?;
        let (identity, location) = rest.split_once('@').ok_or(AddressError)?;
        let (hash, password) = match identity.split_once(':') {
            Some((hash, password)) if is_valid_password(password.as_bytes()) => {
                (hash, Some(password.to_owned()))
            }
            Some(_) => return Err(AddressError),
            None => (identity, None),
        };
        let key_hash = base64url::decode(hash).ok_or(AddressError)?;
        if key_hash.len() > MAX_FIELD_LEN {
            return Err(AddressError);
        }
        let (hosts, port) = split_port(location);
        let port = match port {
            None => String::new(),
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                let number: u16 = text.parse().map_err(|_| AddressError)?;
                number.to_string()
            }
            Some(_) => return Err(AddressError),
        };
        let hosts: Vec<_> = hosts.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if hosts.len() > 255 {
            return Err(AddressError);
        }
        Ok(Self {
            server: ServerAddress {
                hosts,
                port,
                key_hash,
            },
            password,
        })
    }
}

/// Splits `hosts:port`; the colons of a bare IPv6 host as the last host are no port separator.
fn split_port(location: &str) -> (&str, Option<&str>) {
    match location.rsplit_once(':') {
        // The colon lies within the host before the last.
        Some((_, port)) if port.contains(',') => (location, None),
        Some((hosts, port)) => {
            let last_host = hosts.rsplit(',').next().unwrap_or(hosts);
            if last_host.ends_with(']') || !last_host.contains(':') {
                (hosts, Some(port))
            } else {
                (location, None)
            }
        }
        None => (location, None),
    }
}

impl fmt::Display for AddressWithPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "smp://{}", base64url::encode(&self.server.key_hash))?;
        if let Some(password) = &self.password {
            write!(f, ":{password}")?;
        }
        f.write_str("@")?;
        for (i, host) in self.server.hosts.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match host {
                // Brackets keep the port apart; the reference accepts them on input.
                TransportHost::Ipv6(ip) if !self.server.port.is_empty() => write!(f, "[{ip}]")?,
                host => host.fmt(f)?,
            }
        }
        if !self.server.port.is_empty() {
            write!(f, ":{}", self.server.port)?;
        }
        Ok(())
    }
}
