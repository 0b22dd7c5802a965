//! What a queue should look like, and what each operation makes of it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Number of an operation within its queue, from 0, which is its creation.
pub type Step = u32;

/// A key: the operation that brought it and its number among those it brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyNumber {
    /// Operation.
    pub step: Step,
    /// Number within the operation.
    pub index: u8,
}

impl KeyNumber {
    /// The only key of an operation.
    pub fn of(step: Step) -> Self {
        Self { step, index: 0 }
    }
}

/// Lengths of link data, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLengths {
    /// Immutable part.
    pub fixed: u16,
    /// Replaceable part.
    pub user: u16,
}

/// Link data of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Operation that made the id and the immutable part.
    pub made: Step,
    /// Operation that brought the replaceable part.
    pub user: Step,
    /// Lengths of both.
    pub lengths: LinkLengths,
}

/// A message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Number within the queue, from 0.
    pub sequence: u32,
    /// Length of the body, in bytes.
    pub size: u16,
    /// Notification flag.
    pub notify: bool,
    /// It found the queue full: what comes is the marker in its place.
    #[serde(default)]
    pub marker: bool,
}

/// Who secures a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecuredBy {
    /// The recipient, with `KEY`.
    Recipient,
    /// The sender, with `SKEY`.
    Sender,
    /// The sender, with `LKEY`.
    Link,
}

/// An operation on a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `NEW`.
    Create {
        /// Whether the queue is for many senders.
        contact: bool,
        /// Link data.
        link: Option<LinkLengths>,
        /// Whether notifier credentials are given.
        notifier: bool,
        /// Whether the creator subscribes.
        subscribe: bool,
    },
    /// `KEY`, `SKEY` or `LKEY`.
    Secure(SecuredBy),
    /// `SEND`; of a marker, one that must be refused for the quota.
    Send(Message),
    /// `SUB`.
    Subscribe,
    /// `ACK` of the message with this number.
    Acknowledge(u32),
    /// `LSET` on a queue without a link.
    SetLink(LinkLengths),
    /// `LSET` on a queue with a link: other user data of this length.
    ReplaceUserData(u16),
    /// `LDEL`.
    DeleteLink,
    /// `NKEY`.
    EnableNotifier,
    /// `NDEL`.
    DisableNotifier,
    /// `NSUB` by the service of the run, to which the notifier belongs from then on.
    Associate,
    /// `RKEY` with as many keys.
    ReplaceKeys(u8),
    /// `OFF`.
    Suspend,
    /// `DEL`.
    Delete,
}

/// A message whose acknowledgement was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The message.
    pub message: Message,
    /// Life of the server in which it was acknowledged.
    pub epoch: u32,
}

/// Everything that is known of a queue's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether there is such a queue.
    pub exists: bool,
    /// Keys of the recipient.
    pub recipient_keys: Vec<KeyNumber>,
    /// Key of the sender.
    pub sender_key: Option<KeyNumber>,
    /// Link data.
    pub link: Option<Link>,
    /// Operation that made the notifier.
    pub notifier: Option<Step>,
    /// Whether the notifier belongs to the service of the run.
    #[serde(default)]
    pub associated: bool,
    /// Whether messages are refused.
    pub suspended: bool,
    /// Acknowledged messages that may come again, oldest first: `ACK` promises nothing.
    pub acknowledged: VecDeque<Acknowledged>,
    /// Messages that must come, oldest first.
    pub waiting: VecDeque<Message>,
}

impl State {
    /// The states that an operation leads through, the last one when it is complete: a server may
    /// die after each.
    pub fn steps(&self, contact: bool, step: Step, operation: Operation, epoch: u32) -> Vec<Self> {
        let mut after = self.clone();
        match operation {
            Operation::Create { link, notifier, .. } => {
                after.exists = true;
                after.recipient_keys = vec![KeyNumber::of(step)];
                after.link = link.map(|lengths| Link {
                    made: step,
                    user: step,
                    lengths,
                });
                after.notifier = notifier.then_some(step);
            }
            Operation::Secure(_) => after.sender_key = Some(KeyNumber::of(step)),
            Operation::Send(message) => {
                let mut steps = Vec::new();
                if !contact && after.sender_key.is_some() && after.link.take().is_some() {
                    // The one sender has used its link; it goes first.
                    steps.push(after.clone());
                }
                after.waiting.push_back(message);
                steps.push(after);
                return steps;
            }
            Operation::Subscribe => {}
            Operation::Acknowledge(sequence) => after.acknowledge(sequence, epoch),
            Operation::SetLink(lengths) => {
                after.link = Some(Link {
                    made: step,
                    user: step,
                    lengths,
                });
            }
            Operation::ReplaceUserData(len) => {
                if let Some(link) = &mut after.link {
                    link.user = step;
                    link.lengths.user = len;
                }
            }
            Operation::DeleteLink => after.link = None,
            Operation::EnableNotifier => {
                after.notifier = Some(step);
                after.associated = false;
            }
            Operation::DisableNotifier => {
                after.notifier = None;
                after.associated = false;
            }
            Operation::Associate => after.associated = after.notifier.is_some(),
            Operation::ReplaceKeys(count) => {
                let numbers = (0..count).map(|index| KeyNumber { step, index });
                after.recipient_keys = numbers.collect();
            }
            Operation::Suspend => after.suspended = true,
            Operation::Delete => after = Self::default(),
        }
        vec![after]
    }

    /// Whether the newest message is the marker of a full queue: nothing is accepted until the
    /// queue is empty.
    pub fn is_full(&self) -> bool {
        self.waiting.back().is_some_and(|message| message.marker)
    }

    /// Acknowledges the oldest waiting message, or one that came again.
    fn acknowledge(&mut self, sequence: u32, epoch: u32) {
        if let Some(again) = self
            .acknowledged
            .iter_mut()
            .find(|a| a.message.sequence == sequence)
        {
            again.epoch = epoch;
        } else if let Some(message) = self.waiting.front().copied()
            && message.sequence == sequence
        {
            self.waiting.pop_front();
            self.acknowledged.push_back(Acknowledged { message, epoch });
        }
    }
}

/// What the answer to `NEW` told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Recipient id.
    pub recipient: Vec<u8>,
    /// Sender id.
    pub sender: Vec<u8>,
    /// The server's key for message bodies.
    pub server_dh: [u8; 32],
    /// Link id.
    pub link: Option<Vec<u8>>,
    /// Notifier.
    pub notifier: Option<ToldNotifier>,
}

/// What the answer to `NKEY`, or `NEW`, told of the notifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldNotifier {
    /// Notifier id.
    pub id: Vec<u8>,
    /// The server's key for notifications.
    pub server_dh: [u8; 32],
}

/// What an answer told besides success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// Ids of a new queue.
    Ids(Box<Ids>),
    /// A new notifier.
    Notifier(ToldNotifier),
}

/// A queue of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Whether it is for many senders.
    pub contact: bool,
    /// What its creator was told; nothing until then.
    pub ids: Option<Ids>,
    /// After everything that was confirmed.
    pub state: State,
    /// Issued and not confirmed, oldest first.
    pub pending: VecDeque<(Step, Operation)>,
    /// Number of the next operation.
    pub next_step: Step,
    /// Number of the next message.
    pub next_sequence: u32,
    /// Whether a message without body was sent: only one can be told from others.
    pub sent_empty: bool,
    /// Whether the quota was exceeded: markers cannot be told from each other either.
    #[serde(default)]
    pub sent_marker: bool,
    /// Keys the recipient ever had.
    pub recipient_keys: Vec<KeyNumber>,
    /// Keys the sender ever had.
    pub sender_keys: Vec<KeyNumber>,
    /// Links the queue ever had, each with all its user data.
    pub links: Vec<Link>,
    /// Notifiers the queue ever had, as far as they were told, each with the operation that made it.
    pub notifiers: Vec<(Step, ToldNotifier)>,
}

impl Queue {
    /// Notes an operation that is about to be sent; returns its number.
    pub fn issue(&mut self, operation: Operation) -> Step {
        let step = self.next_step;
        self.next_step += 1;
        match operation {
            Operation::Create { contact, .. } => {
                self.contact = contact;
                self.recipient_keys.push(KeyNumber::of(step));
            }
            Operation::Secure(_) => self.sender_keys.push(KeyNumber::of(step)),
            Operation::ReplaceKeys(count) => {
                let numbers = (0..count).map(|index| KeyNumber { step, index });
                self.recipient_keys.extend(numbers);
            }
            Operation::Send(message) => {
                self.next_sequence = message.sequence + 1;
                self.sent_empty |= message.size == 0 && !message.marker;
                self.sent_marker |= message.marker;
            }
            _ => {}
        }
        self.pending.push_back((step, operation));
        if let Some(last) = self.candidates(0).last()
            && let Some(link) = last.link
            && !self.links.contains(&link)
        {
            self.links.push(link);
        }
        step
    }

    /// Notes that an operation was confirmed, which must be the oldest pending one.
    pub fn confirm(&mut self, step: Step, told: Told, epoch: u32) -> Option<Operation> {
        let operation = match self.pending.front() {
            Some((oldest, operation)) if *oldest == step => *operation,
            _ => return None,
        };
        self.pending.pop_front();
        match told {
            Told::Nothing => {}
            Told::Ids(ids) => {
                if let Some(notifier) = &ids.notifier {
                    self.notifiers.push((step, notifier.clone()));
                }
                self.ids = Some(*ids);
            }
            Told::Notifier(notifier) => self.notifiers.push((step, notifier)),
        }
        let mut steps = self.state.steps(self.contact, step, operation, epoch);
        self.state = steps.pop()?;
        Some(operation)
    }

    /// The states that are possible when the server died now: with none of the pending operations,
    /// with the first, and so on.
    pub fn candidates(&self, epoch: u32) -> Vec<State> {
        let mut states = vec![self.state.clone()];
        let mut last = self.state.clone();
        for (step, operation) in &self.pending {
            let steps = last.steps(self.contact, *step, *operation, epoch);
            last = steps.last().cloned().unwrap_or(last);
            states.extend(steps);
        }
        states
    }

    /// Whether everything issued was confirmed.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// The notifier made by an operation, if it was told.
    pub fn notifier(&self, made: Step) -> Option<&ToldNotifier> {
        let told = self.notifiers.iter().find(|(step, _)| *step == made);
        told.map(|(_, notifier)| notifier)
    }

    /// Whether the notifier belongs to the service of the run: certainly, and possibly.
    pub fn association(&self) -> (bool, bool) {
        if self.is_settled() {
            return (self.state.associated, self.state.associated);
        }
        let states = self.candidates(0);
        let mut all = states.iter().map(|state| state.associated);
        (all.clone().all(|is| is), all.any(|is| is))
    }
}
