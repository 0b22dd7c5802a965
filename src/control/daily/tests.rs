use super::*;
use std::collections::BTreeSet;

/// Numbers that differ.
fn distinct() -> DailyStatistics {
    let mut next = 1;
    let mut number = || {
        next += 1;
        next
    };
    let mut counters = Counters::default();
    // By way of their names, so that none is left out.
    let names: Vec<_> = counters.iter().map(|(name, _)| name).collect();
    let json = names.into_iter().map(|name| (name, number()));
    let json: std::collections::BTreeMap<_, u64> = json.collect();
    counters = serde_json::from_value(serde_json::to_value(json).unwrap()).unwrap();
    DailyStatistics {
        day: 20_779,
        counters,
        active: EndedPeriods {
            messages: [Some(number()), Some(number()), Some(number())],
            notifications: [Some(number()), Some(number()), Some(number())],
        },
        totals: Totals {
            queues: number(),
            notifiers: number(),
            messages: number(),
            messaging_services: number(),
            notifier_services: number(),
            messaging_service_queues: number(),
            notifier_service_queues: number(),
            proxy_services: number(),
        },
        waiting_notifications: number(),
    }
}

fn columns(row: &str) -> Vec<&str> {
    row.split(',').collect()
}

#[test]
fn a_row_has_the_columns_of_the_reference() {
    let row = DailyStatistics::default().row();
    let values = columns(&row);
    assert_eq!(values.len(), COLUMN_COUNT);
    assert_eq!(values[0], "1970-01-01");
    // Periods that go on have no number.
    let empty: Vec<_> = (1..).zip(&values).filter(|(_, v)| v.is_empty()).collect();
    let empty: Vec<_> = empty.into_iter().map(|(n, _)| n).collect();
    assert_eq!(empty, [7, 8, 9, 12, 13, 14]);
}

#[test]
fn names_are_different() {
    let names: BTreeSet<_> = column_names().collect();
    assert_eq!(names.len(), COLUMN_COUNT);
    assert_eq!(columns(&header()).len(), COLUMN_COUNT);
    assert!(header().starts_with("fromTime,qCreated,qSecured,qDeleted,msgSent,msgRecv,"));
}

/// Positions by which dashboards find the values (spec: server §12.2).
#[test]
fn values_are_where_they_are_looked_for() {
    let daily = distinct();
    let row = daily.row();
    let values = columns(&row);
    let c = &daily.counters;
    for (number, value) in [
        (2, c.queues_created),
        (5, c.messages_sent),
        (10, c.flagged_sent),
        (15, daily.totals.queues),
        (16, daily.totals.messages),
        (17, c.messages_expired),
        (19, c.queues_deleted_secured),
        (20, c.relays_requests),
        (25, c.relays_own_requests),
        (34, c.forwards_errors_other),
        (39, c.forwards_own_errors_other),
        (40, c.forwards_received),
        (41, c.subscribed),
        (47, c.send_large),
        (48, c.notifications_delivered),
        (49, 0),
        (50, c.notifications_lost),
        (51, 0),
        (52, c.get_received),
        (57, c.get_prohibited),
        (60, 0),
        (61, daily.totals.queues),
        (62, c.notifiers_created),
        (67, daily.totals.notifiers),
        (68, c.deleted_all_batches),
        (71, c.sub_ended_batches),
        (75, c.notifications_expired),
        (76, daily.waiting_notifications),
        (77, daily.totals.messaging_services),
        (80, daily.totals.notifier_service_queues),
        (81, 0),
        (89, c.ntf_assoc_new),
        (93, c.ntf_service_subscribed),
        (94, 0),
        (95, c.ntf_service_queues),
        (96, 0),
    ] {
        assert_eq!(values[number - 1], value.to_string(), "column {number}");
    }
    let active = [
        values[6], values[7], values[8], values[11], values[12], values[13],
    ];
    let expected = daily
        .active
        .messages
        .into_iter()
        .chain(daily.active.notifications);
    assert!(
        active
            .into_iter()
            .eq(expected.map(|n| n.unwrap().to_string()))
    );
    assert_eq!(values[0], "2026-11-22");
}

/// What is counted and in no column: blocked queues and what the reference leaves out.
#[test]
fn every_other_counter_has_a_column() {
    let daily = distinct();
    let row = daily.row();
    let values: BTreeSet<_> = columns(&row).into_iter().collect();
    let missing: Vec<_> = daily
        .counters
        .iter()
        .filter(|(_, value)| !values.contains(&*value.to_string()))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        missing,
        ["queues_blocked", "send_blocked", "notifiers_new_created"]
    );
}

#[test]
fn the_dashboard_reads_the_columns_it_names() {
    let dashboard = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scripts/grafana/daily.json"
    ));
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let names: Vec<_> = column_names().collect();
    let mut read = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let target = &panel["targets"][0];
        // The file has no line of names, so columns have numbers.
        assert_eq!(target["header"], false);
        let fields: Vec<_> = target["schema"].as_array().unwrap().iter().collect();
        let renamed = &panel["transformations"][0]["options"]["renameByName"];
        assert_eq!(renamed.as_object().unwrap().len(), fields.len());
        for field in fields {
            let place = field["name"].as_str().unwrap();
            let name = renamed[place].as_str().unwrap();
            let number: usize = place.strip_prefix("Field ").unwrap().parse().unwrap();
            assert_eq!(names[number - 1], name);
            let kind = if number == 1 { "time" } else { "number" };
            assert_eq!(field["type"], kind);
            read.insert(name);
        }
        for shown in panel["fieldConfig"]["overrides"].as_array().unwrap() {
            let name = &shown["matcher"]["options"];
            assert!(renamed.as_object().unwrap().values().any(|n| n == name));
        }
    }
    assert!(read.len() > 40, "{read:?}");
}
