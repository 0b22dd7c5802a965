//! The server's side of the hellos (spec: protocol §5).

use crate::crypto::chain::BlockChain;
use crate::crypto::keys::{SigningKey, X25519SecretKey};
use crate::crypto::pad;
use crate::crypto::signed_key;
use crate::protocol::error::{HandshakeError, TransportError};
use crate::protocol::handshake::{CertChainKey, ClientHello, ServerHello, ServiceResponse};
use crate::protocol::{BLOCK_SIZE, Version, VersionRange};
use crate::relay::SessionContext;
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

/// A finished handshake.
#[derive(Debug)]
pub struct Established {
    /// What shards need to verify commands.
    pub context: Arc<SessionContext>,
    /// Keys of blocks, when they are encrypted: received, sent.
    pub chains: Option<(BlockChain, BlockChain)>,
    /// Content of a last block before the connection is closed: service credentials are refused.
    pub service_refusal: Option<Vec<u8>>,
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

    /// Checks the client hello in `block`.
    pub fn finish(self, block: &[u8; BLOCK_SIZE]) -> Result<Established, RefusedHandshake> {
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
        let service_refusal = hello.service.map(|_| {
            let refusal = TransportError::Handshake(HandshakeError::BadService);
            let mut content = Vec::new();
            ServiceResponse::Refused(refusal).encode(&mut content);
            content
        });
        let context = Arc::new(SessionContext::new(hello.version, &self.session_id, secret));
        Ok(Established {
            context,
            chains,
            service_refusal,
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
