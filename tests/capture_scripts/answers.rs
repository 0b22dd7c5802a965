//! Recorded answers and pushes translated into what our server must send.

use crate::ids::Ids;
use crate::keys::{Keys, stand_in_dh};
use anyhow::{Context, Result, bail, ensure};
use smp_server::crypto::keys::X25519PublicKey;
use smp_server::crypto::message::{ReceivedBody, decrypt_message, decrypt_notification};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::response::{LinkAnswer, QueueIds};
use smp_server::protocol::{Command, Response, Version};
use std::borrow::Cow;
use std::collections::HashMap;

/// Secrets between a recipient and the server: in the recording, when its key was recorded, and
/// ours.
struct Secrets {
    recorded: Option<BoxKey>,
    ours: BoxKey,
}

/// What is known about queues, by their recorded ids.
#[derive(Default)]
pub struct Answers {
    bodies: HashMap<Vec<u8>, Secrets>,
    notifications: HashMap<Vec<u8>, Secrets>,
    /// Notification flag and body of everything sent.
    sent: Vec<(bool, Vec<u8>)>,
    /// Messages and notifications whose content was checked.
    pub boxes: usize,
}

impl Answers {
    /// Notes what a command sends.
    pub fn note_sent(&mut self, command: &[u8], version: Version) {
        if let Ok(Command::Send { notify, body }) = Command::decode(command, version) {
            self.sent.push((notify, body.to_vec()));
        }
    }

    /// What our server must send where the recorded one sent `recorded`, given what it sent:
    /// fresh ids, keys and boxes are taken from there. Fails when they cannot be right.
    pub fn translate<'a>(
        &mut self,
        keys: &Keys,
        ids: &mut Ids,
        (asked, version): (Option<&[u8]>, Version),
        entity_id: &[u8],
        recorded: Response<'a>,
        ours: &Response<'a>,
    ) -> Result<Response<'a>> {
        Ok(match (recorded, ours) {
            (Response::Ids(recorded), Response::Ids(ours)) => {
                let asked = asked.context("no command")?;
                self.created(keys, ids, (asked, version), &recorded, ours)?
            }
            (
                Response::Nid {
                    notifier_id: recorded_id,
                    dh_key: recorded_key,
                },
                Response::Nid {
                    notifier_id,
                    dh_key,
                },
            ) => {
                ids.learn(&recorded_id, notifier_id)?;
                let asked = asked.context("no command")?;
                if let Ok(Command::NKey(credentials)) = Command::decode(asked, version) {
                    let secrets = secrets(keys, &credentials.dh_key, (&recorded_key, dh_key));
                    self.notifications.insert(recorded_id.to_vec(), secrets);
                }
                Response::Nid {
                    notifier_id: notifier_id.clone(),
                    dh_key: *dh_key,
                }
            }
            (
                Response::Msg {
                    msg_id: recorded_id,
                    boxed: recorded,
                },
                Response::Msg { msg_id, boxed },
            ) => {
                ids.learn(&recorded_id, msg_id)?;
                self.message(entity_id, (&recorded_id, &recorded), (msg_id, boxed))?;
                ours.clone()
            }
            (
                Response::NMsg {
                    nonce: recorded_nonce,
                    boxed: recorded,
                },
                Response::NMsg { nonce, boxed },
            ) => {
                self.notification(ids, entity_id, (&recorded_nonce, &recorded), (nonce, boxed))?;
                ours.clone()
            }
            (Response::Lnk(link), Response::Lnk(_)) => Response::Lnk(Box::new(LinkAnswer {
                sender_id: Cow::Owned(ids.ours(&link.sender_id).to_vec()),
                ..*link
            })),
            (Response::Sok(Some(id)), _) => Response::Sok(Some(Cow::Owned(ids.ours(&id).to_vec()))),
            (recorded, _) => recorded,
        })
    }

    fn created<'a>(
        &mut self,
        keys: &Keys,
        ids: &mut Ids,
        (asked, version): (&[u8], Version),
        recorded: &QueueIds<'a>,
        ours: &QueueIds<'a>,
    ) -> Result<Response<'a>> {
        let Ok(Command::New(new)) = Command::decode(asked, version) else {
            bail!("IDS to another command");
        };
        ids.learn(&recorded.recipient_id, &ours.recipient_id)?;
        ids.learn(&recorded.sender_id, &ours.sender_id)?;
        let body = secrets(keys, &new.dh_key, (&recorded.dh_key, &ours.dh_key));
        self.bodies.insert(recorded.recipient_id.to_vec(), body);
        if let (Some(recorded), Some(ours)) = (&recorded.link_id, &ours.link_id) {
            ids.learn(recorded, ours)?;
        }
        if let (Some((id, key)), Some((our_id, our_key))) = (&recorded.notifier, &ours.notifier) {
            ids.learn(id, our_id)?;
            let credentials = new.notifier.as_ref().context("no notifier in NEW")?;
            let secrets = secrets(keys, &credentials.dh_key, (key, our_key));
            self.notifications.insert(id.to_vec(), secrets);
        }
        let map = |id: &Cow<'a, [u8]>| Cow::Owned(ids.ours(id).to_vec());
        let our_ntf_key = ours.notifier.as_ref().map(|(_, key)| *key);
        Ok(Response::Ids(Box::new(QueueIds {
            recipient_id: map(&recorded.recipient_id),
            sender_id: map(&recorded.sender_id),
            dh_key: ours.dh_key,
            mode: recorded.mode,
            link_id: recorded.link_id.as_ref().map(map),
            service_id: recorded.service_id.as_ref().map(map),
            notifier: recorded
                .notifier
                .as_ref()
                .map(|(id, key)| (map(id), our_ntf_key.unwrap_or(*key))),
        })))
    }

    /// Opens a recorded message and ours: flag and body are the same. Where the recorded key is
    /// missing they must be something sent.
    fn message(
        &mut self,
        recipient_id: &[u8],
        (recorded_id, recorded): (&[u8], &[u8]),
        (our_id, ours): (&[u8], &[u8]),
    ) -> Result<()> {
        ensure!(recorded.len() == ours.len(), "length of the box");
        let secrets = self.bodies.get(recipient_id).context("unknown queue")?;
        let mut ours = ours.to_vec();
        let ours = decrypt_message(&secrets.ours, our_id.try_into()?, &mut ours)?;
        if let Some(key) = &secrets.recorded {
            let mut recorded = recorded.to_vec();
            let recorded = decrypt_message(key, recorded_id.try_into()?, &mut recorded)?;
            let same = without_time(recorded) == without_time(ours);
            ensure!(same, "content {ours:?}");
        } else if let Some((notify, body)) = without_time(ours) {
            let was_sent = self.sent.iter().any(|s| s.0 == notify && s.1 == body);
            ensure!(was_sent, "content {ours:?}");
        } else {
            bail!("a quota marker, and the recorded message cannot be opened");
        }
        self.boxes += 1;
        Ok(())
    }

    /// Opens recorded notification metadata and ours: they are of the same message. Where the
    /// recorded key is missing ours must be of some message received.
    fn notification(
        &mut self,
        ids: &Ids,
        notifier_id: &[u8],
        (recorded_nonce, recorded): (&[u8; 24], &[u8]),
        (our_nonce, ours): (&[u8; 24], &[u8]),
    ) -> Result<()> {
        ensure!(recorded.len() == ours.len(), "length of the box");
        let secrets = self
            .notifications
            .get(notifier_id)
            .context("unknown notifier")?;
        let mut ours = ours.to_vec();
        let ours = decrypt_notification(&secrets.ours, our_nonce, &mut ours)?;
        if let Some(key) = &secrets.recorded {
            let mut recorded = recorded.to_vec();
            let recorded = decrypt_notification(key, recorded_nonce, &mut recorded)?;
            ensure!(ids.ours(recorded.msg_id) == ours.msg_id, "another message");
        } else {
            ensure!(ids.is_ours(ours.msg_id), "of no message");
        }
        self.boxes += 1;
        Ok(())
    }
}

fn secrets(
    keys: &Keys,
    client: &X25519PublicKey,
    (recorded, ours): (&X25519PublicKey, &X25519PublicKey),
) -> Secrets {
    Secrets {
        recorded: keys
            .private
            .agree(client, recorded)
            .map(|s| BoxKey::from(&s)),
        ours: BoxKey::from(&stand_in_dh(client).agree(ours)),
    }
}

fn without_time(body: ReceivedBody<'_>) -> Option<(bool, &[u8])> {
    match body {
        ReceivedBody::Message { notify, body, .. } => Some((notify, body)),
        ReceivedBody::Quota { .. } => None,
    }
}
