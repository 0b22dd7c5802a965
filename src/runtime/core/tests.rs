//! Two executors' cores, pumped by hand in one thread.

use super::*;
use crate::control::{Statistics, StatisticsConfig};
use crate::crypto::hash;
use crate::crypto::pad;
use crate::protocol::batch::{BatchBuilder, decode_batch};
use crate::protocol::command::{ContactLink, LinkData, NotifierCredentials, QueueRequest};
use crate::protocol::handshake::ServiceRole;
use crate::protocol::transmission::Transmission;
use crate::protocol::{BLOCK_SIZE, Command, Response, Version};
use crate::relay::tests::clients::{Client, Key, Queue, ed25519, new_queue, recipient_dh, words};
use crate::relay::{ServiceSession, SessionContext, ShardConfig, Ticket};
use crate::runtime::control::Control;
use crate::runtime::mesh::connect;
use crate::session::{MAX_PENDING_EVENTS, Router};
use rand::SeedableRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

mod control;
mod freeze;
mod idle;

/// Cores that tell at once of ended subscriptions.
fn cores(count: u16, placement: QueuePlacement) -> Vec<Core> {
    cores_with(count, placement, Duration::ZERO)
}

fn cores_with(count: u16, placement: QueuePlacement, event_interval: Duration) -> Vec<Core> {
    cores_and_control(count, placement, event_interval).0
}

/// Cores with the control executor.
fn cores_and_control(
    count: u16,
    placement: QueuePlacement,
    event_interval: Duration,
) -> (Vec<Core>, Control) {
    let partitioner = Partitioner::new(&[1; 16], count);
    let (mut meshes, _) = connect(usize::from(count) + 1);
    let statistics = Statistics::new(StatisticsConfig::default(), None, 0);
    let control = Control::new(partitioner.clone(), meshes.pop().unwrap(), statistics);
    let cores = (0..count)
        .zip(meshes)
        .map(|(index, mesh)| {
            let config = ShardConfig {
                index,
                partitioner: partitioner.clone(),
                queue_quota: 128,
                new_queues: true,
                create_password: None,
                message_ttl: None,
                expire_on_send: false,
                notification_ttl: 86_400,
                day_starts_at: 0,
            };
            let rng = |n| ChaCha20Rng::seed_from_u64(2 * u64::from(index) + n);
            let shard = Shard::new(config, AnyStore::Memory(Box::default()), rng(0));
            let (partitioner, rng) = (partitioner.clone(), rng(1));
            Core::new(
                index,
                partitioner,
                placement,
                shard,
                mesh,
                rng,
                event_interval,
            )
        })
        .collect();
    (cores, control)
}

/// Lets every core receive until nothing is under way.
fn settle(cores: &[Core]) {
    for _ in 0..2 * cores.len() + 4 {
        for core in cores {
            while core.receive() {}
        }
    }
}

/// A waker that notes that it was used.
#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A client with its connection.
struct Peer {
    client: Client,
    connection: Rc<Connection>,
    alarm: Arc<Alarm>,
}

impl Peer {
    fn open(core: &Core, slot: u32) -> Self {
        let mut client = Client::on_core(core.index, slot, Version::CURRENT);
        let context = Arc::clone(&client.context);
        let connection = core.open_session(|reference| Session::new(reference, context, None));
        client.session = connection.session.borrow().reference();
        let alarm = Arc::new(Alarm::default());
        connection.register(&Waker::from(Arc::clone(&alarm)));
        Self {
            client,
            connection,
            alarm,
        }
    }

    fn send(&self, core: &Core, bytes: &[u8]) {
        self.send_block(core, &[bytes.to_vec()]);
    }

    fn send_block(&self, core: &Core, commands: &[Vec<u8>]) {
        let mut content = Vec::new();
        let mut batch = BatchBuilder::new(&mut content);
        for bytes in commands {
            assert!(batch.push(|out| out.extend_from_slice(bytes)));
        }
        let mut block = Box::new([0; BLOCK_SIZE]);
        block[2..][..content.len()].copy_from_slice(&content);
        pad::pad_into(content.len(), &mut block[..]).unwrap();
        core.run(|router| {
            let session = &self.connection.session;
            session.borrow_mut().receive(&mut block, router).unwrap();
        });
    }

    /// Hands everything that waits to be sent to `take`.
    fn received(&self, mut take: impl FnMut(&Response<'_>)) {
        let mut block = Vec::new();
        while self
            .connection
            .session
            .borrow_mut()
            .next_block(&mut block)
            .unwrap()
        {
            for bytes in decode_batch(pad::unpad(&block).unwrap()).unwrap() {
                let command = Transmission::decode(bytes, Version::CURRENT)
                    .unwrap()
                    .command;
                take(&Response::decode(command, Version::CURRENT).unwrap());
            }
        }
    }

    fn words(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.received(|response| all.push(words(response)));
        all
    }

    fn is_woken(&self) -> bool {
        self.alarm.0.swap(false, Ordering::SeqCst)
    }

    #[track_caller]
    fn create(&self, cores: &[Core]) -> Queue {
        let key = ed25519(1);
        let new = Command::New(new_queue(&key, None));
        let bytes = self.client.transmission(Some(&key), &[], &new);
        self.send(&cores[usize::from(self.client.session.core)], &bytes);
        settle(cores);
        let mut key = Some(key);
        let mut queue = None;
        self.received(|ids| queue = key.take().map(|key| Queue::from_ids(key, ids)));
        queue.unwrap()
    }

    fn own(&self, core: &Core, queue: &Queue, command: &Command<'_>) {
        let bytes = self
            .client
            .transmission(Some(&queue.key), &queue.recipient, command);
        self.send(core, &bytes);
    }

    /// `SEND` with the notification flag.
    fn message_to(&self, queue: &Queue) -> Vec<u8> {
        let send = Command::Send {
            notify: true,
            body: b"1",
        };
        self.client.transmission(None, &queue.sender, &send)
    }

    fn message(&self, core: &Core, queue: &Queue) {
        self.send(core, &self.message_to(queue));
    }
}

#[test]
fn queues_are_made_where_the_setting_says() {
    let cases = [
        (QueuePlacement::Local, 1, [0].as_slice()),
        (QueuePlacement::Local, 3, &[0]),
        (QueuePlacement::Remote, 1, &[0]),
        (QueuePlacement::Remote, 3, &[1, 2]),
        (QueuePlacement::Spread, 3, &[0, 1, 2]),
    ];
    for (placement, shards, allowed) in cases {
        let cores = cores(shards, placement);
        let peer = Peer::open(&cores[0], 1);
        let mut homes: Vec<_> = (0..40)
            .map(|_| {
                cores[0]
                    .partitioner
                    .shard_of(&peer.create(&cores).recipient)
            })
            .collect();
        homes.sort_unstable();
        homes.dedup();
        assert_eq!(homes, allowed);
    }
}

#[test]
fn a_queue_of_another_executor_is_used_like_an_own_one() {
    let cores = cores(2, QueuePlacement::Remote);
    let (recipient, sender) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
    let queue = recipient.create(&cores);
    assert!(recipient.is_woken());
    recipient.own(&cores[0], &queue, &Command::Sub);
    settle(&cores);
    assert_eq!(recipient.words(), ["SOK"]);
    assert!(recipient.is_woken());
    sender.message(&cores[1], &queue);
    assert_eq!(sender.words(), ["OK"]);
    settle(&cores);
    assert_eq!(recipient.words(), ["MSG"]);
    assert!(recipient.is_woken());
    // Another connection takes over, and the end finds its way.
    sender.own(&cores[1], &queue, &Command::Sub);
    settle(&cores);
    assert_eq!(sender.words(), ["SOK", "MSG"]);
    assert_eq!(recipient.words(), ["END"]);
    assert_eq!(cores[0].counters().sub_ended, 1);
    assert_eq!(cores[0].counters().sub_ended_batches, 1);
}

#[test]
fn a_closed_session_is_forgotten_by_every_shard() {
    let cores = cores(2, QueuePlacement::Remote);
    let peer = Peer::open(&cores[0], 1);
    let queue = peer.create(&cores);
    peer.own(&cores[0], &queue, &Command::Sub);
    settle(&cores);
    assert_eq!(cores[1].shard.borrow().subscription_counts(), (1, 1));
    // An answer is still on its way when the place is given to someone else.
    peer.own(&cores[0], &queue, &Command::Que);
    cores[0].close_session(&peer.connection);
    let next = Peer::open(&cores[0], 1);
    assert_eq!(next.client.session.slot, peer.client.session.slot);
    settle(&cores);
    assert!(next.words().is_empty() && !next.is_woken());
    assert_eq!(cores[1].shard.borrow().subscription_counts(), (0, 0));
    assert_eq!(cores[0].session_count(), 1);
}

#[test]
fn a_foreign_link_id_leads_to_its_queue() {
    let cores = cores(2, QueuePlacement::Local);
    let partitioner = &cores[0].partitioner;
    let corr_id = (0..=u8::MAX)
        .map(|n| [n; 24])
        .find(|id| partitioner.shard_of(&hash::sender_id(id)) == 0)
        .unwrap();
    let link_id = (0..=u8::MAX)
        .map(|n| [n; 24])
        .find(|id| partitioner.shard_of(id) == 1)
        .unwrap();
    let key: Key = ed25519(1);
    let sender_id = hash::sender_id(&corr_id);
    let mut new = new_queue(&key, None);
    new.queue = Some(QueueRequest::Contact(Some(ContactLink {
        link_id: &link_id,
        sender_id: &sender_id,
        data: LinkData {
            fixed: &[],
            user: &[],
        },
    })));
    for peer in [Peer::open(&cores[0], 1), Peer::open(&cores[1], 2)] {
        let core = &cores[usize::from(peer.client.session.core)];
        let new = Command::New(new.clone());
        let bytes = peer
            .client
            .transmission_with(&corr_id, Some(&key), &[], &new);
        peer.send(core, &bytes);
        settle(&cores);
        // The second is refused, wherever it comes from.
        let expected = if core.index == 0 { "IDS" } else { "ERR AUTH" };
        assert_eq!(peer.words(), [expected]);
        let get = peer.client.transmission(None, &link_id, &Command::LGet);
        peer.send(core, &get);
        settle(&cores);
        assert_eq!(peer.words(), ["LNK"]);
    }
}

#[test]
fn congestion_stops_connections_and_ends_with_a_wake_up() {
    let cores = cores(2, QueuePlacement::Remote);
    let (waits, gone) = (Peer::open(&cores[0], 1), Peer::open(&cores[0], 2));
    let queue = waits.create(&cores);
    assert!(!cores[0].is_congested_for(&waits.connection));
    while !cores[0].mesh.is_congested() {
        waits.own(&cores[0], &queue, &Command::Que);
    }
    assert!(cores[0].is_congested_for(&waits.connection));
    assert!(cores[0].is_congested_for(&waits.connection));
    assert!(cores[0].is_congested_for(&gone.connection));
    cores[0].close_session(&gone.connection);
    waits.is_woken();
    // The sender's end of the mesh is emptied only when it looks again.
    while cores[1].receive() {}
    assert!(cores[0].mesh.is_congested());
    assert!(!waits.is_woken());
    cores[0].receive();
    assert!(!cores[0].mesh.is_congested());
    assert!(waits.is_woken());
    assert!(cores[0].congested.borrow().is_empty());
    settle(&cores);
    assert!(waits.connection.session.borrow().is_settled());
}

#[test]
fn a_message_without_room_is_asked_for_again_from_either_shard() {
    for (placement, home) in [(QueuePlacement::Local, 0), (QueuePlacement::Remote, 1)] {
        let cores = cores(2, placement);
        let peer = Peer::open(&cores[0], 1);
        let queue = peer.create(&cores);
        assert_eq!(cores[0].partitioner.shard_of(&queue.recipient), home);
        peer.own(&cores[0], &queue, &Command::Sub);
        peer.message(&cores[0], &queue);
        settle(&cores);
        assert_eq!(peer.words(), ["SOK", "MSG", "OK"]);
        peer.is_woken();
        let reference = peer.client.session;
        cores[0].run(|router| cores[0].redeliver(reference, queue.recipient, router));
        settle(&cores);
        assert_eq!(peer.words(), ["MSG"]);
        assert!(peer.is_woken());
    }
}

#[test]
fn a_stop_wakes_every_connection() {
    let cores = cores(1, QueuePlacement::Local);
    let peers = [Peer::open(&cores[0], 1), Peer::open(&cores[0], 2)];
    cores[0].stop();
    assert!(cores[0].is_stopping());
    assert!(peers.iter().all(Peer::is_woken));
}

#[test]
fn only_stalled_connections_are_dropped() {
    let cores = cores(1, QueuePlacement::Local);
    let [stalled, recovered, busy] = [1, 2, 3].map(|slot| Peer::open(&cores[0], slot));
    stalled.connection.set_stalled(true);
    recovered.connection.set_stalled(true);
    recovered.connection.set_stalled(false);
    cores[0].drop_stalled(Duration::from_secs(3600));
    assert!(!stalled.connection.is_aborted());
    // The clock may be coarse, but it has moved once this returns.
    while !stalled.connection.is_aborted() {
        cores[0].drop_stalled(Duration::ZERO);
    }
    assert!(stalled.is_woken());
    for peer in [recovered, busy] {
        assert!(!peer.connection.is_aborted() && !peer.is_woken());
    }
}

/// Flushes what is due, as the timer of each executor does.
fn tick(core: &Core) {
    let mut due = core.take_sessions_with_events();
    while !due.is_empty() {
        core.flush_events(&mut due);
    }
}

#[test]
fn ended_subscriptions_are_told_together() {
    let interval = Duration::from_secs(15);
    for (placement, home) in [(QueuePlacement::Local, 0), (QueuePlacement::Remote, 1)] {
        let cores = cores_with(2, placement, interval);
        let (first, second) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
        let queues = [first.create(&cores), first.create(&cores)];
        assert_eq!(cores[0].partitioner.shard_of(&queues[0].recipient), home);
        let subscribe = |peer: &Peer, queue: &Queue| {
            let core = usize::from(peer.client.session.core);
            peer.own(&cores[core], queue, &Command::Sub);
            settle(&cores);
            assert_eq!(peer.words(), ["SOK"]);
        };
        for queue in &queues {
            subscribe(&first, queue);
            subscribe(&second, queue);
        }
        first.is_woken();
        second.is_woken();
        assert!(first.words().is_empty());
        tick(&cores[1]);
        assert!(!first.is_woken());
        tick(&cores[0]);
        assert!(first.is_woken() && !second.is_woken());
        assert_eq!(first.words(), ["END", "END"]);
        let counted = |core: &Core| {
            let counters = core.counters();
            (counters.sub_ended, counters.sub_ended_batches)
        };
        assert_eq!((counted(&cores[0]), counted(&cores[1])), ((2, 1), (0, 0)));
        // Nothing is told of what ended and began again, nor to who has left.
        subscribe(&first, &queues[0]);
        subscribe(&second, &queues[0]);
        assert_eq!(cores[1].with_events.borrow().len(), 1);
        subscribe(&first, &queues[0]);
        subscribe(&second, &queues[0]);
        assert_eq!(cores[0].with_events.borrow().len(), 1);
        cores[0].close_session(&first.connection);
        assert!(cores[0].with_events.borrow().is_empty());
        settle(&cores);
        tick(&cores[1]);
        assert!(second.words().is_empty());
        assert_eq!(counted(&cores[1]), (0, 0));
    }
}

#[test]
fn blocks_of_ended_subscriptions_are_counted_as_the_reference_does() {
    let cores = cores_with(1, QueuePlacement::Local, Duration::from_secs(15));
    let peer = Peer::open(&cores[0], 1);
    for (count, total, batches) in [(254, 254, 1), (255, 509, 3)] {
        for _ in 0..count {
            let session = peer.client.session;
            cores[0].run(|router| router.push(session, [1; 24], Response::Deld));
        }
        tick(&cores[0]);
        let counters = cores[0].counters();
        assert_eq!(counters.sub_ended, total);
        assert_eq!(counters.sub_ended_batches, batches);
        assert_eq!(peer.words().len(), count);
    }
}

#[test]
fn so_many_ends_that_no_more_may_wait_are_told_at_once() {
    let cores = cores_with(1, QueuePlacement::Local, Duration::from_secs(15));
    let peer = Peer::open(&cores[0], 1);
    let session = peer.client.session;
    for _ in 0..MAX_PENDING_EVENTS {
        assert!(peer.words().is_empty());
        cores[0].run(|router| router.push(session, [1; 24], Response::Deld));
    }
    assert!(peer.is_woken());
    assert_eq!(peer.words().len(), MAX_PENDING_EVENTS);
}

#[test]
fn messages_to_queues_of_two_shards_are_stored_in_the_order_sent() {
    let cores = cores(2, QueuePlacement::Remote);
    let peers = [Peer::open(&cores[0], 1), Peer::open(&cores[1], 2)];
    let sender = Peer::open(&cores[0], 3);
    // The queue of each lies with the other.
    let queues = peers.each_ref().map(|peer| peer.create(&cores));
    for (core, (peer, queue)) in cores.iter().zip(peers.iter().zip(&queues)) {
        peer.own(core, queue, &Command::Sub);
        settle(&cores);
        assert_eq!(peer.words(), ["SOK"]);
    }
    let there_and_here = queues.each_ref().map(|queue| sender.message_to(queue));
    sender.send_block(&cores[0], &there_and_here);
    cores[0].receive();
    assert!(sender.words().is_empty());
    // The own shard could have been quicker, and would have told the other core by now.
    while cores[1].receive() {}
    assert!(peers[1].words().is_empty());
    settle(&cores);
    assert_eq!(sender.words(), ["OK", "OK"]);
    assert!(peers.iter().all(|peer| peer.words() == ["MSG"]));

    // The other shard says that it has stored the message before the disk has.
    sender.send_block(&cores[0], &there_and_here);
    let ticket = Ticket { batch: 1, index: 0 };
    cores[1].run(|router| router.executed(sender.client.session, ticket));
    cores[0].receive();
    let held_by_shard = |core: usize| cores[core].shard.borrow().totals().messages;
    assert_eq!(held_by_shard(0), 2);
    assert_eq!(held_by_shard(1), 1);
    settle(&cores);
    assert_eq!(sender.words(), ["OK", "OK"]);
}

#[test]
fn notifications_come_in_portions_from_either_shard() {
    for (placement, home) in [(QueuePlacement::Local, 0), (QueuePlacement::Remote, 1)] {
        let cores = cores(2, placement);
        let (peer, sender) = (Peer::open(&cores[0], 1), Peer::open(&cores[1], 2));
        let key = ed25519(7);
        // More than a session is given before it has taken any.
        let (queues, messages) = (5, 128);
        for _ in 0..queues {
            let queue = peer.create(&cores);
            assert_eq!(cores[0].partitioner.shard_of(&queue.recipient), home);
            let credentials = NotifierCredentials {
                auth_key: key.public(),
                dh_key: recipient_dh().public_key(),
            };
            peer.own(&cores[0], &queue, &Command::NKey(credentials));
            settle(&cores);
            let mut notifier_id = Vec::new();
            peer.received(|nid| {
                if let Response::Nid {
                    notifier_id: id, ..
                } = nid
                {
                    notifier_id = id.to_vec();
                }
            });
            let nsub = peer
                .client
                .transmission(Some(&key), &notifier_id, &Command::NSub);
            peer.send(&cores[0], &nsub);
            settle(&cores);
            assert_eq!(peer.words(), ["SOK"]);
            for _ in 0..messages {
                sender.message(&cores[1], &queue);
                settle(&cores);
            }
        }
        let shard = &cores[usize::from(home)].shard;
        cores[usize::from(home)].run(|router| {
            let mut shard = shard.borrow_mut();
            shard.begin_notification_tick();
            while shard.deliver_notifications(queues, &mut router.effects) {}
        });
        settle(&cores);
        assert!(peer.is_woken());
        assert!(shard.borrow().waiting_notifications() > 0);
        let mut received = 0;
        loop {
            let words = peer.words();
            assert!(words.iter().all(|word| word == "NMSG"));
            received += words.len();
            let Some((from, count)) = peer.connection.session.borrow_mut().take_credit() else {
                break;
            };
            assert_eq!((from, count as usize), (home, words.len()));
            let session = peer.client.session;
            cores[0].run(|router| cores[0].notifications_taken(session, from, count, router));
            settle(&cores);
        }
        assert_eq!(received, queues * messages);
        assert_eq!(shard.borrow().waiting_notifications(), 0);
    }
}

#[test]
fn a_session_joins_its_service_wherever_that_lives() {
    let cores = cores(2, QueuePlacement::Local);
    for home in 0..2 {
        let peer = Peer::open(&cores[0], 1);
        let leading_to = |shard: u16| {
            let mut bytes = 0..=u8::MAX;
            bytes.find(|n| cores[0].partitioner.shard_of(&[*n; 24]) == shard)
        };
        // The id of an imported service leads anywhere.
        let service = ServiceSession {
            id: [leading_to(1 - home).unwrap(); 24],
            role: ServiceRole::Notifier,
            fingerprint: [leading_to(home).unwrap(); 32],
            session_key: [2; 32],
        };
        let context =
            Arc::new(SessionContext::new(Version::CURRENT, &[1; 32], None).with_service(service));
        let session = peer.client.session;
        let asked = cores[0].run(|router| router.join_service(session, &context, true));
        assert_eq!(asked, Some(home));
        settle(&cores);
        assert!(
            peer.connection
                .session
                .borrow()
                .holds_service_subscription()
        );
        assert!(peer.is_woken());
        let asked = cores[0].run(|router| router.join_service(session, &peer.client.context, true));
        assert_eq!(asked, None);
    }
}

#[test]
fn received_blocks_are_counted_by_kind() {
    let cores = cores(1, QueuePlacement::Local);
    let peer = Peer::open(&cores[0], 1);
    let queue = peer.create(&cores);
    let own = |command: &Command<'_>| {
        peer.client
            .transmission(Some(&queue.key), &queue.recipient, command)
    };
    let blocks = [
        (Command::Sub, 1),
        (Command::NDel, 2),
        (Command::NSub, 3),
        (Command::Del, 4),
    ];
    for (command, count) in &blocks {
        for _ in 0..*count {
            peer.send_block(&cores[0], &[own(command), own(command)]);
        }
    }
    let counters = cores[0].counters();
    assert_eq!(counters.sub_all_batches, 1);
    assert_eq!(counters.ntf_deleted_batches, 2);
    assert_eq!(counters.ntf_sub_batches, 3);
    assert_eq!(counters.deleted_all_batches, 4);
}
