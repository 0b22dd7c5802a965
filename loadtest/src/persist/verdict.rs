//! Compares what was seen of a queue with what may be.
//!
//! A server may die between the steps of what was not confirmed, so several states may be right;
//! but each of them only as a whole. The one that explains most is taken.

mod messages;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub(super) use self::messages::is;
pub use self::tally::{Fault, Kind, Tally};
use super::access::Acks;
use super::materials::Received;
use super::state::{Acknowledged, KeyNumber, Link, Message, Queue, State, Step};

/// What the recipient is told of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// A sender key is set.
    pub secured: bool,
    /// There is a notifier.
    pub notifier: bool,
    /// Messages in the queue.
    pub size: usize,
}

/// The sender key as it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderKey {
    /// There is none, or no queue.
    None,
    /// One of those that were used.
    Known(KeyNumber),
    /// Another.
    Foreign,
}

/// A link id that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSeen {
    /// Operation that made the id.
    pub made: Step,
    /// The data, when it is some that the link once had.
    pub data: Option<Link>,
    /// Whether the link leads to its queue.
    pub leads_home: bool,
}

/// Everything that shows of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Recipient keys that work, of those that were used.
    pub recipient_keys: Vec<KeyNumber>,
    /// What the recipient is told; nothing when no key works.
    pub description: Option<Description>,
    /// The sender key.
    pub sender_key: SenderKey,
    /// Link ids that answer, of those that were used; `None` when they cannot be asked.
    pub links: Option<Vec<LinkSeen>>,
    /// Notifiers that answer, of those that were used.
    pub notifiers: Vec<Step>,
    /// Whether messages are accepted; `None` when that cannot be asked.
    pub accepts: Option<bool>,
    /// Whether it was the service of the run that asked the notifiers.
    pub by_service: bool,
    /// Messages in the order they came. They are acknowledged.
    pub messages: Vec<Received>,
    /// The key with which the observer had to secure the queue to see its link.
    pub secured_with: Option<KeyNumber>,
    /// The message that the observer sent after it had taken all others, when it was accepted.
    pub sent: Option<Message>,
}

/// The judgement of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Everything wrong.
    pub faults: Vec<Fault>,
    /// The same in numbers, with what is right.
    pub tally: Tally,
    /// The queue as it turned out to be, after the observation; only right without faults.
    pub queue: Queue,
}

/// Comparison with one state.
#[derive(Default)]
struct Comparison {
    faults: Vec<Fault>,
    proved: u64,
    reappeared: u64,
}

impl Comparison {
    /// Something that must hold.
    fn fact(&mut self, holds: bool, otherwise: Kind, what: impl FnOnce() -> String) {
        if holds {
            self.proved += 1;
        } else {
            self.faults.push(Fault::new(otherwise, what()));
        }
    }

    /// Something that must not be.
    fn absent(&mut self, absent: bool, otherwise: Kind, what: &str) {
        if !absent {
            self.faults.push(Fault::new(otherwise, what));
        }
    }
}

/// Judges a queue whose creation was not confirmed, from what its chosen ids show: whether its
/// link answers, with the right data, when it has a link that can be read by anybody; and whether
/// it accepts messages.
pub fn judge_newborn(link: Option<Option<bool>>, accepts: bool) -> (Vec<Fault>, Tally) {
    let mut faults = Vec::new();
    if let Some(link) = link {
        if link.is_some() != accepts {
            let what = format!("creation: link answers {}, queue {accepts}", link.is_some());
            faults.push(Fault::new(Kind::Half, what));
        }
        if link == Some(false) {
            let what = "link data of a creation that was not confirmed";
            faults.push(Fault::new(Kind::Corrupted, what));
        }
    }
    let mut tally = Tally {
        queues: 1,
        happened: u64::from(accepts),
        did_not_happen: u64::from(!accepts),
        ..Tally::default()
    };
    for fault in &faults {
        tally.count(fault.kind);
    }
    (faults, tally)
}

/// Judges a queue whose creation was confirmed. `epoch` is the life of the server that was
/// observed.
pub fn judge(queue: &Queue, seen: &Observation, epoch: u32, acks: Acks) -> Judgement {
    // What is pending was issued before the restart, if there was one.
    let candidates = queue.candidates(epoch.saturating_sub(1));
    let mut best = (Comparison::default(), State::default(), 0);
    for (number, candidate) in candidates.into_iter().enumerate() {
        let comparison = compare(queue, &candidate, seen, acks);
        if number == 0 || comparison.faults.len() < best.0.faults.len() {
            best = (comparison, candidate, number);
        }
    }
    let (comparison, state, number) = best;
    let mut tally = Tally {
        queues: 1,
        proved: comparison.proved,
        reappeared: comparison.reappeared,
        ..Tally::default()
    };
    if comparison.faults.is_empty() {
        // A burst of messages may have arrived in part: each of its steps is a candidate.
        let happened = queue.pending.len().min(number) as u64;
        tally.happened = happened;
        tally.did_not_happen = queue.pending.len() as u64 - happened;
    }
    for fault in &comparison.faults {
        tally.count(fault.kind);
    }
    Judgement {
        faults: comparison.faults,
        tally,
        queue: settled(queue, state, seen, epoch),
    }
}

fn compare(queue: &Queue, state: &State, seen: &Observation, acks: Acks) -> Comparison {
    let mut found = Comparison::default();
    match (state.exists, seen.description) {
        (false, None) => {
            found.proved += 1;
            nothing_left(seen, &mut found);
        }
        (false, Some(_)) => {
            found.absent(false, Kind::Lost, "the deletion: the queue is there again");
        }
        (true, None) => {
            all_lost(state, &mut found);
            nothing_left(seen, &mut found);
        }
        (true, Some(description)) => {
            found.proved += 1;
            compare_settings(queue, state, seen, description, &mut found);
            messages::compare(state, seen, (description.size, acks), &mut found);
        }
    }
    found
}

/// A queue that is gone for its recipient must be gone for everybody.
fn nothing_left(seen: &Observation, found: &mut Comparison) {
    let what = "there is no queue, but its sender can send to it";
    found.absent(seen.accepts != Some(true), Kind::Half, what);
    let links = seen.links.as_ref().is_none_or(Vec::is_empty);
    let what = "there is no queue, but its link answers";
    found.absent(links, Kind::Half, what);
    let what = "there is no queue, but its notifier answers";
    found.absent(seen.notifiers.is_empty(), Kind::Half, what);
}

/// Every fact of its own: the number says how much is gone.
fn all_lost(state: &State, found: &mut Comparison) {
    let mut lost = |what: String| found.faults.push(Fault::new(Kind::Lost, what));
    lost("the queue".to_owned());
    if let Some(key) = state.sender_key {
        lost(format!(
            "sender key of operation {} with the queue",
            key.step
        ));
    }
    if let Some(link) = state.link {
        lost(format!("link of operation {} with the queue", link.made));
    }
    if let Some(step) = state.notifier {
        lost(format!("notifier of operation {step} with the queue"));
    }
    if state.suspended {
        lost("suspension with the queue".to_owned());
    }
    for message in &state.waiting {
        lost(format!("message {} with the queue", message.sequence));
    }
}

fn compare_settings(
    queue: &Queue,
    state: &State,
    seen: &Observation,
    description: Description,
    found: &mut Comparison,
) {
    found.fact(
        state.recipient_keys == seen.recipient_keys,
        Kind::Lost,
        || {
            format!(
                "recipient keys: {:?} should work, {:?} do",
                state.recipient_keys, seen.recipient_keys
            )
        },
    );
    match (state.sender_key, seen.sender_key) {
        (None, SenderKey::None) => {}
        (Some(key), other) => {
            let kind = match other {
                SenderKey::None => Kind::Lost,
                _ => Kind::Corrupted,
            };
            found.fact(other == SenderKey::Known(key), kind, || {
                format!(
                    "sender key: it should be that of operation {}, it is {other:?}",
                    key.step
                )
            });
        }
        (None, other) => {
            let what = format!("sender key: there should be none, it is {other:?}");
            found.absent(false, Kind::Corrupted, &what);
        }
    }
    if let Some(links) = &seen.links {
        compare_links(state.link, links, found);
    }
    compare_notifier(queue, state.notifier, seen, description, found);
    match (state.suspended, seen.accepts) {
        (_, None) => {}
        (true, Some(accepts)) => found.fact(!accepts, Kind::Lost, || {
            "suspension: messages are accepted".to_owned()
        }),
        (false, Some(accepts)) => {
            let what = "messages are refused, nobody suspended the queue";
            found.absent(accepts, Kind::Corrupted, what);
        }
    }
}

fn compare_links(expected: Option<Link>, seen: &[LinkSeen], found: &mut Comparison) {
    if let Some(link) = expected {
        let answer = seen.iter().find(|s| s.made == link.made);
        let kind = match answer.and_then(|s| s.data) {
            Some(_) => Kind::Lost,
            None if answer.is_none() => Kind::Lost,
            None => Kind::Corrupted,
        };
        let right = LinkSeen {
            made: link.made,
            data: Some(link),
            leads_home: true,
        };
        found.fact(answer == Some(&right), kind, || {
            format!("link: it should be {link:?}, it is {answer:?}")
        });
    }
    let made = expected.map(|link| link.made);
    for other in seen.iter().filter(|s| Some(s.made) != made) {
        let what = format!("deletion of the link of operation {}", other.made);
        found.absent(false, Kind::Lost, &what);
    }
}

fn compare_notifier(
    queue: &Queue,
    expected: Option<Step>,
    seen: &Observation,
    description: Description,
    found: &mut Comparison,
) {
    if let Some(step) = expected {
        let kind = if description.notifier && seen.notifiers.is_empty() {
            Kind::Corrupted
        } else {
            Kind::Lost
        };
        // One that was never confirmed cannot be asked for.
        let answers = queue.notifier(step).is_none() || seen.notifiers.contains(&step);
        found.fact(description.notifier && answers, kind, || {
            format!("notifier of operation {step}")
        });
    } else {
        let what = "deletion of the notifier: the queue says it has one";
        found.absent(!description.notifier, Kind::Lost, what);
    }
    for other in seen.notifiers.iter().filter(|s| Some(**s) != expected) {
        let what = format!("deletion of the notifier of operation {other}: it answers");
        found.absent(false, Kind::Lost, &what);
    }
}

/// The queue in the state that was taken, with what the observation did to it.
fn settled(queue: &Queue, state: State, seen: &Observation, epoch: u32) -> Queue {
    let mut queue = queue.clone();
    queue.pending.clear();
    queue.state = state;
    if seen.secured_with.is_some() {
        queue.next_step += 1;
    }
    let state = &mut queue.state;
    if !state.exists {
        return queue;
    }
    let came = |message: &Message| seen.messages.iter().any(|r| is(r, message));
    // What did not come again after a restart is gone for good; within a life an acknowledgement
    // may still be lost.
    let mut acknowledged: VecDeque<Acknowledged> = std::mem::take(&mut state.acknowledged);
    acknowledged.retain(|a| a.epoch >= epoch || came(&a.message));
    let taken = state
        .waiting
        .drain(..)
        .map(|message| Acknowledged { message, epoch });
    acknowledged.extend(taken);
    for again in &mut acknowledged {
        if came(&again.message) {
            again.epoch = epoch;
        }
    }
    state.acknowledged = acknowledged;
    let answers = state.notifier.is_some_and(|n| seen.notifiers.contains(&n));
    state.associated = seen.by_service && answers;
    if let Some(number) = seen.secured_with {
        state.sender_key = Some(number);
        queue.sender_keys.push(number);
    }
    if let Some(message) = seen.sent {
        if !queue.contact && state.sender_key.is_some() {
            state.link = None;
        }
        state.waiting.push_back(message);
        queue.next_sequence = message.sequence + 1;
        queue.sent_empty |= message.size == 0 && !message.marker;
    }
    queue
}
