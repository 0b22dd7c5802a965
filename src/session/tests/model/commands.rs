//! Random commands, most of them sensible: about queues that exist, with the right key.

use super::log::{Order, Sent};
use super::party::{By, NOTIFIERS, Party, RECIPIENTS, Ring, SENDERS};
use super::reference::{Queue, QueueNo, Reference};
use super::world::World;
use crate::crypto::hash;
use crate::crypto::keys::PublicAuthKey;
use crate::protocol::command::{
    ContactLink, LinkData, MessagingLink, NewQueue, NotifierCredentials, QueueRequest,
    ServiceQueues,
};
use crate::protocol::{Command, Version};
use crate::relay::tests::clients::recipient_dh;
use crate::store::Id;
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha20Rng;
use std::collections::HashSet;

/// Queues beyond which few more are created.
const ENOUGH_QUEUES: usize = 5;

/// What the clients of a run choose from.
#[derive(Debug, Default)]
pub struct Plan {
    /// Link ids, few enough to collide.
    links: Vec<Id>,
    /// Correlation ids for chosen sender ids, few enough to collide.
    corr_ids: Vec<Id>,
    sent: u64,
    /// Whether ends of subscriptions are told without delay.
    pub tells_ends_at_once: bool,
}

/// A key that nobody has.
const WORTHLESS: PublicAuthKey = PublicAuthKey::Ed25519([0; 32]);

/// The commands, as often as they are in it.
const MIX: &[(&str, u32)] = &[
    ("SEND", 26),
    ("SUB", 12),
    ("ACK", 18),
    ("GET", 6),
    ("NEW", 7),
    ("KEY", 3),
    ("SKEY", 3),
    ("LKEY", 4),
    ("LGET", 5),
    ("LSET", 8),
    ("LDEL", 4),
    ("RKEY", 2),
    ("NKEY", 5),
    ("NDEL", 2),
    ("NSUB", 8),
    ("NSUBS", 1),
    ("OFF", 1),
    ("DEL", 3),
    ("QUE", 4),
    ("PING", 2),
    ("unsigned", 2),
];

/// The same for a notification service.
const NOTIFIER_MIX: &[(&str, u32)] = &[("NSUB", 12), ("NSUBS", 5), ("PING", 1), ("SUB", 1)];

fn pick(mix: &[(&'static str, u32)], rng: &mut ChaCha20Rng) -> &'static str {
    let picked = mix.choose_weighted(rng, |(_, weight)| *weight);
    picked.expect("weights").0
}

impl Plan {
    pub fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut ids = |count: usize| (0..count).map(|_| rng.random()).collect();
        Self {
            links: ids(4),
            corr_ids: ids(6),
            sent: 0,
            tells_ends_at_once: rng.random_bool(0.2),
        }
    }

    /// A block of commands.
    pub fn block(
        &mut self,
        world: &mut World,
        party: &Party,
        ring: &Ring,
        count: usize,
    ) -> Vec<Sent> {
        (0..count)
            .map(|_| self.command(world, party, ring))
            .collect()
    }

    /// The deletion of a queue.
    pub fn deletion(
        &mut self,
        world: &mut World,
        party: &Party,
        ring: &Ring,
        number: QueueNo,
    ) -> Sent {
        let queue = &world.reference.queues[number];
        let key = ring.number_of(&queue.keys[0]).expect("a key of the ring");
        let (entity, rng) = (queue.recipient, &mut world.rng);
        self.transmit(rng, party, ring, None, &entity, &Command::Del, By::Key(key))
    }

    fn corr_id(&mut self) -> Id {
        self.sent += 1;
        let mut id = [0xc0; 24];
        id[..8].copy_from_slice(&self.sent.to_be_bytes());
        id
    }

    fn command(&mut self, world: &mut World, party: &Party, ring: &Ring) -> Sent {
        let rng = &mut world.rng;
        let live = world.reference.live().count();
        let mut name = match party.is_notifier() {
            true => pick(NOTIFIER_MIX, rng),
            false => pick(MIX, rng),
        };
        if name == "NEW" && live >= ENOUGH_QUEUES && rng.random_bool(0.7) {
            name = "SEND";
        }
        if live == 0 && !party.is_notifier() && rng.random_bool(0.7) {
            name = "NEW";
        }
        if name == "NEW" {
            return self.create(rng, party, ring);
        }
        // Now and then an id of what was, or of nothing.
        let is_live = |number: QueueNo| !world.reference.queues[number].deleted;
        let number = match rng.random_range(0..100) {
            0..92 => known(&world.reference, &world.known)
                .filter(|n| is_live(*n))
                .choose(rng),
            92..97 => known(&world.reference, &world.known).choose(rng),
            _ => None,
        };
        let acknowledged = delivered(world, party);
        if name == "ACK" && acknowledged.is_none() && world.rng.random_bool(0.8) {
            name = if world.rng.random_bool(0.5) {
                "SEND"
            } else {
                "SUB"
            };
        }
        let number = match name {
            "ACK" => acknowledged.or(number),
            _ => number,
        };
        self.about(world, party, ring, name, number)
    }

    fn about(
        &mut self,
        world: &mut World,
        party: &Party,
        ring: &Ring,
        name: &str,
        number: Option<QueueNo>,
    ) -> Sent {
        let (rng, reference) = (&mut world.rng, &world.reference);
        let queue = number.map(|number| &reference.queues[number]);
        let nothing: Id = rng.random();
        let recipient = queue.map_or(nothing, |q| q.recipient);
        let sender = queue.map_or(nothing, |q| q.sender);
        let any_link = *self.links.choose(rng).expect("some");
        let link = queue
            .and_then(|q| q.link.as_ref())
            .map_or(any_link, |l| l.id);
        let notifier = queue.and_then(|q| q.notifier.as_ref());
        let notifier_id = notifier.map_or(nothing, |n| n.id);
        let number_of = |key| ring.number_of(key).map_or(By::Nobody, By::Key);
        let by_owner = queue.map_or(By::Key(0), |q| number_of(q.keys.first().expect("one")));
        let by_sender = queue
            .and_then(|q| q.sender_key.as_ref())
            .map_or(By::Nobody, number_of);
        let new_sender = match by_sender {
            By::Key(key) if rng.random_bool(0.9) => key,
            _ => rng.random_range(SENDERS),
        };
        let new_sender_key = ring.public(new_sender);
        let body = format!(
            "message {} {}",
            self.sent,
            "-".repeat(rng.random_range(0..40))
        );
        let msg_id = queue.map_or(vec![9; 24], |q| acknowledged(world, q, party));
        let rng = &mut world.rng;
        let data = Data::new(rng);
        let keys: Vec<_> = (0..rng.random_range(1..4))
            .map(|_| ring.public(rng.random_range(RECIPIENTS)))
            .collect();
        let wanted = if rng.random_bool(0.5) { link } else { any_link };
        let (command, entity, by) = match name {
            "SEND" => {
                let notify = rng.random_bool(0.6);
                let body = body.as_bytes();
                (Command::Send { notify, body }, &sender, by_sender)
            }
            "SUB" => (Command::Sub, &recipient, by_owner),
            "ACK" => (Command::Ack { msg_id: &msg_id }, &recipient, by_owner),
            "GET" => (Command::Get, &recipient, by_owner),
            "QUE" => (Command::Que, &recipient, by_owner),
            "unsigned" => (Command::Que, &recipient, By::Nobody),
            "KEY" => (Command::Key(new_sender_key), &recipient, by_owner),
            "SKEY" => (Command::SKey(new_sender_key), &sender, By::Key(new_sender)),
            "LKEY" => (Command::LKey(new_sender_key), &link, By::Key(new_sender)),
            "LGET" => (Command::LGet, &link, By::Nobody),
            "LSET" => {
                let (link_id, data) = (&wanted[..], data.link());
                (Command::LSet { link_id, data }, &recipient, by_owner)
            }
            "LDEL" => (Command::LDel, &recipient, by_owner),
            "RKEY" => (Command::RKey(keys), &recipient, by_owner),
            "NKEY" => {
                let credentials = credentials(rng, ring);
                (Command::NKey(credentials), &recipient, by_owner)
            }
            "NDEL" => (Command::NDel, &recipient, by_owner),
            "NSUB" => {
                let by = notifier_key(&world.reference, number, ring);
                (Command::NSub, &notifier_id, by)
            }
            "NSUBS" => {
                let own = party.service().map_or(nothing, |service| service.id);
                let nsubs = Command::NSubs(ServiceQueues::UNKNOWN);
                return self.transmit(rng, party, ring, None, &own, &nsubs, By::Service);
            }
            "OFF" => (Command::Off, &recipient, by_owner),
            "DEL" => (Command::Del, &recipient, by_owner),
            "PING" => {
                return self.transmit(rng, party, ring, None, &[], &Command::Ping, By::Nobody);
            }
            other => panic!("{other} is not in the mix"),
        };
        // Sometimes with another key.
        let by = match by {
            By::Key(_) if rng.random_bool(0.06) => By::Key(rng.random_range(0..NOTIFIERS.end)),
            By::Nobody if name == "SEND" && rng.random_bool(0.06) => By::Key(new_sender),
            other => other,
        };
        self.transmit(rng, party, ring, None, entity, &command, by)
    }

    fn create(&mut self, rng: &mut ChaCha20Rng, party: &Party, ring: &Ring) -> Sent {
        let key = rng.random_range(RECIPIENTS);
        let corr_id = match rng.random_bool(0.5) {
            true => *self.corr_ids.choose(rng).expect("some"),
            false => self.corr_id(),
        };
        let data = Data::new(rng);
        let sender_id = match rng.random_bool(0.95) {
            true => hash::sender_id(&corr_id),
            false => rng.random(),
        };
        let link_id = *self.links.choose(rng).expect("some");
        let queue = match rng.random_range(0..10) {
            0 => None,
            1..3 => Some(QueueRequest::Messaging(None)),
            3..5 => Some(QueueRequest::Messaging(Some(MessagingLink {
                sender_id: &sender_id,
                data: data.link(),
            }))),
            5..6 => Some(QueueRequest::Contact(None)),
            _ => Some(QueueRequest::Contact(Some(ContactLink {
                link_id: &link_id,
                sender_id: &sender_id,
                data: data.link(),
            }))),
        };
        let notifier = rng.random_bool(0.5).then(|| credentials(rng, ring));
        let subscribe = rng.random_bool(0.6);
        let new = Command::New(NewQueue {
            auth_key: ring.public(key),
            dh_key: recipient_dh().public_key(),
            password: None,
            subscribe,
            queue,
            notifier,
        });
        let by = match rng.random_bool(0.97) {
            true => key,
            false => rng.random_range(RECIPIENTS),
        };
        self.transmit(rng, party, ring, Some(corr_id), &[], &new, By::Key(by))
    }

    #[expect(clippy::too_many_arguments)]
    fn transmit(
        &mut self,
        rng: &mut ChaCha20Rng,
        party: &Party,
        ring: &Ring,
        corr_id: Option<Id>,
        entity: &[u8],
        command: &Command<'_>,
        by: By,
    ) -> Sent {
        let corr_id = corr_id.unwrap_or_else(|| self.corr_id());
        let twice = matches!(command, Command::New(_) | Command::Sub | Command::NSub);
        let should = twice && party.service().is_some();
        let can = by != By::Nobody && party.context.version() >= Version::SERVICES;
        let service_signed = can && (should != rng.random_bool(0.03));
        let bytes = party.transmission(ring, &corr_id, entity, command, by, service_signed);
        let signer = match by {
            By::Nobody => None,
            // Without a key of the server authenticators prove nothing.
            By::Key(key) if !party.can_prove(&ring.public(key)) => Some(WORTHLESS),
            By::Key(key) => Some(ring.public(key)),
            By::Service => {
                let key = ring.service_key();
                Some(PublicAuthKey::Ed25519(key))
            }
        };
        let is_local =
            matches!(command, Command::Ping) || matches!(command, Command::Que) && by == By::Nobody;
        Sent {
            corr_id,
            bytes,
            signer,
            service_signed,
            order: (!is_local).then(|| Order::of(command)),
            dispatched: None,
            redirected: None,
            dispatched_again: None,
            in_effect: false,
            held: None,
            answer: None,
            received: false,
        }
    }
}

/// Link data, few enough to be the same at times.
struct Data {
    fixed: &'static [u8],
    user: Vec<u8>,
}

impl Data {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        Self {
            fixed: if rng.random_bool(0.7) {
                b"fixed"
            } else {
                b"other"
            },
            user: vec![rng.random(); rng.random_range(0..9)],
        }
    }

    fn link(&self) -> LinkData<'_> {
        LinkData {
            fixed: self.fixed,
            user: &self.user,
        }
    }
}

fn credentials(rng: &mut ChaCha20Rng, ring: &Ring) -> NotifierCredentials {
    NotifierCredentials {
        auth_key: ring.public(rng.random_range(NOTIFIERS)),
        dh_key: recipient_dh().public_key(),
    }
}

/// The key of a queue's notifier.
fn notifier_key(reference: &Reference, number: Option<QueueNo>, ring: &Ring) -> By {
    let notifier = number.and_then(|number| reference.queues[number].notifier.as_ref());
    let key = notifier.and_then(|notifier| ring.number_of(&notifier.key));
    By::Key(key.unwrap_or(NOTIFIERS.start))
}

/// Queues whose ids somebody has been told.
fn known<'a>(
    reference: &'a Reference,
    ids: &'a HashSet<Id>,
) -> impl Iterator<Item = QueueNo> + use<'a> {
    let queues = reference.queues.iter().enumerate();
    queues
        .filter(|(_, queue)| ids.contains(&queue.recipient))
        .map(|(number, _)| number)
}

/// A queue of which the connection has something to acknowledge.
fn delivered(world: &mut World, party: &Party) -> Option<QueueNo> {
    let has = |queue: &Queue| {
        let message = queue.delivered.get(&party.session);
        let id = message.and_then(|number| world.reference.messages[*number].id);
        id.is_some_and(|id| world.known.contains(&id))
    };
    let queues = world.reference.live().filter(|(_, queue)| has(queue));
    queues.map(|(number, _)| number).choose(&mut world.rng)
}

/// A message id: mostly of what was delivered, now and then empty or another.
fn acknowledged(world: &World, queue: &Queue, party: &Party) -> Vec<u8> {
    let mut rng = world.rng.clone();
    let id_of = |number: &usize| {
        let id = world.reference.messages[*number].id;
        id.filter(|id| world.known.contains(id))
    };
    let own = queue.delivered.get(&party.session).and_then(id_of);
    let others = queue.messages.iter().filter_map(id_of).choose(&mut rng);
    match rng.random_range(0..10) {
        0 => Vec::new(),
        1 => others.map_or(vec![8; 24], |id| id.to_vec()),
        _ => own.map_or(vec![7; 24], |id| id.to_vec()),
    }
}
