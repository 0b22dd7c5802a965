//! A command whose answer was lost is sent again: what that does (spec: server §3.23).

mod support;

use futures_lite::future::poll_fn;
use loadtest::{Auth, Client};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, ErrorType, Response};
use support::{
    Key, Link, NotifierKeys, Recipient, Setup, ask, ask_as, every_placement, expect_link,
    expect_subscribed, new_queue, send_notifying, sender_id_for, service_credentials,
    subscribe_service, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);
const NO_MSG: Response<'static> = Response::Err(ErrorType::NoMsg);

/// The answers to a command sent twice, together or one after the other.
async fn twice(
    client: &mut Client,
    together: bool,
    command: &Command<'_>,
    entity: &[u8],
    auth: Auth<'_>,
) -> [Response<'static>; 2] {
    if !together {
        let first = ask(client, command, entity, auth).await;
        return [first, ask(client, command, entity, auth).await];
    }
    let both = [
        (command.clone(), entity, auth),
        (command.clone(), entity, auth),
    ];
    let answers = client.batch(&both).await.unwrap();
    <[Response<'static>; 2]>::try_from(answers).unwrap()
}

/// [`twice`] for a recipient's command.
async fn by_recipient(
    client: &mut Client,
    together: bool,
    queue: &Recipient,
    command: &Command<'_>,
) -> [Response<'static>; 2] {
    twice(client, together, command, queue.id(), queue.key.auth()).await
}

const OK: [Response<'static>; 2] = [Response::Ok, Response::Ok];

#[test]
fn new_makes_another_queue_unless_its_ids_were_chosen() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let key = Key::ed25519();
        let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
        for together in [false, true] {
            let new = Command::New(new_queue(&key, &dh));
            let answers = twice(&mut client, together, &new, &[], key.auth()).await;
            let [Response::Ids(first), Response::Ids(second)] = answers else {
                panic!("{answers:?}");
            };
            assert_ne!(first.recipient_id, second.recipient_id);
            assert_ne!(first.sender_id, second.sender_id);

            let link = Link::small("link");
            let (corr_id, link_id): ([u8; 24], _) = (rand::random(), unknown_id());
            let sender_id = sender_id_for(&corr_id);
            let mut new = new_queue(&key, &dh);
            new.queue = Some(link.contact(&link_id, &sender_id));
            let new = Command::New(new);
            let mut created = Vec::new();
            if together {
                for _ in 0..2 {
                    let outbox = client.outbox();
                    outbox.send_as(&corr_id, &new, &[], key.auth()).unwrap();
                }
                // The order is all that tells answers with one correlation id apart.
                while created.len() < 2 {
                    let drive = poll_fn(|cx| {
                        client.poll_drive(cx, &mut |answer, _| {
                            created.push(is_created(&answer.response));
                        })
                    });
                    drive.await.unwrap();
                }
            } else {
                for _ in 0..2 {
                    let answer = ask_as(&mut client, &corr_id, &new, &[], key.auth()).await;
                    created.push(is_created(&answer));
                }
            }
            assert_eq!(created, [true, false]);
        }
    });
}

/// Whether `NEW` made a queue; if not, it must have been refused.
fn is_created(response: &Response<'_>) -> bool {
    match response {
        Response::Ids(_) => true,
        other => {
            assert_eq!(*other, AUTH);
            false
        }
    }
}

#[test]
fn messages_are_delivered_again_until_they_are_acknowledged_once() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for together in [false, true] {
            let queue = Recipient::create(&mut client, false).await;
            let (notify, body) = (false, &b"x"[..]);
            let send = Command::Send { notify, body };
            let sent = twice(&mut client, together, &send, queue.sender_id(), Auth::None).await;
            assert_eq!(sent, OK);
            // Two messages, not one.
            assert_eq!(queue.info(&mut client).await["qiSize"], 2);

            let confirmed = [Response::Sok(None), Response::Sok(None)];
            let answers = by_recipient(&mut client, together, &queue, &Command::Sub).await;
            assert_eq!(answers, confirmed);
            let (id, _) = queue.pushed(&mut client).await;
            assert_eq!(queue.pushed(&mut client).await.0, id);
            let ack = Command::Ack { msg_id: &id };
            let [first, second] = by_recipient(&mut client, together, &queue, &ack).await;
            let (next, _) = queue.open(first);
            assert_eq!(second, NO_MSG);
            assert_eq!(queue.ack(&mut client, &next).await, Response::Ok);

            let queue = Recipient::create(&mut client, false).await;
            let sent = ask(&mut client, &send, queue.sender_id(), Auth::None).await;
            assert_eq!(sent, Response::Ok);
            let [a, b] = by_recipient(&mut client, together, &queue, &Command::Get).await;
            assert_eq!(a, b);
            let (id, _) = queue.open(a);
            let ack = Command::Ack { msg_id: &id };
            let answers = by_recipient(&mut client, together, &queue, &ack).await;
            assert_eq!(answers, [Response::Ok, NO_MSG]);
        }
    });
}

#[test]
fn securing_again_with_the_same_key_succeeds() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = (server.client().await, server.client().await);
        for together in [false, true] {
            for key in Key::of_every_kind() {
                let queue = Recipient::create(&mut recipient, false).await;
                let secure = Command::Key(key.public());
                let answers = by_recipient(&mut recipient, together, &queue, &secure).await;
                assert_eq!(answers, OK);

                let queue = Recipient::create(&mut recipient, false).await;
                let (secure, id) = (Command::SKey(key.public()), queue.sender_id());
                let answers = twice(&mut sender, together, &secure, id, key.auth()).await;
                assert_eq!(answers, OK);

                let link = Link::small("link");
                let queue = Recipient::with_invitation(&mut recipient, &link).await;
                let (secure, id) = (Command::LKey(key.public()), queue.link_id());
                for answer in twice(&mut sender, together, &secure, id, key.auth()).await {
                    expect_link(answer, &queue, &link);
                }
            }
        }
    });
}

#[test]
fn settings_of_a_queue_may_be_set_again() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        for together in [false, true] {
            for _ in 0..4 {
                let queue = Recipient::contact(&mut client).await;
                let keys = vec![queue.key.public(), Key::x25519().public()];
                let (link_id, link) = (unknown_id(), Link::small("link"));
                let data = link.data();
                let link_id = &link_id;
                for command in [
                    Command::RKey(keys),
                    Command::LSet { link_id, data },
                    Command::LDel,
                    Command::NDel,
                    Command::NKey(NotifierKeys::new(Key::ed25519()).credentials()),
                    Command::NDel,
                    Command::Off,
                ] {
                    let answers = by_recipient(&mut client, together, &queue, &command).await;
                    if let Command::NKey(_) = command {
                        // Each makes a notifier of its own.
                        let [Response::Nid { notifier_id, .. }, Response::Nid { .. }] = &answers
                        else {
                            panic!("{answers:?}");
                        };
                        assert_eq!(notifier_id.len(), 24);
                        assert_ne!(answers[0], answers[1]);
                    } else {
                        assert_eq!(answers, OK, "{command:?}");
                    }
                }
                let answers = by_recipient(&mut client, together, &queue, &Command::Del).await;
                assert_eq!(answers, [Response::Ok, AUTH]);
            }
        }
    });
}

#[test]
fn subscriptions_to_notifications_may_be_repeated() {
    let setup = Setup::default().set("RELAY", "ntf_delivery_interval_ms", "20");
    every_placement(&setup, async |server| {
        let mut recipient = server.client().await;
        for together in [false, true] {
            let mut subscriber = server.client().await;
            let (queue, notifier) = Recipient::create_with_notifier(&mut recipient, false).await;
            let (id, auth) = (&notifier.id[..], notifier.key.auth());
            let confirmed = [Response::Sok(None), Response::Sok(None)];
            let answers = twice(&mut subscriber, together, &Command::NSub, id, auth).await;
            assert_eq!(answers, confirmed);
            // There is one subscription, and one notification for a message.
            for _ in 0..2 {
                let to = queue.sender_id();
                let sent = send_notifying(&mut recipient, to, Auth::None, b"x").await;
                assert_eq!(sent, Response::Ok);
            }
            let first = notifier.pushed(&mut subscriber).await;
            let second = notifier.pushed(&mut subscriber).await;
            assert_ne!(first, second);

            let credentials = service_credentials(ServiceRole::Notifier);
            let mut service = server.service(&credentials).await;
            for answer in twice(&mut service, together, &Command::NSub, id, auth).await {
                expect_subscribed(&service, answer);
            }
            for _ in 0..2 {
                assert_eq!(subscribe_service(&mut service).await.count, 1);
            }
        }
    });
}
