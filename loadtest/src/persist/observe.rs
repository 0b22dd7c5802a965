//! Looks at a queue in all the ways the protocol offers. Messages are taken out by that, an
//! unsecured queue with a link is secured, and one message is sent.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use smp_server::crypto::keys::{SigningKey, X25519SecretKey};
use smp_server::protocol::error::ErrorType;
use smp_server::protocol::response::LinkAnswer;
use smp_server::protocol::{Command, Response};

use super::choice;
use super::command::sender_public;
use super::materials::{Content, Materials, Received};
use super::notified::Expected;
use super::state::{Ids, KeyNumber, Link, Message, Operation, Queue, Step};
use super::verdict::{Description, LinkSeen, Observation, SenderKey};
use crate::client::{Client, unexpected};
use crate::outbox::Auth;

/// More messages than any queue can have: a server that repeats one for ever is found out.
const MAX_TAKEN: usize = 1000;

/// What `QUE` tells, as far as it matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Information {
    qi_snd: bool,
    qi_ntf: bool,
    qi_size: usize,
}

/// What the chosen ids of a creation show that was not confirmed.
pub struct Newborn {
    /// Whether the link answers, and with the right data; `None` when nobody may read it.
    pub link: Option<Option<bool>>,
    /// Whether messages are accepted.
    pub accepts: bool,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Accepted,
    /// There is a queue, and it has all the messages it may have.
    Full,
    Refused,
}

/// An observer of one queue.
pub struct Observer<'a> {
    /// Connection of its own: subscriptions of others must not be in its way.
    pub client: &'a mut Client,
    /// Connection of the service to which the notifiers belong, if they do.
    pub service: Option<&'a mut Client>,
    /// Derives keys and data.
    pub materials: Materials,
    /// Number of the queue.
    pub number: u32,
    /// What is known of the queue.
    pub queue: &'a Queue,
}

impl Observer<'_> {
    /// Looks at a queue whose creation was confirmed. Its notifier is subscribed by that, and the
    /// notification of the message that is sent must come.
    pub async fn observe(mut self) -> Result<(Observation, Option<Expected>)> {
        let queue = self.queue;
        let ids = queue.ids.as_ref().context("the queue has no ids")?;
        let (recipient_keys, description) = self.ask_recipient(ids).await?;
        let mut seen = Observation {
            notifiers: self.ask_notifiers().await?,
            sender_key: SenderKey::None,
            links: None,
            accepts: None,
            by_service: self.service.is_some(),
            messages: Vec::new(),
            secured_with: None,
            sent: None,
            description,
            recipient_keys,
        };
        let (mut key, mut expected) = (None, None);
        if let (Some(description), Some(number)) = (description, seen.recipient_keys.first()) {
            let recipient = self.materials.recipient_key(self.number, *number)?;
            if description.secured {
                seen.sender_key = self.ask_sender_key(ids, &recipient).await?;
            }
            seen.messages = self.take_messages(ids, &recipient).await?;
        }
        if let SenderKey::Known(number) = seen.sender_key {
            key = Some(self.materials.sender_key(self.number, number));
        }
        if queue.contact {
            seen.links = Some(self.ask_contact_links(ids).await?);
        } else if seen.sender_key != SenderKey::Foreign {
            let fresh = KeyNumber::of(queue.next_step);
            // A queue that should be gone, but is not, is secured with the last of its keys.
            let last = queue.sender_keys.last().filter(|_| description.is_none());
            let number = *last.unwrap_or(&fresh);
            let asking = match &key {
                Some(_) => None,
                None => Some(self.materials.sender_key(self.number, number)),
            };
            let Some(with) = key.as_ref().or(asking.as_ref()) else {
                bail!("no key to ask with");
            };
            let links = self.ask_messaging_links(ids, with).await?;
            if !links.is_empty() && key.is_none() {
                seen.secured_with = Some(number);
                key = asking;
            }
            seen.links = Some(links);
        }
        if description.is_none() {
            seen.accepts = Some(self.accepts_any(&ids.sender).await?);
        } else if seen.sender_key != SenderKey::Foreign {
            let mut rng = choice::rng(0, self.number, queue);
            let mut message = choice::message(&mut rng, queue.next_sequence, queue.sent_empty);
            let auth = key.as_ref().map_or(Auth::None, Auth::X25519);
            message.notify |= !seen.notifiers.is_empty();
            // Everything was taken out, so it cannot be full.
            let accepts = self.send(&ids.sender, &message, auth).await? == Sent::Accepted;
            seen.accepts = Some(accepts);
            seen.sent = accepts.then_some(message);
            if let ([made], [recipient, ..], true) =
                (&seen.notifiers[..], &seen.recipient_keys[..], accepts)
            {
                let recipient = self.materials.recipient_key(self.number, *recipient)?;
                expected = self.expect_notification(ids, &recipient, *made).await?;
            }
        }
        Ok((seen, expected))
    }

    /// The notification of the only message of the queue.
    async fn expect_notification(
        &mut self,
        ids: &Ids,
        recipient: &SigningKey,
        made: Step,
    ) -> Result<Option<Expected>> {
        let (id, auth) = (&ids.recipient, Auth::Sign(recipient));
        let (msg_id, boxed) = match self.client.command(&Command::Get, id, auth).await? {
            Response::Msg { msg_id, boxed } => (msg_id, boxed),
            other => return Err(unexpected("GET", &other).into()),
        };
        let key = self.materials.body_key(self.number, ids);
        let materials = self.materials;
        let opened = materials.open(self.number, &key, &msg_id, &mut boxed.into_owned())?;
        let told = self.queue.notifier(made);
        Ok(told.map(|notifier| Expected {
            number: self.number,
            notifier_id: notifier.id.clone(),
            msg_id: msg_id.into_owned(),
            time: opened.time,
        }))
    }

    /// Looks at a queue whose creation was not confirmed.
    pub async fn observe_newborn(mut self, creation: Operation) -> Result<Option<Newborn>> {
        let Operation::Create {
            contact,
            link: Some(_),
            ..
        } = creation
        else {
            // All its ids would be the server's.
            return Ok(None);
        };
        let sender_id = self.materials.sender_id(self.number);
        let mut link = None;
        if contact {
            let id = self.materials.link_id(self.number, 0);
            let answer = self.client.command(&Command::LGet, &id, Auth::None).await?;
            let read = self.read_link("LGET", answer, 0, &sender_id)?;
            link = Some(read.map(|seen| seen.leads_home && seen.data.is_some()));
        }
        let message = Message {
            sequence: 0,
            size: 1,
            notify: false,
            marker: false,
        };
        let accepts = self.send(&sender_id, &message, Auth::None).await? != Sent::Refused;
        Ok(Some(Newborn { link, accepts }))
    }

    async fn ask_recipient(&mut self, ids: &Ids) -> Result<(Vec<KeyNumber>, Option<Description>)> {
        let keys = self.queue.recipient_keys.iter();
        let keys = keys.map(|n| Ok((*n, self.materials.recipient_key(self.number, *n)?)));
        let keys: Vec<(KeyNumber, SigningKey)> = keys.collect::<Result<_>>()?;
        let commands: Vec<_> = keys
            .iter()
            .map(|(_, key)| (Command::Que, &ids.recipient[..], Auth::Sign(key)))
            .collect();
        let answers = self.client.batch(&commands).await?;
        let (mut working, mut description) = (Vec::new(), None);
        for ((number, _), answer) in keys.iter().zip(answers) {
            match answer {
                Response::Info(json) => {
                    let told: Information = serde_json::from_slice(&json)?;
                    working.push(*number);
                    description = Some(Description {
                        secured: told.qi_snd,
                        notifier: told.qi_ntf,
                        size: told.qi_size,
                    });
                }
                Response::Err(ErrorType::Auth) => {}
                other => return Err(unexpected("QUE", &other).into()),
            }
        }
        Ok((working, description))
    }

    async fn ask_notifiers(&mut self) -> Result<Vec<Step>> {
        let notifiers = self.queue.notifiers.iter();
        let keys: Vec<SigningKey> = notifiers
            .clone()
            .map(|(made, _)| self.materials.notifier_key(self.number, *made))
            .collect::<Result<_>>()?;
        let commands: Vec<_> = notifiers
            .clone()
            .zip(&keys)
            .map(|((_, told), key)| (Command::NSub, &told.id[..], Auth::Sign(key)))
            .collect();
        let client = self.service.as_mut().unwrap_or(&mut self.client);
        let answers = client.batch(&commands).await?;
        let mut answering = Vec::new();
        for ((made, _), answer) in notifiers.zip(answers) {
            match answer {
                Response::Sok(_) | Response::Ok => answering.push(*made),
                Response::Err(ErrorType::Auth) => {}
                other => return Err(unexpected("NSUB", &other).into()),
            }
        }
        Ok(answering)
    }

    /// Setting the key that is set succeeds, another is refused.
    async fn ask_sender_key(&mut self, ids: &Ids, recipient: &SigningKey) -> Result<SenderKey> {
        for number in &self.queue.sender_keys {
            let key = sender_public(&self.materials.sender_key(self.number, *number));
            let auth = Auth::Sign(recipient);
            match self
                .client
                .command(&Command::Key(key), &ids.recipient, auth)
                .await?
            {
                Response::Ok => return Ok(SenderKey::Known(*number)),
                Response::Err(ErrorType::Auth) => {}
                other => return Err(unexpected("KEY", &other).into()),
            }
        }
        Ok(SenderKey::Foreign)
    }

    async fn take_messages(&mut self, ids: &Ids, recipient: &SigningKey) -> Result<Vec<Received>> {
        let (id, auth) = (&ids.recipient, Auth::Sign(recipient));
        let body_key = self.materials.body_key(self.number, ids);
        let mut received = Vec::new();
        while received.len() < MAX_TAKEN {
            let (msg_id, boxed) = match self.client.command(&Command::Get, id, auth).await? {
                Response::Msg { msg_id, boxed } => (msg_id, boxed),
                Response::Ok => break,
                other => return Err(unexpected("GET", &other).into()),
            };
            let opened =
                self.materials
                    .open(self.number, &body_key, &msg_id, &mut boxed.into_owned());
            received.push(opened.unwrap_or(Received {
                content: Content::Foreign,
                size: 0,
                notify: false,
                time: 0,
            }));
            let command = Command::Ack { msg_id: &msg_id };
            match self.client.command(&command, id, auth).await? {
                Response::Ok => {}
                other => return Err(unexpected("ACK", &other).into()),
            }
        }
        Ok(received)
    }

    /// All link ids the queue ever had, once each, with the operation that made them.
    fn link_ids(&self) -> Vec<(Step, Vec<u8>)> {
        let mut made: Vec<Step> = self.queue.links.iter().map(|link| link.made).collect();
        made.dedup();
        let id = |made| self.materials.id_of_link(self.number, self.queue, made);
        made.into_iter()
            .filter_map(|made| Some((made, id(made)?)))
            .collect()
    }

    async fn ask_contact_links(&mut self, ids: &Ids) -> Result<Vec<LinkSeen>> {
        let mut links = Vec::new();
        for (made, id) in self.link_ids() {
            let answer = self.client.command(&Command::LGet, &id, Auth::None).await?;
            links.extend(self.read_link("LGET", answer, made, &ids.sender)?);
        }
        Ok(links)
    }

    /// Reading such a link secures the queue, or repeats what secured it.
    async fn ask_messaging_links(
        &mut self,
        ids: &Ids,
        key: &X25519SecretKey,
    ) -> Result<Vec<LinkSeen>> {
        let mut links = Vec::new();
        for (made, id) in self.link_ids() {
            let command = Command::LKey(sender_public(key));
            let answer = self
                .client
                .command(&command, &id, Auth::X25519(key))
                .await?;
            links.extend(self.read_link("LKEY", answer, made, &ids.sender)?);
        }
        Ok(links)
    }

    fn read_link(
        &self,
        command: &'static str,
        answer: Response<'static>,
        made: Step,
        sender_id: &[u8],
    ) -> Result<Option<LinkSeen>> {
        match answer {
            Response::Lnk(answer) => Ok(Some(LinkSeen {
                made,
                leads_home: *answer.sender_id == *sender_id,
                data: self.recognise(made, &answer),
            })),
            Response::Err(ErrorType::Auth) => Ok(None),
            other => Err(unexpected(command, &other).into()),
        }
    }

    /// The data of this link that it is, if any.
    fn recognise(&self, made: Step, answer: &LinkAnswer<'_>) -> Option<Link> {
        let mut data = self.queue.links.iter().filter(|link| link.made == made);
        data.find(|link| {
            let (fixed, user) = self.materials.link_data(self.number, link);
            *answer.fixed == fixed && *answer.user == user
        })
        .copied()
    }

    async fn send(&mut self, id: &[u8], message: &Message, auth: Auth<'_>) -> Result<Sent> {
        let body = self.materials.body(self.number, message);
        let command = Command::Send {
            notify: message.notify,
            body: &body,
        };
        match self.client.command(&command, id, auth).await? {
            Response::Ok => Ok(Sent::Accepted),
            Response::Err(ErrorType::Quota) => Ok(Sent::Full),
            Response::Err(ErrorType::Auth) => Ok(Sent::Refused),
            other => Err(unexpected("SEND", &other).into()),
        }
    }

    /// Whether anybody can send to a queue that is gone.
    async fn accepts_any(&mut self, id: &[u8]) -> Result<bool> {
        let message = Message {
            sequence: 0,
            size: 1,
            notify: false,
            marker: false,
        };
        if self.send(id, &message, Auth::None).await? != Sent::Refused {
            return Ok(true);
        }
        for number in &self.queue.sender_keys {
            let key = self.materials.sender_key(self.number, *number);
            if self.send(id, &message, Auth::X25519(&key)).await? != Sent::Refused {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
