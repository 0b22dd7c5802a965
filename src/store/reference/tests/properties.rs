//! What holds for any content.

use super::*;
use crate::crypto::smp_box::BoxKey;
use crate::protocol::error::{BlockingInfo, BlockingReason, ClientNotice};
use crate::protocol::handshake::ServiceRole;
use crate::store::reference::packed::PackedQueue;
use crate::store::reference::{
    LoggedMessage, MessageRun, PeriodSets, Statistics, parse_message_line, parse_notification_line,
    replay, write_message_line, write_notification_line,
};
use crate::store::{LinkContent, MessageKind, Note, ServiceRecord};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

fn any_id() -> impl Strategy<Value = Id> {
    any::<[u8; 24]>()
}

fn any_key() -> impl Strategy<Value = PublicAuthKey> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(PublicAuthKey::Ed25519),
        any::<[u8; 32]>().prop_map(PublicAuthKey::X25519),
        vec(any::<u8>(), 57).prop_map(|k| PublicAuthKey::Ed448(k.try_into().unwrap())),
    ]
}

fn any_secret() -> impl Strategy<Value = SharedSecret> {
    any::<[u8; 32]>().prop_map(SharedSecret)
}

fn any_notifier() -> impl Strategy<Value = NotifierRecord> {
    let parts = (any_id(), any_key(), any_secret(), option::of(any_id()));
    parts.prop_map(
        |(notifier_id, auth_key, dh_secret, service_id)| NotifierRecord {
            notifier_id,
            auth_key,
            dh_secret,
            service_id,
        },
    )
}

fn any_link() -> impl Strategy<Value = LinkContent> {
    let bytes = || vec(any::<u8>(), 0..40).prop_map(Vec::into_boxed_slice);
    (bytes(), bytes()).prop_map(|(fixed, user)| LinkContent { fixed, user })
}

fn any_status() -> impl Strategy<Value = QueueStatus> {
    let reason = prop_oneof![Just(BlockingReason::Spam), Just(BlockingReason::Content)];
    let notice = option::of(option::of(any::<i64>()).prop_map(|ttl| ClientNotice { ttl }));
    prop_oneof![
        Just(QueueStatus::Active),
        Just(QueueStatus::Off),
        (reason, notice)
            .prop_map(|(reason, notice)| QueueStatus::Blocked(BlockingInfo { reason, notice })),
    ]
}

fn any_queue() -> impl Strategy<Value = QueueEntry> {
    let mode = option::of(prop_oneof![
        Just(QueueMode::Messaging),
        Just(QueueMode::Contact)
    ]);
    let identity = (any_id(), vec(any_key(), 1..4), any_secret(), any_id());
    let rest = (
        option::of(any_key()),
        mode,
        option::of((any_id(), any_link())),
        option::of(any_notifier()),
        any_status(),
        any::<u32>(),
        option::of(any_id()),
    );
    (identity, rest).prop_map(|(identity, rest)| {
        let (recipient_id, recipient_keys, rcv_dh_secret, sender_id) = identity;
        let (sender_key, mode, link, notifier, status, updated_day, service_id) = rest;
        let (link_id, link) = link.unzip();
        QueueEntry {
            record: QueueRecord {
                recipient_id,
                recipient_keys: recipient_keys.into_iter().collect(),
                rcv_dh_secret,
                sender_id,
                sender_key,
                mode,
                link_id,
                notifier,
                status,
                updated_day,
                service_id,
            },
            link,
            unusable_link: false,
        }
    })
}

fn any_service() -> impl Strategy<Value = ServiceRecord> {
    let role = prop_oneof![
        Just(ServiceRole::Messaging),
        Just(ServiceRole::Notifier),
        Just(ServiceRole::Proxy)
    ];
    let chain = vec(vec(any::<u8>(), 1..50), 1..4);
    (any_id(), role, any::<[u8; 32]>(), chain, any::<u32>()).prop_map(
        |(id, role, fingerprint, chain, created_day)| ServiceRecord {
            id,
            role,
            fingerprint,
            chain,
            created_day,
        },
    )
}

fn any_record() -> impl Strategy<Value = LogRecord> {
    prop_oneof![
        3 => any_queue().prop_map(|q| LogRecord::Create(Box::new(q))),
        1 => any_service().prop_map(|s| LogRecord::Service(Box::new(s))),
        1 => (any_id(), any_id(), any_link()).prop_map(|(q, l, c)| LogRecord::Link(q, l, c)),
        1 => any_id().prop_map(LogRecord::DeleteLink),
        1 => (any_id(), any_key()).prop_map(|(q, k)| LogRecord::Secure(q, k)),
        1 => (any_id(), vec(any_key(), 1..5))
            .prop_map(|(q, k)| LogRecord::Keys(q, k.into_iter().collect())),
        1 => (any_id(), any_notifier()).prop_map(|(q, n)| LogRecord::Notifier(q, Box::new(n))),
        1 => any_id().prop_map(LogRecord::DeleteNotifier),
        1 => (any_id(), any_status()).prop_map(|(q, s)| LogRecord::Status(q, s)),
        1 => any_id().prop_map(LogRecord::Delete),
        1 => (any_id(), any::<u32>()).prop_map(|(q, d)| LogRecord::Day(q, d)),
        1 => (any_id(), option::of(any_id())).prop_map(|(q, s)| LogRecord::QueueService(q, s)),
        1 => (any_id(), option::of(any_id())).prop_map(|(q, s)| LogRecord::NotifierService(q, s)),
    ]
}

fn any_message() -> impl Strategy<Value = LoggedMessage> {
    let kind = prop_oneof![
        1 => Just(MessageKind::Quota),
        4 => any::<bool>().prop_map(|notify| MessageKind::Message { notify }),
    ];
    let seconds = -9_000_000_000..9_000_000_000i64;
    (any_id(), seconds, kind, vec(any::<u8>(), 1..60)).prop_map(|(id, seconds, kind, body)| {
        LoggedMessage {
            id,
            time_ns: seconds * 1_000_000_000,
            kind,
            body: if kind == MessageKind::Quota {
                Vec::new()
            } else {
                body
            },
        }
    })
}

fn any_set() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::btree_set(any::<i64>(), 0..6).prop_map(|set| set.into_iter().collect())
}

fn any_sets() -> impl Strategy<Value = PeriodSets> {
    (any_set(), any_set(), any_set()).prop_map(|(day, week, month)| PeriodSets { day, week, month })
}

/// The parts of a record compared with those of what its line says.
fn assert_same(a: &LogRecord, b: &LogRecord) -> Result<(), TestCaseError> {
    if let (LogRecord::Create(a), LogRecord::Create(b)) = (a, b) {
        let (x, y) = (&a.record, &b.record);
        prop_assert_eq!(x.recipient_id, y.recipient_id);
        prop_assert_eq!(&x.recipient_keys, &y.recipient_keys);
        prop_assert_eq!(x.rcv_dh_secret.0, y.rcv_dh_secret.0);
        prop_assert_eq!(x.sender_id, y.sender_id);
        prop_assert_eq!(x.sender_key, y.sender_key);
        prop_assert_eq!(x.mode, y.mode);
        prop_assert_eq!(x.link_id, y.link_id);
        prop_assert_eq!(&x.status, &y.status);
        prop_assert_eq!(x.updated_day, y.updated_day);
        prop_assert_eq!(x.service_id, y.service_id);
        prop_assert_eq!(&a.link, &b.link);
        prop_assert_eq!(x.notifier.is_some(), y.notifier.is_some());
    }
    if let (LogRecord::Service(a), LogRecord::Service(b)) = (a, b) {
        prop_assert_eq!(a, b);
    }
    prop_assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b));
    Ok(())
}

proptest! {
    #[test]
    fn queues_return_from_their_packed_form(mut entry in any_queue()) {
        let text = line(&LogRecord::Create(Box::new(entry.clone())));
        let id = entry.record.recipient_id;
        let mut packed = PackedQueue::pack(&mut entry);
        // Also when they were to be changed.
        drop(packed.change(&id));
        let entry = packed.unpack(&id).unwrap();
        prop_assert_eq!(line(&LogRecord::Create(Box::new(entry))), text);
    }

    #[test]
    fn records_return_from_their_lines(record in any_record()) {
        let text = line(&record);
        prop_assert!(text.ends_with('\n') && !text.trim_end_matches('\n').contains('\n'));
        let parsed = parse_record(text.trim_end_matches('\n').as_bytes());
        let parsed = parsed.map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        assert_same(&record, &parsed)?;
        prop_assert_eq!(line(&parsed), text);
    }

    #[test]
    fn messages_return_from_their_lines(recipient_id in any_id(), message in any_message()) {
        let mut out = Vec::new();
        write_message_line(&mut out, &recipient_id, &message.view()).unwrap();
        prop_assert_eq!(out.pop(), Some(b'\n'));
        prop_assert_eq!(parse_message_line(&out), Ok((recipient_id, message)));
    }

    #[test]
    fn notifications_return_from_their_lines(
        key: [u8; 32], seed: u64, notifier_id in any_id(), message_id in any_id(), seconds: i64,
    ) {
        let key = BoxKey::new(&key);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut out = Vec::new();
        write_notification_line(&mut out, &mut rng, &key, &notifier_id, &Note::new(message_id, seconds))
            .unwrap();
        prop_assert_eq!(out.pop(), Some(b'\n'));
        let (for_whom, note) = parse_notification_line(&out).unwrap();
        prop_assert_eq!(for_whom, notifier_id);
        prop_assert_eq!((note.message_id, note.at), (message_id, seconds));
        let sealed = note.sealed.as_ref().unwrap();
        prop_assert_eq!(sealed.open(&key), Some((message_id, seconds)));
        // What is sealed stays as it is.
        let mut again = Vec::new();
        write_notification_line(&mut again, &mut rng, &key, &notifier_id, &note).unwrap();
        prop_assert_eq!(again.pop(), Some(b'\n'));
        prop_assert_eq!(again, out);
    }

    #[test]
    fn statistics_return_from_their_file(
        from_time_ns in 0..i64::MAX, messages in any_sets(), notifications in any_sets(),
        sent: i64, received: i64,
    ) {
        let mut statistics = Statistics { from_time_ns, ..Statistics::default() };
        statistics.active.messages = messages;
        statistics.active.notifications = notifications;
        statistics.numbers.messages_sent = sent;
        statistics.sections.forwards_received = received;
        let mut out = Vec::new();
        statistics.write(&mut out);
        prop_assert_eq!(Statistics::read(&out[..]).unwrap(), statistics);
    }

    #[test]
    fn any_bytes_read_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = parse_record(&bytes);
        let _ = parse_message_line(&bytes);
        let _ = parse_notification_line(&bytes);
        let _ = Statistics::read(&bytes[..]);
        let replayed = replay(&bytes[..]).unwrap();
        prop_assert_eq!(replayed.warnings.count(), replayed.lines);
    }

    #[test]
    fn damaged_lines_read_without_panic(
        records in vec(any_record(), 1..6), cut: usize, at: usize, byte: u8,
    ) {
        let mut text: Vec<u8> = records.iter().map(line).collect::<String>().into();
        let len = text.len();
        text[at % len] = byte;
        text.truncate(cut % (len + 1));
        let replayed = replay(&text[..]).unwrap();
        // Records for queues that do not exist are warnings, too.
        let counted = replayed.queue_count() as u64 + replayed.services.len() as u64;
        prop_assert!(counted + replayed.warnings.count() >= replayed.lines);
    }

    #[test]
    fn damaged_statistics_read_without_panic(cut: usize, at: usize, byte: u8) {
        let mut text = read("var/smp-server-stats.log");
        let len = text.len();
        text[at % len] = byte;
        let _ = Statistics::read(&text[..]);
        text.truncate(cut % (len + 1));
        let _ = Statistics::read(&text[..]);
    }

    #[test]
    fn a_run_holds_no_more_than_its_quota_and_a_marker(
        messages in vec(any_message(), 0..40), quota in 0..10usize,
    ) {
        let mut run = MessageRun::new(quota);
        let refused = messages.iter().filter(|m| !run.push((*m).clone())).count();
        let kept: Vec<_> = run.take().collect();
        prop_assert!(kept.len() <= quota + 1);
        let ordinary = |messages: &[LoggedMessage]| -> Vec<_> {
            messages.iter().filter(|m| !m.is_marker()).map(|m| m.id).collect()
        };
        let (sent, kept_ids) = (ordinary(&messages), ordinary(&kept));
        prop_assert_eq!(kept_ids.len() + refused, sent.len());
        // What is kept keeps its order.
        let mut rest = sent.iter();
        prop_assert!(kept_ids.iter().all(|id| rest.any(|sent| sent == id)));
        if refused > 0 {
            prop_assert!(kept.iter().any(LoggedMessage::is_marker));
        }
    }
}
