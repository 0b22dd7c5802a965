//! The handshake of recorded services, taken by this crate's side of the server.

use crate::replay::{Service, Session};
use anyhow::{Context, Result, bail, ensure};
use smp_server::crypto::keys::SigningKey;
use smp_server::protocol::handshake::ClientHello;
use smp_server::protocol::{BLOCK_SIZE, Version, VersionRange};
use smp_server::session::{
    ClaimedSession, HandshakeOutcome, Identity, ServerHandshake, put_plain_block,
};
use std::sync::Arc;

/// What a server of the recorded session makes of the client hello `content`, when the client
/// showed `tls_chain` in TLS.
fn outcome(
    session: &Session,
    hello: &ClientHello<'_>,
    content: &[u8],
    tls_chain: &[impl AsRef<[u8]>],
) -> Result<HandshakeOutcome> {
    let versions = VersionRange::new(Version::MIN, session.version).context("version")?;
    let (chain, _) = session.relay_key.clone().context("no server key")?;
    let identity = Identity {
        key_hash: hello.key_hash.try_into()?,
        chain,
        // The server hello is thrown away: its key was not recorded.
        key: Arc::new(SigningKey::ed25519_from_seed([1; 32])?),
        versions,
    };
    let mut block = Box::new([0; BLOCK_SIZE]);
    let rng = &mut rand::rng();
    let handshake = ServerHandshake::start(&identity, &session.id, true, rng, &mut block)?;
    put_plain_block(content, &mut block)?;
    Ok(handshake.finish(&block, tls_chain)?)
}

/// The claim of a recorded service, which must be what the recording says of it.
pub fn claim(
    session: &Session,
    service: &Service,
    hello: &ClientHello<'_>,
    content: &[u8],
) -> Result<Box<ClaimedSession>> {
    let credentials = hello.service.as_ref().context("no service")?;
    let chain = &credentials.key.chain;
    let HandshakeOutcome::Claimed(claimed) = outcome(session, hello, content, chain)? else {
        bail!("the credentials were not accepted");
    };
    let claim = claimed.claim();
    ensure!(claim.role == credentials.role && *chain == claim.chain);
    ensure!(claim.fingerprint == service.fingerprint);
    ensure!(claim.session_key == service.session_key);

    // The same hello without the certificate in TLS proves nothing.
    let without = outcome(session, hello, content, &[] as &[Vec<u8>])?;
    ensure!(matches!(without, HandshakeOutcome::ServiceRefused(_)));
    Ok(claimed)
}

/// Compares the recorded response with what accepting the claim sends.
pub fn accepted(claimed: ClaimedSession, id: &[u8], recorded: &[u8]) -> Result<()> {
    let (established, content) = claimed.accept(id.try_into()?);
    crate::replay::same("service response", recorded, &content)?;
    let service = established.context.service().context("no service")?;
    ensure!(service.id == id);
    Ok(())
}
