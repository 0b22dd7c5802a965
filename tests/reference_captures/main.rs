//! Replays sessions recorded between the reference server and its client: every byte that either
//! sent decodes here, encodes back to itself, and is signed and encrypted as this crate would.
//!
//! Recordings are looked for in `$SMP_CAPTURES`, else in `../shared/captures`.

mod capture;
mod commands;
mod knowledge;
mod replay;
mod services;

use std::io::Write as _;

#[test]
fn recorded_sessions_decode_verify_and_encode_to_the_same_bytes() {
    // Written past the test harness, which hides the output of tests that pass.
    let mut report = std::io::stderr();
    let folder = match capture::folder() {
        Ok(folder) => folder,
        Err(missing) => {
            writeln!(
                report,
                "SKIPPED: no recorded sessions in {}",
                missing.display()
            )
            .unwrap();
            return;
        }
    };
    let captures = capture::read_all(&folder).unwrap();
    assert!(!captures.is_empty(), "no recordings");
    let mut total = replay::Tally::default();
    for capture in &captures {
        let tally = match replay::replay(capture) {
            Ok(tally) => tally,
            Err(e) => panic!("{}: {e:#}", capture.name),
        };
        writeln!(report, "{:22} {tally}", capture.name).unwrap();
        assert!(tally.blocks > 0 && tally.hellos > 0 && tally.transmissions > 0);
        // Every session has at least one command whose key and success are both known.
        assert!(tally.signatures > 0, "{}: no signatures", capture.name);
        if capture.name.ends_with("-plain") {
            assert!(tally.boxes > 0 && tally.session_secrets == 0);
            assert_eq!(tally.authenticators > 0, capture.name != "v6-plain");
        }
        if capture.name.ends_with("-encrypted-blocks") {
            assert!(tally.session_secrets > 0);
            assert_eq!(tally.encrypted_blocks > 0, capture.blocks.is_some());
        }
        if capture.name.ends_with("-service") {
            assert!(tally.service_signatures > 0 && tally.sent_again > 0);
        }
        if capture.name.ends_with("-proxy") {
            assert!(tally.proxied > 0);
        }
        total.add(&tally);
    }
    writeln!(report, "{:22} {total}", "all").unwrap();
    assert!(total.encrypted_blocks > 0 && total.notifications > 0 && total.padded > 0);
}
