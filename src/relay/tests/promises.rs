//! Which answers and events about links, notifiers and services wait for the disk
//! (spec: server §3, §11).

use super::clients::{Client, Key, Queue, ed25519, words};
use super::steps::{FLAGGED, NSUBS, Notifier, credentials};
use super::world::World;
use crate::protocol::command::LinkData;
use crate::protocol::{Command, Version};
use crate::relay::Answer;
use crate::store::{Id, Lsn};

const LINK: Id = [7; 24];

/// A contact queue and a messaging queue with a link, both with a notifier, and who uses them.
struct Scene {
    world: World,
    me: Client,
    other: Client,
    service: Client,
    contact: Queue,
    queue: Queue,
    notifier: Notifier,
    key: Key,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(1);
        let [me, other] = [1, 2].map(|slot| Client::new(slot, Version::CURRENT));
        let service = world.ntf_service(3, 1);
        let contact = world.contact(&me);
        let queue = world.messaging(&me);
        let notifier = world.notifier(&me, &queue, 1);
        let mut scene = Self {
            world,
            me,
            other,
            service,
            contact,
            queue,
            notifier,
            key: ed25519(5),
        };
        let lset = lset(&LINK);
        assert_eq!(scene.world.own(&scene.me, &scene.queue, &lset), "OK");
        scene
    }

    /// Sends a command with the key and the id that belong to it.
    fn execute(&mut self, command: &Command<'_>, by: By) {
        let (key, id) = match by {
            By::Recipient => (&self.queue.key, self.queue.recipient),
            By::Contact => (&self.contact.key, self.contact.recipient),
            By::Reader => (&self.key, LINK),
            By::Sender => (&self.key, self.queue.sender),
            By::Ntf | By::Service => (&self.notifier.key, self.notifier.id),
            By::ServiceItself => {
                let key = self.service.service_key.as_ref().unwrap();
                (key, self.service.service_id())
            }
        };
        let client = match by {
            By::Recipient | By::Contact => &self.me,
            By::Reader | By::Sender | By::Ntf => &self.other,
            By::Service | By::ServiceItself => &self.service,
        };
        let bytes = client.transmission(Some(key), &id, command);
        self.world.execute(0, client, &[bytes]);
    }

    fn answers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.world.replies)
            .into_iter()
            .map(|(_, _, answer)| match answer {
                Answer::Response(response) | Answer::ServiceSubscription(response) => {
                    words(&response)
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn lag(&mut self) {
        self.world.shards[0].store.synced = Some(Lsn(0));
    }
}

/// Who sends a command about what.
#[derive(Debug, Clone, Copy)]
enum By {
    Recipient,
    Contact,
    Reader,
    Sender,
    Ntf,
    Service,
    ServiceItself,
}

fn lset(link_id: &Id) -> Command<'_> {
    let data = LinkData {
        fixed: b"f",
        user: b"u",
    };
    Command::LSet { link_id, data }
}

#[test]
fn promises_of_a_change_wait_for_the_disk_and_so_do_their_repetitions() {
    let key = ed25519(5).public();
    let rows = [
        (lset(&LINK), By::Recipient, "OK", "OK"),
        (Command::LDel, By::Recipient, "OK", "OK"),
        (Command::LKey(key), By::Reader, "LNK", "LNK"),
        (Command::SKey(key), By::Sender, "OK", "OK"),
        (
            Command::NKey(credentials(&ed25519(9))),
            By::Recipient,
            "NID",
            "NID",
        ),
        (Command::NDel, By::Recipient, "OK", "OK"),
        (Command::NSub, By::Service, "SOK service", "SOK service"),
        (
            Command::RKey(vec![ed25519(0x11).public()]),
            By::Contact,
            "OK",
            "OK",
        ),
    ];
    for (command, by, first, second) in rows {
        let mut scene = Scene::new();
        scene.lag();
        // The repetition comes before the first is durable.
        for _ in 0..2 {
            scene.execute(&command, by);
            assert!(scene.world.replies.is_empty(), "{command:?} came too early");
        }
        scene.world.sync(0);
        assert_eq!(scene.answers(), [first, second]);
        assert_eq!(scene.world.executed.len(), 2);
        // Once it is, nothing more waits.
        if !matches!(command, Command::NKey(_) | Command::LKey(_)) {
            scene.world.shards[0].store.synced = None;
            scene.execute(&command, by);
            assert_eq!(scene.answers(), [second]);
        }
    }
}

#[test]
fn leaving_a_service_waits_for_the_disk_and_subscribing_alone_does_not() {
    let mut scene = Scene::new();
    scene.lag();
    scene.execute(&Command::NSub, By::Ntf);
    assert_eq!(scene.answers(), ["SOK"]);
    scene.world.shards[0].store.synced = None;
    scene.world.nsub(&scene.service, &scene.notifier);
    scene.world.take_events();
    scene.lag();
    scene.execute(&Command::NSub, By::Ntf);
    assert!(scene.world.replies.is_empty());
    // That it was lost promises the service nothing.
    let end = (scene.service.session, scene.notifier.id, "END".to_owned());
    assert_eq!(scene.world.take_events(), [end]);
    scene.world.sync(0);
    assert_eq!(scene.answers(), ["SOK"]);
    assert!(scene.world.pushes.is_empty());
}

#[test]
fn reading_and_counting_do_not_wait() {
    let mut scene = Scene::new();
    let contact_link = [8; 24];
    let set = lset(&contact_link);
    assert_eq!(scene.world.own(&scene.me, &scene.contact, &set), "OK");
    scene.lag();
    scene.execute(&NSUBS, By::ServiceItself);
    assert_eq!(scene.answers(), ["SOKS 0"]);
    let get = scene
        .world
        .ask(&scene.other, None, &contact_link, &Command::LGet);
    assert_eq!(words(&get), "LNK");
    // Refusals promise nothing.
    scene.execute(&lset(&[9; 24]), By::Recipient);
    assert_eq!(scene.answers(), ["ERR AUTH"]);
}

#[test]
fn whoever_loses_a_notifier_hears_of_it_when_it_is_durable() {
    let commands = [
        Command::NDel,
        Command::NKey(credentials(&ed25519(9))),
        Command::Del,
    ];
    for command in commands {
        for by_service in [false, true] {
            let mut scene = Scene::new();
            let subscriber = if by_service {
                &scene.service
            } else {
                &scene.other
            };
            let session = subscriber.session;
            scene.world.nsub(subscriber, &scene.notifier);
            scene.lag();
            scene.execute(&command, By::Recipient);
            assert!(scene.world.pushes.is_empty() && scene.world.replies.is_empty());
            scene.world.sync(0);
            let deld = (session, scene.notifier.id, "DELD".to_owned());
            assert_eq!(scene.world.take_events(), [deld]);
            assert_eq!(scene.answers().len(), 1);
        }
    }
}

#[test]
fn notifications_do_not_wait_for_the_disk() {
    let mut scene = Scene::new();
    scene.world.nsub(&scene.other, &scene.notifier);
    scene.lag();
    let bytes = scene.me.transmission(None, &scene.queue.sender, &FLAGGED);
    scene.world.execute(0, &scene.me, &[bytes]);
    scene.world.tick();
    assert_eq!(scene.world.take_notified(), [(scene.other.session, 1)]);
    assert!(scene.world.replies.is_empty());
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_nothing_half_done() {
    let key = ed25519(5).public();
    let rows = [
        (lset(&LINK), By::Recipient),
        (lset(&[8; 24]), By::Contact),
        (Command::LDel, By::Recipient),
        (Command::LKey(key), By::Reader),
        (Command::SKey(key), By::Sender),
        (Command::Key(key), By::Recipient),
        (Command::Off, By::Recipient),
        (Command::RKey(vec![key]), By::Contact),
        (Command::NKey(credentials(&ed25519(9))), By::Recipient),
        (Command::NDel, By::Recipient),
        (Command::NSub, By::Service),
    ];
    for (command, by) in rows {
        let mut scene = Scene::new();
        scene.world.nsub(&scene.other, &scene.notifier);
        scene.world.flag(&scene.me, &scene.queue, 1);
        let before = scene.world.counters();
        scene.world.shards[0].store.full = true;
        scene.execute(&command, by);
        assert_eq!(scene.answers(), ["ERR STORE"], "{command:?}");
        assert_eq!(scene.world.counted_since(&before), [], "{command:?}");
        // Nobody hears of anything, and the notifier works as before.
        scene.world.tick();
        let subscriber = scene.other.session;
        assert_eq!(scene.world.take_notified(), [(subscriber, 1)]);
        let record = scene.world.record(&scene.queue);
        assert_eq!(record.link_id, Some(LINK));
        assert_eq!(record.sender_key, None);
        assert_eq!(record.notifier.unwrap().service_id, None);
        assert_eq!(scene.world.record(&scene.contact).link_id, None);
        // As soon as there is room it is carried out.
        scene.world.shards[0].store.full = false;
        scene.execute(&command, by);
        assert_ne!(scene.answers(), ["ERR STORE"], "{command:?}");
    }
}

#[test]
fn a_full_disk_keeps_a_notifier_with_its_service() {
    let mut scene = Scene::new();
    scene.world.nsub(&scene.service, &scene.notifier);
    scene.world.shards[0].store.full = true;
    scene.execute(&Command::NSub, By::Ntf);
    assert_eq!(scene.answers(), ["ERR STORE"]);
    assert!(scene.world.take_events().is_empty());
    // The service's own subscriptions change nothing.
    scene.execute(&Command::NSub, By::Service);
    assert_eq!(scene.answers(), ["SOK service"]);
    scene.execute(&NSUBS, By::ServiceItself);
    assert_eq!(scene.answers(), ["SOKS 1"]);
    assert_eq!(
        scene.world.own(&scene.me, &scene.queue, &Command::Del),
        "OK"
    );
    let deld = (scene.service.session, scene.notifier.id, "DELD".to_owned());
    assert_eq!(scene.world.take_events(), [deld]);
}
