//! Keys, ids and bodies, derived from the number of the run so that the ledger need not hold them.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use smp_server::crypto::hash::{sender_id, sha512_parts};
use smp_server::crypto::keys::{SigningKey, X25519PublicKey, X25519SecretKey};
use smp_server::crypto::message::{ReceivedBody, decrypt_message};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::command::NotifierCredentials;

use super::state::{Ids, KeyNumber, Link, Message, Queue, Step, ToldNotifier};
use crate::body::{self, Bodies, MIN_LEN, Stamp};

/// Most messages of a queue: the first byte of a short body is its number.
pub const MAX_MESSAGES: u32 = 200;

/// What a derived value is for.
#[derive(Clone, Copy)]
enum Purpose {
    RecipientKey,
    SenderKey,
    NotifierKey,
    BodyKey,
    NotificationKey,
    CorrelationId,
    LinkId,
    FixedData,
    UserData,
    ShortBody,
}

/// A message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// What its body says.
    pub content: Content,
    /// Length of the body, in bytes.
    pub size: usize,
    /// Notification flag.
    pub notify: bool,
    /// When the server got it, in seconds since the Unix epoch.
    pub time: i64,
}

/// What a body says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It is this message of its queue, unchanged.
    Message(u32),
    /// Nothing, it is empty.
    Empty,
    /// It was never sent to this queue like that.
    Foreign,
    /// It is the marker of a full queue.
    Quota,
}

/// Derives everything that belongs to a run.
#[derive(Clone, Copy)]
pub struct Materials {
    run: u64,
}

impl Materials {
    /// Of the run with this random number.
    pub fn new(run: u64) -> Self {
        Self { run }
    }

    fn derive(self, purpose: Purpose, queue: u32, step: Step, index: u8) -> [u8; 64] {
        sha512_parts(&[
            &[purpose as u8, index],
            &self.run.to_be_bytes(),
            &queue.to_be_bytes(),
            &step.to_be_bytes(),
        ])
    }

    fn seed(self, purpose: Purpose, queue: u32, number: KeyNumber) -> [u8; 32] {
        first(&self.derive(purpose, queue, number.step, number.index))
    }

    fn filled(self, purpose: Purpose, queue: u32, step: Step, len: u16) -> Vec<u8> {
        let seed = self.seed(purpose, queue, KeyNumber::of(step));
        let mut bytes = vec![0; usize::from(len)];
        StdRng::from_seed(seed).fill_bytes(&mut bytes);
        bytes
    }

    /// Signs commands of the recipient.
    pub fn recipient_key(self, queue: u32, number: KeyNumber) -> Result<SigningKey> {
        let seed = self.seed(Purpose::RecipientKey, queue, number);
        Ok(SigningKey::ed25519_from_seed(seed)?)
    }

    /// Authorises commands of the sender.
    pub fn sender_key(self, queue: u32, number: KeyNumber) -> X25519SecretKey {
        X25519SecretKey::from_bytes(self.seed(Purpose::SenderKey, queue, number))
    }

    /// Signs commands of the notifier made by an operation.
    pub fn notifier_key(self, queue: u32, made: Step) -> Result<SigningKey> {
        let seed = self.seed(Purpose::NotifierKey, queue, KeyNumber::of(made));
        Ok(SigningKey::ed25519_from_seed(seed)?)
    }

    /// What `NEW` and `NKEY` tell of the notifier made by an operation.
    pub fn notifier(self, queue: u32, made: Step) -> Result<NotifierCredentials> {
        Ok(NotifierCredentials {
            auth_key: self.notifier_key(queue, made)?.verifying_key().into(),
            dh_key: self.notification_secret(queue, made).public_key(),
        })
    }

    /// Opens the notifications of the notifier made by an operation.
    pub fn notification_key(self, queue: u32, made: Step, told: &ToldNotifier) -> BoxKey {
        let server = X25519PublicKey(told.server_dh);
        BoxKey::from(&self.notification_secret(queue, made).agree(&server))
    }

    fn notification_secret(self, queue: u32, made: Step) -> X25519SecretKey {
        let seed = self.seed(Purpose::NotificationKey, queue, KeyNumber::of(made));
        X25519SecretKey::from_bytes(seed)
    }

    /// The recipient's key for message bodies.
    pub fn body_secret(self, queue: u32) -> X25519SecretKey {
        X25519SecretKey::from_bytes(self.seed(Purpose::BodyKey, queue, KeyNumber::of(0)))
    }

    /// Opens the messages of a queue.
    pub fn body_key(self, queue: u32, ids: &Ids) -> BoxKey {
        let server = X25519PublicKey(ids.server_dh);
        BoxKey::from(&self.body_secret(queue).agree(&server))
    }

    /// Correlation id with which a queue is created.
    pub fn corr_id(self, queue: u32) -> [u8; 24] {
        first(&self.derive(Purpose::CorrelationId, queue, 0, 0))
    }

    /// Sender id of a queue created with a link, which follows from the correlation id.
    pub fn sender_id(self, queue: u32) -> [u8; 24] {
        sender_id(&self.corr_id(queue))
    }

    /// Link id chosen by the client in an operation.
    pub fn link_id(self, queue: u32, made: Step) -> [u8; 24] {
        first(&self.derive(Purpose::LinkId, queue, made, 0))
    }

    /// Link id of a link; the server chooses those of messaging queues created with one.
    pub fn id_of_link(self, number: u32, queue: &Queue, made: Step) -> Option<Vec<u8>> {
        if made == 0 && !queue.contact {
            queue.ids.as_ref().and_then(|ids| ids.link.clone())
        } else {
            Some(self.link_id(number, made).to_vec())
        }
    }

    /// Both parts of link data.
    pub fn link_data(self, queue: u32, link: &Link) -> (Vec<u8>, Vec<u8>) {
        (
            self.filled(Purpose::FixedData, queue, link.made, link.lengths.fixed),
            self.filled(Purpose::UserData, queue, link.user, link.lengths.user),
        )
    }

    fn short_body(self, queue: u32, sequence: u32, len: usize) -> Vec<u8> {
        let mut bytes = self.derive(Purpose::ShortBody, queue, sequence, 0);
        // See MAX_MESSAGES.
        bytes[0] = sequence.to_be_bytes()[3];
        bytes[..len.min(MIN_LEN)].to_vec()
    }

    /// The body of a message.
    pub fn body(self, queue: u32, message: &Message) -> Vec<u8> {
        let len = usize::from(message.size);
        if len < MIN_LEN {
            return self.short_body(queue, message.sequence, len);
        }
        let stamp = Stamp {
            queue,
            sequence: u64::from(message.sequence),
            time: u64::from(message.size),
        };
        Bodies::new(self.run, len).make(stamp).to_vec()
    }

    /// Opens a message and says which one it is; fails when it does not open.
    pub fn open(
        self,
        queue: u32,
        key: &BoxKey,
        msg_id: &[u8],
        boxed: &mut [u8],
    ) -> Result<Received> {
        let nonce = <&[u8; 24]>::try_from(msg_id)?;
        Ok(match decrypt_message(key, nonce, boxed)? {
            ReceivedBody::Message {
                timestamp,
                notify,
                body,
            } => Received {
                content: self.read(queue, body),
                size: body.len(),
                notify,
                time: timestamp,
            },
            ReceivedBody::Quota { timestamp } => Received {
                content: Content::Quota,
                size: 0,
                notify: false,
                time: timestamp,
            },
        })
    }

    /// Says which message of a queue this is.
    pub fn read(self, queue: u32, body: &[u8]) -> Content {
        let Some(&number) = body.first() else {
            return Content::Empty;
        };
        let sequence = if body.len() < MIN_LEN {
            let sequence = u32::from(number);
            (body == self.short_body(queue, sequence, body.len())).then_some(sequence)
        } else {
            body::read(self.run, body)
                .filter(|stamp| stamp.queue == queue && stamp.time == body.len() as u64)
                .and_then(|stamp| u32::try_from(stamp.sequence).ok())
        };
        sequence.map_or(Content::Foreign, Content::Message)
    }
}

fn first<const N: usize>(bytes: &[u8; 64]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_every_length_say_which_they_are() {
        let materials = Materials::new(7);
        for size in [1, 2, 35, 36, 37, 500, 16_000] {
            for sequence in [0, 1, MAX_MESSAGES - 1] {
                let message = Message {
                    sequence,
                    size,
                    notify: false,
                    marker: false,
                };
                let body = materials.body(3, &message);
                assert_eq!(body.len(), usize::from(size));
                assert_eq!(materials.read(3, &body), Content::Message(sequence));
                if size > 2 {
                    assert_eq!(materials.read(4, &body), Content::Foreign);
                    assert_eq!(Materials::new(8).read(3, &body), Content::Foreign);
                    assert_eq!(materials.read(3, &body[..body.len() - 1]), {
                        // A short body is the beginning of a longer one; its length tells.
                        if size < 36 {
                            Content::Message(sequence)
                        } else {
                            Content::Foreign
                        }
                    });
                }
                let mut changed = body;
                *changed.last_mut().unwrap() ^= 1;
                assert_ne!(materials.read(3, &changed), Content::Message(sequence));
            }
        }
        assert_eq!(materials.read(3, &[]), Content::Empty);
    }

    #[test]
    fn everything_derived_differs() {
        let materials = Materials::new(7);
        let number = KeyNumber { step: 1, index: 0 };
        let other = KeyNumber { step: 1, index: 1 };
        let key = |queue, number| {
            let key = materials.recipient_key(queue, number).unwrap();
            key.verifying_key().to_spki()
        };
        assert_eq!(key(1, number), key(1, number));
        assert_ne!(key(1, number), key(1, other));
        assert_ne!(key(1, number), key(2, number));
        assert_ne!(materials.link_id(1, 2), materials.link_id(1, 3));
        assert_ne!(
            materials.sender_id(1),
            Materials::new(8).sender_id(1),
            "runs must not meet on one server"
        );
    }
}
