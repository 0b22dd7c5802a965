//! Operations as commands, and the answers that confirm them.

use anyhow::{Context as _, Result};
use smp_server::crypto::keys::{PublicAuthKey, X25519SecretKey};
use smp_server::protocol::command::{ContactLink, LinkData, MessagingLink, NewQueue, QueueRequest};
use smp_server::protocol::error::ErrorType;
use smp_server::protocol::{Command, Response};

use super::materials::Materials;
use super::state::{Ids, KeyNumber, Operation, Queue, SecuredBy, Step, Told, ToldNotifier};
use crate::outbox::{Auth, CorrId, Outbox};

/// A queue whose commands are made.
pub struct Subject<'a> {
    /// Derives keys and data.
    pub materials: Materials,
    /// Password for creating queues.
    pub password: Option<&'a str>,
    /// Number of the queue.
    pub number: u32,
    /// The queue, with the operation issued.
    pub queue: &'a Queue,
    /// Id of the message that was delivered.
    pub delivered: &'a [u8],
}

/// The public half of a sender's key.
pub fn sender_public(key: &X25519SecretKey) -> PublicAuthKey {
    PublicAuthKey::X25519(key.public_key().0)
}

impl Subject<'_> {
    fn ids(&self) -> Result<&Ids> {
        self.queue.ids.as_ref().context("the queue has no ids")
    }

    /// Stages the command of an operation.
    pub fn stage(&self, outbox: &mut Outbox, step: Step, operation: Operation) -> Result<CorrId> {
        match operation {
            Operation::Create { .. } => self.create(outbox, step, operation),
            Operation::Secure(SecuredBy::Recipient) => {
                let key =
                    sender_public(&self.materials.sender_key(self.number, KeyNumber::of(step)));
                self.by_recipient(outbox, &Command::Key(key))
            }
            Operation::Secure(by) => {
                let key = self.materials.sender_key(self.number, KeyNumber::of(step));
                let (public, auth) = (sender_public(&key), Auth::X25519(&key));
                let made = self.queue.state.link.map_or(0, |link| link.made);
                Ok(match by {
                    SecuredBy::Link => {
                        let id = self.materials.id_of_link(self.number, self.queue, made);
                        let id = id.context("the link has no id")?;
                        outbox.send(&Command::LKey(public), &id, auth)?
                    }
                    _ => outbox.send(&Command::SKey(public), &self.ids()?.sender, auth)?,
                })
            }
            Operation::Send(message) => {
                let body = self.materials.body(self.number, &message);
                let command = Command::Send {
                    notify: message.notify,
                    body: &body,
                };
                let key = self.queue.state.sender_key;
                let key = key.map(|key| self.materials.sender_key(self.number, key));
                let auth = key.as_ref().map_or(Auth::None, Auth::X25519);
                Ok(outbox.send(&command, &self.ids()?.sender, auth)?)
            }
            Operation::Subscribe => self.by_recipient(outbox, &Command::Sub),
            Operation::Acknowledge(_) => {
                let msg_id = self.delivered;
                self.by_recipient(outbox, &Command::Ack { msg_id })
            }
            Operation::SetLink(_) | Operation::ReplaceUserData(_) => {
                let link = self.queue.candidates(0).pop().and_then(|state| state.link);
                let link = link.context("the queue has no link")?;
                let id = self
                    .materials
                    .id_of_link(self.number, self.queue, link.made);
                let link_id = &id.context("the link has no id")?;
                let (fixed, user) = self.materials.link_data(self.number, &link);
                let data = LinkData {
                    fixed: &fixed,
                    user: &user,
                };
                self.by_recipient(outbox, &Command::LSet { link_id, data })
            }
            Operation::DeleteLink => self.by_recipient(outbox, &Command::LDel),
            Operation::EnableNotifier => {
                let credentials = self.materials.notifier(self.number, step)?;
                self.by_recipient(outbox, &Command::NKey(credentials))
            }
            Operation::DisableNotifier => self.by_recipient(outbox, &Command::NDel),
            Operation::Associate => {
                let made = self.queue.state.notifier;
                let made = made.context("the queue has no notifier")?;
                let told = self.queue.notifier(made);
                let told = told.context("the notifier has no id")?;
                let key = self.materials.notifier_key(self.number, made)?;
                Ok(outbox.send(&Command::NSub, &told.id, Auth::Sign(&key))?)
            }
            Operation::ReplaceKeys(count) => {
                let keys = (0..count).map(|index| {
                    let number = KeyNumber { step, index };
                    let key = self.materials.recipient_key(self.number, number)?;
                    Ok(key.verifying_key().into())
                });
                let keys = keys.collect::<Result<_>>()?;
                self.by_recipient(outbox, &Command::RKey(keys))
            }
            Operation::Suspend => self.by_recipient(outbox, &Command::Off),
            Operation::Delete => self.by_recipient(outbox, &Command::Del),
        }
    }

    fn by_recipient(&self, outbox: &mut Outbox, command: &Command<'_>) -> Result<CorrId> {
        let number = self.queue.state.recipient_keys.first();
        let number = number.context("the recipient has no key")?;
        let key = self.materials.recipient_key(self.number, *number)?;
        Ok(outbox.send(command, &self.ids()?.recipient, Auth::Sign(&key))?)
    }

    fn create(&self, outbox: &mut Outbox, step: Step, operation: Operation) -> Result<CorrId> {
        let Operation::Create {
            contact,
            notifier,
            subscribe,
            ..
        } = operation
        else {
            anyhow::bail!("not a creation");
        };
        let created = self.queue.candidates(0).pop().unwrap_or_default();
        let parts = created
            .link
            .map(|link| self.materials.link_data(self.number, &link));
        let data = parts.as_ref().map(|(fixed, user)| LinkData { fixed, user });
        let sender_id = &self.materials.sender_id(self.number);
        let link_id = &self.materials.link_id(self.number, step);
        let key = self
            .materials
            .recipient_key(self.number, KeyNumber::of(step))?;
        let command = Command::New(NewQueue {
            auth_key: key.verifying_key().into(),
            dh_key: self.materials.body_secret(self.number).public_key(),
            password: self.password.map(str::as_bytes),
            subscribe,
            queue: Some(if contact {
                QueueRequest::Contact(data.map(|data| ContactLink {
                    link_id,
                    sender_id,
                    data,
                }))
            } else {
                QueueRequest::Messaging(data.map(|data| MessagingLink { sender_id, data }))
            }),
            notifier: match notifier {
                true => Some(self.materials.notifier(self.number, step)?),
                false => None,
            },
        });
        let corr_id = self.materials.corr_id(self.number);
        outbox.send_as(&corr_id, &command, &[], Auth::Sign(&key))?;
        Ok(corr_id)
    }
}

/// What an answer tells when it confirms an operation; nothing when it does not. A message in
/// answer to `SUB` or `ACK` confirms it.
pub fn told(operation: Operation, response: &Response<'_>) -> Option<Told> {
    match (operation, response) {
        (Operation::Create { .. }, Response::Ids(ids)) => Some(Told::Ids(Box::new(Ids {
            recipient: ids.recipient_id.to_vec(),
            sender: ids.sender_id.to_vec(),
            server_dh: ids.dh_key.0,
            link: ids.link_id.as_ref().map(|id| id.to_vec()),
            notifier: ids.notifier.as_ref().map(|(id, key)| ToldNotifier {
                id: id.to_vec(),
                server_dh: key.0,
            }),
        }))),
        (
            Operation::EnableNotifier,
            Response::Nid {
                notifier_id,
                dh_key,
            },
        ) => Some(Told::Notifier(ToldNotifier {
            id: notifier_id.to_vec(),
            server_dh: dh_key.0,
        })),
        (Operation::Send(message), answer) if message.marker => {
            matches!(answer, Response::Err(ErrorType::Quota)).then_some(Told::Nothing)
        }
        (Operation::Secure(SecuredBy::Link), Response::Lnk(_))
        | (Operation::Subscribe, Response::Sok(_) | Response::Ok | Response::Msg { .. })
        | (Operation::Acknowledge(_), Response::Ok | Response::Msg { .. })
        | (Operation::Associate, Response::Sok(Some(_))) => Some(Told::Nothing),
        (
            Operation::Create { .. }
            | Operation::EnableNotifier
            | Operation::Secure(SecuredBy::Link)
            | Operation::Subscribe
            | Operation::Associate,
            _,
        ) => None,
        (_, Response::Ok) => Some(Told::Nothing),
        _ => None,
    }
}
