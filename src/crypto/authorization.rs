//! Command authorization: signatures and X25519 authenticators (spec: protocol §7).
//!
//! # What a failure may reveal
//!
//! The time of a failing check must not tell whether a queue, or which key, exists
//! (spec: protocol §17). Its cost therefore depends only on what the peer sent, the kind of the
//! authorization and the length of the transmission:
//!
//! - a key of another kind than the authorization, and no key at all, cost a check with a fixed
//!   dummy key of the authorization's kind, whose result is discarded;
//! - an authenticator is checked by computing the one expected (a box is deterministic) and
//!   comparing all 80 bytes in constant time: no early exit at the tag, which could be reached on
//!   purpose because anyone can agree with the dummy key;
//! - secrets agreed on may be kept ([`SessionSecrets`]), but only those of a check that succeeded,
//!   and a kept secret shortens only a success: a failure with it still pays for an agreement.
//!   Without this, clients behind one proxy, who share its session, could see by a fast failure
//!   that a queue exists and was used by another of them.
//!
//! A stored key that is not a point of its curve fails early; whoever stored it can only reveal
//! the queue they already know.

use std::hint::black_box;

use subtle::ConstantTimeEq;

use super::hash::sha512_parts;
use super::keys::{
    ED448_SIGNATURE_LEN, ED25519_SIGNATURE_LEN, KEY_25519_LEN, KEY_ED448_LEN, PublicAuthKey,
    SigningKey, VerifyingKey, X25519PublicKey, X25519SecretKey,
};
use super::smp_box::{BoxKey, TAG_LEN, nonce_from};

/// Bytes of an X25519 authenticator: the box of a SHA-512.
pub const AUTHENTICATOR_LEN: usize = TAG_LEN + 64;

// The dummy keys are the base points of the curves: valid, of prime order, nothing up a sleeve.
const DUMMY_ED25519: [u8; KEY_25519_LEN] = {
    let mut key = [0x66; KEY_25519_LEN];
    key[0] = 0x58;
    key
};
const DUMMY_X25519: X25519PublicKey = X25519PublicKey({
    let mut key = [0; KEY_25519_LEN];
    key[0] = 9;
    key
});
const DUMMY_ED448: [u8; KEY_ED448_LEN] = [
    0x14, 0xfa, 0x30, 0xf2, 0x5b, 0x79, 0x08, 0x98, 0xad, 0xc8, 0xd7, 0x4e, 0x2c, 0x13, 0xbd, 0xfd,
    0xc4, 0x39, 0x7c, 0xe6, 0x1c, 0xff, 0xd3, 0x3a, 0xd7, 0xc2, 0xa0, 0x05, 0x1e, 0x9c, 0x78, 0x87,
    0x40, 0x98, 0xa3, 0x6c, 0x73, 0x73, 0xea, 0x4b, 0x62, 0xc7, 0xc9, 0x56, 0x37, 0x20, 0x76, 0x88,
    0x24, 0xbc, 0xb6, 0x6e, 0x71, 0x46, 0x3f, 0x69, 0x00,
];

/// The authorization in front of a transmission; its length tells its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// Absent.
    None,
    /// A signature with an Ed25519 key.
    Ed25519(&'a [u8; ED25519_SIGNATURE_LEN]),
    /// A signature with an Ed448 key.
    Ed448(&'a [u8; ED448_SIGNATURE_LEN]),
    /// An authenticator under the agreement of an X25519 key and the session key.
    X25519(&'a [u8; AUTHENTICATOR_LEN]),
}

impl<'a> Authorization<'a> {
    /// The kind of `bytes` (0, 64, 114 or 80 of them), `None` at any other length.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() {
            Some(Self::None)
        } else if let Ok(signature) = bytes.try_into() {
            Some(Self::Ed25519(signature))
        } else if let Ok(authenticator) = bytes.try_into() {
            Some(Self::X25519(authenticator))
        } else if let Ok(signature) = bytes.try_into() {
            Some(Self::Ed448(signature))
        } else {
            None
        }
    }

    /// The bytes as on the wire, without their length.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::None => &[],
            Self::Ed25519(signature) => &signature[..],
            Self::Ed448(signature) => &signature[..],
            Self::X25519(authenticator) => &authenticator[..],
        }
    }
}

/// What an authorization covers, in the pieces in which it lies in memory
/// (spec: protocol §6.2, §7.4).
#[derive(Debug, Clone, Copy)]
pub struct Authorized<'a> {
    fingerprint: &'a [u8],
    session_len: Option<[u8; 1]>,
    session_id: &'a [u8],
    sent: &'a [u8],
}

impl<'a> Authorized<'a> {
    /// Version 7 and later: the session ID (at most 255 bytes) is implied before `sent`.
    pub fn new(session_id: &'a [u8], sent: &'a [u8]) -> Self {
        let len = u8::try_from(session_id.len()).unwrap_or(u8::MAX);
        Self {
            fingerprint: &[],
            session_len: Some([len]),
            session_id: &session_id[..usize::from(len)],
            sent,
        }
    }

    /// Version 6: `sent` carries the session ID itself.
    pub fn sent_only(sent: &'a [u8]) -> Self {
        Self {
            fingerprint: &[],
            session_len: None,
            session_id: &[],
            sent,
        }
    }

    /// The same as covered by the entity key in a service session: preceded by the SHA-256 of the
    /// service identity certificate.
    #[must_use]
    pub fn for_service(self, fingerprint: &'a [u8; 32]) -> Self {
        Self {
            fingerprint,
            ..self
        }
    }

    /// The pieces; their concatenation is what is authorized.
    pub fn parts(&self) -> [&[u8]; 4] {
        let len = self.session_len.as_ref().map_or(&[][..], |len| len);
        [self.fingerprint, len, self.session_id, self.sent]
    }

    /// Replaces `scratch` by the concatenation and returns it.
    fn concat_into<'s>(&self, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        scratch.clear();
        for part in self.parts() {
            scratch.extend_from_slice(part);
        }
        scratch
    }
}

/// The session key of a connection, and the secrets agreed with it that are worth keeping.
pub trait SessionSecrets {
    /// Agrees with `peer`: always does the work, whatever is kept. `None` only when the connection
    /// has no session key, which must not depend on `peer`.
    fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey>;

    /// A secret kept by [`remember`](Self::remember) for this session key and `peer`.
    fn cached(&mut self, _peer: &X25519PublicKey) -> Option<&BoxKey> {
        None
    }

    /// Takes the secret of a check that has succeeded; never called after a failure.
    fn remember(&mut self, _peer: &X25519PublicKey, _secret: BoxKey) {}
}

/// A session key that keeps nothing.
impl SessionSecrets for X25519SecretKey {
    fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey> {
        Some(BoxKey::from(&X25519SecretKey::agree(self, peer)))
    }
}

/// A connection whose server hello had no session key (version 6).
impl<S: SessionSecrets> SessionSecrets for Option<S> {
    fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey> {
        self.as_mut()?.agree(peer)
    }

    fn cached(&mut self, peer: &X25519PublicKey) -> Option<&BoxKey> {
        self.as_mut()?.cached(peer)
    }

    fn remember(&mut self, peer: &X25519PublicKey, secret: BoxKey) {
        if let Some(secrets) = self {
            secrets.remember(peer, secret);
        }
    }
}

/// The authenticator of the concatenation of `parts` (spec: protocol §7.2). `corr_id` gives the
/// nonce.
pub fn authenticator(secret: &BoxKey, corr_id: &[u8], parts: &[&[u8]]) -> [u8; AUTHENTICATOR_LEN] {
    box_of_hash(secret, corr_id, &sha512_parts(parts))
}

fn box_of_hash(secret: &BoxKey, corr_id: &[u8], hash: &[u8; 64]) -> [u8; AUTHENTICATOR_LEN] {
    let mut boxed = [0; AUTHENTICATOR_LEN];
    boxed[TAG_LEN..].copy_from_slice(hash);
    // Cannot fail: the buffer has room for a tag. An unsealed hash would match nothing.
    let sealed = secret.seal_in_place(&nonce_from(corr_id), &mut boxed);
    debug_assert!(sealed.is_ok());
    boxed
}

/// What a transmission claims: that the holder of a key sent `authorized`.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The proof.
    pub authorization: Authorization<'a>,
    /// Correlation ID of the transmission, the nonce of an authenticator.
    pub corr_id: &'a [u8],
    /// What is proved.
    pub authorized: Authorized<'a>,
}

impl Claim<'_> {
    /// Whether `key` authorized this. `scratch` is overwritten.
    pub fn verify(
        &self,
        key: &PublicAuthKey,
        secrets: &mut dyn SessionSecrets,
        scratch: &mut Vec<u8>,
    ) -> bool {
        match (self.authorization, key) {
            (Authorization::Ed25519(signature), PublicAuthKey::Ed25519(key)) => {
                self.verify_signature(VerifyingKey::Ed25519(*key), signature, scratch)
            }
            (Authorization::Ed448(signature), PublicAuthKey::Ed448(key)) => {
                self.verify_signature(VerifyingKey::Ed448(*key), signature, scratch)
            }
            (Authorization::X25519(authenticator), PublicAuthKey::X25519(key)) => {
                self.verify_authenticator(&X25519PublicKey(*key), authenticator, secrets)
            }
            _ => {
                self.verify_dummy(secrets, scratch);
                false
            }
        }
    }

    /// Whether any of `keys` authorized this, tried in order up to the first that did. Keys of
    /// another kind than the authorization cost nothing as long as one is of its kind.
    pub fn verify_any(
        &self,
        keys: &[PublicAuthKey],
        secrets: &mut dyn SessionSecrets,
        scratch: &mut Vec<u8>,
    ) -> bool {
        let mut tried = false;
        for key in keys.iter().filter(|key| self.is_for(key)) {
            tried = true;
            if self.verify(key, secrets, scratch) {
                return true;
            }
        }
        if !tried {
            self.verify_dummy(secrets, scratch);
        }
        false
    }

    /// Does the work of a failing check, for queues that do not exist or must seem so.
    pub fn verify_dummy(&self, secrets: &mut dyn SessionSecrets, scratch: &mut Vec<u8>) {
        let discarded = match self.authorization {
            Authorization::None => false,
            Authorization::Ed25519(signature) => {
                self.verify_signature(VerifyingKey::Ed25519(DUMMY_ED25519), signature, scratch)
            }
            Authorization::Ed448(signature) => {
                self.verify_signature(VerifyingKey::Ed448(DUMMY_ED448), signature, scratch)
            }
            Authorization::X25519(authenticator) => {
                let hash = sha512_parts(&self.authorized.parts());
                secrets
                    .agree(&DUMMY_X25519)
                    .is_some_and(|secret| self.matches(&secret, &hash, authenticator))
            }
        };
        // The optimiser must not drop a check whose result nobody reads.
        black_box(discarded);
    }

    fn is_for(&self, key: &PublicAuthKey) -> bool {
        matches!(
            (self.authorization, key),
            (Authorization::Ed25519(_), PublicAuthKey::Ed25519(_))
                | (Authorization::Ed448(_), PublicAuthKey::Ed448(_))
                | (Authorization::X25519(_), PublicAuthKey::X25519(_))
        )
    }

    fn verify_signature(&self, key: VerifyingKey, sig: &[u8], scratch: &mut Vec<u8>) -> bool {
        key.verify(self.authorized.concat_into(scratch), sig)
    }

    fn verify_authenticator(
        &self,
        peer: &X25519PublicKey,
        authenticator: &[u8; AUTHENTICATOR_LEN],
        secrets: &mut dyn SessionSecrets,
    ) -> bool {
        let hash = sha512_parts(&self.authorized.parts());
        if let Some(secret) = secrets.cached(peer) {
            if self.matches(secret, &hash, authenticator) {
                return true;
            }
            // A failure costs an agreement whether or not the secret was known.
            black_box(secrets.agree(peer));
            return false;
        }
        let Some(secret) = secrets.agree(peer) else {
            return false;
        };
        let valid = self.matches(&secret, &hash, authenticator);
        if valid {
            secrets.remember(peer, secret);
        }
        valid
    }

    fn matches(
        &self,
        secret: &BoxKey,
        hash: &[u8; 64],
        authenticator: &[u8; AUTHENTICATOR_LEN],
    ) -> bool {
        let expected = box_of_hash(secret, self.corr_id, hash);
        expected.ct_eq(authenticator).into()
    }
}

/// Whether `signature` is that of a service's session key over `authorized`, without the
/// fingerprint that the entity key also covers (spec: protocol §7.4). `scratch` is overwritten.
pub fn verify_service(
    session_key: &[u8; KEY_25519_LEN],
    signature: &[u8; ED25519_SIGNATURE_LEN],
    authorized: &Authorized<'_>,
    scratch: &mut Vec<u8>,
) -> bool {
    let plain = Authorized {
        fingerprint: &[],
        ..*authorized
    };
    VerifyingKey::Ed25519(*session_key).verify(plain.concat_into(scratch), signature)
}

/// The private side of a command key.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// Signs.
    Key(&'a SigningKey),
    /// Makes authenticators under the agreement of the own X25519 key and the server's session
    /// key.
    Secret(&'a BoxKey),
}

/// The authorization of `authorized`: 64, 114 or 80 bytes. `scratch` is overwritten.
pub fn sign_authorized(
    signer: Signer<'_>,
    corr_id: &[u8],
    authorized: &Authorized<'_>,
    scratch: &mut Vec<u8>,
) -> Vec<u8> {
    match signer {
        Signer::Key(key) => key.sign(authorized.concat_into(scratch)),
        Signer::Secret(secret) => authenticator(secret, corr_id, &authorized.parts()).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors;
    use super::*;

    /// Counts the work done and keeps secrets as a connection would.
    struct Session {
        key: X25519SecretKey,
        kept: Option<(X25519PublicKey, BoxKey)>,
        agreements: usize,
    }

    impl Session {
        fn new(seed: u8) -> Self {
            Self {
                key: X25519SecretKey::from_bytes([seed; 32]),
                kept: None,
                agreements: 0,
            }
        }

        fn agreements_during(&mut self, check: impl FnOnce(&mut Self)) -> usize {
            let before = self.agreements;
            check(self);
            self.agreements - before
        }
    }

    impl SessionSecrets for Session {
        fn agree(&mut self, peer: &X25519PublicKey) -> Option<BoxKey> {
            self.agreements += 1;
            Some(BoxKey::from(&self.key.agree(peer)))
        }

        fn cached(&mut self, peer: &X25519PublicKey) -> Option<&BoxKey> {
            let (known, secret) = self.kept.as_ref()?;
            (known == peer).then_some(secret)
        }

        fn remember(&mut self, peer: &X25519PublicKey, secret: BoxKey) {
            self.kept = Some((*peer, secret));
        }
    }

    fn claim<'a>(bytes: &'a [u8], corr_id: &'a [u8], authorized: Authorized<'a>) -> Claim<'a> {
        Claim {
            authorization: Authorization::from_bytes(bytes).unwrap(),
            corr_id,
            authorized,
        }
    }

    #[test]
    fn kinds_by_length() {
        for len in 0..=255 {
            let bytes = vec![1; len];
            let kind = Authorization::from_bytes(&bytes);
            assert_eq!(kind.is_some(), [0, 64, 80, 114].contains(&len));
            if let Some(kind) = kind {
                assert_eq!(kind.as_bytes(), bytes);
            }
        }
    }

    #[test]
    fn dummy_keys_are_points() {
        assert_eq!(crrl::ed448::Point::BASE.encode(), DUMMY_ED448);
        assert!(crrl::ed448::PublicKey::decode(&DUMMY_ED448).is_some());
        assert!(ed25519_dalek::VerifyingKey::from_bytes(&DUMMY_ED25519).is_ok());
    }

    #[test]
    fn authenticator_is_known() {
        let v = vectors::get("cb_authenticator");
        let session_id = vectors::hex(&v["session_id"]);
        let corr_id = vectors::hex(&v["corr_id"]);
        let whole = vectors::hex(&v["authorized"]);
        let expected = vectors::hex(&v["authenticator"]);
        let sent = &whole[1 + session_id.len()..];
        let authorized = Authorized::new(&session_id, sent);
        assert_eq!(authorized.parts().concat(), whole);

        let sender = vectors::x25519_secret(&v["sender_private"]);
        let mut server = vectors::x25519_secret(&v["server_session_private"]);
        let secret = BoxKey::from(&X25519SecretKey::agree(&sender, &server.public_key()));
        assert_eq!(
            authenticator(&secret, &corr_id, &authorized.parts())[..],
            expected
        );

        let key = PublicAuthKey::X25519(vectors::array(&v["sender_public"]));
        let claim = claim(&expected, &corr_id, authorized);
        assert!(claim.verify(&key, &mut server, &mut Vec::new()));
        let other = Claim {
            corr_id: &[],
            ..claim
        };
        assert!(!other.verify(&key, &mut server, &mut Vec::new()));
        assert!(!claim.verify(&key, &mut None::<X25519SecretKey>, &mut Vec::new()));
    }

    #[test]
    fn proxied_authenticator_is_known() {
        let v = vectors::get("proxy_flow");
        let relay = vectors::x25519_secret(&v["relay_session_private"]);
        let sender = vectors::x25519_secret(&vectors::get("cb_authenticator")["sender_private"]);
        let secret = BoxKey::from(&sender.agree(&relay.public_key()));
        let whole = vectors::hex(&v["inner_authorized"]);
        assert_eq!(
            authenticator(&secret, &vectors::hex(&v["pfwd_corr_id"]), &[&whole]),
            vectors::array(&v["inner_authenticator"])
        );
    }

    #[test]
    fn signatures_are_known() {
        let v = vectors::get("new_transmissions");
        let seed = vectors::array(&v["rcv_auth_seed"]);
        let key = SigningKey::ed25519_from_seed(seed).unwrap();
        let session_id = vectors::hex(&v["session_id"]);
        for case in v["cases"].as_array().unwrap() {
            let whole = vectors::hex(&case["authorized"]);
            let signature = vectors::hex(&case["signature"]);
            let authorized = if case["version"] == 6 {
                Authorized::sent_only(&whole)
            } else {
                Authorized::new(&session_id, &whole[1 + session_id.len()..])
            };
            let mut scratch = Vec::new();
            let made = sign_authorized(Signer::Key(&key), &[], &authorized, &mut scratch);
            assert_eq!(made, signature);
            assert!(claim(&signature, &[], authorized).verify(
                &key.verifying_key().into(),
                &mut Session::new(1),
                &mut scratch
            ));
        }
    }

    #[test]
    fn service_signatures_are_known() {
        let v = vectors::get("service_auth");
        let fingerprint = vectors::array(&v["service_cert_fingerprint"]);
        let session_id = vectors::hex(&v["session_id"]);
        let whole = vectors::hex(&v["authorized"]);
        let plain = Authorized::new(&session_id, &whole[1 + session_id.len()..]);
        let both = plain.for_service(&fingerprint);
        assert_eq!(both.parts().concat(), vectors::hex(&v["entity_signed"]));

        let mut scratch = Vec::new();
        let entity = SigningKey::ed25519_from_seed(vectors::array(&v["ntf_auth_seed"])).unwrap();
        let signature = vectors::hex(&v["entity_signature"]);
        let key = entity.verifying_key().into();
        let mut session = Session::new(1);
        assert_eq!(
            sign_authorized(Signer::Key(&entity), &[], &both, &mut scratch),
            signature
        );
        assert!(claim(&signature, &[], both).verify(&key, &mut session, &mut scratch));
        assert!(!claim(&signature, &[], plain).verify(&key, &mut session, &mut scratch));

        let seed = vectors::array(&v["service_session_seed"]);
        let service = SigningKey::ed25519_from_seed(seed).unwrap();
        let signature = vectors::array(&v["service_signature"]);
        let VerifyingKey::Ed25519(key) = service.verifying_key() else {
            panic!("not Ed25519");
        };
        assert!(verify_service(&key, &signature, &both, &mut scratch));
        assert!(verify_service(&key, &signature, &plain, &mut scratch));
        assert!(!verify_service(
            &DUMMY_ED25519,
            &signature,
            &both,
            &mut scratch
        ));
    }

    #[test]
    fn ed448_signature_verifies() {
        let key = SigningKey::ed448_from_seed([3; 57]);
        let authorized = Authorized::new(b"session", b"sent");
        let mut scratch = Vec::new();
        let made = sign_authorized(Signer::Key(&key), &[], &authorized, &mut scratch);
        let claim = claim(&made, &[], authorized);
        let mut session = Session::new(1);
        assert!(claim.verify(&key.verifying_key().into(), &mut session, &mut scratch));
        let other = PublicAuthKey::Ed448(DUMMY_ED448);
        assert!(!claim.verify(&other, &mut session, &mut scratch));
        let malformed = PublicAuthKey::Ed448([0xff; 57]);
        assert!(!claim.verify(&malformed, &mut session, &mut scratch));
    }

    #[test]
    fn a_kept_secret_shortens_only_a_success() {
        let mut session = Session::new(1);
        let owner = X25519SecretKey::from_bytes([2; 32]);
        let key = PublicAuthKey::X25519(owner.public_key().0);
        let unknown = PublicAuthKey::X25519([4; 32]);
        let other_kind = PublicAuthKey::Ed25519(DUMMY_ED25519);
        let secret = BoxKey::from(&owner.agree(&session.key.public_key()));
        let authorized = Authorized::new(b"session", b"sent");
        let good = authenticator(&secret, b"id", &authorized.parts());
        let good = claim(&good, b"id", authorized);
        let bad = claim(&[0; AUTHENTICATOR_LEN], b"id", authorized);
        let mut scratch = Vec::new();

        // A failure is never remembered.
        assert!(!bad.verify(&key, &mut session, &mut scratch));
        assert!(session.kept.is_none());
        // The dummy key can be agreed with by anyone; that success is never remembered either.
        let secret = BoxKey::new(&session.key.public_key().0);
        let dummy = authenticator(&secret, b"id", &authorized.parts());
        claim(&dummy, b"id", authorized).verify_dummy(&mut session, &mut scratch);
        assert!(session.kept.is_none());

        for expected in [1, 0, 0] {
            let work = session.agreements_during(|session| {
                assert!(good.verify(&key, session, &mut scratch));
            });
            assert_eq!(work, expected);
        }
        for key in [key, unknown, other_kind] {
            let work = session.agreements_during(|session| {
                assert!(!bad.verify(&key, session, &mut scratch));
            });
            assert_eq!(work, 1, "{key:?}");
        }
        let work = session.agreements_during(|s| bad.verify_dummy(s, &mut scratch));
        assert_eq!(work, 1);
    }

    #[test]
    fn absent_authorization_authorizes_nothing() {
        let claim = claim(&[], b"id", Authorized::new(b"session", b"sent"));
        let mut session = Session::new(1);
        let key = PublicAuthKey::X25519([4; 32]);
        assert!(!claim.verify(&key, &mut session, &mut Vec::new()));
        assert!(!claim.verify_any(&[key], &mut session, &mut Vec::new()));
        claim.verify_dummy(&mut session, &mut Vec::new());
        assert_eq!(session.agreements, 0);
    }

    #[test]
    fn any_of_several_keys() {
        let signer = SigningKey::ed25519_from_seed([1; 32]).unwrap();
        let owner = X25519SecretKey::from_bytes([2; 32]);
        let mut session = Session::new(1);
        let secret = BoxKey::from(&owner.agree(&session.key.public_key()));
        let keys = [
            PublicAuthKey::Ed448(DUMMY_ED448),
            PublicAuthKey::X25519(owner.public_key().0),
            signer.verifying_key().into(),
        ];
        let authorized = Authorized::new(b"session", b"sent");
        let mut scratch = Vec::new();
        for signer in [Signer::Key(&signer), Signer::Secret(&secret)] {
            let made = sign_authorized(signer, b"id", &authorized, &mut scratch);
            let claim = claim(&made, b"id", authorized);
            assert!(claim.verify_any(&keys, &mut session, &mut scratch));
            assert!(!claim.verify_any(&keys[..1], &mut session, &mut scratch));
            assert!(!claim.verify_any(&[], &mut session, &mut scratch));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_byte_counts(
            sent in proptest::collection::vec(any::<u8>(), 1..200),
            corr_id in proptest::collection::vec(any::<u8>(), 24),
            flip: proptest::sample::Index,
            bit in 0..8u8,
        ) {
            let mut session = Session::new(1);
            let owner = X25519SecretKey::from_bytes([2; 32]);
            let secret = BoxKey::from(&owner.agree(&session.key.public_key()));
            let signer = SigningKey::ed25519_from_seed([1; 32]).unwrap();
            let mut scratch = Vec::new();
            for (signer, key) in [
                (Signer::Secret(&secret), PublicAuthKey::X25519(owner.public_key().0)),
                (Signer::Key(&signer), signer.verifying_key().into()),
            ] {
                let authorized = Authorized::new(b"session", &sent);
                let made = sign_authorized(signer, &corr_id, &authorized, &mut scratch);
                let good = claim(&made, &corr_id, authorized);
                prop_assert!(good.verify(&key, &mut session, &mut scratch));

                let mut tampered = made.clone();
                tampered[flip.index(made.len())] ^= 1 << bit;
                let bad = claim(&tampered, &corr_id, authorized);
                prop_assert!(!bad.verify(&key, &mut session, &mut scratch));

                let mut other = sent.clone();
                other[flip.index(sent.len())] ^= 1 << bit;
                let bad = claim(&made, &corr_id, Authorized::new(b"session", &other));
                prop_assert!(!bad.verify(&key, &mut session, &mut scratch));
            }
        }

        #[test]
        fn any_bytes_verify_without_panic(
            raw in proptest::collection::vec(any::<u8>(), 114),
            key: [u8; 32],
            sent in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let keys = [
                PublicAuthKey::Ed25519(key),
                PublicAuthKey::X25519(key),
                PublicAuthKey::Ed448(std::array::from_fn(|i| key[i % 32])),
            ];
            let mut session = Session::new(1);
            for len in [0, 64, 80, 114] {
                let claim = claim(&raw[..len], &sent, Authorized::new(&sent, &sent));
                for key in keys {
                    prop_assert!(!claim.verify(&key, &mut session, &mut Vec::new()));
                }
                claim.verify_dummy(&mut session, &mut Vec::new());
            }
        }
    }
}
