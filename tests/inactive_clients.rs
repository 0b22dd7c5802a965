//! Connections that are silent and subscribed to nothing are closed (spec: server §8).

mod support;

use futures_lite::future::{or, zip};
use glommio::timer::Timer;
use loadtest::{Auth, Client};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, Response};
use std::time::Duration;
use support::{
    Recipient, Server, Setup, every_placement_at_once, expect_event, expect_ok, expect_subscribed,
    send_notifying, service_credentials, subscribe_service,
};

fn setup() -> Setup {
    Setup::default()
        .set("INACTIVE_CLIENTS", "disconnect", "on")
        .set("INACTIVE_CLIENTS", "ttl", "2")
        .set("INACTIVE_CLIENTS", "check_interval", "1")
        .set("RELAY", "ntf_delivery_interval_ms", "20")
}

/// Waits as long as the server closes two silent connections, one after the other: whoever was
/// silent before is closed by then, if at all.
async fn twice_the_patience(server: &Server) {
    for _ in 0..2 {
        let mut silent = server.client().await;
        silent.closed().await.unwrap();
    }
}

/// Does something else, and goes on commanding meanwhile: often enough for two connections.
async fn commanding<T>(clients: [&mut Client; 2], other: impl Future<Output = T>) -> T {
    let [a, b] = clients;
    let pings = async |client: &mut Client| -> T {
        loop {
            client.ping().await.unwrap();
            Timer::new(Duration::from_millis(200)).await;
        }
    };
    or(other, async { zip(pings(a), pings(b)).await.0 }).await
}

#[test]
fn silent_connections_are_closed_and_subscribed_or_busy_ones_are_not() {
    every_placement_at_once(&setup(), async |server| {
        let mut busy = server.client().await;
        let mut recipient = server.client().await;
        let mut subscribed = server.client().await;
        let mut notified = server.client().await;
        let mut service_of_one = server
            .service(&service_credentials(ServiceRole::Notifier))
            .await;
        let mut service_of_all = server
            .service(&service_credentials(ServiceRole::Notifier))
            .await;
        let mut creator = server.client().await;

        let queue = Recipient::create(&mut recipient, false).await;
        expect_ok(queue.ask(&mut subscribed, &Command::Sub).await);
        let created = Recipient::create(&mut creator, true).await;
        let with_notifier = Recipient::create_with_notifier(&mut recipient, false).await;
        expect_ok(with_notifier.1.subscribe(&mut notified).await);
        let of_service = Recipient::create_with_notifier(&mut recipient, false).await;
        let response = of_service.1.subscribe(&mut service_of_one).await;
        expect_subscribed(&service_of_one, response);
        assert_eq!(subscribe_service(&mut service_of_all).await.count, 0);

        commanding([&mut busy, &mut recipient], twice_the_patience(server)).await;

        queue.expect_delivery(&mut busy, &mut subscribed).await;
        created.expect_delivery(&mut busy, &mut creator).await;
        for ((queue, notifier), client) in [
            (&with_notifier, &mut notified),
            (&of_service, &mut service_of_one),
        ] {
            let sent = send_notifying(&mut busy, queue.sender_id(), Auth::None, b"x").await;
            expect_ok(sent);
            notifier.pushed(client).await;
        }
        service_of_all.ping().await.unwrap();
    });
}

#[test]
fn fetching_and_sending_are_no_subscriptions() {
    every_placement_at_once(&setup(), async |server| {
        let mut getter = server.client().await;
        let mut sender = server.client().await;
        let queue = Recipient::create(&mut getter, false).await;
        expect_ok(queue.ask(&mut getter, &Command::Get).await);
        expect_ok(support::send(&mut sender, queue.sender_id(), Auth::None, b"x").await);
        zip(async { getter.closed().await.unwrap() }, async {
            sender.closed().await.unwrap()
        })
        .await;
        // Nothing but the connection is gone.
        let mut again = server.client().await;
        assert_eq!(queue.info(&mut again).await["qiSize"], 1);
    });
}

#[test]
fn whoever_has_lost_every_subscription_is_closed() {
    every_placement_at_once(&setup(), async |server| {
        let mut recipient = server.client().await;
        let mut thief = server.client().await;
        let mut deleted = server.client().await;
        let mut taken = server.client().await;
        let mut disabled = server.client().await;
        let credentials = service_credentials(ServiceRole::Notifier);
        let mut replaced = server.service(&credentials).await;

        let one = Recipient::create(&mut deleted, true).await;
        expect_ok(one.ask(&mut recipient, &Command::Del).await);
        expect_event(&mut deleted, one.id(), Response::Deld).await;
        let two = Recipient::create(&mut taken, true).await;
        expect_ok(two.ask(&mut thief, &Command::Sub).await);
        expect_event(&mut taken, two.id(), Response::End).await;
        let (three, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
        expect_ok(notifier.subscribe(&mut disabled).await);
        expect_ok(three.disable_notifications(&mut recipient).await);
        expect_event(&mut disabled, &notifier.id, Response::Deld).await;
        subscribe_service(&mut replaced).await;
        let mut replacing = server.service(&credentials).await;
        let queues = subscribe_service(&mut replacing).await;
        let service_id = replaced.service_id().unwrap().to_vec();
        expect_event(&mut replaced, &service_id, Response::Ends(queues)).await;

        for client in [&mut deleted, &mut taken, &mut disabled, &mut replaced] {
            client.closed().await.unwrap();
        }
        let mut sender = server.client().await;
        two.expect_delivery(&mut sender, &mut thief).await;
        replacing.ping().await.unwrap();
    });
}

#[test]
fn without_the_setting_silent_connections_stay() {
    let setup = setup().set("INACTIVE_CLIENTS", "disconnect", "off");
    every_placement_at_once(&setup, async |server| {
        let mut silent = server.client().await;
        // Another server is the clock.
        let clock = self::setup().start();
        twice_the_patience(&clock).await;
        silent.ping().await.unwrap();
    });
}
