//! The state of a reference server is taken over as it is, and given back.

mod clients;
mod owner;
mod stale;
mod state;
#[path = "../support/mod.rs"]
mod support;

use clients::{expect_everybody_served, expect_everything_delivered, expect_notified};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::store::reference::file_names::{MESSAGES, NOTIFICATIONS, STATISTICS, STORE_LOG};
use state::*;
use std::fs;
use std::process::Stdio;
use support::{
    Recipient, Server, Setup, command, expect_ok, expect_subscribed, flagged, run,
    service_credentials, start_fails, subscribe_service,
};

#[test]
fn a_first_start_takes_over_the_state_of_the_reference() {
    for shards in ["1", "4"] {
        let dir = reference_server(shards);
        let before = files(&dir.path().join("var"));
        let fingerprint = fs::read_to_string(fixture("etc/fingerprint")).unwrap();
        let server = Server::start_in(dir);
        let fingerprint = fingerprint.trim();
        let address = format!("Server address: smp://{fingerprint}@<hostnames>");
        let mut lines = server.start_lines.iter();
        assert!(
            lines.any(|line| line.starts_with(&address)),
            "{:?}",
            server.start_lines
        );
        for line in [
            format!("imported queues: {QUEUES}"),
            format!("imported messages: {MESSAGE_COUNT}"),
            "imported skipped: 0".to_owned(),
            "imported notifications: 1\n".to_owned(),
            "imported statistics: all counters\n".to_owned(),
        ] {
            assert!(server.log().contains(&line), "{line}");
        }
        run(expect_everything_delivered(&server));
        run(expect_notified(&server));
        run(expect_everybody_served(&server));

        // The next start finds the store and looks at nothing else.
        let dir = server.stop();
        let after = files(&dir.path().join("var"));
        assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));
        let server = Server::start_in(dir);
        assert!(!server.log().contains("import"), "{}", server.log());
        run(expect_everybody_served(&server));
    }
}

#[test]
fn an_export_amounts_to_what_was_imported() {
    let first = reference_server("3");
    let imported = succeeds(first.path(), &["import"]);
    for line in [
        format!("queues: {QUEUES}\n"),
        format!("messages: {MESSAGE_COUNT}\n"),
    ] {
        assert!(imported.contains(&line), "{imported}");
    }
    let once = export(first.path());
    let notified = fs::read(fixture("var").join(NOTIFICATIONS)).unwrap();
    assert_eq!(fs::read(once.path().join(NOTIFICATIONS)).unwrap(), notified);
    let counted = fs::read_to_string(fixture("var").join(STATISTICS)).unwrap();
    let counted_once = fs::read_to_string(once.path().join(STATISTICS)).unwrap();
    assert_eq!(counted_once, counted);
    let original = queues(&fixture("var").join(STORE_LOG));
    assert_eq!(original.0.len(), QUEUES);
    assert_eq!(queues(&once.path().join(STORE_LOG)), original);
    let undelivered = messages(&fixture("var").join(MESSAGES));
    assert_eq!(messages(&once.path().join(MESSAGES)), undelivered);

    // Again, over another number of shards.
    let second = empty_server("4");
    copy_files(once.path(), &second.path().join("var"));
    succeeds(second.path(), &["import"]);
    let twice = export(second.path());
    assert_eq!(queues(&twice.path().join(STORE_LOG)), original);
    assert_eq!(messages(&twice.path().join(MESSAGES)), undelivered);
    assert_eq!(
        fs::read(twice.path().join(NOTIFICATIONS)).unwrap(),
        notified
    );

    assert_eq!(
        fs::read_to_string(twice.path().join(STATISTICS)).unwrap(),
        counted
    );

    // Nothing is written over.
    let error = fails(second.path(), &["export", twice.path().to_str().unwrap()]);
    assert!(error.contains("exists"), "{error}");
}

#[test]
fn waiting_notifications_are_boxed_for_the_reference() {
    let setup = Setup::default().set("RELAY", "ntf_delivery_interval_ms", "20");
    let server = setup.clone().placed("2", "remote").start();
    let (queue, notifier, expected) = run(async {
        let mut client = server.client().await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut client, false).await;
        let mut expected = Vec::new();
        for _ in 0..3 {
            expected.push(flagged(&mut client, &queue).await);
        }
        (queue, notifier, expected)
    });
    let exported = export(server.stop().path());
    let file = notifications(&exported.path().join(NOTIFICATIONS));
    let told: Vec<_> = file
        .iter()
        .map(|(_, n)| notifier.open(n.clone()).0)
        .collect();
    assert_eq!(told, expected);
    assert!(file.iter().all(|(id, _)| *id == *notifier.id));

    // Whoever takes them over delivers these boxes, and boxes what comes later.
    let dir = setup.placed("3", "local").prepare();
    copy_files(exported.path(), &dir.path().join("var"));
    let server = Server::start_in(dir);
    run(async {
        let mut client = server.client().await;
        let later = flagged(&mut client, &queue).await;
        expect_ok(notifier.subscribe(&mut client).await);
        for (_, notification) in &file {
            assert_eq!(client.next_push().await.unwrap().response, *notification);
        }
        assert_eq!(notifier.pushed(&mut client).await, later);
    });
}

#[test]
fn an_import_does_not_mix_with_queues_that_are_there() {
    let dir = reference_server("2");
    succeeds(dir.path(), &["import"]);
    let before = export(dir.path());
    let error = fails(dir.path(), &["import"]);
    assert!(error.contains("holds 11 queues"), "{error}");
    let after = export(dir.path());
    assert_eq!(files(before.path()), files(after.path()));
}

#[test]
fn the_state_of_a_running_server_is_left_alone() {
    let server = Server::start_in(reference_server("1"));
    let to = tempfile::tempdir().unwrap();
    for arguments in [vec!["import"], vec!["export", to.path().to_str().unwrap()]] {
        let error = fails(server.dir(), &arguments);
        assert!(error.contains("another smp-server"), "{error}");
    }
    assert!(files(to.path()).is_empty());
}

#[test]
fn what_cannot_be_taken_over_is_named_and_left_out_only_on_demand() {
    let dir = reference_server("2");
    let var = dir.path().join("var");
    let log = var.join(STORE_LOG);
    let mut text = fs::read(&log).unwrap();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    text.extend_from_slice(b"CREATE nonsense\n");
    fs::write(&log, &text).unwrap();
    let place = format!("{STORE_LOG}:{}: not a record", lines + 1);

    let refused = start_fails(dir.path());
    for error in [
        fails(dir.path(), &["import"]),
        String::from_utf8(refused.stderr).unwrap(),
    ] {
        assert!(error.contains(&place), "{error}");
        assert!(error.contains("--skip-warnings"), "{error}");
    }
    assert!(!var.join(STORE).exists() && !var.join(UNFINISHED).exists());
    assert_eq!(fs::read(&log).unwrap(), text);

    let output = run_command(dir.path(), &["import", "--skip-warnings"]);
    assert!(output.status.success(), "{output:?}");
    let (out, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        out.contains("queues: 11\n") && out.contains("skipped: 1\n"),
        "{out}"
    );
    assert!(error.contains(&place), "{error}");
}

#[test]
fn more_warnings_than_anybody_reads_are_in_a_file() {
    const BAD: usize = 250;
    let dir = reference_server("1");
    let var = dir.path().join("var");
    let mut text = fs::read_to_string(var.join(STORE_LOG)).unwrap();
    let lines = text.lines().count();
    text.push_str(&"nonsense\n".repeat(BAD));
    fs::write(var.join(STORE_LOG), text).unwrap();
    let file = var.join("smp-server-import-warnings.log");
    let error = fails(dir.path(), &["import"]);
    let more = format!("and {} more, all in {}", BAD - 100, file.display());
    assert!(error.contains(&more), "{error}");
    assert_eq!(error.matches("not a record").count(), 100);
    let told = fs::read_to_string(&file).unwrap();
    let mut numbers = (lines + 1..).map(|n| format!("{STORE_LOG}:{n}: "));
    assert_eq!(told.lines().count(), BAD);
    assert!(
        told.lines()
            .all(|line| line.starts_with(&numbers.next().unwrap()))
    );
    assert!(succeeds(dir.path(), &["import", "--skip-warnings"]).contains("skipped: 250\n"));
}

/// Queues of the large state: enough that an import takes a while.
const MANY: usize = 20_000;

#[test]
fn an_import_that_is_killed_leaves_the_original_files_and_nothing_else() {
    let dir = reference_server("2");
    let var = dir.path().join("var");
    for entry in fs::read_dir(&var).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let log = many_queues(MANY);
    fs::write(var.join(STORE_LOG), &log).unwrap();
    let shard = var.join(UNFINISHED).join("generation-1/shard-0000");
    // Killed when it begins, and when some segments are full.
    for segments in [0, 5, 7] {
        let mut import = command(dir.path())
            .arg("import")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let has_begun = || fs::read_dir(&shard).is_ok_and(|files| files.count() >= segments);
        while !has_begun() {
            assert_eq!(import.try_wait().unwrap(), None, "it ended too early");
            std::thread::yield_now();
        }
        import.kill().unwrap();
        assert_eq!(import.wait().unwrap().code(), None, "it was not killed");
        assert!(!var.join(STORE).exists());
        assert_eq!(fs::read(var.join(STORE_LOG)).unwrap(), log);
    }
    let imported = succeeds(dir.path(), &["import"]);
    assert!(
        imported.contains(&format!("queues: {MANY}\n")),
        "{imported}"
    );
    assert!(!var.join(UNFINISHED).exists());
    assert_eq!(fs::read(var.join(STORE_LOG)).unwrap(), log);
}

#[test]
fn a_service_whose_id_leads_elsewhere_than_its_certificate_is_served() {
    const SERVICES: usize = 6;
    let credentials: Vec<_> = (0..SERVICES)
        .map(|_| service_credentials(ServiceRole::Notifier))
        .collect();
    let setup = Setup::default().set("RELAY", "ntf_delivery_interval_ms", "20");
    let server = setup.start();
    let mut ids = Vec::new();
    let queues = run(async {
        let mut recipient = server.client().await;
        let mut queues = Vec::new();
        for credentials in &credentials {
            let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
            let mut service = server.service(credentials).await;
            let response = notifier.subscribe(&mut service).await;
            expect_subscribed(&service, response);
            ids.push(service.service_id().unwrap().to_vec());
            queues.push((queue, notifier));
        }
        queues
    });
    let exported = export(server.stop().path());

    // Ids as another server would have made them: they say nothing about shards.
    let mut log = fs::read_to_string(exported.path().join(STORE_LOG)).unwrap();
    for id in &mut ids {
        let new: [u8; 24] = rand::random();
        assert!(log.contains(&base64url(id)));
        log = log.replace(&base64url(id), &base64url(&new));
        *id = new.to_vec();
    }
    fs::write(exported.path().join(STORE_LOG), log).unwrap();
    let setup = setup.placed("4", "spread");
    let dir = setup.prepare();
    copy_files(exported.path(), &dir.path().join("var"));
    let server = Server::start_in(dir);
    run(async {
        let mut recipient = server.client().await;
        for ((credentials, id), (queue, notifier)) in credentials.iter().zip(&ids).zip(&queues) {
            // All connections but the last end: each end must reach where the next one joins.
            for _ in 0..3 {
                let mut service = server.service(credentials).await;
                assert_eq!(service.service_id(), Some(&id[..]));
                assert_eq!(subscribe_service(&mut service).await.count, 1);
                let sent = flagged(&mut recipient, queue).await;
                assert_eq!(notifier.pushed(&mut service).await, sent);
            }
            let mut service = server.service(credentials).await;
            let response = notifier.subscribe(&mut service).await;
            expect_subscribed(&service, response);
            let sent = flagged(&mut recipient, queue).await;
            assert_eq!(notifier.pushed(&mut service).await, sent);
        }
    });
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(bytes)
}
