//! Whose key authorised a recorded command, and which key stands for it.

use crate::knowledge::{ClientSide, PrivateKeys};
use crate::support::Key;
use anyhow::{Context, Result};
use smp_server::crypto::authorization::{Authorization, Authorized, Claim, authenticator};
use smp_server::crypto::hash::sha512_parts;
use smp_server::crypto::keys::{PublicAuthKey, SigningKey, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::Command;

/// The recorded keys seen so far.
#[derive(Default)]
pub struct Keys {
    public: Vec<PublicAuthKey>,
    /// Those whose private half was recorded.
    pub private: PrivateKeys,
}

impl Keys {
    /// Adds a recorded value when it is a key.
    pub fn add_value(&mut self, der: &[u8]) {
        self.private.add(der);
        if let Ok(key) = PublicAuthKey::from_spki(der) {
            self.add(key);
        } else if let Ok(key) = SigningKey::from_pkcs8(der) {
            self.add(key.verifying_key().into());
        } else if let Ok(key) = X25519SecretKey::from_pkcs8(der) {
            self.add(PublicAuthKey::X25519(key.public_key().0));
        }
    }

    /// Adds the keys that a command brings.
    pub fn add_command(&mut self, command: &Command<'_>) {
        match command {
            Command::New(new) => {
                self.add(new.auth_key);
                if let Some(notifier) = &new.notifier {
                    self.add(notifier.auth_key);
                }
            }
            Command::Key(key) | Command::SKey(key) | Command::LKey(key) => self.add(*key),
            Command::RKey(keys) => keys.iter().for_each(|key| self.add(*key)),
            Command::NKey(notifier) => self.add(notifier.auth_key),
            _ => {}
        }
    }

    /// Adds a key.
    pub fn add(&mut self, key: PublicAuthKey) {
        if !self.public.contains(&key) {
            self.public.push(key);
        }
    }

    /// The recorded key that made a claim, if any did.
    pub fn author(
        &self,
        claim: &Claim<'_>,
        server: Option<X25519PublicKey>,
    ) -> Option<PublicAuthKey> {
        let mut secrets = ClientSide {
            private_keys: &self.private,
            server,
        };
        let mut scratch = Vec::new();
        let mut made_it = |key: &&PublicAuthKey| claim.verify(key, &mut secrets, &mut scratch);
        self.public.iter().find(&mut made_it).copied()
    }
}

/// The key that stands for a recorded one: of the same kind, the same in every run.
pub fn stand_in(recorded: &PublicAuthKey) -> Result<Key> {
    let seed = sha512_parts(&[b"stand-in", &recorded.to_spki()]);
    let first32 = *seed.first_chunk().context("seed")?;
    Ok(match recorded {
        PublicAuthKey::Ed25519(_) => Key::Sign(SigningKey::ed25519_from_seed(first32)?),
        PublicAuthKey::Ed448(_) => {
            let first57 = *seed.first_chunk().context("seed")?;
            Key::Sign(SigningKey::ed448_from_seed(first57))
        }
        PublicAuthKey::X25519(_) => Key::X25519(X25519SecretKey::from_bytes(first32)),
    })
}

/// The public half of [`stand_in`].
pub fn stand_in_public(recorded: &PublicAuthKey) -> Result<PublicAuthKey> {
    Ok(stand_in(recorded)?.public())
}

/// The key for agreements that stands for a recorded one.
pub fn stand_in_dh(recorded: &X25519PublicKey) -> X25519SecretKey {
    let seed = sha512_parts(&[b"stand-in", &recorded.to_spki()]);
    let mut raw = [0; 32];
    raw.copy_from_slice(&seed[..32]);
    X25519SecretKey::from_bytes(raw)
}

/// A key that no queue knows, of the kind that makes such authorizations.
pub fn stranger(authorization: Authorization<'_>) -> Result<Option<Key>> {
    let kind = match authorization {
        Authorization::None => return Ok(None),
        Authorization::Ed25519(_) => PublicAuthKey::Ed25519([0; 32]),
        Authorization::Ed448(_) => PublicAuthKey::Ed448([0; 57]),
        Authorization::X25519(_) => PublicAuthKey::X25519([0; 32]),
    };
    Ok(Some(stand_in(&kind)?))
}

/// The authorization by `key` in a session with the server's session key `server`.
pub fn authorise(
    key: &Key,
    corr_id: &[u8],
    authorized: Authorized<'_>,
    server: Option<X25519PublicKey>,
) -> Result<Vec<u8>> {
    Ok(match key {
        Key::Sign(key) => key.sign(&authorized.parts().concat()),
        Key::X25519(key) => {
            let secret = key.agree(&server.context("no session key")?);
            authenticator(&BoxKey::from(&secret), corr_id, &authorized.parts()).to_vec()
        }
    })
}
