//! Counts, latencies and problems of a run.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::ledger::{Balance, Verdict};
use crate::report::{Latency, Report};

/// Most problems described in words.
const MAX_PROBLEMS: usize = 20;

/// What happened.
#[derive(Default)]
pub struct Tally {
    /// Messages staged.
    pub sent: u64,
    /// Messages received for the first time.
    pub delivered: u64,
    /// Received more than once.
    pub duplicated: u64,
    /// Received after a later one.
    pub reordered: u64,
    /// Bodies that do not open or are not what was sent.
    pub corrupted: u64,
    /// Confirmed and not received.
    pub lost: u64,
    /// Neither confirmed nor refused nor received.
    pub unanswered: u64,
    /// Error responses and other surprises, by kind.
    pub errors: BTreeMap<String, u64>,
    /// How late messages of the open loop were sent: by the generator or for want of credits.
    pub lag: Latency,
    /// `SEND` to `OK`.
    pub send_ok: Latency,
    /// `SEND` to `MSG`.
    pub send_msg: Latency,
    /// `ACK` to its answer.
    pub ack: Latency,
    /// When the last message came.
    pub last_delivery: Option<Instant>,
    /// Descriptions of the first problems.
    pub problems: Vec<String>,
}

impl Tally {
    /// Counts the verdict on a received message of the queue `queue`.
    pub fn receive(&mut self, queue: usize, sequence: u64, verdict: Verdict, now: Instant) {
        self.last_delivery = Some(now);
        match verdict {
            Verdict::InOrder | Verdict::AfterGap => self.delivered += 1,
            Verdict::Reordered => {
                self.delivered += 1;
                self.reordered += 1;
                self.problem(|| format!("queue {queue}: message {sequence} came too late"));
            }
            Verdict::Duplicate => {
                self.duplicated += 1;
                self.problem(|| format!("queue {queue}: message {sequence} came again"));
            }
            Verdict::Unknown => {
                self.corrupted += 1;
                self.problem(|| format!("queue {queue}: message {sequence} was never sent"));
            }
        }
    }

    /// Counts a body that is not what was sent.
    pub fn corrupt(&mut self, queue: usize, why: &str) {
        self.corrupted += 1;
        self.problem(|| format!("queue {queue}: {why}"));
    }

    /// Counts an error response or another surprise.
    pub fn error(&mut self, kind: String) {
        *self.errors.entry(kind).or_default() += 1;
    }

    /// Adds the final balance of the queue `queue`.
    pub fn balance(&mut self, queue: usize, balance: Balance) {
        self.lost += balance.lost;
        self.unanswered += balance.unknown;
        if balance.lost > 0 {
            self.problem(|| format!("queue {queue}: {} messages lost", balance.lost));
        }
    }

    /// Describes a problem, unless there are enough.
    pub fn problem(&mut self, describe: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(describe());
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.lost += other.lost;
        self.unanswered += other.unanswered;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.lag.merge(&other.lag);
        self.send_ok.merge(&other.send_ok);
        self.send_msg.merge(&other.send_msg);
        self.ack.merge(&other.ack);
        self.last_delivery = self.last_delivery.max(other.last_delivery);
        for problem in other.problems {
            self.problem(|| problem);
        }
    }

    /// Whether every message came once, in order and unchanged, and nothing was refused.
    pub fn is_clean(&self) -> bool {
        let bad = self.duplicated + self.reordered + self.corrupted + self.lost + self.unanswered;
        bad == 0 && self.errors.is_empty() && self.delivered == self.sent
    }

    /// Adds the results to a report; `started` is the start of the run.
    pub fn report(&mut self, report: &mut Report, started: Instant) {
        let seconds = self
            .last_delivery
            .map_or(0.0, |last| (last - started).as_secs_f64());
        report.value("sent", self.sent, "");
        report.value("delivered", self.delivered, "");
        report.measured(
            "delivered per second",
            self.delivered as f64 / seconds,
            "/s",
        );
        report.value("lost", self.lost, "");
        report.value("unanswered", self.unanswered, "");
        report.value("duplicated", self.duplicated, "");
        report.value("reordered", self.reordered, "");
        report.value("corrupted", self.corrupted, "");
        report.value("errors", self.errors.values().sum::<u64>(), "");
        report.latency("sent too late", &self.lag);
        report.latency("SEND to OK", &self.send_ok);
        report.latency("SEND to MSG", &self.send_msg);
        report.latency("ACK to OK", &self.ack);
        for (kind, count) in std::mem::take(&mut self.errors) {
            self.problems.push(format!("{count} times {kind}"));
            self.errors.insert(kind, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_perfect_run_is_clean() {
        let now = Instant::now();
        let good = || {
            let mut tally = Tally {
                sent: 2,
                ..Tally::default()
            };
            tally.receive(0, 0, Verdict::InOrder, now);
            tally.receive(0, 1, Verdict::InOrder, now);
            tally
        };
        assert!(good().is_clean());

        let bad: [fn(&mut Tally); 6] = [
            |t| t.receive(0, 0, Verdict::Duplicate, Instant::now()),
            |t| t.receive(0, 0, Verdict::Unknown, Instant::now()),
            |t| t.corrupt(0, "changed"),
            |t| t.error("ERR Quota".to_owned()),
            |t| {
                t.balance(
                    0,
                    Balance {
                        lost: 1,
                        unknown: 0,
                    },
                );
            },
            |t| t.sent += 1,
        ];
        for spoil in bad {
            let mut tally = good();
            spoil(&mut tally);
            assert!(!tally.is_clean());
            let mut sum = Tally::default();
            sum.merge(good());
            sum.merge(tally);
            assert!(!sum.is_clean());
        }
    }

    #[test]
    fn descriptions_are_bounded() {
        let mut tally = Tally::default();
        (0..1000).for_each(|i| tally.corrupt(i, "changed"));
        assert_eq!(tally.problems.len(), MAX_PROBLEMS);
        assert_eq!(tally.corrupted, 1000);
    }
}
