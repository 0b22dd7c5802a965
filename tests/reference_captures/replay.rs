//! Follows a recording block by block.

use crate::capture::{Block, Capture, Direction, Entry};
use crate::commands::Request;
use crate::knowledge::{IdKind, PrivateKeys, Queues};
use crate::services;
use anyhow::{Context, Result, bail, ensure};
use smp_server::crypto::chain::BlockChain;
use smp_server::crypto::hash::sha256;
use smp_server::crypto::keys::{SigningKey, VerifyingKey, X25519PublicKey};
use smp_server::crypto::pad::pad_into;
use smp_server::crypto::signed_key::SignedKey;
use smp_server::protocol::batch::{BatchBuilder, decode_batch};
use smp_server::protocol::handshake::{CertChainKey, ClientHello, ServerHello, ServiceResponse};
use smp_server::protocol::transmission::{Transmission, put_sent, put_transmission};
use smp_server::protocol::{BLOCK_SIZE, Version};
use smp_server::session::ClaimedSession;
use std::collections::HashMap;
use std::fmt;

/// What was checked in a recording.
#[derive(Debug, Default)]
pub struct Tally {
    pub blocks: usize,
    pub hellos: usize,
    pub signed_keys: usize,
    pub transmissions: usize,
    /// Commands answered by an error of form, which this crate finds too.
    pub malformed: usize,
    pub signatures: usize,
    pub authenticators: usize,
    pub service_signatures: usize,
    /// Commands of services that the load generator's client sends with the same bytes.
    pub sent_again: usize,
    pub boxes: usize,
    /// Boxes whose padded content was recorded.
    pub padded: usize,
    pub notifications: usize,
    pub session_secrets: usize,
    pub encrypted_blocks: usize,
    pub proxied: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.hellos += other.hellos;
        self.signed_keys += other.signed_keys;
        self.transmissions += other.transmissions;
        self.malformed += other.malformed;
        self.signatures += other.signatures;
        self.authenticators += other.authenticators;
        self.service_signatures += other.service_signatures;
        self.sent_again += other.sent_again;
        self.boxes += other.boxes;
        self.padded += other.padded;
        self.notifications += other.notifications;
        self.session_secrets += other.session_secrets;
        self.encrypted_blocks += other.encrypted_blocks;
        self.proxied += other.proxied;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "blocks {:4} hellos {:3} signed keys {:3} transmissions {:4} malformed {} \
             signatures {:3} authenticators {:2} service signatures {:2} sent again {:2} \
             boxes {:3} (padding {}) notifications {} session secrets {} encrypted blocks {} proxied {}",
            self.blocks,
            self.hellos,
            self.signed_keys,
            self.transmissions,
            self.malformed,
            self.signatures,
            self.authenticators,
            self.service_signatures,
            self.sent_again,
            self.boxes,
            self.padded,
            self.notifications,
            self.session_secrets,
            self.encrypted_blocks,
            self.proxied,
        )
    }
}

/// Service credentials of a connection.
pub struct Service {
    pub fingerprint: [u8; 32],
    pub session_key: [u8; 32],
    pub id: Option<Vec<u8>>,
    /// Waits for the service response.
    claimed: Option<Box<ClaimedSession>>,
}

/// One connection.
pub struct Session {
    pub id: Vec<u8>,
    versions: (Version, Version),
    pub version: Version,
    /// Certificates and signed key of the server hello.
    pub relay_key: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    pub server_key: Option<X25519PublicKey>,
    client_key: Option<X25519PublicKey>,
    encrypts: bool,
    pub service: Option<Service>,
    /// (server to client, client to server), for decrypting and for encrypting again.
    chains: Option<[(BlockChain, BlockChain); 2]>,
    /// Commands without answer yet, by correlation id.
    pub pending: HashMap<Vec<u8>, Request>,
}

/// State of a replay.
pub struct Replay<'a> {
    capture: &'a Capture,
    pub private_keys: PrivateKeys,
    /// Session key of services.
    pub service_key: Option<SigningKey>,
    pub queues: Queues,
    pub sessions: HashMap<String, Session>,
    /// Session ids announced before the hello.
    announced: HashMap<String, Vec<u8>>,
    last_connection: String,
    /// Id and padded body of the message received last.
    pub last_message: Option<(Vec<u8>, Vec<u8>)>,
    /// Notifier enabled last.
    pub last_notifier: Option<Vec<u8>>,
    pub tally: Tally,
}

/// Checks a whole recording.
pub fn replay(capture: &Capture) -> Result<Tally> {
    let mut replay = Replay {
        capture,
        private_keys: PrivateKeys::default(),
        service_key: None,
        queues: Queues::default(),
        sessions: HashMap::new(),
        announced: HashMap::new(),
        last_connection: String::new(),
        last_message: None,
        last_notifier: None,
        tally: Tally::default(),
    };
    for entry in &capture.entries {
        if let Entry::Value { name, bytes } = entry
            && name.contains("private key")
        {
            replay.private_keys.add(bytes);
            if name.starts_with("service session Ed25519") {
                replay.service_key = Some(SigningKey::from_pkcs8(bytes)?);
            }
        }
    }
    for entry in &capture.entries {
        match entry {
            Entry::Value { name, bytes } => replay.value(name, bytes).context(name.clone())?,
            Entry::Block(block) => {
                let number = block.number;
                replay
                    .block(block)
                    .with_context(|| format!("block #{number:03}"))?;
            }
        }
    }
    let unanswered: usize = replay.sessions.values().map(|s| s.pending.len()).sum();
    ensure!(unanswered == 0, "{unanswered} commands without answer");
    Ok(replay.tally)
}

/// The verifying key and the fingerprint of the identity of a chain of certificates.
pub fn leaf_and_identity(chain: &[impl AsRef<[u8]>]) -> Result<(VerifyingKey, [u8; 32])> {
    let leaf = chain.first().context("empty chain")?.as_ref();
    let identity = chain.get(1).map_or(leaf, |c| c.as_ref());
    let (rest, certificate) = x509_parser::parse_x509_certificate(leaf)?;
    ensure!(rest.is_empty(), "bytes after the certificate");
    let key = VerifyingKey::from_spki(certificate.tbs_certificate.subject_pki.raw)?;
    Ok((key, sha256(identity)))
}

pub fn owned(key: &CertChainKey<'_>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let chain = key.chain.iter().map(|c| c.to_vec()).collect();
    (chain, key.signed_key.to_vec())
}

pub fn same(what: &str, recorded: &[u8], encoded: &[u8]) -> Result<()> {
    ensure!(
        recorded == encoded,
        "{what} encodes differently:\n recorded {}\n encoded  {}",
        hex::encode(recorded),
        hex::encode(encoded)
    );
    Ok(())
}

impl Replay<'_> {
    /// Compares a recorded derived value with what this crate derives.
    fn value(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if let Some(connection) = name.strip_prefix("tls-unique/session-id of connection ") {
            self.announced.insert(connection.to_owned(), bytes.to_vec());
            return Ok(());
        }
        match name {
            "server session X25519 public key (DER)" => {
                let key = self.session(&self.last_connection)?.server_key;
                ensure!(key == Some(X25519PublicKey::from_spki(bytes)?));
            }
            "session DH shared secret" => {
                let session = self.session(&self.last_connection)?;
                let own = session.client_key.context("no client key")?;
                let peer = session.server_key.context("no server key")?;
                let secret = self.private_keys.agree(&own, &peer).context("no key")?;
                ensure!(secret.0 == *bytes);
                let id = session.id.clone();
                let chains = [
                    BlockChain::init(&id, &secret)?,
                    BlockChain::init(&id, &secret)?,
                ];
                self.tally.session_secrets += 1;
                let connection = self.last_connection.clone();
                self.session_mut(&connection)?.chains = Some(chains);
            }
            "DH shared secret of the queue (recipient-server)" => {
                let secret = self.queues.last()?.secret.as_ref().context("no secret")?;
                ensure!(secret.0 == *bytes);
            }
            "notification DH shared secret" => {
                let id = self.last_notifier.as_ref().context("no notifier")?;
                let queue = self.queues.get(IdKind::Notifier, id)?;
                let secret = queue.notifier_secret.as_ref().context("no secret")?;
                ensure!(secret.0 == *bytes);
            }
            "msgId (also nonce)" => {
                let (id, _) = self.last_message.as_ref().context("no message")?;
                ensure!(id == bytes);
            }
            "decrypted padded" => {
                let (_, padded) = self.last_message.as_ref().context("no message")?;
                same("padded body", bytes, padded)?;
                self.tally.padded += 1;
            }
            // Given before or after the handshake that they are used in.
            "service certificate hash" => {
                let uses = |s: &Session| match &s.service {
                    Some(service) => service.fingerprint == *bytes,
                    None => true,
                };
                ensure!(self.sessions.values().all(uses));
            }
            _ => {}
        }
        Ok(())
    }

    pub fn session(&self, connection: &str) -> Result<&Session> {
        self.sessions.get(connection).context("no session")
    }

    pub fn session_mut(&mut self, connection: &str) -> Result<&mut Session> {
        self.sessions.get_mut(connection).context("no session")
    }

    fn block(&mut self, block: &Block) -> Result<()> {
        self.tally.blocks += 1;
        self.last_connection.clone_from(&block.connection);
        self.whole_block(block)?;
        if block.handshake {
            self.tally.hellos += 1;
            return match block.direction {
                Direction::ToClient => self.server_hello(block),
                Direction::ToServer => self.client_hello(block),
            };
        }
        let session = self.session_mut(&block.connection)?;
        ensure!(session.encrypts == block.encrypted);
        if let Some(service) = &mut session.service
            && service.id.is_none()
        {
            let response = ServiceResponse::decode(&block.content)?;
            let mut encoded = Vec::new();
            response.encode(&mut encoded);
            same("service response", &block.content, &encoded)?;
            let ServiceResponse::Accepted(id) = response else {
                bail!("the service was refused: {response:?}");
            };
            let claimed = service.claimed.take().context("no claim")?;
            services::accepted(*claimed, &id, &block.content)?;
            service.id = Some(id.into_owned());
            self.tally.hellos += 1;
            return Ok(());
        }
        self.batch(block)
    }

    /// Compares the whole block, where it was kept, with what this crate makes of the content.
    fn whole_block(&mut self, block: &Block) -> Result<()> {
        let Some(recorded) = self.capture.whole_block(block.number)? else {
            return Ok(());
        };
        let mut recorded: [u8; BLOCK_SIZE] = recorded.try_into().ok().context("block size")?;
        let content = &block.content;
        if !block.encrypted {
            let mut made = vec![0; BLOCK_SIZE];
            made[2..][..content.len()].copy_from_slice(content);
            pad_into(content.len(), &mut made)?;
            return same("plain block", &recorded, &made);
        }
        let session = self.session_mut(&block.connection)?;
        let [opening, sealing] = session.chains.as_mut().context("no chains")?;
        let (opening, sealing) = match block.direction {
            Direction::ToClient => (&mut opening.0, &mut sealing.0),
            Direction::ToServer => (&mut opening.1, &mut sealing.1),
        };
        let mut made = [0; BLOCK_SIZE];
        made[18..][..content.len()].copy_from_slice(content);
        pad_into(content.len(), &mut made[16..])?;
        sealing.seal_block(&mut made)?;
        same("encrypted block", &recorded, &made)?;
        same("block content", content, opening.open_block(&mut recorded)?)?;
        self.tally.encrypted_blocks += 1;
        Ok(())
    }

    fn server_hello(&mut self, block: &Block) -> Result<()> {
        let hello = ServerHello::decode(&block.content)?;
        let mut encoded = Vec::new();
        hello.encode(&mut encoded);
        same("server hello", &block.content, &encoded)?;
        let announced = self.announced.get(&block.connection);
        ensure!(announced.is_none_or(|id| *id == *hello.session_id));
        let mut server_key = None;
        if let Some(key) = &hello.key {
            let (leaf, _) = leaf_and_identity(&key.chain)?;
            server_key = Some(SignedKey::decode(&key.signed_key)?.verify_x25519(&leaf)?);
            self.tally.signed_keys += 1;
        }
        let session = Session {
            id: hello.session_id.to_vec(),
            versions: (hello.versions.min(), hello.versions.max()),
            version: Version::MIN,
            relay_key: hello.key.as_ref().map(owned),
            server_key,
            client_key: None,
            encrypts: false,
            service: None,
            chains: None,
            pending: HashMap::new(),
        };
        self.sessions.insert(block.connection.clone(), session);
        Ok(())
    }

    fn client_hello(&mut self, block: &Block) -> Result<()> {
        let hello = ClientHello::decode(&block.content)?;
        let mut encoded = Vec::new();
        hello.encode(&mut encoded);
        same("client hello", &block.content, &encoded)?;
        let session = self
            .sessions
            .get_mut(&block.connection)
            .context("no server hello")?;
        ensure!(session.versions.0 <= hello.version && hello.version <= session.versions.1);
        if let Some((chain, _)) = &session.relay_key {
            ensure!(leaf_and_identity(chain)?.1 == *hello.key_hash);
        }
        session.version = hello.version;
        session.client_key = hello.session_key;
        session.encrypts = hello.encrypts_blocks();
        if let Some(service) = &hello.service {
            let (leaf, fingerprint) = leaf_and_identity(&service.key.chain)?;
            let signed = SignedKey::decode(&service.key.signed_key)?;
            let mut service = Service {
                fingerprint,
                session_key: signed.verify_ed25519(&leaf)?,
                id: None,
                claimed: None,
            };
            let claimed = services::claim(session, &service, &hello, &block.content)?;
            service.claimed = Some(claimed);
            session.service = Some(service);
            self.tally.signed_keys += 1;
        }
        Ok(())
    }

    fn batch(&mut self, block: &Block) -> Result<()> {
        let version = self.session(&block.connection)?.version;
        let session_id = self.session(&block.connection)?.id.clone();
        let mut encoded = Vec::new();
        let mut batch = BatchBuilder::new(&mut encoded);
        for bytes in decode_batch(&block.content)? {
            self.tally.transmissions += 1;
            let t = Transmission::decode(bytes, version)?;
            let command = match block.direction {
                Direction::ToServer => self.request(&block.connection, bytes, &t)?,
                Direction::ToClient => self.response(&block.connection, &t)?,
            };
            if version < Version::AUTH_COMMANDS {
                ensure!(t.session_id == Some(&session_id[..]));
            }
            let mut sent = Vec::new();
            put_sent(
                &mut sent,
                version,
                &session_id,
                t.corr_id,
                t.entity_id,
                |out| out.extend_from_slice(&command),
            );
            same("authorized part", t.sent, &sent)?;
            let fits = batch.push(|out| {
                put_transmission(out, version, t.authorization, t.service_signature, &sent);
            });
            ensure!(fits, "transmission does not fit");
        }
        same("batch", &block.content, &encoded)
    }
}
