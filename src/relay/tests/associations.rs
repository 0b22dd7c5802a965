//! Notifiers and services: every row of `NSUB` (spec: server §3.20), with what is counted.

use super::clients::{Client, Queue};
use super::steps::Notifier;
use super::world::World;
use crate::protocol::{Command, Version};
use crate::relay::SessionRef;
use crate::store::{Id, Lsn};

/// A queue with a notifier, its recipient, and connections that want its notifications: two that
/// are no service, two of service A, one of service B.
struct Scene {
    world: World,
    me: Client,
    queue: Queue,
    notifier: Notifier,
    plain: [Client; 2],
    a: [Client; 2],
    b: Client,
}

impl Scene {
    fn new(shards: u16) -> Self {
        let mut world = World::new(shards);
        let me = Client::new(1, Version::CURRENT);
        let queue = world.queue_on(shards - 1, &me);
        let notifier = world.notifier(&me, &queue, 1);
        let a = [world.ntf_service(4, 0xa), world.ntf_service(5, 0xa)];
        let b = world.ntf_service(6, 0xb);
        Self {
            world,
            me,
            queue,
            notifier,
            plain: [2, 3].map(|slot| Client::new(slot, Version::CURRENT)),
            a,
            b,
        }
    }

    fn client(&self, by: By) -> &Client {
        match by {
            Plain(i) => &self.plain[i],
            A(i) => &self.a[i],
            B => &self.b,
        }
    }

    fn nsub(&mut self, by: By) -> String {
        let client = match by {
            Plain(i) => &self.plain[i],
            A(i) => &self.a[i],
            B => &self.b,
        };
        self.world.nsub(client, &self.notifier)
    }

    /// The service that the notifier belongs to.
    fn association(&self) -> Option<Id> {
        self.world.record(&self.queue).notifier.unwrap().service_id
    }

    /// Who gets the notification of a message sent now.
    fn notified(&mut self) -> Vec<SessionRef> {
        self.world.flag(&self.me, &self.queue, 1);
        self.world.tick();
        let notified = self.world.take_notified();
        // The queue must not fill up.
        self.world.own(&self.me, &self.queue, &Command::Sub);
        let message = self.world.pushes.remove(0).2;
        let msg_id = Queue::message_id(&message);
        let ack = Command::Ack { msg_id: &msg_id };
        self.world.own(&self.me, &self.queue, &ack);
        notified.into_iter().map(|(session, _)| session).collect()
    }
}

/// Who subscribes, among the connections of a scene.
#[derive(Debug, Clone, Copy)]
enum By {
    Plain(usize),
    A(usize),
    B,
}

/// What is pushed to whom.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// `END` with the notifier id.
    End(By),
    /// `ENDS` with the service id and a number of queues.
    Ends(By, &'static str),
}

/// A row: who subscribed before, who does now, who is told, what is counted.
type Row = (
    &'static [By],
    By,
    &'static [Told],
    &'static [(&'static str, u64)],
);

use By::{A, B, Plain};
use Told::{End, Ends};

const ROWS: &[Row] = &[
    // No service, no association: individual subscriptions.
    (&[], Plain(0), &[], &[("ntf_subscribed", 1)]),
    (&[Plain(0)], Plain(0), &[], &[("ntf_sub_duplicate", 1)]),
    (
        &[Plain(1)],
        Plain(0),
        &[End(Plain(1))],
        &[("ntf_subscribed", 1)],
    ),
    // No service, an association: it is removed, and its service told.
    (
        &[A(0)],
        Plain(0),
        &[End(A(0))],
        &[("ntf_subscribed", 1), ("ntf_assoc_removed", 1)],
    ),
    // Repeated, it is gone already.
    (
        &[A(0), Plain(0)],
        Plain(0),
        &[],
        &[("ntf_sub_duplicate", 1)],
    ),
    // The service's own association.
    (&[A(0)], A(0), &[], &[("ntf_assoc_duplicate", 1)]),
    // From another of its connections, which takes the whole service over.
    (
        &[A(0)],
        A(1),
        &[Ends(A(0), "ENDS 1")],
        &[
            ("ntf_assoc_duplicate", 1),
            ("ntf_service_subscribed", 1),
            ("ntf_service_queues", 1),
        ],
    ),
    // A service without association: it gets one; individual subscribers lose.
    (
        &[],
        A(0),
        &[],
        &[
            ("ntf_assoc_new", 1),
            ("ntf_service_subscribed", 1),
            ("ntf_service_queues", 1),
        ],
    ),
    (
        &[Plain(0)],
        A(0),
        &[End(Plain(0))],
        &[
            ("ntf_assoc_new", 1),
            ("ntf_service_subscribed", 1),
            ("ntf_service_queues", 1),
        ],
    ),
    // Back again: its connection still subscribes for the service.
    (
        &[A(0), Plain(0)],
        A(0),
        &[End(Plain(0))],
        &[("ntf_assoc_new", 1), ("ntf_service_queues", 1)],
    ),
    // Another service.
    (
        &[B],
        A(0),
        &[End(B)],
        &[
            ("ntf_assoc_updated", 1),
            ("ntf_service_subscribed", 1),
            ("ntf_service_queues", 1),
        ],
    ),
    (
        &[A(0), B],
        A(0),
        &[End(B)],
        &[("ntf_assoc_updated", 1), ("ntf_service_queues", 1)],
    ),
];

#[test]
fn every_row_of_nsub_tells_the_listed_and_counts_the_listed() {
    for shards in [1, 3] {
        for (before, by, told, counted) in ROWS {
            let mut scene = Scene::new(shards);
            for by in *before {
                scene.nsub(*by);
            }
            scene.world.take_events();
            let counters = scene.world.counters();
            let answer = scene.nsub(*by);

            let service = scene.client(*by).context.service().map(|s| s.id);
            let expected = service.map_or("SOK", |_| "SOK service");
            assert_eq!(answer, expected, "{before:?} {by:?}");
            assert_eq!(scene.association(), service, "{before:?} {by:?}");
            let told = told.iter().map(|told| match told {
                End(by) => {
                    let session = scene.client(*by).session;
                    (session, scene.notifier.id, "END".to_owned())
                }
                Ends(by, ends) => {
                    let client = scene.client(*by);
                    (client.session, client.service_id(), (*ends).to_owned())
                }
            });
            let told: Vec<_> = told.collect();
            assert_eq!(scene.world.take_events(), told, "{before:?} {by:?}");
            let moved = scene.world.counted_since(&counters);
            assert_eq!(moved, *counted, "{before:?} {by:?}");
            let subscriber = scene.client(*by).session;
            assert_eq!(scene.notified(), [subscriber], "{before:?} {by:?}");
        }
    }
}

/// Each takes the notifier from the other while the disk lags: were the news held, they would come
/// after the loser had it again.
#[test]
fn who_loses_a_notifier_is_told_before_the_disk() {
    let mut scene = Scene::new(1);
    scene.nsub(Plain(0));
    scene.nsub(A(0));
    scene.world.take_events();
    let (world, notifier) = (&mut scene.world, &scene.notifier);
    world.shards[0].store.synced = Some(Lsn(0));
    let (plain, service) = (&scene.plain[0], &scene.a[0]);
    for (by, loser) in [(plain, service), (service, plain), (plain, service)] {
        let nsub = by.transmission(Some(&notifier.key), &notifier.id, &Command::NSub);
        world.execute(0, by, &[nsub]);
        let end = (loser.session, notifier.id, "END".to_owned());
        assert_eq!(world.take_events(), [end]);
        assert!(world.replies.is_empty());
    }
    world.sync(0);
    assert!(world.take_events().is_empty());
    assert_eq!(world.replies.len(), 3);
}

#[test]
fn an_individual_subscription_that_a_service_ended_leaves_no_trace() {
    let mut scene = Scene::new(1);
    scene.nsub(Plain(0));
    scene.nsub(A(0));
    let lost = scene.plain[0].session;
    assert!(!scene.world.shards[0].has_subscriptions(lost));
    scene.world.take_events();
    // Whoever takes it from the service takes nothing from who lost it before.
    scene.nsub(Plain(1));
    let end = (scene.a[0].session, scene.notifier.id, "END".to_owned());
    assert_eq!(scene.world.take_events(), [end]);
    scene.nsub(Plain(0));
    let end = (scene.plain[1].session, scene.notifier.id, "END".to_owned());
    assert_eq!(scene.world.take_events(), [end]);
}

#[test]
fn what_waited_comes_with_the_association_or_its_removal() {
    for shards in [1, 2] {
        let mut scene = Scene::new(shards);
        let (sender, queue) = (&scene.me, &scene.queue);
        let joined = scene.a[0].session;
        scene.world.nsubs(&scene.a[0]);
        scene.world.flag(sender, queue, 1);
        scene.world.tick();
        assert!(scene.world.pushes.is_empty());
        scene.nsub(A(0));
        scene.world.tick();
        assert_eq!(scene.world.take_notified(), [(joined, 1)]);
        scene.world.close(&scene.a[0]);
        scene.world.deliver_all();
        scene.world.flag(&scene.me, &scene.queue, 2);
        scene.world.tick();
        assert!(scene.world.pushes.is_empty());
        let plain = scene.plain[0].session;
        scene.nsub(Plain(0));
        scene.world.tick();
        assert_eq!(scene.world.take_notified(), [(plain, 2)]);
    }
}
