//! Notifications of queues that belong to services, and the one connection that gets them
//! (spec: server §3.20, §3.21, §6).

mod support;

use loadtest::{Client, Options, TlsOptions};
use smp_server::protocol::command::ServiceQueues;
use smp_server::protocol::handshake::ServiceRole::{Messaging, Notifier as Notifications};
use smp_server::protocol::{Command, Response, Version};
use std::collections::HashSet;
use support::{
    Notifier, Recipient, Server, Setup, every_placement, expect_event, expect_ok,
    expect_subscribed, flagged, service_credentials, subscribe_service,
};

fn setup() -> Setup {
    Setup::default().set("RELAY", "ntf_delivery_interval_ms", "20")
}

/// A recipient and its queues with notifiers.
async fn notified(server: &Server, count: usize) -> (Client, Vec<(Recipient, Notifier)>) {
    let mut recipient = server.client().await;
    let mut queues = Vec::new();
    for _ in 0..count {
        queues.push(Recipient::create_with_notifier(&mut recipient, false).await);
    }
    (recipient, queues)
}

/// `NSUB` in the session of a service.
async fn associate(service: &mut Client, notifier: &Notifier) {
    let response = notifier.subscribe(service).await;
    expect_subscribed(service, response);
}

fn ends(count: i64) -> Response<'static> {
    Response::Ends(ServiceQueues {
        count,
        ..ServiceQueues::UNKNOWN
    })
}

async fn count(service: &mut Client) -> i64 {
    subscribe_service(service).await.count
}

/// Asserts that the queue's notifications come to this connection.
async fn expect_notified(
    recipient: &mut Client,
    (queue, notifier): &(Recipient, Notifier),
    subscriber: &mut Client,
) {
    let id = flagged(recipient, queue).await;
    assert_eq!(notifier.pushed(subscriber).await, id);
}

#[test]
fn a_service_gets_the_notifications_of_the_queues_it_subscribed() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 10).await;
        let credentials = service_credentials(Notifications);
        let mut service = server.service(&credentials).await;
        for queue in &queues {
            // Again, without effect.
            for _ in 0..2 {
                associate(&mut service, &queue.1).await;
            }
            expect_notified(&mut recipient, queue, &mut service).await;
        }
        // What comes while it is away waits for the next connection, of which one command is
        // enough.
        drop(service);
        let mut ids = Vec::new();
        for (queue, _) in &queues {
            ids.push(flagged(&mut recipient, queue).await);
        }
        let mut again = server.service(&credentials).await;
        assert_eq!(count(&mut again).await, 10);
        let mut received = HashSet::new();
        for _ in &queues {
            let push = again.next_push().await.unwrap();
            let (_, notifier) = queues
                .iter()
                .find(|(_, notifier)| notifier.id == push.entity_id)
                .unwrap();
            received.insert(notifier.open(push.response).0);
        }
        assert_eq!(received, ids.into_iter().collect());
        for queue in &queues {
            expect_notified(&mut recipient, queue, &mut again).await;
        }
    });
}

#[test]
fn one_queue_subscribed_again_brings_the_service_with_it() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 6).await;
        let credentials = service_credentials(Notifications);
        let mut first = server.service(&credentials).await;
        for (_, notifier) in &queues {
            associate(&mut first, notifier).await;
        }
        // The association is there; the subscription of the connection is for all queues.
        let mut second = server.service(&credentials).await;
        let id = second.service_id().unwrap().to_vec();
        associate(&mut second, &queues[0].1).await;
        expect_event(&mut first, &id, ends(6)).await;
        for queue in &queues {
            expect_notified(&mut recipient, queue, &mut second).await;
        }
        assert_eq!(count(&mut second).await, 6);
    });
}

#[test]
fn all_notifiers_of_a_service_are_counted_whatever_their_shards() {
    every_placement(&setup(), async |server| {
        let credentials = service_credentials(Notifications);
        let mut service = server.service(&credentials).await;
        assert_eq!(count(&mut service).await, 0);
        // The queues of one recipient may be on one shard.
        let mut all = Vec::new();
        for _ in 0..6 {
            all.push(notified(server, 5).await);
        }
        let mut expected = 0;
        for (_, queues) in &all {
            for (_, notifier) in queues {
                associate(&mut service, notifier).await;
                expected += 1;
            }
            // Repeated on the same connection: the count of that moment.
            assert_eq!(count(&mut service).await, expected);
        }
        // Queues of another service are not counted.
        let mut other = server.service(&service_credentials(Notifications)).await;
        assert_eq!(count(&mut other).await, 0);
        let (mut recipient, mut queues) = all.pop().unwrap();
        let (deleted, disabled, replaced) = (
            queues.pop().unwrap(),
            queues.pop().unwrap(),
            queues.pop().unwrap(),
        );
        expect_ok(deleted.0.ask(&mut recipient, &Command::Del).await);
        expect_event(&mut service, &deleted.1.id, Response::Deld).await;
        assert_eq!(count(&mut service).await, expected - 1);
        expect_ok(disabled.0.disable_notifications(&mut recipient).await);
        expect_event(&mut service, &disabled.1.id, Response::Deld).await;
        assert_eq!(count(&mut service).await, expected - 2);
        let new = replaced.0.enable_notifications(&mut recipient).await;
        expect_event(&mut service, &replaced.1.id, Response::Deld).await;
        assert_eq!(count(&mut service).await, expected - 3);
        associate(&mut service, &new).await;
        assert_eq!(count(&mut service).await, expected - 2);
    });
}

#[test]
fn a_connection_takes_the_service_over_and_the_other_takes_it_back() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 8).await;
        let credentials = service_credentials(Notifications);
        let mut first = server.service(&credentials).await;
        let mut second = server.service(&credentials).await;
        let id = first.service_id().unwrap().to_vec();
        for (_, notifier) in &queues {
            associate(&mut first, notifier).await;
        }
        for _ in 0..3 {
            // The reference answers 0 to whoever comes back, and does not subscribe it.
            assert_eq!(count(&mut second).await, 8);
            expect_event(&mut first, &id, ends(8)).await;
            expect_notified(&mut recipient, &queues[3], &mut second).await;
            assert_eq!(count(&mut first).await, 8);
            expect_event(&mut second, &id, ends(8)).await;
            for queue in &queues {
                expect_notified(&mut recipient, queue, &mut first).await;
            }
        }
        // A connection that is gone is not the subscriber, and its end takes nothing away.
        second.close().await.unwrap();
        expect_notified(&mut recipient, &queues[0], &mut first).await;
        first.close().await.unwrap();
        let mut third = server.service(&credentials).await;
        assert_eq!(count(&mut third).await, 8);
        expect_notified(&mut recipient, &queues[0], &mut third).await;
    });
}

#[test]
fn a_service_takes_queues_over_from_ordinary_subscribers() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 4).await;
        let mut subscriber = server.client().await;
        for (_, notifier) in &queues {
            expect_ok(notifier.subscribe(&mut subscriber).await);
        }
        let mut service = server.service(&service_credentials(Notifications)).await;
        for queue in &queues[..2] {
            associate(&mut service, &queue.1).await;
            expect_event(&mut subscriber, &queue.1.id, Response::End).await;
            expect_notified(&mut recipient, queue, &mut service).await;
        }
        for queue in &queues[2..] {
            expect_notified(&mut recipient, queue, &mut subscriber).await;
        }
        assert_eq!(count(&mut service).await, 2);
    });
}

#[test]
fn an_ordinary_subscriber_ends_the_services_subscription_to_one_queue() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 4).await;
        let mut service = server.service(&service_credentials(Notifications)).await;
        for (_, notifier) in &queues {
            associate(&mut service, notifier).await;
        }
        let mut subscriber = server.client().await;
        let (taken, left) = queues.split_first().unwrap();
        for _ in 0..2 {
            // Its own session has no service, whatever the queue had.
            let response = taken.1.subscribe(&mut subscriber).await;
            assert_eq!(response, Response::Sok(None));
        }
        expect_event(&mut service, &taken.1.id, Response::End).await;
        expect_notified(&mut recipient, taken, &mut subscriber).await;
        for queue in left {
            expect_notified(&mut recipient, queue, &mut service).await;
        }
        assert_eq!(count(&mut service).await, 3);
        // And it can be had back.
        associate(&mut service, &taken.1).await;
        expect_event(&mut subscriber, &taken.1.id, Response::End).await;
        expect_notified(&mut recipient, taken, &mut service).await;
        assert_eq!(count(&mut service).await, 4);
    });
}

#[test]
fn a_service_takes_a_queue_over_from_another() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 3).await;
        let mut first = server.service(&service_credentials(Notifications)).await;
        let mut second = server.service(&service_credentials(Notifications)).await;
        for (_, notifier) in &queues {
            associate(&mut first, notifier).await;
        }
        let (taken, left) = queues.split_first().unwrap();
        associate(&mut second, &taken.1).await;
        expect_event(&mut first, &taken.1.id, Response::End).await;
        expect_notified(&mut recipient, taken, &mut second).await;
        for queue in left {
            expect_notified(&mut recipient, queue, &mut first).await;
        }
        assert_eq!([count(&mut first).await, count(&mut second).await], [2, 1]);
    });
}

#[test]
fn a_queue_left_to_nobody_keeps_its_notifications_for_its_service() {
    every_placement(&setup(), async |server| {
        let (mut recipient, queues) = notified(server, 2).await;
        let credentials = service_credentials(Notifications);
        let mut service = server.service(&credentials).await;
        for (_, notifier) in &queues {
            associate(&mut service, notifier).await;
        }
        // A connection of the service that did not subscribe gets nothing.
        let mut idle = server.service(&credentials).await;
        drop(service);
        let (queue, notifier) = &queues[0];
        let id = flagged(&mut recipient, queue).await;
        idle.ping().await.unwrap();
        assert_eq!(idle.buffered_push(), None);
        // One queue is enough to make it the subscriber, and what waits is delivered.
        associate(&mut idle, &queues[1].1).await;
        assert_eq!(notifier.pushed(&mut idle).await, id);
    });
}

#[test]
fn a_queue_of_a_service_may_have_a_notifier_of_another() {
    every_placement(&setup(), async |server| {
        let mut messaging = server.service(&service_credentials(Messaging)).await;
        let mut notifications = server.service(&service_credentials(Notifications)).await;
        let made = Recipient::create_with_notifier(&mut messaging, true).await;
        associate(&mut notifications, &made.1).await;
        expect_notified(&mut messaging, &made, &mut notifications).await;
        assert_eq!(count(&mut notifications).await, 1);
    });
}

/// Services are known from version 16.
#[test]
fn services_of_every_version_that_knows_them_work() {
    every_placement(&setup(), async |server| {
        for version in 16..=18 {
            let credentials = service_credentials(Notifications);
            let target = server
                .target(TlsOptions::default())
                .with_service(credentials);
            let options = Options {
                version: Version(version),
                ..Options::default()
            };
            let mut service = Client::connect(&target, options).await.unwrap();
            let (mut recipient, queues) = notified(server, 1).await;
            associate(&mut service, &queues[0].1).await;
            assert_eq!(count(&mut service).await, 1);
            expect_notified(&mut recipient, &queues[0], &mut service).await;
        }
        // Before, the certificate means nothing.
        let target = server
            .target(TlsOptions::default())
            .with_service(service_credentials(Notifications));
        let options = Options {
            version: Version(15),
            ..Options::default()
        };
        let mut client = Client::connect(&target, options).await.unwrap();
        assert_eq!(client.service_id(), None);
        let (mut recipient, queues) = notified(server, 1).await;
        expect_ok(queues[0].1.subscribe(&mut client).await);
        expect_notified(&mut recipient, &queues[0], &mut client).await;
    });
}
