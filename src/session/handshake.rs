//! The server's side of the hellos (spec: protocol §5).

use crate::crypto::certificate::{MAX_CHAIN, certified_key};
use crate::crypto::chain::BlockChain;
use crate::crypto::hash::sha256;
use crate::crypto::keys::{SigningKey, X25519SecretKey};
use crate::crypto::pad;
use crate::crypto::signed_key::{self, SignedKey};
use crate::protocol::error::{HandshakeError, TransportError};
use crate::protocol::handshake::{
    CertChainKey, ClientHello, ClientService, ServerHello, ServiceResponse, ServiceRole,
};
use crate::protocol::{BLOCK_SIZE, Version, VersionRange};
use crate::relay::{ServiceSession, SessionContext};
use crate::store::Id;
use rand::{CryptoRng, RngCore};
use std::borrow::Cow;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Who this server is.
#[derive(Debug)]
pub struct Identity {
    /// SHA-256 of the identity certificate.
    pub key_hash: [u8; 32],
    /// TLS chain, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// Key of the leaf.
    pub key: Arc<SigningKey>,
    /// Versions offered when ALPN was negotiated.
    pub versions: VersionRange,
}

/// Why a client hello was refused; the connection is closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusedHandshake {
    /// The hello cannot be parsed.
    #[error("malformed client hello")]
    Parse,
    /// The client expects another server.
    #[error("client expects another server identity")]
    Identity,
    /// The version was not offered.
    #[error("version not offered")]
    Version,
    /// Keys for the blocks cannot be derived.
    #[error("block keys cannot be derived")]
    BlockKeys,
}

/// A handshake after the server hello.
#[derive(Debug)]
pub struct ServerHandshake {
    key_hash: [u8; 32],
    versions: VersionRange,
    session_id: Vec<u8>,
    secret: Option<X25519SecretKey>,
}

/// What a client hello led to.
#[derive(Debug)]
pub enum HandshakeOutcome {
    /// An ordinary session begins.
    Established(Established),
    /// The client proved to hold a service certificate: the registry of services decides.
    Claimed(Box<ClaimedSession>),
    /// The service credentials prove nothing: content of a last block before the connection is
    /// closed.
    ServiceRefused(Vec<u8>),
}

/// A finished handshake.
#[derive(Debug)]
pub struct Established {
    /// What shards need to verify commands.
    pub context: Arc<SessionContext>,
    /// Keys of blocks, when they are encrypted: received, sent.
    pub chains: Option<(BlockChain, BlockChain)>,
}

/// What a service client proved; its id is not known yet (spec: protocol §5.3, server §7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceClaim {
    /// Role it wants; a certificate is bound to one.
    pub role: ServiceRole,
    /// SHA-256 of the identity certificate: the second of the chain, or the only one.
    pub fingerprint: [u8; 32],
    /// Ed25519 key that signs for the service in this session.
    pub session_key: [u8; 32],
    /// 1 to [`MAX_CHAIN`] DER certificates, leaf first.
    pub chain: Vec<Vec<u8>>,
}

impl ServiceClaim {
    /// Checks service credentials against the chain whose leaf key the client proved in TLS.
    ///
    /// `None` when the chains differ, are too long, or the leaf did not sign an Ed25519 key. That
    /// the chain is a path to its last certificate was checked in TLS.
    fn check(service: &ClientService<'_>, tls_chain: &[impl AsRef<[u8]>]) -> Option<Self> {
        let CertChainKey { chain, signed_key } = &service.key;
        let claimed = chain.iter().map(|certificate| &certificate[..]);
        if chain.len() > MAX_CHAIN || !claimed.eq(tls_chain.iter().map(AsRef::as_ref)) {
            return None;
        }
        let leaf = chain.first()?;
        let identity = chain.get(1).unwrap_or(leaf);
        let leaf_key = certified_key(leaf).ok()?;
        let signed_key = SignedKey::decode(signed_key).ok()?;
        Some(Self {
            role: service.role,
            fingerprint: sha256(identity),
            session_key: signed_key.verify_ed25519(&leaf_key).ok()?,
            chain: chain.iter().map(|c| c.to_vec()).collect(),
        })
    }
}

/// A session that becomes a service's when the registry of services takes its claim.
#[derive(Debug)]
pub struct ClaimedSession {
    claim: ServiceClaim,
    context: SessionContext,
    chains: Option<(BlockChain, BlockChain)>,
}

impl ClaimedSession {
    /// What to look up or to register.
    pub fn claim(&self) -> &ServiceClaim {
        &self.claim
    }

    /// The session of the service `id`, and the content of the block, plain like the hellos, that
    /// goes before everything else.
    pub fn accept(self, id: Id) -> (Established, Vec<u8>) {
        let content = response_content(&ServiceResponse::Accepted(Cow::Borrowed(&id)));
        let ServiceClaim {
            role,
            fingerprint,
            session_key,
            chain: _,
        } = self.claim;
        let context = self.context.with_service(ServiceSession {
            id,
            role,
            fingerprint,
            session_key,
        });
        let established = Established {
            context: Arc::new(context),
            chains: self.chains,
        };
        (established, content)
    }

    /// Content of a last block before the connection is closed: the certificate is bound to
    /// another role.
    pub fn refuse(self) -> Vec<u8> {
        refusal(HandshakeError::BadService)
    }
}

fn refusal(error: HandshakeError) -> Vec<u8> {
    response_content(&ServiceResponse::Refused(TransportError::Handshake(error)))
}

fn response_content(response: &ServiceResponse<'_>) -> Vec<u8> {
    let mut content = Vec::new();
    response.encode(&mut content);
    content
}

impl ServerHandshake {
    /// Starts a handshake and writes the server hello into `block`.
    ///
    /// Without ALPN only the oldest version is offered, and no session key.
    pub fn start<R: RngCore + CryptoRng>(
        identity: &Identity,
        session_id: &[u8],
        alpn: bool,
        rng: &mut R,
        block: &mut [u8; BLOCK_SIZE],
    ) -> Result<Self, pad::PadError> {
        let versions = if alpn {
            identity.versions
        } else {
            VersionRange::LEGACY
        };
        let secret =
            (versions.max() >= Version::AUTH_COMMANDS).then(|| X25519SecretKey::generate(rng));
        let key = secret.as_ref().map(|secret| CertChainKey {
            chain: identity
                .chain
                .iter()
                .map(|c| Cow::Borrowed(&c[..]))
                .collect(),
            signed_key: signed_key::sign_x25519(&secret.public_key(), &identity.key).into(),
        });
        let mut hello = Vec::with_capacity(1024);
        ServerHello {
            versions,
            session_id: session_id.into(),
            key,
        }
        .encode(&mut hello);
        put_plain_block(&hello, block)?;
        Ok(Self {
            key_hash: identity.key_hash,
            versions,
            session_id: session_id.to_vec(),
            secret,
        })
    }

    /// Checks the client hello in `block`. `tls_chain` is the chain the client showed in TLS, leaf
    /// first; empty when it showed none.
    pub fn finish(
        self,
        block: &[u8; BLOCK_SIZE],
        tls_chain: &[impl AsRef<[u8]>],
    ) -> Result<HandshakeOutcome, RefusedHandshake> {
        let content = pad::unpad(block).map_err(|_| RefusedHandshake::Parse)?;
        let hello = ClientHello::decode(content).map_err(|_| RefusedHandshake::Parse)?;
        if !bool::from(hello.key_hash.ct_eq(&self.key_hash)) {
            return Err(RefusedHandshake::Identity);
        }
        if !self.versions.contains(hello.version) {
            return Err(RefusedHandshake::Version);
        }
        // Version 6 knows no session key, whatever the hello offered.
        let secret = self
            .secret
            .filter(|_| hello.version >= Version::AUTH_COMMANDS);
        let chains = match (&secret, &hello.session_key) {
            (Some(own), Some(peer)) if hello.encrypts_blocks() => {
                let (to_client, to_server) = BlockChain::init(&self.session_id, &own.agree(peer))
                    .map_err(|_| RefusedHandshake::BlockKeys)?;
                Some((to_server, to_client))
            }
            _ => None,
        };
        let context = SessionContext::new(hello.version, &self.session_id, secret);
        let Some(service) = &hello.service else {
            return Ok(HandshakeOutcome::Established(Established {
                context: Arc::new(context),
                chains,
            }));
        };
        Ok(match ServiceClaim::check(service, tls_chain) {
            Some(claim) => HandshakeOutcome::Claimed(Box::new(ClaimedSession {
                claim,
                context,
                chains,
            })),
            None => HandshakeOutcome::ServiceRefused(refusal(HandshakeError::BadAuth)),
        })
    }
}

/// Writes a padded, unencrypted block.
pub fn put_plain_block(content: &[u8], block: &mut [u8; BLOCK_SIZE]) -> Result<(), pad::PadError> {
    block
        .get_mut(2..2 + content.len())
        .ok_or(pad::PadError::TooLarge)?
        .copy_from_slice(content);
    pad::pad_into(content.len(), block)
}
