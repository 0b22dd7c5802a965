//! Notifiers of queues (spec: protocol §13, server §3.13, §3.14, §3.20).

mod support;

use smp_server::protocol::{Command, ErrorType, Response};
use support::{Key, Recipient, Setup, ask, every_placement, expect_ok};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);

#[test]
fn a_notifier_is_subscribed_with_its_key() {
    every_placement(&Setup::default(), async |server| {
        let (mut owner, mut service) = (server.client().await, server.client().await);
        let (queue, made_with_it) = Recipient::create_with_notifier(&mut owner, false).await;
        expect_ok(made_with_it.subscribe(&mut service).await);
        for key in Key::of_every_kind() {
            let notifier = queue.enable_notifications_with(&mut owner, key).await;
            expect_ok(notifier.subscribe(&mut service).await);
            let stranger = Key::ed25519();
            let answer = ask(&mut service, &Command::NSub, &notifier.id, stranger.auth()).await;
            assert_eq!(answer, AUTH);
            let by_owner = ask(&mut owner, &Command::NSub, queue.id(), queue.key.auth()).await;
            assert_eq!(by_owner, AUTH);
        }
        // The first one has been replaced.
        assert_eq!(made_with_it.subscribe(&mut service).await, AUTH);
    });
}

#[test]
fn whoever_subscribed_a_notifier_learns_of_its_end() {
    every_placement(&Setup::default(), async |server| {
        let (mut owner, mut service) = (server.client().await, server.client().await);
        let queue = Recipient::create(&mut owner, false).await;
        let replaced = queue.enable_notifications(&mut owner).await;
        expect_ok(replaced.subscribe(&mut service).await);
        let disabled = queue.enable_notifications(&mut owner).await;
        let push = service.next_push().await.unwrap();
        assert_eq!(
            (push.entity_id, push.response),
            (replaced.id, Response::Deld)
        );

        expect_ok(disabled.subscribe(&mut service).await);
        // Once is enough, twice no error.
        for _ in 0..2 {
            expect_ok(queue.disable_notifications(&mut owner).await);
        }
        let push = service.next_push().await.unwrap();
        assert_eq!(
            (&push.entity_id, push.response),
            (&disabled.id, Response::Deld)
        );
        assert_eq!(disabled.subscribe(&mut service).await, AUTH);
    });
}
