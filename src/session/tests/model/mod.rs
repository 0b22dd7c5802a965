//! The relay against a model: random commands of several connections on several shards, with mail
//! between executors delivered in any order that the mesh allows.
//!
//! The model is told what takes effect when, and must give the same answers and pushes; what
//! clients receive must be what shards gave, in the order that is promised. A seed decides
//! everything: `SMP_MODEL_SEED=<seed>` runs one again and shows it step by step,
//! `SMP_MODEL_RUNS=<number>` runs as many seeds as wanted, both together from that seed on.

mod commands;
mod compare;
mod life;
mod log;
mod mesh;
mod observe;
mod party;
mod reference;
mod relay;
mod run;
mod semantics;
mod world;

use std::collections::BTreeMap;

/// Seeds of an ordinary run of the test.
const RUNS: u64 = 150;

/// What some seed of an ordinary run must meet: otherwise the model proves little.
const COVERED: &[&str] = &[
    "DELD",
    "END",
    "ENDS",
    "IDS",
    "IDS with a client's link",
    "IDS with a subscription",
    "INFO",
    "LNK",
    "NID",
    "NO_MSG",
    "OK",
    "QUOTA",
    "SOK",
    "SOK of services",
    "SOK with a message",
    "SOKS",
    "answers that waited for the disk",
    "answers that waited for a release",
    "answers with a message",
    "failures",
    "links denied",
    "links released",
    "links reserved",
    "links that went while they were followed",
    "messages expired",
    "notifications",
    "notifications expired",
    "pushed messages",
    "redirects",
    "refusals",
    "service joins",
];

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn the_relay_does_what_the_model_does() {
    let (first, runs) = (setting("SMP_MODEL_SEED"), setting("SMP_MODEL_RUNS"));
    if let (Some(seed), None) = (first, runs) {
        run::run(seed, true);
        return;
    }
    let mut coverage = BTreeMap::new();
    for seed in (first.unwrap_or(0)..)
        .zip(0..runs.unwrap_or(RUNS))
        .map(|(seed, _)| seed)
    {
        for (what, count) in run::run(seed, false) {
            *coverage.entry(what).or_insert(0) += count;
        }
    }
    let is_missing = |what: &&&str| !coverage.contains_key(**what);
    let missing: Vec<_> = COVERED.iter().filter(is_missing).collect();
    assert!(
        missing.is_empty(),
        "no seed met {missing:?} of {coverage:?}"
    );
}
