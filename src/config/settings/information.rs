//! `[INFORMATION]`: what the operator tells about the server.

use super::SettingsError;
use super::reader::Reader;
use crate::config::keys::{self, Key};
use crate::config::values::HostingType;

/// Public information about the server (spec: operations §2.2, §4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Information {
    /// Where the source code is.
    pub source_code: String,
    /// Conditions of use.
    pub conditions: Option<Conditions>,
    /// ISO 3166 code of where the server stands.
    pub server_country: Option<String>,
    /// Who operates it.
    pub operator: Option<Entity>,
    /// The operator's web site.
    pub website: Option<String>,
    /// How to reach the administrator.
    pub admin: Option<Contact>,
    /// Where to complain.
    pub complaints: Option<Contact>,
    /// Who hosts it.
    pub hosting: Option<Entity>,
    /// On what kind of machine.
    pub hosting_type: Option<HostingType>,
}

/// Links to conditions of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// The conditions.
    pub conditions: String,
    /// The operator's changes to them.
    pub amendments: Option<String>,
}

/// An organization or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Name.
    pub name: String,
    /// ISO 3166 code.
    pub country: Option<String>,
}

/// Ways to reach somebody; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// SimpleX contact address.
    pub simplex: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// PGP key.
    pub pgp: Option<Pgp>,
}

/// A PGP key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pgp {
    /// Where it is published.
    pub uri: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

impl Information {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Option<Self>, SettingsError> {
        let text = |key: &Key<Option<String>>| reader.optional(key).map(Option::flatten);
        let Some(source_code) = text(&keys::SOURCE_CODE)? else {
            return Ok(None);
        };
        let entity = |name: &Key<_>, country: &Key<_>| -> Result<_, SettingsError> {
            let country = text(country)?;
            Ok(text(name)?.map(|name| Entity { name, country }))
        };
        let amendments = text(&keys::CONDITION_AMENDMENTS)?;
        Ok(Some(Self {
            source_code,
            conditions: text(&keys::USAGE_CONDITIONS)?.map(|conditions| Conditions {
                conditions,
                amendments,
            }),
            server_country: text(&keys::SERVER_COUNTRY)?,
            operator: entity(&keys::OPERATOR, &keys::OPERATOR_COUNTRY)?,
            website: text(&keys::WEBSITE)?,
            admin: contact(
                text(&keys::ADMIN_SIMPLEX)?,
                text(&keys::ADMIN_EMAIL)?,
                text(&keys::ADMIN_PGP)?.zip(text(&keys::ADMIN_PGP_FINGERPRINT)?),
            ),
            complaints: contact(
                text(&keys::COMPLAINTS_SIMPLEX)?,
                text(&keys::COMPLAINTS_EMAIL)?,
                text(&keys::COMPLAINTS_PGP)?.zip(text(&keys::COMPLAINTS_PGP_FINGERPRINT)?),
            ),
            hosting: entity(&keys::HOSTING, &keys::HOSTING_COUNTRY)?,
            hosting_type: reader.optional(&keys::HOSTING_TYPE)?,
        }))
    }
}

fn contact(
    simplex: Option<String>,
    email: Option<String>,
    pgp: Option<(String, String)>,
) -> Option<Contact> {
    if simplex.is_none() && email.is_none() && pgp.is_none() {
        return None;
    }
    let pgp = pgp.map(|(uri, fingerprint)| Pgp { uri, fingerprint });
    Some(Contact {
        simplex,
        email,
        pgp,
    })
}
