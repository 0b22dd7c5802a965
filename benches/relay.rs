//! Cost of a shard and a session on the path of a message: everything but TLS and the socket.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use smp_server::crypto::authorization::{Authorized, Signer, sign_authorized};
use smp_server::crypto::chain::BlockChain;
use smp_server::crypto::keys::{PublicAuthKey, SharedSecret, SigningKey, X25519SecretKey};
use smp_server::crypto::pad::pad_into;
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::batch::{BatchBuilder, decode_batch};
use smp_server::protocol::command::NewQueue;
use smp_server::protocol::response::BOXED_MESSAGE_LEN;
use smp_server::protocol::transmission::{put_sent, put_transmission};
use smp_server::protocol::{BLOCK_SIZE, BLOCK_TAG_SIZE, Command, Response, Version};
use smp_server::relay::{
    Answer, Effect, Partitioner, Request, SessionContext, SessionRef, Shard, ShardConfig, Ticket,
    Timestamp,
};
use smp_server::session::{BatchKind, Router, Session};
use smp_server::store::{Id, MemoryStore};

const VERSION: Version = Version::CURRENT;
const SESSION_ID: [u8; 32] = [1; 32];
const BODY_LEN: usize = 16_000;
/// SUBs with Ed25519 signatures that fill a block.
const SUBS: usize = 135;
const SESSION: SessionRef = SessionRef {
    core: 0,
    slot: 0,
    generation: 1,
};
const NOW: Timestamp = Timestamp {
    nanos: 1_790_000_000_000_000_000,
};

/// A shard with one connection, which is sender and recipient.
struct Bench {
    shard: Shard<MemoryStore>,
    context: Arc<SessionContext>,
    server_key: X25519SecretKey,
    recipient: SigningKey,
    effects: Vec<Effect>,
}

struct Queue {
    recipient_id: Id,
    sender_id: Id,
}

impl Bench {
    fn new() -> Self {
        let config = ShardConfig {
            index: 0,
            partitioner: Partitioner::new(&[2; 16], 1),
            queue_quota: 128,
            new_queues: true,
            create_password: None,
            message_ttl: None,
            expire_on_send: false,
            notification_ttl: 86_400,
            day_starts_at: 0,
        };
        let server_key = || X25519SecretKey::from_bytes([3; 32]);
        let rng = ChaCha20Rng::seed_from_u64(4);
        Self {
            shard: Shard::new(config, MemoryStore::new(), rng),
            context: Arc::new(SessionContext::new(
                VERSION,
                &SESSION_ID,
                Some(server_key()),
            )),
            server_key: server_key(),
            recipient: SigningKey::ed25519_from_seed([5; 32]).expect("a seed"),
            effects: Vec::new(),
        }
    }

    fn own(&self, queue: &Queue, command: &Command<'_>) -> Vec<u8> {
        let signer = Signer::Key(&self.recipient);
        transmission(Some(signer), &queue.recipient_id, command)
    }

    /// Parses and executes the content of a block.
    fn execute(&mut self, content: &[u8]) {
        self.effects.clear();
        let requests: Vec<_> = decode_batch(content)
            .into_iter()
            .flatten()
            .zip(0..)
            .filter_map(|(bytes, index)| {
                let ticket = Ticket { batch: 0, index };
                Request::parse(bytes, ticket, VERSION, &SESSION_ID).ok()
            })
            .collect();
        let (shard, effects) = (&mut self.shard, &mut self.effects);
        shard.execute(NOW, SESSION, &self.context, &requests, effects);
    }

    /// The answer to the last command executed.
    fn answer(&self) -> &Response<'static> {
        self.effects
            .iter()
            .rev()
            .find_map(|effect| match effect {
                Effect::Reply {
                    answer: Answer::Response(response) | Answer::Subscribed { response, .. },
                    ..
                } => Some(response),
                _ => None,
            })
            .expect("an answer")
    }

    /// The id of the message that the last command brought, as answer or push.
    fn message_id(&self) -> Option<Id> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Push {
                event: Response::Msg { msg_id, .. },
                ..
            }
            | Effect::Reply {
                answer: Answer::Response(Response::Msg { msg_id, .. }),
                ..
            } => msg_id[..].try_into().ok(),
            _ => None,
        })
    }

    fn create(&mut self) -> Queue {
        let new = Command::New(NewQueue {
            auth_key: self.recipient.verifying_key().into(),
            dh_key: X25519SecretKey::from_bytes([6; 32]).public_key(),
            password: None,
            subscribe: true,
            queue: None,
            notifier: None,
        });
        let bytes = transmission(Some(Signer::Key(&self.recipient)), &[], &new);
        self.execute(&block_content(&[bytes]));
        let Response::Ids(ids) = self.answer() else {
            panic!("no queue: {:?}", self.answer());
        };
        Queue {
            recipient_id: ids.recipient_id[..].try_into().expect("24 bytes"),
            sender_id: ids.sender_id[..].try_into().expect("24 bytes"),
        }
    }

    fn acknowledgement(&self, queue: &Queue, msg_id: &Id) -> Vec<u8> {
        block_content(&[self.own(queue, &Command::Ack { msg_id })])
    }
}

fn transmission(signer: Option<Signer<'_>>, entity: &[u8], command: &Command<'_>) -> Vec<u8> {
    let corr_id = [7; 24];
    let mut sent = Vec::new();
    put_sent(&mut sent, VERSION, &SESSION_ID, &corr_id, entity, |out| {
        command.encode(VERSION, out);
    });
    let authorized = Authorized::new(&SESSION_ID, &sent);
    let authorization = signer.map_or_else(Vec::new, |signer| {
        sign_authorized(signer, &corr_id, &authorized, &mut Vec::new())
    });
    let mut out = Vec::new();
    put_transmission(&mut out, VERSION, &authorization, None, &sent);
    out
}

fn block_content(items: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::with_capacity(BLOCK_SIZE);
    let mut batch = BatchBuilder::new(&mut content);
    for item in items {
        assert!(batch.push(|out| out.extend_from_slice(item)));
    }
    content
}

fn send_command(body: &[u8]) -> Command<'_> {
    Command::Send {
        notify: false,
        body,
    }
}

/// Parsing, verification, storing, boxing for the subscriber.
fn send(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    let agreeing = X25519SecretKey::from_bytes([8; 32]);
    let signing = SigningKey::ed25519_from_seed([9; 32]).expect("a seed");
    let body = vec![10; BODY_LEN];
    let keys = [
        ("X25519", PublicAuthKey::X25519(agreeing.public_key().0)),
        ("Ed25519", signing.verifying_key().into()),
    ];
    for (name, key) in keys {
        let mut bench = Bench::new();
        let queue = bench.create();
        bench.execute(&block_content(&[bench.own(&queue, &Command::Key(key))]));
        assert_eq!(bench.answer(), &Response::Ok);
        let secret = BoxKey::from(&agreeing.agree(&bench.server_key.public_key()));
        let signer = match key {
            PublicAuthKey::X25519(_) => Signer::Secret(&secret),
            _ => Signer::Key(&signing),
        };
        let bytes = transmission(Some(signer), &queue.sender_id, &send_command(&body));
        let content = block_content(&[bytes]);
        // Before each message the one before it is acknowledged, so that the next is pushed.
        let bench = RefCell::new(bench);
        group.bench_function(format!("SEND 16 kB to a subscriber, {name}"), |b| {
            b.iter_batched(
                || {
                    let mut bench = bench.borrow_mut();
                    if let Some(id) = bench.message_id() {
                        let acknowledgement = bench.acknowledgement(&queue, &id);
                        bench.execute(&acknowledgement);
                        assert_eq!(bench.answer(), &Response::Ok);
                    }
                },
                |()| bench.borrow_mut().execute(black_box(&content)),
                BatchSize::PerIteration,
            );
        });
        assert!(bench.borrow().message_id().is_some());
    }
    group.finish();
}

fn acknowledge(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    let mut bench = Bench::new();
    let queue = bench.create();
    let body = vec![11; BODY_LEN];
    let send = block_content(&[transmission(None, &queue.sender_id, &send_command(&body))]);
    bench.execute(&send);
    let delivered = RefCell::new(bench.message_id().expect("a push"));
    let bench = RefCell::new(bench);
    group.bench_function("ACK that gives the next of 16 kB, Ed25519", |b| {
        b.iter_batched(
            || {
                let mut bench = bench.borrow_mut();
                if let Some(id) = bench.message_id() {
                    delivered.replace(id);
                }
                bench.execute(&send);
                bench.acknowledgement(&queue, &delivered.borrow())
            },
            |content| bench.borrow_mut().execute(black_box(&content)),
            BatchSize::PerIteration,
        );
    });
    assert!(bench.borrow().message_id().is_some());
    group.finish();
}

fn subscribe(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    let mut bench = Bench::new();
    let queues: Vec<_> = (0..SUBS).map(|_| bench.create()).collect();
    let items: Vec<_> = queues
        .iter()
        .map(|queue| bench.own(queue, &Command::Sub))
        .collect();
    let content = block_content(&items);
    group.throughput(Throughput::Elements(SUBS as u64));
    group.bench_function("block of 135 SUBs, Ed25519", |b| {
        b.iter(|| bench.execute(black_box(&content)));
    });
    assert_eq!(bench.effects.len(), SUBS);
    assert_eq!(bench.answer(), &Response::Sok(None));
    group.finish();
}

/// Takes commands and does nothing.
struct Nowhere;

impl Router for Nowhere {
    fn shard_for(&mut self, _: &Request<'_>, _: &SessionContext) -> u16 {
        0
    }

    fn dispatch(
        &mut self,
        _: u16,
        _: SessionRef,
        _: &Arc<SessionContext>,
        requests: &[Request<'_>],
    ) {
        black_box(requests);
    }

    fn join_service(&mut self, _: SessionRef, _: &Arc<SessionContext>, _: bool) -> Option<u16> {
        None
    }

    fn count_batch(&mut self, kind: BatchKind) {
        black_box(kind);
    }
}

fn session(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    let context = Bench::new().context;
    let chains = || BlockChain::init(&SESSION_ID, &SharedSecret([12; 32])).expect("derived");
    let (to_client, to_server) = chains();
    let (_, mut client) = chains();
    let mut session = Session::new(SESSION, context, Some((to_server, to_client)));
    let message = || Response::Msg {
        msg_id: vec![13; 24].into(),
        boxed: vec![14; BOXED_MESSAGE_LEN].into(),
    };
    let mut block = Vec::with_capacity(BLOCK_SIZE);
    group.bench_function("pack and encrypt a MSG", |b| {
        b.iter_batched(
            message,
            |message| {
                session.push([15; 24], message);
                assert!(session.next_block(&mut block).is_ok_and(|made| made));
            },
            BatchSize::PerIteration,
        );
    });
    assert!(!session.has_output());

    let body = vec![16; BODY_LEN];
    let send = transmission(None, &[17; 24], &send_command(&body));
    let content = block_content(&[send]);
    let session = RefCell::new(session);
    let mut batch = 0;
    group.bench_function("decrypt and route a SEND", |b| {
        b.iter_batched_ref(
            || {
                // Keeps the number of commands in flight at one.
                if batch > 0 {
                    let ticket = Ticket {
                        batch: batch - 1,
                        index: 0,
                    };
                    let mut session = session.borrow_mut();
                    session.answer(ticket, Response::Ok.into(), &mut Nowhere);
                    while session.next_block(&mut block).is_ok_and(|made| made) {}
                }
                batch += 1;
                let mut sealed = Box::new([0; BLOCK_SIZE]);
                sealed[BLOCK_TAG_SIZE + 2..][..content.len()].copy_from_slice(&content);
                pad_into(content.len(), &mut sealed[BLOCK_TAG_SIZE..]).expect("fits");
                client.seal_block(&mut sealed).expect("sealed");
                sealed
            },
            |sealed| {
                let received = session.borrow_mut().receive(sealed, &mut Nowhere);
                assert!(received.is_ok());
            },
            BatchSize::PerIteration,
        );
    });
    // Commands were routed, none was refused.
    assert!(!session.borrow().has_output() && !session.borrow().is_settled());
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = send, acknowledge, subscribe, session
}
criterion_main!(benches);
