//! Who services are, what they may do, and how they sign (spec: server §2.4, §7, protocol §7.4).

use super::clients::{Client, Key, Queue, ServiceProof, ed25519, keys, new_queue, words};
use super::steps::{FLAGGED, NSUBS, credentials};
use super::world::{Listening, World, two_clients};
use crate::protocol::command::{LinkData, ServiceQueues};
use crate::protocol::handshake::ServiceRole::{self, Messaging, Notifier, Proxy};
use crate::protocol::{Command, Response, Version};
use crate::relay::{Effect, Shard};
use crate::store::{Id, Lsn, Store, Totals};

const AUTH: &str = "ERR AUTH";
const SERVICE: &str = "ERR SERVICE";
const PROHIBITED: &str = "ERR CMD PROHIBITED";
const SUBS: Command<'static> = Command::Subs(ServiceQueues::UNKNOWN);

#[test]
fn a_certificate_is_one_service_with_one_role() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let mut ids = Vec::new();
        for (certificate, role) in [(1, Messaging), (2, Notifier), (3, Proxy), (4, Notifier)] {
            let id = world.register(role, certificate).unwrap();
            assert_eq!(world.register(role, certificate), Some(id));
            for other in [Messaging, Notifier, Proxy] {
                let known = world.register(other, certificate);
                assert_eq!(known, (other == role).then_some(id));
            }
            // It lives where its certificate does.
            let home = world.partitioner.shard_of(&[certificate; 24]);
            assert_eq!(world.partitioner.shard_of(&id), home);
            assert!(!ids.contains(&id));
            ids.push(id);
        }
        let totals: Vec<_> = world.shards.iter().map(Shard::totals).collect();
        let sum = |count: fn(&Totals) -> u64| totals.iter().map(count).sum::<u64>();
        assert_eq!(sum(Totals::services), 4);
        assert_eq!(sum(|t| t.notifier_services), 2);
    }
}

#[test]
fn a_service_learns_its_id_when_it_is_durable() {
    let mut world = World::new(1);
    world.shards[0].store.synced = Some(Lsn(0));
    for _ in 0..2 {
        assert_eq!(world.register(Notifier, 1), None);
        assert!(world.registered.is_empty());
    }
    let mut effects = Vec::new();
    let shard = &mut world.shards[0];
    shard.store.synced = Some(shard.store.last());
    shard.release_durable(&mut effects);
    let ids: Vec<_> = effects
        .into_iter()
        .map(|effect| match effect {
            Effect::ServiceRegistered { service_id, .. } => service_id.unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_full_disk_registers_nobody_new() {
    let mut world = World::new(1);
    let known = world.register(Notifier, 1);
    world.shards[0].store.full = true;
    assert_eq!(world.register(Notifier, 2), None);
    assert_eq!(world.register(Notifier, 1), known);
    world.shards[0].store.full = false;
    assert!(world.register(Notifier, 2).is_some());
}

/// Every command with the role that may send it.
fn commands() -> Vec<(Command<'static>, ServiceRole)> {
    let key = ed25519(1).public();
    let data = LinkData {
        fixed: b"f",
        user: b"u",
    };
    let link_id = &[7; 24];
    vec![
        (Command::Sub, Messaging),
        (Command::Get, Messaging),
        (Command::Ack { msg_id: &[] }, Messaging),
        (Command::Key(key), Messaging),
        (Command::RKey(vec![key]), Messaging),
        (Command::LSet { link_id, data }, Messaging),
        (Command::LDel, Messaging),
        (Command::NKey(credentials(&ed25519(1))), Messaging),
        (Command::NDel, Messaging),
        (Command::Off, Messaging),
        (Command::Que, Messaging),
        (Command::SKey(key), Messaging),
        (FLAGGED, Messaging),
        (Command::LKey(key), Messaging),
        (Command::LGet, Messaging),
        (Command::NSub, Notifier),
        (SUBS, Messaging),
        (NSUBS, Notifier),
        (Command::Del, Messaging),
    ]
}

/// The key and the entity id of a command of a client about a queue with a link and a notifier.
fn key_and_id<'a>(
    command: &Command<'_>,
    client: &'a Client,
    queue: &'a Queue,
    notifier: &'a super::steps::Notifier,
    sender: &'a Key,
) -> (Option<&'a Key>, Id) {
    match command {
        Command::SKey(_) => (Some(sender), queue.sender),
        Command::Send { .. } | Command::LGet => match command {
            Command::LGet => (None, [7; 24]),
            _ => (None, queue.sender),
        },
        Command::LKey(_) => (Some(sender), [7; 24]),
        Command::NSub => (Some(&notifier.key), notifier.id),
        Command::Subs(_) | Command::NSubs(_) => (client.service_key.as_ref(), client.service_id()),
        _ => (Some(&queue.key), queue.recipient),
    }
}

#[test]
fn services_may_do_what_their_role_allows() {
    for role in [Messaging, Notifier, Proxy] {
        for (command, allowed) in commands() {
            let mut world = World::new(1);
            let me = Client::new(1, Version::CURRENT);
            let queue = world.contact(&me);
            let notifier = world.notifier(&me, &queue, 1);
            let data = LinkData {
                fixed: b"f",
                user: b"u",
            };
            let link_id = &[7; 24];
            world.own(&me, &queue, &Command::LSet { link_id, data });
            let service = world.service(2, role, 1);
            let sender = ed25519(1);
            let (key, id) = key_and_id(&command, &service, &queue, &notifier, &sender);
            let answer = words(&world.ask(&service, key, &id, &command));
            // Of the allowed ones, SUBS is not carried out by this version.
            let refused = role != allowed || command == SUBS;
            assert_eq!(
                answer == PROHIBITED,
                refused,
                "{role:?} {command:?} {answer}"
            );
            if role != allowed {
                // The queue comes first: an unknown one is AUTH whatever the role.
                let unknown = words(&world.ask(&service, key, &[9; 24], &command));
                let about_queues = !matches!(command, Command::Subs(_) | Command::NSubs(_));
                assert_eq!(unknown, if about_queues { AUTH } else { PROHIBITED });
            }
        }
        let mut world = World::new(1);
        let service = world.service(2, role, 1);
        let key = ed25519(1);
        let mut new = new_queue(&key, None);
        new.subscribe = true;
        let answer = words(&world.ask(&service, Some(&key), &[], &Command::New(new)));
        assert_eq!(answer, if role == Messaging { "IDS" } else { PROHIBITED });
        assert_eq!(
            words(&world.ask(&service, None, &[], &Command::Ping)),
            "PONG"
        );
    }
}

/// Asks with a service signature of one's choice.
#[track_caller]
fn prove(
    world: &mut World,
    client: &Client,
    (key, id): (&Key, &[u8]),
    command: &Command<'_>,
    proof: ServiceProof<'_>,
) -> String {
    let bytes = client.transmission_proving(&client.corr_id(), Some(key), id, command, proof);
    words(&world.ask_shard(0, client, bytes))
}

#[test]
fn new_sub_and_nsub_of_a_service_need_both_signatures() {
    let me = Client::new(1, Version::CURRENT);
    // Recipients and notifiers may have keys of any kind.
    for kind in 0..3 {
        let key = || keys(1).into_iter().nth(kind).unwrap();
        for (role, certificate) in [(Messaging, 1), (Notifier, 2)] {
            let mut world = World::new(1);
            let service = world.service(2, role, certificate);
            let (id, command): (Vec<u8>, _) = if role == Notifier {
                let queue = world.messaging(&me);
                let nkey = Command::NKey(credentials(&key()));
                let nid = world.ask(&me, Some(&queue.key), &queue.recipient, &nkey);
                let notifier = super::steps::Notifier::from_nid(key(), &nid);
                (notifier.id.to_vec(), Command::NSub)
            } else {
                let mut new = new_queue(&key(), None);
                new.subscribe = true;
                (Vec::new(), Command::New(new))
            };
            let fingerprint = Some(&[certificate; 32]);
            let own = service.service_key.as_ref();
            let (key, stranger) = (key(), ed25519(0x77));
            let by = |fingerprint, key| ServiceProof { fingerprint, key };
            let mut ask =
                |key: &Key, proof| prove(&mut world, &service, (key, &id), &command, proof);
            // No service signature; of another key; over the wrong fingerprint; wrong entity key.
            assert_eq!(ask(&key, by(None, None)), SERVICE);
            assert_eq!(ask(&key, by(fingerprint, None)), SERVICE);
            assert_eq!(ask(&key, by(fingerprint, Some(&stranger))), SERVICE);
            assert_eq!(ask(&key, by(None, own)), AUTH);
            assert_eq!(ask(&key, by(Some(&[9; 32]), own)), AUTH);
            assert_eq!(ask(&stranger, by(fingerprint, own)), AUTH);
            // The service signature comes first.
            assert_eq!(ask(&stranger, by(fingerprint, None)), SERVICE);
            let expected = if role == Notifier {
                "SOK service"
            } else {
                "IDS"
            };
            assert_eq!(ask(&key, by(fingerprint, own)), expected);
        }
    }
}

#[test]
fn sub_in_a_service_session_needs_both_signatures_and_subscribes_one_queue() {
    let (me, sender) = two_clients();
    let mut world = World::new(1);
    let service = world.service(3, Messaging, 1);
    let queue = world.messaging(&me);
    let (id, own) = (&queue.recipient, service.service_key.as_ref());
    let fingerprint = Some(&[1; 32]);
    let by = |fingerprint, key| ServiceProof { fingerprint, key };
    let mut ask = |proof| prove(&mut world, &service, (&queue.key, id), &Command::Sub, proof);
    assert_eq!(ask(by(None, None)), SERVICE);
    assert_eq!(ask(by(None, own)), AUTH);
    assert_eq!(ask(by(fingerprint, own)), "SOK service");
    // Only this session is the subscriber, and no association is made.
    assert_eq!(world.listening(&queue, service.session), Listening::I);
    assert_eq!(world.record(&queue).service_id, None);
    assert_eq!(world.send(&sender, &queue, "1"), "OK");
    let expected = [(service.session, "MSG 1".to_owned())];
    assert_eq!(world.take_pushes(&queue), expected);
    assert_eq!(world.own(&me, &queue, &Command::Sub), "SOK");
    let (session, _, event) = world.pushes.remove(0);
    assert_eq!((session, event), (service.session, Response::End));
}

#[test]
fn superfluous_service_signatures_are_refused() {
    let mut world = World::new(1);
    let me = Client::new(1, Version::CURRENT);
    let queue = world.contact(&me);
    let notifier = world.notifier(&me, &queue, 1);
    let data = LinkData {
        fixed: b"f",
        user: b"u",
    };
    let link_id = &[7; 24];
    world.own(&me, &queue, &Command::LSet { link_id, data });
    let services = [(Messaging, 1), (Notifier, 2)].map(|(role, i)| world.service(2, role, i));
    let sender = ed25519(1);
    for (command, role) in commands() {
        let service = services
            .iter()
            .find(|s| s.context.service().unwrap().role == role);
        let service = service.unwrap();
        let (key, id) = key_and_id(&command, service, &queue, &notifier, &sender);
        // Without an authorization there is no place for a service signature.
        let Some(key) = key else { continue };
        let fingerprint = &service.context.service().unwrap().fingerprint;
        for fingerprint in [None, Some(fingerprint)] {
            let proof = ServiceProof {
                fingerprint,
                key: service.service_key.as_ref(),
            };
            let both = matches!(command, Command::Sub | Command::NSub);
            if !both {
                let answer = prove(&mut world, service, (key, &id), &command, proof);
                assert_eq!(answer, SERVICE, "{command:?}");
            }
            // From who is no service, on any command.
            let answer = prove(&mut world, &me, (key, &id), &command, proof);
            assert_eq!(answer, SERVICE, "{command:?}");
        }
    }
    // Nothing of it was carried out.
    assert_eq!(world.own(&me, &queue, &Command::Que), "INFO");
    assert_eq!(world.record(&queue).sender_key, None);
}

#[test]
fn the_role_comes_before_the_service_signature() {
    let mut world = World::new(1);
    let me = Client::new(1, Version::CURRENT);
    let queue = world.messaging(&me);
    let notifier = world.notifier(&me, &queue, 1);
    let [messaging, ntf] =
        [(Messaging, 1), (Notifier, 2)].map(|(role, i)| world.service(2, role, i));
    let wrong = ed25519(9);
    for proof in [
        ServiceProof::default(),
        ServiceProof {
            fingerprint: None,
            key: Some(&wrong),
        },
    ] {
        let sub = (&wrong, &queue.recipient[..]);
        assert_eq!(
            prove(&mut world, &ntf, sub, &Command::Sub, proof),
            PROHIBITED
        );
        let nsub = (&notifier.key, &notifier.id[..]);
        assert_eq!(
            prove(&mut world, &messaging, nsub, &Command::NSub, proof),
            PROHIBITED
        );
        // An unknown queue comes before both.
        let unknown = (&wrong, &[9; 24][..]);
        assert_eq!(prove(&mut world, &ntf, unknown, &Command::Sub, proof), AUTH);
    }
}

#[test]
fn a_block_of_a_services_subscriptions_is_checked_like_single_ones() {
    let me = Client::new(1, Version::CURRENT);
    let mut world = World::new(1);
    let service = world.service(2, Messaging, 1);
    let queues: Vec<_> = (0..8).map(|_| world.messaging(&me)).collect();
    let wrong = ed25519(9);
    let plain = ServiceProof::default();
    let block: Vec<_> = queues
        .iter()
        .enumerate()
        .map(|(i, queue)| {
            let key = if i == 3 { &wrong } else { &queue.key };
            let (corr_id, id) = (service.corr_id(), &queue.recipient);
            if i == 5 {
                service.transmission_proving(&corr_id, Some(key), id, &Command::Sub, plain)
            } else {
                service.transmission(Some(key), id, &Command::Sub)
            }
        })
        .collect();
    world.execute(0, &service, &block);
    for (i, reply) in std::mem::take(&mut world.replies).into_iter().enumerate() {
        world.replies.push(reply);
        let expected = match i {
            3 => AUTH,
            5 => SERVICE,
            _ => "SOK service",
        };
        assert_eq!(words(&world.take_reply()), expected, "{i}");
    }
}

#[test]
fn a_messaging_services_queues_belong_to_it_and_it_must_want_to_subscribe() {
    let mut world = World::new(2);
    let service = world.service(2, Messaging, 1);
    let key = ed25519(0x11);
    let mut new = new_queue(&key, None);
    let create_only = world.ask(&service, Some(&key), &[], &Command::New(new.clone()));
    assert_eq!(words(&create_only), PROHIBITED);
    new.subscribe = true;
    let answer = world.ask(&service, Some(&key), &[], &Command::New(new));
    let Response::Ids(ids) = &answer else {
        panic!("{answer:?} instead of IDS");
    };
    assert_eq!(ids.service_id.as_deref(), Some(&service.service_id()[..]));
    let queue = Queue::from_ids(key, &answer);
    assert_eq!(world.record(&queue).service_id, Some(service.service_id()));
    // The subscription would be the service's, which this version does not serve.
    assert_eq!(world.listening(&queue, service.session), Listening::N);
    let totals = world.shards[0].totals();
    assert_eq!(totals.messaging_service_queues, 1);
}

#[test]
fn subs_is_verified_then_refused() {
    let mut world = World::new(1);
    let service = world.service(2, Messaging, 1);
    let ntf = world.service(3, Notifier, 2);
    let plain = Client::new(4, Version::CURRENT);
    let ask = |world: &mut World, client: &Client, key: &Key, id: &Id| {
        words(&world.ask(client, Some(key), id, &SUBS))
    };
    let own = service.service_key.as_ref().unwrap();
    let id = service.service_id();
    assert_eq!(ask(&mut world, &service, own, &id), PROHIBITED);
    assert_eq!(ask(&mut world, &service, own, &[9; 24]), SERVICE);
    for wrong in keys(5) {
        assert_eq!(ask(&mut world, &service, &wrong, &id), SERVICE);
        assert_eq!(ask(&mut world, &plain, &wrong, &id), SERVICE);
    }
    // The role comes before the signature.
    assert_eq!(ask(&mut world, &ntf, own, &id), PROHIBITED);
}
