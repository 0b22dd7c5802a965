//! The log store does what the store in memory does, whatever happens in between.

use super::fake::FakeDisk;
use crate::crypto::keys::{PublicAuthKey, SharedSecret};
use crate::protocol::error::{BlockingInfo, BlockingReason, ClientNotice};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::response::QueueMode;
use crate::store::log::{
    Disk, LogOptions, LogStore, OpenError, Partitions, Promise, RecoveryReport,
};
use crate::store::{
    Id, IdKind, LinkContent, Location, Lsn, MemoryStore, Message, MessageKind, NotifierRecord,
    QueueChange, QueueRecord, QueueSlot, QueueStatus, ServiceRecord, Store, StoreError,
    StoredMessage,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use smallvec::SmallVec;
use std::fmt::Write;
use std::sync::Arc;

pub const SEGMENT_LEN: usize = 16 * 1024;
/// Ids of each kind; so few that they meet.
const IDS: u8 = 12;

#[derive(Debug)]
pub struct OneShard;

impl Partitions for OneShard {
    fn partition(&self, id: &Id) -> u16 {
        u16::from(id[0])
    }

    fn shard(&self, _partition: u16) -> u16 {
        0
    }
}

pub fn options(promise: Promise) -> LogOptions {
    LogOptions {
        segment_len: SEGMENT_LEN,
        promise,
        index_key: [7; 16],
    }
}

pub type FakeStore = LogStore<FakeDisk>;

pub fn open(disk: &FakeDisk, promise: Promise) -> Result<(FakeStore, RecoveryReport), OpenError> {
    open_shard(disk, 0, promise)
}

pub fn open_shard(
    disk: &FakeDisk,
    shard: u16,
    promise: Promise,
) -> Result<(FakeStore, RecoveryReport), OpenError> {
    LogStore::open(disk.clone(), shard, Arc::new(OneShard), &options(promise))
}

/// Gives the store the segments it wants, if there is space.
pub fn supply(store: &mut FakeStore) {
    while let Some(prepare) = store.wants_segment() {
        let _ = store.segment_ready(prepare.run());
    }
    while let Some(surplus) = store.surplus_segment() {
        store.segment_removed(surplus.run()).unwrap();
    }
}

pub fn sync(store: &mut FakeStore) {
    if let Some(request) = store.pending_sync() {
        let upto = request.run().unwrap();
        store.synced(upto);
    }
}

/// A change of a store, by ids.
#[derive(Debug, Clone)]
pub enum Op {
    Create(Box<QueueRecord>, Option<LinkContent>),
    Update(Id, QueueChange),
    Delete(Id),
    Push(Id, Id, MessageKind, Vec<u8>),
    Pop(Id),
    Reserve(IdKind, Id, u16),
    Release(IdKind, Id, u16),
    Service(Box<ServiceRecord>),
    RemoveService([u8; 32]),
}

fn fingerprint(n: u8) -> [u8; 32] {
    let mut fingerprint = [n; 32];
    fingerprint[1] = 0;
    fingerprint
}

pub fn id(kind: u8, number: u8) -> Id {
    let mut id = [kind; 24];
    id[0] = number;
    id[1] = 0;
    id[23] = number;
    id
}

fn key(rng: &mut ChaCha20Rng) -> PublicAuthKey {
    match rng.random_range(0..3) {
        0 => PublicAuthKey::Ed25519(rng.random()),
        1 => PublicAuthKey::X25519(rng.random()),
        _ => {
            let mut raw = [0; 57];
            rng.fill(&mut raw[..]);
            PublicAuthKey::Ed448(raw)
        }
    }
}

pub fn content(rng: &mut ChaCha20Rng) -> LinkContent {
    LinkContent {
        fixed: vec![rng.random(); rng.random_range(0..100)].into(),
        user: vec![rng.random(); rng.random_range(0..1500)].into(),
    }
}

fn notifier(rng: &mut ChaCha20Rng) -> NotifierRecord {
    NotifierRecord {
        notifier_id: id(4, rng.random_range(0..IDS)),
        auth_key: key(rng),
        dh_secret: SharedSecret(rng.random()),
        service_id: service_id(rng),
    }
}

fn service_id(rng: &mut ChaCha20Rng) -> Option<Id> {
    rng.random_bool(0.5).then(|| id(5, rng.random_range(0..3)))
}

fn status(rng: &mut ChaCha20Rng) -> QueueStatus {
    match rng.random_range(0..4) {
        0 => QueueStatus::Off,
        1 => QueueStatus::Blocked(BlockingInfo {
            reason: BlockingReason::Spam,
            notice: None,
        }),
        2 => QueueStatus::Blocked(BlockingInfo {
            reason: BlockingReason::Content,
            notice: Some(ClientNotice {
                ttl: rng.random_bool(0.5).then_some(-5),
            }),
        }),
        _ => QueueStatus::Active,
    }
}

fn keys(rng: &mut ChaCha20Rng) -> SmallVec<[PublicAuthKey; 1]> {
    (0..rng.random_range(1..4)).map(|_| key(rng)).collect()
}

pub fn record(rng: &mut ChaCha20Rng) -> QueueRecord {
    QueueRecord {
        recipient_id: id(1, rng.random_range(0..IDS)),
        recipient_keys: keys(rng),
        rcv_dh_secret: SharedSecret(rng.random()),
        sender_id: id(2, rng.random_range(0..IDS)),
        sender_key: rng.random_bool(0.5).then(|| key(rng)),
        mode: [None, Some(QueueMode::Messaging), Some(QueueMode::Contact)][rng.random_range(0..3)],
        link_id: rng
            .random_bool(0.4)
            .then(|| id(3, rng.random_range(0..IDS))),
        notifier: rng.random_bool(0.4).then(|| notifier(rng)),
        status: status(rng),
        updated_day: rng.random_range(0..30_000),
        service_id: service_id(rng),
    }
}

impl Op {
    /// The same change of a queue with ids that no other shard's queues have.
    pub fn of_shard(mut self, shard: u16) -> Self {
        let mark = u8::try_from(shard).unwrap();
        let own = |id: &mut Id| id[1] = mark;
        let of_notifier = |notifier: &mut Option<NotifierRecord>| {
            if let Some(notifier) = notifier {
                own(&mut notifier.notifier_id);
            }
        };
        match &mut self {
            Self::Create(record, _) => {
                own(&mut record.recipient_id);
                own(&mut record.sender_id);
                record.link_id.iter_mut().for_each(own);
                of_notifier(&mut record.notifier);
            }
            Self::Update(id, change) => {
                own(id);
                match change {
                    QueueChange::Link(Some((id, _))) => own(id),
                    QueueChange::Notifier(notifier) => of_notifier(notifier),
                    _ => {}
                }
            }
            Self::Delete(id) | Self::Pop(id) | Self::Push(id, ..) => own(id),
            Self::Reserve(_, id, _) | Self::Release(_, id, _) => own(id),
            Self::Service(service) => {
                own(&mut service.id);
                service.fingerprint[1] = mark;
            }
            Self::RemoveService(fingerprint) => fingerprint[1] = mark,
        }
        self
    }
}

fn random_op(rng: &mut ChaCha20Rng) -> Op {
    let recipient = id(1, rng.random_range(0..IDS));
    let kind = [IdKind::Sender, IdKind::Link, IdKind::Notifier][rng.random_range(0..3)];
    let other = id(
        match kind {
            IdKind::Sender => 2,
            IdKind::Link => 3,
            _ => 4,
        },
        rng.random_range(0..IDS),
    );
    match rng.random_range(0..100) {
        0..12 => {
            let record = record(rng);
            let link = record.link_id.map(|_| content(rng));
            Op::Create(Box::new(record), link)
        }
        12..32 => Op::Update(recipient, change(rng)),
        32..38 => Op::Delete(recipient),
        38..65 => {
            let kind = match rng.random_range(0..5) {
                0 => MessageKind::Quota,
                n => MessageKind::Message { notify: n == 1 },
            };
            let len = match kind {
                MessageKind::Quota => 0,
                MessageKind::Message { .. } => rng.random_range(0..2000),
            };
            Op::Push(recipient, rng.random(), kind, vec![rng.random(); len])
        }
        65..90 => Op::Pop(recipient),
        90..94 => Op::Reserve(kind, other, rng.random_range(1..5)),
        94..98 => Op::Release(kind, other, rng.random_range(1..5)),
        98 => Op::RemoveService(fingerprint(rng.random_range(0..5))),
        _ => Op::Service(Box::new(ServiceRecord {
            id: id(5, rng.random_range(0..3)),
            role: [
                ServiceRole::Messaging,
                ServiceRole::Notifier,
                ServiceRole::Proxy,
            ][rng.random_range(0..3)],
            fingerprint: fingerprint(rng.random_range(0..5)),
            chain: vec![vec![1; rng.random_range(0..300)]; rng.random_range(0..3)],
            created_day: 7,
        })),
    }
}

fn change(rng: &mut ChaCha20Rng) -> QueueChange {
    match rng.random_range(0..7) {
        0 => QueueChange::SenderKey(key(rng)),
        1 => QueueChange::RecipientKeys(keys(rng)),
        2 => QueueChange::Status(status(rng)),
        3 => QueueChange::Link(rng.random_bool(0.6).then(|| {
            let content = content(rng);
            (id(3, rng.random_range(0..IDS)), content)
        })),
        4 => QueueChange::Notifier(rng.random_bool(0.6).then(|| notifier(rng))),
        5 => QueueChange::NotifierService(service_id(rng)),
        _ => QueueChange::Day(rng.random()),
    }
}

fn slot<S: Store>(store: &S, recipient: &Id) -> Option<QueueSlot> {
    match store.find(IdKind::Recipient, recipient) {
        Some(Location::Queue(slot)) => Some(slot),
        _ => None,
    }
}

/// Makes a change; an outcome says what it did, but for numbers.
pub fn apply<S: Store>(store: &mut S, op: &Op) -> Result<bool, StoreError> {
    let at = |store: &S, id: &Id| slot(store, id);
    match op {
        Op::Create(record, link) => store.create(record, link.clone()).map(|_| true),
        Op::Update(id, change) => match at(store, id) {
            Some(slot) => store.update(slot, change.clone()).map(|_| true),
            None => Ok(false),
        },
        Op::Delete(id) => match at(store, id) {
            Some(slot) => store.delete(slot).map(|_| true),
            None => Ok(false),
        },
        Op::Push(id, message_id, kind, body) => match at(store, id) {
            Some(slot) => {
                let message = Message {
                    id: *message_id,
                    time_ns: i64::from(body.len() as u32) - 7,
                    kind: *kind,
                    body,
                };
                store.push_message(slot, message).map(|_| true)
            }
            None => Ok(false),
        },
        Op::Pop(id) => match at(store, id) {
            Some(slot) => store.pop_message(slot).map(|_| true),
            None => Ok(false),
        },
        Op::Reserve(kind, id, shard) => store.reserve_alias(*kind, id, *shard).map(|_| true),
        Op::Release(kind, id, shard) => store.release_alias(*kind, id, *shard).map(|_| true),
        Op::RemoveService(fingerprint) => store
            .remove_service(fingerprint)
            .map(|_| store.service(fingerprint).is_none()),
        Op::Service(service) if store.service(&service.fingerprint).is_some() => Ok(false),
        Op::Service(service) => store.create_service((**service).clone()).map(|_| true),
    }
}

/// A store that shows all messages of a queue.
pub trait ShowsMessages: Store {
    fn all_messages(&self, slot: QueueSlot) -> Vec<StoredMessage<'_>>;
}

impl ShowsMessages for MemoryStore {
    fn all_messages(&self, slot: QueueSlot) -> Vec<StoredMessage<'_>> {
        self.messages(slot).collect()
    }
}

impl<D: Disk> ShowsMessages for LogStore<D> {
    fn all_messages(&self, slot: QueueSlot) -> Vec<StoredMessage<'_>> {
        self.messages(slot).collect()
    }
}

/// A message in a few words.
fn words(message: &StoredMessage<'_>) -> String {
    let body = crc32c::crc32c(message.body);
    let id = u64::from_le_bytes(message.id[..8].try_into().unwrap());
    format!("{id:x} {} {:?} {body:x}", message.time_ns, message.kind)
}

/// Everything a store of the first shard shows, in words.
pub fn dump<S: ShowsMessages>(store: &S) -> String {
    dump_shard(store, 0)
}

/// Everything a store of a shard shows, in words.
pub fn dump_shard<S: ShowsMessages>(store: &S, shard: u16) -> String {
    let mark = u8::try_from(shard).unwrap();
    let id = |kind: u8, number: u8| {
        let mut id = id(kind, number);
        id[1] = mark;
        id
    };
    let fingerprint = |n: u8| {
        let mut fingerprint = fingerprint(n);
        fingerprint[1] = mark;
        fingerprint
    };
    let mut out = String::new();
    for number in 0..IDS {
        for (kind, space) in [
            (IdKind::Recipient, 1),
            (IdKind::Sender, 2),
            (IdKind::Link, 3),
            (IdKind::Notifier, 4),
        ] {
            let found = store.find(kind, &id(space, number));
            let Some(Location::Queue(slot)) = found else {
                writeln!(out, "{kind:?} {number}: {found:?}").unwrap();
                continue;
            };
            let record = store.queue(slot);
            writeln!(out, "{kind:?} {number}: {:?}", record.recipient_id).unwrap();
            if kind == IdKind::Recipient {
                let notifier_secret = record.notifier.as_ref().map(|n| n.dh_secret.0);
                let secrets = (record.rcv_dh_secret.0, notifier_secret);
                writeln!(out, "{record:?} {secrets:?} {:?}", store.link(slot)).unwrap();
                let head = store.head(slot).as_ref().map(words);
                let newest = store.newest(slot).as_ref().map(words);
                let count = store.message_count(slot);
                writeln!(out, "{count} messages: {head:?} {newest:?}").unwrap();
                let messages = store.all_messages(slot);
                let messages: Vec<String> = messages.iter().map(words).collect();
                writeln!(out, "{messages:?}").unwrap();
            }
        }
    }
    let mut after = None;
    let mut with_messages = 0;
    while let Some(slot) = store.next_with_messages(after) {
        assert!(store.message_count(slot) > 0);
        with_messages += 1;
        after = Some(slot);
    }
    writeln!(out, "{with_messages} queues with messages").unwrap();
    for n in 0..5 {
        writeln!(out, "{:?}", store.service(&fingerprint(n))).unwrap();
    }
    let mut fingerprints = store.service_fingerprints();
    fingerprints.sort_unstable();
    writeln!(out, "{fingerprints:?}").unwrap();
    for n in 0..3 {
        writeln!(out, "{:?}", store.service_queues(&self::id(5, n))).unwrap();
        writeln!(out, "{:?}", store.service_notifiers(&self::id(5, n))).unwrap();
    }
    writeln!(out, "{:?}", store.totals()).unwrap();
    out
}

/// A log store, the changes it has made, and what memory makes of the same.
pub struct World {
    pub shard: u16,
    pub rng: ChaCha20Rng,
    pub disk: FakeDisk,
    pub promise: Promise,
    pub store: Option<FakeStore>,
    pub model: MemoryStore,
    /// Changes and the number of the last record after each.
    pub history: Vec<(Op, Lsn)>,
    /// Power, process or disk may fail while the store is being opened.
    pub is_opening_troubled: bool,
}

impl World {
    pub fn new(seed: u64, promise: Promise) -> Self {
        Self::of_shard(0, seed, promise)
    }

    pub fn of_shard(shard: u16, seed: u64, promise: Promise) -> Self {
        let disk = FakeDisk::default();
        let store = open_shard(&disk, shard, promise).unwrap().0;
        Self {
            shard,
            rng: ChaCha20Rng::seed_from_u64(seed),
            disk,
            promise,
            store: Some(store),
            model: MemoryStore::new(),
            history: Vec::new(),
            is_opening_troubled: false,
        }
    }

    pub fn store(&mut self) -> &mut FakeStore {
        self.store.as_mut().unwrap()
    }

    /// Makes a random change in both stores.
    pub fn step(&mut self) {
        let op = random_op(&mut self.rng).of_shard(self.shard);
        self.make(op);
    }

    pub fn make(&mut self, op: Op) {
        let store = self.store.as_mut().unwrap();
        supply(store);
        let (in_log, in_memory) = (apply(store, &op), apply(&mut self.model, &op));
        assert_eq!(in_log, in_memory, "{op:?}");
        if in_log.is_ok() {
            let last = store.last();
            self.history.push((op, last));
        }
    }

    /// What goes on beside the changes.
    pub fn housekeeping(&mut self) {
        let store = self.store.as_mut().unwrap();
        match self.rng.random_range(0..10) {
            0..2 => sync(store),
            2..5 => {
                store.maintain(self.rng.random_range(1..20_000));
                assert_eq!(store.unreadable, [false; 3]);
            }
            5 => self.disk.write_back(&mut self.rng),
            _ => {}
        }
    }

    /// Opens again and finds which changes are still there: at least the first `promised`.
    pub fn reopen(&mut self, promised: usize) -> RecoveryReport {
        self.store = None;
        while self.is_opening_troubled && self.fail_to_open() {}
        let (store, report) = open_shard(&self.disk, self.shard, self.promise).unwrap();
        let recovered = dump_shard(&store, self.shard);
        self.store = Some(store);
        // The likeliest outcomes first: building all states is slow.
        let kept = (promised..=self.history.len()).rev().find(|kept| {
            let model = replayed(&self.history[..*kept]);
            let is_same = dump_shard(&model, self.shard) == recovered;
            if is_same {
                self.model = model;
            }
            is_same
        });
        let all = replayed(&self.history);
        let kept = kept.unwrap_or_else(|| {
            panic!(
                "no state after change {promised} of {} is what came back:\n{recovered}\nlast:\n{}",
                self.history.len(),
                dump_shard(&all, self.shard)
            )
        });
        self.history.truncate(kept);
        report
    }

    /// Perhaps begins to open, and does not come to the end.
    fn fail_to_open(&mut self) -> bool {
        let rng = &mut self.rng;
        let effort = rng.random_range(0..1200);
        match rng.random_range(0..5) {
            0..2 => self.disk.stop_after(Some(effort)),
            2 => self.disk.break_sync_after(Some(rng.random_range(0..12))),
            _ => return false,
        }
        match open_shard(&self.disk, self.shard, self.promise) {
            Ok(_) | Err(OpenError::Sync(_)) => {}
            Err(error) => panic!("{error}"),
        }
        self.disk.break_sync_after(None);
        self.disk.stop_after(None);
        if rng.random_bool(0.7) {
            self.disk.lose_power(rng);
        }
        true
    }

    /// Number of changes that were promised.
    pub fn promised(&self) -> usize {
        let durable = self.store.as_ref().unwrap().durable();
        self.history
            .iter()
            .filter(|(_, lsn)| *lsn <= durable)
            .count()
    }
}

fn replayed(history: &[(Op, Lsn)]) -> MemoryStore {
    let mut model = MemoryStore::new();
    for (op, _) in history {
        apply(&mut model, op).unwrap();
    }
    model
}

#[test]
fn it_does_what_the_store_in_memory_does_across_restarts() {
    for seed in 0..25 {
        let mut world = World::new(seed, Promise::Disk);
        for i in 0..400 {
            world.step();
            world.housekeeping();
            if world.rng.random_bool(0.01) {
                let everything = world.history.len();
                let report = world.reopen(everything);
                assert_eq!(report.dropped, 0);
            }
            if i % 40 == 0 {
                assert_eq!(
                    dump(world.store()),
                    dump(&world.model),
                    "seed {seed} step {i}"
                );
            }
        }
        assert_eq!(dump(world.store()), dump(&world.model), "seed {seed}");
    }
}

#[test]
fn messages_come_back_in_order_with_their_bodies() {
    let mut world = World::new(1, Promise::Disk);
    let mut queue = record(&mut world.rng);
    queue.link_id = None;
    world.make(Op::Create(Box::new(queue.clone()), None));
    for n in 0..100_u8 {
        let kind = MessageKind::Message { notify: false };
        let body = vec![n; 1000];
        world.make(Op::Push(queue.recipient_id, [n; 24], kind, body));
        while world.store().maintain(10_000) {}
        sync(world.store());
    }
    for _ in 0..30 {
        world.make(Op::Pop(queue.recipient_id));
    }
    let everything = world.history.len();
    world.reopen(everything);
    let store = world.store();
    let slot = slot(store, &queue.recipient_id).unwrap();
    let bodies: Vec<(Id, u8)> = store.messages(slot).map(|m| (m.id, m.body[999])).collect();
    let expected: Vec<(Id, u8)> = (30..100).map(|n| ([n; 24], n)).collect();
    assert_eq!(bodies, expected);
}

#[test]
fn aliases_are_listed_with_their_shards() {
    let mut world = World::new(2, Promise::Disk);
    world.make(Op::Reserve(IdKind::Link, id(3, 1), 4));
    world.make(Op::Reserve(IdKind::Link, id(3, 2), 5));
    world.make(Op::Release(IdKind::Link, id(3, 1), 4));
    world.reopen(3);
    let aliases: Vec<_> = world.store().aliases().collect();
    assert_eq!(aliases, [(IdKind::Link, id(3, 2), 5)]);
    // What comes later is not among those that a start looks at.
    world.make(Op::Reserve(IdKind::Link, id(3, 4), 5));
    assert_eq!(world.store().old_aliases(0, 512).0, aliases);
    world.make(Op::Release(IdKind::Link, id(3, 2), 5));
    world.make(Op::Reserve(IdKind::Link, id(3, 2), 5));
    assert_eq!(world.store().old_aliases(0, 512).0, []);
}
