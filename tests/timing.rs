//! How long refusals take: an unknown queue must not be told from a wrong key
//! (spec: protocol §17). Reported, not asserted: machines that run tests are too busy for that.
//!
//! `cargo test --test timing -- --nocapture`

mod support;

use loadtest::{Auth, Client};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, ErrorType, Response};
use std::time::{Duration, Instant};
use support::{Key, Recipient, Setup, ask, every_placement, service_credentials, unknown_id};

const SAMPLES: usize = 300;
const WARM_UP: usize = 20;

async fn refused(
    client: &mut Client,
    command: &Command<'_>,
    id: &[u8],
    auth: Auth<'_>,
) -> Duration {
    let started = Instant::now();
    let response = ask(client, command, id, auth).await;
    let elapsed = started.elapsed();
    assert_eq!(response, Response::Err(ErrorType::Auth));
    elapsed
}

/// Median and interquartile range in microseconds.
fn summary(samples: &mut [Duration]) -> (f64, f64) {
    samples.sort();
    let at = |quarter: usize| samples[samples.len() * quarter / 4].as_secs_f64() * 1e6;
    (at(2), at(3) - at(1))
}

fn report(case: &str, unknown: &mut [Duration], wrong: &mut [Duration]) {
    let ((unknown, unknown_range), (wrong, wrong_range)) = (summary(unknown), summary(wrong));
    let difference = (unknown - wrong) / wrong * 100.0;
    eprintln!(
        "  {case:<34} unknown queue {unknown:7.1} ± {unknown_range:5.1} µs, wrong key {wrong:7.1} ± \
         {wrong_range:5.1} µs: {difference:+5.1} %"
    );
}

/// Refuses a wrong key for `command` many times, on an unknown id and on a known one.
async fn compare(
    client: &mut Client,
    case: &str,
    command: &Command<'_>,
    known_id: &[u8],
    auth: Auth<'_>,
) {
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for n in 0..SAMPLES + WARM_UP {
        let nowhere = unknown_id();
        // Interleaved, and each as often first as second.
        let pair = if n % 2 == 0 {
            let a = refused(client, command, &nowhere, auth).await;
            (a, refused(client, command, known_id, auth).await)
        } else {
            let b = refused(client, command, known_id, auth).await;
            (refused(client, command, &nowhere, auth).await, b)
        };
        if n >= WARM_UP {
            unknown.push(pair.0);
            wrong.push(pair.1);
        }
    }
    report(case, &mut unknown, &mut wrong);
}

const KINDS: [&str; 3] = ["Ed25519", "Ed448", "X25519"];

#[test]
fn unknown_queues_are_refused_as_slowly_as_wrong_keys() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for (stored_name, stored) in KINDS.iter().zip(Key::of_every_kind()) {
            let queue = Recipient::create_with(&mut client, stored, |_| {}).await;
            for (name, wrong_key) in KINDS.iter().zip(Key::of_every_kind()) {
                let case = format!("{name} against a queue with {stored_name}");
                let (id, auth) = (queue.id(), wrong_key.auth());
                compare(&mut client, &case, &Command::Sub, id, auth).await;
            }
        }
    });
}

#[test]
fn services_are_refused_unknown_notifiers_as_slowly_as_wrong_keys() {
    every_placement(&Setup::default(), async |server| {
        let mut recipient = server.client().await;
        let credentials = service_credentials(ServiceRole::Notifier);
        let mut service = server.service(&credentials).await;
        let (_, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        for (name, wrong_key) in KINDS.iter().zip(Key::of_every_kind()) {
            let case = format!("{name} of a service");
            let (id, auth) = (&notifier.id, wrong_key.auth());
            compare(&mut service, &case, &Command::NSub, id, auth).await;
        }
    });
}
