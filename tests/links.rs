//! Short links (spec: protocol §9.4, server §3.8, §3.9, §3.11, §3.12).

mod support;

use smp_server::protocol::error::CommandError;
use smp_server::protocol::{Command, ErrorType, Response};
use support::{
    Key, Link, Recipient, Setup, ask_as, every_placement, expect_link, expect_ok, get_link,
    new_queue, secure_link, send, sender_id_for, unknown_id,
};

const AUTH: Response<'static> = Response::Err(ErrorType::Auth);

#[test]
fn an_invitation_is_read_and_secured_by_its_link() {
    every_placement(&Setup::default(), async |server| {
        let (mut owner, mut guest) = (server.client().await, server.client().await);
        let link = Link::new("invitation");
        let queue = Recipient::with_invitation(&mut owner, &link).await;
        let link_id = queue.link_id();
        assert_eq!(get_link(&mut guest, link_id).await, AUTH);
        let key = Key::x25519();
        // The answer may be lost: the same key may ask again, no other.
        for _ in 0..2 {
            let answer = secure_link(&mut guest, link_id, &key).await;
            expect_link(answer, &queue, &link);
        }
        let stranger = secure_link(&mut owner, link_id, &Key::x25519()).await;
        assert_eq!(stranger, AUTH);

        // The first message ends the link.
        let sent = send(&mut guest, queue.sender_id(), key.auth(), b"hello").await;
        expect_ok(sent);
        assert_eq!(secure_link(&mut guest, link_id, &key).await, AUTH);
    });
}

#[test]
fn a_contact_link_is_read_by_anyone_and_changed_by_its_owner() {
    every_placement(&Setup::default(), async |server| {
        let (mut owner, mut guest) = (server.client().await, server.client().await);
        let link = Link::new("contact");
        let link_id = unknown_id();
        let queue = Recipient::with_contact_link(&mut owner, &link_id, &link).await;
        expect_link(get_link(&mut guest, &link_id).await, &queue, &link);
        let secured = secure_link(&mut guest, &link_id, &Key::x25519()).await;
        assert_eq!(secured, AUTH);

        let changed = link.with_user("changed");
        expect_ok(queue.set_link(&mut owner, &link_id, &changed).await);
        expect_link(get_link(&mut guest, &link_id).await, &queue, &changed);
        let other = Link::new("other");
        assert_eq!(queue.set_link(&mut owner, &link_id, &other).await, AUTH);
        let elsewhere = queue.set_link(&mut owner, &unknown_id(), &link).await;
        assert_eq!(elsewhere, AUTH);
        expect_link(get_link(&mut guest, &link_id).await, &queue, &changed);

        expect_ok(queue.delete_link(&mut owner).await);
        assert_eq!(get_link(&mut guest, &link_id).await, AUTH);
        // There may be a new one, under any id.
        let next = unknown_id();
        let small = Link::small("small");
        expect_ok(queue.set_link(&mut owner, &next, &small).await);
        expect_link(get_link(&mut guest, &next).await, &queue, &small);
    });
}

#[test]
fn a_sender_id_is_chosen_by_the_correlation_id() {
    every_placement(&Setup::default(), async |server| {
        let mut client = server.client().await;
        let link = Link::small("link");
        let dh = smp_server::crypto::keys::X25519SecretKey::generate(&mut rand::rng());
        let (key, corr_id) = (Key::ed25519(), client.outbox().fresh_corr_id());
        let sender_id = sender_id_for(&client.outbox().fresh_corr_id());
        let mut new = new_queue(&key, &dh);
        new.queue = Some(link.messaging(&sender_id));
        let command = Command::New(new);
        let response = ask_as(&mut client, &corr_id, &command, &[], key.auth()).await;
        let prohibited = ErrorType::Cmd(CommandError::Prohibited);
        assert_eq!(response, Response::Err(prohibited));
    });
}
