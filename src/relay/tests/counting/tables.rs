//! What counts what.

use super::{LINK, Scene, TTL};
use crate::protocol::{Command, MAX_STORED_BODY};
use crate::relay::tests::clients::ed25519;
use crate::relay::tests::steps::{FLAGGED, credentials};
use crate::relay::tests::world::QUOTA;

/// What is done before, what is done then, and what that counts.
pub type Row = (
    &'static str,
    fn(&mut Scene),
    fn(&mut Scene),
    &'static [(&'static str, u64)],
);

fn nothing(_: &mut Scene) {}

pub const QUEUES: &[Row] = &[
    (
        "NEW",
        nothing,
        |s| s.new_queue(false),
        &[("queues_created", 1)],
    ),
    (
        "NEW with a notifier",
        nothing,
        |s| s.new_queue(true),
        &[("queues_created", 1), ("notifiers_new_created", 1)],
    ),
    (
        "KEY",
        nothing,
        |s| s.own(&Command::Key(s.key.public())),
        &[("queues_secured", 1)],
    ),
    (
        "KEY again",
        |s| s.own(&Command::Key(s.key.public())),
        |s| s.own(&Command::Key(s.key.public())),
        &[("queues_secured", 1)],
    ),
    (
        "another KEY",
        |s| s.own(&Command::Key(s.key.public())),
        |s| s.own(&Command::Key(ed25519(9).public())),
        &[],
    ),
    (
        "SKEY",
        nothing,
        |s| s.as_sender(s.queue.sender, &Command::SKey(s.key.public())),
        &[("queues_secured", 1)],
    ),
    (
        "SKEY of a contact queue",
        nothing,
        |s| s.as_sender(s.contact.sender, &Command::SKey(s.key.public())),
        &[],
    ),
    (
        "LKEY",
        nothing,
        |s| s.as_sender(LINK, &Command::LKey(s.key.public())),
        &[("queues_secured", 1)],
    ),
    (
        "LKEY again",
        |s| s.as_sender(LINK, &Command::LKey(s.key.public())),
        |s| s.as_sender(LINK, &Command::LKey(s.key.public())),
        &[("queues_secured", 1)],
    ),
    ("LSET", nothing, |s| s.lset(b"v"), &[]),
    ("LDEL", nothing, |s| s.own(&Command::LDel), &[]),
    (
        "LGET refused",
        nothing,
        |s| drop(s.world.ask(&s.other, None, &LINK, &Command::LGet)),
        &[],
    ),
    ("QUE", nothing, |s| s.own(&Command::Que), &[]),
    ("OFF", nothing, |s| s.own(&Command::Off), &[]),
    (
        "DEL of a queue that was never secured",
        |s| s.flag(2),
        |s| s.own(&Command::Del),
        &[("queues_deleted", 1), ("queues_deleted_new", 1)],
    ),
    (
        "DEL of a secured queue",
        |s| s.own(&Command::Key(s.key.public())),
        |s| s.own(&Command::Del),
        &[("queues_deleted", 1), ("queues_deleted_secured", 1)],
    ),
    (
        "DEL again",
        |s| s.own(&Command::Del),
        |s| s.own(&Command::Del),
        &[],
    ),
    ("a block", nothing, Scene::block, &[("queues_blocked", 1)]),
];

pub const MESSAGES: &[Row] = &[
    ("SEND", nothing, |s| s.send("1"), &[("messages_sent", 1)]),
    (
        "SEND flagged",
        nothing,
        |s| s.flag(1),
        &[("messages_sent", 1), ("flagged_sent", 1)],
    ),
    (
        "SEND flagged without a notifier",
        |s| s.own(&Command::NDel),
        |s| s.flag(1),
        &[("messages_sent", 1), ("flagged_sent", 1)],
    ),
    (
        "SEND with a wrong key",
        nothing,
        |s| s.as_sender(s.queue.sender, &FLAGGED),
        &[("send_auth", 1)],
    ),
    (
        "SEND to nowhere",
        nothing,
        |s| s.as_sender([9; 24], &FLAGGED),
        &[("send_auth", 1)],
    ),
    (
        "SEND to a suspended queue",
        |s| s.own(&Command::Off),
        |s| s.send("1"),
        &[("send_auth", 1)],
    ),
    (
        "SEND to a blocked queue",
        Scene::block,
        |s| s.send("1"),
        &[("send_blocked", 1)],
    ),
    (
        "SEND of too much",
        nothing,
        |s| s.send(&"x".repeat(MAX_STORED_BODY)),
        &[("send_large", 1)],
    ),
    (
        "SEND beyond the quota",
        |s| s.flag(QUOTA),
        |s| s.send("1"),
        &[("send_quota", 1)],
    ),
    (
        "SEND behind a quota marker",
        |s| (0..=QUOTA).for_each(|_| s.send("1")),
        |s| s.send("1"),
        &[("send_quota", 1)],
    ),
    (
        "SEND when others have expired",
        |s| {
            s.send("1");
            s.send("2");
            s.world.advance(TTL + 1);
        },
        |s| s.send("3"),
        &[("messages_sent", 1), ("messages_expired", 2)],
    ),
    (
        "a sweep",
        |s| {
            s.flag(3);
            s.world.advance(TTL + 1);
        },
        |s| {
            s.world.expire_messages(64);
        },
        &[("messages_expired", 3)],
    ),
];

pub const RECEIVING: &[Row] = &[
    (
        "SUB of an empty queue",
        nothing,
        |s| s.own(&Command::Sub),
        &[],
    ),
    (
        "SUB with a message",
        |s| s.send("1"),
        |s| s.own(&Command::Sub),
        &[("subscribed", 1)],
    ),
    (
        "SUB again",
        |s| {
            s.send("1");
            s.own(&Command::Sub);
        },
        |s| s.own(&Command::Sub),
        &[("sub_duplicate", 1)],
    ),
    (
        "SUB in the place of another",
        |s| s.by_other(&Command::Sub),
        |s| s.own(&Command::Sub),
        &[],
    ),
    (
        "SUB after GET",
        |s| s.own(&Command::Get),
        |s| s.own(&Command::Sub),
        &[("sub_prohibited", 1)],
    ),
    (
        "SUB refused",
        nothing,
        |s| s.wrongly(&Command::Sub),
        &[("sub_auth", 1)],
    ),
    (
        "SUB of a blocked queue",
        Scene::block,
        |s| s.own(&Command::Sub),
        &[],
    ),
    (
        "GET of an empty queue",
        nothing,
        |s| s.own(&Command::Get),
        &[("get_no_message", 1)],
    ),
    (
        "GET",
        |s| s.send("1"),
        |s| s.own(&Command::Get),
        &[("get_message", 1)],
    ),
    (
        "GET again",
        |s| {
            s.send("1");
            s.own(&Command::Get);
        },
        |s| s.own(&Command::Get),
        &[("get_duplicate", 1)],
    ),
    (
        "GET after GET of an empty queue",
        |s| {
            s.own(&Command::Get);
            s.send("1");
        },
        |s| s.own(&Command::Get),
        &[("get_message", 1)],
    ),
    (
        "GET while subscribed",
        |s| s.own(&Command::Sub),
        |s| s.own(&Command::Get),
        &[("get_prohibited", 1)],
    ),
    (
        "GET refused",
        nothing,
        |s| s.wrongly(&Command::Get),
        &[("get_auth", 1)],
    ),
    (
        "ACK of what was pushed",
        |s| {
            s.own(&Command::Sub);
            s.send("1");
            s.send("2");
        },
        Scene::ack_pushed,
        &[("messages_received", 1)],
    ),
    (
        "ACK of a flagged message",
        |s| {
            s.own(&Command::Sub);
            s.flag(1);
        },
        Scene::ack_pushed,
        &[("messages_received", 1), ("flagged_received", 1)],
    ),
    (
        "GET and ACK",
        |s| s.flag(1),
        Scene::receive,
        &[
            ("messages_received", 1),
            ("flagged_received", 1),
            ("get_received", 1),
            ("get_message", 1),
        ],
    ),
    (
        "ACK without id",
        |s| {
            s.own(&Command::Sub);
            s.send("1");
        },
        |s| s.own(&Command::Ack { msg_id: &[] }),
        &[],
    ),
    (
        "ACK of nothing",
        nothing,
        |s| s.own(&Command::Ack { msg_id: &[1; 24] }),
        &[],
    ),
    (
        "ACK refused",
        nothing,
        |s| s.wrongly(&Command::Ack { msg_id: &[] }),
        &[],
    ),
    (
        "ACK of a quota marker",
        |s| {
            (0..=QUOTA).for_each(|_| s.send("1"));
            (0..QUOTA).for_each(|_| s.receive());
        },
        Scene::receive,
        &[("get_message", 1)],
    ),
];

pub const NOTIFIERS: &[Row] = &[
    (
        "NKEY",
        |s| s.own(&Command::NDel),
        |s| s.own(&Command::NKey(credentials(&s.key))),
        &[("notifiers_created", 1)],
    ),
    (
        "NKEY in the place of another",
        |s| s.flag(2),
        |s| s.own(&Command::NKey(credentials(&s.key))),
        &[("notifiers_created", 1)],
    ),
    (
        "NDEL",
        |s| s.flag(2),
        |s| s.own(&Command::NDel),
        &[("notifiers_deleted", 1)],
    ),
    (
        "NDEL again",
        |s| s.own(&Command::NDel),
        |s| s.own(&Command::NDel),
        &[],
    ),
    ("NSUB", nothing, Scene::nsub, &[("ntf_subscribed", 1)]),
    (
        "NSUB again",
        Scene::nsub,
        Scene::nsub,
        &[("ntf_sub_duplicate", 1)],
    ),
    (
        "NSUB refused",
        nothing,
        |s| s.as_sender(s.notifier.id, &Command::NSub),
        &[("ntf_sub_auth", 1)],
    ),
    (
        "NSUB of nothing",
        |s| s.own(&Command::NDel),
        Scene::nsub,
        &[("ntf_sub_auth", 1)],
    ),
    (
        "a tick",
        |s| {
            s.nsub();
            s.flag(3);
        },
        |s| s.world.tick(),
        &[("notifications_delivered", 3), ("notification_batches", 1)],
    ),
    ("a tick for nobody", |s| s.flag(3), |s| s.world.tick(), &[]),
    (
        "notifications that expire",
        |s| {
            s.flag(3);
            s.world.advance(TTL + 1);
        },
        |s| {
            s.world.expire_notifications(64);
        },
        &[("notifications_expired", 3)],
    ),
];
