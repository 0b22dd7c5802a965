//! The key chain of encrypted blocks: a fresh key and nonce per block and direction
//! (spec: protocol §4.3).

use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Salt};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::SharedSecret;
use super::smp_box::{BoxError, BoxKey, NONCE_LEN, Nonce, TAG_LEN};

/// Bytes of every transport block, in both directions (spec: protocol §4).
pub const BLOCK_SIZE: usize = 16384;
/// Bytes of the padded content inside an encrypted block.
pub const PADDED_BLOCK_LEN: usize = BLOCK_SIZE - TAG_LEN;

const CHAIN_KEY_LEN: usize = 32;
const INIT_INFO: &[u8] = b"SimpleXSbChainInit";
const STEP_INFO: &[u8] = b"SimpleXSbChain";

/// Why a block was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChainError {
    /// The key derivation failed in the library (out of memory): the connection cannot go on.
    #[error("block key derivation failed")]
    Derivation,
    /// The block does not open or is not padded content.
    #[error(transparent)]
    Box(#[from] BoxError),
}

struct OutputLen(usize);

impl KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

fn hkdf_sha512<const N: usize>(
    salt: &[u8],
    key_material: &[u8],
    info: &[u8],
) -> Result<Zeroizing<[u8; N]>, ChainError> {
    let mut out = Zeroizing::new([0; N]);
    Salt::new(HKDF_SHA512, salt)
        .extract(key_material)
        .expand(&[info], OutputLen(N))
        .and_then(|derived| derived.fill(&mut out[..]))
        .map_err(|_| ChainError::Derivation)?;
    Ok(out)
}

/// The chain of one direction of a connection, zeroized when dropped.
///
/// It advances once per block, in wire order, at both ends.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BlockChain([u8; CHAIN_KEY_LEN]);

impl std::fmt::Debug for BlockChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockChain(..)")
    }
}

impl BlockChain {
    /// The chains (server to client, client to server) of a session: `session_id` is the TLS
    /// channel binding, `secret` the agreement of the two session keys.
    pub fn init(session_id: &[u8], secret: &SharedSecret) -> Result<(Self, Self), ChainError> {
        let keys = hkdf_sha512::<{ 2 * CHAIN_KEY_LEN }>(session_id, &secret.0, INIT_INFO)?;
        let (to_client, to_server) = keys.split_at(CHAIN_KEY_LEN);
        let mut chains = (Self([0; CHAIN_KEY_LEN]), Self([0; CHAIN_KEY_LEN]));
        chains.0.0.copy_from_slice(to_client);
        chains.1.0.copy_from_slice(to_server);
        Ok(chains)
    }

    /// The key and nonce of the next block; the chain moves on.
    pub fn advance(&mut self) -> Result<(BoxKey, Nonce), ChainError> {
        const KEY_END: usize = CHAIN_KEY_LEN + 32;
        let derived = hkdf_sha512::<{ KEY_END + NONCE_LEN }>(&[], &self.0, STEP_INFO)?;
        let mut key = Zeroizing::new([0; 32]);
        let mut nonce = [0; NONCE_LEN];
        self.0.copy_from_slice(&derived[..CHAIN_KEY_LEN]);
        key.copy_from_slice(&derived[CHAIN_KEY_LEN..KEY_END]);
        nonce.copy_from_slice(&derived[KEY_END..]);
        Ok((BoxKey::new(&key), nonce))
    }

    /// Encrypts a block in place: `block[..16]` is room for the tag, `block[16..]` is padded
    /// content, made with [`pad_into`](super::pad::pad_into) (content at `block[18..]`).
    pub fn seal_block(&mut self, block: &mut [u8; BLOCK_SIZE]) -> Result<(), ChainError> {
        let (key, nonce) = self.advance()?;
        Ok(key.seal_in_place(&nonce, block)?)
    }

    /// Decrypts a block in place and returns its content. The chain moves on even when the block
    /// does not open, as the sender's did.
    pub fn open_block<'a>(
        &mut self,
        block: &'a mut [u8; BLOCK_SIZE],
    ) -> Result<&'a [u8], ChainError> {
        let (key, nonce) = self.advance()?;
        Ok(key.open_padded(&nonce, block)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::{pad::pad_into, vectors};
    use super::*;

    fn chains() -> (BlockChain, BlockChain) {
        let v = vectors::get("sbc_chain");
        let server = vectors::x25519_secret(&v["server_session_private"]);
        let client = vectors::x25519_secret(&v["client_session_private"]);
        let secret = server.agree(&client.public_key());
        assert_eq!(secret.0, vectors::array(&v["dh_secret"]));
        BlockChain::init(&vectors::hex(&v["session_id"]), &secret).unwrap()
    }

    fn block(content: &[u8]) -> [u8; BLOCK_SIZE] {
        let mut block = [0; BLOCK_SIZE];
        block[TAG_LEN + 2..TAG_LEN + 2 + content.len()].copy_from_slice(content);
        pad_into(content.len(), &mut block[TAG_LEN..]).unwrap();
        block
    }

    fn check_steps(mut chain: BlockChain, steps: &Value) {
        for step in steps.as_array().unwrap() {
            assert_eq!(chain.0, vectors::array(&step["chain_key"]));
            let (key, nonce) = chain.advance().unwrap();
            assert_eq!(nonce, vectors::array(&step["nonce"]));
            let expected = BoxKey::new(&vectors::array(&step["key"]));
            assert_eq!(
                key.seal_padded(&nonce, b"", 2),
                expected.seal_padded(&nonce, b"", 2)
            );
            assert_eq!(chain.0, vectors::array(&step["next_chain_key"]));
        }
    }

    #[test]
    fn known_steps() {
        let v = vectors::get("sbc_chain");
        let (to_client, to_server) = chains();
        assert_eq!(to_client.0, vectors::array(&v["chain_server_to_client"]));
        assert_eq!(to_server.0, vectors::array(&v["chain_client_to_server"]));
        check_steps(to_client, &v["server_to_client_steps"]);
        check_steps(to_server, &v["client_to_server_steps"]);
    }

    #[test]
    fn known_blocks() {
        let v = vectors::get("encrypted_block");
        let mut sealed = block(&vectors::hex(&v["content"]));
        chains().0.seal_block(&mut sealed).unwrap();
        vectors::assert_large(&v["block"], &sealed);
        assert_eq!(
            chains().0.open_block(&mut sealed).unwrap(),
            vectors::hex(&v["content"])
        );

        let new = vectors::get("new_transmissions");
        let cases = new["cases"].as_array().unwrap();
        let v18 = cases.iter().find(|c| c["version"] == 18).unwrap();
        let content = vectors::hex(&v18["block_content"]);
        let v = vectors::get("new_v18_block");
        let mut plain = [0; BLOCK_SIZE];
        plain[2..2 + content.len()].copy_from_slice(&content);
        pad_into(content.len(), &mut plain).unwrap();
        vectors::assert_large(&v["plain_block"], &plain);
        let mut sealed = block(&content);
        chains().1.seal_block(&mut sealed).unwrap();
        vectors::assert_large(&v["encrypted_block"], &sealed);
    }

    #[test]
    fn hkdf_of_links() {
        let v = vectors::get("link_ids");
        let key = vectors::hex(&v["link_key"]);
        let derived = hkdf_sha512::<56>(&[], &key, b"SimpleXContactLink").unwrap();
        let expected = [
            vectors::hex(&v["link_id"]),
            vectors::hex(&v["contact_data_key"]),
        ];
        assert_eq!(derived.to_vec(), expected.concat());
    }

    #[test]
    fn receiver_moves_on_after_a_bad_block() {
        let (mut sender, _) = chains();
        let (mut receiver, _) = chains();
        let mut first = block(b"first");
        sender.seal_block(&mut first).unwrap();
        first[BLOCK_SIZE - 1] ^= 1;
        assert_eq!(
            receiver.open_block(&mut first),
            Err(ChainError::Box(BoxError::Authentication))
        );
        let mut second = block(b"second");
        sender.seal_block(&mut second).unwrap();
        assert_eq!(receiver.open_block(&mut second).unwrap(), b"second");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn round_trip(
            session_id in proptest::collection::vec(any::<u8>(), 0..40),
            secret: [u8; 32],
            contents in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..PADDED_BLOCK_LEN - 2), 1..4),
        ) {
            let secret = SharedSecret(secret);
            let (_, mut sender) = BlockChain::init(&session_id, &secret).unwrap();
            let (_, mut receiver) = BlockChain::init(&session_id, &secret).unwrap();
            for content in contents {
                let mut wire = block(&content);
                sender.seal_block(&mut wire).unwrap();
                prop_assert_eq!(receiver.open_block(&mut wire).unwrap(), &content[..]);
            }
        }
    }
}
