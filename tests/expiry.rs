//! Messages expire from the head of their queue, by the clock or when another comes
//! (spec: server §5.2, §5.4).

mod support;

use glommio::timer::Timer;
use loadtest::{Auth, Client};
use smp_server::protocol::{Command, ErrorType, Response};
use std::time::Duration;
use support::{Recipient, Server, Setup, every_placement_at_once, expect_ok, send};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const QUOTA: Response<'static> = Response::Err(ErrorType::Quota);
const NO_MSG: Response<'static> = Response::Err(ErrorType::NoMsg);

/// Messages expire by the clock, as soon as that can be.
fn swept() -> Setup {
    Setup::default()
        .set("RELAY", "message_ttl", "1")
        .set("RELAY", "message_check_interval", "1")
}

/// Messages are old soon, and only another message removes them.
fn on_send(enabled: &str) -> Setup {
    swept().set("RELAY", "message_check_interval", "86400").set(
        "STORE_LOG",
        "expire_messages_on_send",
        enabled,
    )
}

async fn pair(server: &Server, subscribe: bool) -> (Client, Client, Recipient) {
    let mut recipient = server.client().await;
    let sender = server.client().await;
    let queue = Recipient::create(&mut recipient, subscribe).await;
    (recipient, sender, queue)
}

async fn accepted(sender: &mut Client, queue: &Recipient, body: &[u8]) {
    expect_ok(send(sender, queue.sender_id(), Auth::None, body).await);
}

/// Seconds of the server's clock, told by a message to a queue of its own.
async fn server_time(client: &mut Client) -> i64 {
    let queue = Recipient::create(client, false).await;
    accepted(client, &queue, b"now").await;
    let info = queue.info(client).await;
    let time = info["qiMsg"]["msgTs"].as_str().unwrap();
    expect_ok(queue.ask(client, &Command::Del).await);
    OffsetDateTime::parse(time, &Rfc3339)
        .unwrap()
        .unix_timestamp()
}

/// Waits until everything sent so far is older than a message may get.
async fn until_all_is_old(client: &mut Client) {
    let start = server_time(client).await;
    while server_time(client).await < start + 2 {
        Timer::new(Duration::from_millis(100)).await;
    }
}

#[test]
fn old_messages_are_removed_by_the_clock() {
    every_placement_at_once(&swept(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        // More queues and messages than are looked through at once.
        let many = Recipient::create_many(&mut recipient, 200, false).await;
        let (notify, body) = (false, &b"x"[..]);
        let messages: Vec<_> = many
            .iter()
            .flat_map(|queue| {
                let message = (
                    Command::Send { notify, body },
                    queue.sender_id(),
                    Auth::None,
                );
                vec![message; 2]
            })
            .collect();
        for answer in sender.batch(&messages).await.unwrap() {
            expect_ok(answer);
        }
        for n in 0..100 {
            accepted(&mut sender, &queue, &[n]).await;
        }
        queue.until_expired(&mut recipient).await;
        for queue in &many {
            queue.until_expired(&mut recipient).await;
        }
        // The queue works on.
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        queue.expect_delivery(&mut sender, &mut recipient).await;
    });
}

#[test]
fn a_subscriber_is_not_told_that_its_message_expired() {
    every_placement_at_once(&swept(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        accepted(&mut sender, &queue, b"old").await;
        accepted(&mut sender, &queue, b"old too").await;
        let (id, _) = queue.pushed(&mut recipient).await;
        queue.until_expired(&mut recipient).await;
        queue.assert_no_push(&mut recipient).await;
        // It was delivered all the same: what comes waits for its acknowledgement.
        let delivered = queue.info(&mut recipient).await["qiSub"]["qDelivered"].clone();
        assert!(delivered.is_string(), "{delivered}");
        accepted(&mut sender, &queue, b"new").await;
        queue.assert_no_push(&mut recipient).await;
        assert_eq!(queue.ack(&mut recipient, &[1; 24]).await, NO_MSG);
        let (id, body) = queue.open(queue.ack(&mut recipient, &id).await);
        assert_eq!(body, b"new");
        expect_ok(queue.ack(&mut recipient, &id).await);
        queue.expect_delivery(&mut sender, &mut recipient).await;

        accepted(&mut sender, &queue, b"last").await;
        let (id, _) = queue.pushed(&mut recipient).await;
        queue.until_expired(&mut recipient).await;
        expect_ok(queue.ack(&mut recipient, &id).await);
        queue.expect_delivery(&mut sender, &mut recipient).await;
    });
}

#[test]
fn a_fetched_message_that_expired_is_acknowledged_without_effect() {
    every_placement_at_once(&swept(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        accepted(&mut sender, &queue, b"old").await;
        let (id, _) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
        queue.until_expired(&mut recipient).await;
        accepted(&mut sender, &queue, b"new").await;
        expect_ok(queue.ack(&mut recipient, &id).await);
        assert_eq!(queue.ack(&mut recipient, &id).await, NO_MSG);
        let (_, body) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(body, b"new");
    });
}

#[test]
fn a_quota_marker_outlives_the_messages_before_it() {
    let setup = swept().set("RELAY", "msg_queue_quota", "2");
    every_placement_at_once(&setup, async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        accepted(&mut sender, &queue, b"1").await;
        accepted(&mut sender, &queue, b"2").await;
        let refused = send(&mut sender, queue.sender_id(), Auth::None, b"3").await;
        assert_eq!(refused, QUOTA);
        while queue.info(&mut recipient).await["qiMsg"]["msgType"] != "quota" {
            Timer::new(Duration::from_millis(50)).await;
        }
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 1);
        // It is older than a message may get, and another sweep has passed it by.
        let witness = Recipient::create(&mut recipient, false).await;
        accepted(&mut sender, &witness, b"younger").await;
        witness.until_expired(&mut recipient).await;
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 1);
        let refused = send(&mut sender, queue.sender_id(), Auth::None, b"4").await;
        assert_eq!(refused, QUOTA);
        let marker = queue.ask(&mut recipient, &Command::Get).await;
        let (id, body) = queue.open_any(marker);
        assert_eq!(body, None);
        expect_ok(queue.ack(&mut recipient, &id).await);
        accepted(&mut sender, &queue, b"5").await;
    });
}

#[test]
fn a_message_removes_the_old_ones_before_it() {
    every_placement_at_once(&on_send("on"), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        for body in [b"1", b"2", b"3"] {
            accepted(&mut sender, &queue, body).await;
        }
        until_all_is_old(&mut sender).await;
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 3);
        accepted(&mut sender, &queue, b"4").await;
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 1);
        // The queue was empty for a moment: a subscriber would be given the new one.
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        let (id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, b"4");
        expect_ok(queue.ack(&mut recipient, &id).await);
        // Only the queue of the message.
        let other = Recipient::create(&mut recipient, false).await;
        accepted(&mut sender, &other, b"other").await;
        until_all_is_old(&mut sender).await;
        queue.expect_delivery(&mut sender, &mut recipient).await;
        assert_eq!(other.info(&mut recipient).await["qiSize"], 1);
    });
}

#[test]
fn old_messages_do_not_count_against_the_quota_of_a_sender() {
    let setup = on_send("on").set("RELAY", "msg_queue_quota", "2");
    every_placement_at_once(&setup, async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        let full = Recipient::create(&mut recipient, false).await;
        for queue in [&queue, &full] {
            accepted(&mut sender, queue, b"1").await;
            accepted(&mut sender, queue, b"2").await;
        }
        let refused = send(&mut sender, full.sender_id(), Auth::None, b"3").await;
        assert_eq!(refused, QUOTA);
        until_all_is_old(&mut sender).await;
        accepted(&mut sender, &queue, b"3").await;
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 1);
        // Whoever was told of the quota has to wait for the recipient.
        let refused = send(&mut sender, full.sender_id(), Auth::None, b"4").await;
        assert_eq!(refused, QUOTA);
        assert_eq!(full.info(&mut recipient).await["qiSize"], 1);
    });
}

#[test]
fn without_expiry_on_send_old_messages_stay_until_the_clock_comes() {
    every_placement_at_once(&on_send("off"), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        accepted(&mut sender, &queue, b"1").await;
        until_all_is_old(&mut sender).await;
        accepted(&mut sender, &queue, b"2").await;
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 2);
    });
}
