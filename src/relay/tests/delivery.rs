//! One message at a time to whoever listens (spec: server §5.1, §5.2).

use super::clients::{Client, Queue};
use super::world::Listening::{self, D, G, GD, I, N};
use super::world::{World, two_clients};
use crate::protocol::{Command, Version};
use crate::relay::{Effect, Request, Ticket};
use crate::store::Store;

/// What happens to a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Sub,
    Get,
    /// Acknowledge what was delivered.
    Ack,
    AckOther,
    AckEmpty,
    Del,
    Close,
    /// By another connection.
    OthersSend,
    OthersSub,
    OthersDel,
}
use Event::{Ack, AckEmpty, AckOther, Close, Del, Get, OthersDel, OthersSend, OthersSub, Sub};

const NO_MSG: &str = "ERR NO_MSG";
const PROHIBITED: &str = "ERR CMD PROHIBITED";

/// A state with a number of waiting messages, an event, the answer to it or to the other
/// connection, what is pushed to this connection, and the state after it.
type Row = (
    (Listening, usize),
    Event,
    &'static str,
    &'static [&'static str],
    Listening,
);

/// Messages are `1`, `2`, … in the order in which they were sent.
const TABLE: &[Row] = &[
    ((N, 0), Sub, "SOK", &[], I),
    ((N, 1), Sub, "SOK", &["MSG 1"], D),
    ((I, 0), Sub, "SOK", &[], I),
    ((D, 0), Sub, "SOK", &[], I),
    ((D, 1), Sub, "SOK", &["MSG 1"], D),
    ((D, 2), Sub, "SOK", &["MSG 1"], D),
    ((G, 0), Sub, PROHIBITED, &[], G),
    ((G, 1), Sub, PROHIBITED, &[], G),
    ((GD, 1), Sub, PROHIBITED, &[], GD),
    ((N, 0), Get, "OK", &[], G),
    ((N, 1), Get, "MSG 1", &[], GD),
    ((I, 0), Get, PROHIBITED, &[], I),
    ((D, 1), Get, PROHIBITED, &[], D),
    ((G, 0), Get, "OK", &[], G),
    ((G, 1), Get, "MSG 1", &[], GD),
    ((GD, 0), Get, "OK", &[], G),
    ((GD, 1), Get, "MSG 1", &[], GD),
    ((N, 0), Ack, NO_MSG, &[], N),
    ((N, 1), Ack, NO_MSG, &[], N),
    ((I, 0), Ack, NO_MSG, &[], I),
    ((D, 0), Ack, "OK", &[], I),
    ((D, 1), Ack, "OK", &[], I),
    ((D, 2), Ack, "MSG 2", &[], D),
    ((G, 0), Ack, NO_MSG, &[], G),
    ((G, 1), Ack, NO_MSG, &[], G),
    ((GD, 0), Ack, "OK", &[], G),
    ((GD, 1), Ack, "OK", &[], G),
    ((GD, 2), Ack, "OK", &[], G),
    ((N, 1), AckOther, NO_MSG, &[], N),
    ((I, 0), AckOther, NO_MSG, &[], I),
    ((D, 1), AckOther, NO_MSG, &[], D),
    ((G, 1), AckOther, NO_MSG, &[], G),
    ((GD, 1), AckOther, NO_MSG, &[], GD),
    ((N, 1), AckEmpty, NO_MSG, &[], N),
    ((I, 0), AckEmpty, NO_MSG, &[], I),
    ((D, 0), AckEmpty, "OK", &[], I),
    ((D, 1), AckEmpty, "MSG 1", &[], D),
    ((G, 1), AckEmpty, NO_MSG, &[], G),
    ((GD, 1), AckEmpty, "OK", &[], G),
    ((N, 0), OthersSend, "OK", &[], N),
    ((I, 0), OthersSend, "OK", &["MSG 1"], D),
    ((D, 0), OthersSend, "OK", &[], D),
    ((D, 1), OthersSend, "OK", &[], D),
    ((G, 0), OthersSend, "OK", &[], G),
    ((GD, 0), OthersSend, "OK", &[], GD),
    ((GD, 1), OthersSend, "OK", &[], GD),
    ((N, 0), OthersSub, "SOK", &[], N),
    ((I, 0), OthersSub, "SOK", &["END"], N),
    ((D, 1), OthersSub, "SOK", &["END"], N),
    ((G, 0), OthersSub, "SOK", &[], G),
    ((GD, 1), OthersSub, "SOK", &[], GD),
    ((N, 1), Del, "OK", &[], N),
    ((I, 0), Del, "OK", &[], N),
    ((D, 1), Del, "OK", &[], N),
    ((G, 0), Del, "OK", &[], N),
    ((GD, 1), Del, "OK", &[], N),
    ((N, 1), OthersDel, "OK", &[], N),
    ((I, 0), OthersDel, "OK", &["DELD"], N),
    ((D, 1), OthersDel, "OK", &["DELD"], N),
    ((G, 0), OthersDel, "OK", &[], N),
    ((GD, 1), OthersDel, "OK", &[], N),
    ((I, 0), Close, "", &[], N),
    ((D, 1), Close, "", &[], N),
    ((G, 1), Close, "", &[], N),
    ((GD, 1), Close, "", &[], N),
];

/// A queue with two connections that hold its key; the second is the other one of the table.
struct Scene {
    world: World,
    queue: Queue,
    me: Client,
    other: Client,
    sent: usize,
}

impl Scene {
    /// Brings the first connection into a state, with a number of waiting messages.
    fn new(state: Listening, messages: usize) -> Self {
        let (me, other) = two_clients();
        let mut world = World::new(1);
        let queue = world.messaging(&me);
        let mut scene = Self {
            world,
            queue,
            me,
            other,
            sent: 0,
        };
        let (listens, delivered) = match state {
            N => (None, false),
            I => (Some(Command::Sub), false),
            D => (Some(Command::Sub), true),
            G => (Some(Command::Get), false),
            GD => (Some(Command::Get), true),
        };
        // What is delivered is there first, what is not comes later.
        if delivered {
            scene.send();
        }
        if let Some(command) = listens {
            scene.world.own(&scene.me, &scene.queue, &command);
        }
        if delivered && messages == 0 {
            scene.steal_message();
        }
        while scene.waiting() < messages {
            scene.send();
        }
        assert_eq!(scene.world.listening(&scene.queue, scene.me.session), state);
        assert_eq!(scene.waiting(), messages);
        scene.world.pushes.clear();
        scene
    }

    fn send(&mut self) -> String {
        self.sent += 1;
        let body = self.sent.to_string();
        self.world.send(&self.other, &self.queue, &body)
    }

    fn waiting(&self) -> usize {
        let (shard, slot) = self.world.slot(&self.queue);
        self.world.shards[shard].store.message_count(slot)
    }

    /// A third connection fetches and acknowledges the oldest message.
    fn steal_message(&mut self) {
        let thief = Client::new(3, Version::CURRENT);
        self.world.own(&thief, &self.queue, &Command::Get);
        let msg_id = self.head();
        let ack = Command::Ack { msg_id: &msg_id };
        assert_eq!(self.world.own(&thief, &self.queue, &ack), "OK");
        self.world.close(&thief);
        self.sent -= 1;
    }

    fn head(&self) -> [u8; 24] {
        let (shard, slot) = self.world.slot(&self.queue);
        let head = self.world.shards[shard].store.head(slot);
        head.map_or([0xee; 24], |head| head.id)
    }

    /// What was delivered to the first connection, else the oldest message.
    fn delivered(&self) -> [u8; 24] {
        let (shard, slot) = self.world.slot(&self.queue);
        let of = self.world.shards[shard]
            .subscriptions
            .of(slot, self.me.session);
        match of {
            Some((_, Some(delivered))) => delivered.id,
            _ => self.head(),
        }
    }

    fn happens(&mut self, event: Event) -> String {
        let delivered = self.delivered();
        let (by, command) = match event {
            OthersSend => return self.send(),
            Close => {
                self.world.close(&self.me);
                return String::new();
            }
            Sub => (&self.me, Command::Sub),
            Get => (&self.me, Command::Get),
            Ack => (&self.me, Command::Ack { msg_id: &delivered }),
            AckOther => (&self.me, Command::Ack { msg_id: &[1; 24] }),
            AckEmpty => (&self.me, Command::Ack { msg_id: &[] }),
            Del => (&self.me, Command::Del),
            OthersSub => (&self.other, Command::Sub),
            OthersDel => (&self.other, Command::Del),
        };
        self.world.own(by, &self.queue, &command)
    }
}

#[test]
fn every_state_and_event_gives_the_listed_answer() {
    for &((state, messages), event, answer, pushes, after) in TABLE {
        let row = format!("{state:?} with {messages} messages, {event:?}");
        let mut scene = Scene::new(state, messages);
        assert_eq!(scene.happens(event), answer, "{row}");
        let (queue, me) = (&scene.queue, scene.me.session);
        let pushed: Vec<_> = scene
            .world
            .take_pushes(queue)
            .into_iter()
            .filter(|(session, _)| *session == me)
            .map(|(_, words)| words)
            .collect();
        assert_eq!(pushed, pushes, "{row}");
        if matches!(event, Del | OthersDel) {
            assert_eq!(
                scene.world.own(&scene.me, &scene.queue, &Command::Sub),
                "ERR AUTH"
            );
            assert_eq!(scene.world.shards[0].subscription_counts(), (0, 0), "{row}");
        } else {
            assert_eq!(scene.world.listening(queue, me), after, "{row}");
        }
    }
}

#[test]
fn an_acknowledged_message_is_gone_and_any_other_comes_again() {
    let mut scene = Scene::new(D, 3);
    assert_eq!(scene.happens(Ack), "MSG 2");
    scene.happens(Close);
    // A new connection: the message that was not acknowledged is still there.
    assert_eq!(scene.happens(Sub), "SOK");
    let pushed = scene.world.take_pushes(&scene.queue);
    assert_eq!(pushed, [(scene.me.session, "MSG 2".to_owned())]);
    assert_eq!(scene.happens(Ack), "MSG 3");
    assert_eq!(scene.happens(Ack), "OK");
    assert_eq!(scene.happens(Ack), NO_MSG);
}

#[test]
fn redelivered_messages_are_the_same_bytes() {
    let mut scene = Scene::new(N, 1);
    let get = |scene: &mut Scene| {
        let (queue, me) = (&scene.queue, &scene.me);
        scene
            .world
            .ask(me, Some(&queue.key), &queue.recipient, &Command::Get)
    };
    let first = get(&mut scene);
    scene.world.now.nanos += 5_000_000_000;
    assert_eq!(get(&mut scene), first);
}

#[test]
fn an_acknowledgement_of_what_another_connection_took_gives_the_next() {
    let mut scene = Scene::new(D, 0);
    scene.send();
    scene.send();
    assert_eq!(scene.happens(Ack), "MSG 1");
    assert_eq!(scene.waiting(), 2);
}

#[test]
fn a_lost_subscription_may_be_fetched_from() {
    let mut scene = Scene::new(D, 1);
    scene.happens(OthersSub);
    assert_eq!(scene.happens(Get), "MSG 1");
    // And does not take the other's subscription away.
    assert_eq!(scene.world.listening(&scene.queue, scene.other.session), D);
}

#[test]
fn a_message_to_oneself_comes_before_its_answer() {
    let (me, _) = two_clients();
    let mut world = World::new(1);
    let queue = world.messaging(&me);
    world.own(&me, &queue, &Command::Sub);
    let send = Command::Send {
        notify: false,
        body: b"1",
    };
    let block = [me.transmission(None, &queue.sender, &send)];
    let requests: Vec<_> = block
        .iter()
        .map(|bytes| {
            let ticket = Ticket { batch: 0, index: 0 };
            let id = me.context.session_id();
            Request::parse(bytes, ticket, Version::CURRENT, id).unwrap()
        })
        .collect();
    let mut effects = Vec::new();
    world.shards[0].execute(world.now, me.session, &me.context, &requests, &mut effects);
    let kinds: Vec<_> = effects
        .iter()
        .map(|effect| matches!(effect, Effect::Push { .. }))
        .collect();
    assert_eq!(kinds, [true, false]);
}

/// Asks again for the message of a queue that found no room.
fn redeliver(scene: &mut Scene, client: &Client) -> Vec<String> {
    let mut effects = Vec::new();
    let (now, recipient) = (scene.world.now, scene.queue.recipient);
    scene.world.shards[0].redeliver(now, client.session, &recipient, &mut effects);
    scene.world.collect(0, effects);
    let pushes = scene.world.take_pushes(&scene.queue);
    pushes.into_iter().map(|(_, words)| words).collect()
}

#[test]
fn a_message_that_found_no_room_is_pushed_again() {
    let mut scene = Scene::new(D, 2);
    let (me, other) = two_clients();
    assert_eq!(redeliver(&mut scene, &me), ["MSG 1"]);
    assert_eq!(redeliver(&mut scene, &me), ["MSG 1"]);
    // Nobody else gets it, and nothing comes once it is acknowledged or the queue is gone.
    assert!(redeliver(&mut scene, &other).is_empty());
    scene.happens(Ack);
    assert_eq!(redeliver(&mut scene, &me), ["MSG 2"]);
    scene.happens(Ack);
    assert!(redeliver(&mut scene, &me).is_empty());
    scene.happens(Del);
    assert!(redeliver(&mut scene, &me).is_empty());
}

#[test]
fn a_message_that_found_no_room_and_is_gone_makes_way_for_the_next() {
    let me = two_clients().0;
    // Another connection took the message: nothing is delivered any more.
    let mut scene = Scene::new(D, 0);
    assert!(redeliver(&mut scene, &me).is_empty());
    assert_eq!(scene.world.listening(&scene.queue, me.session), I);
    scene.send();
    let pushed = scene.world.take_pushes(&scene.queue);
    assert_eq!(pushed, [(me.session, "MSG 1".to_owned())]);
    // Another message came before the session had room.
    let mut scene = Scene::new(D, 0);
    scene.send();
    assert_eq!(redeliver(&mut scene, &me), ["MSG 1"]);
    assert_eq!(scene.happens(Ack), "OK");
}

#[test]
fn an_acknowledgement_that_was_refused_for_want_of_space_can_be_repeated() {
    let mut scene = Scene::new(D, 1);
    scene.world.shards[0].store.exhausted = true;
    assert!(scene.happens(Ack).starts_with("ERR STORE"));
    scene.send();
    assert!(scene.happens(Ack).starts_with("ERR STORE"));
    scene.world.shards[0].store.exhausted = false;
    assert_eq!(scene.happens(Ack), "MSG 2");
    assert_eq!(scene.happens(Ack), "OK");
    scene.send();
    assert_eq!(scene.happens(Ack), "OK");
}
