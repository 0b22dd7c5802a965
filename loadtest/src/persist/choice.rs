//! The random mix of operations. What is chosen for a queue depends only on the seed and on what
//! happened to the queue before.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::materials::MAX_MESSAGES;
use super::state::{LinkLengths, Message, Operation, Queue, SecuredBy};

/// Longest body, in bytes.
const MAX_SIZE: u16 = 16_000;
/// Below the usual quota of a queue.
const MAX_WAITING: usize = 24;
/// The same of a queue that nobody empties.
const MAX_WAITING_QUIET: usize = 2;
/// Most messages that are sent together.
const MAX_BURST: u32 = 4;
/// Most keys, links and notifiers that a queue has in its life: a checker asks for all of them.
const MAX_KNOWN: usize = 8;
/// Most keys that `RKEY` brings.
const MAX_NEW_KEYS: u8 = 3;
/// Link data of official clients, in bytes.
const MAX_LINK: LinkLengths = LinkLengths {
    fixed: 2048,
    user: 13_824,
};

/// What the connections know of a queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live {
    /// Whether the recipient is subscribed.
    pub subscribed: bool,
    /// Number of the message that was delivered and not acknowledged.
    pub delivered: Option<u32>,
    /// Messages that a queue holds, when that may be tried.
    pub quota: Option<usize>,
    /// Whether there is a service to which notifiers may be given.
    pub service: bool,
    /// The queue stays, with a few messages that nobody takes.
    pub quiet: bool,
}

impl Live {
    /// Messages that may wait before no others are sent.
    fn most_waiting(&self) -> usize {
        match (self.quiet, self.quota) {
            (true, _) => MAX_WAITING_QUIET,
            (false, None) => MAX_WAITING,
            (false, Some(quota)) => quota,
        }
    }
}

/// The random numbers for the next choice of a queue.
pub fn rng(seed: u64, number: u32, queue: &Queue) -> StdRng {
    let (number, step) = (u64::from(number), u64::from(queue.next_step));
    StdRng::seed_from_u64(seed ^ (number << 32 | step).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A creation.
pub fn creation(rng: &mut StdRng) -> Operation {
    Operation::Create {
        contact: rng.random_bool(0.5),
        link: rng.random_bool(0.4).then(|| lengths(rng)),
        notifier: rng.random_bool(0.3),
        subscribe: rng.random_bool(0.5),
    }
}

/// The next operation of a queue that exists and has none pending; several when they are sent
/// together, and none when a quiet queue has all it may have.
pub fn next(rng: &mut StdRng, queue: &Queue, live: Live) -> Vec<Operation> {
    let possible = possible(rng, queue, live);
    match possible.choose_weighted(rng, |(weight, _)| *weight) {
        Ok((_, Operation::Send(first))) if !first.marker => {
            let room = live.most_waiting() - queue.state.waiting.len();
            burst(rng, queue, *first, room)
        }
        Ok((_, operation)) => vec![*operation],
        Err(_) => Vec::new(),
    }
}

/// Operations that must succeed, with their weights.
fn possible(rng: &mut StdRng, queue: &Queue, live: Live) -> Vec<(u32, Operation)> {
    let (state, contact) = (&queue.state, queue.contact);
    let mut possible = Vec::new();
    let mut may = |when: bool, weight: u32, operation: Operation| {
        if when {
            possible.push((weight, operation));
        }
    };
    let secured = state.sender_key.is_some();
    let is_full = state.waiting.len() >= live.most_waiting() || state.is_full();
    let room = queue.next_sequence < MAX_MESSAGES && !is_full;
    let message = message(rng, queue.next_sequence, queue.sent_empty);
    may(room && !state.suspended, 60, Operation::Send(message));
    let at_quota = live.quota == Some(state.waiting.len()) && !state.is_full();
    let may_exceed = at_quota && !state.suspended && !queue.sent_marker;
    may(may_exceed, 60, Operation::Send(marker(queue.next_sequence)));
    may(!live.subscribed && !live.quiet, 8, Operation::Subscribe);
    if let Some(sequence) = live.delivered {
        may(!live.quiet, 30, Operation::Acknowledge(sequence));
    }
    let may_secure = !secured && queue.sender_keys.len() < MAX_KNOWN;
    may(may_secure, 4, Operation::Secure(SecuredBy::Recipient));
    may(
        may_secure && !contact,
        4,
        Operation::Secure(SecuredBy::Sender),
    );
    let by_link = may_secure && !contact && state.link.is_some();
    may(by_link, 8, Operation::Secure(SecuredBy::Link));
    // A messaging queue that is secured has had its link.
    let may_link = (contact || !secured) && queue.links.len() < MAX_KNOWN;
    let (none, lengths) = (state.link.is_none(), lengths(rng));
    may(may_link && none, 6, Operation::SetLink(lengths));
    may(
        may_link && !none,
        4,
        Operation::ReplaceUserData(lengths.user),
    );
    may(!none, 2, Operation::DeleteLink);
    let notifiers = queue.notifiers.len() < MAX_KNOWN;
    may(notifiers, 3, Operation::EnableNotifier);
    may(state.notifier.is_some(), 3, Operation::DisableNotifier);
    let told = state
        .notifier
        .is_some_and(|made| queue.notifier(made).is_some());
    let may_associate = live.service && told && !state.associated;
    may(may_associate, 6, Operation::Associate);
    let count = rng.random_range(1..=MAX_NEW_KEYS);
    let keys = contact && queue.recipient_keys.len() + usize::from(count) <= MAX_KNOWN;
    may(keys, 3, Operation::ReplaceKeys(count));
    may(!state.suspended && !live.quiet, 1, Operation::Suspend);
    let idle = !room && live.delivered.is_none();
    may(!live.quiet, if idle { 10 } else { 1 }, Operation::Delete);
    possible
}

fn burst(rng: &mut StdRng, queue: &Queue, first: Message, room: usize) -> Vec<Operation> {
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    let most = MAX_BURST.min(MAX_MESSAGES - first.sequence).min(room);
    let count = rng.random_range(1..=most.max(1));
    let mut empty = queue.sent_empty || first.size == 0;
    let mut operations = vec![Operation::Send(first)];
    for sequence in first.sequence + 1..first.sequence + count {
        let message = message(rng, sequence, empty);
        empty |= message.size == 0;
        operations.push(Operation::Send(message));
    }
    operations
}

/// A message: many short ones, some as large as they get.
pub fn message(rng: &mut StdRng, sequence: u32, sent_empty: bool) -> Message {
    let shortest = u16::from(sent_empty);
    let size = match rng.random_range(0..10) {
        0 => shortest,
        1..=3 => rng.random_range(shortest..=64),
        4..=6 => rng.random_range(shortest..=1000),
        7..=8 => rng.random_range(shortest..=MAX_SIZE),
        _ => MAX_SIZE,
    };
    Message {
        sequence,
        size,
        notify: rng.random_bool(0.5),
        marker: false,
    }
}

/// A message beyond the quota.
fn marker(sequence: u32) -> Message {
    Message {
        sequence,
        size: 0,
        notify: false,
        marker: true,
    }
}

fn lengths(rng: &mut StdRng) -> LinkLengths {
    match rng.random_range(0..4) {
        0 => MAX_LINK,
        _ => LinkLengths {
            fixed: rng.random_range(0..=256),
            // Never so short that two of them may be the same.
            user: rng.random_range(16..=1024),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::state::{Ids, Told, ToldNotifier};
    use std::collections::HashSet;
    use std::mem::discriminant;

    const QUOTA: usize = 8;

    fn told(operation: Operation) -> Told {
        match operation {
            Operation::EnableNotifier => Told::Notifier(ToldNotifier {
                id: vec![0; 24],
                server_dh: [0; 32],
            }),
            _ => Told::Nothing,
        }
    }

    fn lives(seed: u64) -> Vec<Operation> {
        let mut all = Vec::new();
        for number in 0..60 {
            let quota = (number % 2 == 0).then_some(QUOTA);
            let mut queue = Queue::default();
            let operation = creation(&mut rng(seed, number, &queue));
            queue.issue(operation);
            let ids = Ids {
                recipient: vec![0; 24],
                sender: vec![0; 24],
                server_dh: [0; 32],
                link: Some(vec![0; 24]),
                notifier: None,
            };
            queue.confirm(0, Told::Ids(Box::new(ids)), 0);
            all.push(operation);
            while queue.state.exists {
                let live = Live {
                    subscribed: queue.next_step % 2 == 0,
                    delivered: queue.state.waiting.front().map(|m| m.sequence),
                    quota,
                    service: true,
                    quiet: false,
                };
                let before = queue.state.clone();
                for operation in next(&mut rng(seed, number, &queue), &queue, live) {
                    let step = queue.issue(operation);
                    let confirmed = queue.confirm(step, told(operation), 0);
                    assert_eq!(confirmed, Some(operation));
                    all.push(operation);
                    if let Operation::Send(message) = operation {
                        assert!(!before.is_full(), "nothing is accepted behind a marker");
                        let at_quota = quota == Some(before.waiting.len());
                        assert_eq!(message.marker, at_quota);
                    }
                }
                let most = quota.map_or(MAX_WAITING, |quota| quota + 1);
                assert!(queue.state.waiting.len() <= most);
                assert!(queue.next_sequence <= MAX_MESSAGES + 1);
                assert!(queue.recipient_keys.len() <= MAX_KNOWN);
                assert!(queue.links.len() <= MAX_KNOWN && queue.sender_keys.len() <= MAX_KNOWN);
            }
        }
        all
    }

    #[test]
    fn the_seed_decides_and_every_operation_has_its_turn() {
        let all = lives(1);
        assert_eq!(all, lives(1));
        assert_ne!(all, lives(2));
        let kinds: HashSet<_> = all.iter().map(discriminant).collect();
        assert_eq!(kinds.len(), 14);
        let is_marker = |o: &&Operation| matches!(o, Operation::Send(m) if m.marker);
        assert!(all.iter().filter(is_marker).count() > 5);
        let sizes = all.iter().filter_map(|o| match o {
            Operation::Send(message) => Some(message.size),
            _ => None,
        });
        let sizes: HashSet<_> = sizes.collect();
        assert!(sizes.contains(&0) && sizes.contains(&MAX_SIZE) && sizes.len() > 100);
    }

    #[test]
    fn a_quiet_queue_stays_and_keeps_a_few_messages() {
        let live = Live {
            quiet: true,
            ..Live::default()
        };
        for number in 0..20 {
            let mut queue = Queue::default();
            let created = queue.issue(creation(&mut rng(1, number, &queue)));
            assert!(queue.confirm(created, Told::Nothing, 0).is_some());
            for _ in 0..500 {
                for operation in next(&mut rng(1, number, &queue), &queue, live) {
                    let step = queue.issue(operation);
                    assert!(queue.confirm(step, told(operation), 0).is_some());
                }
            }
            assert!(queue.state.exists && !queue.state.suspended);
            assert_eq!(queue.state.waiting.len(), MAX_WAITING_QUIET);
        }
    }

    #[test]
    fn a_queue_has_at_most_one_message_without_body() {
        for number in 0..50 {
            let queue = Queue::default();
            let mut rng = rng(3, number, &queue);
            let first = message(&mut rng, 0, false);
            let empty = burst(&mut rng, &queue, first, 4)
                .iter()
                .filter(|o| matches!(o, Operation::Send(m) if m.size == 0))
                .count();
            assert!(empty <= 1);
        }
    }
}
