//! Notifications reach whoever subscribed to them, together at the next tick, or wait
//! (spec: server §3.13, §3.14, §3.20, §6).

mod support;

use loadtest::{Auth, Client, TlsOptions};
use smp_server::protocol::{Command, ErrorType, Response, Version};
use std::collections::HashMap;
use support::wire::{self, Item};
use support::{
    Hello, Key, Notifier, RawSession, Recipient, Server, Setup, ask, every_placement,
    every_placement_at_once, expect_event, expect_ok, flagged, send, send_notifying, unknown_id,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);

/// Notifications come soon.
fn setup() -> Setup {
    Setup::default().set("RELAY", "ntf_delivery_interval_ms", "20")
}

/// Two connections, most likely on different shards: of a recipient and of a notifier.
async fn two(server: &Server) -> (Client, Client) {
    (server.client().await, server.client().await)
}

/// Sends a message of which somebody is to be notified, and fetches it: its id and body.
async fn flagged_in_queue(client: &mut Client, queue: &Recipient) -> (Vec<u8>, Vec<u8>) {
    let sent = send_notifying(client, queue.sender_id(), Auth::None, b"flagged").await;
    expect_ok(sent);
    queue.open(queue.ask(client, &Command::Get).await)
}

async fn unflagged(client: &mut Client, queue: &Recipient) {
    expect_ok(send(client, queue.sender_id(), Auth::None, b"unflagged").await);
    let (id, _) = queue.open(queue.ask(client, &Command::Get).await);
    expect_ok(queue.ack(client, &id).await);
}

#[test]
fn a_flagged_message_is_notified_with_its_id_and_time() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        for key in Key::of_every_kind() {
            let queue = Recipient::create(&mut recipient, false).await;
            let notifier = queue.enable_notifications_with(&mut recipient, key).await;
            assert_eq!(notifier.id.len(), 24);
            expect_ok(notifier.subscribe(&mut subscriber).await);

            let (id, _) = flagged_in_queue(&mut recipient, &queue).await;
            let info = queue.info(&mut recipient).await;
            let push = subscriber.next_push().await.unwrap();
            assert_eq!(push.entity_id, notifier.id);
            let Response::NMsg { boxed, .. } = &push.response else {
                panic!("{push:?}");
            };
            assert_eq!(boxed.len(), 144);
            let (msg_id, seconds) = notifier.open(push.response);
            assert_eq!(msg_id, id);
            let time = info["qiMsg"]["msgTs"].as_str().unwrap();
            let time = OffsetDateTime::parse(time, &Rfc3339).unwrap();
            assert_eq!(seconds, time.unix_timestamp());
        }
    });
}

#[test]
fn other_messages_are_not_notified() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        expect_ok(notifier.subscribe(&mut subscriber).await);
        for _ in 0..3 {
            unflagged(&mut recipient, &queue).await;
            let id = flagged(&mut recipient, &queue).await;
            assert_eq!(notifier.pushed(&mut subscriber).await, id);
        }
        // A message that is refused is none.
        expect_ok(queue.ask(&mut recipient, &Command::Off).await);
        let sent = send_notifying(&mut recipient, queue.sender_id(), Auth::None, b"").await;
        assert_eq!(sent, AUTH);
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        expect_ok(notifier.subscribe(&mut subscriber).await);
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier.pushed(&mut subscriber).await, id);
    });
}

#[test]
fn the_marker_of_a_full_queue_is_not_notified() {
    let setup = setup().set("RELAY", "msg_queue_quota", "1");
    every_placement(&setup, async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        expect_ok(notifier.subscribe(&mut subscriber).await);
        let (id, _) = flagged_in_queue(&mut recipient, &queue).await;
        for _ in 0..3 {
            let to = queue.sender_id();
            let refused = send_notifying(&mut recipient, to, Auth::None, b"").await;
            assert_eq!(refused, Response::Err(ErrorType::Quota));
        }
        assert_eq!(notifier.pushed(&mut subscriber).await, id);
        expect_ok(queue.ack(&mut recipient, &id).await);
        let (marker, body) = queue.open_any(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(body, None);
        expect_ok(queue.ack(&mut recipient, &marker).await);
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier.pushed(&mut subscriber).await, id);
    });
}

#[test]
fn notifier_credentials_in_new_work_like_those_of_nkey() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        for version in [17, 18] {
            let mut creator = server.client_of(Version(version)).await;
            let (queue, notifier) = Recipient::create_with_notifier(&mut creator, false).await;
            assert_eq!(queue.info(&mut recipient).await["qiNtf"], true);
            expect_ok(notifier.subscribe(&mut subscriber).await);
            let id = flagged(&mut recipient, &queue).await;
            assert_eq!(notifier.pushed(&mut subscriber).await, id);
            // And can be replaced by it.
            let replaced = queue.enable_notifications(&mut recipient).await;
            expect_event(&mut subscriber, &notifier.id, Response::Deld).await;
            expect_ok(replaced.subscribe(&mut subscriber).await);
            let id = flagged(&mut recipient, &queue).await;
            assert_eq!(replaced.pushed(&mut subscriber).await, id);
        }
    });
}

#[test]
fn notifications_wait_for_a_subscriber_in_order() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(flagged(&mut recipient, &queue).await);
        }
        expect_ok(notifier.subscribe(&mut subscriber).await);
        for id in &ids {
            assert_eq!(notifier.pushed(&mut subscriber).await, *id);
        }
        // What was delivered is not delivered again to the next.
        drop(subscriber);
        let mut next = server.client().await;
        let later = flagged(&mut recipient, &queue).await;
        expect_ok(notifier.subscribe(&mut next).await);
        assert_eq!(notifier.pushed(&mut next).await, later);
    });
}

/// A command of the notifier, by hand.
fn subscription(session: &RawSession, notifier: &Notifier) -> Vec<u8> {
    let Key::Sign(key) = &notifier.key else {
        unreachable!("made with an Ed25519 key");
    };
    let sent = wire::sent(18, &[], b"nsub", &notifier.id, b"NSUB");
    let signature = key.sign(&wire::authorized(18, &session.session_id, &sent));
    wire::transmission(18, &signature, &sent)
}

#[test]
fn what_waits_is_delivered_in_one_block() {
    every_placement(&setup(), async |server| {
        let mut recipient = server.client().await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(flagged(&mut recipient, &queue).await);
        }
        let target = server.target(TlsOptions::default());
        let mut session = RawSession::connect(&target, Hello::of(18)).await;
        let subscribe = subscription(&session, &notifier);
        session.send(&wire::batch(&[subscribe])).await;
        let confirmed = Item::new(b"nsub", &notifier.id, b"SOK 0");
        let mut items = session.recv_items().await;
        assert_eq!(items.remove(0), confirmed);
        // A tick right after the confirmation may share its block.
        if items.is_empty() {
            items = session.recv_items().await;
        }
        assert_eq!(items.len(), ids.len());
        for (item, id) in items.iter().zip(&ids) {
            assert_eq!(
                (&item.corr_id[..], &item.entity_id),
                (&b""[..], &notifier.id)
            );
            let body = item.body.strip_prefix(b"NMSG ").unwrap();
            let (nonce, rest) = body.split_first_chunk::<24>().unwrap();
            let (boxed, rest) = wire::take8(rest);
            assert_eq!(rest, b"");
            let response = Response::NMsg {
                nonce: *nonce,
                boxed: boxed.into(),
            };
            assert_eq!(notifier.open(response).0, *id);
        }
    });
}

#[test]
fn notifications_wait_for_the_tick() {
    let setup = Setup::default().set("RELAY", "ntf_delivery_interval_ms", "3600000");
    every_placement(&setup, async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        flagged(&mut recipient, &queue).await;
        expect_ok(notifier.subscribe(&mut subscriber).await);
        flagged(&mut recipient, &queue).await;
        // The shard of the queue has sent nothing before its answer to this.
        queue.assert_no_push(&mut subscriber).await;
    });
}

/// More than a shard gives a connection before it has sent some of them.
#[test]
fn a_flood_of_notifications_arrives_complete_and_in_order() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queues, each) = (10, 120);
        let mut notifiers = HashMap::new();
        let mut expected = HashMap::new();
        let mut all = Vec::new();
        for _ in 0..queues {
            let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
            let body = b"flood";
            let notify = true;
            let message = (
                Command::Send { notify, body },
                queue.sender_id(),
                Auth::None,
            );
            for answer in recipient.batch(&vec![message; each]).await.unwrap() {
                expect_ok(answer);
            }
            // All messages are there still, so their ids can be told.
            let mut ids = Vec::new();
            let mut next = queue.ask(&mut recipient, &Command::Sub).await;
            expect_ok(next);
            let (mut id, _) = queue.pushed(&mut recipient).await;
            loop {
                ids.push(id.clone());
                next = queue.ack(&mut recipient, &id).await;
                if next == Response::Ok {
                    break;
                }
                id = queue.open(next).0;
            }
            assert_eq!(ids.len(), each);
            expected.insert(notifier.id.clone(), ids);
            all.push(notifier);
        }
        for notifier in &all {
            expect_ok(notifier.subscribe(&mut subscriber).await);
        }
        for notifier in all {
            notifiers.insert(notifier.id.clone(), notifier);
        }
        let mut received: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for _ in 0..queues * each {
            let push = subscriber.next_push().await.unwrap();
            let (id, _) = notifiers[&push.entity_id].open(push.response);
            received.entry(push.entity_id).or_default().push(id);
        }
        assert!(received == expected);
    });
}

#[test]
fn a_replaced_notifier_is_gone_with_what_waits_for_it() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let queue = Recipient::create(&mut recipient, false).await;
        let mut ids = Vec::new();
        let mut old = queue.enable_notifications(&mut recipient).await;
        for _ in 0..3 {
            expect_ok(old.subscribe(&mut subscriber).await);
            let id = flagged(&mut recipient, &queue).await;
            assert_eq!(old.pushed(&mut subscriber).await, id);
            let new = queue.enable_notifications(&mut recipient).await;
            expect_event(&mut subscriber, &old.id, Response::Deld).await;
            assert_eq!(old.subscribe(&mut subscriber).await, AUTH);
            // Waits for the notifier that nobody subscribes to.
            flagged(&mut recipient, &queue).await;
            ids.push(std::mem::replace(&mut old, new).id);
            let newest = queue.enable_notifications(&mut recipient).await;
            ids.push(std::mem::replace(&mut old, newest).id);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6, "ids are new every time");
        assert_eq!(queue.info(&mut recipient).await["qiNtf"], true);
        expect_ok(old.subscribe(&mut subscriber).await);
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(old.pushed(&mut subscriber).await, id);
    });
}

#[test]
fn disabled_notifications_are_gone_with_what_waits() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        expect_ok(notifier.subscribe(&mut subscriber).await);
        expect_ok(queue.disable_notifications(&mut recipient).await);
        expect_event(&mut subscriber, &notifier.id, Response::Deld).await;
        // Again, without effect.
        expect_ok(queue.disable_notifications(&mut recipient).await);
        assert_eq!(queue.info(&mut recipient).await["qiNtf"], false);
        assert_eq!(notifier.subscribe(&mut subscriber).await, AUTH);
        flagged(&mut recipient, &queue).await;

        let notifier = queue.enable_notifications(&mut recipient).await;
        flagged(&mut recipient, &queue).await;
        expect_ok(queue.disable_notifications(&mut recipient).await);
        let notifier_again = queue.enable_notifications(&mut recipient).await;
        assert_ne!(notifier.id, notifier_again.id);
        expect_ok(notifier_again.subscribe(&mut subscriber).await);
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier_again.pushed(&mut subscriber).await, id);
    });
}

#[test]
fn a_deleted_queue_ends_the_subscription_to_its_notifications() {
    every_placement(&setup(), async |server| {
        for (version, event) in [
            (18, Response::Deld),
            (10, Response::Deld),
            (9, Response::End),
        ] {
            let mut recipient = server.client().await;
            let mut subscriber = server.client_of(Version(version)).await;
            let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, true).await;
            expect_ok(notifier.subscribe(&mut subscriber).await);
            expect_ok(queue.ask(&mut recipient, &Command::Del).await);
            expect_event(&mut subscriber, &notifier.id, event).await;
            assert_eq!(notifier.subscribe(&mut subscriber).await, AUTH);
        }
    });
}

/// Whoever ends a subscription of its own need not be told.
#[test]
fn a_recipient_that_is_its_own_notifier_is_not_told_what_it_did() {
    every_placement(&setup(), async |server| {
        let mut client = server.client().await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut client, false).await;
        expect_ok(notifier.subscribe(&mut client).await);
        let notifier = queue.enable_notifications(&mut client).await;
        expect_ok(notifier.subscribe(&mut client).await);
        expect_ok(queue.disable_notifications(&mut client).await);
        let notifier = queue.enable_notifications(&mut client).await;
        expect_ok(notifier.subscribe(&mut client).await);
        expect_ok(queue.ask(&mut client, &Command::Del).await);
        let (queue, notifier) = Recipient::create_with_notifier(&mut client, false).await;
        expect_ok(notifier.subscribe(&mut client).await);
        let id = flagged(&mut client, &queue).await;
        assert_eq!(notifier.pushed(&mut client).await, id);
    });
}

#[test]
fn a_second_subscriber_takes_the_notifications_over() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut first) = two(server).await;
        let mut second = server.client().await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        for _ in 0..2 {
            expect_ok(notifier.subscribe(&mut first).await);
        }
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier.pushed(&mut first).await, id);
        expect_ok(notifier.subscribe(&mut second).await);
        expect_event(&mut first, &notifier.id, Response::End).await;
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier.pushed(&mut second).await, id);
        expect_ok(notifier.subscribe(&mut first).await);
        expect_event(&mut second, &notifier.id, Response::End).await;
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier.pushed(&mut first).await, id);
        // A subscriber that closes leaves the notifications to the next.
        first.close().await.unwrap();
        let id = flagged(&mut recipient, &queue).await;
        expect_ok(notifier.subscribe(&mut second).await);
        assert_eq!(notifier.pushed(&mut second).await, id);
    });
}

#[test]
fn only_the_key_of_the_notifier_subscribes() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        for key in Key::of_every_kind() {
            let queue = Recipient::create(&mut recipient, false).await;
            let notifier = queue.enable_notifications_with(&mut recipient, key).await;
            for wrong in Key::of_every_kind() {
                let refused = ask(&mut subscriber, &Command::NSub, &notifier.id, wrong.auth());
                assert_eq!(refused.await, AUTH);
            }
            for id in [queue.id(), queue.sender_id(), &unknown_id(), b"short"] {
                for auth in [notifier.key.auth(), queue.key.auth()] {
                    assert_eq!(ask(&mut subscriber, &Command::NSub, id, auth).await, AUTH);
                }
            }
            // And it does nothing else.
            for command in [Command::Sub, Command::Get, Command::NDel, Command::Del] {
                for id in [&notifier.id[..], queue.id()] {
                    let refused = ask(&mut subscriber, &command, id, notifier.key.auth()).await;
                    assert_eq!(refused, AUTH);
                }
            }
            expect_ok(notifier.subscribe(&mut subscriber).await);
        }
    });
}

#[test]
fn a_suspended_queue_can_still_be_subscribed_to() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        let id = flagged(&mut recipient, &queue).await;
        expect_ok(queue.ask(&mut recipient, &Command::Off).await);
        expect_ok(notifier.subscribe(&mut subscriber).await);
        assert_eq!(notifier.pushed(&mut subscriber).await, id);
        // Its recipient may change what is notified.
        let other = queue.enable_notifications(&mut recipient).await;
        expect_event(&mut subscriber, &notifier.id, Response::Deld).await;
        expect_ok(other.subscribe(&mut subscriber).await);
        expect_ok(queue.disable_notifications(&mut recipient).await);
        expect_event(&mut subscriber, &other.id, Response::Deld).await;
    });
}

#[test]
fn subscriptions_are_confirmed_as_the_version_wants() {
    every_placement(&setup(), async |server| {
        let mut recipient = server.client().await;
        for version in 6..=18 {
            let mut subscriber = server.client_of(Version(version)).await;
            let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
            let confirmed = if version < 16 {
                Response::Ok
            } else {
                Response::Sok(None)
            };
            for _ in 0..2 {
                assert_eq!(notifier.subscribe(&mut subscriber).await, confirmed);
            }
            let id = flagged(&mut recipient, &queue).await;
            assert_eq!(notifier.pushed(&mut subscriber).await, id);
        }
    });
}

/// A message is a measure of time here: it expires later than a notification of the same age.
#[test]
fn notifications_that_nobody_takes_expire() {
    let setup = setup()
        .set("RELAY", "ntf_ttl", "1")
        .set("RELAY", "ntf_check_interval", "1")
        .set("RELAY", "message_ttl", "3")
        .set("RELAY", "message_check_interval", "1");
    every_placement_at_once(&setup, async |server| {
        let (mut recipient, mut subscriber) = two(server).await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        let sent = send_notifying(&mut recipient, queue.sender_id(), Auth::None, b"old").await;
        expect_ok(sent);
        queue.until_expired(&mut recipient).await;
        expect_ok(notifier.subscribe(&mut subscriber).await);
        let id = flagged(&mut recipient, &queue).await;
        assert_eq!(notifier.pushed(&mut subscriber).await, id);
    });
}
