//! What was sent to a queue and what came out: the verdict on loss, duplication and order.

use std::collections::BTreeSet;

/// What a received message says about its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next one.
    InOrder,
    /// Messages before it are missing so far.
    AfterGap,
    /// A missing one, too late.
    Reordered,
    /// It came before.
    Duplicate,
    /// It was never sent.
    Unknown,
}

/// Sequence numbers of one queue.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Next number to send; all below were sent.
    next: u64,
    /// Next number to receive; all below came or are missing.
    expected: u64,
    /// Below `expected`, not received.
    missing: BTreeSet<u64>,
    /// Refused by the server: must not come.
    refused: BTreeSet<u64>,
    /// Sent, neither confirmed nor refused yet.
    unanswered: BTreeSet<u64>,
}

/// The balance of a queue after everything came that will come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Confirmed by the server and not received.
    pub lost: u64,
    /// Never answered and not received: the server may or may not have taken them.
    pub unknown: u64,
}

impl Ledger {
    /// Takes the next sequence number.
    pub fn send(&mut self) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.unanswered.insert(sequence);
        sequence
    }

    /// The server confirmed a message.
    pub fn confirm(&mut self, sequence: u64) {
        self.unanswered.remove(&sequence);
    }

    /// The server refused a message.
    pub fn refuse(&mut self, sequence: u64) {
        self.unanswered.remove(&sequence);
        self.refused.insert(sequence);
    }

    /// Messages sent.
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// A message came.
    pub fn receive(&mut self, sequence: u64) -> Verdict {
        if sequence >= self.next {
            return Verdict::Unknown;
        }
        if sequence < self.expected {
            return if self.missing.remove(&sequence) {
                Verdict::Reordered
            } else {
                Verdict::Duplicate
            };
        }
        let mut gap = false;
        for skipped in self.expected..sequence {
            // A refusal may still be on its way when the message after it comes.
            gap |= !self.refused.contains(&skipped);
            self.missing.insert(skipped);
        }
        self.expected = sequence + 1;
        if gap {
            Verdict::AfterGap
        } else {
            Verdict::InOrder
        }
    }

    /// A message came whose body was not opened: it counts as the next one.
    pub fn receive_unopened(&mut self) -> Verdict {
        while self.refused.contains(&self.expected) {
            self.missing.insert(self.expected);
            self.expected += 1;
        }
        if self.expected >= self.next {
            return Verdict::Unknown;
        }
        self.expected += 1;
        Verdict::InOrder
    }

    /// What is left when nothing more will come.
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        let absent = self.missing.iter().copied().chain(self.expected..self.next);
        for sequence in absent {
            if self.unanswered.contains(&sequence) {
                balance.unknown += 1;
            } else if !self.refused.contains(&sequence) {
                balance.lost += 1;
            }
        }
        balance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(n: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for i in 0..n {
            assert_eq!(ledger.send(), i);
            ledger.confirm(i);
        }
        ledger
    }

    #[test]
    fn everything_in_order_is_fine() {
        let mut ledger = sent(5);
        for i in 0..5 {
            assert_eq!(ledger.receive(i), Verdict::InOrder);
        }
        assert_eq!(ledger.balance(), Balance::default());
    }

    #[test]
    fn finds_loss_in_the_middle_and_at_the_end() {
        let mut ledger = sent(5);
        assert_eq!(ledger.receive(0), Verdict::InOrder);
        assert_eq!(ledger.receive(2), Verdict::AfterGap);
        assert_eq!(ledger.receive(3), Verdict::InOrder);
        assert_eq!(ledger.balance().lost, 2);
    }

    #[test]
    fn finds_duplicates_and_reordering() {
        let mut ledger = sent(3);
        ledger.receive(1);
        assert_eq!(ledger.receive(0), Verdict::Reordered);
        assert_eq!(ledger.receive(0), Verdict::Duplicate);
        assert_eq!(ledger.receive(1), Verdict::Duplicate);
        assert_eq!(ledger.receive(2), Verdict::InOrder);
        assert_eq!(ledger.receive(3), Verdict::Unknown);
        assert_eq!(ledger.balance(), Balance::default());
    }

    #[test]
    fn refused_messages_are_not_lost_whenever_the_refusal_comes() {
        let mut ledger = Ledger::default();
        (0..4).for_each(|_| {
            ledger.send();
        });
        ledger.confirm(0);
        ledger.refuse(1);
        assert_eq!(ledger.receive(0), Verdict::InOrder);
        assert_eq!(ledger.receive(2), Verdict::InOrder);
        ledger.confirm(2);
        ledger.refuse(3);
        assert_eq!(ledger.balance(), Balance::default());

        let mut late = Ledger::default();
        late.send();
        late.send();
        assert_eq!(late.receive(1), Verdict::AfterGap);
        late.refuse(0);
        assert_eq!(late.balance(), Balance::default());
    }

    #[test]
    fn unanswered_messages_are_unknown_unless_they_came() {
        let mut ledger = Ledger::default();
        ledger.send();
        ledger.send();
        ledger.receive(0);
        assert_eq!(
            ledger.balance(),
            Balance {
                lost: 0,
                unknown: 1
            }
        );
    }

    #[test]
    fn unopened_messages_are_counted() {
        let mut ledger = sent(3);
        assert_eq!(ledger.receive_unopened(), Verdict::InOrder);
        assert_eq!(ledger.receive(1), Verdict::InOrder);
        assert_eq!(ledger.balance().lost, 1);
        assert_eq!(ledger.receive_unopened(), Verdict::InOrder);
        assert_eq!(ledger.receive_unopened(), Verdict::Unknown);
        assert_eq!(ledger.balance().lost, 0);
    }
}
