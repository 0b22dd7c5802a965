//! The checker of promises itself: it finds what a server does not keep and blames nobody who does.

mod support;

use loadtest::persist::access::{Access, Acks, Service};
use loadtest::persist::book::Book;
use loadtest::persist::check::{Findings, Job, check};
use loadtest::persist::choice::{self, Live};
use loadtest::persist::command::{Subject, told};
use loadtest::persist::service::SERVICE;
use loadtest::persist::state::{Operation, Queue, Told, ToldNotifier};
use loadtest::persist::verdict::Kind;
use loadtest::persist::writer::{Limit, Load, Writer};
use loadtest::{Auth, Client, Options, ServiceCredentials, TlsOptions};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, Response};
use support::{Server, Setup, run};
use tempfile::TempDir;

const LOAD: Load = Load {
    connections: 3,
    in_flight: 16,
    queues: 40,
    quiet: 4,
};
const OPERATIONS: u64 = 3000;
const QUOTA: usize = 10;

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    NotDone,
}

struct Bench {
    server: Server,
    access: Access,
    book: Book,
    _dir: TempDir,
}

impl Bench {
    /// A server and the book of the operations that were confirmed by it.
    async fn new(seed: u64) -> Self {
        let setup = Setup::default().placed("2", "spread");
        let setup = setup.set("RELAY", "msg_queue_quota", &QUOTA.to_string());
        let server = setup.set("RELAY", "ntf_delivery_interval_ms", "20").start();
        let target = server.target(TlsOptions::default());
        let credentials = ServiceCredentials::generate(ServiceRole::Notifier).unwrap();
        let access = Access {
            acks: Acks::Strict,
            quota: Some(QUOTA),
            service: Some(Service {
                target: target.clone().with_service(credentials),
                id: None,
            }),
            ..Access::new(target, Options::default())
        };
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::create(&dir.path().join("ledger"), seed).unwrap();
        let writer = Writer::connect(&mut book, &access, LOAD);
        let limit = Limit {
            operations: Some(OPERATIONS),
            until: None,
        };
        let written = writer.await.unwrap().run(limit).await.unwrap();
        assert_eq!(written.findings.faults, []);
        assert_eq!((written.issued, written.uncertain), (written.confirmed, 0));
        Self {
            server,
            access,
            book,
            _dir: dir,
        }
    }

    async fn check(self) -> (Self, Findings) {
        let numbers = self.book.queues().keys();
        let jobs = numbers.map(|number| Job {
            number: *number,
            delete: number % 8 == 0,
        });
        let jobs = jobs.collect();
        let checked = check(self.book, &self.access, 4, jobs).await;
        let (book, findings) = checked.unwrap();
        (Self { book, ..self }, findings)
    }

    /// Operations that would come next, one for each queue that exists.
    fn next(&self) -> Vec<(u32, Operation)> {
        let queues = self.book.queues().iter().filter(|(_, q)| q.state.exists);
        let next = queues.filter_map(|(number, queue)| {
            let live = Live {
                subscribed: true,
                quota: Some(QUOTA),
                ..Live::default()
            };
            let operations = choice::next(&mut choice::rng(7, *number, queue), queue, live);
            Some((*number, *operations.first()?))
        });
        next.collect()
    }

    /// Runs an operation behind the back of the book.
    async fn perform(&self, client: &mut Client, number: u32, operation: Operation) -> Told {
        let mut queue: Queue = self.book.queue(number).unwrap().clone();
        let step = match queue.pending.back() {
            Some((step, _)) => *step,
            None => queue.issue(operation),
        };
        let subject = Subject {
            materials: self.book.materials(),
            password: None,
            number,
            queue: &queue,
            delivered: &[],
        };
        let corr_id = subject.stage(client.outbox(), step, operation).unwrap();
        let response: Response<'_> = client.reply(&corr_id).await.unwrap().response;
        told(operation, &response).unwrap_or_else(|| panic!("{operation:?}: {response:?}"))
    }
}

#[test]
fn a_server_that_keeps_everything_is_believed_again_and_again() {
    run(async {
        let mut bench = Bench::new(1).await;
        let queues = bench.book.queues().len() as u64;
        for _ in 0..3 {
            let (next, findings) = bench.check().await;
            assert_eq!(findings.faults, []);
            assert_eq!(findings.tally.queues, queues);
            assert!(findings.tally.proved > queues, "{:?}", findings.tally);
            assert_eq!(findings.tally.reappeared, 0);
            assert!(findings.tally.notified > 5, "{:?}", findings.tally);
            bench = next;
        }
    });
}

#[test]
fn operations_that_were_never_confirmed_may_have_happened_or_not() {
    run(async {
        let mut bench = Bench::new(2).await;
        let mut client = bench.server.client().await;
        let next = bench.next();
        let (mut done, mut not_done) = (0, 0);
        for (number, operation) in next {
            bench.book.issue(number, operation).unwrap();
            let fate = [Fate::Done, Fate::NotDone][number as usize % 2];
            if fate == Fate::Done {
                bench.perform(&mut client, number, operation).await;
                done += 1;
            } else {
                not_done += 1;
            }
        }
        assert!(done > 5 && not_done > 5);
        let (_, findings) = bench.check().await;
        assert_eq!(findings.faults, []);
        assert_eq!(findings.tally.happened, done);
        assert_eq!(findings.tally.did_not_happen, not_done);
    });
}

#[test]
fn what_was_confirmed_and_not_done_is_found() {
    run(async {
        let mut bench = Bench::new(3).await;
        let mut claimed = Vec::new();
        for (number, operation) in bench.next() {
            let step = bench.book.issue(number, operation).unwrap();
            let told = match operation {
                Operation::EnableNotifier => Told::Notifier(ToldNotifier {
                    id: vec![9; 24],
                    server_dh: [9; 32],
                }),
                _ => Told::Nothing,
            };
            bench.book.confirm(number, step, told).unwrap();
            claimed.push(number);
        }
        assert!(claimed.len() > 10);
        let (_, findings) = bench.check().await;
        let found = findings.faults.iter().map(|(number, _)| *number);
        // Notifiers that came or went are missed there too.
        let mut found: Vec<u32> = found.filter(|number| *number != SERVICE).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, claimed);
    });
}

#[test]
fn what_was_done_and_never_asked_for_is_found() {
    run(async {
        let bench = Bench::new(4).await;
        let mut client = bench.server.client().await;
        let mut changed = Vec::new();
        let next = bench.next().into_iter();
        // A link whose id is not known cannot be asked for.
        let next = next.filter(|(_, operation)| !matches!(operation, Operation::SetLink(_)));
        for (number, operation) in next {
            bench.perform(&mut client, number, operation).await;
            changed.push(number);
        }
        assert!(changed.len() > 10);
        let (_, findings) = bench.check().await;
        let found = findings.faults.iter().map(|(number, _)| *number);
        // Notifiers that came or went are missed there too.
        let mut found: Vec<u32> = found.filter(|number| *number != SERVICE).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, changed);
    });
}

#[test]
fn a_notifier_that_its_service_lost_is_missed() {
    run(async {
        let bench = Bench::new(5).await;
        let mut queues = bench.book.queues().iter();
        let (number, queue) = queues
            .rfind(|(_, queue)| queue.state.associated)
            .expect("a queue with a notifier of the service");
        let made = queue.state.notifier.unwrap();
        let told = queue.notifier(made).unwrap();
        let key = bench.book.materials().notifier_key(*number, made).unwrap();
        let mut client = bench.server.client().await;
        let command = client.command(&Command::NSub, &told.id, Auth::Sign(&key));
        assert_eq!(command.await.unwrap(), Response::Sok(None));
        let (_, findings) = bench.check().await;
        let found: Vec<_> = findings.faults.iter().map(|(n, f)| (*n, f.kind)).collect();
        assert_eq!(found, [(SERVICE, Kind::Lost)]);
    });
}
