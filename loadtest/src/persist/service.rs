//! The service of a run: how many notifiers belong to it.

use anyhow::Result;
use smp_server::protocol::command::ServiceQueues;
use smp_server::protocol::{Command, Response};

use super::book::Book;
use super::check::Findings;
use super::verdict::{Fault, Kind};
use crate::client::{Client, unexpected};

/// Stands for the service where a fault has the number of a queue.
pub const SERVICE: u32 = u32::MAX;

/// Makes the session the subscriber of the service and judges how many notifiers it is told, of
/// those that certainly and possibly belong to it.
pub async fn subscribe(client: &mut Client, (certain, possible): (u64, u64)) -> Result<Findings> {
    let command = Command::NSubs(ServiceQueues::UNKNOWN);
    match client.service_command(&command).await? {
        Response::Soks(told) => Ok(judge_count(told.count, certain, possible)),
        other => Err(unexpected("NSUBS", &other).into()),
    }
}

/// Notifiers that belong to the service: certainly, and possibly.
pub fn associations(book: &Book) -> (u64, u64) {
    let queues = book.queues().values();
    let each = queues.map(super::state::Queue::association);
    each.fold((0, 0), |(certain, possible), (must, may)| {
        (certain + u64::from(must), possible + u64::from(may))
    })
}

/// The service has at least the notifiers that certainly are its own, and none but those that may
/// be.
fn judge_count(told: i64, certain: u64, possible: u64) -> Findings {
    let mut findings = Findings::default();
    let told = u64::try_from(told).unwrap_or_default();
    findings.tally.proved += told.min(certain);
    let what = format!("{told} notifiers belong to it, of {certain} to {possible}");
    if told < certain {
        findings.count(SERVICE, [Fault::new(Kind::Lost, what)]);
    } else if told > possible {
        findings.count(SERVICE, [Fault::new(Kind::Corrupted, what)]);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::state::{Ids, Operation, Told, ToldNotifier};

    const CREATE: Operation = Operation::Create {
        contact: false,
        link: None,
        notifier: true,
        subscribe: false,
    };

    fn told(id: u8) -> ToldNotifier {
        ToldNotifier {
            id: vec![id; 24],
            server_dh: [1; 32],
        }
    }

    /// Four queues whose notifiers were given to the service.
    fn book(dir: &tempfile::TempDir) -> Book {
        let mut book = Book::create(&dir.path().join("ledger"), 1).unwrap();
        for number in 0..4 {
            let ids = Ids {
                recipient: vec![1; 24],
                sender: vec![2; 24],
                server_dh: [3; 32],
                link: None,
                notifier: Some(told(4)),
            };
            book.issue(number, CREATE).unwrap();
            book.confirm(number, 0, Told::Ids(Box::new(ids))).unwrap();
            book.issue(number, Operation::Associate).unwrap();
            book.confirm(number, 1, Told::Nothing).unwrap();
        }
        book
    }

    #[test]
    fn what_ends_an_association_is_reckoned_with() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = book(&dir);
        assert_eq!(associations(&book), (4, 4));
        for (number, operation, told) in [
            (0, Operation::Delete, Told::Nothing),
            (1, Operation::DisableNotifier, Told::Nothing),
            (2, Operation::EnableNotifier, Told::Notifier(told(6))),
        ] {
            book.issue(number, operation).unwrap();
            let (certain, possible) = associations(&book);
            assert_eq!(possible - certain, 1, "{operation:?} in doubt");
            book.confirm(number, 2, told).unwrap();
        }
        assert_eq!(associations(&book), (1, 1));
        book.issue(2, Operation::Associate).unwrap();
        assert_eq!(associations(&book), (1, 2));
    }

    #[test]
    fn a_lost_or_invented_association_is_found() {
        let kinds = |told| {
            let findings = judge_count(told, 3, 5);
            let kinds = findings.faults.iter().map(|(_, fault)| fault.kind);
            (findings.tally.proved, kinds.collect::<Vec<_>>())
        };
        for told in 3..=5 {
            assert_eq!(kinds(told), (3, vec![]));
        }
        assert_eq!(kinds(2), (2, vec![Kind::Lost]));
        assert_eq!(kinds(6), (3, vec![Kind::Corrupted]));
        assert_eq!(kinds(-1), (0, vec![Kind::Lost]));
    }
}
