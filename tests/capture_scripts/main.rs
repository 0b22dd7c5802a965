//! Plays recorded sessions of the reference server against this relay: what clients sent is sent
//! again, with own ids, keys and signatures, and the answers and pushes are those recorded. What
//! the relay does differently on purpose (docs/MIGRATION.md) does not show in them.
//!
//! Recordings are looked for in `$SMP_CAPTURES`, else in `../shared/captures`.

mod answers;
#[allow(dead_code, reason = "shared with the test that checks recordings")]
#[path = "../reference_captures/capture.rs"]
mod capture;
mod commands;
mod connection;
mod differences;
mod ids;
mod keys;
#[allow(dead_code, reason = "shared with the test that checks recordings")]
#[path = "../reference_captures/knowledge.rs"]
mod knowledge;
mod script;
#[path = "../support/mod.rs"]
mod support;

use script::play;
use std::cell::RefCell;
use std::io::Write as _;
use support::{Setup, every_placement};

/// Recorded with a queue quota of 4 and certificates of Ed448. Clients are told of ended
/// subscriptions at once, so that it is noticed before the script is over when too many end.
fn setup() -> Setup {
    Setup::default()
        .algorithm("ED448")
        .set("RELAY", "msg_queue_quota", "4")
        .set("RELAY", "pending_end_interval_ms", "0")
        .set("RELAY", "ntf_delivery_interval_ms", "50")
}

/// Whether a recording is of a server of a version that this relay offers, and of what it does.
fn is_script(name: &str) -> bool {
    let Some((version, kind)) = name.strip_prefix('v').and_then(|n| n.split_once('-')) else {
        return false;
    };
    version.parse::<u16>().is_ok_and(|version| version <= 18)
        && ["plain", "encrypted-blocks", "ntf-service"].contains(&kind)
}

#[test]
fn recorded_clients_are_answered_as_by_the_reference() {
    // Written past the test harness, which hides the output of tests that pass.
    let mut report = std::io::stderr();
    let folder = match capture::folder() {
        Ok(folder) => folder,
        Err(missing) => {
            let missing = missing.display();
            writeln!(report, "SKIPPED: no recorded sessions in {missing}").unwrap();
            return;
        }
    };
    let mut captures = capture::read_all(&folder).unwrap();
    captures.retain(|capture| is_script(&capture.name));
    assert_eq!(captures.len(), 15, "recordings of versions 6 to 18");
    let failures = RefCell::new(Vec::new());
    for capture in &captures {
        every_placement(&setup(), async |server| match play(capture, server).await {
            Ok(tally) => {
                writeln!(std::io::stderr(), "{:20} {tally}", capture.name).unwrap();
                assert!(tally.answers > 0 && tally.answers == tally.commands);
                assert!(tally.pushes > 0 && tally.boxes > 0);
            }
            Err(e) => {
                let failure = format!("{}: {e:#}", capture.name);
                writeln!(std::io::stderr(), "{failure}").unwrap();
                failures.borrow_mut().push(failure);
            }
        });
    }
    let failures = failures.take();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
