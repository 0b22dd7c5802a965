//! What `QUE` tells at every turn of a queue's life (spec: server §3.17, protocol §10.2).

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loadtest::{Auth, Client};
use serde_json::{Value, json};
use smp_server::protocol::{Command, ErrorType, Response};
use support::{Key, Recipient, Setup, ask, every_placement, expect_ok, send};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is told apart from the time of the message, which is checked here.
async fn told(queue: &Recipient, client: &mut Client) -> Value {
    let mut info = queue.info(client).await;
    if let Some(message) = info.get_mut("qiMsg") {
        let time = message.as_object_mut().unwrap().remove("msgTs").unwrap();
        let time = time.as_str().unwrap();
        assert!(time.ends_with('Z'), "{time}");
        OffsetDateTime::parse(time, &Rfc3339).unwrap();
    }
    info
}

#[test]
fn the_sender_key_and_the_notifier_are_told_of() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        let expect = |snd: bool, ntf: bool| json!({"qiSnd": snd, "qiNtf": ntf, "qiSize": 0});
        assert_eq!(told(&queue, &mut client).await, expect(false, false));
        queue.enable_notifications(&mut client).await;
        assert_eq!(told(&queue, &mut client).await, expect(false, true));
        let key = Key::ed25519();
        let secure = Command::SKey(key.public());
        expect_ok(ask(&mut client, &secure, queue.sender_id(), key.auth()).await);
        assert_eq!(told(&queue, &mut client).await, expect(true, true));
        expect_ok(queue.disable_notifications(&mut client).await);
        assert_eq!(told(&queue, &mut client).await, expect(true, false));
        // Being suspended is not told.
        expect_ok(queue.ask(&mut client, &Command::Off).await);
        assert_eq!(told(&queue, &mut client).await, expect(true, false));
        let (queue, _) = Recipient::create_with_notifier(&mut client, false).await;
        assert_eq!(told(&queue, &mut client).await, expect(false, true));
    });
}

#[test]
fn subscription_and_delivery_are_told_to_the_one_they_are_of() {
    every_placement(&Setup::default(), async |server| {
        let (mut subscriber, mut getter) = (server.client().await, server.client().await);
        let mut other = server.client().await;
        let queue = Recipient::create(&mut subscriber, true).await;
        expect_ok(queue.ask(&mut getter, &Command::Get).await);
        let empty = json!({"qiSnd": false, "qiNtf": false, "qiSize": 0});
        let with = |thread: &str, delivered: Option<&str>, rest: &Value| {
            let mut info = rest.clone();
            info["qiSub"] = json!({ "qSubThread": thread });
            if let Some(id) = delivered {
                info["qiSub"]["qDelivered"] = id.into();
            }
            info
        };
        assert_eq!(
            told(&queue, &mut subscriber).await,
            with("noSub", None, &empty)
        );
        assert_eq!(
            told(&queue, &mut getter).await,
            with("prohibitSub", None, &empty)
        );
        assert_eq!(told(&queue, &mut other).await, empty);

        for body in [b"1", b"2"] {
            expect_ok(send(&mut other, queue.sender_id(), Auth::None, body).await);
        }
        let (first, _) = queue.pushed(&mut subscriber).await;
        let id = STANDARD.encode(&first);
        let message = |id: &str| json!({"msgId": id, "msgType": "message"});
        let mut two = json!({"qiSnd": false, "qiNtf": false, "qiSize": 2});
        two["qiMsg"] = message(&id);
        assert_eq!(
            told(&queue, &mut subscriber).await,
            with("noSub", Some(&id), &two)
        );
        assert_eq!(
            told(&queue, &mut getter).await,
            with("prohibitSub", None, &two)
        );
        assert_eq!(told(&queue, &mut other).await, two);
        queue.open(queue.ask(&mut getter, &Command::Get).await);
        let of_getter = with("prohibitSub", Some(&id), &two);
        assert_eq!(told(&queue, &mut getter).await, of_getter);

        // Acknowledged by one, delivered to the other still.
        let (second, _) = queue.open(queue.ack(&mut subscriber, &first).await);
        let next = STANDARD.encode(&second);
        let mut one = json!({"qiSnd": false, "qiNtf": false, "qiSize": 1});
        one["qiMsg"] = message(&next);
        assert_eq!(
            told(&queue, &mut subscriber).await,
            with("noSub", Some(&next), &one)
        );
        assert_eq!(
            told(&queue, &mut getter).await,
            with("prohibitSub", Some(&id), &one)
        );
        expect_ok(queue.ack(&mut subscriber, &second).await);
        assert_eq!(
            told(&queue, &mut subscriber).await,
            with("noSub", None, &empty)
        );
        expect_ok(queue.ack(&mut getter, &first).await);
        assert_eq!(
            told(&queue, &mut getter).await,
            with("prohibitSub", None, &empty)
        );
        // A subscription that was lost is none.
        expect_ok(queue.ask(&mut other, &Command::Sub).await);
        assert_eq!(told(&queue, &mut subscriber).await, empty);
    });
}

#[test]
fn a_full_queue_tells_of_its_marker() {
    let setup = Setup::default().set("RELAY", "msg_queue_quota", "1");
    every_placement(&setup, async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"1").await);
        for _ in 0..2 {
            let refused = send(&mut client, queue.sender_id(), Auth::None, b"2").await;
            assert_eq!(refused, Response::Err(ErrorType::Quota));
            let info = queue.info(&mut client).await;
            assert_eq!(
                (&info["qiSize"], &info["qiMsg"]["msgType"]),
                (&json!(2), &json!("message"))
            );
        }
        let (id, _) = queue.open(queue.ask(&mut client, &Command::Get).await);
        expect_ok(queue.ack(&mut client, &id).await);
        let got = queue.ask(&mut client, &Command::Get).await;
        let (id, body) = queue.open_any(got);
        assert_eq!(body, None);
        let id = STANDARD.encode(id);
        let expected = json!({
            "qiSnd": false, "qiNtf": false, "qiSize": 1,
            "qiSub": {"qSubThread": "prohibitSub", "qDelivered": id},
            "qiMsg": {"msgId": id, "msgType": "quota"},
        });
        assert_eq!(told(&queue, &mut client).await, expected);
    });
}

/// Messages of one second can be told apart.
#[test]
fn times_are_as_exact_as_the_clock() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let mut nanoseconds = 0;
        for _ in 0..8 {
            let queue = Recipient::create(&mut client, false).await;
            expect_ok(send(&mut client, queue.sender_id(), Auth::None, b"1").await);
            let info = queue.info(&mut client).await;
            let time = info["qiMsg"]["msgTs"].as_str().unwrap().to_owned();
            let parsed = OffsetDateTime::parse(&time, &Rfc3339).unwrap();
            nanoseconds += u64::from(parsed.nanosecond());
            let fraction = time.trim_end_matches('Z').split_once('.');
            let digits = fraction.map_or(0, |(_, digits)| digits.len());
            assert!(digits <= 9, "{time}");
        }
        assert!(nanoseconds > 0, "whole seconds, eight times");
    });
}
