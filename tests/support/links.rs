//! Short links: their data and the commands on them (spec: protocol §9.4, §16.2, §16.3).

use super::party::{Key, Recipient, ask, sender_id_for};
use loadtest::{Auth, Client};
use smp_server::protocol::command::{ContactLink, LinkData, MessagingLink, QueueRequest};
use smp_server::protocol::{Command, Response};

/// Sizes in which official clients store link data.
const FIXED_LEN: usize = 2048;
const USER_LEN: usize = 13824;

/// The data behind a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Immutable part.
    pub fixed: Vec<u8>,
    /// Replaceable part.
    pub user: Vec<u8>,
}

impl Link {
    /// Data as large as that of official clients, both parts beginning with `mark`.
    pub fn new(mark: &str) -> Self {
        Self {
            fixed: filled(mark, FIXED_LEN),
            user: filled(mark, USER_LEN),
        }
    }

    /// Data that is no more than `mark`, twice.
    pub fn small(mark: &str) -> Self {
        Self {
            fixed: mark.as_bytes().to_vec(),
            user: mark.as_bytes().to_vec(),
        }
    }

    /// The same link with other replaceable data of the same size.
    pub fn with_user(&self, mark: &str) -> Self {
        Self {
            fixed: self.fixed.clone(),
            user: filled(mark, self.user.len()),
        }
    }

    /// As a parameter.
    pub fn data(&self) -> LinkData<'_> {
        LinkData {
            fixed: &self.fixed,
            user: &self.user,
        }
    }

    /// Asks for a messaging queue with this link.
    pub fn messaging<'a>(&'a self, sender_id: &'a [u8]) -> QueueRequest<'a> {
        QueueRequest::Messaging(Some(MessagingLink {
            sender_id,
            data: self.data(),
        }))
    }

    /// Asks for a contact queue with this link.
    pub fn contact<'a>(&'a self, link_id: &'a [u8], sender_id: &'a [u8]) -> QueueRequest<'a> {
        QueueRequest::Contact(Some(ContactLink {
            link_id,
            sender_id,
            data: self.data(),
        }))
    }
}

fn filled(mark: &str, len: usize) -> Vec<u8> {
    let mut bytes = mark.as_bytes().to_vec();
    bytes.resize(len, b'.');
    bytes
}

impl Recipient {
    /// Creates a messaging queue with a link, whose id the server chooses.
    pub async fn with_invitation(client: &mut Client, link: &Link) -> Self {
        let corr_id = client.outbox().fresh_corr_id();
        let sender_id = sender_id_for(&corr_id);
        let created = Self::create_as(client, &corr_id, Key::ed25519(), |new| {
            new.queue = Some(link.messaging(&sender_id));
        });
        let created = created.await;
        assert_eq!(created.sender_id(), sender_id);
        created
    }

    /// Creates a contact queue with a link.
    pub async fn with_contact_link(client: &mut Client, link_id: &[u8], link: &Link) -> Self {
        let corr_id = client.outbox().fresh_corr_id();
        let sender_id = sender_id_for(&corr_id);
        let created = Self::create_as(client, &corr_id, Key::ed25519(), |new| {
            new.queue = Some(link.contact(link_id, &sender_id));
        });
        let created = created.await;
        assert_eq!(created.sender_id(), sender_id);
        assert_eq!(created.link_id(), link_id);
        created
    }

    /// The link id that `IDS` told.
    pub fn link_id(&self) -> &[u8] {
        self.ids.link_id.as_deref().expect("a link id")
    }

    /// The answer to `LSET`.
    pub async fn set_link(
        &self,
        client: &mut Client,
        link_id: &[u8],
        link: &Link,
    ) -> Response<'static> {
        let data = link.data();
        self.ask(client, &Command::LSet { link_id, data }).await
    }

    /// The answer to `LDEL`.
    pub async fn delete_link(&self, client: &mut Client) -> Response<'static> {
        self.ask(client, &Command::LDel).await
    }
}

/// The answer to `LGET`.
pub async fn get_link(client: &mut Client, link_id: &[u8]) -> Response<'static> {
    ask(client, &Command::LGet, link_id, Auth::None).await
}

/// The answer to `LKEY` with the sender's key.
pub async fn secure_link(client: &mut Client, link_id: &[u8], key: &Key) -> Response<'static> {
    ask(client, &Command::LKey(key.public()), link_id, key.auth()).await
}

/// Asserts that the response is the link of this queue.
#[track_caller]
pub fn expect_link(response: Response<'_>, recipient: &Recipient, link: &Link) {
    let Response::Lnk(answer) = response else {
        panic!("{response:?}");
    };
    assert_eq!(*answer.sender_id, *recipient.sender_id());
    assert_eq!(*answer.fixed, link.fixed);
    assert_eq!(*answer.user, link.user);
}
