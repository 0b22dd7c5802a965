//! The cryptography of SMP's TLS: two ChaCha20-Poly1305 suites, X25519 and optionally X448
//! (spec: protocol §2.1), wrapped so that the client Finished is captured (spec: protocol §2.7).

use std::sync::{Arc, LazyLock};

use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup, aws_lc_rs, hmac, tls12,
    tls13,
};
use rustls::{
    CipherSuiteCommon, Error, NamedGroup, PeerMisbehaved, SignatureScheme, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};
use zeroize::Zeroizing;

use super::capture;

const X448_LEN: usize = 56;

/// Signature schemes of both roles, in the order they are offered (spec: protocol §2.1).
pub const SIGNATURE_SCHEMES: &[SignatureScheme] =
    &[SignatureScheme::ED448, SignatureScheme::ED25519];

static X25519_ONLY: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(build(vec![aws_lc_rs::kx_group::X25519])));
static X448_FIRST: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(build(vec![&X448, aws_lc_rs::kx_group::X25519])));

/// The provider of every SMP connection.
///
/// Without `x448` a client that sends only an X448 key share is asked to retry with X25519, which
/// costs it a round trip; with it such a handshake costs this side about 0.15 ms more.
pub fn provider(x448: bool) -> Arc<CryptoProvider> {
    let shared = if x448 { &X448_FIRST } else { &X25519_ONLY };
    Arc::clone(shared)
}

fn build(kx_groups: Vec<&'static dyn SupportedKxGroup>) -> CryptoProvider {
    let suites = [
        capture_tls13(aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
        capture_tls12(aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ];
    CryptoProvider {
        cipher_suites: suites.into_iter().flatten().collect(),
        kx_groups,
        ..aws_lc_rs::default_provider()
    }
}

fn common(suite: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: suite.suite,
        hash_provider: suite.hash_provider,
        confidentiality_limit: suite.confidentiality_limit,
    }
}

// The suites below are leaked: `rustls` wants them `'static`, and each provider is built once.

fn capture_tls13(suite: SupportedCipherSuite) -> Option<SupportedCipherSuite> {
    let inner = suite.tls13()?;
    let hkdf: &'static CapturingHkdf = Box::leak(Box::new(CapturingHkdf(inner.hkdf_provider)));
    Some(SupportedCipherSuite::Tls13(Box::leak(Box::new(
        Tls13CipherSuite {
            common: common(&inner.common),
            hkdf_provider: hkdf,
            aead_alg: inner.aead_alg,
            quic: None,
        },
    ))))
}

fn capture_tls12(suite: SupportedCipherSuite) -> Option<SupportedCipherSuite> {
    let SupportedCipherSuite::Tls12(inner) = suite else {
        return None;
    };
    let prf: &'static CapturingPrf = Box::leak(Box::new(CapturingPrf(inner.prf_provider)));
    Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(
        Tls12CipherSuite {
            common: common(&inner.common),
            prf_provider: prf,
            kx: inner.kx,
            sign: SIGNATURE_SCHEMES,
            aead_alg: inner.aead_alg,
        },
    ))))
}

/// TLS 1.3: `hmac_sign` makes Finished values and nothing else once PSKs are off.
struct CapturingHkdf(&'static dyn tls13::Hkdf);

impl tls13::Hkdf for CapturingHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn tls13::HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(
        &self,
        salt: Option<&[u8]>,
        secret: &[u8],
    ) -> Box<dyn tls13::HkdfExpander> {
        self.0.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn tls13::HkdfExpander>, Error> {
        self.0.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &tls13::OkmBlock) -> Box<dyn tls13::HkdfExpander> {
        self.0.expander_for_okm(okm)
    }

    fn hmac_sign(&self, key: &tls13::OkmBlock, message: &[u8]) -> hmac::Tag {
        let tag = self.0.hmac_sign(key, message);
        capture::note_finished(tag.as_ref());
        tag
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// TLS 1.2: the client Finished is the PRF output under its own label.
struct CapturingPrf(&'static dyn tls12::Prf);

impl tls12::Prf for CapturingPrf {
    fn for_key_exchange(
        &self,
        output: &mut [u8; 48],
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
        label: &[u8],
        seed: &[u8],
    ) -> Result<(), Error> {
        self.0
            .for_key_exchange(output, kx, peer_pub_key, label, seed)
    }

    fn for_secret(&self, output: &mut [u8], secret: &[u8], label: &[u8], seed: &[u8]) {
        self.0.for_secret(output, secret, label, seed);
        if label == b"client finished" {
            capture::note_finished(output);
        }
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// X448 (RFC 7748), the first choice of reference clients.
#[derive(Debug)]
struct X448Group;

static X448: X448Group = X448Group;

struct X448Exchange {
    secret: Zeroizing<[u8; X448_LEN]>,
    public: [u8; X448_LEN],
}

impl SupportedKxGroup for X448Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; X448_LEN]);
        ::aws_lc_rs::rand::fill(&mut *secret).map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = crrl::x448::x448_base(&secret);
        Ok(Box::new(X448Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X448
    }
}

impl ActiveKeyExchange for X448Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let rejected = || Error::from(PeerMisbehaved::InvalidKeyShare);
        let peer: &[u8; X448_LEN] = peer_pub_key.try_into().map_err(|_| rejected())?;
        let shared = Zeroizing::new(crrl::x448::x448(peer, &self.secret));
        // A low-order peer key gives all zeros, which RFC 8446 §7.4.2 requires to refuse.
        if shared.iter().fold(0, |seen, byte| seen | byte) == 0 {
            return Err(rejected());
        }
        Ok(SharedSecret::from(&shared[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X448
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_exactly_the_suites_and_groups_of_smp() {
        let suites = |p: &CryptoProvider| -> Vec<_> {
            p.cipher_suites
                .iter()
                .map(|s| u16::from(s.suite()))
                .collect()
        };
        let groups = |p: &CryptoProvider| -> Vec<_> {
            p.kx_groups.iter().map(|g| u16::from(g.name())).collect()
        };
        assert_eq!(suites(&provider(false)), [0x1303, 0xcca9]);
        assert_eq!(groups(&provider(false)), [29]);
        assert_eq!(suites(&provider(true)), [0x1303, 0xcca9]);
        assert_eq!(groups(&provider(true)), [30, 29]);
    }

    #[test]
    fn providers_are_built_once() {
        assert!(Arc::ptr_eq(&provider(true), &provider(true)));
    }

    #[test]
    fn x448_agrees() {
        let (ours, theirs) = (X448.start().unwrap(), X448.start().unwrap());
        let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let one = ours.complete(&their_key).unwrap();
        let other = theirs.complete(&our_key).unwrap();
        assert_eq!(one.secret_bytes(), other.secret_bytes());
    }

    #[test]
    fn x448_refuses_low_order_and_wrong_length() {
        assert!(X448.start().unwrap().complete(&[0; X448_LEN]).is_err());
        assert!(X448.start().unwrap().complete(&[9; X448_LEN - 1]).is_err());
    }
}
