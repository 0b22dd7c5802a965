//! Transmissions waiting to be sent, packed into blocks as late as possible.
//!
//! Staged transmissions lie one after another in the form a block's content has, so filling a
//! block is one copy of as many of them as fit.

use std::rc::Rc;

use smp_server::crypto::authorization::{Authorized, Signer, sign_authorized};
use smp_server::crypto::keys::{SigningKey, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::batch::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS};
use smp_server::protocol::transmission::{put_sent, put_transmission};
use smp_server::protocol::{Command, Version};

use crate::error::ClientError;
use crate::service::{ServiceProof, ServiceSession};

/// A correlation id of a client: 24 bytes, also the nonce of an authenticator.
pub type CorrId = [u8; 24];

/// Staging buffers above this capacity are given back when they run empty.
const KEEP_CAPACITY: usize = 64 * 1024;

/// How a command is authorised (spec: protocol §7).
#[derive(Clone, Copy)]
pub enum Auth<'a> {
    /// Not at all.
    None,
    /// With a signature, Ed25519 or Ed448.
    Sign(&'a SigningKey),
    /// With an authenticator, agreeing on the secret anew.
    X25519(&'a X25519SecretKey),
    /// With an authenticator under a secret agreed before, see [`Outbox::agree`].
    Agreed(&'a BoxKey),
    /// With these bytes, whatever they are.
    Raw(&'a [u8]),
}

/// The sending half of a session above blocks.
pub struct Outbox {
    version: Version,
    session_id: Vec<u8>,
    server_key: Option<X25519PublicKey>,
    service: Option<Rc<ServiceSession>>,
    next_corr_id: u64,
    corr_id_tail: [u8; 16],
    /// `len:u16 transmission` one after another.
    staged: Vec<u8>,
    /// Start of the first staged transmission that is not in a block yet.
    from: usize,
    sent_part: Vec<u8>,
    sign_scratch: Vec<u8>,
}

impl Outbox {
    /// An empty outbox of a session; `server_key` is the key of the server's hello, absent in
    /// version 6.
    pub fn new(version: Version, session_id: &[u8], server_key: Option<X25519PublicKey>) -> Self {
        Self {
            version,
            session_id: session_id.to_vec(),
            server_key,
            service: None,
            next_corr_id: 0,
            corr_id_tail: rand::random(),
            staged: Vec::new(),
            from: 0,
            sent_part: Vec::new(),
            sign_scratch: Vec::new(),
        }
    }

    /// Makes the session one of a service: `NEW`, `SUB` and `NSUB` carry its signature from now
    /// on.
    pub fn sign_for(&mut self, service: Rc<ServiceSession>) {
        self.service = Some(service);
    }

    /// The service of the session.
    pub fn service(&self) -> Option<&Rc<ServiceSession>> {
        self.service.as_ref()
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The session id, 32 bytes in TLS 1.3 and 12 in TLS 1.2.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// The server's session key, absent in version 6.
    pub fn server_key(&self) -> Option<X25519PublicKey> {
        self.server_key
    }

    /// Agrees with the server's session key on the secret of `key`'s authenticators.
    pub fn agree(&self, key: &X25519SecretKey) -> Result<BoxKey, ClientError> {
        let server = self.server_key.as_ref().ok_or(ClientError::NoServerKey)?;
        Ok(BoxKey::from(&key.agree(server)))
    }

    /// A correlation id that was not used before: a counter, then 16 bytes random per session.
    pub fn fresh_corr_id(&mut self) -> CorrId {
        let mut id = [0; 24];
        id[..8].copy_from_slice(&self.next_corr_id.to_be_bytes());
        id[8..].copy_from_slice(&self.corr_id_tail);
        self.next_corr_id += 1;
        id
    }

    /// Stages `command` on `entity` (empty: none) and returns its correlation id.
    pub fn send(
        &mut self,
        command: &Command<'_>,
        entity: &[u8],
        auth: Auth<'_>,
    ) -> Result<CorrId, ClientError> {
        let corr_id = self.fresh_corr_id();
        self.send_as(&corr_id, command, entity, auth)?;
        Ok(corr_id)
    }

    /// [`send`](Self::send) with a correlation id of the caller's, 0 to 255 bytes.
    pub fn send_as(
        &mut self,
        corr_id: &[u8],
        command: &Command<'_>,
        entity: &[u8],
        auth: Auth<'_>,
    ) -> Result<(), ClientError> {
        let service = self.service.clone();
        let proof = service
            .as_ref()
            .filter(|_| ServiceProof::is_required(command));
        let proof = proof.map_or(ServiceProof::NONE, |service| service.proof());
        self.send_with(corr_id, command, entity, auth, proof)
    }

    /// [`send_as`](Self::send_as) with a proof of a service that need not be right. What is not
    /// authorised has no place for a service signature.
    pub fn send_with(
        &mut self,
        corr_id: &[u8],
        command: &Command<'_>,
        entity: &[u8],
        auth: Auth<'_>,
        proof: ServiceProof<'_>,
    ) -> Result<(), ClientError> {
        let version = self.version;
        self.sent_part.clear();
        put_sent(
            &mut self.sent_part,
            version,
            &self.session_id,
            corr_id,
            entity,
            |out| command.encode(version, out),
        );
        let agreed;
        let signer = match auth {
            Auth::None => None,
            Auth::Sign(key) => Some(Signer::Key(key)),
            Auth::X25519(key) => {
                agreed = self.agree(key)?;
                Some(Signer::Secret(&agreed))
            }
            Auth::Agreed(secret) => Some(Signer::Secret(secret)),
            Auth::Raw(_) => None,
        };
        let authorized = if version < Version::AUTH_COMMANDS {
            Authorized::sent_only(&self.sent_part)
        } else {
            Authorized::new(&self.session_id, &self.sent_part)
        };
        let signature = proof.sign(&authorized, &mut self.sign_scratch)?;
        let authorized = match proof.fingerprint {
            Some(fingerprint) => authorized.for_service(fingerprint),
            None => authorized,
        };
        let signed;
        let authorization = match (signer, auth) {
            (Some(signer), _) => {
                signed = sign_authorized(signer, corr_id, &authorized, &mut self.sign_scratch);
                &signed[..]
            }
            (None, Auth::Raw(bytes)) => bytes,
            (None, _) => &[],
        };
        let sent = &self.sent_part;
        stage(&mut self.staged, |out| {
            put_transmission(out, version, authorization, signature.as_ref(), sent);
        })
    }

    /// Stages the bytes of a transmission as they are.
    pub fn send_raw(&mut self, transmission: &[u8]) -> Result<(), ClientError> {
        stage(&mut self.staged, |out| out.extend_from_slice(transmission))
    }

    /// Whether everything staged was packed.
    pub fn is_empty(&self) -> bool {
        self.from == self.staged.len()
    }

    /// Bytes staged and not packed.
    pub fn len(&self) -> usize {
        self.staged.len() - self.from
    }

    /// Appends the content of a block with as many staged transmissions as fit; nothing and false
    /// when none is staged.
    pub fn pack(&mut self, out: &mut Vec<u8>) -> bool {
        let (count, len) = measure(&self.staged[self.from..]);
        if count == 0 {
            return false;
        }
        out.push(count);
        out.extend_from_slice(&self.staged[self.from..self.from + len]);
        self.from += len;
        if self.is_empty() {
            self.from = 0;
            if self.staged.capacity() > KEEP_CAPACITY {
                self.staged = Vec::new();
            }
            self.staged.clear();
        }
        true
    }

    /// Gives back all memory that an idle session does not need.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.staged = Vec::new();
            self.from = 0;
        }
        self.sent_part = Vec::new();
        self.sign_scratch = Vec::new();
    }
}

/// Appends one length-prefixed transmission, or nothing when no block could hold it.
fn stage(staged: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), ClientError> {
    let start = staged.len();
    staged.extend_from_slice(&[0, 0]);
    put(staged);
    let len = staged.len() - start - 2;
    if len + 2 > MAX_BATCH_BYTES {
        staged.truncate(start);
        return Err(ClientError::TooLarge);
    }
    let prefix = u16::try_from(len).map_err(|_| ClientError::TooLarge)?;
    staged[start..start + 2].copy_from_slice(&prefix.to_be_bytes());
    Ok(())
}

/// How many transmissions from the front of `staged` fit one block, and their length with
/// prefixes.
fn measure(staged: &[u8]) -> (u8, usize) {
    let (mut count, mut len) = (0, 0);
    while let Some(prefix) = staged[len..].first_chunk() {
        let end = len + 2 + usize::from(u16::from_be_bytes(*prefix));
        if end > MAX_BATCH_BYTES || usize::from(count) == MAX_BATCH_ITEMS {
            break;
        }
        len = end;
        count += 1;
    }
    (count, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smp_server::crypto::authorization::{Authorization, Claim};
    use smp_server::crypto::keys::PublicAuthKey;
    use smp_server::protocol::batch::decode_batch;
    use smp_server::protocol::transmission::Transmission;

    fn outbox() -> Outbox {
        let server = X25519SecretKey::from_bytes([7; 32]);
        Outbox::new(Version::CURRENT, &[1; 32], Some(server.public_key()))
    }

    fn packed(outbox: &mut Outbox) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        outbox.pack(&mut content).then_some(content)
    }

    #[test]
    fn as_many_signed_subscriptions_per_block_as_the_reference() {
        let key = SigningKey::ed25519_from_seed([3; 32]).unwrap();
        let mut outbox = outbox();
        for _ in 0..300 {
            outbox
                .send(&Command::Sub, &[9; 24], Auth::Sign(&key))
                .unwrap();
        }
        let mut counts = Vec::new();
        while let Some(content) = packed(&mut outbox) {
            counts.push(decode_batch(&content).unwrap().len());
        }
        assert_eq!(counts, [135, 135, 30]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn at_most_255_small_transmissions_per_block() {
        let mut outbox = outbox();
        for _ in 0..256 {
            outbox.send(&Command::Ping, &[], Auth::None).unwrap();
        }
        let content = packed(&mut outbox).unwrap();
        assert_eq!(decode_batch(&content).unwrap().len(), 255);
        assert!(packed(&mut outbox).is_some());
        assert!(packed(&mut outbox).is_none());
    }

    #[test]
    fn refuses_what_no_block_holds_and_keeps_the_rest() {
        let mut outbox = outbox();
        outbox.send(&Command::Ping, &[], Auth::None).unwrap();
        let before = outbox.len();
        let body = [0; 16384];
        let send = Command::Send {
            notify: false,
            body: &body,
        };
        assert!(matches!(
            outbox.send(&send, &[1; 24], Auth::None),
            Err(ClientError::TooLarge)
        ));
        assert_eq!(outbox.len(), before);
    }

    #[test]
    fn authorizations_verify_and_correlation_ids_differ() {
        let signing = SigningKey::ed25519_from_seed([3; 32]).unwrap();
        let secret = X25519SecretKey::from_bytes([4; 32]);
        let mut outbox = outbox();
        let agreed = outbox.agree(&secret).unwrap();
        let keys = [
            PublicAuthKey::from(signing.verifying_key()),
            PublicAuthKey::X25519(secret.public_key().0),
            PublicAuthKey::X25519(secret.public_key().0),
        ];
        let auths = [
            Auth::Sign(&signing),
            Auth::X25519(&secret),
            Auth::Agreed(&agreed),
        ];
        for auth in auths {
            outbox.send(&Command::Sub, &[9; 24], auth).unwrap();
        }
        let content = packed(&mut outbox).unwrap();
        let mut corr_ids = Vec::new();
        let mut session = X25519SecretKey::from_bytes([7; 32]);
        for (bytes, key) in decode_batch(&content).unwrap().zip(keys) {
            let t = Transmission::decode(bytes, Version::CURRENT).unwrap();
            let claim = Claim {
                authorization: Authorization::from_bytes(t.authorization).unwrap(),
                corr_id: t.corr_id,
                authorized: Authorized::new(&[1; 32], t.sent),
            };
            assert!(claim.verify(&key, &mut session, &mut Vec::new()));
            corr_ids.push(t.corr_id.to_vec());
        }
        corr_ids.dedup();
        assert_eq!(corr_ids.len(), 3);
    }
}
