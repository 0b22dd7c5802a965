//! Services: one certificate, one id, one role, and two signatures
//! (spec: server §2.4, §7, protocol §7.4).

mod support;

use loadtest::{Auth, Client, ClientError, ServiceCredentials, ServiceProof};
use smp_server::crypto::certificate::KeyAlgorithm;
use smp_server::crypto::keys::SigningKey;
use smp_server::protocol::command::ServiceQueues;
use smp_server::protocol::error::{CommandError, HandshakeError, TransportError};
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, ErrorType, Response};
use std::collections::HashSet;
use support::{
    Key, Link, Recipient, Setup, ask, every_placement, expect_event, expect_ok, expect_subscribed,
    new_queue, send, service_credentials, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);
const SERVICE: Response<'static> = Response::Err(ErrorType::Service);
const PROHIBITED: Response<'static> = Response::Err(ErrorType::Cmd(CommandError::Prohibited));

use ServiceRole::{Messaging, Notifier as Notifications, Proxy};

const ROLES: [ServiceRole; 3] = [Messaging, Notifications, Proxy];

fn refusal(result: Result<Client, ClientError>) -> HandshakeError {
    match result {
        Err(ClientError::ServiceRefused(TransportError::Handshake(e))) => e,
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_certificate_has_one_id_however_often_and_where_it_connects() {
    every_placement(&Setup::default(), async |server| {
        let mut ids = HashSet::new();
        for role in ROLES {
            for (algorithm, length) in [
                (KeyAlgorithm::Ed25519, 1),
                (KeyAlgorithm::Ed25519, 2),
                (KeyAlgorithm::Ed448, 3),
                (KeyAlgorithm::Ed25519, 4),
            ] {
                let service = ServiceCredentials::generate_chain(role, algorithm, length).unwrap();
                let mut first = server.service(&service).await;
                first.ping().await.unwrap();
                let id = first.service_id().unwrap().to_vec();
                for _ in 0..4 {
                    let again = server.service(&service).await;
                    assert_eq!(again.service_id(), Some(&id[..]));
                }
                assert!(ids.insert(id), "services share an id");
            }
        }
    });
}

#[test]
fn connections_that_register_a_certificate_at_once_get_one_id() {
    every_placement(&Setup::default(), async |server| {
        let service = service_credentials(Notifications);
        let connect = || server.service(&service);
        let (((a, b), (c, d)), (e, f)) = {
            use futures_lite::future::zip;
            zip(
                zip(zip(connect(), connect()), zip(connect(), connect())),
                zip(connect(), connect()),
            )
            .await
        };
        let ids: HashSet<_> = [a, b, c, d, e, f]
            .iter()
            .map(|client| client.service_id().unwrap().to_vec())
            .collect();
        assert_eq!(ids.len(), 1);
    });
}

#[test]
fn a_certificate_keeps_its_first_role() {
    every_placement(&Setup::default(), async |server| {
        for role in ROLES {
            let service = service_credentials(role);
            let client = server.service(&service).await;
            for other in ROLES.into_iter().filter(|other| *other != role) {
                // Whichever connection, and whether or not the service is connected.
                for _ in 0..2 {
                    let refused = server.try_service(&service.with_role(other)).await;
                    assert_eq!(refusal(refused), HandshakeError::BadService);
                }
            }
            let id = client.service_id().unwrap().to_vec();
            drop(client);
            let other = service.with_role(if role == Proxy { Messaging } else { Proxy });
            let refused = server.try_service(&other).await;
            assert_eq!(refusal(refused), HandshakeError::BadService);
            let again = server.service(&service).await;
            assert_eq!(again.service_id(), Some(&id[..]));
        }
    });
}

#[test]
fn a_role_allows_its_commands_and_no_others() {
    every_placement(&Setup::default(), async |server| {
        let mut owner = server.client().await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut owner, false).await;
        let (link, link_id) = (Link::small("link"), unknown_id());
        let contact = Recipient::with_contact_link(&mut owner, &link_id, &link).await;
        let invitation = Recipient::with_invitation(&mut owner, &link).await;
        let key = Key::ed25519();
        let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
        let mut new = new_queue(&key, &dh);
        new.subscribe = true;
        let credentials = support::NotifierKeys::new(Key::ed25519()).credentials();
        let body = b"";
        let (notify, data) = (false, link.data());
        let recipient_id = queue.id().to_vec();
        let own = queue.key.auth();
        let messaging = [
            (Command::New(new), &b""[..], key.auth()),
            (Command::Sub, &recipient_id, own),
            (Command::Ack { msg_id: &[1; 24] }, &recipient_id, own),
            (Command::Key(key.public()), contact.id(), contact.key.auth()),
            (
                Command::RKey(vec![contact.key.public()]),
                contact.id(),
                contact.key.auth(),
            ),
            (
                Command::LSet {
                    link_id: &link_id,
                    data,
                },
                contact.id(),
                contact.key.auth(),
            ),
            (Command::LGet, &link_id, Auth::None),
            (Command::LDel, contact.id(), contact.key.auth()),
            (Command::NKey(credentials), contact.id(), contact.key.auth()),
            (Command::NDel, contact.id(), contact.key.auth()),
            (Command::Que, &recipient_id, own),
            (
                Command::SKey(key.public()),
                invitation.sender_id(),
                key.auth(),
            ),
            (
                Command::LKey(key.public()),
                invitation.link_id(),
                key.auth(),
            ),
            (
                Command::Send { notify, body },
                queue.sender_id(),
                Auth::None,
            ),
            (Command::Get, contact.id(), contact.key.auth()),
            (Command::Off, contact.id(), contact.key.auth()),
        ];
        let is_allowed = |response: &Response<'_>| {
            matches!(
                response,
                Response::Ids(_)
                    | Response::Ok
                    | Response::Sok(Some(_))
                    | Response::Lnk(_)
                    | Response::Nid { .. }
                    | Response::Info(_)
                    | Response::Err(ErrorType::NoMsg)
            )
        };
        for role in [Notifications, Proxy, Messaging] {
            let mut client = server.service(&service_credentials(role)).await;
            client.ping().await.unwrap();
            for (command, entity, auth) in &messaging {
                let response = ask(&mut client, command, entity, *auth).await;
                if role == Messaging {
                    assert!(is_allowed(&response), "{command:?}: {response:?}");
                } else {
                    assert_eq!(response, PROHIBITED, "{role:?} {command:?}");
                }
            }
            let response = notifier.subscribe(&mut client).await;
            let nsubs = Command::NSubs(ServiceQueues::UNKNOWN);
            let all = client.service_command(&nsubs).await.unwrap();
            if role == Notifications {
                expect_subscribed(&client, response);
                assert!(matches!(all, Response::Soks(_)), "{all:?}");
            } else {
                assert_eq!([response, all], [PROHIBITED, PROHIBITED]);
            }
            // Subscriptions to all queues of a messaging service come with a later version.
            let subs = Command::Subs(ServiceQueues::UNKNOWN);
            let response = client.service_command(&subs).await.unwrap();
            assert_eq!(response, PROHIBITED);
            // Whatever the role, there has to be a queue.
            for command in [Command::Sub, Command::NSub, Command::LGet] {
                let auth = match command {
                    Command::LGet => Auth::None,
                    _ => own,
                };
                let response = ask(&mut client, &command, &unknown_id(), auth).await;
                assert_eq!(response, AUTH);
            }
        }
    });
}

/// The answer to a command with whatever proof of a service.
async fn with_proof(
    client: &mut Client,
    command: &Command<'_>,
    entity: &[u8],
    auth: Auth<'_>,
    proof: ServiceProof<'_>,
) -> Response<'static> {
    let corr_id = client.send_with(command, entity, auth, proof).unwrap();
    client.reply(&corr_id).await.unwrap().response
}

#[test]
fn both_signatures_are_needed_where_a_service_makes_or_finds_queues() {
    every_placement(&Setup::default(), async |server| {
        let mut owner = server.client().await;
        let (queue, notifier) = Recipient::create_with_notifier(&mut owner, false).await;
        let stranger = SigningKey::generate_ed25519(&mut rand::rng()).unwrap();
        let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
        for key in Key::of_every_kind() {
            let mut new = new_queue(&key, &dh);
            new.subscribe = true;
            for (role, command, entity, auth) in [
                (
                    Notifications,
                    Command::NSub,
                    &notifier.id[..],
                    notifier.key.auth(),
                ),
                (Messaging, Command::Sub, queue.id(), queue.key.auth()),
                (Messaging, Command::New(new), b"", key.auth()),
            ] {
                let mut client = server.service(&service_credentials(role)).await;
                let session = std::rc::Rc::clone(client.service().unwrap());
                let right = session.proof();
                let other = [9; 32];
                for (proof, expected) in [
                    // Without the service's signature.
                    (ServiceProof::NONE, SERVICE),
                    (
                        ServiceProof {
                            signer: None,
                            ..right
                        },
                        SERVICE,
                    ),
                    // With one of another key.
                    (
                        ServiceProof {
                            signer: Some(&stranger),
                            ..right
                        },
                        SERVICE,
                    ),
                    // The queue's key did not sign for this service.
                    (
                        ServiceProof {
                            fingerprint: None,
                            ..right
                        },
                        AUTH,
                    ),
                    (
                        ServiceProof {
                            fingerprint: Some(&other),
                            ..right
                        },
                        AUTH,
                    ),
                ] {
                    let response = with_proof(&mut client, &command, entity, auth, proof).await;
                    assert_eq!(response, expected, "{command:?}");
                }
                let response = with_proof(&mut client, &command, entity, auth, right).await;
                assert!(!matches!(response, Response::Err(_)), "{response:?}");
                // Two signatures are right and the queue's key is another.
                let wrong = Key::ed25519();
                let response = with_proof(&mut client, &command, entity, wrong.auth(), right).await;
                assert_eq!(response, AUTH);

                // Nobody else may add a signature.
                let alone = ServiceProof {
                    fingerprint: None,
                    ..right
                };
                let mut ordinary = server.client().await;
                for proof in [right, alone] {
                    let response = with_proof(&mut ordinary, &command, entity, auth, proof).await;
                    assert_eq!(response, SERVICE, "{command:?}");
                }
            }
        }
    });
}

#[test]
fn a_service_signature_on_any_other_command_is_refused() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.service(&service_credentials(Messaging)).await;
        let session = std::rc::Rc::clone(client.service().unwrap());
        let mut owner = server.client().await;
        let queue = Recipient::create(&mut owner, false).await;
        let key = Key::ed25519();
        expect_ok(queue.ask(&mut owner, &Command::Key(key.public())).await);
        let (notify, body) = (false, &b""[..]);
        let alone = ServiceProof {
            fingerprint: None,
            ..session.proof()
        };
        for (command, entity, auth) in [
            (Command::Que, queue.id(), queue.key.auth()),
            (Command::Get, queue.id(), queue.key.auth()),
            (Command::Del, queue.id(), queue.key.auth()),
            (
                Command::Send { notify, body },
                queue.sender_id(),
                key.auth(),
            ),
            (Command::SKey(key.public()), queue.sender_id(), key.auth()),
        ] {
            for proof in [session.proof(), alone] {
                let response = with_proof(&mut client, &command, entity, auth, proof).await;
                assert_eq!(response, SERVICE, "{command:?}");
            }
        }
        assert_eq!(queue.info(&mut owner).await["qiSize"], 0);
    });
}

#[test]
fn a_service_subscribes_itself_with_its_session_key_alone() {
    every_placement(&Setup::default(), async |server| {
        let nsubs = Command::NSubs(ServiceQueues::UNKNOWN);
        let subs = Command::Subs(ServiceQueues::UNKNOWN);
        for (role, command) in [(Notifications, &nsubs), (Messaging, &subs)] {
            let mut client = server.service(&service_credentials(role)).await;
            let mut other = server.service(&service_credentials(role)).await;
            let session = std::rc::Rc::clone(client.service().unwrap());
            let id = session.id.clone();
            let other_id = other.service_id().unwrap().to_vec();
            for entity in [&other_id[..], &unknown_id(), b"short"] {
                let response = ask(&mut client, command, entity, session.auth()).await;
                assert_eq!(response, SERVICE);
            }
            for key in Key::of_every_kind() {
                let response = ask(&mut client, command, &id, key.auth()).await;
                assert_eq!(response, SERVICE);
            }
            // A key of another session of the same kind.
            let foreign = std::rc::Rc::clone(other.service().unwrap());
            assert_eq!(
                ask(&mut client, command, &id, foreign.auth()).await,
                SERVICE
            );
            let twice = session.proof();
            let alone = ServiceProof {
                fingerprint: None,
                ..twice
            };
            for proof in [twice, alone] {
                let response = with_proof(&mut client, command, &id, session.auth(), proof).await;
                assert_eq!(response, SERVICE);
            }
            let mut ordinary = server.client().await;
            let response = ask(&mut ordinary, command, &id, session.auth()).await;
            assert_eq!(response, SERVICE);
            let response = client.service_command(command).await.unwrap();
            match role {
                Messaging => assert_eq!(response, PROHIBITED),
                _ => assert!(matches!(response, Response::Soks(_)), "{response:?}"),
            }
            other.ping().await.unwrap();
        }
    });
}

#[test]
fn queues_of_a_messaging_service_are_subscribed_one_by_one() {
    every_placement(&Setup::default(), async |server| {
        let credentials = service_credentials(Messaging);
        let mut service = server.service(&credentials).await;
        let id = service.service_id().unwrap().to_vec();
        let mut sender = server.client().await;
        let queue = Recipient::create(&mut service, true).await;
        assert_eq!(queue.ids.service_id.as_deref(), Some(&id[..]));
        // Its subscription is the service's, of which there is none yet.
        expect_ok(send(&mut sender, queue.sender_id(), Auth::None, b"1").await);
        assert_eq!(queue.info(&mut service).await.get("qiSub"), None);
        assert_eq!(service.buffered_push(), None);
        let subscribed = queue.ask(&mut service, &Command::Sub).await;
        expect_subscribed(&service, subscribed);
        let (msg_id, body) = queue.pushed(&mut service).await;
        assert_eq!(body, b"1");
        expect_ok(queue.ack(&mut service, &msg_id).await);
        queue.expect_delivery(&mut sender, &mut service).await;

        // Others with the key may subscribe as well, whether they are the service or not.
        let mut again = server.service(&credentials).await;
        let subscribed = queue.ask(&mut again, &Command::Sub).await;
        expect_subscribed(&again, subscribed);
        expect_event(&mut service, queue.id(), Response::End).await;
        let mut ordinary = server.client().await;
        let subscribed = queue.ask(&mut ordinary, &Command::Sub).await;
        assert_eq!(subscribed, Response::Sok(None));
        expect_event(&mut again, queue.id(), Response::End).await;
        queue.expect_delivery(&mut sender, &mut ordinary).await;
    });
}

#[test]
fn a_messaging_service_creates_no_queues_that_it_does_not_subscribe() {
    every_placement(&Setup::default(), async |server| {
        let mut service = server.service(&service_credentials(Messaging)).await;
        let key = Key::ed25519();
        let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
        let new = Command::New(new_queue(&key, &dh));
        assert_eq!(ask(&mut service, &new, &[], key.auth()).await, PROHIBITED);
        // Queues of others say nothing of services.
        let mut ordinary = server.client().await;
        let queue = Recipient::create(&mut ordinary, true).await;
        assert_eq!(queue.ids.service_id, None);
    });
}
