//! A connection to the server under test that stands for a recorded one.

use crate::keys::{stand_in, stand_in_public};
use crate::support::wire::{self, Item, bytes8};
use crate::support::{Hello, Key, RawSession, Server};
use anyhow::{Context, Result, bail, ensure};
use futures_lite::future::or;
use glommio::timer::Timer;
use loadtest::TlsOptions;
use rustls_pki_types::CertificateDer;
use smp_server::crypto::certificate::{CertificateProfile, DistinguishedName, Fingerprint};
use smp_server::crypto::hash::sha256;
use smp_server::crypto::keys::{PublicAuthKey, SigningKey, VerifyingKey, X25519PublicKey};
use smp_server::crypto::signed_key::{SignedKey, sign_ed25519};
use smp_server::protocol::Version;
use smp_server::protocol::handshake::{
    CertChainKey, ClientHello, ClientService, ServerHello, ServiceResponse,
};
use smp_server::transport::config::{ClientOptions, client_config};
use smp_server::transport::credential::Credential;
use smp_server::transport::path::leaf_key;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use time::OffsetDateTime;

/// Longest wait for anything; reached only when it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One side's view of a session: what authorizations depend on.
pub struct SessionFacts {
    pub id: Vec<u8>,
    pub server_key: Option<X25519PublicKey>,
    /// Fingerprint and session key of a service.
    pub service: Option<([u8; 32], PublicAuthKey)>,
}

pub struct Connection {
    raw: RawSession,
    pub version: Version,
    pub recorded: SessionFacts,
    pub ours: SessionFacts,
    /// Whether the response to service credentials is still to come.
    pub joins: bool,
    /// Recorded commands without answer yet, by correlation id.
    pub asked: HashMap<Vec<u8>, Vec<u8>>,
    arrived: VecDeque<Item>,
}

impl Connection {
    /// Makes the handshake as recorded and compares the server's hello.
    pub async fn open(server: &Server, server_hello: &[u8], client_hello: &[u8]) -> Result<Self> {
        let (greeting, hello) = (
            ServerHello::decode(server_hello)?,
            ClientHello::decode(client_hello)?,
        );
        let recorded = SessionFacts {
            id: greeting.session_id.to_vec(),
            server_key: session_key(&greeting)?,
            service: hello
                .service
                .as_ref()
                .map(|s| service_facts(&s.key))
                .transpose()?,
        };
        // Without ALPN servers offer one version.
        let alpn = greeting.versions.max() > Version::MIN;
        let mut target = server.target(TlsOptions {
            alpn,
            ..TlsOptions::default()
        });
        let service = match (&hello.service, &recorded.service) {
            (Some(service), Some((_, session_key))) => {
                let credential = service_credential(&service.key)?;
                let options = ClientOptions {
                    credential: Some(&credential),
                    ..ClientOptions::default()
                };
                target.tls = client_config(Fingerprint(target.identity), &options)?;
                Some((service.role, credential, stand_in_public(session_key)?))
            }
            _ => None,
        };

        let mut raw = RawSession::greet(&target).await?;
        let ours = own_hello(&raw);
        let own = ServerHello::decode(&ours)?;
        ensure!(
            own.versions == greeting.versions,
            "versions offered: {:?}",
            own.versions
        );
        ensure!(own.session_id.len() == greeting.session_id.len());
        let shape = |key: &CertChainKey<'_>| (key.chain.len(), key.signed_key.len());
        ensure!(own.key.as_ref().map(shape) == greeting.key.as_ref().map(shape));
        let mut ours = SessionFacts {
            id: own.session_id.to_vec(),
            server_key: session_key(&own)?,
            service: None,
        };
        let joins = service.is_some();
        if let Some((role, credential, session_key)) = service {
            let chain = credential.chain().iter();
            let PublicAuthKey::Ed25519(raw_key) = session_key else {
                bail!("service session keys are Ed25519");
            };
            let signed_key = sign_ed25519(&raw_key, credential.signing_key());
            let key = CertChainKey {
                chain: chain.map(|c| Cow::Borrowed(&c[..])).collect(),
                signed_key: Cow::Owned(signed_key),
            };
            ensure!(
                hello.session_key.is_none(),
                "not written for encrypted blocks"
            );
            let hello = ClientHello {
                key_hash: &target.identity,
                service: Some(ClientService { role, key }),
                ..hello
            };
            let mut content = Vec::new();
            hello.encode(&mut content);
            raw.send_plain(&content).await;
            raw.version = hello.version.0;
            ours.service = Some((credential.identity(), session_key));
        } else {
            let answer = Hello {
                version: hello.version.0,
                key: hello.session_key.is_some(),
                proxy: hello.proxy,
            };
            raw.answer(&target.identity, answer).await;
        }
        Ok(Self {
            raw,
            version: hello.version,
            recorded,
            ours,
            joins,
            asked: HashMap::new(),
            arrived: VecDeque::new(),
        })
    }

    /// The key that makes our service signatures; that of nobody for a signature that was wrong.
    pub fn service_key(&self, valid: bool) -> Result<Key> {
        let (_, recorded) = self.recorded.service.as_ref().context("no service")?;
        if valid {
            stand_in(recorded)
        } else {
            stand_in(&stand_in_public(recorded)?)
        }
    }

    /// Sends a block.
    pub async fn send(&mut self, content: &[u8]) {
        self.raw.send(content).await;
    }

    /// The answer to service credentials.
    pub async fn service_response(&mut self) -> Result<ServiceResponse<'static>> {
        let content = self.block().await?.context("nothing came")?;
        self.joins = false;
        Ok(match ServiceResponse::decode(&content)? {
            ServiceResponse::Accepted(id) => ServiceResponse::Accepted(Cow::Owned(id.into_owned())),
            ServiceResponse::Refused(e) => ServiceResponse::Refused(e),
        })
    }

    /// What the server sends with this correlation id or, when it is empty, the next push for this
    /// entity; `None` when it does not come. Fails when a push and an answer for the same entity
    /// changed places.
    pub async fn next(&mut self, corr_id: &[u8], entity_id: &[u8]) -> Result<Option<Item>> {
        let wanted = |item: &Item| {
            item.corr_id == corr_id && (!corr_id.is_empty() || item.entity_id == entity_id)
        };
        loop {
            if let Some(at) = self.arrived.iter().position(wanted) {
                let overtaken = |item: &Item| {
                    item.entity_id == entity_id && item.corr_id.is_empty() != corr_id.is_empty()
                };
                let early = self.arrived.iter().take(at).find(|item| overtaken(item));
                ensure!(early.is_none(), "out of order: {early:?} came before");
                return Ok(self.arrived.remove(at));
            }
            let Some(content) = self.block().await? else {
                return Ok(None);
            };
            let items = wire::items(self.raw.version, &self.raw.session_id, &content);
            self.arrived.extend(items);
        }
    }

    /// What has arrived and was not asked for.
    pub fn left_over(&self) -> Option<&Item> {
        self.arrived.front()
    }

    /// The content of the next block; `None` when none comes.
    async fn block(&mut self) -> Result<Option<Vec<u8>>> {
        let content = async {
            let content = self.raw.recv().await;
            content.context("the server closed").map(Some)
        };
        or(content, async {
            Timer::new(PATIENCE).await;
            Ok(None)
        })
        .await
    }
}

/// The server's hello again in one piece.
fn own_hello(raw: &RawSession) -> Vec<u8> {
    let (min, max) = raw.offered;
    [
        &min.to_be_bytes()[..],
        &max.to_be_bytes(),
        &bytes8(&raw.session_id),
        &raw.hello_rest,
    ]
    .concat()
}

fn session_key(hello: &ServerHello<'_>) -> Result<Option<X25519PublicKey>> {
    let Some(key) = &hello.key else {
        return Ok(None);
    };
    let signed = SignedKey::decode(&key.signed_key)?;
    Ok(Some(signed.verify_x25519(&leaf(key)?)?))
}

fn leaf(key: &CertChainKey<'_>) -> Result<VerifyingKey> {
    let leaf = key.chain.first().context("empty chain")?;
    Ok(leaf_key(&CertificateDer::from(&leaf[..]))?)
}

fn service_facts(key: &CertChainKey<'_>) -> Result<([u8; 32], PublicAuthKey)> {
    let identity = key
        .chain
        .get(1)
        .or(key.chain.first())
        .context("empty chain")?;
    let session_key = SignedKey::decode(&key.signed_key)?.verify_ed25519(&leaf(key)?)?;
    Ok((sha256(identity), PublicAuthKey::Ed25519(session_key)))
}

/// Own certificates of as many links and the same kind of key as recorded ones.
fn service_credential(recorded: &CertChainKey<'_>) -> Result<Credential> {
    let Key::Sign(key) = stand_in(&leaf(recorded)?.into())? else {
        bail!("certificates have keys that sign");
    };
    let now = OffsetDateTime::now_utc();
    let rng = &mut rand::rng();
    let chain = match recorded.chain.len() {
        1 => vec![CertificateProfile::service(now).issue(&key.verifying_key(), &key)?],
        2 => {
            let ca = SigningKey::generate_ed448(rng);
            let authority = CertificateProfile::authority(now, rng);
            let name = DistinguishedName::authority();
            let leaf = CertificateProfile::server("localhost", name, now, rng);
            vec![
                leaf.issue(&key.verifying_key(), &ca)?,
                authority.issue(&ca.verifying_key(), &ca)?,
            ]
        }
        more => bail!("not written for {more} certificates"),
    };
    Ok(Credential::new(chain, key)?)
}
