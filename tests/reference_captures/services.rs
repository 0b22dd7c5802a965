//! Recorded services: their handshake taken by this crate's side of the server, their commands
//! signed again by the load generator's client.

use crate::replay::{Service, Session, same};
use anyhow::{Context, Result, bail, ensure};
use loadtest::{Auth, Outbox, ServiceSession};
use smp_server::crypto::keys::{SigningKey, VerifyingKey};
use smp_server::protocol::handshake::{ClientHello, ServiceRole};
use smp_server::protocol::transmission::Transmission;
use smp_server::protocol::{BLOCK_SIZE, Command, Version, VersionRange};
use smp_server::session::{
    ClaimedSession, HandshakeOutcome, Identity, ServerHandshake, put_plain_block,
};
use std::rc::Rc;
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
    same("service response", recorded, &content)?;
    let service = established.context.service().context("no service")?;
    ensure!(service.id == id);
    Ok(())
}

/// Compares a recorded command of a service, `bytes`, with what the load generator sends with the
/// same ids and, where its key was not recorded, the same authorization.
///
/// False when the recorded client left out the service signature to see the error.
pub fn sent_again(
    session: &Session,
    key: &SigningKey,
    bytes: &[u8],
    t: &Transmission<'_>,
    command: &Command<'_>,
) -> Result<bool> {
    let service = session.service.as_ref().context("no service")?;
    let by_service = matches!(command, Command::Subs(_) | Command::NSubs(_));
    if t.service_signature.is_none() && !by_service {
        return Ok(false);
    }
    ensure!(key.verifying_key() == VerifyingKey::Ed25519(service.session_key));
    let service = Rc::new(ServiceSession {
        id: service.id.clone().context("no service id")?,
        role: ServiceRole::Messaging,
        fingerprint: service.fingerprint,
        key: SigningKey::from_pkcs8(&key.to_pkcs8())?,
    });
    let mut outbox = Outbox::new(session.version, &session.id, session.server_key);
    outbox.sign_for(Rc::clone(&service));
    let auth = match by_service {
        true => service.auth(),
        false => Auth::Raw(t.authorization),
    };
    outbox.send_as(t.corr_id, command, t.entity_id, auth)?;
    let mut content = Vec::new();
    outbox.pack(&mut content);
    // Count and length go before the only transmission.
    same("command of a service", bytes, &content[3..])?;
    Ok(true)
}
