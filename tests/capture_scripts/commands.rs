//! Recorded commands made again: for our ids, with our keys, in our session.

use crate::connection::{Connection, SessionFacts};
use crate::ids::Ids;
use crate::keys::{Keys, authorise, stand_in, stand_in_dh, stand_in_public, stranger};
use anyhow::{Context, Result, bail, ensure};
use smp_server::crypto::authorization::{Authorization, Authorized, Claim, verify_service};
use smp_server::crypto::keys::{PublicAuthKey, X25519PublicKey};
use smp_server::protocol::command::{NotifierCredentials, QueueRequest};
use smp_server::protocol::transmission::{Transmission, put_sent, put_transmission};
use smp_server::protocol::{Command, Version};

/// Who authorised a recorded command.
struct Author {
    /// `None` when no key known by then did.
    key: Option<PublicAuthKey>,
    /// Whether the fingerprint of the service was covered.
    for_service: bool,
}

/// Makes a recorded transmission again.
pub fn remake(
    keys: &mut Keys,
    ids: &mut Ids,
    connection: &Connection,
    t: &Transmission<'_>,
) -> Result<Vec<u8>> {
    let (version, session) = (connection.version, &connection.ours);
    let command = match Command::decode(t.command, version) {
        Ok(command) => {
            keys.add_command(&command);
            keep_chosen_ids(&command, ids)?;
            translate(command, version, ids)?
        }
        Err(_) => t.command.to_vec(),
    };
    let mut sent = Vec::new();
    let entity_id = ids.ours(t.entity_id);
    let put = |out: &mut Vec<u8>| out.extend_from_slice(&command);
    put_sent(&mut sent, version, &session.id, t.corr_id, entity_id, put);

    let authorization =
        Authorization::from_bytes(t.authorization).context("authorization length")?;
    let author = author(keys, connection, authorization, t)?;
    let key = match &author.key {
        Some(key) => Some(stand_in(key)?),
        None => stranger(authorization)?,
    };
    let mut covered = covered(version, session, &sent);
    if author.for_service {
        let (fingerprint, _) = session.service.as_ref().context("no service")?;
        covered = covered.for_service(fingerprint);
    }
    let authorization = match key {
        Some(key) => authorise(&key, t.corr_id, covered, session.server_key)?,
        None => Vec::new(),
    };
    let service_signature = service_signature(connection, t, &sent)?;
    let mut out = Vec::new();
    let service_signature = service_signature.as_ref();
    put_transmission(&mut out, version, &authorization, service_signature, &sent);
    Ok(out)
}

fn covered<'a>(version: Version, session: &'a SessionFacts, sent: &'a [u8]) -> Authorized<'a> {
    if version < Version::AUTH_COMMANDS {
        Authorized::sent_only(sent)
    } else {
        Authorized::new(&session.id, sent)
    }
}

fn author(
    keys: &Keys,
    connection: &Connection,
    authorization: Authorization<'_>,
    t: &Transmission<'_>,
) -> Result<Author> {
    let session = &connection.recorded;
    let claim = Claim {
        authorization,
        corr_id: t.corr_id,
        authorized: covered(connection.version, session, t.sent),
    };
    if let Some((fingerprint, _)) = &session.service {
        let claim = Claim {
            authorized: claim.authorized.for_service(fingerprint),
            ..claim
        };
        if let Some(key) = keys.author(&claim, session.server_key) {
            return Ok(Author {
                key: Some(key),
                for_service: true,
            });
        }
    }
    Ok(Author {
        key: keys.author(&claim, session.server_key),
        for_service: false,
    })
}

/// Our service signature, as valid as the recorded one.
fn service_signature(
    connection: &Connection,
    t: &Transmission<'_>,
    sent: &[u8],
) -> Result<Option<[u8; 64]>> {
    let Some(signature) = t.service_signature else {
        return Ok(None);
    };
    let session = &connection.recorded;
    let Some((_, PublicAuthKey::Ed25519(key))) = &session.service else {
        bail!("a service signature outside a service session");
    };
    let recorded = covered(connection.version, session, t.sent);
    let valid = verify_service(key, signature, &recorded, &mut Vec::new());
    let covered = covered(connection.version, &connection.ours, sent);
    let signature = authorise(&connection.service_key(valid)?, t.corr_id, covered, None)?;
    Ok(Some(signature.try_into().ok().context("signature length")?))
}

/// Keeps the ids that the client chose.
fn keep_chosen_ids(command: &Command<'_>, ids: &mut Ids) -> Result<()> {
    if let Command::New(new) = command {
        let chosen: &[&[u8]] = match &new.queue {
            Some(QueueRequest::Messaging(Some(link))) => &[link.sender_id],
            Some(QueueRequest::Contact(Some(link))) => &[link.link_id, link.sender_id],
            _ => &[],
        };
        for id in chosen {
            ids.learn(id, id)?;
        }
    }
    Ok(())
}

/// The command with our ids and keys.
fn translate<'a>(mut command: Command<'a>, version: Version, ids: &'a Ids) -> Result<Vec<u8>> {
    let dh = |recorded: &X25519PublicKey| stand_in_dh(recorded).public_key();
    let notifier = |recorded: &NotifierCredentials| -> Result<_> {
        Ok(NotifierCredentials {
            auth_key: stand_in_public(&recorded.auth_key)?,
            dh_key: dh(&recorded.dh_key),
        })
    };
    match &mut command {
        Command::New(new) => {
            new.auth_key = stand_in_public(&new.auth_key)?;
            new.dh_key = dh(&new.dh_key);
            new.notifier = new.notifier.as_ref().map(notifier).transpose()?;
        }
        Command::Key(key) | Command::SKey(key) | Command::LKey(key) => {
            *key = stand_in_public(key)?;
        }
        Command::RKey(keys) => {
            for key in keys {
                *key = stand_in_public(key)?;
            }
        }
        Command::NKey(credentials) => *credentials = notifier(credentials)?,
        Command::LSet { link_id: id, .. } | Command::Ack { msg_id: id } => *id = ids.ours(id),
        Command::Prxy { .. } | Command::Pfwd { .. } | Command::Rfwd { .. } => {
            bail!("not written for proxies");
        }
        _ => {}
    }
    let mut encoded = Vec::new();
    command.encode(version, &mut encoded);
    ensure!(!encoded.is_empty());
    Ok(encoded)
}
