//! Short links: who may set, read and delete them, and what ends them
//! (spec: server §3.1, §3.8 to §3.12).

mod support;

use loadtest::{Auth, Client};
use smp_server::protocol::command::QueueRequest;
use smp_server::protocol::error::CommandError;
use smp_server::protocol::response::QueueMode;
use smp_server::protocol::{Command, ErrorType, Response, Version};
use support::{
    Key, Link, Recipient, Server, Setup, ask, every_placement, expect_link, expect_ok, get_link,
    secure_link, send, sender_id_for, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);
const PROHIBITED: Response<'static> = Response::Err(ErrorType::Cmd(CommandError::Prohibited));

/// As often as it takes that some ids that clients choose live with their queue and some do not.
const ROUNDS: usize = 6;

/// Two connections, most likely on different shards.
async fn two(server: &Server) -> (Client, Client) {
    (server.client().await, server.client().await)
}

#[test]
fn an_invitation_is_read_by_whoever_secures_its_queue() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = two(server).await;
        for key in Key::of_every_kind() {
            let link = Link::new("invitation");
            let queue = Recipient::with_invitation(&mut recipient, &link).await;
            assert_eq!(queue.ids.mode, Some(QueueMode::Messaging));
            assert_eq!(queue.link_id().len(), 24);
            // It is not for everybody, and the key that is brought has to sign.
            assert_eq!(get_link(&mut sender, queue.link_id()).await, AUTH);
            let other = Key::ed25519();
            let bring = Command::LKey(key.public());
            let foreign = ask(&mut sender, &bring, queue.link_id(), other.auth()).await;
            assert_eq!(foreign, AUTH);
            assert_eq!(queue.info(&mut recipient).await["qiSnd"], false);
            for _ in 0..2 {
                let answer = secure_link(&mut sender, queue.link_id(), &key).await;
                expect_link(answer, &queue, &link);
            }
            assert_eq!(queue.info(&mut recipient).await["qiSnd"], true);
            let refused = secure_link(&mut sender, queue.link_id(), &other).await;
            assert_eq!(refused, AUTH);
            // The queue is secured as with KEY and SKEY.
            let unsigned = send(&mut sender, queue.sender_id(), Auth::None, b"").await;
            assert_eq!(unsigned, AUTH);
            let secure = Command::SKey(key.public());
            expect_ok(ask(&mut sender, &secure, queue.sender_id(), key.auth()).await);
            expect_ok(queue.ask(&mut recipient, &Command::Key(key.public())).await);
            expect_ok(send(&mut sender, queue.sender_id(), key.auth(), b"hi").await);
        }
    });
}

#[test]
fn an_invitation_ends_with_the_first_message_of_its_sender() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = two(server).await;
        let link = Link::new("once");
        let queue = Recipient::with_invitation(&mut recipient, &link).await;
        let key = Key::ed25519();
        // A message before somebody secured the queue ends nothing.
        expect_ok(send(&mut sender, queue.sender_id(), Auth::None, b"1").await);
        let answer = secure_link(&mut sender, queue.link_id(), &key).await;
        expect_link(answer, &queue, &link);
        // Neither does one that is refused for what it is.
        assert_eq!(
            send(&mut sender, queue.sender_id(), Auth::None, b"").await,
            AUTH
        );
        let large = send(&mut sender, queue.sender_id(), key.auth(), &[0; 16049]).await;
        assert_eq!(large, Response::Err(ErrorType::LargeMsg));
        let answer = secure_link(&mut sender, queue.link_id(), &key).await;
        expect_link(answer, &queue, &link);

        expect_ok(send(&mut sender, queue.sender_id(), key.auth(), b"2").await);
        assert_eq!(secure_link(&mut sender, queue.link_id(), &key).await, AUTH);
        let again = queue.set_link(&mut recipient, queue.link_id(), &link).await;
        assert_eq!(again, AUTH);
        // The rest of the queue is as it was.
        expect_ok(send(&mut sender, queue.sender_id(), key.auth(), b"3").await);
        assert_eq!(queue.info(&mut recipient).await["qiSize"], 3);
    });
}

#[test]
fn messages_leave_the_links_of_contact_queues_alone() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = two(server).await;
        let (link, link_id) = (Link::new("contact"), unknown_id());
        let queue = Recipient::with_contact_link(&mut recipient, &link_id, &link).await;
        expect_ok(send(&mut sender, queue.sender_id(), Auth::None, b"1").await);
        expect_link(get_link(&mut sender, &link_id).await, &queue, &link);
        // Nor does securing it make it a messaging queue.
        let key = Key::ed25519();
        expect_ok(queue.ask(&mut recipient, &Command::Key(key.public())).await);
        expect_ok(send(&mut sender, queue.sender_id(), key.auth(), b"2").await);
        expect_link(get_link(&mut sender, &link_id).await, &queue, &link);
        let changed = link.with_user("changed");
        expect_ok(queue.set_link(&mut recipient, &link_id, &changed).await);
        expect_link(get_link(&mut sender, &link_id).await, &queue, &changed);
    });
}

#[test]
fn contact_links_are_read_by_everybody_until_they_are_deleted() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut reader) = two(server).await;
        for _ in 0..ROUNDS {
            let (link, link_id) = (Link::new("contact"), unknown_id());
            assert_eq!(get_link(&mut reader, &link_id).await, AUTH);
            let queue = Recipient::with_contact_link(&mut recipient, &link_id, &link).await;
            assert_eq!(queue.ids.mode, Some(QueueMode::Contact));
            for client in [&mut reader, &mut recipient] {
                expect_link(get_link(client, &link_id).await, &queue, &link);
            }
            // Reading does not secure.
            let key = Key::ed25519();
            assert_eq!(secure_link(&mut reader, &link_id, &key).await, AUTH);
            assert_eq!(queue.info(&mut recipient).await["qiSnd"], false);
            for _ in 0..2 {
                expect_ok(queue.delete_link(&mut recipient).await);
                assert_eq!(get_link(&mut reader, &link_id).await, AUTH);
            }
            // What was deleted can be set again, to something else and elsewhere.
            let (other, elsewhere) = (Link::small("other"), unknown_id());
            expect_ok(queue.set_link(&mut recipient, &elsewhere, &other).await);
            expect_link(get_link(&mut reader, &elsewhere).await, &queue, &other);
            expect_ok(queue.delete_link(&mut recipient).await);
            expect_ok(queue.set_link(&mut recipient, &link_id, &other).await);
            expect_link(get_link(&mut reader, &link_id).await, &queue, &other);
            // Suspending the queue does not matter, deleting it does.
            expect_ok(queue.ask(&mut recipient, &Command::Off).await);
            expect_link(get_link(&mut reader, &link_id).await, &queue, &other);
            expect_ok(queue.ask(&mut recipient, &Command::Del).await);
            assert_eq!(get_link(&mut reader, &link_id).await, AUTH);
        }
    });
}

#[test]
fn a_suspended_queue_can_still_be_secured_by_its_link() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = two(server).await;
        let link = Link::new("off");
        let queue = Recipient::with_invitation(&mut recipient, &link).await;
        expect_ok(queue.ask(&mut recipient, &Command::Off).await);
        let answer = secure_link(&mut sender, queue.link_id(), &Key::x25519()).await;
        expect_link(answer, &queue, &link);
    });
}

#[test]
fn user_data_of_a_link_is_replaced_and_nothing_else() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut reader) = two(server).await;
        for _ in 0..ROUNDS {
            let queue = Recipient::contact(&mut recipient).await;
            let (link, link_id) = (Link::new("first"), unknown_id());
            for _ in 0..2 {
                expect_ok(queue.set_link(&mut recipient, &link_id, &link).await);
                expect_link(get_link(&mut reader, &link_id).await, &queue, &link);
            }
            let changed = link.with_user("second");
            expect_ok(queue.set_link(&mut recipient, &link_id, &changed).await);
            expect_link(get_link(&mut reader, &link_id).await, &queue, &changed);

            let mut other_fixed = changed.with_user("third");
            other_fixed.fixed = Link::new("other").fixed;
            let refused = queue.set_link(&mut recipient, &link_id, &other_fixed).await;
            assert_eq!(refused, AUTH);
            let elsewhere = unknown_id();
            let refused = queue.set_link(&mut recipient, &elsewhere, &changed).await;
            assert_eq!(refused, AUTH);
            expect_link(get_link(&mut reader, &link_id).await, &queue, &changed);
            assert_eq!(get_link(&mut reader, &elsewhere).await, AUTH);
            // The refused id is free for others.
            let free = Recipient::contact(&mut recipient).await;
            expect_ok(free.set_link(&mut recipient, &elsewhere, &link).await);
            expect_link(get_link(&mut reader, &elsewhere).await, &free, &link);
        }
    });
}

#[test]
fn messaging_queues_get_links_until_they_are_secured() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut sender) = two(server).await;
        for _ in 0..ROUNDS {
            let queue = Recipient::create(&mut recipient, false).await;
            let (link, link_id) = (Link::new("set"), unknown_id());
            expect_ok(queue.set_link(&mut recipient, &link_id, &link).await);
            let changed = link.with_user("changed");
            expect_ok(queue.set_link(&mut recipient, &link_id, &changed).await);
            let key = Key::ed25519();
            let answer = secure_link(&mut sender, &link_id, &key).await;
            expect_link(answer, &queue, &changed);
            for id in [link_id, unknown_id()] {
                assert_eq!(queue.set_link(&mut recipient, &id, &changed).await, AUTH);
            }
            // Deleting it is allowed, and final.
            expect_ok(queue.delete_link(&mut recipient).await);
            assert_eq!(secure_link(&mut sender, &link_id, &key).await, AUTH);
            assert_eq!(queue.set_link(&mut recipient, &link_id, &link).await, AUTH);
        }
    });
}

/// Queues of clients that know no modes count as contact queues until they are secured.
#[test]
fn links_of_queues_without_a_mode_end_when_these_are_secured() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut reader) = two(server).await;
        let queue =
            Recipient::create_with(&mut recipient, Key::ed25519(), |new| new.queue = None).await;
        let (link, link_id) = (Link::new("plain"), unknown_id());
        expect_ok(queue.set_link(&mut recipient, &link_id, &link).await);
        expect_link(get_link(&mut reader, &link_id).await, &queue, &link);
        let key = Key::ed25519();
        assert_eq!(secure_link(&mut reader, &link_id, &key).await, AUTH);
        expect_ok(queue.ask(&mut recipient, &Command::Key(key.public())).await);
        assert_eq!(get_link(&mut reader, &link_id).await, AUTH);
        let refused = queue.set_link(&mut recipient, &link_id, &link).await;
        assert_eq!(refused, AUTH);
        expect_ok(send(&mut reader, queue.sender_id(), key.auth(), b"").await);
        // The message has freed the id.
        let other = Recipient::contact(&mut recipient).await;
        expect_ok(other.set_link(&mut recipient, &link_id, &link).await);
    });
}

/// The answers to an attempt to use a link id for another queue, once by `LSET`, once by `NEW`.
async fn taking(client: &mut Client, link_id: &[u8]) -> [Response<'static>; 2] {
    let link = Link::new("thief");
    let thief = Recipient::contact(client).await;
    let set = thief.set_link(client, link_id, &link).await;
    let corr_id: [u8; 24] = rand::random();
    let sender_id = sender_id_for(&corr_id);
    let queue = link.contact(link_id, &sender_id);
    [set, creating(client, &corr_id, queue).await]
}

/// The answer to `NEW` for such a queue.
async fn creating(
    client: &mut Client,
    corr_id: &[u8],
    queue: QueueRequest<'_>,
) -> Response<'static> {
    let key = Key::ed25519();
    let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
    let mut new = support::new_queue(&key, &dh);
    new.queue = Some(queue);
    support::ask_as(client, corr_id, &Command::New(new), &[], key.auth()).await
}

/// The reference lets `LSET` take over the link of another queue.
#[test]
fn a_link_id_in_use_is_not_given_to_another_queue() {
    every_placement(&Setup::default(), async |server| {
        let (mut owner, mut thief) = two(server).await;
        for _ in 0..ROUNDS {
            let (link, link_id) = (Link::new("owner"), unknown_id());
            let created = Recipient::with_contact_link(&mut owner, &link_id, &link).await;
            assert_eq!(taking(&mut thief, &link_id).await, [AUTH, AUTH]);
            expect_link(get_link(&mut thief, &link_id).await, &created, &link);

            let set_id = unknown_id();
            let set = Recipient::contact(&mut owner).await;
            expect_ok(set.set_link(&mut owner, &set_id, &link).await);
            assert_eq!(taking(&mut thief, &set_id).await, [AUTH, AUTH]);
            expect_link(get_link(&mut thief, &set_id).await, &set, &link);

            let invitation = Recipient::with_invitation(&mut owner, &link).await;
            let chosen_by_server = invitation.link_id();
            assert_eq!(taking(&mut thief, chosen_by_server).await, [AUTH, AUTH]);
            let answer = secure_link(&mut thief, chosen_by_server, &Key::ed25519()).await;
            expect_link(answer, &invitation, &link);

            // Whoever gives it up makes it free, by whichever command.
            expect_ok(created.delete_link(&mut owner).await);
            expect_ok(set.ask(&mut owner, &Command::Del).await);
            let heir = Recipient::contact(&mut thief).await;
            let inherited = Link::new("heir");
            expect_ok(heir.set_link(&mut thief, &link_id, &inherited).await);
            expect_link(get_link(&mut owner, &link_id).await, &heir, &inherited);
            let heir = Recipient::with_contact_link(&mut thief, &set_id, &inherited).await;
            expect_link(get_link(&mut owner, &set_id).await, &heir, &inherited);
            let lost = created.set_link(&mut owner, &link_id, &link).await;
            assert_eq!(lost, AUTH);
        }
    });
}

#[test]
fn a_link_id_that_many_queues_ask_for_at_once_is_given_to_one() {
    every_placement(&Setup::default(), async |server| {
        for _ in 0..ROUNDS {
            let (link, link_id) = (Link::small("one"), unknown_id());
            let mut clients = Vec::new();
            for _ in 0..6 {
                let mut client = server.client().await;
                let queue = Recipient::contact(&mut client).await;
                clients.push((client, queue));
            }
            let command = Command::LSet {
                link_id: &link_id,
                data: link.data(),
            };
            let mut asked = Vec::new();
            for (client, queue) in &mut clients {
                let corr_id = client.send(&command, queue.id(), queue.key.auth());
                asked.push(corr_id.unwrap());
            }
            for (client, _) in &mut clients {
                client.flush().await.unwrap();
            }
            let mut owner = None;
            for (n, (client, _)) in clients.iter_mut().enumerate() {
                match client.reply(&asked[n]).await.unwrap().response {
                    Response::Ok => assert_eq!(owner.replace(n), None),
                    other => assert_eq!(other, AUTH),
                }
            }
            let owner = owner.expect("one got it");
            let (client, queue) = &mut clients[owner];
            expect_link(get_link(client, &link_id).await, queue, &link);
        }
    });
}

#[test]
fn sender_ids_that_clients_choose_are_in_use_until_their_queue_is_deleted() {
    every_placement(&Setup::default(), async |server| {
        let (mut first, mut second) = two(server).await;
        for _ in 0..ROUNDS {
            let link = Link::small("link");
            let corr_id: [u8; 24] = rand::random();
            let sender_id = sender_id_for(&corr_id);
            let messaging = || link.messaging(&sender_id);
            let Response::Ids(ids) = creating(&mut first, &corr_id, messaging()).await else {
                panic!("not created");
            };
            assert_eq!(*ids.sender_id, *sender_id);
            expect_ok(send(&mut second, &sender_id, Auth::None, b"").await);
            // Whoever asks and whatever the mode.
            for client in [&mut first, &mut second] {
                let link_id = unknown_id();
                let contact = link.contact(&link_id, &sender_id);
                assert_eq!(creating(client, &corr_id, contact).await, AUTH);
                assert_eq!(creating(client, &corr_id, messaging()).await, AUTH);
                // The link id that came with it was not used up.
                let free = Recipient::with_contact_link(client, &link_id, &link).await;
                expect_ok(free.ask(client, &Command::Del).await);
            }
        }
    });
}

#[test]
fn a_deleted_queue_gives_its_chosen_ids_back() {
    every_placement(&Setup::default(), async |server| {
        let (mut first, mut second) = two(server).await;
        for _ in 0..ROUNDS {
            let (link, link_id) = (Link::small("link"), unknown_id());
            let corr_id: [u8; 24] = rand::random();
            let sender_id = sender_id_for(&corr_id);
            for client in [&mut first, &mut second] {
                let queue = Recipient::create_as(client, &corr_id, Key::ed25519(), |new| {
                    new.queue = Some(link.contact(&link_id, &sender_id));
                });
                let queue = queue.await;
                expect_link(get_link(client, &link_id).await, &queue, &link);
                expect_ok(send(client, &sender_id, Auth::None, b"").await);
                expect_ok(queue.ask(client, &Command::Del).await);
                assert_eq!(send(client, &sender_id, Auth::None, b"").await, AUTH);
            }
        }
    });
}

#[test]
fn link_ids_of_other_lengths_are_refused() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let queue = Recipient::contact(&mut client).await;
        let link = Link::small("link");
        for link_id in [&[][..], &[1], &[1; 23], &[1; 25], &[1; 255]] {
            let set = queue.set_link(&mut client, link_id, &link).await;
            assert_eq!(set, PROHIBITED);
            let corr_id: [u8; 24] = rand::random();
            let sender_id = sender_id_for(&corr_id);
            let contact = link.contact(link_id, &sender_id);
            assert_eq!(creating(&mut client, &corr_id, contact).await, PROHIBITED);
            if !link_id.is_empty() {
                assert_eq!(get_link(&mut client, link_id).await, AUTH);
            }
        }
    });
}

#[test]
fn link_data_may_be_of_any_size_that_fits_a_block() {
    every_placement(&Setup::default(), async |server| {
        let (mut recipient, mut reader) = two(server).await;
        let queue = Recipient::contact(&mut recipient).await;
        let sizes = [(0, 0), (0, 1), (1, 0), (2048, 13824), (15000, 900)];
        for (fixed, user) in sizes {
            let (link_id, link) = (
                unknown_id(),
                Link {
                    fixed: vec![b'f'; fixed],
                    user: vec![b'u'; user],
                },
            );
            expect_ok(queue.set_link(&mut recipient, &link_id, &link).await);
            expect_link(get_link(&mut reader, &link_id).await, &queue, &link);
            expect_ok(queue.delete_link(&mut recipient).await);
        }
    });
}

#[test]
fn links_belong_to_the_versions_that_know_them() {
    every_placement(&Setup::default(), async |server| {
        for version in 15..=18 {
            let mut recipient = server.client_of(Version(version)).await;
            let mut sender = server.client().await;
            let link = Link::new("version");
            let queue = Recipient::with_invitation(&mut recipient, &link).await;
            let answer = secure_link(&mut sender, queue.link_id(), &Key::x25519()).await;
            expect_link(answer, &queue, &link);
            let link_id = unknown_id();
            let queue = Recipient::with_contact_link(&mut recipient, &link_id, &link).await;
            expect_link(get_link(&mut recipient, &link_id).await, &queue, &link);
        }
    });
}

/// Recipients' commands on links are for recipients.
#[test]
fn links_are_set_and_deleted_by_the_recipient_alone() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let (link, link_id) = (Link::small("link"), unknown_id());
        let queue = Recipient::with_contact_link(&mut client, &link_id, &link).await;
        let set = Command::LSet {
            link_id: &link_id,
            data: link.data(),
        };
        for key in Key::of_every_kind() {
            for command in [&set, &Command::LDel] {
                // Not with a wrong key, and not by other ids of the queue.
                for (entity, auth) in [
                    (queue.id(), key.auth()),
                    (queue.sender_id(), queue.key.auth()),
                    (&link_id, queue.key.auth()),
                    (&unknown_id(), queue.key.auth()),
                ] {
                    assert_eq!(ask(&mut client, command, entity, auth).await, AUTH);
                }
            }
        }
        expect_link(get_link(&mut client, &link_id).await, &queue, &link);
    });
}
