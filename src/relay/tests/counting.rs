//! Every counter moves by what the statistics say, and no other does (spec: server §12.2).

mod tables;

use super::clients::{Client, Key, Queue, ed25519, new_queue};
use super::steps::{Notifier, credentials};
use super::world::{QUOTA, World};
use crate::protocol::command::{LinkData, QueueRequest};
use crate::protocol::error::{BlockingInfo, BlockingReason};
use crate::protocol::{Command, Response, Version};
use crate::relay::OperatorCall;
use crate::relay::notification::MIN_PER_QUEUE;
use crate::store::Id;
use tables::{MESSAGES, NOTIFIERS, QUEUES, RECEIVING};

const LINK: Id = [7; 24];
const TTL: i64 = 100;

/// A messaging queue with a link and a notifier, a contact queue, and who uses them.
struct Scene {
    world: World,
    me: Client,
    other: Client,
    queue: Queue,
    notifier: Notifier,
    contact: Queue,
    key: Key,
}

impl Scene {
    fn new(quota: usize) -> Self {
        let mut world = World::configured(1, |config| {
            config.message_ttl = Some(TTL);
            config.expire_on_send = true;
            config.notification_ttl = TTL;
            config.queue_quota = quota;
        });
        let [me, other] = [1, 2].map(|slot| Client::new(slot, Version::CURRENT));
        let queue = world.messaging(&me);
        let notifier = world.notifier(&me, &queue, 1);
        let contact = world.contact(&me);
        let mut scene = Self {
            world,
            me,
            other,
            queue,
            notifier,
            contact,
            key: ed25519(5),
        };
        scene.lset(b"u");
        scene
    }

    fn own(&mut self, command: &Command<'_>) {
        self.world.own(&self.me, &self.queue, command);
    }

    fn lset(&mut self, user: &[u8]) {
        let data = LinkData { fixed: b"f", user };
        let link_id = &LINK;
        self.own(&Command::LSet { link_id, data });
    }

    fn by_other(&mut self, command: &Command<'_>) {
        self.world.own(&self.other, &self.queue, command);
    }

    fn send(&mut self, body: &str) {
        self.world.send(&self.other, &self.queue, body);
    }

    fn flag(&mut self, count: usize) {
        self.world.flag(&self.other, &self.queue, count);
    }

    /// A recipient command with a key that is not the queue's.
    fn wrongly(&mut self, command: &Command<'_>) {
        let wrong = ed25519(9);
        self.world
            .ask(&self.me, Some(&wrong), &self.queue.recipient, command);
    }

    /// A command of the sender with its own key.
    fn as_sender(&mut self, id: Id, command: &Command<'_>) {
        self.world.ask(&self.other, Some(&self.key), &id, command);
    }

    fn nsub(&mut self) {
        self.world.nsub(&self.other, &self.notifier);
    }

    fn new_queue(&mut self, with_notifier: bool) {
        let key = ed25519(3);
        let mut new = new_queue(&key, Some(QueueRequest::Contact(None)));
        new.notifier = with_notifier.then(|| credentials(&ed25519(4)));
        self.world
            .ask(&self.me, Some(&key), &[], &Command::New(new));
    }

    fn block(&mut self) {
        let call = OperatorCall { core: 0, token: 0 };
        let info = BlockingInfo {
            reason: BlockingReason::Spam,
            notice: None,
        };
        let mut effects = Vec::new();
        self.world.shards[0].block(call, &self.queue.sender, info, &mut effects);
        self.world.collect(0, effects);
    }

    /// Fetches, and acknowledges.
    fn receive(&mut self) {
        let (queue, me) = (&self.queue, &self.me);
        let message = self
            .world
            .ask(me, Some(&queue.key), &queue.recipient, &Command::Get);
        self.ack(&message);
    }

    fn ack(&mut self, message: &Response<'_>) {
        let msg_id = Queue::message_id(message);
        self.own(&Command::Ack { msg_id: &msg_id });
    }

    /// Acknowledges the message that was pushed.
    fn ack_pushed(&mut self) {
        let message = self.world.pushes.remove(0).2;
        self.ack(&message);
    }
}

#[test]
fn every_action_counts_what_the_table_says_and_nothing_else() {
    for (name, before, action, counted) in [QUEUES, MESSAGES, RECEIVING, NOTIFIERS].concat() {
        let mut scene = Scene::new(QUOTA);
        before(&mut scene);
        let counters = scene.world.counters();
        action(&mut scene);
        assert_eq!(scene.world.counted_since(&counters), counted, "{name}");
    }
}

#[test]
fn notifications_of_a_tick_are_counted_in_batches_whatever_its_steps() {
    let mut scene = Scene::new(1_000);
    scene.nsub();
    for (count, batches) in [(79, 1), (80, 2), (128, 2)] {
        scene.flag(count);
        let before = scene.world.counters();
        scene.world.tick();
        let expected = [
            ("notifications_delivered", count as u64),
            ("notification_batches", batches),
        ];
        assert_eq!(scene.world.counted_since(&before), expected);
        scene.world.taken(0, &scene.other, count as u32);
    }
    let queues = [(); 5].map(|()| scene.world.messaging(&scene.me));
    for queue in &queues {
        let notifier = scene.world.notifier(&scene.me, queue, 1);
        scene.world.nsub(&scene.other, &notifier);
        scene.world.flag(&scene.me, queue, 33);
    }
    let before = scene.world.counters();
    assert_eq!(scene.world.tick_in_steps(0, 1), 5);
    let expected = [
        ("notifications_delivered", 165),
        ("notification_batches", 3),
    ];
    assert_eq!(scene.world.counted_since(&before), expected);
}

#[test]
fn notifications_that_are_displaced_are_lost() {
    let mut scene = Scene::new(1);
    for _ in 0..MIN_PER_QUEUE {
        scene.flag(1);
        scene.receive();
    }
    let before = scene.world.counters();
    scene.flag(1);
    let expected = [
        ("messages_sent", 1),
        ("flagged_sent", 1),
        ("notifications_lost", 1),
    ];
    assert_eq!(scene.world.counted_since(&before), expected);
}
