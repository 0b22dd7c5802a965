//! A connection to the server under test that stands for a recorded one.

use crate::differences::describe;
use crate::keys::{stand_in, stand_in_public};
use crate::support::wire::{self, Item, bytes8};
use crate::support::{Hello, Key, RawSession, Server};
use anyhow::{Context, Result, bail, ensure};
use futures_lite::future::or;
use glommio::timer::Timer;
use loadtest::{ServiceCredentials, TlsOptions};
use smp_server::crypto::certificate::KeyAlgorithm;
use smp_server::crypto::hash::sha256;
use smp_server::crypto::keys::{PublicAuthKey, VerifyingKey, X25519PublicKey};
use smp_server::crypto::signed_key::{SignedKey, sign_ed25519};
use smp_server::protocol::Version;
use smp_server::protocol::handshake::{
    CertChainKey, ClientHello, ClientService, ServerHello, ServiceResponse,
};
use smp_server::transport::path::leaf_key;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Longest wait for anything; reached only when it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One side's view of a session: what authorizations depend on.
pub struct SessionFacts {
    pub id: Vec<u8>,
    pub server_key: Option<X25519PublicKey>,
    /// Fingerprint and session key of a service.
    pub service: Option<([u8; 32], PublicAuthKey)>,
}

impl SessionFacts {
    fn of(hello: &ServerHello<'_>) -> Result<Self> {
        let signed_by_leaf = |key: &CertChainKey<'_>| {
            Ok(SignedKey::decode(&key.signed_key)?.verify_x25519(&leaf(key)?)?)
        };
        let server_key: Result<_> = hello.key.as_ref().map(signed_by_leaf).transpose();
        Ok(Self {
            id: hello.session_id.to_vec(),
            server_key: server_key?,
            service: None,
        })
    }
}

/// A connection with what arrived on it.
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
        let mut recorded = SessionFacts::of(&greeting)?;
        // Without ALPN servers offer one version.
        let mut target = server.target(TlsOptions {
            alpn: greeting.versions.max() > Version::MIN,
            ..TlsOptions::default()
        });
        if let Some(service) = &hello.service {
            recorded.service = Some(service_facts(&service.key)?);
            target = target.with_service(own_credentials(service)?);
        }
        let mut raw = RawSession::greet(&target).await?;
        let own_greeting = whole_greeting(&raw);
        let own_greeting = ServerHello::decode(&own_greeting)?;
        compare(&greeting, &own_greeting)?;
        let mut ours = SessionFacts::of(&own_greeting)?;
        if let (Some(credentials), Some((_, session_key))) = (&target.service, &recorded.service) {
            let session_key = stand_in_public(session_key)?;
            let hello = ClientHello {
                key_hash: &target.identity,
                service: Some(own_service(credentials, &session_key)?),
                ..hello.clone()
            };
            ensure!(!hello.encrypts_blocks(), "not written for services");
            let mut content = Vec::new();
            hello.encode(&mut content);
            raw.send_plain(&content).await;
            raw.version = hello.version.0;
            ours.service = Some((credentials.credential.identity(), session_key));
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
            joins: hello.service.is_some(),
            asked: HashMap::new(),
            arrived: VecDeque::new(),
        })
    }

    /// The key that makes our service signatures; another one for a signature that was wrong.
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
                if let Some(early) = self.arrived.iter().take(at).find(|item| overtaken(item)) {
                    bail!("{} came before", describe(&early.body));
                }
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
fn whole_greeting(raw: &RawSession) -> Vec<u8> {
    let (min, max) = raw.offered;
    [
        &min.to_be_bytes()[..],
        &max.to_be_bytes(),
        &bytes8(&raw.session_id),
        &raw.hello_rest,
    ]
    .concat()
}

/// Two hellos differ in nothing but keys, signatures and session ids.
fn compare(recorded: &ServerHello<'_>, ours: &ServerHello<'_>) -> Result<()> {
    ensure!(recorded.versions == ours.versions, "{:?}", ours.versions);
    let shape = |hello: &ServerHello<'_>| {
        let key = hello.key.as_ref();
        let key = key.map(|key| (key.chain.len(), key.signed_key.len()));
        (hello.session_id.len(), key)
    };
    ensure!(shape(recorded) == shape(ours), "{:?}", shape(ours));
    Ok(())
}

fn leaf(key: &CertChainKey<'_>) -> Result<VerifyingKey> {
    Ok(leaf_key(key.chain.first().context("empty chain")?)?)
}

/// Fingerprint and session key of a recorded service.
fn service_facts(key: &CertChainKey<'_>) -> Result<([u8; 32], PublicAuthKey)> {
    let identity = key.chain.get(1).or(key.chain.first());
    let session_key = SignedKey::decode(&key.signed_key)?.verify_ed25519(&leaf(key)?)?;
    Ok((
        sha256(identity.context("empty chain")?),
        PublicAuthKey::Ed25519(session_key),
    ))
}

/// Own certificates of as many links and the same kind of keys as recorded ones.
fn own_credentials(recorded: &ClientService<'_>) -> Result<ServiceCredentials> {
    let algorithm = match leaf(&recorded.key)? {
        VerifyingKey::Ed25519(_) => KeyAlgorithm::Ed25519,
        VerifyingKey::Ed448(_) => KeyAlgorithm::Ed448,
    };
    let length = recorded.key.chain.len();
    Ok(ServiceCredentials::generate_chain(
        recorded.role,
        algorithm,
        length,
    )?)
}

/// What our service says of itself in its hello.
fn own_service<'a>(
    own: &'a ServiceCredentials,
    session_key: &PublicAuthKey,
) -> Result<ClientService<'a>> {
    let PublicAuthKey::Ed25519(session_key) = session_key else {
        bail!("session keys of services are Ed25519");
    };
    let chain = own.credential.chain().iter();
    let signed_key = sign_ed25519(session_key, own.credential.signing_key());
    let key = CertChainKey {
        chain: chain.map(|c| Cow::Borrowed(&c[..])).collect(),
        signed_key: Cow::Owned(signed_key),
    };
    Ok(ClientService {
        role: own.role,
        key,
    })
}
