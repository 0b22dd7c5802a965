//! A client's end of a session, and a router that executes nothing.

use crate::crypto::chain::BlockChain;
use crate::crypto::keys::{PublicAuthKey, SharedSecret, X25519PublicKey};
use crate::crypto::pad;
use crate::protocol::batch::{BatchBuilder, decode_batch};
use crate::protocol::command::{LinkData, NewQueue};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::BOXED_MESSAGE_LEN;
use crate::protocol::transmission::{Transmission, put_sent, put_transmission};
use crate::protocol::{BLOCK_SIZE, BLOCK_TAG_SIZE, Command, Response, Version};
use crate::relay::{Answer, Request, ServiceSession, SessionContext, SessionRef, Ticket};
use crate::session::order::Order;
use crate::session::{BatchKind, FlushDue, Router, Session};
use crate::store::Id;
use std::sync::Arc;

pub const SESSION_ID: [u8; 32] = [7; 32];

/// Notes commands; the shard of one is the last byte of its entity id.
#[derive(Debug, Default)]
pub struct Notes {
    pub dispatched: Vec<(u16, Ticket)>,
    /// How many commands were dispatched together.
    pub groups: Vec<usize>,
    /// Sessions that asked for their service.
    pub joining: usize,
    /// Whether a new notifier made the last of them.
    pub joined_by_new: bool,
    pub counted: Vec<BatchKind>,
}

/// The service of [`Peer::service`].
pub const SERVICE_ID: Id = [0x5e; 24];
/// The shard of every service.
pub const SERVICE_SHARD: u16 = 9;

impl Router for Notes {
    fn shard_for(&mut self, request: &Request<'_>, _: &SessionContext) -> u16 {
        request
            .transmission
            .entity_id
            .last()
            .map_or(0, |b| u16::from(*b))
    }

    fn dispatch(
        &mut self,
        shard: u16,
        _: SessionRef,
        _: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) {
        let tickets = requests.iter().map(|request| (shard, request.ticket));
        self.dispatched.extend(tickets);
        self.groups.push(requests.len());
    }

    fn join_service(
        &mut self,
        _: SessionRef,
        context: &Arc<SessionContext>,
        by_new: bool,
    ) -> Option<u16> {
        context.service()?;
        self.joining += 1;
        self.joined_by_new = by_new;
        Some(SERVICE_SHARD)
    }

    fn count_batch(&mut self, kind: BatchKind) {
        self.counted.push(kind);
    }
}

/// What a client receives.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub corr_id: Vec<u8>,
    pub entity_id: Vec<u8>,
    pub response: Response<'static>,
}

/// A session with its client.
pub struct Peer {
    pub session: Session,
    pub router: Notes,
    pub version: Version,
    /// The client's keys: sent, received.
    chains: Option<(BlockChain, BlockChain)>,
}

impl Peer {
    pub fn new(version: Version, encrypted: bool) -> Self {
        let chains = || BlockChain::init(&SESSION_ID, &SharedSecret([5; 32])).unwrap();
        let reference = SessionRef {
            core: 0,
            slot: 1,
            generation: 1,
        };
        let context = Arc::new(SessionContext::new(version, &SESSION_ID, None));
        let (to_client, to_server) = chains();
        let server = encrypted.then_some((to_server, to_client));
        let (to_client, to_server) = chains();
        Self {
            session: Session::new(reference, context, server),
            router: Notes::default(),
            version,
            chains: encrypted.then_some((to_server, to_client)),
        }
    }

    pub fn plain() -> Self {
        Self::new(Version::CURRENT, false)
    }

    /// A session of a service.
    pub fn service() -> Self {
        let mut peer = Self::plain();
        let service = ServiceSession {
            id: SERVICE_ID,
            role: ServiceRole::Notifier,
            fingerprint: [1; 32],
            session_key: [2; 32],
        };
        let context =
            SessionContext::new(Version::CURRENT, &SESSION_ID, None).with_service(service);
        peer.session = Session::new(peer.session.reference(), Arc::new(context), None);
        peer
    }

    /// A transmission with something of a signature's length where one is needed.
    pub fn transmission(&self, corr_id: &[u8], entity: &[u8], command: &Command<'_>) -> Vec<u8> {
        let mut sent = Vec::new();
        put_sent(
            &mut sent,
            self.version,
            &SESSION_ID,
            corr_id,
            entity,
            |out| {
                command.encode(self.version, out);
            },
        );
        let unsigned = matches!(command, Command::Ping | Command::Send { .. });
        let authorization = if unsigned { &[][..] } else { &[9; 64] };
        let mut out = Vec::new();
        put_transmission(&mut out, self.version, authorization, None, &sent);
        out
    }

    /// `SUB` of a queue.
    pub fn sub(&self, entity: &Id) -> Vec<u8> {
        self.transmission(&[1], entity, &Command::Sub)
    }

    /// `NEW` without ids of the client.
    pub fn new_queue(&self, subscribe: bool) -> Vec<u8> {
        let new = NewQueue {
            auth_key: PublicAuthKey::Ed25519([1; 32]),
            dh_key: X25519PublicKey([1; 32]),
            password: None,
            subscribe,
            queue: None,
            notifier: None,
        };
        self.transmission(&[1], &[], &Command::New(new))
    }

    /// Seals content as the client would.
    pub fn block(&mut self, content: &[u8]) -> Box<[u8; BLOCK_SIZE]> {
        let mut block = Box::new([0; BLOCK_SIZE]);
        let head = if self.chains.is_some() {
            BLOCK_TAG_SIZE
        } else {
            0
        };
        block[head + 2..][..content.len()].copy_from_slice(content);
        pad::pad_into(content.len(), &mut block[head..]).unwrap();
        if let Some((send, _)) = &mut self.chains {
            send.seal_block(&mut block).unwrap();
        }
        block
    }

    /// Lets the session receive a block as it is.
    pub fn receive(&mut self, block: &mut [u8; BLOCK_SIZE]) {
        self.session.receive(block, &mut self.router).unwrap();
    }

    /// Sends transmissions in one block.
    pub fn send(&mut self, items: &[Vec<u8>]) {
        let mut content = Vec::new();
        let mut batch = BatchBuilder::new(&mut content);
        for item in items {
            assert!(batch.push(|out| out.extend_from_slice(item)));
        }
        let mut block = self.block(&content);
        self.receive(&mut block);
    }

    /// Answers a command.
    pub fn answer(&mut self, batch: u32, index: u8, answer: impl Into<Answer>) {
        let ticket = Ticket { batch, index };
        self.session.answer(ticket, answer.into(), &mut self.router);
    }

    /// A command takes effect before it is answered.
    pub fn executed(&mut self, batch: u32, index: u8) {
        self.session
            .executed(Ticket { batch, index }, &mut self.router);
    }

    /// What was dispatched since the last call, as shard, batch and index.
    pub fn dispatched(&mut self) -> Vec<(u16, u32, u8)> {
        std::mem::take(&mut self.router.dispatched)
            .into_iter()
            .map(|(shard, ticket)| (shard, ticket.batch, ticket.index))
            .collect()
    }

    /// Something unsolicited; ends of subscriptions are told at once.
    pub fn push(&mut self, entity: Id, event: Response<'static>) {
        if self.session.push(entity, event) != FlushDue::Unchanged {
            self.session.flush_events();
        }
    }

    /// The next block that the session sends, split and decoded.
    pub fn next(&mut self) -> Option<Vec<Received>> {
        let mut block = vec![0xaa; 3];
        if !self.session.next_block(&mut block).unwrap() {
            return None;
        }
        let mut block: Box<[u8; BLOCK_SIZE]> = block.try_into().unwrap();
        let content = match &mut self.chains {
            Some((_, receive)) => receive.open_block(&mut block).unwrap(),
            None => pad::unpad(&block[..]).unwrap(),
        };
        let received = decode_batch(content).unwrap().map(|bytes| {
            let t = Transmission::decode(bytes, self.version).unwrap();
            assert!(t.authorization.is_empty());
            assert!(t.session_id.is_none_or(|id| id == SESSION_ID));
            let response = Response::decode(t.command, self.version).unwrap();
            Received {
                corr_id: t.corr_id.to_vec(),
                entity_id: t.entity_id.to_vec(),
                response: owned(&response),
            }
        });
        Some(received.collect())
    }

    /// Everything the session sends.
    pub fn all(&mut self) -> Vec<Received> {
        let mut all = Vec::new();
        while let Some(block) = self.next() {
            all.extend(block);
        }
        all
    }

    /// The next block that the session sends, as the first words of what is in it.
    pub fn next_tags(&mut self) -> Vec<String> {
        let block = self.next().unwrap_or_default();
        block.iter().map(|r| tag(&r.response)).collect()
    }

    /// Everything the session sends, as its first words.
    pub fn tags(&mut self) -> Vec<String> {
        self.all().iter().map(|r| tag(&r.response)).collect()
    }
}

/// A response that tests use, without the block it came in.
fn owned(response: &Response<'_>) -> Response<'static> {
    match response {
        Response::Msg { msg_id, boxed } => Response::Msg {
            msg_id: msg_id.to_vec().into(),
            boxed: boxed.to_vec().into(),
        },
        Response::Info(bytes) => Response::Info(bytes.to_vec().into()),
        Response::Ids(ids) => {
            let mut owned = crate::protocol::response::QueueIds {
                recipient_id: ids.recipient_id.to_vec().into(),
                sender_id: ids.sender_id.to_vec().into(),
                dh_key: ids.dh_key,
                mode: ids.mode,
                link_id: None,
                service_id: None,
                notifier: None,
            };
            owned.link_id = ids.link_id.as_ref().map(|id| id.to_vec().into());
            Response::Ids(Box::new(owned))
        }
        Response::Sok(_) => Response::Sok(None),
        Response::Soks(queues) => Response::Soks(*queues),
        Response::Ends(queues) => Response::Ends(*queues),
        Response::NMsg { nonce, boxed } => Response::NMsg {
            nonce: *nonce,
            boxed: boxed.to_vec().into(),
        },
        Response::End => Response::End,
        Response::Deld => Response::Deld,
        Response::Ok => Response::Ok,
        Response::Pong => Response::Pong,
        Response::Err(error) => Response::Err(error.clone()),
        other => panic!("unexpected {other:?}"),
    }
}

/// The first word of a response, the whole of an error.
pub fn tag(response: &Response<'_>) -> String {
    let mut out = Vec::new();
    response.encode(Version::CURRENT, &mut out);
    if !matches!(response, Response::Err(_)) {
        out = out
            .split(|b| *b == b' ')
            .next()
            .unwrap_or_default()
            .to_vec();
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A message of full size.
pub fn message(id: u8) -> Response<'static> {
    Response::Msg {
        msg_id: vec![id; 24].into(),
        boxed: vec![id; BOXED_MESSAGE_LEN].into(),
    }
}

/// A queue id that leads to a shard.
pub fn queue(n: u8, shard: u8) -> Id {
    let mut id = [n; 24];
    id[23] = shard;
    id
}

/// A command of some order, for an entity with a key.
pub fn of_order(order: Order) -> Command<'static> {
    match order {
        Order::Read => Command::Que,
        Order::Commuting => Command::Ack { msg_id: &[] },
        Order::Ordered => Command::Key(PublicAuthKey::Ed25519([1; 32])),
        Order::Exclusive => Command::LSet {
            link_id: &[3; 24],
            data: LinkData {
                fixed: &[1],
                user: &[2],
            },
        },
    }
}

/// A confirmation with a message of full size.
pub fn subscribed(n: u8) -> Answer {
    Answer::Subscribed {
        response: Response::Sok(None),
        message: message(n),
    }
}

/// An answer that can be told from others.
pub fn numbered(n: usize) -> Response<'static> {
    Response::Info(n.to_string().into_bytes().into())
}
