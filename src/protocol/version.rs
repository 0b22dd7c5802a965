//! Protocol versions and what changed in each (spec: protocol §8).

use super::encoding::{DecodeError, Reader};

/// A protocol version, 6 to 20 today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// Oldest version served, and the only one offered without ALPN.
    pub const MIN: Self = Self(6);
    /// The server sends its certificate and session key; session ids are implied.
    pub const AUTH_COMMANDS: Self = Self(7);
    /// A sender may secure a queue.
    pub const SENDER_KEY: Self = Self(9);
    /// `DELD` exists.
    pub const DELETED_EVENT: Self = Self(10);
    /// Blocks are encrypted inside TLS.
    pub const ENCRYPTED_BLOCKS: Self = Self(11);
    /// `BLOCKED` exists.
    pub const BLOCKED_ERROR: Self = Self(12);
    /// The client hello says whether it is a proxy.
    pub const PROXY_FLAG: Self = Self(14);
    /// Short links.
    pub const SHORT_LINKS: Self = Self(15);
    /// Service certificates.
    pub const SERVICES: Self = Self(16);
    /// Notifier credentials in `NEW`.
    pub const NEW_NTF_CREDENTIALS: Self = Self(17);
    /// `BLOCKED` carries a notice.
    pub const BLOCKED_NOTICE: Self = Self(18);
    /// Receiving services: counts and hashes in service subscriptions.
    pub const RECEIVING_SERVICES: Self = Self(19);
    /// Newest version this server offers.
    pub const CURRENT: Self = Self(18);
    /// Newest version the codecs know.
    pub const NEWEST_KNOWN: Self = Self(20);

    /// Longest `SEND` body a sender of this version may use (spec: protocol §22).
    pub fn max_message_length(self) -> usize {
        match self.0 {
            ..=7 => 16088,
            8..=10 => 16064,
            _ => 16048,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An inclusive range of versions, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    min: Version,
    max: Version,
}

impl VersionRange {
    /// Versions this server offers when ALPN was negotiated.
    pub const SERVER: Self = Self {
        min: Version::MIN,
        max: Version::CURRENT,
    };
    /// The only version offered without ALPN.
    pub const LEGACY: Self = Self {
        min: Version::MIN,
        max: Version::MIN,
    };
    /// Versions a proxy publishes for a relay (spec: protocol §15.3).
    pub const PROXIED: Self = Self {
        min: Version(8),
        max: Version(17),
    };

    /// A range, or `None` when it would be empty.
    pub fn new(min: Version, max: Version) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// Lowest version.
    pub fn min(self) -> Version {
        self.min
    }

    /// Highest version.
    pub fn max(self) -> Version {
        self.max
    }

    /// Whether `version` lies within.
    pub fn contains(self, version: Version) -> bool {
        self.min <= version && version <= self.max
    }

    /// Versions in both ranges.
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.min.max(other.min), self.max.min(other.max))
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (min, max) = (Version(r.u16()?), Version(r.u16()?));
        Self::new(min, max).ok_or(DecodeError::Invalid("version range"))
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.min.0.to_be_bytes());
        out.extend_from_slice(&self.max.0.to_be_bytes());
    }
}
