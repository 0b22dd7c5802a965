use super::*;
use crate::control::{PortSockets, ShardSnapshot, StepKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const REFERENCE_FILE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/reference-metrics.txt"
));

fn about() -> About {
    About {
        version: "6.5.5.0".to_owned(),
        rts_options: None,
    }
}

/// An overview of two shards on the port of the recorded file.
fn overview() -> Overview {
    let shard = |shard| {
        let mut snapshot = ShardSnapshot {
            shard,
            sessions: 3,
            sockets: vec![PortSockets {
                port: 15223,
                accepted: 7,
                closed: 2,
                active: 5,
            }],
            ..ShardSnapshot::default()
        };
        snapshot.counters.queues_created = 2;
        snapshot.totals.messages = 4;
        for ms in [1, 1, 30] {
            let ms = Duration::from_millis(ms);
            snapshot.steps.record(StepKind::Mesh, ms);
            snapshot.commits.record(ms);
        }
        for seconds in [0, 3, 59, 61, 3_601, 100_000] {
            snapshot.ack_times.record(seconds);
        }
        snapshot
    };
    let mut overview = Overview::of(vec![shard(0), shard(1)]);
    overview.now_ns = 1_795_359_992_406_157_375;
    overview.from_time_ns = 1_795_359_977_000_000_000;
    overview
}

fn text(stamps: Stamps) -> String {
    render(&overview(), &about(), &ProcessFacts::default(), stamps)
}

/// What a text declares: kind and explanation of each family.
fn families(text: &str) -> BTreeMap<&str, (&str, &str)> {
    let field = |mark: &str| -> BTreeMap<&str, &str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark));
        lines.map(|line| line.split_once(' ').unwrap()).collect()
    };
    let (help, kinds) = (field("# HELP "), field("# TYPE "));
    assert!(help.keys().eq(kinds.keys()));
    let families = help.into_iter().zip(kinds.into_values());
    families
        .map(|((name, help), kind)| (name, (kind, help.trim())))
        .collect()
}

/// Names with labels, and their values.
fn samples(text: &str) -> BTreeMap<&str, &str> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut samples = BTreeMap::new();
    for line in lines {
        // Labels may have blanks in them.
        let end = line
            .find("} ")
            .map_or_else(|| line.find(' '), |at| Some(at + 1));
        let (name, value) = line.split_at(end.unwrap());
        assert_eq!(
            samples.insert(name, value.trim()),
            None,
            "{name} is there twice"
        );
    }
    samples
}

#[test]
fn names_labels_kinds_and_explanations_are_those_of_the_reference() {
    let text = text(Stamps::Written);
    let own = families(&text);
    let reference = families(REFERENCE_FILE);
    for (name, family) in &reference {
        assert_eq!(own.get(name), Some(family), "{name}");
    }
    let (own, reference) = (samples(&text), samples(REFERENCE_FILE));
    for name in reference.keys() {
        assert!(own.contains_key(name), "{name}");
    }
    // What the reference does not have is told apart by its name, but for bounds of times.
    let more: BTreeSet<_> = own
        .keys()
        .filter(|name| !reference.contains_key(**name))
        .filter(|name| !name.starts_with("smp_relay_"))
        .collect();
    let is_bound =
        |name: &&&&str| name.starts_with("simplex_smp_delivery_ack_confirmed_time_bucket{le=");
    assert!(more.iter().all(|name| is_bound(&name)), "{more:?}");
}

#[test]
fn the_file_begins_and_is_stamped_like_that_of_the_reference() {
    let text = text(Stamps::Written);
    let mut lines = text.lines();
    let recorded = "# Recorded at: 2026-11-22T15:06:32.406157375Z";
    assert_eq!(lines.next(), Some(recorded));
    assert_eq!(lines.next(), Some("# Stats from: 2026-11-22T15:06:17Z"));
    for (name, value) in samples(&text) {
        let stamped = value.ends_with(" 1795359992406");
        assert_eq!(stamped, !name.starts_with("simplex_smp_info"), "{name}");
    }
}

#[test]
fn numbers_of_shards_add_up_and_are_told_apart() {
    let text = text(Stamps::Omitted);
    let samples = samples(&text);
    for (name, value) in [
        ("simplex_smp_queues_created", "4"),
        ("simplex_smp_messages_total", "8"),
        ("simplex_smp_clients_total", "6"),
        ("simplex_smp_sockets_accepted{port=\"15223\"}", "14"),
        ("simplex_smp_sockets_leaked{port=\"15223\"}", "0"),
        ("simplex_smp_delivery_ack_confirmed_time_count", "12"),
        (
            "simplex_smp_delivery_ack_confirmed_time_bucket{le=\"1\"}",
            "2",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_time_bucket{le=\"3\"}",
            "4",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_time_bucket{le=\"60\"}",
            "6",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_time_bucket{le=\"86400\"}",
            "10",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_time_bucket{le=\"+Inf\"}",
            "12",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_count{period=\"0-60\"}",
            "6",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_count{period=\"60-300\"}",
            "2",
        ),
        (
            "simplex_smp_delivery_ack_confirmed_count{period=\"3600+\"}",
            "4",
        ),
        ("smp_relay_messages{shard=\"1\"}", "4"),
        ("smp_relay_connections{shard=\"0\",state=\"session\"}", "3"),
        ("smp_relay_connections{shard=\"0\",state=\"other\"}", "2"),
        ("smp_relay_commit_seconds_count{shard=\"0\"}", "3"),
        (
            "smp_relay_commit_seconds_bucket{shard=\"0\",le=\"0.001\"}",
            "2",
        ),
        (
            "smp_relay_commit_seconds_bucket{shard=\"0\",le=\"0.05\"}",
            "3",
        ),
        (
            "smp_relay_step_seconds_sum{shard=\"1\",kind=\"mesh\"}",
            "0.032",
        ),
        (
            "smp_relay_step_seconds_bucket{shard=\"1\",kind=\"mesh\",le=\"0.0005\"}",
            "0",
        ),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
}

#[test]
fn labels_cannot_be_broken_out_of() {
    let about = About {
        rts_options: Some("-N\" 2\n# x \\".to_owned()),
        ..about()
    };
    let process = ProcessFacts::default();
    let text = render(&overview(), &about, &process, Stamps::Omitted);
    let line = r#"simplex_smp_info{version="6.5.5.0",rts_options="-N\" 2\n# x \\"} 1"#;
    assert!(text.lines().any(|known| known == line));
}

/// All texts under a key, however deep.
fn values<'a>(json: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match json {
        serde_json::Value::Array(items) => items.iter().for_each(|item| values(item, key, found)),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => values(value, key, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let text = text(Stamps::Omitted);
    let dashboard = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scripts/grafana/metrics.json"
    ));
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let mut expressions = Vec::new();
    values(&dashboard, "expr", &mut expressions);
    values(&dashboard, "definition", &mut expressions);
    let samples = samples(&text);
    let known: BTreeSet<_> = samples
        .keys()
        .map(|name| name.split('{').next().unwrap())
        .collect();
    let labels: BTreeSet<_> = samples
        .keys()
        .filter_map(|name| name.split_once('{'))
        .flat_map(|(_, labels)| labels.split(','))
        .filter_map(|label| label.split_once('=').map(|(name, _)| name))
        .collect();
    let mut asked = BTreeSet::new();
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<_> = words
            .filter(|word| word.starts_with("simplex_") || word.starts_with("smp_"))
            .collect();
        assert_eq!(names.len(), 1, "{expression}");
        assert!(known.contains(names[0]), "{expression}");
        asked.insert(names[0]);
        let grouped = expression.split("by (").skip(1);
        let grouped = grouped.flat_map(|rest| rest.split(')').next().unwrap().split(", "));
        for label in grouped {
            assert!(labels.contains(label), "{expression}");
        }
    }
    assert!(asked.len() > 40, "{asked:?}");
    let mut legends = Vec::new();
    values(&dashboard, "legendFormat", &mut legends);
    for legend in legends {
        let used = legend.split("{{").skip(1);
        for label in used.map(|rest| rest.split("}}").next().unwrap()) {
            assert!(labels.contains(label), "{legend}");
        }
    }
}
