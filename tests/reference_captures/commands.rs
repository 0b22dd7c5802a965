//! Commands and their answers in a replay: encodings, authorizations, boxes.

use crate::knowledge::{ClientSide, IdKind, Queue};
use crate::replay::{Replay, leaf_and_identity, owned, same};
use crate::services;
use anyhow::{Context, Result, bail, ensure};
use smp_server::crypto::authorization::{Authorization, Authorized, Claim, verify_service};
use smp_server::crypto::hash::sender_id;
use smp_server::crypto::keys::{PublicAuthKey, X25519PublicKey};
use smp_server::crypto::message::{ReceivedBody, decrypt_notification};
use smp_server::crypto::pad::unpad;
use smp_server::crypto::proxy_layers::BOXED_INNER_LEN;
use smp_server::crypto::signed_key::SignedKey;
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::command::{NewQueue, QueueRequest};
use smp_server::protocol::error::CommandError;
use smp_server::protocol::response::{BOXED_MESSAGE_LEN, QueueIds, RelaySession};
use smp_server::protocol::transmission::Transmission;
use smp_server::protocol::{Command, ErrorType, Response, Version};

/// A command that waits for its answer.
pub struct Request {
    version: Version,
    authorization: Vec<u8>,
    service_signature: Option<[u8; 64]>,
    corr_id: Vec<u8>,
    entity_id: Vec<u8>,
    command: Vec<u8>,
    sent: Vec<u8>,
}

impl Request {
    fn new(t: &Transmission<'_>, version: Version) -> Self {
        Self {
            version,
            authorization: t.authorization.to_vec(),
            service_signature: t.service_signature.copied(),
            corr_id: t.corr_id.to_vec(),
            entity_id: t.entity_id.to_vec(),
            command: t.command.to_vec(),
            sent: t.sent.to_vec(),
        }
    }

    /// The command, or the error of form that a server answers.
    fn command(&self) -> Result<Command<'_>, CommandError> {
        let command = Command::decode(&self.command, self.version)?;
        command.check_credentials(!self.authorization.is_empty(), !self.entity_id.is_empty())?;
        Ok(command)
    }
}

/// What must have authorised a command.
enum Needed {
    Nothing,
    OneOf(Vec<PublicAuthKey>),
    Service,
}

impl Replay<'_> {
    /// Takes a command and returns its encoding, or its bytes when it is malformed.
    pub fn request(
        &mut self,
        connection: &str,
        bytes: &[u8],
        t: &Transmission<'_>,
    ) -> Result<Vec<u8>> {
        let version = self.session(connection)?.version;
        let mut encoded = Vec::new();
        match Command::decode(t.command, version) {
            Ok(command) => {
                command.encode(version, &mut encoded);
                same("command", t.command, &encoded)?;
                if let (Some(_), Some(key)) =
                    (&self.session(connection)?.service, &self.service_key)
                    && services::sent_again(self.session(connection)?, key, bytes, t, &command)?
                {
                    self.tally.sent_again += 1;
                }
                if let Command::Send { notify, body } = command
                    && let Ok(queue) = self.queues.get_mut(IdKind::Sender, t.entity_id)
                {
                    queue.sent.push((notify, body.to_vec()));
                }
            }
            Err(_) => encoded.extend_from_slice(t.command),
        }
        let request = Request::new(t, version);
        let pending = &mut self.session_mut(connection)?.pending;
        ensure!(pending.insert(t.corr_id.to_vec(), request).is_none());
        Ok(encoded)
    }

    /// Takes a response and returns its encoding.
    pub fn response(&mut self, connection: &str, t: &Transmission<'_>) -> Result<Vec<u8>> {
        let version = self.session(connection)?.version;
        ensure!(t.authorization.is_empty());
        let response = Response::decode(t.command, version)?;
        let mut encoded = Vec::new();
        response.encode(version, &mut encoded);
        same("response", t.command, &encoded)?;

        if !t.corr_id.is_empty() {
            let pending = &mut self.session_mut(connection)?.pending;
            let request = pending.remove(t.corr_id).context("no such command")?;
            ensure!(request.entity_id == t.entity_id, "another entity");
            self.answer(connection, &request, &response)
                .with_context(|| format!("answer {response:?}"))?;
        }
        match &response {
            Response::Msg { msg_id, boxed } => self.message(t.entity_id, msg_id, boxed)?,
            Response::NMsg { nonce, boxed } => self.notification(t.entity_id, nonce, boxed)?,
            Response::End | Response::Deld => {
                let known = self.queues.get(IdKind::Recipient, t.entity_id).is_ok()
                    || self.queues.get(IdKind::Notifier, t.entity_id).is_ok();
                ensure!(known && t.corr_id.is_empty());
            }
            Response::Alls => ensure!(t.corr_id.is_empty() && t.entity_id.is_empty()),
            _ => {}
        }
        Ok(encoded)
    }

    fn answer(
        &mut self,
        connection: &str,
        request: &Request,
        response: &Response<'_>,
    ) -> Result<()> {
        let command = match request.command() {
            Ok(command) => command,
            Err(expected) => {
                ensure!(*response == Response::Err(ErrorType::Cmd(expected)));
                self.tally.malformed += 1;
                return Ok(());
            }
        };
        match response {
            // The same answer to a wrong key, a missing queue and a suspended one.
            Response::Err(ErrorType::Auth | ErrorType::Service) => return Ok(()),
            Response::Err(ErrorType::Cmd(e)) => {
                ensure!(*e == CommandError::Prohibited, "well-formed for this crate");
            }
            _ => {}
        }
        self.check_authorization(connection, request, &command)?;
        self.learn(connection, request, &command, response)
    }

    fn needed(&self, entity_id: &[u8], command: &Command<'_>) -> Result<Needed> {
        Ok(match command {
            Command::New(new) => Needed::OneOf(vec![new.auth_key]),
            Command::SKey(key) | Command::LKey(key) => Needed::OneOf(vec![*key]),
            Command::Send { .. } => match self.queues.get(IdKind::Sender, entity_id)?.sender_key {
                Some(key) => Needed::OneOf(vec![key]),
                None => Needed::Nothing,
            },
            Command::NSub => {
                let queue = self.queues.get(IdKind::Notifier, entity_id)?;
                Needed::OneOf(queue.notifier_key.into_iter().collect())
            }
            Command::Subs(_) | Command::NSubs(_) => Needed::Service,
            Command::Ping
            | Command::Prxy { .. }
            | Command::Pfwd { .. }
            | Command::Rfwd { .. }
            | Command::Rslv { .. }
            | Command::LGet => Needed::Nothing,
            _ => {
                let queue = self.queues.get(IdKind::Recipient, entity_id)?;
                Needed::OneOf(queue.recipient_keys.clone())
            }
        })
    }

    /// Verifies what the server accepted.
    fn check_authorization(
        &mut self,
        connection: &str,
        request: &Request,
        command: &Command<'_>,
    ) -> Result<()> {
        let needed = self.needed(&request.entity_id, command)?;
        let session = self.session(connection)?;
        let authorized = if request.version < Version::AUTH_COMMANDS {
            Authorized::sent_only(&request.sent)
        } else {
            Authorized::new(&session.id, &request.sent)
        };
        let mut scratch = Vec::new();
        let mut entity_authorized = authorized;
        let mut service_signatures = 0;
        if let Some(signature) = &request.service_signature {
            let service = session.service.as_ref().context("no service")?;
            entity_authorized = authorized.for_service(&service.fingerprint);
            let key = &service.session_key;
            ensure!(verify_service(key, signature, &authorized, &mut scratch));
            service_signatures += 1;
        }
        let authorization =
            Authorization::from_bytes(&request.authorization).context("authorization length")?;
        let claim = Claim {
            authorization,
            corr_id: &request.corr_id,
            authorized: entity_authorized,
        };
        let mut secrets = ClientSide {
            private_keys: &self.private_keys,
            server: session.server_key,
        };
        let keys = match needed {
            Needed::Nothing => {
                ensure!(
                    authorization == Authorization::None,
                    "needless authorization"
                );
                return Ok(());
            }
            Needed::OneOf(keys) => keys,
            Needed::Service => {
                let service = session.service.as_ref().context("no service")?;
                ensure!(service.id.as_ref() == Some(&request.entity_id));
                service_signatures += 1;
                vec![PublicAuthKey::Ed25519(service.session_key)]
            }
        };
        ensure!(
            claim.verify_any(&keys, &mut secrets, &mut scratch),
            "accepted, but not authorised"
        );
        // The same claim over other bytes is none.
        let other = Claim {
            authorized: Authorized::sent_only(b"other"),
            ..claim
        };
        ensure!(!other.verify_any(&keys, &mut secrets, &mut scratch));
        match authorization {
            Authorization::X25519(_) => self.tally.authenticators += 1,
            _ => self.tally.signatures += 1,
        }
        self.tally.service_signatures += service_signatures;
        Ok(())
    }

    /// Draws conclusions from an accepted command.
    fn learn(
        &mut self,
        connection: &str,
        request: &Request,
        command: &Command<'_>,
        response: &Response<'_>,
    ) -> Result<()> {
        let entity_id = &request.entity_id[..];
        match (command, response) {
            (Command::New(new), Response::Ids(ids)) => {
                self.created(connection, request, new, ids)?
            }
            (Command::Key(key), Response::Ok) => {
                let queue = self.queues.get_mut(IdKind::Recipient, entity_id)?;
                queue.sender_key = Some(*key);
            }
            (Command::SKey(key), Response::Ok) => {
                self.queues.get_mut(IdKind::Sender, entity_id)?.sender_key = Some(*key);
            }
            (Command::LKey(key), Response::Lnk(link)) => {
                let link_id = (IdKind::Link, entity_id);
                ensure!(
                    self.queues
                        .same(link_id, (IdKind::Sender, &link.sender_id))?
                );
                self.queues.get_mut(IdKind::Link, entity_id)?.sender_key = Some(*key);
            }
            (Command::LGet, Response::Lnk(link)) => {
                let link_id = (IdKind::Link, entity_id);
                ensure!(
                    self.queues
                        .same(link_id, (IdKind::Sender, &link.sender_id))?
                );
            }
            (Command::LSet { link_id, .. }, Response::Ok) => {
                let known = (IdKind::Recipient, entity_id);
                self.queues.alias(known, (IdKind::Link, link_id))?;
            }
            (Command::RKey(keys), Response::Ok) => {
                let queue = self.queues.get_mut(IdKind::Recipient, entity_id)?;
                queue.recipient_keys.clone_from(keys);
            }
            (
                Command::NKey(credentials),
                Response::Nid {
                    notifier_id,
                    dh_key,
                },
            ) => {
                let secret = self.private_keys.agree(&credentials.dh_key, dh_key);
                let queue = self.queues.get_mut(IdKind::Recipient, entity_id)?;
                queue.notifier_key = Some(credentials.auth_key);
                queue.notifier_secret = secret;
                let known = (IdKind::Recipient, entity_id);
                self.queues.alias(known, (IdKind::Notifier, notifier_id))?;
                self.last_notifier = Some(notifier_id.to_vec());
            }
            (Command::Sub | Command::NSub, Response::Sok(Some(id))) => {
                let service = self.session(connection)?.service.as_ref();
                ensure!(service.and_then(|s| s.id.as_deref()) == Some(&id[..]));
            }
            (Command::Sub | Command::NSub, Response::Ok) => {
                ensure!(request.version < Version::SERVICES);
            }
            (Command::Sub | Command::NSub, Response::Sok(None))
            | (Command::Subs(_) | Command::NSubs(_), Response::Soks(_)) => {
                ensure!(request.version >= Version::SERVICES);
            }
            (Command::Prxy { server, .. }, Response::Pkey(relay)) => {
                self.relay(&server.key_hash, relay)?;
            }
            (Command::Pfwd { encrypted, .. }, Response::Pres(answer)) => {
                ensure!(self.sessions.values().any(|s| s.id == entity_id));
                ensure!(encrypted.len() == BOXED_INNER_LEN && answer.len() == BOXED_INNER_LEN);
                self.tally.proxied += 1;
            }
            (Command::Rfwd { encrypted }, Response::Rres(answer)) => {
                ensure!(encrypted.len() == 16330 && answer.len() == 16283);
                self.tally.proxied += 1;
            }
            (Command::Que, Response::Info(json)) => {
                let info: serde_json::Value = serde_json::from_slice(json)?;
                ensure!(info["qiSize"].is_u64());
            }
            (Command::Ping, Response::Pong)
            | (Command::Get | Command::Ack { .. }, Response::Msg { .. })
            | (_, Response::Ok | Response::Err(_)) => {}
            _ => bail!("{} is not answered so", command.tag()),
        }
        Ok(())
    }

    fn created(
        &mut self,
        connection: &str,
        request: &Request,
        new: &NewQueue<'_>,
        ids: &QueueIds<'_>,
    ) -> Result<()> {
        let service = self.session(connection)?.service.as_ref();
        ensure!(ids.service_id.as_deref() == service.and_then(|s| s.id.as_deref()));
        let chosen = match &new.queue {
            Some(QueueRequest::Messaging(Some(link))) => Some((link.sender_id, None)),
            Some(QueueRequest::Contact(Some(link))) => Some((link.sender_id, Some(link.link_id))),
            _ => None,
        };
        ensure!(ids.link_id.is_some() == chosen.is_some());
        if let Some((sender, link)) = chosen {
            ensure!(sender == sender_id(&request.corr_id) && sender == &ids.sender_id[..]);
            ensure!(link.is_none_or(|link| ids.link_id.as_deref() == Some(link)));
        }
        let queue = Queue {
            recipient_keys: vec![new.auth_key],
            secret: self.private_keys.agree(&new.dh_key, &ids.dh_key),
            ..Queue::default()
        };
        self.queues.create(queue, &ids.recipient_id, &ids.sender_id);
        let known = (IdKind::Recipient, &ids.recipient_id[..]);
        if let Some(link_id) = &ids.link_id {
            self.queues.alias(known, (IdKind::Link, link_id))?;
        }
        ensure!(ids.notifier.is_some() == new.notifier.is_some());
        if let (Some((id, dh_key)), Some(credentials)) = (&ids.notifier, &new.notifier) {
            self.queues.alias(known, (IdKind::Notifier, id))?;
            let secret = self.private_keys.agree(&credentials.dh_key, dh_key);
            let queue = self.queues.get_mut(IdKind::Notifier, id)?;
            queue.notifier_key = Some(credentials.auth_key);
            queue.notifier_secret = secret;
        }
        Ok(())
    }

    /// A proxy publishes the hello of the relay as it got it.
    fn relay(&mut self, key_hash: &[u8], relay: &RelaySession<'_>) -> Result<()> {
        let mut sessions = self.sessions.values();
        let session = sessions
            .find(|s| s.id == *relay.session_id)
            .context("no session with the relay")?;
        ensure!(session.relay_key == Some(owned(&relay.key)));
        let (leaf, identity) = leaf_and_identity(&relay.key.chain)?;
        let key: X25519PublicKey =
            SignedKey::decode(&relay.key.signed_key)?.verify_x25519(&leaf)?;
        ensure!(session.server_key == Some(key) && key_hash == identity);
        self.tally.signed_keys += 1;
        Ok(())
    }

    fn message(&mut self, recipient_id: &[u8], msg_id: &[u8], boxed: &[u8]) -> Result<()> {
        ensure!(boxed.len() == BOXED_MESSAGE_LEN);
        let queue = self.queues.get_mut(IdKind::Recipient, recipient_id)?;
        queue.received.push(msg_id.to_vec());
        let Some(secret) = &queue.secret else {
            return Ok(());
        };
        let nonce = msg_id.try_into().context("message id length")?;
        let mut boxed = boxed.to_vec();
        let padded = BoxKey::from(secret).open_in_place(nonce, &mut boxed)?;
        match ReceivedBody::parse(unpad(padded)?)? {
            ReceivedBody::Message { notify, body, .. } => {
                ensure!(queue.sent.contains(&(notify, body.to_vec())), "never sent");
            }
            ReceivedBody::Quota { .. } => {}
        }
        self.last_message = Some((msg_id.to_vec(), padded.to_vec()));
        self.tally.boxes += 1;
        Ok(())
    }

    fn notification(&mut self, notifier_id: &[u8], nonce: &[u8; 24], boxed: &[u8]) -> Result<()> {
        ensure!(boxed.len() == 144);
        let queue = self.queues.get(IdKind::Notifier, notifier_id)?;
        let Some(secret) = &queue.notifier_secret else {
            return Ok(());
        };
        let mut boxed = boxed.to_vec();
        let meta = decrypt_notification(&BoxKey::from(secret), nonce, &mut boxed)?;
        ensure!(
            queue.received.iter().any(|id| id == meta.msg_id),
            "another message"
        );
        self.tally.notifications += 1;
        Ok(())
    }
}
