//! The state of a reference server is taken over as it is, and given back.

mod support;

use loadtest::Auth;
use serde::Deserialize;
use smp_server::crypto::keys::{SharedSecret, SigningKey, X25519SecretKey};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, ErrorType, Response};
use smp_server::store::MessageKind;
use smp_server::store::reference::file_names::{MESSAGES, NOTIFICATIONS, STORE_LOG};
use smp_server::store::reference::{
    LoggedMessage, QueueEntry, parse_message_line, parse_notification_line, replay, write_queue,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use support::{
    Key, Notifier, Recipient, Server, Setup, command, expect_ok, expect_subscribed, flagged,
    get_link, run, send, send_notifying, service_credentials, start_fails, subscribe_service,
};
use tempfile::TempDir;

/// Queues and messages of the recorded state.
const QUEUES: usize = 11;
const MESSAGE_COUNT: usize = 161;

const STORE: &str = "smp-server-store";
const UNFINISHED: &str = "smp-server-store.unfinished";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/reference-6.5.5")
        .join(name)
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The files of a directory by name, without those of directories in it.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A copy of the recorded configuration and state, on any port of the loopback address.
fn reference_server(shards: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_files(&fixture("etc"), &dir.path().join("etc"));
    copy_files(&fixture("var"), &dir.path().join("var"));
    let ini = dir.path().join("etc/smp-server.ini");
    let text = fs::read_to_string(&ini).unwrap();
    // The recorded messages are as old as the recording.
    let changed = text.replace("\nport = 25223\n", "\nport = 0\n").replace(
        "\nexpire_messages_days = 21\n",
        "\nexpire_messages_days = 36500\n",
    );
    assert_ne!(text, changed);
    let relay = format!(
        "\n[RELAY]\naddress = 127.0.0.1\nshards = {shards}\nsegment_mb = 1\n\
         ntf_delivery_interval_ms = 20\nntf_ttl = 3153600000\n"
    );
    fs::write(&ini, changed + &relay).unwrap();
    dir
}

/// A server without state, on as many shards.
fn empty_server(shards: &str) -> TempDir {
    let setup = Setup::default().set("RELAY", "shards", shards).set(
        "STORE_LOG",
        "expire_messages_days",
        "36500",
    );
    setup.prepare()
}

fn run_command(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).output().unwrap()
}

#[track_caller]
fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = run_command(dir, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with status 1 and gives what it wrote to stderr.
#[track_caller]
fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = run_command(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Exports the state of a stopped server.
fn export(dir: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    succeeds(dir, &["export", to.path().to_str().unwrap()]);
    to
}

/// Messages of a file, by recipient id, in order.
fn messages(file: &Path) -> BTreeMap<[u8; 24], Vec<LoggedMessage>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in fs::read(file).unwrap().split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            let (id, message) = parse_message_line(line).unwrap();
            all.entry(id).or_default().push(message);
        }
    }
    all
}

/// What a store log amounts to: the line of every queue, and the services.
fn queues(file: &Path) -> (BTreeSet<Vec<u8>>, String) {
    let replayed = replay(&*fs::read(file).unwrap()).unwrap();
    assert_eq!(replayed.warnings.count(), 0);
    let services = format!("{:?}", replayed.services);
    let line = |entry: QueueEntry| {
        let mut line = Vec::new();
        write_queue(&mut line, &entry.record, entry.link.as_ref());
        line
    };
    (replayed.into_queues().map(line).collect(), services)
}

#[derive(Deserialize)]
struct KnownKey {
    alg: String,
    raw: String,
}

impl KnownKey {
    fn key(&self) -> Key {
        let raw = hex::decode(&self.raw).unwrap();
        let first32 = *raw.first_chunk().unwrap();
        match &*self.alg {
            "ed25519" => Key::Sign(SigningKey::ed25519_from_seed(first32).unwrap()),
            "ed448" => Key::Sign(SigningKey::ed448_from_seed(raw.try_into().unwrap())),
            "x25519" => Key::X25519(X25519SecretKey::from_bytes(first32)),
            other => panic!("{other}"),
        }
    }
}

#[derive(Deserialize)]
struct KnownNotifier {
    id: String,
    key: KnownKey,
    dh: String,
}

/// A client of the recorded server.
#[derive(Deserialize)]
struct KnownClient {
    name: String,
    rcv_key: KnownKey,
    snd_key: Option<KnownKey>,
    rcv_id: String,
    snd_id: String,
    link_id: Option<String>,
    dh: String,
    ntf: Option<KnownNotifier>,
}

fn secret(hex: &str) -> SharedSecret {
    SharedSecret(hex::decode(hex).unwrap().try_into().unwrap())
}

impl KnownClient {
    fn queue(&self) -> Recipient {
        let (recipient, sender) = (hex::decode(&self.rcv_id), hex::decode(&self.snd_id));
        let key = self.rcv_key.key();
        Recipient::known(
            key,
            &recipient.unwrap(),
            &sender.unwrap(),
            &secret(&self.dh),
        )
    }
}

fn known_clients() -> BTreeMap<String, KnownClient> {
    let text = fs::read(fixture("clients.json")).unwrap();
    let clients: Vec<KnownClient> = serde_json::from_slice(&text).unwrap();
    clients.into_iter().map(|c| (c.name.clone(), c)).collect()
}

/// Asserts that a subscriber of every queue gets what the reference had not delivered.
async fn expect_everything_delivered(server: &Server) {
    let undelivered = messages(&fixture("var").join(MESSAGES));
    let mut delivered = 0;
    for (name, known) in known_clients() {
        let mut client = server.client().await;
        let queue = known.queue();
        let subscribed = queue.ask(&mut client, &Command::Sub).await;
        if name == "deleted" {
            assert_eq!(subscribed, Response::Err(ErrorType::Auth));
            continue;
        }
        expect_ok(subscribed);
        let id: [u8; 24] = queue.id().try_into().unwrap();
        let mut next = None;
        for expected in undelivered.get(&id).into_iter().flatten() {
            let message = match next.take() {
                Some(message) => message,
                None => client.next_push().await.unwrap().response,
            };
            let (id, body) = queue.open_any(message);
            assert_eq!(id, expected.id, "{name}");
            let is_marker = expected.kind == MessageKind::Quota;
            assert_eq!(body, (!is_marker).then(|| expected.body.clone()), "{name}");
            delivered += 1;
            next = Some(queue.ack(&mut client, &id).await);
        }
        if let Some(last) = next {
            expect_ok(last);
        }
        queue.assert_no_push(&mut client).await;
    }
    assert_eq!(delivered, MESSAGE_COUNT);
}

/// Notifications of a file: whom they are for, nonce and box.
fn notifications(file: &Path) -> Vec<([u8; 24], Response<'static>)> {
    let text = fs::read(file).unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let (id, note) = parse_notification_line(line).unwrap();
            let sealed = note.sealed.unwrap();
            let (nonce, boxed) = (sealed.nonce, sealed.boxed.to_vec().into());
            (id, Response::NMsg { nonce, boxed })
        })
        .collect()
}

/// Asserts that a subscriber gets the recorded notification as the reference has boxed it, and that
/// it tells of the message it was made for.
async fn expect_notified(server: &Server) {
    let known = &known_clients()["notifier"];
    let ntf = known.ntf.as_ref().unwrap();
    let id = hex::decode(&ntf.id).unwrap();
    let notifier = Notifier::known(ntf.key.key(), &id, &secret(&ntf.dh));
    let mut client = server.client().await;
    expect_ok(notifier.subscribe(&mut client).await);
    let push = client.next_push().await.unwrap();
    assert_eq!(push.entity_id, id);
    let file = fixture("var").join(NOTIFICATIONS);
    let expected = notifications(&file);
    assert_eq!(expected.len(), 1);
    assert_eq!(
        (&expected[0].0[..], &expected[0].1),
        (&id[..], &push.response)
    );
    let (message_id, seconds) = notifier.open(push.response);
    let line = fs::read(file).unwrap();
    let (_, note) = parse_notification_line(line.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!((&message_id[..], seconds), (&note.message_id[..], note.at));
}

/// Asserts that senders, a notifier and somebody with a link find their queues, whichever shards
/// their ids lead to.
async fn expect_everybody_served(server: &Server) {
    let clients = known_clients();
    let (mut recipient, mut sender) = (server.client().await, server.client().await);
    for name in ["plain", "x25519", "ed448", "drained"] {
        let known = &clients[name];
        let queue = known.queue();
        let key = known.snd_key.as_ref().map(KnownKey::key);
        let auth = key.as_ref().map_or(Auth::None, Key::auth);
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        expect_ok(send(&mut sender, queue.sender_id(), auth, b"hello").await);
        let (id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, b"hello", "{name}");
        expect_ok(queue.ack(&mut recipient, &id).await);
    }
    let known = &clients["notifier"];
    let (queue, ntf) = (known.queue(), known.ntf.as_ref().unwrap());
    let id = hex::decode(&ntf.id).unwrap();
    let notifier = Notifier::known(ntf.key.key(), &id, &secret(&ntf.dh));
    expect_ok(notifier.subscribe(&mut recipient).await);
    let sent = send_notifying(&mut sender, queue.sender_id(), Auth::None, b"ring").await;
    expect_ok(sent);
    let rung = notifier.pushed(&mut recipient).await;
    let (received, _) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
    assert_eq!(rung, received);
    expect_ok(queue.ack(&mut recipient, &received).await);

    let known = &clients["link_contact"];
    let link_id = hex::decode(known.link_id.as_ref().unwrap()).unwrap();
    let Response::Lnk(link) = get_link(&mut sender, &link_id).await else {
        panic!("no link");
    };
    assert_eq!(*link.sender_id, *known.queue().sender_id());
    assert!(!link.fixed.is_empty() && !link.user.is_empty());
}

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

/// Store logs of `count` queues that differ from a recorded one in their ids.
fn many_queues(count: usize) -> Vec<u8> {
    let replayed = replay(&*fs::read(fixture("var").join(STORE_LOG)).unwrap()).unwrap();
    let mut entry = replayed.into_queues().find(|e| e.link.is_none()).unwrap();
    entry.record.notifier = None;
    let mut text = Vec::new();
    for n in 0..count {
        let number = (n as u64).to_be_bytes();
        entry.record.recipient_id[..8].copy_from_slice(&number);
        entry.record.sender_id[..8].copy_from_slice(&number);
        write_queue(&mut text, &entry.record, None);
    }
    text
}

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
