//! Lines that the reference has written, or would read.

use super::*;
use crate::crypto::smp_box::BoxKey;
use crate::protocol::handshake::ServiceRole;
use crate::store::reference::text::Malformed;
use crate::store::reference::{
    EmptyBody, parse_message_line, parse_notification_line, replay, write_message_line,
    write_notification_line,
};
use crate::store::{MessageKind, Note};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

const RID: &str = "sWGdeVsmuxC5dwH1Ax5zUj7qtKm5ulpt";
const OTHER: &str = "Pzy688h8Hfn0hx94Qa5Rh1zs1bzv3hL6";
const KEY: &str = "MCowBQYDK2VwAyEAbKNwSK-v_5Atcntmm0zeOg77WgV29oek4Sk7R-v5rjU=";
const SECRET: &str = "jXUrZ8slg00hJr1L9M_tWSH3OQTNqHIHyskH2E6qMhg=";

fn create(rest: &str) -> String {
    format!("CREATE rid={RID} rk={KEY} rdh={SECRET} sid={OTHER} sk={rest}")
}

fn parsed(text: &str) -> QueueEntry {
    match parse_record(text.as_bytes()) {
        Ok(LogRecord::Create(entry)) => *entry,
        other => panic!("{other:?}"),
    }
}

fn malformed(text: &str) -> Malformed {
    parse_record(text.as_bytes()).unwrap_err()
}

#[test]
fn lines_of_recorded_store_logs_write_as_they_were() {
    let mut tags = std::collections::BTreeSet::new();
    for name in [
        "store-logs/uncompacted.log",
        "store-logs/with-blocked-queue.log",
        "var/smp-server-store.log",
    ] {
        let log = String::from_utf8(read(name)).unwrap();
        for text in log.lines() {
            assert_eq!(rewritten(text), format!("{text}\n"));
            tags.insert(text.split(' ').next().unwrap().to_owned());
        }
    }
    let expected = [
        "BLOCK",
        "CREATE",
        "DELETE",
        "KEYS",
        "LDELETE",
        "LINK",
        "NDELETE",
        "NEW_SERVICE",
        "NOTIFIER",
        "SECURE",
        "SUSPEND",
        "UNBLOCK",
    ];
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn every_other_form_of_a_record_writes_as_it_was() {
    for text in [
        format!("TIME {RID} 1795305600"),
        format!("QUEUE_SERVICE {RID} R {OTHER}"),
        format!("QUEUE_SERVICE {RID} N {OTHER}"),
        format!("QUEUE_SERVICE {RID} R "),
        format!("QUEUE_SERVICE {RID} N "),
        format!("NOTIFIER {RID} {OTHER} {KEY} {SECRET} nsrv={OTHER}"),
        format!("BLOCK {RID} reason=content,notice={{}}"),
        format!("BLOCK {RID} reason=spam,notice={{\"ttl\":86400}}"),
        format!("LINK {RID} {OTHER}  "),
        create(KEY),
        create(" queue_mode=C"),
        create(" status=off"),
        create(&format!(" status=off rsrv={OTHER}")),
        create(&format!(
            " updated_at=86400 status=blocked,reason=spam rsrv={OTHER}"
        )),
        create(" status=blocked,reason=content,notice={\"ttl\":5}"),
        create(&format!(" link_id={OTHER} queue_data=YQ== Yg==")),
        create(&format!(
            " notifier={OTHER} {KEY} {SECRET} nsrv={OTHER} updated_at=86400"
        )),
    ] {
        assert_eq!(rewritten(&text), format!("{text}\n"));
    }
}

#[test]
fn older_forms_of_a_queue_are_read() {
    let oldest = parsed(&create(""));
    assert_eq!(oldest.record.mode, None);
    assert_eq!(oldest.record.updated_day, 0);
    assert_eq!(
        parsed(&create(" sndSecure=T")).record.mode,
        Some(QueueMode::Messaging)
    );
    assert_eq!(
        parsed(&create(" sndSecure=F")).record.mode,
        Some(QueueMode::Contact)
    );
    let active = parsed(&create(" updated_at=86400 status=active"));
    assert_eq!(active.record.status, QueueStatus::Active);
    let with_notifier = parsed(&create(&format!("{KEY} notifier={OTHER} {KEY} {SECRET}")));
    assert!(with_notifier.record.notifier.is_some());
    assert!(with_notifier.record.sender_key.is_some());
}

#[test]
fn forms_that_the_reference_writes_but_does_not_read_are_read() {
    let text = create(&format!(" link_id={OTHER} queue_data=  updated_at=86400"));
    let link = parsed(&text).link.unwrap();
    assert!(link.fixed.is_empty() && link.user.is_empty());
    assert_eq!(rewritten(&text), format!("{text}\n"));
    let text = create(&format!(
        " status=blocked,reason=spam,notice={{\"ttl\":1}} rsrv={OTHER}"
    ));
    assert!(parsed(&text).record.service_id.is_some());
    assert_eq!(rewritten(&text), format!("{text}\n"));
}

#[test]
fn days_that_cannot_be_become_the_nearest() {
    let day = |seconds: &str| {
        parsed(&create(&format!(" updated_at={seconds}")))
            .record
            .updated_day
    };
    assert_eq!(day("1795305600"), 20_779);
    assert_eq!(day("1795305601"), 20_779);
    assert_eq!(day("-5"), 0);
    assert_eq!(day("+86400"), 1);
    assert_eq!(day("9223372036854775807"), u32::MAX);
}

#[test]
fn a_queue_with_a_link_id_of_another_length_comes_without_link() {
    let entry = parsed(&create(
        " link_id=AAAA queue_data=YQ== Yg== updated_at=86400",
    ));
    assert!(entry.unusable_link && entry.link.is_none() && entry.record.link_id.is_none());
    assert_eq!(entry.record.updated_day, 1);
}

#[test]
fn what_is_no_record_is_told_by_what_is_missing() {
    let expected = Malformed::Expected;
    assert_eq!(malformed(""), Malformed::UnknownRecord);
    assert_eq!(malformed("RENAME x"), Malformed::UnknownRecord);
    assert_eq!(malformed("create x"), Malformed::UnknownRecord);
    assert_eq!(malformed("DELETE"), expected("a blank"));
    assert_eq!(malformed("DELETE  x"), expected("recipient id"));
    assert_eq!(malformed(&format!("DELETE {RID} ")), Malformed::Trailing);
    assert_eq!(malformed(&format!("DELETE {RID}\r")), Malformed::Trailing);
    let short = Malformed::Length {
        what: "recipient id",
        len: 3,
    };
    assert_eq!(malformed("DELETE AAAA"), short);
    assert_eq!(malformed("DELETE AAA"), expected("recipient id"));
    // A curve that authorises nothing: X448.
    let x448 =
        "MEIwBQYDK2VvAzkAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(
        malformed(&format!("SECURE {RID} {x448}")),
        expected("sender key")
    );
    assert_eq!(
        malformed(&format!("KEYS {RID} {KEY},")),
        expected("recipient key")
    );
    let many = [KEY; 256].join(",");
    assert_eq!(
        malformed(&format!("KEYS {RID} {many}")),
        expected("at most 255 keys")
    );
    assert_eq!(malformed(&create(" queue_mode=X")), expected("queue mode"));
    assert_eq!(malformed(&create(" status=gone")), expected("blocked,"));
    assert_eq!(
        malformed(&create(" status=blocked,reason=war")),
        expected("blocking reason")
    );
    // Fields have one order.
    assert_eq!(
        malformed(&create(" status=off updated_at=86400")),
        Malformed::Trailing
    );
    assert_eq!(malformed(&format!("TIME {RID} soon")), expected("time"));
    assert_eq!(
        malformed(&format!("QUEUE_SERVICE {RID} P ")),
        expected("party")
    );
}

#[test]
fn recorded_messages_write_as_they_were() {
    for name in ["store-logs/messages.log", "var/smp-server-messages.log"] {
        let log = String::from_utf8(read(name)).unwrap();
        let mut markers = 0;
        for text in log.lines() {
            let (recipient_id, message) = parse_message_line(text.as_bytes()).unwrap();
            let mut out = Vec::new();
            write_message_line(&mut out, &recipient_id, &message.view()).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{text}\n"));
            markers += usize::from(message.is_marker());
        }
        assert_eq!(markers, 1);
    }
}

#[test]
fn other_forms_of_a_message_are_read() {
    let parse = |rest: &str| {
        let text = format!("v3 {RID} {OTHER} 1795363428 {rest}");
        parse_message_line(text.as_bytes()).map(|(_, message)| message)
    };
    let body_and_flag = |rest: &str| {
        let message = parse(rest).unwrap();
        assert_eq!(message.time_ns, 1_795_363_428_000_000_000);
        let MessageKind::Message { notify } = message.kind else {
            panic!("marker")
        };
        (message.body, notify)
    };
    assert_eq!(body_and_flag("YQ=="), (b"a".to_vec(), false));
    assert_eq!(body_and_flag("flags=T YQ=="), (b"a".to_vec(), true));
    assert_eq!(body_and_flag("flags=Txyz YQ=="), (b"a".to_vec(), true));
    // No body: the reference stops at these.
    assert_eq!(body_and_flag("flags=T "), (Vec::new(), true));
    assert_eq!(body_and_flag(""), (Vec::new(), false));
    assert!(parse("quota").unwrap().is_marker());
    assert_eq!(parse("quota "), Err(Malformed::Expected("body")));
    assert_eq!(parse("flags=X YQ=="), Err(Malformed::Expected("flags")));
    assert_eq!(parse("flags=T"), Err(Malformed::Expected("a blank")));
    let longest = "A".repeat(16_088 / 3 * 4) + "AAA=";
    assert_eq!(parse(&longest).unwrap().body.len(), 16_088);
    let longer = Malformed::Length {
        what: "body",
        len: 16_089,
    };
    assert_eq!(parse(&"A".repeat(16_089 / 3 * 4)), Err(longer));
    let version = format!("v2 {RID} {OTHER} 1 YQ==");
    let unknown = Err(Malformed::Expected("v3 "));
    assert_eq!(parse_message_line(version.as_bytes()), unknown);
    let late = format!("v3 {RID} {OTHER} 9223372037 quota");
    let time = Err(Malformed::Expected("time"));
    assert_eq!(parse_message_line(late.as_bytes()), time);
}

#[test]
fn a_message_without_body_is_not_written() {
    let text = format!("v3 {RID} {OTHER} 1795363428 flags=T ");
    let (recipient_id, message) = parse_message_line(text.as_bytes()).unwrap();
    let mut out = b"before".to_vec();
    let written = write_message_line(&mut out, &recipient_id, &message.view());
    assert_eq!((written, &out[..]), (Err(EmptyBody), &b"before"[..]));
}

#[test]
fn the_recorded_notification_opens_with_the_secret_of_its_notifier() {
    let replayed = replay(&read("var/smp-server-store.log")[..]).unwrap();
    let text = read("var/smp-server-ntfs.log");
    let parse = |text: &[u8]| parse_notification_line(text.strip_suffix(b"\n").unwrap()).unwrap();
    let (notifier_id, note) = parse(&text);
    let open = |note: &Note, key: &BoxKey| note.sealed.as_ref().unwrap().open(key);
    let mut notifiers = replayed.into_queues().filter_map(|e| e.record.notifier);
    let notifier = notifiers.find(|n| n.notifier_id == notifier_id).unwrap();
    let key = BoxKey::from(&notifier.dh_secret);
    let told = Some((note.message_id, note.at));
    assert_eq!(open(&note, &key), told);
    assert_eq!(open(&note, &BoxKey::new(&[9; 32])), None);

    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut write = |note: &Note| {
        let mut out = Vec::new();
        write_notification_line(&mut out, &mut rng, &key, &notifier_id, note).unwrap();
        out
    };
    assert_eq!(write(&note), text);
    let own = Note::new(note.message_id, note.at);
    let (first, second) = (write(&own), write(&own));
    assert_ne!(first, second, "nonces differ");
    assert_eq!(first.len(), text.len());
    assert_eq!(open(&parse(&first).1, &key), told);
}

#[test]
fn the_recorded_service_has_the_hash_of_its_identity_certificate() {
    let replayed = replay(&read("store-logs/with-blocked-queue.log")[..]).unwrap();
    let [service] = &replayed.services[..] else {
        panic!("one service")
    };
    assert_eq!(service.role, ServiceRole::Notifier);
    let hashes: Vec<_> = service
        .chain
        .iter()
        .map(|der| crate::crypto::hash::sha256(der))
        .collect();
    assert!(hashes.contains(&service.fingerprint));
}
