//! The client's side of the SMP handshake (spec: protocol §5).

use std::borrow::Cow;

use smp_server::crypto::chain::BlockChain;
use smp_server::crypto::hash::sha256;
use smp_server::crypto::keys::{SigningKey, VerifyingKey, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::pad::{pad_into, unpad};
use smp_server::crypto::signed_key::{SignedKey, sign_ed25519};
use smp_server::protocol::handshake::{
    CertChainKey, ClientHello, ClientService, ServerHello, ServiceResponse,
};
use smp_server::protocol::{BLOCK_SIZE, Version};
use smp_server::transport::TlsStream;
use smp_server::transport::path::leaf_key;

use crate::client::Options;
use crate::error::ClientError;
use crate::service::{ServiceCredentials, ServiceSession};
use crate::target::Target;

/// What both sides agreed on.
pub(crate) struct Session {
    pub(crate) session_id: Vec<u8>,
    pub(crate) server_key: Option<X25519PublicKey>,
    /// Chains of encrypted blocks: from the server, to the server.
    pub(crate) chains: Option<(BlockChain, BlockChain)>,
    /// Present when the target has service credentials and the version knows services.
    pub(crate) service: Option<ServiceSession>,
}

/// Reads and checks the server's hello and answers it; a service also waits for its id.
pub(crate) async fn run(
    stream: &mut TlsStream,
    target: &Target,
    options: Options,
) -> Result<Session, ClientError> {
    let identity = &target.identity;
    let hello = read_plain(stream, "not a padded block").await?;
    let hello = ServerHello::decode(&hello)?;
    let session_id = stream.session_id();
    if *hello.session_id != *session_id.as_bytes() {
        return Err(ClientError::Hello("session id is not that of TLS"));
    }
    let offered_key = check_key(&hello, stream, identity)?;
    let version = options.version;
    if !hello.versions.contains(version) {
        return Err(ClientError::Version {
            wanted: version,
            offered: hello.versions,
        });
    }
    // Older versions have neither authenticators nor block encryption to use it for.
    let server_key = offered_key.filter(|_| version >= Version::AUTH_COMMANDS);

    let own_key = (options.block_encryption && version >= Version::AUTH_COMMANDS)
        .then(|| X25519SecretKey::generate(&mut rand::rng()));
    let credentials = target.service.as_ref();
    let service_key = credentials
        .filter(|_| version >= Version::SERVICES)
        .map(ServiceKey::generate)
        .transpose()?;
    let answer = ClientHello {
        version,
        key_hash: identity,
        session_key: own_key.as_ref().map(X25519SecretKey::public_key),
        proxy: false,
        service: service_key.as_ref().map(ServiceKey::hello_part),
    };
    let mut content = Vec::new();
    answer.encode(&mut content);
    stream.write_block(&*plain_block(&content)?).await?;

    let chains = match (&own_key, server_key) {
        (Some(own), Some(server)) if answer.encrypts_blocks() => Some(BlockChain::init(
            session_id.as_bytes(),
            &own.agree(&server),
        )?),
        _ => None,
    };
    let service = match service_key {
        Some(key) => Some(key.establish(&read_plain(stream, "not a padded response").await?)?),
        None => None,
    };
    Ok(Session {
        session_id: session_id.as_bytes().to_vec(),
        server_key,
        chains,
        service,
    })
}

/// The content of a block of the handshake; `what` the error is when it is not padded.
async fn read_plain(stream: &mut TlsStream, what: &'static str) -> Result<Vec<u8>, ClientError> {
    stream
        .read_block(|block| unpad(&block[..]).map(<[u8]>::to_vec))
        .await?
        .ok_or(ClientError::Closed)?
        .map_err(|_| ClientError::Hello(what))
}

/// Service credentials with the key of one session.
struct ServiceKey<'a> {
    credentials: &'a ServiceCredentials,
    key: SigningKey,
    signed_key: Vec<u8>,
}

impl<'a> ServiceKey<'a> {
    fn generate(credentials: &'a ServiceCredentials) -> Result<Self, ClientError> {
        let key = SigningKey::generate_ed25519(&mut rand::rng());
        let key = key.map_err(|_| ClientError::ServiceKey)?;
        let VerifyingKey::Ed25519(public) = key.verifying_key() else {
            return Err(ClientError::ServiceKey);
        };
        let signed_key = sign_ed25519(&public, credentials.credential.signing_key());
        Ok(Self {
            credentials,
            key,
            signed_key,
        })
    }

    fn hello_part(&self) -> ClientService<'_> {
        let chain = self.credentials.credential.chain().iter();
        ClientService {
            role: self.credentials.role,
            key: CertChainKey {
                chain: chain.map(|c| Cow::Borrowed(&c[..])).collect(),
                signed_key: Cow::Borrowed(&self.signed_key),
            },
        }
    }

    /// Takes the server's verdict.
    fn establish(self, response: &[u8]) -> Result<ServiceSession, ClientError> {
        match ServiceResponse::decode(response)? {
            ServiceResponse::Accepted(id) => Ok(ServiceSession {
                id: id.into_owned(),
                role: self.credentials.role,
                fingerprint: self.credentials.credential.identity(),
                key: self.key,
            }),
            ServiceResponse::Refused(e) => Err(ClientError::ServiceRefused(e)),
        }
    }
}

/// The server's session key, whose signature and certificates must be those of the TLS peer.
fn check_key(
    hello: &ServerHello<'_>,
    stream: &TlsStream,
    identity: &[u8; 32],
) -> Result<Option<X25519PublicKey>, ClientError> {
    let Some(key) = &hello.key else {
        return if hello.versions.max() >= Version::AUTH_COMMANDS {
            Err(ClientError::Hello("no session key"))
        } else {
            Ok(None)
        };
    };
    let chain = &key.chain;
    if !(2..=4).contains(&chain.len()) || sha256(&chain[1]) != *identity {
        return Err(ClientError::Hello("certificates of another server"));
    }
    let leaf = stream
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(ClientError::Hello("no TLS certificate"))?;
    let leaf = leaf_key(leaf).map_err(|_| ClientError::Hello("unusable TLS certificate"))?;
    SignedKey::decode(&key.signed_key)
        .and_then(|signed| signed.verify_x25519(&leaf))
        .map(Some)
        .map_err(|_| ClientError::Hello("session key is not signed by the TLS certificate"))
}

fn plain_block(content: &[u8]) -> Result<Box<[u8; BLOCK_SIZE]>, ClientError> {
    let mut block = Box::new([0; BLOCK_SIZE]);
    block
        .get_mut(2..2 + content.len())
        .ok_or(ClientError::TooLarge)?
        .copy_from_slice(content);
    pad_into(content.len(), &mut block[..]).map_err(|_| ClientError::TooLarge)?;
    Ok(block)
}
