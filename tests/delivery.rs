//! One message at a time, in order, until it is acknowledged (spec: server §5).

mod support;

use loadtest::{Auth, Client};
use smp_server::protocol::error::CommandError;
use smp_server::protocol::{Command, ErrorType, Response, Version};
use support::{Recipient, Server, Setup, ask, every_placement, expect_ok, full_body, send};

const NO_MSG: Response<'static> = Response::Err(ErrorType::NoMsg);
const QUOTA: Response<'static> = Response::Err(ErrorType::Quota);
const PROHIBITED: Response<'static> = Response::Err(ErrorType::Cmd(CommandError::Prohibited));

/// Two connections, most likely on different shards, and a queue of the first.
async fn pair(server: &Server, subscribe: bool) -> (Client, Client, Recipient) {
    let mut recipient = server.client().await;
    let sender = server.client().await;
    let queue = Recipient::create(&mut recipient, subscribe).await;
    (recipient, sender, queue)
}

async fn accepted(sender: &mut Client, queue: &Recipient, body: &[u8]) {
    expect_ok(send(sender, queue.sender_id(), Auth::None, body).await);
}

#[test]
fn one_message_is_in_flight_and_the_next_follows_its_acknowledgement() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        for body in [b"1", b"2", b"3"] {
            accepted(&mut sender, &queue, body).await;
        }
        let (id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, b"1");
        queue.assert_no_push(&mut recipient).await;
        let (id, body) = queue.open(queue.ack(&mut recipient, &id).await);
        assert_eq!(body, b"2");
        let (id, body) = queue.open(queue.ack(&mut recipient, &id).await);
        assert_eq!(body, b"3");
        expect_ok(queue.ack(&mut recipient, &id).await);
        queue.assert_no_push(&mut recipient).await;
        // Empty again: the next is pushed.
        accepted(&mut sender, &queue, b"4").await;
        assert_eq!(queue.pushed(&mut recipient).await.1, b"4");
    });
}

#[test]
fn bodies_arrive_as_they_were_sent() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        let bodies = [vec![], vec![0], b" # \n".to_vec(), full_body(b"full")];
        for body in bodies {
            accepted(&mut sender, &queue, &body).await;
            let (id, received) = queue.pushed(&mut recipient).await;
            assert!(received == body);
            expect_ok(queue.ack(&mut recipient, &id).await);
        }
    });
}

#[test]
fn a_message_is_delivered_whether_it_was_sent_before_or_after_the_subscription() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        accepted(&mut sender, &queue, b"before").await;
        queue.assert_no_push(&mut recipient).await;
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        let (id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, b"before");
        expect_ok(queue.ack(&mut recipient, &id).await);
        accepted(&mut sender, &queue, b"after").await;
        assert_eq!(queue.pushed(&mut recipient).await.1, b"after");
    });
}

/// The reference confirms subscriptions before they work; here a confirmation means it.
#[test]
fn a_confirmed_subscription_misses_nothing() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = (server.client().await, server.client().await);
        for round in 0..50 {
            let queue = Recipient::create(&mut recipient, round % 2 == 0).await;
            if round % 2 == 1 {
                expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
            }
            accepted(&mut sender, &queue, b"at once").await;
            assert_eq!(queue.pushed(&mut recipient).await.1, b"at once");
        }
    });
}

#[test]
fn a_repeated_subscription_repeats_the_message() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        accepted(&mut sender, &queue, b"1").await;
        let first = recipient.next_push().await.unwrap();
        for _ in 0..3 {
            expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
            // Byte for byte.
            assert_eq!(recipient.next_push().await.unwrap(), first);
        }
        let (id, _) = queue.open(first.response);
        expect_ok(queue.ack(&mut recipient, &id).await);
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        queue.assert_no_push(&mut recipient).await;
    });
}

#[test]
fn only_the_delivered_message_can_be_acknowledged() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        let some_id = [1; 24];
        // Neither subscribed nor got anything.
        assert_eq!(queue.ack(&mut recipient, &some_id).await, NO_MSG);
        assert_eq!(queue.ack(&mut recipient, b"").await, NO_MSG);
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        assert_eq!(queue.ack(&mut recipient, &some_id).await, NO_MSG);
        assert_eq!(queue.ack(&mut recipient, b"").await, NO_MSG);

        accepted(&mut sender, &queue, b"1").await;
        let (id, _) = queue.pushed(&mut recipient).await;
        for wrong in [&some_id[..], &id[..23], b"x"] {
            assert_eq!(queue.ack(&mut recipient, wrong).await, NO_MSG);
        }
        // A wrong acknowledgement changes nothing, and a second right one finds nothing.
        expect_ok(queue.ack(&mut recipient, &id).await);
        assert_eq!(queue.ack(&mut recipient, &id).await, NO_MSG);
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 0);
    });
}

#[test]
fn an_acknowledgement_without_id_repeats_the_message() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        accepted(&mut sender, &queue, b"1").await;
        let (id, _) = queue.pushed(&mut recipient).await;
        for _ in 0..2 {
            let again = queue.open(queue.ack(&mut recipient, b"").await);
            assert_eq!(again, (id.clone(), b"1".to_vec()));
        }
        expect_ok(queue.ack(&mut recipient, &id).await);

        let mut other = server.client().await;
        accepted(&mut sender, &queue, b"2").await;
        let (id, _) = queue.open(queue.ask(&mut other, &Command::Get).await);
        expect_ok(queue.ack(&mut other, b"").await);
        // It is still there, though no longer delivered here.
        assert_eq!(queue.ack(&mut other, &id).await, NO_MSG);
        assert_eq!(queue.open(queue.ask(&mut other, &Command::Get).await).0, id);
    });
}

#[test]
fn messages_can_be_fetched_one_by_one() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        expect_ok(queue.ask(&mut recipient, &Command::Get).await);
        accepted(&mut sender, &queue, b"1").await;
        accepted(&mut sender, &queue, b"2").await;
        // Fetching is not subscribing.
        queue.assert_no_push(&mut recipient).await;
        let (id, body) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(body, b"1");
        let again = queue.open(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(again, (id.clone(), body));
        // The answer to the acknowledgement is not the next message.
        expect_ok(queue.ack(&mut recipient, &id).await);
        assert_eq!(queue.ack(&mut recipient, &id).await, NO_MSG);
        let (id, body) = queue.open(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(body, b"2");
        expect_ok(queue.ack(&mut recipient, &id).await);
        expect_ok(queue.ask(&mut recipient, &Command::Get).await);
    });
}

#[test]
fn fetching_and_subscribing_exclude_each_other_on_a_connection() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut other, queue) = pair(server, false).await;
        expect_ok(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(queue.ask(&mut recipient, &Command::Sub).await, PROHIBITED);
        // Another connection may subscribe, and does not end the fetching.
        expect_ok(queue.ask(&mut other, &Command::Sub).await);
        assert_eq!(queue.ask(&mut other, &Command::Get).await, PROHIBITED);
        expect_ok(queue.ask(&mut recipient, &Command::Get).await);
        queue.assert_no_push(&mut other).await;
        // Both see the message; whoever acknowledges second finds it gone.
        expect_ok(send(&mut recipient, queue.sender_id(), Auth::None, b"1").await);
        let (id, _) = queue.pushed(&mut other).await;
        let got = queue.open(queue.ask(&mut recipient, &Command::Get).await);
        assert_eq!(got.0, id);
        expect_ok(queue.ack(&mut recipient, &id).await);
        expect_ok(queue.ack(&mut other, &id).await);
        assert_eq!(queue.info(&mut other).await["qiSize"], 0);
    });
}

#[test]
fn a_message_acknowledged_elsewhere_is_followed_by_the_next() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut other, queue) = pair(server, true).await;
        accepted(&mut other, &queue, b"1").await;
        accepted(&mut other, &queue, b"2").await;
        let (id, _) = queue.pushed(&mut recipient).await;
        let got = queue.open(queue.ask(&mut other, &Command::Get).await);
        assert_eq!(got.0, id);
        expect_ok(queue.ack(&mut other, &id).await);
        let (next, body) = queue.open(queue.ack(&mut recipient, &id).await);
        assert_eq!(body, b"2");
        expect_ok(queue.ack(&mut recipient, &next).await);
    });
}

#[test]
fn a_full_queue_refuses_until_the_marker_is_acknowledged() {
    let setup = Setup::default().set("RELAY", "msg_queue_quota", "4");
    every_placement(&setup, async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        for body in [b"1", b"2", b"3", b"4"] {
            accepted(&mut sender, &queue, body).await;
        }
        for _ in 0..3 {
            let refused = send(&mut sender, queue.sender_id(), Auth::None, b"5").await;
            assert_eq!(refused, QUOTA);
        }
        // One marker, however many were refused.
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 5);
        expect_ok(queue.ask(&mut recipient, &Command::Sub).await);
        let (mut id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, b"1");
        for expected in [b"2", b"3", b"4"] {
            let (next, body) = queue.open(queue.ack(&mut recipient, &id).await);
            assert_eq!(body, expected);
            id = next;
            let refused = send(&mut sender, queue.sender_id(), Auth::None, b"6").await;
            assert_eq!(refused, QUOTA);
        }
        let marker = queue.ack(&mut recipient, &id).await;
        let (id, body) = queue.open_any(marker);
        assert_eq!(body, None);
        assert_eq!(
            queue.info(&mut recipient).await["qiMsg"]["msgType"],
            "quota"
        );
        let refused = send(&mut sender, queue.sender_id(), Auth::None, b"7").await;
        assert_eq!(refused, QUOTA);
        expect_ok(queue.ack(&mut recipient, &id).await);
        accepted(&mut sender, &queue, b"8").await;
        assert_eq!(queue.pushed(&mut recipient).await.1, b"8");
    });
}

#[test]
fn a_queue_holds_128_messages() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, false).await;
        let message = Command::Send {
            notify: false,
            body: b"x",
        };
        let commands = vec![(message, queue.sender_id(), Auth::None); 130];
        let answers = sender.batch(&commands).await.unwrap();
        assert!(answers[..128].iter().all(|r| *r == Response::Ok));
        assert_eq!(answers[128..], [QUOTA, QUOTA]);
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 129);
    });
}

#[test]
fn a_second_subscriber_takes_over() {
    every_placement(&Setup::default(), async |server| {
        let (mut first, mut sender, queue) = pair(server, true).await;
        accepted(&mut sender, &queue, b"1").await;
        let (id, _) = queue.pushed(&mut first).await;

        let mut second = server.client().await;
        expect_ok(queue.ask(&mut second, &Command::Sub).await);
        assert_eq!(queue.pushed(&mut second).await.0, id);
        let end = first.next_push().await.unwrap();
        assert_eq!(
            (&end.entity_id[..], end.response),
            (queue.id(), Response::End)
        );
        assert_eq!(queue.ack(&mut first, &id).await, NO_MSG);
        expect_ok(queue.ack(&mut second, &id).await);
        accepted(&mut sender, &queue, b"2").await;
        assert_eq!(queue.pushed(&mut second).await.1, b"2");
        queue.assert_no_push(&mut first).await;
        // And back again.
        expect_ok(queue.ask(&mut first, &Command::Sub).await);
        assert_eq!(queue.pushed(&mut first).await.1, b"2");
        assert_eq!(second.next_push().await.unwrap().response, Response::End);
    });
}

#[test]
fn an_end_can_be_told_at_once() {
    let setup = Setup::default().set("RELAY", "pending_end_interval_ms", "0");
    every_placement(&setup, async |server| {
        let (mut first, mut second) = (server.client().await, server.client().await);
        let queue = Recipient::create(&mut first, true).await;
        expect_ok(queue.ask(&mut second, &Command::Sub).await);
        let end = first.next_push().await.unwrap();
        assert_eq!(
            (&end.entity_id[..], end.response),
            (queue.id(), Response::End)
        );
    });
}

#[test]
fn a_subscriber_learns_that_its_queue_was_deleted() {
    every_placement(&Setup::default(), async |server| {
        for (version, event) in [
            (18, Response::Deld),
            (10, Response::Deld),
            (9, Response::End),
        ] {
            let mut subscriber = server.client_of(Version(version)).await;
            let mut deleter = server.client().await;
            let queue = Recipient::create(&mut subscriber, true).await;
            expect_ok(queue.ask(&mut deleter, &Command::Del).await);
            let push = subscriber.next_push().await.unwrap();
            assert_eq!((&push.entity_id[..], push.response), (queue.id(), event));
        }
    });
}

#[test]
fn a_hundred_messages_keep_their_order() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        for n in 0..100_u8 {
            let message = Command::Send {
                notify: false,
                body: &[n],
            };
            sender
                .send(&message, queue.sender_id(), Auth::None)
                .unwrap();
        }
        sender.flush().await.unwrap();
        let (mut id, body) = queue.pushed(&mut recipient).await;
        assert_eq!(body, [0]);
        // The last ones may not have been sent yet when all before are acknowledged.
        for n in 1..100 {
            let (next, body) = match queue.ack(&mut recipient, &id).await {
                Response::Ok => queue.pushed(&mut recipient).await,
                message => queue.open(message),
            };
            assert_eq!(body, [n]);
            id = next;
        }
        expect_ok(queue.ack(&mut recipient, &id).await);
    });
}

#[test]
fn what_was_not_acknowledged_goes_to_the_next_connection() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender, queue) = pair(server, true).await;
        accepted(&mut sender, &queue, b"1").await;
        accepted(&mut sender, &queue, b"2").await;
        let (id, _) = queue.pushed(&mut recipient).await;
        let (second, _) = queue.open(queue.ack(&mut recipient, &id).await);
        drop(recipient);

        let mut again = server.client().await;
        expect_ok(queue.ask(&mut again, &Command::Sub).await);
        assert_eq!(
            queue.pushed(&mut again).await,
            (second.clone(), b"2".to_vec())
        );
        expect_ok(queue.ack(&mut again, &second).await);
        again.close().await.unwrap();
        accepted(&mut sender, &queue, b"3").await;
        let mut third = server.client().await;
        expect_ok(queue.ask(&mut third, &Command::Sub).await);
        assert_eq!(queue.pushed(&mut third).await.1, b"3");
    });
}

/// A connection that is gone before its subscription is carried out must not keep the messages.
#[test]
fn a_subscriber_that_left_at_once_is_not_left_subscribed() {
    every_placement(&Setup::default(), async |server| {
        let (mut stays, mut sender, queue) = pair(server, false).await;
        for _ in 0..40 {
            let mut leaves = server.client().await;
            leaves
                .send(&Command::Sub, queue.id(), queue.key.auth())
                .unwrap();
            leaves.flush().await.unwrap();
            drop(leaves);
            expect_ok(queue.ask(&mut stays, &Command::Sub).await);
            accepted(&mut sender, &queue, b"1").await;
            // Until the message is acknowledged there is something to wait for: the message, or
            // the notice that the other was later. A message that was overtaken by such a notice
            // comes twice.
            loop {
                let push = stays.next_push().await.unwrap();
                if push.response == Response::End {
                    expect_ok(queue.ask(&mut stays, &Command::Sub).await);
                    continue;
                }
                let (id, _) = queue.open(push.response);
                match queue.ack(&mut stays, &id).await {
                    Response::Ok => break,
                    other => assert_eq!(other, NO_MSG),
                }
            }
        }
    });
}

/// Sender and recipient on one connection: the message precedes the confirmation.
#[test]
fn a_message_to_oneself_arrives() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, true).await;
        let notify = true;
        let message = Command::Send {
            notify,
            body: b"me",
        };
        expect_ok(ask(&mut client, &message, queue.sender_id(), Auth::None).await);
        let (id, body) = queue.pushed(&mut client).await;
        assert_eq!(body, b"me");
        expect_ok(queue.ack(&mut client, &id).await);
    });
}
